-- SPDX-License-Identifier: BSD-2-Clause
--
-- model.lua -- the reference: what clients do, and what a broker answers.
--
-- Written from the OASIS texts of MQTT 3.1.1 and 5.0 alone.  An action is a table, its kind
-- first: { "publish", c = "A", topic = "a/b", qos = 1 }.  One that makes no sense where
-- it stands does nothing, so a sequence stays one when actions are taken out of it.
-- Not here: who is owed what (delivery.lua), what came (observe.lua).

local delivery = require "model.delivery"
local topics = require "model.topics"

local model = {}

local FOREVER = math.huge
local SMALL = 150 -- bytes: more than any message but the large
local LARGE = (" "):rep(SMALL)

--- A broker without clients.  `wire` is told what the clients do: open() gives a number,
--- send(n, packet, version), close(n).
function model.new(config, wire)
    local m = { config = config, wire = wire, now = 0, step = 0, said = 0, sessions = {}, conns = {}, clients = {},
        ids = {}, retained = {}, late = {} }
    function m.fail(...) error({ fault = string.format(...) }, 0) end
    return m
end

-- The broker's side of a connection --------------------------------------------------------------

local function answer(conn, packet) table.insert(conn.answers, packet) end

local function publish(m, message)
    if message.retain then delivery.retain(m, message) end
    return delivery.route(m, message)
end

local function publish_will(m, s)
    local will = s.will
    s.will, s.will_due = nil, nil
    if not will then return end
    will.message.expires = will.expiry and m.now + will.expiry * 1000
    publish(m, will.message)
end

local function end_session(m, s)
    m.sessions[s.id] = nil
    delivery.give_back(m, s)
    publish_will(m, s)
end

--- The connection is over; `with_will`: not by a normal DISCONNECT.
local function leave(m, conn, with_will)
    local s = m.sessions[conn.id]
    for _, e in ipairs(conn.now) do
        if e.token then e.token.is_owed = false end
    end
    conn.answers, conn.now = {}, {}
    m.clients[conn.id].conn = nil
    s.conn = nil
    if not with_will then s.will = nil end
    if s.expiry == 0 then
        end_session(m, s)
        return
    end
    s.expires = m.now + s.expiry * 1000
    if not s.will then return end
    s.will_due = m.now + s.will.delay * 1000
    if s.will.delay == 0 then publish_will(m, s) end
end

--- The broker ends it, and says why to those who understand.
local function throw_out(m, conn, rc)
    leave(m, conn, true)
    conn.must_end = true
    if conn.version == 5 then answer(conn, { type = "DISCONNECT", rc = rc }) end
end

-- The client's side ------------------------------------------------------------------------------

local function client_of(m, id)
    local client = m.clients[id]
    if not client then
        client = { id = id, outgoing = {} }
        m.clients[id] = client
        table.insert(m.ids, id)
        table.sort(m.ids)
    end
    return client
end

local function send(m, conn, packet)
    conn.heard = m.now
    m.wire.send(conn.n, packet, conn.version)
end

local function free_id(client)
    local id = 1
    while client.outgoing[id] do id = id + 1 end
    return id
end

