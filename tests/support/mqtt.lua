-- SPDX-License-Identifier: BSD-2-Clause
--
-- mqtt.lua -- MQTT 3.1, 3.1.1 and 5.0 packets, written and read by hand.
--
-- Shares nothing with Sol's codec: it exists to disagree with it.  A packet is
-- a table with a `type` ("PUBLISH") and the fields of that type; `version` is
-- the protocol level 3, 4 or 5.  `encode` writes whatever it is told, legal or
-- not; `decode` reads one packet of a broker strictly and raises on a wrong one.
-- Not here: sockets and waiting (client.lua).

local mqtt = {}

mqtt.TYPES = { "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE",
    "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH" }

local code_of = {}
for code, name in ipairs(mqtt.TYPES) do code_of[name] = code end

-- MQTT 5 properties: name -> identifier, wire type
local PROPERTIES = {
    payload_format = { 0x01, "B" }, message_expiry = { 0x02, ">I4" }, content_type = { 0x03, ">s2" },
    response_topic = { 0x08, ">s2" }, correlation_data = { 0x09, ">s2" }, subscription_id = { 0x0B, "var" },
    session_expiry = { 0x11, ">I4" }, assigned_client_id = { 0x12, ">s2" }, server_keep_alive = { 0x13, ">I2" },
    auth_method = { 0x15, ">s2" }, auth_data = { 0x16, ">s2" }, request_problem = { 0x17, "B" },
    will_delay = { 0x18, ">I4" }, request_response = { 0x19, "B" }, response_information = { 0x1A, ">s2" },
    server_reference = { 0x1C, ">s2" }, reason = { 0x1F, ">s2" }, receive_maximum = { 0x21, ">I2" },
    topic_alias_maximum = { 0x22, ">I2" }, topic_alias = { 0x23, ">I2" }, maximum_qos = { 0x24, "B" },
    retain_available = { 0x25, "B" }, user = { 0x26, "pair" }, maximum_packet_size = { 0x27, ">I4" },
    wildcard_available = { 0x28, "B" }, subscription_id_available = { 0x29, "B" },
    shared_available = { 0x2A, "B" },
}

local property_by_id = {}
for name, row in pairs(PROPERTIES) do property_by_id[row[1]] = { name = name, kind = row[2] } end

