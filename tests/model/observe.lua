-- SPDX-License-Identifier: BSD-2-Clause
--
-- observe.lua -- what the broker sent, held against what the reference says it owes.
--
-- Answers have one right order a type.  A PUBLISH is looked for among what its receiver is
-- owed; what is found there decides what was left open (delivery.lua).

local delivery = require "model.delivery"
local mqtt = require "support.mqtt"

local observe = {}

local function wrong(m, conn, p, field, value)
    m.fail("%s for %s: %s should be %s", mqtt.describe(p), conn.id, field, tostring(value))
end

-- Answers ----------------------------------------------------------------------------------------

local function is_code(expected, rc)
    if type(expected) == "table" then
        for _, code in ipairs(expected) do
            if code == rc then return true end
        end
        return false
    end
    if expected == "error" then return rc >= 0x80 end
    return expected == rc
end

local function differs(expected, p)
    for field, value in pairs(expected) do
        if field == "rc" then
            if not is_code(value, p.rc) then return "rc" end
        elseif field == "codes" then
            if table.concat(value, " ") ~= table.concat(p.codes, " ") then return "codes" end
        elseif field == "props" then
            for name, wanted in pairs(value) do
                if p.props[name] ~= wanted then return name end
            end
        elseif p[field] ~= value then
            return field
        end
    end
end

local function observe_answer(m, conn, p)
    for i, expected in ipairs(conn.answers) do
        if expected.type == p.type then
            local field = differs(expected, p)
            if field then
                local value = expected[field]
                if value == nil then value = expected.props[field] end
                wrong(m, conn, p, field, value)
            end
            table.remove(conn.answers, i)
            if p.type == "PUBREL" then conn.released[p.id] = true end
            return
        end
    end
    m.fail("%s for %s is not called for", mqtt.describe(p), conn.id)
end

-- PUBLISH ----------------------------------------------------------------------------------------

local function topic_of(m, conn, p)
    local alias = p.props.topic_alias
    if alias then
        if alias < 1 or alias > conn.alias_maximum then m.fail("%s is sent alias %d", conn.id, alias) end
        if p.topic ~= "" then conn.aliases[alias] = p.topic end
    end
    local topic = p.topic ~= "" and p.topic or conn.aliases[alias]
    if not topic then m.fail("%s is sent a PUBLISH without topic", conn.id) end
    return topic
end

local function same_list(a, b)
    if #a ~= #b then return false end
    for i = 1, #a do
        if a[i] ~= b[i] then return false end
    end
    return true
end

local function right_expiry(m, message, p)
    local said = p.props.message_expiry
    if not message.expires then return said == nil end
    local left = math.max(message.expires - m.now, 0)
    -- Whole seconds of it; 0 would mean that it was not to be sent.
    return said == left // 1000 or said == (left + 999) // 1000 or (left < 1000 and said == 1)
end

