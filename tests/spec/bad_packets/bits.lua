-- SPDX-License-Identifier: BSD-2-Clause
--
-- bits.lua -- what rows of bad packets are made of.
--
-- The other files of this folder are lists of sections: functions that are given `add` and the
-- version, and call add(name, bytes, outcome, statement, extra) for each bad packet.  `extra` may
-- name `state`, in which the bytes are sent (states.lua; default "open"), and `why`, where the
-- standard leaves the outcome to the server and this is ours.  `bytes` may be a function of the
-- packet identifier that the state is about.

local mqtt = require "support.mqtt"

local bits = { str = mqtt.str, varint = mqtt.varint, packet = mqtt.packet, hex = mqtt.hex }

function bits.u16(n) return string.pack(">I2", n) end
function bits.u32(n) return string.pack(">I4", n) end

--- The property section in the versions that have one: `raw`, or an empty one.
function bits.props(version, raw) return version == 5 and mqtt.varint(#(raw or "")) .. (raw or "") or "" end

--- The one of three that is for this version: a section of MQTT 3.1, which numbers no statements,
--- a statement of 3.1.1, a statement or section of 5.0.
function bits.said(version, v31, v311, v5) return ({ v31, v311, v5 })[version - 2] end

-- Outcomes ----------------------------------------------------------------------------------------

--- The connection ends.  A client of 5.0 that has been accepted is told `rc` in DISCONNECT; 3.x has
--- no such packet.
function bits.ends(rc) return { kind = "ends", rc = rc } end

--- The connection ends without a word, in each version.
bits.closes = { kind = "ends" }

--- CONNACK with `rc`, then the end; `format` is the version of that CONNACK when it is not the row's.
function bits.connack(rc, format) return { kind = "connack", rc = rc, format = format } end

--- A CONNECT that cannot be read, but for its version: 5.0 allows to say why, 3.x has no code for it.
function bits.refused(version, rc) return version == 5 and bits.connack(rc) or bits.closes end

--- These packets, which may be none, and the connection goes on.  Each is what Client:expect takes: { type, fields }.
function bits.answers(...) return { kind = "answers", ... } end

bits.ignored = bits.answers()

-- Packets -----------------------------------------------------------------------------------------

local NAMES = { [3] = "MQIsdp", [4] = "MQTT", [5] = "MQTT" }

--- A good CONNECT of clean session, but for `changes`: name, level, flags, props (raw), client_id,
--- payload (what follows the client identifier), keep_alive.
function bits.connect(version, changes)
    local c = changes or {}
    return mqtt.packet(0x10, mqtt.str(c.name or NAMES[version]) .. string.char(c.level or version, c.flags or 0x02)
        .. bits.u16(c.keep_alive or 0) .. bits.props(version, c.props) .. mqtt.str(c.client_id or "bad")
        .. (c.payload or ""))
end

--- PUBLISH of QoS 0 unless `changes` says otherwise: first (byte), topic, id, props (raw), payload.
function bits.publish(version, changes)
    local c = changes or {}
    return mqtt.packet(c.first or 0x30, mqtt.str(c.topic or "t") .. (c.id and bits.u16(c.id) or "")
        .. bits.props(version, c.props) .. (c.payload or "x"))
end

--- SUBSCRIBE to one filter; `changes`: id, props (raw), filter, options.
function bits.subscribe(version, changes)
    local c = changes or {}
    return mqtt.packet(0x82, bits.u16(c.id or 1) .. bits.props(version, c.props) .. mqtt.str(c.filter or "t")
        .. string.char(c.options or 0))
end

--- UNSUBSCRIBE from one filter; `changes` as above.
function bits.unsubscribe(version, changes)
    local c = changes or {}
    return mqtt.packet(0xA2, bits.u16(c.id or 1) .. bits.props(version, c.props) .. mqtt.str(c.filter or "t"))
end

return bits
