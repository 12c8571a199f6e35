-- SPDX-License-Identifier: BSD-2-Clause
--
-- mqtt_link.lua -- native.mqtt_link: one network connection to another broker, and the queue
-- that outlives it.
--
-- Two tasks serve a link: one reads, one writes.  Who publishes only puts an entry in the queue
-- and waits for its end: if he goes, the message goes on.  The queue is kept by sequence number,
-- so that what was sent and not acknowledged returns to its old place when a link is lost.

local sol, native = ...

-- Lua's own functions: an environment may replace its entries, not ours.
local char, ipairs, max, min, pack, pairs, remove, setmetatable, type =
    string.char, ipairs, math.max, math.min, string.pack, pairs, table.remove, setmetatable, type
local spawn, waiter = native.spawn, native.waiter
local log, now, semaphore, socket_connect, topic_of =
    sol.log, sol.now, sol.semaphore, sol.socket.connect, sol.topic

local BATCH = 65536      -- bytes written at a time
local HANDLED_MAX = 100  -- messages that are being handled at a time; then reading pauses
local WINDOW = 100       -- publishes that wait for an acknowledgement, unless the server says less
local FOR_EVER = 86400   -- seconds of silence that are no concern

local PINGREQ, DISCONNECT = "\xC0\0", "\xE0\0"

local Link = {}

-- ---- packets --------------------------------------------------------------------------------

local function length(n)
    local bytes = ""
    repeat
        local rest = n >> 7
        bytes = bytes .. char(n & 0x7f | (rest > 0 and 0x80 or 0))
        n = rest
    until n == 0
    return bytes
end