--- Copies of a message by several subscriptions may look alike, to 3.1.1 always: by which
--- of them the entry came stays open then.
local function confuse(s, conn, entry)
    local alike = {}
    for _, list in ipairs { s.flight, s.queue } do
        for _, e in ipairs(list) do
            if e.message == entry.message then alike[#alike + 1] = e end
        end
    end
    if #alike == 0 then return end
    alike[#alike + 1] = entry
    local identifiers, filters = {}, {}
    for i, e in ipairs(alike) do
        identifiers[i] = e.identifiers
        if e.filter then filters[e.filter] = true end
        for filter in pairs(e.filters or {}) do filters[filter] = true end
    end
    for _, e in ipairs(alike) do
        e.filters = filters
        if conn.version < 5 then e.alternatives = e.alternatives or identifiers end
    end
end

local function right_identifiers(entry, p)
    local said = p.props.subscription_ids or {}
    table.sort(said)
    if same_list(entry.identifiers, said) then return true end
    for _, identifiers in ipairs(entry.alternatives or {}) do
        if same_list(identifiers, said) then return true end
    end
    return false
end

--- The first respect in which the packet is not what the entry demands; nil: none.
local function mismatch(m, conn, entry, p)
    local message = entry.message
    if message.topic ~= p.topic then return "topic", message.topic end
    if message.payload ~= p.payload then return "payload", message.payload end
    if entry.qos ~= p.qos then return "QoS", entry.qos end
    if entry.retain ~= p.retain then return "RETAIN", entry.retain end
    if conn.version < 5 then return end
    if not right_identifiers(entry, p) then
        return "subscription identifiers", table.concat(entry.identifiers, " ")
    end
    if p.props.content_type ~= message.content_type then return "content type", message.content_type end
    if not right_expiry(m, message, p) then
        return "message expiry", message.expires and (message.expires - m.now) / 1000 or "none"
    end
end

local function remove(list, entry)
    for i, e in ipairs(list) do
        if e == entry then return table.remove(list, i) end
    end
end

--- The better guess of two alike: what is not another member's, too.
local function better(found, e)
    if not found then return e end
    return found.token and not e.token and e.step == found.step and e or found
end

--- An entry of the list that the packet is; those that certainly exist first.
local function find(m, conn, list, p)
    local found
    for _, e in ipairs(list) do
        if delivery.is_open(e) and not mismatch(m, conn, e, p) then
            if e.is_sure then return e end
            found = better(found, e)
        end
    end
    return found
end

--- The same in a queue: nothing that certainly exists is overtaken, but by what was queued
--- in the same step.
local function find_next(m, conn, s, p)
    local blocking, found
    for _, e in ipairs(s.queue) do
        if blocking and e.step ~= blocking then break end
        if delivery.is_open(e) and not delivery.is_gone(m, s, e) then
            if not mismatch(m, conn, e, p) then
                if e.is_sure then return e end
                found = better(found, e)
            end
            if e.is_sure then blocking = e.step end
        end
    end
    return found
end

--- `entry` is sent: those before it are not there, but for what came in the same step.
local function pass_over(m, s, entry)
    local rest, i = {}, 1
    while s.queue[i] ~= entry do
        local e = s.queue[i]
        if e.step == entry.step then
            rest[#rest + 1] = e
        else
            s.sent = s.sent + 1
            if delivery.is_open(e) and not delivery.is_gone(m, s, e) then delivery.forsake(m, e) end
        end
        i = i + 1
    end
    table.move(s.queue, i + 1, #s.queue, #rest + 1, rest)
    s.queue = rest
end

local function unexpected(m, conn, p)
    local s = m.sessions[conn.id]
    for _, list in ipairs { conn.now, s.queue, s.flight, s.replays } do
        for _, e in ipairs(list) do
            if e.message.payload == p.payload and e.message.topic == p.topic then
                local field, value = mismatch(m, conn, e, p)
                if field then wrong(m, conn, p, field, value) end
            end
        end
    end
    m.fail("%s for %s is not owed, or not yet", mqtt.describe(p), conn.id)
end

--- Takes the entry that a new PUBLISH redeems off its list.
local function take(m, conn, s, p)
    local entry = p.qos == 0 and find(m, conn, conn.now, p)
    if entry then return remove(conn.now, entry) end
    entry = find_next(m, conn, s, p)
    local retained = find(m, conn, s.replays, p)
    if entry then
        if retained and not entry.is_sure then retained.is_sure = false end -- it may be this one
        pass_over(m, s, entry)
        return entry
    end
    return remove(s.replays, retained) or unexpected(m, conn, p)
end

local function sent_again(m, conn, s, p)
    for _, e in ipairs(s.flight) do
        local may_come = e.state == "sent" and e.conn ~= conn and not delivery.is_too_large(conn, e.message)
        if may_come and (e.is_sure or e.id == p.id) then
            if e.id ~= p.id then m.fail("%s for %s: %d is next", mqtt.describe(p), conn.id, e.id) end
            local field, value = mismatch(m, conn, e, p)
            if field then wrong(m, conn, p, field, value) end
            e.conn = conn
            delivery.give_up(s, e.nth)
            return
        end
    end
    m.fail("%s for %s: nothing is to be sent again", mqtt.describe(p), conn.id)
end

local function check_identifier(m, conn, s, p)
    delivery.give_up(s, math.huge)
    for _, e in ipairs(s.flight) do
        if e.id == p.id then m.fail("%s for %s: the identifier is in use", mqtt.describe(p), conn.id) end
        if e.state == "sent" and e.conn ~= conn then
            m.fail("%s for %s comes before %s is sent again", mqtt.describe(p), conn.id, e.message.name)
        end
    end
end

local function check_window(m, conn, s)
    local open = 0
    for _, e in ipairs(s.flight) do
        if e.conn == conn and e.was_published_on == conn then open = open + 1 end
    end
    if open > conn.window then m.fail("%s is sent more than its Receive Maximum of %d", conn.id, conn.window) end
end

local function observe_publish(m, conn, p)
    local s = m.sessions[conn.id]
    if not s or s.conn ~= conn then m.fail("%s for %s, which has gone", mqtt.describe(p), conn.id) end
    p.topic = topic_of(m, conn, p)
    if p.dup then
        sent_again(m, conn, s, p)
    else
        if p.qos > 0 then check_identifier(m, conn, s, p) end
        local entry = take(m, conn, s, p)
        delivery.redeem(entry)
        if p.qos == 0 then return end
        confuse(s, conn, entry)
        s.sent = s.sent + 1
        entry.id, entry.conn, entry.state, entry.nth, entry.is_sure = p.id, conn, "sent", s.sent, true
        table.insert(s.flight, entry)
    end
    for _, e in ipairs(s.flight) do
        if e.id == p.id then e.was_published_on = conn end
    end
    check_window(m, conn, s)
end

-- Steps ------------------------------------------------------------------------------------------

--- A packet came on a connection.
function observe.packet(m, conn, p)
    if conn.is_ended then m.fail("%s for %s after DISCONNECT", mqtt.describe(p), conn.id) end
    if conn.is_new and p.type ~= "CONNACK" then m.fail("%s for %s before CONNACK", mqtt.describe(p), conn.id) end
    conn.is_new = false
    if p.type == "PUBLISH" then observe_publish(m, conn, p) else observe_answer(m, conn, p) end
    conn.is_ended = p.type == "DISCONNECT"
end

--- The broker has closed a connection.
function observe.over(m, conn)
    if not conn.must_end then m.fail("the connection of %s is closed, and nothing calls for it", conn.id) end
    conn.must_end = false
    conn.is_over = true
end

--- The step is over: is anything missing?
function observe.rest(m, conn)
    local missing = conn.answers[1]
    if missing then m.fail("no %s comes for %s", missing.type, conn.id) end
    if conn.must_end then m.fail("the connection of %s is not closed", conn.id) end
    if #conn.now == 0 then return end
    for _, e in ipairs(conn.now) do
        if e.is_sure then m.fail("%s is not sent to %s", e.message.name, conn.id) end
        if delivery.is_open(e) then delivery.forsake(m, e) end
    end
    conn.now = {}
end

return observe
