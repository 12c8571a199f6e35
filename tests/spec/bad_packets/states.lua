-- SPDX-License-Identifier: BSD-2-Clause
--
-- states.lua -- how far a client has come when it sends its bad packet.
--
-- A state is { say, hear }: the good packets that lead to it, sent with the bad one in one go, and
-- the packets that answer them, whatever their order.  `about` names the one among them whose
-- identifier the bad packet needs.  Topics begin with `$`, so that the witness, who subscribes to
-- "#", sees a message only where a bad packet was taken for good.

local bits = require "spec.bad_packets.bits"
local mqtt = require "support.mqtt"

local function encode(version, ...)
    local bytes = {}
    for i, packet in ipairs { ... } do bytes[i] = mqtt.encode(packet, version) end
    return table.concat(bytes)
end

local states = {}

states.first = { say = function() return "" end, hear = {} }

states.open = { say = bits.connect, hear = { "CONNACK" } }

-- a subscription to "$bad/in" of QoS 2
local IN = { type = "SUBSCRIBE", id = 900, { filter = "$bad/in", qos = 2 } }

states.subscribed = {
    say = function(version) return bits.connect(version) .. encode(version, IN) end,
    hear = { "CONNACK", "SUBACK" },
}

-- The broker has sent a message of QoS 1 and waits for PUBACK.
states["owing PUBACK"] = {
    say = function(version)
        return bits.connect(version) .. encode(version, IN,
            { type = "PUBLISH", topic = "$bad/in", payload = "x", qos = 1, id = 901 })
    end,
    hear = { "CONNACK", "SUBACK", "PUBACK", "PUBLISH" }, about = "PUBLISH",
}

local function to_oneself(version)
    return bits.connect(version) .. encode(version, IN,
        { type = "PUBLISH", topic = "$bad/in", payload = "x", qos = 2, id = 901 }, { type = "PUBREL", id = 901 })
end

states["owing PUBREC"] = {
    say = to_oneself,
    hear = { "CONNACK", "SUBACK", "PUBREC", "PUBCOMP", "PUBLISH" }, about = "PUBLISH",
}

states["owing PUBCOMP"] = {
    say = to_oneself,
    hear = { "CONNACK", "SUBACK", "PUBREC", "PUBCOMP", "PUBLISH" }, about = "PUBLISH",
    go_on = function(version, id) return encode(version, { type = "PUBREC", id = id }) end, then_hear = "PUBREL",
}

-- The client has sent a message of QoS 2 under identifier 7 and not yet PUBREL.
states["owing PUBREL"] = {
    say = function(version)
        return bits.connect(version) .. encode(version,
            { type = "PUBLISH", topic = "$bad/out", payload = "x", qos = 2, id = 7 })
    end,
    hear = { "CONNACK", "PUBREC" },
}

-- As many of them as the broker's Receive Maximum allows (states.RECEIVE_MAXIMUM), from 1 on.
states.RECEIVE_MAXIMUM = 5
states["at the Receive Maximum"] = {
    say = function(version)
        local bytes = bits.connect(version)
        for id = 1, states.RECEIVE_MAXIMUM do
            bytes = bytes .. encode(version, { type = "PUBLISH", topic = "$bad/out", payload = "x", qos = 2, id = id })
        end
        return bytes
    end,
    hear = { "CONNACK", "PUBREC", "PUBREC", "PUBREC", "PUBREC", "PUBREC" },
}

-- Enhanced authentication, by the method "challenge": a client that says "more" is asked for more.
local function auth(rc, data)
    return { type = "AUTH", rc = rc, props = { auth_method = "challenge", auth_data = data } }
end

local function connect_by(version, data)
    return mqtt.encode({ type = "CONNECT", client_id = "bad",
        props = { auth_method = "challenge", auth_data = data } }, version)
end

states.authenticating = {
    say = function(version) return connect_by(version, "more") end,
    hear = { "AUTH" },
}

states.authenticated = {
    say = function(version) return connect_by(version, "enough") end,
    hear = { "CONNACK" },
}

states["authenticating again"] = {
    say = function(version) return connect_by(version, "enough") .. encode(version, auth(0x19, "more")) end,
    hear = { "CONNACK", "AUTH" },
}

return states
