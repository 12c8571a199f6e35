-- SPDX-License-Identifier: BSD-2-Clause
--
-- delivery.lua -- the reference: who is owed which message.
--
-- A session has a `queue` (owed, not sent yet, in order), a `flight` (sent, not
-- acknowledged, in order) and `replays` (retained messages for new subscriptions, in no
-- order).  A message due at once, of QoS 0, stands in the connection's `now`.
--
-- What nobody can see from outside is left open.  Which member of a shared subscription
-- gets a message is known when it comes: until then each of them has an *unsure* entry, tied
-- together by a token; exactly one may be redeemed (of several groups with a common member,
-- to which their copies look alike, as many as there are groups).  Where the count of a full queue is open
-- for that reason, so is what it loses, and those entries become unsure, too.
-- Not here: packets (observe.lua), what clients do (model.lua).

local topics = require "model.topics"

local delivery = {}

-- One unacknowledged message may hold up those 8 windows younger: packet ids run in order.
local SPAN_PER_WINDOW = 8
local FOREVER = math.huge

--- Has the message expired?
function delivery.is_expired(m, message) return message.expires and message.expires <= m.now end

--- Larger than the client takes: as good as sent (3.1.2.11.4).
function delivery.is_too_large(conn, message) return conn and conn.takes_small and message.is_large end

--- Will it never be sent?
function delivery.is_gone(m, s, entry)
    return delivery.is_expired(m, entry.message) or delivery.is_too_large(s.conn, entry.message)
end

-- Tokens -----------------------------------------------------------------------------------------

--- One entry of a token is gone without having been redeemed.
function delivery.forsake(m, entry)
    local token = entry.token
    if not token then return end
    token.open = token.open - 1
    if token.open < token.left and token.is_owed then
        m.fail("%s for the shared subscription %s reached no member", entry.message.name, entry.filter)
    end
end

--- The message came to a member.
function delivery.redeem(entry)
    local token = entry.token
    if not token then return end
    token.left = token.left - 1
    token.open = token.open - 1
end

--- Can this entry still be redeemed?
function delivery.is_open(entry) return not (entry.token and entry.token.left == 0) end

-- Queues -----------------------------------------------------------------------------------------

--- Unacknowledged messages of this connection: they count against its window.
function delivery.open_len(s)
    local n = 0
    for _, e in ipairs(s.flight) do
        if e.conn == s.conn then n = n + 1 end
    end
    return n
end

--- Must the broker send what it owes to this session, now?
function delivery.must_send(s)
    local eldest = s.flight[1]
    if eldest and s.sent - eldest.nth >= SPAN_PER_WINDOW * s.conn.window - 1 then return false end
    return delivery.open_len(s) < s.conn.window
end

local function room(s)
    if not s.conn or not delivery.must_send(s) then return 0 end
    for _, e in ipairs(s.flight) do
        if e.conn ~= s.conn then return 0 end -- these come first
    end
    return s.conn.window - delivery.open_len(s)
end

local function unsure(entry)
    entry.is_sure = false
    if entry.token then entry.token.is_owed = false end
end

--- Does it certainly wait?  What will never be sent may be gone already.
local function is_certain(m, s, e) return e.is_sure and not delivery.is_gone(m, s, e) end

local function count(m, s)
    local all, sure = 0, 0
    for _, e in ipairs(s.queue) do
        if delivery.is_open(e) then
            all = all + 1
            if is_certain(m, s, e) then sure = sure + 1 end
        end
    end
    return all, sure
end

--- All that came in one step: it came in no order.
local function unsure_step(s, step)
    for _, e in ipairs(s.queue) do
        if e.step == step then unsure(e) end
    end
end

--- One of those that wait makes room for `entry`: the eldest, whichever that is.
local function drop_eldest(m, s, at, entry)
    local all_certain = entry.is_sure
    for i = at, #s.queue do all_certain = all_certain and is_certain(m, s, s.queue[i]) end
    local mate = s.queue[at + 1] or entry
    if s.queue[at].qos == 0 then s.lost_qos0 = m.step end
    if all_certain and mate.step ~= s.queue[at].step then
        table.remove(s.queue, at)
        return
    end
    for i = at, #s.queue do
        local e = s.queue[i]
        local was_certain = is_certain(m, s, e)
        unsure(e)
        if was_certain then
            unsure_step(s, e.step)
            if entry.step == e.step then unsure(entry) end
            return
        end
    end
    unsure(entry)
end

--- Is there something of the same step that a full queue may have lost instead?
local function share_the_loss(s, entry)
    local len = #s.queue
    if len == 0 or s.queue[len].step ~= entry.step then return false end
    unsure_step(s, entry.step)
    return true
end

local function queue(m, s, entry)
    local limit = m.config.max_queued
    local all, sure = count(m, s)
    local free = room(s)
    local most, least = math.max(0, all - free), math.max(0, sure - free)
    if most >= limit and m.config.drop == "oldest" then
        drop_eldest(m, s, free + 1, entry)
    elseif most >= limit and share_the_loss(s, entry) then
        unsure(entry)
    elseif least >= limit then
        unsure(entry)
        delivery.forsake(m, entry)
        return
    elseif most >= limit then
        unsure(entry)
    end
    table.insert(s.queue, entry)