local function packet(head, body) return char(head) .. length(#body) .. body end

local function ack(head, id) return pack(">BBI2", head, 2, id) end

local function subscribe_packet(link, subscription)
    local o, properties = subscription.options, ""
    local flags = o.qos
    if link.version == 5 then
        flags = flags | (o.no_local and 4 or 0) | (o.retain_as_published and 8 or 0) | o.retain_handling << 4
        local identifier = link.has_identifiers and "\x0B" .. length(subscription.number) or ""
        properties = length(#identifier) .. identifier
    end
    return packet(0x82, pack(">I2", subscription.id) .. properties .. pack(">s2B", subscription.filter, flags))
end

local function unsubscribe_packet(link, id, filter)
    return packet(0xA2, pack(">I2", id) .. (link.version == 5 and "\0" or "") .. pack(">s2", filter))
end

--- What a reason code says, with the server's words.
local function refusal(code, reason)
    return ("refused (0x%02x)"):format(code) .. (reason and ": " .. reason or "")
end

--- The next packet, or nil and why.
local function receive(link)
    local socket = link.socket
    local header, err
    repeat header, err = socket:receive(1) until header or err ~= "timeout" or not link.is_patient
    if not header then return nil, err end
    local len, shift, is_last = 0, 0, false
    while not is_last and shift < 28 do
        local digit
        digit, err = socket:receive(1)
        if not digit then return nil, err end
        header = header .. digit
        len = len | (digit:byte() & 0x7f) << shift
        shift = shift + 7
        is_last = digit:byte() < 0x80
    end
    if not is_last then return nil, "malformed packet" end
    if len + #header > link.max_receive then return nil, "packet too large" end
    local body = ""
    if len > 0 then body, err = socket:receive(len) end
    if not body then return nil, err end
    -- a server that knows 3.1.1 alone refuses in its own words
    local version = header == "\x20\2" and 4 or link.version
    local decoded
    decoded, err = native.mqtt_decode(version, header, body)
    return decoded, err
end

-- ---- the queue --------------------------------------------------------------------------------

function Link.kick(s)
    if s.link and s.link.wake then s.link.wake:wake() end
end

--- To be written before any message.
function Link.control(s, link, bytes)
    if s.link ~= link then return end
    link.out[#link.out + 1] = bytes
    Link.kick(s)
end

function Link.enqueue(s, entry)
    entry.state = "queued"
    s.queue[entry.number] = entry
    s.first = min(s.first, entry.number)
end

local function dequeue(s, entry) s.queue[entry.number] = nil end

--- The first of the queue, or nil.
local function head(s)
    while s.first <= s.last and not s.queue[s.first] do s.first = s.first + 1 end
    return s.queue[s.first]
end

--- A message has come to its end.
function Link.finish(s, entry, ...)
    if entry.state == "over" then return end
    if entry.state == "queued" then dequeue(s, entry) end
    if entry.id then s.ids[entry.id] = nil end
    if entry.in_flight then s.in_flight = s.in_flight - 1 end
    s.pending = s.pending - 1
    entry.state, entry.in_flight = "over", false
    entry.waiter:wake(...)
end

--- A packet id nobody uses, now `holder`'s; nil when there is none.
function Link.take_id(s, holder)
    for _ = 1, 65535 do
        s.last_id = s.last_id % 65535 + 1
        if not s.ids[s.last_id] then
            s.ids[s.last_id] = holder
            return s.last_id
        end
    end
end

--- Why the server would not take it, or nil.
local function unfit(link, entry)
    if entry.qos > link.max_qos then return ("the server takes QoS %d at most"):format(link.max_qos) end
    if entry.retain and not link.has_retain then return "the server retains nothing" end
    if entry.deadline and now() >= entry.deadline then return "expired" end
end

--- The bytes of an entry, or nil and why it cannot go.
local function publish_packet(link, entry)
    local why = unfit(link, entry)
    if why then return nil, why end
    if entry.deadline then entry.expiry = max(1, (entry.deadline - now() + 0.999) // 1 | 0) end
    local bytes = native.mqtt_publish(link.version, entry)
    if link.max_packet and #bytes > link.max_packet then return nil, "packet too large for the server" end
    return bytes
end

--- The bytes of the first entry that may go now, and the entry; nil when none may.
local function take_publish(s, link)
    for entry in head, s do
        if entry.qos > 0 and s.in_flight >= link.window then return nil end
        if entry.qos > 0 and not entry.id then entry.id = Link.take_id(s, entry) end
        if entry.qos > 0 and not entry.id then return nil end
        local bytes, why = publish_packet(link, entry)
        if bytes then
            entry.state = "sent"
            entry.in_flight = entry.qos > 0
            if entry.in_flight then s.in_flight = s.in_flight + 1 end
            dequeue(s, entry)
            return bytes, entry
        end
        Link.finish(s, entry, nil, why)
    end
end

-- ---- a link: writing --------------------------------------------------------------------------

function Link.lose(s, link, why)
    if s.link ~= link then return end
    s.link, s.why = nil, why
    link.socket:close()
    link.lost:wake()
    if link.wake then link.wake:wake() end
end

--- What is to be written now, and the messages among it that end with that.
local function gather(s, link)
    local batch, ending, size = link.out, {}, 0
    link.out = {}
    if link.keepalive > 0 and now() - link.pinged >= link.keepalive then
        link.pinged = now()
        batch[#batch + 1] = PINGREQ
    end
    while size < BATCH do
        local bytes, entry = take_publish(s, link)
        if not bytes then break end
        size = size + #bytes
        batch[#batch + 1] = bytes
        if entry.qos == 0 then ending[#ending + 1] = entry end
    end
    return batch, ending
end

--- However a task of a link's ends, the link ends with it.
local Serving = { __close = function(serving, err)
    Link.lose(serving.s, serving.link, err ~= nil and "an error, see above" or "closed")
end }

local function write(s, link)
    local _ <close> = setmetatable({ s = s, link = link }, Serving)
    while s.link == link do
        local batch, ending = gather(s, link)
        if #batch == 0 then
            link.wake = waiter()
            link.wake:wait(link.keepalive > 0 and max(0.001, link.pinged + link.keepalive - now()) or nil)
            link.wake = nil
        else
            local ok, err = link.socket:send(batch)
            for _, entry in ipairs(ending) do Link.finish(s, entry, ok and true, err) end
            if not ok then Link.lose(s, link, err) end
        end
    end
end

-- ---- a link: what comes in --------------------------------------------------------------------

--- The subscriptions a message is for: those the server names, else those that match.
local function hearers(s, p)
    local found, topic = {}, p.message.topic
    for _, number in ipairs(p.identifiers or {}) do
        for _, subscription in ipairs(s.subscriptions) do
            -- an identifier may be one that an earlier policy gave
            if subscription.number == number and topic_of.match(subscription.match, topic) then
                found[#found + 1] = subscription
            end
        end
    end
    if #found > 0 then return found end
    for _, subscription in ipairs(s.subscriptions) do
        if topic_of.match(subscription.match, topic) then found[#found + 1] = subscription end
    end
    return found
end

local function copy(message)
    local own = {}
    for name, value in pairs(message) do own[name] = type(value) == "table" and copy(value) or value end
    return own
end

--- However the handling ends, the server is told, and the next may begin.
local Handling = { __close = function(h)
    h.turn:release()
    if h.qos == 1 then Link.control(h.s, h.link, ack(0x40, h.id)) end
    if h.qos == 2 then Link.control(h.s, h.link, ack(0x50, h.id)) end
end }

local function handle(handling, message, subscriptions)
    local _ <close> = setmetatable(handling, Handling)
    local tasks = {}
    for i = 2, #subscriptions do tasks[i - 1] = spawn(subscriptions[i].fn, copy(message)) end
    if subscriptions[1] then subscriptions[1].fn(message) end
    for _, task in ipairs(tasks) do task:join() end
end

--- The holder of an id, if it is one in this state.
local function holder(s, p, state)
    local h = s.ids[p.id]
    return h and h.state == state and h or nil
end

local ON = {} -- by type of packet: gives why the link must end, or nil

function ON.publish(s, link, p)
    if p.qos == 2 and s.received[p.id] then
        Link.control(s, link, ack(0x50, p.id))
        return
    end
    if p.qos == 2 then s.received[p.id] = true end
    local turn = link.turns:acquire()
    spawn(handle, { s = s, link = link, turn = turn, qos = p.qos, id = p.id }, p.message, hearers(s, p))
end

function ON.pubrel(s, link, p)
    s.received[p.id] = nil
    Link.control(s, link, ack(0x70, p.id))
end

function ON.puback(s, _, p)
    local entry = holder(s, p, "sent")
    if not entry or entry.qos ~= 1 then return end
    if p.code >= 0x80 then Link.finish(s, entry, nil, refusal(p.code, p.reason), p.code) end
    Link.finish(s, entry, true)
    Link.kick(s)
end

function ON.pubrec(s, link, p)
    local entry = holder(s, p, "sent") or holder(s, p, "released")
    if entry and p.code >= 0x80 then
        Link.finish(s, entry, nil, refusal(p.code, p.reason), p.code)
        Link.kick(s)
        return
    end
    if entry and entry.qos == 2 then entry.state = "released" end
    Link.control(s, link, ack(0x62, p.id))
end

function ON.pubcomp(s, _, p)
    local entry = holder(s, p, "released")
    if entry then Link.finish(s, entry, true) end
    Link.kick(s)
end

function Link.forget(s, subscription)
    for i, other in ipairs(s.subscriptions) do
        if other == subscription then
            remove(s.subscriptions, i)
            return true
        end
    end
    return false
end

function ON.suback(s, _, p)
    local subscription = holder(s, p, "asked")
    if not subscription then return end
    s.ids[p.id], subscription.id = nil, nil
    if p.code < 0x80 then
        subscription.state = "made"
        subscription.waiter:wake(true)
        return
    end
    Link.forget(s, subscription)
    local err = refusal(p.code, p.reason)
    log.warn("sol.mqtt %s: subscription to %s: %s", s.url, subscription.filter, err)
    subscription.waiter:wake(nil, err, p.code)
end

function ON.unsuback(s, _, p)
    if holder(s, p, "leaving") then s.ids[p.id] = nil end
end

function ON.pingresp() end

function ON.disconnect(_, _, p) return "the server has disconnected: " .. refusal(p.code, p.reason) end

function ON.connack() return "malformed packet" end

local function read(s, link)
    local _ <close> = setmetatable({ s = s, link = link }, Serving)
    while s.link == link do
        local p, why = receive(link)
        why = why or ON[p.type](s, link, p)
        if why then Link.lose(s, link, why) end
    end
end

-- ---- a link: its beginning ----------------------------------------------------------------------

function Link.ask(s, link, subscription)
    subscription.id = subscription.id or Link.take_id(s, subscription)
    if not subscription.id then return end -- with the next link
    subscription.state = "asked"
    Link.control(s, link, subscribe_packet(link, subscription))
end

function Link.leave(s, link, subscription)
    if subscription.id then s.ids[subscription.id] = nil end
    local id = Link.take_id(s, { state = "leaving" })
    if id then Link.control(s, link, unsubscribe_packet(link, id, subscription.filter)) end
end

--- The messages that the last link left half done; it may have ended anywhere.
local function resume_messages(s, link, has_session)
    local entries = {}
    for id, h in pairs(s.ids) do
        if h.state == "leaving" then s.ids[id] = nil end
        if h.topic then entries[#entries + 1] = h end
    end
    s.in_flight = 0
    for _, entry in ipairs(entries) do
        entry.in_flight = false
        if entry.state ~= "released" then
            entry.dup = has_session and (entry.dup or entry.state == "sent")
            Link.enqueue(s, entry)
        elseif has_session then
            entry.in_flight, s.in_flight = true, s.in_flight + 1
            Link.control(s, link, ack(0x62, entry.id))
        else
            Link.finish(s, entry, true) -- the server has it: that was its PUBREC
        end
    end
    s.pending = s.in_flight
    for _ in pairs(s.queue) do s.pending = s.pending + 1 end
end

--- What the last link left half done.
local function resume(s, link, has_session)
    local subscriptions = {}
    if not has_session then s.received = {} end
    resume_messages(s, link, has_session)
    for _, subscription in ipairs(s.subscriptions) do
        if not has_session or s.is_new or subscription.state ~= "made" then
            subscriptions[#subscriptions + 1] = subscription
        end
    end
    for _, subscription in ipairs(subscriptions) do Link.ask(s, link, subscription) end
    s.is_new = false
end

--- Who this worker is to the server: no two are the same.
local function client_id_of(options)
    local n = native.worker_number()
    return n == 0 and options.client_id or ("%s-%d"):format(options.client_id, n + 1)
end

local function greet(link, options)
    local ok, p, err
    ok, err = link.socket:send(native.mqtt_connect(options.version, {
        client_id = client_id_of(options), username = options.username, password = options.password,
        keepalive = options.keepalive, clean = options.clean, session_expiry = options.session_expiry,
        receive_max = HANDLED_MAX, max_packet = options.max_packet, will = options.will or nil,
    }))
    if not ok then return nil, err end
    p, err = receive(link)
    if not p then return nil, err end
    if p.type ~= "connack" then return nil, "not a server of MQTT" end
    if p.code == 1 or p.code == 0x84 then return nil, refusal(p.code, "it knows another version of MQTT") end
    if p.code ~= 0 then return nil, refusal(p.code, p.reason) end
    return p
end

--- Connects: a link, and whether the server has kept the session; or nil and why.
function Link.open(s)
    local o = s.options
    local socket, err = socket_connect(s.url, {
        timeout = o.timeout, max_receive = o.max_packet, ca = o.ca, cert = o.cert, key = o.key,
        server_name = o.server_name, verify = o.verify, pool = "mqtt",
    })
    if not socket then return nil, err end
    local link = { socket = socket, version = o.version, max_receive = o.max_packet, out = {}, lost = waiter(),
        turns = semaphore(HANDLED_MAX), since = now(), pinged = now() }
    local p
    p, err = greet(link, o)
    if not p then
        socket:close()
        return nil, err
    end
    native.farewell(socket, DISCONNECT)
    link.keepalive = p.keepalive or o.keepalive
    link.is_patient = link.keepalive == 0
    link.window = min(WINDOW, p.receive_max or WINDOW)
    link.max_qos = p.max_qos or 2
    link.has_retain = p.has_retain ~= false
    link.has_identifiers = p.has_identifiers ~= false
    link.max_packet = p.max_packet
    socket:settimeouts(o.timeout, link.keepalive > 0 and link.keepalive + o.timeout or FOR_EVER)
    return link, p.session_present
end

--- The connection goes on with this link.
function Link.serve(s, link, has_session)
    s.link, s.why = link, nil
    resume(s, link, has_session)
    spawn(read, s, link)
    spawn(write, s, link)
end

native.mqtt_link = Link

return {}
