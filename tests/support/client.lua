-- SPDX-License-Identifier: BSD-2-Clause
--
-- client.lua -- an MQTT client that a spec can hold a conversation with.
--
-- It does only what it is told: it answers no PUBLISH unless the spec says
-- `:ack()`, and sends nonsense when asked to.  What arrives is kept in order in
-- `inbox` until the spec expects it; waiting for an acknowledgement leaves other
-- packets there.  Every wait has a deadline and fails with the conversation so
-- far.  A received packet answers for its client, so that expectations chain:
-- `c:expect_publish("t", "x"):ack():expect_nothing()`.

local mqtt = require "support.mqtt"
local proc = require "support.proc"
local wait = require "support.wait"

local Client = {}
Client.__index = Client

local Packet = {}

function Packet.__index(_, name)
    if name == "ack" then return Packet.ack end
    local method = Client[name]
    return method and function(self, ...) return method(self.client, ...) end
end

local HISTORY = 24 -- remembered lines of conversation

local function note(self, format, ...)
    table.insert(self.history, format:format(...))
    if #self.history > HISTORY then table.remove(self.history, 1) end
end

function Client:fail(format, ...)
    return wait.fail("client %q: %s\n  conversation (> sent, < received):\n    %s", self.opts.client_id or "",
        format:format(...), table.concat(self.history, "\n    "))
end

-- Bytes -----------------------------------------------------------------------------------------