end

--- Does QoS 0 wait in the queue, which what comes now must not overtake?
local function qos0_waits(m, s)
    local answer = "no"
    for _, e in ipairs(s.queue) do
        if e.qos == 0 then
            if is_certain(m, s, e) then return "yes" end
            answer = "maybe"
        end
    end
    return answer
end

--- At once, or behind others that may be there.
local function deliver_somewhere(m, s, entry)
    local token = entry.token or { open = 1, left = 1 }
    token.open, token.is_owed = token.open + 1, false
    entry.token, entry.is_sure = token, false
    local other = {}
    for field, value in pairs(entry) do other[field] = value end
    table.insert(s.conn.now, other)
    queue(m, s, entry)
end

--- Can the session be given a message of this QoS?
local function takes(m, s, qos) return s.conn or qos > 0 or m.config.queue_qos0 end

local function deliver(m, s, entry)
    entry.step = m.step
    if delivery.is_too_large(s.conn, entry.message) and entry.token then entry.token.is_owed = false end
    local waits = entry.qos == 0 and s.conn and qos0_waits(m, s)
    -- Whether a copy before it has made the elder go depends on which of them came first.
    if waits and entry.has_mates and m.config.drop == "oldest" and (waits == "yes" or s.lost_qos0 == m.step) then
        waits = "maybe"
    end
    if waits == "no" then
        if not delivery.is_too_large(s.conn, entry.message) then table.insert(s.conn.now, entry) end
    elseif waits == "maybe" then
        deliver_somewhere(m, s, entry)
    elseif takes(m, s, entry.qos) then
        queue(m, s, entry)
    else
        delivery.forsake(m, entry)
    end
end

local function entry_of(message, sub, identifiers)
    return { message = message, qos = math.min(message.qos, sub.qos), retain = message.retain and sub.rap,
        identifiers = identifiers, is_sure = true }
end

-- Subscribers ------------------------------------------------------------------------------------

