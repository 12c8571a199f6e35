-- SPDX-License-Identifier: BSD-2-Clause
--
-- run.lua -- the rows of a version, and how one of them is played.
--
-- The good packets of a state and the bad one leave in one write.  A witness, connected from the
-- first row to the last and subscribed to "#", is served after each row; what he hears must be his
-- own message, so that a bad packet that was carried out after all shows.

local mqtt = require "support.mqtt"
local states = require "spec.bad_packets.states"

local run = {}

local FILES = { "framing", "cut", "strings", "connect", "publish", "acks", "filters", "properties", "auth" }
local ONLY_5 = { properties = true, auth = true }

--- Settings that the rows are made for.
run.CONFIG = ([[
    allow_anonymous = true
    max_packet_size = 4096
    max_topic_alias = 4
    max_inflight = %d
    sol.on("auth", function(_, exchange)
        if exchange.method ~= "challenge" then return end
        if exchange.data == "enough" then return sol.allow() end
        return sol.continue "go on"
    end)
    sol.on("publish", "how/many", function(_, message)
        message.payload = tostring(#sol.clients {})
    end)
]]):format(states.RECEIVE_MAXIMUM)

--- All rows of a version, in order: { name=, bytes=, outcome=, statement=, state=, why= }.
function run.rows(version)
    local rows = {}
    local function add(name, bytes, outcome, statement, extra)
        extra = extra or {}
        rows[#rows + 1] = { name = name, bytes = bytes, outcome = outcome, statement = statement,
            state = extra.state or "open", why = extra.why }
    end
    for _, file in ipairs(FILES) do
        if version == 5 or not ONLY_5[file] then
            for _, section in ipairs(require("spec.bad_packets." .. file)) do section(add, version) end
        end
    end
    return rows
end

-- What the broker must do ---------------------------------------------------------------------------

local outcomes = {}

function outcomes.ends(c, outcome, row)
    local is_told = outcome.rc and c.version == 5 and row.state ~= "first"
    if is_told then c:expect("DISCONNECT", { rc = outcome.rc }) end
    c:expect_close()
end

function outcomes.connack(c, outcome)
    c:expect("CONNACK", { rc = outcome.rc, session_present = false }):expect_close()
end

function outcomes.answers(c, outcome)
    for _, answer in ipairs(outcome) do c:expect(answer[1], answer[2]) end
    c:ping()
    if c.inbox[1] then c:fail("wanted nothing more, got %s", mqtt.describe(c.inbox[1])) end
end

-- Playing -------------------------------------------------------------------------------------------

-- Take the answers to the good packets; gives the packet that the state is about.
local function hear(c, state)
    local about
    for _, kind in ipairs(state.hear) do
        local packet = c:await(kind)
        if kind == state.about then about = packet end
    end
    return about
end

local function send(c, row, state)
    local good = state.say(c.version)
    if not state.about then
        c:send_raw(good .. row.bytes)
        return hear(c, state)
    end
    local id = hear(c:send_raw(good), state).id
    if state.go_on then c:send_raw(state.go_on(c.version, id)):await(state.then_hear, id) end
    c:send_raw(type(row.bytes) == "function" and row.bytes(id) or row.bytes)
end

--- Send the packet of `row` in its state and see what becomes of it.
function run.play(b, row, version)
    local state = assert(states[row.state], row.state)
    local c = b:raw { version = version }
    send(c, row, state)
    c.version = row.outcome.format or version
    outcomes[row.outcome.kind](c, row.outcome, row)
    c:drop()
end

return run