--- The nth of a list, round and round; nil when it is empty.
local function nth(list, n) return list[(n - 1) % math.max(#list, 1) + 1] end

local function outgoing(client, state)
    local out = {}
    for id, p in delivery.by_key(client.outgoing) do
        if not state or p.state == state then out[#out + 1] = id end
    end
    return out
end

local act = {}

-- CONNECT and the end ----------------------------------------------------------------------------

local function will_of(m, a, version)
    local w = a.will
    if not w then return end
    m.said = m.said + 1
    local message = { topic = w.topic, payload = "will " .. m.said, qos = w.qos, retain = w.retain or false, from = a.c,
        name = "will " .. m.said }
    local is5 = version == 5
    local packet = { topic = w.topic, payload = message.payload, qos = w.qos, retain = w.retain,
        props = is5 and { will_delay = w.delay, message_expiry = w.expiry } or nil }
    return { message = message, delay = is5 and w.delay or 0, expiry = is5 and w.expiry }, packet
end

local function take_session(m, a, expiry)
    local s = m.sessions[a.c]
    if s and s.conn then
        throw_out(m, s.conn, 0x8E)
        s = m.sessions[a.c]
    end
    if s and a.clean then
        end_session(m, s)
        s = nil
    end
    local is_present = s ~= nil
    s = s or { id = a.c, subs = {}, queue = {}, flight = {}, replays = {}, received = {}, sent = 0 }
    s.expiry, s.expires, s.will_due, s.will = expiry, nil, nil, nil
    m.sessions[a.c] = s
    return s, is_present
end

--- What was in flight goes on: the PUBRELs at once, each PUBLISH when the window allows; one
--- too large for this connection is given up then, which nobody sees.
local function resume(conn, s)
    for _, e in ipairs(s.flight) do
        if e.state == "released" then
            e.conn = conn
            answer(conn, { type = "PUBREL", id = e.id, rc = 0 })
        elseif delivery.is_too_large(conn, e.message) then
            e.is_sure = false
        end
    end
    for _, e in ipairs(s.replays) do
        if delivery.is_too_large(conn, e.message) then e.is_sure = false end
    end
end

local function connack(m, conn, is_present)
    local props
    if conn.version == 5 then
        props = { receive_maximum = m.config.max_inflight, topic_alias_maximum = m.config.max_topic_alias }
    end
    return { type = "CONNACK", rc = 0, session_present = is_present, props = props }
end

function act.connect(m, a)
    local version = a.version
    local is5 = version == 5
    local client = client_of(m, a.c)
    local expiry = is5 and (a.expiry or 0) or (a.clean and 0 or FOREVER)
    local will, will_packet = will_of(m, a, version)
    m.arriving = a.c
    local s, is_present = take_session(m, a, expiry)
    local conn = { id = a.c, n = m.wire.open(), version = version, keep_alive = a.keep_alive or 0, is_new = true,
        window = math.min(is5 and a.receive_maximum or 65535, m.config.max_inflight), quota = m.config.max_inflight,
        alias_maximum = is5 and a.alias_maximum or 0, aliases = {}, said_aliases = {}, answers = {}, now = {},
        released = {}, takes_small = is5 and a.takes_small or false }
    m.conns[conn.n] = conn
    s.will, s.conn, client.conn = will, conn, conn
    if not is_present then client.outgoing = {} end
    send(m, conn, { type = "CONNECT", client_id = a.c, clean = a.clean or false, keepalive = conn.keep_alive,
        will = will_packet, props = is5 and { session_expiry = a.expiry, receive_maximum = a.receive_maximum,
            topic_alias_maximum = a.alias_maximum, maximum_packet_size = a.takes_small and SMALL or nil } or nil })
    answer(conn, connack(m, conn, is_present))
    resume(conn, s)
    delivery.arrived(m)
end

function act.drop(m, _, conn)
    leave(m, conn, true)
    m.wire.close(conn.n)
    conn.is_over = true
end

function act.disconnect(m, a, conn)
    local s, is5 = m.sessions[a.c], conn.version == 5
    local expiry = is5 and a.expiry or nil
    send(m, conn, { type = "DISCONNECT", rc = is5 and (a.rc or 0) or nil,
        props = expiry and { session_expiry = expiry } or nil })
    if expiry and expiry > 0 and s.expiry == 0 then -- 3.14.2.2.2
        throw_out(m, conn, 0x82)
        return
    end
    s.expiry = expiry or s.expiry
    leave(m, conn, is5 and a.rc == 4)
    conn.must_end = true
end

-- Subscriptions ----------------------------------------------------------------------------------

local function subscribe_one(m, conn, s, wanted, identifier)
    local filter, is5 = wanted.filter, conn.version == 5
    local _, group = topics.shared(filter)
    local is_new = s.subs[filter] == nil
    local sub = { qos = wanted.qos, identifier = is5 and identifier or nil,
        no_local = is5 and not group and wanted.no_local or false, rap = is5 and wanted.retain_as_published or false }
    local handling = is5 and wanted.retain_handling or 0
    s.subs[filter] = sub
    if not group and (handling == 0 or (handling == 1 and is_new)) then delivery.replay(m, s, filter, sub) end
    return wanted.qos
end

function act.subscribe(m, a, conn)
    local s, is5, codes = m.sessions[a.c], conn.version == 5, {}
    local packet = { type = "SUBSCRIBE", id = 7, props = is5 and { subscription_id = a.identifier } or nil }
    for i, wanted in ipairs(a.filters) do
        local _, group = topics.shared(wanted.filter)
        packet[i] = { filter = wanted.filter, qos = wanted.qos }
        if is5 then
            packet[i].no_local = not group and wanted.no_local
            packet[i].retain_as_published = wanted.retain_as_published
            packet[i].retain_handling = wanted.retain_handling
        end
        codes[i] = subscribe_one(m, conn, s, wanted, a.identifier)
    end
    send(m, conn, packet)
    answer(conn, { type = "SUBACK", id = 7, codes = codes })
end

function act.unsubscribe(m, a, conn)
    local s, codes = m.sessions[a.c], {}
    send(m, conn, { type = "UNSUBSCRIBE", id = 8, table.unpack(a.filters) })
    for i, filter in ipairs(a.filters) do
        codes[i] = s.subs[filter] and 0 or 0x11
        s.subs[filter] = nil
        for _, e in ipairs(s.replays) do
            if e.filter_asked == filter then e.is_sure = false end
        end
    end
    answer(conn, { type = "UNSUBACK", id = 8, codes = conn.version == 5 and codes or {} })
end

-- Publishing -------------------------------------------------------------------------------------

local function acknowledged(conn, s, p, rc)
    if p.qos == 0 then return end
    if conn.version < 5 then rc = 0 end
    answer(conn, { type = p.qos == 1 and "PUBACK" or "PUBREC", id = p.id, rc = rc })
    if p.qos == 2 then s.received[p.id] = true end
end

local CODES = { some = 0, maybe = { 0, 0x10 }, none = { 0, 0x10 } }

--- The broker takes a PUBLISH in: once, however often QoS 2 is sent.
local function take_in(m, conn, s, p)
    if p.qos == 2 and s.received[p.id] then
        acknowledged(conn, s, p, 0)
        return
    end
    local message = { topic = p.message.topic, payload = p.message.payload, qos = p.qos, retain = p.message.retain,
        content_type = p.message.content_type, is_large = p.message.is_large, from = conn.id, name = p.message.name }
    message.expires = p.expiry and m.now + p.expiry * 1000
    acknowledged(conn, s, p, CODES[publish(m, message)])
end

local function send_publish(m, conn, p, topic, alias, dup)
    local is5 = conn.version == 5
    send(m, conn, { type = "PUBLISH", topic = topic, payload = p.message.payload, qos = p.qos, dup = dup,
        retain = p.message.retain, id = p.id, props = is5 and { message_expiry = p.expiry, topic_alias = alias,
            content_type = p.message.content_type } or nil })
end

--- Alias and topic to say for a topic: the topic is left out when the alias is known.
local function alias_for(m, conn, a)
    if not a.alias or conn.version < 5 or a.alias > m.config.max_topic_alias then return a.topic end
    local is_known = conn.said_aliases[a.alias] == a.topic
    conn.said_aliases[a.alias] = a.topic
    return is_known and "" or a.topic, a.alias
end

--- Has the client said on this connection what it may at most leave open?
local function is_full(conn, client)
    local open = 0
    for _, p in pairs(client.outgoing) do
        if p.conn == conn then open = open + 1 end
    end
    return conn.version == 5 and open >= conn.quota
end

--- Vanishes before it can hear an answer; what it is to get itself is better not on its way.
local function vanishes(m, a)
    if not a.vanish then return false end
    for filter in pairs(m.sessions[a.c].subs) do
        if topics.match(topics.shared(filter), a.topic) then return false end
    end
    return true
end

function act.publish(m, a, conn)
    local client, s, is5 = m.clients[a.c], m.sessions[a.c], conn.version == 5
    -- Empty ones look alike: none of them may wait.
    local is_empty = a.empty and not m.config.queue_qos0
    local qos = is_empty and 0 or a.qos
    if qos > 0 and is_full(conn, client) then return end
    m.said = m.said + 1
    local text = "message " .. m.said .. (a.large and LARGE or "")
    local p = { qos = qos, expiry = is5 and a.expiry or nil, id = qos > 0 and free_id(client) or nil, conn = conn,
        message = { topic = a.topic, payload = is_empty and "" or text, retain = a.retain or false,
            is_large = a.large and not is_empty,
            content_type = is5 and a.content_type or nil, name = "message " .. m.said } }
    local topic, alias = alias_for(m, conn, a)
    local is_lost = vanishes(m, a)
    send_publish(m, conn, p, topic, alias, false)
    take_in(m, conn, s, p)
    if qos > 0 and (is_lost or qos == 2) then
        p.state = is_lost and "sent" or "received"
        client.outgoing[p.id] = p
    end
    if is_lost then act.drop(m, a, conn) end
end

--- Says again what was not acknowledged, or is not yet released.
function act.resend(m, a, conn)
    local client, s = m.clients[a.c], m.sessions[a.c]
    local id = nth(outgoing(client), a.nth)
    local p = client.outgoing[id]
    if not p or (p.conn ~= conn and is_full(conn, client)) then return end
    p.conn = conn
    if conn.version < 5 then p.expiry, p.message.content_type = nil, nil end
    send_publish(m, conn, p, p.message.topic, nil, true)
    take_in(m, conn, s, p)
    p.state = "received"
    if p.qos == 1 then client.outgoing[id] = nil end
end

function act.pubrel(m, a, conn)
    local client, s = m.clients[a.c], m.sessions[a.c]
    local id = nth(outgoing(client, "received"), a.nth)
    if not id then return end
    send(m, conn, { type = "PUBREL", id = id })
    answer(conn, { type = "PUBCOMP", id = id, rc = 0 })
    s.received[id], client.outgoing[id] = nil, nil
end

-- Acknowledging ----------------------------------------------------------------------------------

local function can_acknowledge(conn, e)
    return e.conn == conn and (e.state == "sent" or conn.released[e.id])
end

local function remove(list, entry)
    for i, e in ipairs(list) do
        if e == entry then return table.remove(list, i) end
    end
end

--- The next acknowledgement of the nth message that awaits one.
function act.ack(m, a, conn)
    local s, open = m.sessions[a.c], {}
    for _, e in ipairs(s.flight) do
        if can_acknowledge(conn, e) then open[#open + 1] = e end
    end
    local e = nth(open, a.nth)
    if not e then return false end
    local refusal = conn.version == 5 and e.state == "sent" and a.refuse and 0x83 or nil
    if e.qos == 1 or e.state == "released" then
        send(m, conn, { type = e.qos == 1 and "PUBACK" or "PUBCOMP", id = e.id, rc = e.qos == 1 and refusal or nil })
        remove(s.flight, e)
    else
        send(m, conn, { type = "PUBREC", id = e.id, rc = refusal })
        if refusal then remove(s.flight, e) else answer(conn, { type = "PUBREL", id = e.id, rc = 0 }) end
        e.state = "released"
    end
    conn.released[e.id] = nil
    return true
end

-- The others -------------------------------------------------------------------------------------

function act.ping(m, _, conn)
    send(m, conn, { type = "PINGREQ" })
    answer(conn, { type = "PINGRESP" })
end

local STRAY, UNUSED = { PUBACK = false, PUBREC = "PUBREL", PUBREL = "PUBCOMP", PUBCOMP = false }, 60000

--- Acknowledges what never was.
function act.stray(m, a, conn)
    send(m, conn, { type = a.type, id = UNUSED })
    local reply = STRAY[a.type]
    if reply then answer(conn, { type = reply, id = UNUSED, rc = conn.version == 5 and 0x92 or 0 }) end
end

local illegal = {}

function illegal.connect(conn) return { type = "CONNECT", client_id = conn.id } end

function illegal.wildcard() return { type = "PUBLISH", topic = "a/#", payload = "forbidden" } end

function illegal.alias(conn, m)
    if conn.version < 5 then return end
    return { type = "PUBLISH", topic = "a", payload = "forbidden",
        props = { topic_alias = m.config.max_topic_alias + 1 } }
end

function illegal.identifier(conn)
    if conn.version < 5 then return end
    return { type = "PUBLISH", topic = "a", payload = "forbidden", props = { subscription_id = 1 } }
end

function illegal.filter(conn, _, filter)
    if conn.version < 5 and filter:find("^%$share/") then return end -- there it has no meaning
    return { type = "SUBSCRIBE", id = 9, { filter = filter, qos = 0 } }
end

--- More than the broker said it takes at once.
function illegal.receive_maximum(conn, m)
    local client = m.clients[conn.id]
    if not is_full(conn, client) then return end
    return { type = "PUBLISH", topic = "a", payload = "forbidden", qos = 1, id = free_id(client) }
end

--- The wrong acknowledgement.
function illegal.puback(conn, m)
    for _, e in ipairs(m.sessions[conn.id].flight) do
        if e.qos == 2 and e.conn == conn and e.state == "sent" then return { type = "PUBACK", id = e.id } end
    end
end

--- Breaks the protocol.
function act.illegal(m, a, conn)
    local of = illegal[a.what] or illegal.filter
    local packet = of(conn, m, a.what)
    if not packet then return end
    send(m, conn, packet)
    throw_out(m, conn, "error")
end

-- Steps ------------------------------------------------------------------------------------------

--- The client does it, and the reference with it.  False: there was nothing to do.
--- `is_same_step`: at once with the one before.
function model.act(m, a, is_same_step)
    if not is_same_step then m.step = m.step + 1 end
    local client = client_of(m, a.c)
    if a[1] ~= "connect" and not client.conn then return false end
    return act[a[1]](m, a, client.conn) ~= false
end

--- When something happens by itself; infinite: never.
function model.next_event(m)
    local due = FOREVER
    for _, s in pairs(m.sessions) do
        if s.conn then
            if s.conn.keep_alive > 0 then due = math.min(due, s.conn.heard + s.conn.keep_alive * 1500) end
        else
            due = math.min(due, s.expires, s.will_due or FOREVER)
        end
    end
    return due
end

--- What is due at this moment happens.
function model.events(m)
    m.step = m.step + 1
    for _, s in ipairs(delivery.sessions(m)) do
        if s.conn then
            if s.conn.keep_alive > 0 and s.conn.heard + s.conn.keep_alive * 1500 <= m.now then
                throw_out(m, s.conn, 0x8D)
            end
        else
            if s.will_due and s.will_due <= m.now then publish_will(m, s) end
            if s.expires <= m.now then end_session(m, s) end
        end
    end
end

return model