--- The pairs of a table in the order of its keys.
local function by_key(t)
    local keys = {}
    for key in pairs(t) do keys[#keys + 1] = key end
    table.sort(keys)
    local i = 0
    return function()
        i = i + 1
        return keys[i], t[keys[i]]
    end
end
delivery.by_key = by_key

--- The sessions there are, in the order of their clients.
function delivery.sessions(m)
    local out = {}
    for _, id in ipairs(m.ids) do out[#out + 1] = m.sessions[id] end
    return out
end

local function deliver_plain(m, s, subs, message)
    if m.config.overlapping == "each" then
        for _, sub in ipairs(subs) do
            local entry = entry_of(message, sub, { sub.identifier })
            entry.has_mates = #subs > 1
            deliver(m, s, entry)
        end
        return
    end
    local merged, identifiers = { qos = 0, rap = false }, {}
    for _, sub in ipairs(subs) do
        merged.qos = math.max(merged.qos, sub.qos)
        merged.rap = merged.rap or sub.rap
        if sub.identifier then identifiers[#identifiers + 1] = sub.identifier end
    end
    table.sort(identifiers)
    deliver(m, s, entry_of(message, merged, identifiers))
end

local function members_of(m, filter)
    local out = {}
    for _, s in ipairs(delivery.sessions(m)) do
        local sub = s.subs[filter]
        if sub then out[#out + 1] = { session = s, sub = sub } end
    end
    return out
end

--- May it become able while a share asks around?  Workers ask each other, and its connection
--- may have come when the question does.
local function may_come(m, s) return (m.config.workers or 1) > 1 and s.id == m.arriving end

--- The members of each filter that can take the message, and whether some are in two.
local function able_members(m, filters, message)
    local able, is_common, seen = {}, false, {}
    for filter in by_key(filters) do
        able[filter] = {}
        for _, member in ipairs(members_of(m, filter)) do
            member.is_late = not takes(m, member.session, math.min(message.qos, member.sub.qos))
            if not member.is_late or may_come(m, member.session) then
                table.insert(able[filter], member)
                is_common = is_common or seen[member.session] or false
                seen[member.session] = true
            end
        end
    end
    return able, is_common
end

--- To one of the members of each filter; `is_owed`: it must reach one.
local function deliver_shared(m, filters, message, is_owed)
    local able, is_common = able_members(m, filters, message)
    local common = { open = 0, left = 0, is_owed = is_owed }
    for filter, members in by_key(able) do
        local token = is_common and common or { open = 0, left = 0, is_owed = is_owed }
        local has_late = false
        for _, member in ipairs(members) do has_late = has_late or member.is_late end
        token.is_owed = token.is_owed and not (has_late and #members == 1)
        local is_sure = #members == 1 and is_owed and not has_late
        if not is_sure then
            token.open = token.open + #members
            token.left = token.left + math.min(#members, 1)
        end
        for _, member in ipairs(members) do
            member.entry = entry_of(message, member.sub, { member.sub.identifier })
            member.entry.filter, member.entry.is_sure = filter, is_sure
            member.entry.has_mates = is_common
            member.entry.token = not is_sure and token or nil
        end
    end
    for _, members in by_key(able) do
        for _, member in ipairs(members) do
            if member.is_late then
                table.insert(m.late, member)
            else
                deliver(m, member.session, member.entry)
            end
        end
    end
end

--- A client has come: what a share may have kept for it.
function delivery.arrived(m)
    for _, member in ipairs(m.late) do
        local s = member.session
        if m.sessions[s.id] == s then deliver(m, s, member.entry) else delivery.forsake(m, member.entry) end
    end
    m.late, m.arriving = {}, nil
end

--- A message goes to all who want it.  Says who does: "some", "none", or "maybe" where the
--- standard leaves open who counts.
function delivery.route(m, message)
    local shares, who = {}, "none"
    for _, s in ipairs(delivery.sessions(m)) do
        local subs = {}
        for filter, sub in pairs(s.subs) do
            local inner, group = topics.shared(filter)
            if topics.match(inner, message.topic) then
                if group then
                    shares[filter] = true
                elseif not (sub.no_local and s.id == message.from) then
                    subs[#subs + 1] = sub
                end
                if who == "none" then who = "maybe" end
            end
        end
        if #subs > 0 then
            who = "some"
            deliver_plain(m, s, subs, message)
        end
    end
    if next(shares) then deliver_shared(m, shares, message, true) end
    return who
end

--- The session is gone: what it was to share may go to the others (4.8.2), but for QoS 2
--- that was on its way.
function delivery.give_back(m, s)
    local messages, filters = {}, {}
    local function give(e)
        if not filters[e.message] then messages[#messages + 1] = e.message end
        local back = filters[e.message] or {}
        filters[e.message] = back
        if e.filter then back[e.filter] = true end
        for filter in pairs(e.filters or {}) do back[filter] = true end
        if e.token then e.token.is_owed = false end
    end
    for _, e in ipairs(s.flight) do
        if e.qos == 1 then give(e) end
    end
    for _, e in ipairs(s.queue) do
        if delivery.is_open(e) then give(e) end
    end
    for _, message in ipairs(messages) do
        if not delivery.is_expired(m, message) then deliver_shared(m, filters[message], message, false) end
    end
end

-- Retained messages ------------------------------------------------------------------------------

--- A message with RETAIN takes the place of the older one; an empty one only removes it.
function delivery.retain(m, message)
    m.retained[message.topic] = message.payload ~= "" and message or nil
end

--- Those a new subscription is owed.
function delivery.replay(m, s, filter, sub)
    for topic, message in by_key(m.retained) do
        if topics.match(filter, topic) and not delivery.is_expired(m, message) then
            local entry = entry_of(message, sub, { sub.identifier })
            entry.retain, entry.filter_asked = true, filter
            -- 3.8.3.1 leaves open whether No Local means retained messages, too
            local is_own = sub.no_local and message.from == s.id
            entry.is_sure = not is_own and not delivery.is_too_large(s.conn, message)
            table.insert(s.replays, entry)
        end
    end
end

--- Is the retained message still what it was?  One that was replaced before it could be
--- sent need not be.
function delivery.is_current(m, s, entry)
    return m.retained[entry.message.topic] == entry.message and not delivery.is_gone(m, s, entry)
end

-- At rest ----------------------------------------------------------------------------------------

--- What was in flight, and may have been given up, is not there: up to the nth sent.
function delivery.give_up(s, nth)
    for i = #s.flight, 1, -1 do
        local e = s.flight[i]
        if e.conn ~= s.conn and not e.is_sure and e.nth < nth then table.remove(s.flight, i) end
    end
end

local function settle_queue(m, s)
    if #s.queue == 0 then return end
    local owed
    for _, e in ipairs(s.queue) do
        if delivery.is_open(e) and not delivery.is_gone(m, s, e) then
            if e.is_sure then owed = owed or e else delivery.forsake(m, e) end
        else
            s.sent = s.sent + 1 -- it had its place
        end
    end
    if owed then m.fail("%s is not sent to %s, and nothing is in its way", owed.message.name, s.id) end
    s.queue = {}
end

--- What is too large may have been given up as soon as there was a place for it, which
--- something else has taken since.
local function give_up_large(s)
    for _, e in ipairs(s.queue) do
        if delivery.is_too_large(s.conn, e.message) then unsure(e) end
    end
end

--- Everything the broker may send has been sent: what is left has no excuse.
function delivery.settle(m, s)
    give_up_large(s)
    if not s.conn or not delivery.must_send(s) then return end
    for _, e in ipairs(s.flight) do
        if e.conn ~= s.conn and e.is_sure then m.fail("%s is not sent to %s again", e.message.name, s.id) end
    end
    delivery.give_up(s, FOREVER)
    settle_queue(m, s)
    if #s.replays == 0 then return end
    for _, e in ipairs(s.replays) do
        if e.is_sure and delivery.is_current(m, s, e) then
            m.fail("the retained %s is not sent to %s", e.message.name, s.id)
        end
    end
    s.replays = {}
end

return delivery