local function receive(self)
    local bytes, why = self.sock:recv()
    if not bytes then
        if why ~= "again" then
            self.closed = why
            note(self, "< (%s)%s", why, #self.buffer > 0 and " in the middle of a packet" or "")
        end
        return
    end
    self.buffer = self.buffer .. bytes
    local at = 1
    while true do
        local ok, packet, next_at = pcall(mqtt.decode, self.buffer, at, self.version)
        if not ok then
            self:fail("the broker sent a malformed packet: %s\n  %s", packet,
                self.buffer:sub(at, at + 64):gsub(".", function(c) return ("%02x "):format(c:byte()) end))
        end
        if not packet then break end
        packet.client = self
        note(self, "< %s", mqtt.describe(packet))
        table.insert(self.inbox, setmetatable(packet, Packet))
        at = next_at
    end
    self.buffer = self.buffer:sub(at)
end

-- Wait for more to arrive; false when the deadline passed first.
local function pump(self, deadline)
    if not self.sock:wait("r", math.max(0, deadline - proc.now())) then return false end
    receive(self)
    return true
end

--- Send bytes as they are.  A peer that has gone is noticed by the next expectation.
function Client:send_raw(bytes)
    local deadline, at = wait.deadline(), 1
    self.dirty = true
    while at <= #bytes do
        local n, why = self.sock:send(at == 1 and bytes or bytes:sub(at))
        if n then
            at = at + n
        elseif why ~= "again" then
            note(self, "> (%s)", why)
            break
        elseif not self.sock:wait("w", 0.02) then
            receive(self) -- a broker that waits for us to read would never read us
            if proc.now() > deadline then self:fail("the broker does not read: %d of %d bytes sent", at, #bytes) end
        end
    end
    return self
end

--- Send one packet, given as the table `mqtt.encode` takes.
function Client:send(packet)
    note(self, "> %s", mqtt.describe(packet))
    return self:send_raw(mqtt.encode(packet, self.version))
end

-- Expectations ----------------------------------------------------------------------------------

local function matches(packet, fields)
    for name, value in pairs(fields or {}) do
        local got = packet[name]
        if name == "props" then
            if not matches(packet.props, value) then return false end
        elseif got ~= value and not (value == false and got == nil) then
            return false
        end
    end
    return true
end

local function describe_fields(fields)
    local parts = {}
    for name, value in pairs(fields or {}) do
        if type(value) == "table" then value = "{" .. describe_fields(value) .. "}" end
        parts[#parts + 1] = ("%s=%s"):format(name, tostring(value))
    end
    table.sort(parts)
    return table.concat(parts, " ")
end

-- The next packet, whatever it is; nil when the connection ended.
local function next_packet(self, wanted, seconds)
    local deadline = wait.deadline(seconds)
    while #self.inbox == 0 and not self.closed do
        if not pump(self, deadline) then
            self:fail("wanted %s, but nothing came for %.1f s", wanted, wait.scaled(seconds))
        end
    end
    return table.remove(self.inbox, 1)
end

--- The next packet, of any type.
function Client:take(seconds)
    local packet = next_packet(self, "a packet", seconds)
    return packet or self:fail("wanted a packet, but the connection ended (%s)", self.closed)
end

--- The next packet must be of this type and have these fields.
function Client:expect(kind, fields, seconds)
    local wanted = kind .. " " .. describe_fields(fields)
    local packet = next_packet(self, wanted, seconds)
    if not packet then self:fail("wanted %s, but the connection ended (%s)", wanted, self.closed) end
    if packet.type ~= kind or not matches(packet, fields) then
        self:fail("wanted %s, got %s", wanted, mqtt.describe(packet))
    end
    return packet
end

--- The next packet must be this PUBLISH; `fields` may name qos, dup, retain, props.
function Client:expect_publish(topic, payload, fields, seconds)
    local all = { topic = topic, payload = payload }
    for name, value in pairs(fields or {}) do all[name] = value end
    return self:expect("PUBLISH", all, seconds)
end

--- Find the first packet of this type (and identifier), leaving all others in the inbox.
function Client:await(kind, id, seconds)
    local deadline, seen = wait.deadline(seconds), 0
    while true do
        while seen < #self.inbox do
            seen = seen + 1
            local packet = self.inbox[seen]
            if packet.type == kind and (not id or packet.id == id) then return table.remove(self.inbox, seen) end
        end
        if self.closed then self:fail("wanted %s, but the connection ended (%s)", kind, self.closed) end
        if not pump(self, deadline) then
            self:fail("wanted %s %s, but it did not come for %.1f s", kind, id or "", wait.scaled(seconds))
        end
    end
end

-- Let the broker handle what this client has sent, if it is still there.
local function settle(self)
    self:send { type = "PINGREQ" }
    local deadline, seen = wait.deadline(), 0
    while not self.closed do
        while seen < #self.inbox do
            seen = seen + 1
            if self.inbox[seen].type == "PINGRESP" then
                table.remove(self.inbox, seen)
                self.dirty = false
                return
            end
        end
        if not pump(self, deadline) then self:fail("wanted PINGRESP, but it did not come") end
    end
end

--- A round trip: everything sent before has been handled by the broker.
function Client:ping(seconds)
    self:send { type = "PINGREQ" }:await("PINGRESP", nil, seconds)
    self.dirty = false
    return self
end

--- Nothing has been sent to this client: what the other clients of the broker said has been
--- handled (a round trip each, unless `alone`), and then our own PINGRESP is the next packet.
function Client:expect_nothing(alone)
    for _, other in ipairs(alone and {} or self.broker.clients) do
        if other ~= self and other.dirty and other.connected and not other.closed then settle(other) end
    end
    self:ping()
    local packet = self.inbox[1]
    if packet then self:fail("wanted nothing, got %s", mqtt.describe(packet)) end
    return self
end

--- The broker must end the connection without another packet.
function Client:expect_close(seconds)
    local packet = next_packet(self, "the end of the connection", seconds)
    if packet then self:fail("wanted the end of the connection, got %s", mqtt.describe(packet)) end
    return self:drop()
end

-- Is `packet` of this type, with one of these reason codes?
local function has_code(packet, kind, codes)
    for _, code in ipairs(codes) do
        if packet.type == kind and packet.rc == code then return true end
    end
    return false
end

--- A packet must not be accepted: `kind` answers with one of `codes`, or the connection ends, with a
--- DISCONNECT of one of `codes` for MQTT 5.  Returns the answer, if the connection goes on.
function Client:expect_rejected(kind, codes, seconds)
    local packet = next_packet(self, "a rejection", seconds)
    if packet and has_code(packet, kind, codes) then return packet end
    if packet and not has_code(packet, "DISCONNECT", codes) then
        self:fail("wanted %s with a refusal or the end, got %s", kind, mqtt.describe(packet))
    end
    if packet then self:expect_close(seconds) end
    self:drop()
end

--- The broker must refuse CONNECT: by closing, or by CONNACK with one of `codes` and closing.
function Client:expect_refused(codes, seconds)
    if self:expect_rejected("CONNACK", codes, seconds) then self:expect_close(seconds) end
    return self
end

--- The broker must end the connection, and may say why: DISCONNECT with one of `codes` to MQTT 5.
function Client:expect_end(codes, seconds)
    self:expect_rejected("DISCONNECT", codes, seconds)
    if self.connected then self:expect_close(seconds) end
    return self
end

--- The broker must end the connection; an MQTT 5 client is told why first.
--- `rc` is a reason code or a set of acceptable ones.
function Client:expect_disconnect(rc, seconds)
    if self.version == 5 then
        local packet = self:expect("DISCONNECT", nil, seconds)
        local allowed = type(rc) == "table" and rc or { rc }
        if not has_code(packet, "DISCONNECT", allowed) then
            self:fail("wanted DISCONNECT 0x%02X, got 0x%02X", allowed[1], packet.rc)
        end
    end
    return self:expect_close(seconds)
end

-- Conversation ----------------------------------------------------------------------------------

local function check_rc(self, packet, wanted)
    if wanted == "refused" then
        if packet.rc < 0x80 then self:fail("wanted a refusal, got %s", mqtt.describe(packet)) end
    elseif wanted == nil then
        if packet.rc >= 0x80 then self:fail("refused: %s", mqtt.describe(packet)) end
    elseif packet.rc ~= wanted then
        self:fail("wanted reason code 0x%02X, got %s", wanted, mqtt.describe(packet))
    end
    self.last = packet
    return self
end

--- A packet identifier not used lately.
function Client:packet_id()
    self.next_id = self.next_id % 65535 + 1
    return self.next_id
end

--- PUBLISH and the acknowledgements of its QoS.  `opts`: qos, retain, dup, id, props; `rc` the
--- wanted reason code ("refused": any of 0x80 and above); `wait = false` leaves the acknowledgement to the spec.
function Client:publish(topic, payload, opts)
    opts = opts or {}
    local qos = opts.qos or 0
    local id = qos > 0 and (opts.id or self:packet_id()) or nil
    self:send { type = "PUBLISH", topic = topic, payload = payload, qos = qos, id = id, retain = opts.retain,
        dup = opts.dup, props = opts.props }
    if opts.wait == false or qos == 0 then return self end
    local ack = self:await(qos == 1 and "PUBACK" or "PUBREC", id)
    check_rc(self, ack, opts.rc)
    if qos == 2 and ack.rc < 0x80 then self:send({ type = "PUBREL", id = id }):await("PUBCOMP", id) end
    return self
end

--- SUBSCRIBE to one filter, or to an array of `{filter=, qos=, ...}`, and its SUBACK.  `opts`:
--- no_local, retain_as_published, retain_handling, props; `rc` the wanted code (default: `qos`).
function Client:subscribe(filter, qos, opts)
    opts = opts or {}
    qos = qos or 0
    local packet = type(filter) == "table" and filter or { { filter = filter, qos = qos,
        no_local = opts.no_local, retain_as_published = opts.retain_as_published,
        retain_handling = opts.retain_handling } }
    packet.type, packet.id, packet.props = "SUBSCRIBE", self:packet_id(), opts.props
    local ack = self:send(packet):await("SUBACK", packet.id)
    if #ack.codes ~= #packet then self:fail("%d codes for %d filters", #ack.codes, #packet) end
    if type(filter) == "table" then
        self.last = ack
        return self
    end
    return check_rc(self, ack, opts.rc or qos)
end

--- UNSUBSCRIBE from one filter or several and the UNSUBACK.
function Client:unsubscribe(filter, opts)
    local packet = type(filter) == "table" and filter or { filter }
    packet.type, packet.id = "UNSUBSCRIBE", self:packet_id()
    return check_rc(self, self:send(packet):await("UNSUBACK", packet.id), opts and opts.rc)
end

--- Acknowledge a received PUBLISH as its QoS demands.
function Packet:ack()
    local c = self.client
    if self.qos == 1 then return c:send { type = "PUBACK", id = self.id } end
    if self.qos == 2 then
        c:send({ type = "PUBREC", id = self.id }):await("PUBREL", self.id)
        return c:send { type = "PUBCOMP", id = self.id }
    end
    return c
end

-- Connections -----------------------------------------------------------------------------------

--- Open the socket, nothing more.  `opts`: host, port, path (else the broker's), rcvbuf.
function Client:dial()
    local b, opts = self.broker, self.opts
    local sock, err = proc.connect { host = opts.host or b.host, port = opts.port or b.port,
        path = opts.path or b.path, rcvbuf = opts.rcvbuf, timeout = wait.scaled() }
    if not sock then self:fail("cannot connect: %s", err) end
    self.sock, self.connected, self.closed, self.buffer, self.inbox = sock, true, nil, "", {}
    return self
end

--- Send CONNECT and expect CONNACK with `opts.connack` (default 0; false: do not wait).
function Client:handshake()
    local opts = self.opts
    self:send { type = "CONNECT", client_id = opts.client_id, clean = opts.clean, keepalive = opts.keepalive,
        username = opts.username, password = opts.password, will = opts.will, props = opts.props,
        protocol = opts.protocol, level = opts.level, flags = opts.flags }
    if opts.connack == false then return self end
    self.connack = self:expect("CONNACK", { rc = opts.connack or 0 })
    return self
end

--- Close the socket without a word.
function Client:drop()
    if self.connected then self.sock:close() end
    self.connected = false
    return self
end

--- Close the socket with a TCP reset.
function Client:reset()
    if self.connected then self.sock:reset() end
    self.connected = false
    return self
end

--- Send no more, but go on reading.
function Client:half_close()
    self.sock:shutdown()
    return self
end

--- DISCONNECT, and wait until the broker has closed.
function Client:disconnect(rc, props)
    self:send { type = "DISCONNECT", rc = rc, props = props }
    local deadline = wait.deadline()
    while not self.closed do
        if not pump(self, deadline) then self:fail("the broker did not close after DISCONNECT") end
    end
    return self:drop()
end

--- Drop the connection if there is one and connect again, with `changes` to the options.
function Client:reconnect(changes)
    self:drop()
    for name, value in pairs(changes or {}) do self.opts[name] = value end
    self.version = self.opts.version or 4
    return self:dial():handshake()
end

--- A client of `broker` that has not dialled yet.
function Client.new(broker, client_id, opts)
    local self = setmetatable({ broker = broker, opts = { client_id = client_id }, history = {}, inbox = {},
        buffer = "", next_id = 0, connected = false }, Client)
    for name, value in pairs(opts or {}) do self.opts[name] = value end
    self.version = self.opts.version or 4
    return self
end

return Client