--- A variable byte integer.
function mqtt.varint(n)
    local out = {}
    repeat
        local byte = n % 128
        n = n // 128
        out[#out + 1] = string.char(n > 0 and byte | 0x80 or byte)
    until n == 0
    return table.concat(out)
end

--- A length-prefixed string.
function mqtt.str(s) return string.pack(">s2", s) end

--- A whole packet from its first byte and its body.
function mqtt.packet(first, body) return string.char(first) .. mqtt.varint(#body) .. body end

local function property(name, value)
    local row = assert(PROPERTIES[name], "no such property: " .. name)
    local id, kind = string.char(row[1]), row[2]
    if kind == "var" then return id .. mqtt.varint(value) end
    if kind ~= "pair" then return id .. string.pack(kind, value) end
    local out = {}
    for _, pair in ipairs(value) do out[#out + 1] = id .. mqtt.str(pair[1]) .. mqtt.str(pair[2]) end
    return table.concat(out)
end

--- The property section of MQTT 5: `{name = value}`, `user = {{k, v}, ...}`, or ready-made bytes.
function mqtt.properties(props)
    if type(props) == "string" then return mqtt.varint(#props) .. props end
    local names, out = {}, {}
    for name in pairs(props or {}) do names[#names + 1] = name end
    table.sort(names)
    for i, name in ipairs(names) do out[i] = property(name, props[name]) end
    local body = table.concat(out)
    return mqtt.varint(#body) .. body
end

local function props(p, version) return version == 5 and mqtt.properties(p) or "" end

local write = {}

function write.CONNECT(p, version)
    local will = p.will
    local flags = (p.clean == false and 0 or 0x02)
        | (will and 0x04 | (will.qos or 0) << 3 | (will.retain and 0x20 or 0) or 0)
        | (p.password and 0x40 or 0) | (p.username and 0x80 or 0) | (p.flags or 0)
    local body = mqtt.str(p.protocol or (version == 3 and "MQIsdp" or "MQTT"))
        .. string.pack(">BBI2", p.level or version, flags, p.keepalive or 0)
        .. props(p.props, version) .. mqtt.str(p.client_id or "")
    if will then
        body = body .. props(will.props, version) .. mqtt.str(will.topic) .. mqtt.str(will.payload or "")
    end
    if p.username then body = body .. mqtt.str(p.username) end
    if p.password then body = body .. mqtt.str(p.password) end
    return 0, body
end

function write.PUBLISH(p, version)
    local qos = p.qos or 0
    return (p.dup and 8 or 0) | qos << 1 | (p.retain and 1 or 0),
        mqtt.str(p.topic) .. (qos > 0 and string.pack(">I2", p.id) or "") .. props(p.props, version)
            .. (p.payload or "")
end

local function write_ack(flags)
    return function(p, version)
        local body = string.pack(">I2", p.id)
        if version == 5 and (p.rc or p.props) then
            body = body .. string.char(p.rc or 0) .. (p.props and mqtt.properties(p.props) or "")
        end
        return flags, body
    end
end

write.PUBACK, write.PUBREC, write.PUBREL, write.PUBCOMP = write_ack(0), write_ack(0), write_ack(2), write_ack(0)

function write.SUBSCRIBE(p, version)
    local body = string.pack(">I2", p.id) .. props(p.props, version)
    for _, s in ipairs(p) do
        local options = (s.qos or 0) | (s.no_local and 4 or 0) | (s.retain_as_published and 8 or 0)
            | (s.retain_handling or 0) << 4
        body = body .. mqtt.str(s.filter) .. string.char(options)
    end
    return 2, body
end

function write.UNSUBSCRIBE(p, version)
    local body = string.pack(">I2", p.id) .. props(p.props, version)
    for _, filter in ipairs(p) do body = body .. mqtt.str(filter) end
    return 2, body
end

function write.PINGREQ() return 0, "" end

function write.DISCONNECT(p, version)
    if version < 5 or not (p.rc or p.props) then return 0, "" end
    return 0, string.char(p.rc or 0) .. (p.props and mqtt.properties(p.props) or "")
end

function write.AUTH(p) return 0, string.char(p.rc or 0) .. mqtt.properties(p.props) end

--- The bytes of a packet.
function mqtt.encode(p, version)
    local flags, body = write[p.type](p, version)
    return mqtt.packet(code_of[p.type] << 4 | flags, body)
end

-- Reading ---------------------------------------------------------------------------------------

local function read_varint(s, at)
    local value, shift = 0, 0
    for i = at, at + 3 do
        local byte = s:byte(i)
        if not byte then return nil end
        value = value | (byte & 0x7F) << shift
        if byte < 0x80 then return value, i + 1 end
        shift = shift + 7
    end
    error("variable byte integer longer than four bytes")
end

local function read_properties(s, at)
    local len, start = read_varint(s, at)
    local out, stop = {}, start + len
    at = start
    while at < stop do
        local id = s:byte(at)
        local row = property_by_id[id] or error(("unknown property 0x%02X"):format(id))
        local name, kind = row.name, row.kind
        at = at + 1
        if kind == "pair" then
            local key, value
            key, value, at = string.unpack(">s2s2", s, at)
            out.user = out.user or {}
            table.insert(out.user, { key, value })
        else
            assert(out[name] == nil or name == "subscription_id", "property twice: " .. name)
            local value
            if kind == "var" then value, at = read_varint(s, at) else value, at = string.unpack(kind, s, at) end
            if name == "subscription_id" then
                out.subscription_ids = out.subscription_ids or {}
                table.insert(out.subscription_ids, value)
            end
            out[name] = value
        end
    end
    assert(at == stop, "properties run over their length")
    return out, stop
end

local read = {}

function read.CONNACK(p, s, version)
    local flags
    flags, p.rc = string.unpack("BB", s)
    assert(flags < 2, "reserved CONNACK flags")
    p.session_present = flags == 1
    p.props = version == 5 and read_properties(s, 3) or {}
    assert(version == 5 or #s == 2, "CONNACK of wrong length")
end

function read.PUBLISH(p, s, version, flags)
    p.dup, p.qos, p.retain = flags & 8 ~= 0, flags >> 1 & 3, flags & 1 ~= 0
    assert(p.qos < 3, "PUBLISH with QoS 3")
    assert(p.qos > 0 or not p.dup, "QoS 0 with DUP")
    local at
    p.topic, at = string.unpack(">s2", s)
    if p.qos > 0 then p.id, at = string.unpack(">I2", s, at) end
    assert(p.id ~= 0, "packet identifier 0")
    p.props = {}
    if version == 5 then p.props, at = read_properties(s, at) end
    p.payload = s:sub(at)
end

local function read_ack(wanted_flags)
    return function(p, s, version, flags)
        assert(flags == wanted_flags, "wrong flags in " .. p.type)
        assert(#s == 2 or version == 5, p.type .. " of wrong length")
        p.id = string.unpack(">I2", s)
        p.rc = s:byte(3) or 0
        p.props = #s > 3 and read_properties(s, 4) or {}
    end
end

read.PUBACK, read.PUBREC, read.PUBREL, read.PUBCOMP = read_ack(0), read_ack(0), read_ack(2), read_ack(0)

function read.SUBACK(p, s, version)
    local at
    p.id, at = string.unpack(">I2", s)
    p.props = {}
    if version == 5 then p.props, at = read_properties(s, at) end
    p.codes = { s:byte(at, -1) }
    p.rc = p.codes[1]
end

function read.UNSUBACK(p, s, version)
    if version == 5 then return read.SUBACK(p, s, version) end
    assert(#s == 2, "UNSUBACK of wrong length")
    p.id, p.codes, p.rc, p.props = string.unpack(">I2", s), {}, 0, {}
end

function read.PINGRESP(_, s) assert(#s == 0, "PINGRESP with a body") end

function read.DISCONNECT(p, s, version)
    assert(version == 5, "DISCONNECT from the broker before MQTT 5")
    p.rc = s:byte(1) or 0
    p.props = #s > 1 and read_properties(s, 2) or {}
end

function read.AUTH(p, s)
    p.rc = s:byte(1) or 0
    p.props = #s > 1 and read_properties(s, 2) or {}
end

--- Read the packet at `at`: packet, next position; nothing while it is incomplete.
function mqtt.decode(s, at, version)
    if #s < at + 1 then return end
    local len, start = read_varint(s, at + 1)
    if not len or #s < start + len - 1 then return end
    local first = s:byte(at)
    local p = { type = mqtt.TYPES[first >> 4] or error("packet type 0") }
    local reader = read[p.type] or error("a broker may not send " .. p.type)
    reader(p, s:sub(start, start + len - 1), version, first & 15)
    return p, start + len
end

--- A packet in one line, for messages about what arrived.
function mqtt.describe(p)
    local parts = { p.type }
    for _, field in ipairs { "topic", "payload", "id", "qos", "dup", "retain", "rc", "session_present" } do
        local value = p[field]
        if value ~= nil and value ~= false then
            local text = field == "rc" and ("0x%02X"):format(value) or tostring(value)
            if #text > 60 then text = text:sub(1, 60) .. ("... (%d bytes)"):format(#text) end
            parts[#parts + 1] = field .. "=" .. text
        end
    end
    for _, code in ipairs(p.codes or {}) do parts[#parts + 1] = ("0x%02X"):format(code) end
    if p.props and p.props.reason then parts[#parts + 1] = "reason=" .. p.props.reason end
    return table.concat(parts, " ")
end

--- Bytes from hexadecimal digits; anything after `--` on a line and all blanks are ignored.
function mqtt.hex(text)
    local digits = text:gsub("%-%-[^\n]*", ""):gsub("%s+", "")
    return (digits:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

return mqtt
