-- SPDX-License-Identifier: BSD-2-Clause
--
-- player.lua -- plays a sequence to the broker and to the reference, step by step.
--
-- A sequence is { config = {...}, actions... }.  The broker is whatever offers what core.c
-- describes; time is its own, one millisecond a step, so that no two timers begun in
-- different steps are due at once.  With `workers` in the configuration, some actions are
-- one step.

local model = require "model.model"
local mqtt = require "support.mqtt"
local observe = require "model.observe"
local delivery = require "model.delivery"

local player = {}

-- The conversation, for a reader ------------------------------------------------------------------

local function properties(props)
    local out = {}
    for name, value in delivery.by_key(props or {}) do
        if type(value) == "table" then value = table.concat(value, "+") end
        if name ~= "subscription_id" or not props.subscription_ids then out[#out + 1] = name .. "=" .. value end
    end
    return #out > 0 and " {" .. table.concat(out, " ") .. "}" or ""
end

local function filters(p)
    local out = {}
    for _, f in ipairs(p) do
        if type(f) == "string" then
            out[#out + 1] = " " .. f
        else
            out[#out + 1] = (" %s qos=%d%s%s%s"):format(f.filter, f.qos, f.no_local and " no_local" or "",
                f.retain_as_published and " retain_as_published" or "",
                f.retain_handling and f.retain_handling > 0 and " retain_handling=" .. f.retain_handling or "")
        end
    end
    return table.concat(out, ",")
end

local function describe(p, version)
    local text = mqtt.describe(p)
    if p.type == "CONNECT" then
        text = ("CONNECT %s%s%s"):format(version == 5 and "5.0" or "3.1.1", p.clean and " clean" or "",
            p.keepalive and p.keepalive > 0 and " keep_alive=" .. p.keepalive or "")
        if p.will then
            text = ("%s will(%s %s qos=%d%s%s)"):format(text, p.will.topic, p.will.payload, p.will.qos,
                p.will.retain and " retain" or "", properties(p.will.props))
        end
    end
    return text .. filters(p) .. properties(p.props)
end

-- Playing ------------------------------------------------------------------------------------------

local function wire_of(broker, say)
    local wire = {}
    local name = {}
    function wire.open() return broker:open() end

    function wire.send(n, packet, version)
        name[n] = name[n] or packet.client_id
        if say then say("%s -> %s", name[n], describe(packet, version)) end
        broker:send(n, mqtt.encode(packet, version))
    end

    function wire.close(n)
        if say then say("%s    vanishes", name[n]) end
        broker:close(n)
    end

    return wire
end

local function hear(m, conn, input, say)
    local bytes, is_over = input[1], input[2]
    conn.bytes = (conn.bytes or "") .. bytes
    local at = 1
    while true do
        local p, next_at = mqtt.decode(conn.bytes, at, conn.version)
        if not p then break end
        if say then say("%s <- %s", conn.id, describe(p, conn.version)) end
        observe.packet(m, conn, p)
        at = next_at
    end
    conn.bytes = conn.bytes:sub(at)
    if is_over then
        if say then say("%s    is closed by the broker", conn.id) end
        observe.over(m, conn)
    end
end

--- All that follows has come: is it what it should be?
local function check(m, broker, say)
    local input = broker:settle()
    if next(input) then
        for n in delivery.by_key(input) do hear(m, m.conns[n], input[n], say) end
    end
    for n, conn in pairs(m.conns) do
        observe.rest(m, conn)
        if conn.is_over then m.conns[n] = nil end
    end
    for _, s in pairs(m.sessions) do delivery.settle(m, s) end
end

local function advance(m, broker, ms)
    if ms <= 0 then return end
    m.now = m.now + ms
    broker:advance(ms)
end

--- Time passes: just before something is due nothing happens, then it does.
local function pass(m, broker, ms, say)
    local stop = m.now + ms
    while true do
        local due = model.next_event(m)
        if due > stop then break end
        if say then say("   ... %.3f s pass", (due - m.now) / 1000) end
        advance(m, broker, due - 1 - m.now)
        check(m, broker, say)
        advance(m, broker, due - m.now)
        model.events(m)
        check(m, broker, say)
    end
    if say and stop - m.now > 1 then say("   ... %.3f s pass", (stop - m.now) / 1000) end
    advance(m, broker, stop - m.now)
end

local ACKS_MAX = 200

local function acknowledge_all(m, broker, a, say)
    for _ = 1, ACKS_MAX do
        if not model.act(m, { "ack", c = a.c, nth = 1 }) then return end
        check(m, broker, say)
    end
end

local function step(m, broker, a, say)
    if a[1] == "pass" then
        pass(m, broker, a.ms, say)
    elseif a[1] == "ack_all" then
        acknowledge_all(m, broker, a, say)
    elseif model.act(m, a) then
        check(m, broker, say)
    end
    pass(m, broker, 1)
end

local PLENTY = 1000
local OWN = { ping = "any", pubrel = "any", stray = "any", ack = "own", subscribe = "own", unsubscribe = "own" }

--- Beside what can it be done at once by somebody else, with nothing left open by it?  "own":
--- what touches the client's own session alone; "publish": another publish; "any": both; nil:
--- nothing.
local function nature(m, a)
    local s = m.sessions[a.c]
    if a[1] == "publish" then return not a.vanish and "publish" or nil end
    if a[1] == "connect" then return (not s or not (s.conn or a.clean)) and "own" or nil end
    -- Whether it makes room for what comes matters where room is scarce.
    if a[1] == "ack" and m.config.max_queued >= PLENTY then return "any" end
    return OWN[a[1]]
end

--- Does the client's time begin anew with it?
local function is_timed(m, a)
    local s = m.sessions[a.c]
    return a.keep_alive or (s and s.conn and s.conn.keep_alive > 0)
end

--- How many actions from the ith on are one step: those of different clients, for threads that
--- work side by side.  Which of two messages is retained for a topic would be left open, and which
--- of two clients whose time is over has gone first.
local function together(m, sequence, i)
    if (m.config.workers or 1) == 1 then return 1 end
    local seen, all, len = {}, "any", 0
    for at = i, #sequence do
        local a = sequence[at]
        local one = nature(m, a)
        local fits = one and (one == "any" or all == "any" or one == all)
        local is_timed_too = seen.timed and is_timed(m, a)
        if not fits or seen[a.c] or is_timed_too or (a.retain and seen[a.topic]) then break end
        seen.timed = seen.timed or is_timed(m, a)
        if one ~= "any" then all = one end
        seen[a.c], len = true, len + 1
        if a.retain then seen[a.topic] = true end
    end
    return math.max(len, 1)
end

local function step_together(m, broker, sequence, first, last, say)
    for i = first, last do model.act(m, sequence[i], i > first) end
    check(m, broker, say)
    pass(m, broker, 1)
end

local function play(m, broker, sequence, say)
    local i = 1
    while i <= #sequence do
        local len = together(m, sequence, i)
        m.at = i
        if len == 1 then
            step(m, broker, sequence[i], say)
        else
            step_together(m, broker, sequence, i, i + len - 1, say)
        end
        i = i + len
    end
end

--- Play it.  Nothing when all is well; else what is wrong, and at which action.  `say`, if
--- given, is told the conversation line by line.
function player.play(new_broker, sequence, say)
    local broker = new_broker(sequence.config)
    local m = model.new(sequence.config, wire_of(broker, say))
    local ok, fault = xpcall(play, function(e)
        return type(e) == "table" and e.fault or debug.traceback(e, 2)
    end, m, broker, sequence, say)
    broker:free()
    if not ok then return fault, m.at end
end

return player
