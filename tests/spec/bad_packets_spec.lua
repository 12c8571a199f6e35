-- SPDX-License-Identifier: BSD-2-Clause
--
-- Bad packets, row by row: the tables are in bad_packets/, where bits.lua says how to read them.

local broker = require "support.broker"
local proc = require "support.proc"
local run = require "spec.bad_packets.run"
local shared = require "spec.conformance.shared"
local wait = require "support.wait"

local LEAST = 200 -- rows a version
local MIB = 1024

-- The statements of a standard by their numbers.
local function statements_of(version)
    local file = ({ [4] = "statements_3_1_1", [5] = "statements_5_0" })[version]
    local known = {}
    for _, s in ipairs(file and require("spec.conformance." .. file) or {}) do known[s.id] = true end
    return known
end

-- A sanitizer keeps what was freed, for a while.
local function keeps_freed_memory() return broker.binary():find "san/" ~= nil end

-- One broker and one witness for all rows of a version.
local function stage(version)
    local running, witness, served = nil, nil, 0
    local it_is = {}

    function it_is.broker()
        if running then return running.broker end
        running = shared.start { config = run.CONFIG }
        witness = running.broker:client("witness", { version = version }):subscribe("#", 1)
        running.broker.clients = {}
        return running.broker
    end

    --- The witness is served, and has heard nothing else.
    function it_is.still_served()
        served = served + 1
        witness:publish("still/served", tostring(served), { qos = 1 })
            :expect_publish("still/served", tostring(served)):ack()
    end

    function it_is.over(failure)
        local it_was = running
        running = nil
        if not it_was then return end
        witness:drop()
        shared.stop(it_was, failure)
    end

    --- Play `scene(b)`; whatever comes of it, the witness must be served afterwards.  A broker that
    --- does not serve is replaced, so that one failure stays one.
    function it_is.played(scene)
        local b = it_is.broker()
        local ok, err = pcall(scene, b)
        local serves, why = pcall(it_is.still_served)
        for _, client in ipairs(b.clients) do client:drop() end
        b.clients = {}
        if not serves then pcall(it_is.over, why) end
        if not ok then error(err, 0) end
        if not serves then error("afterwards the witness is not served: " .. why, 0) end
    end

    --- How many sessions there are, as the policy sees it.
    function it_is.clients()
        witness:publish("how/many", "")
        return tonumber(witness:expect("PUBLISH", { topic = "how/many" }).payload)
    end

    return it_is
end

-- Send `head` and then 100 MB, for as long as the broker takes them; the most its memory grew, in KiB.
local function flood(b, c, head)
    local block, deadline = ("\0"):rep(65536), wait.deadline(20)
    local before, most, sent = b:rss_kb(), 0, 0
    c:send_raw(head)
    while sent < 100 * MIB * 1024 do
        local n, why = c.sock:send(block)
        if n then
            sent = sent + n
        elseif why ~= "again" then
            break
        elseif not c.sock:wait("w", 0.1) and proc.now() > deadline then
            c:fail("the broker neither reads nor closes: %d bytes sent", sent)
        end
        most = math.max(most, b:rss_kb() - before)
    end
    return most
end

for version = 3, 5 do
    describe(("MQTT %s, bad packets:"):format(({ "3.1", "3.1.1", "5.0" })[version - 2]), function()
        local rows = run.rows(version)
        local on = stage(version)
        local fds, rss

        teardown(on.over)

        it("begins with a witness", function()
            on.played(function(b)
                b:client("good", { version = version }):disconnect()
                fds, rss = b:fds(), b:rss_kb()
            end)
        end)

        for _, row in ipairs(rows) do
            it(("%s (%s)"):format(row.name, row.statement), function()
                on.played(function(b) run.play(b, row, version) end)
            end)
        end

        it(("has %d rows, each with a name of its own and a statement that exists"):format(#rows), function()
            assert.is_true(#rows >= LEAST)
            local names, known = {}, statements_of(version)
            for _, row in ipairs(rows) do
                assert.is_nil(names[row.name], row.name)
                names[row.name] = true
                assert(type(row.statement) == "string", row.name)
                local is_numbered = row.statement:find "^MQTT%-"
                assert(not is_numbered or known[row.statement], row.statement)
            end
        end)

        for _, row in ipairs {
            { "of zeros in place of CONNECT", "\0" }, { "of a CONNECT that is too large", "\x10\x80\xC2\xD7\x2F" },
            { "of a PUBLISH in place of CONNECT", "\x30\x80\xC2\xD7\x2F" },
            { "behind a CONNECT that says no", "\x10\2\0\0" },
        } do
            it("100 MB " .. row[1] .. " make nothing grow", function()
                on.played(function(b)
                    local grown = flood(b, b:raw { version = version }, row[2])
                    assert.is_true(grown < MIB, grown .. " KiB")
                end)
            end)
        end

        it("100 MB behind a malformed packet make nothing grow", function()
            on.played(function(b)
                local grown = flood(b, b:client("flood", { version = version }), "\0\0")
                assert.is_true(grown < MIB, grown .. " KiB")
            end)
        end)

        it("ends with the connections and the memory it began with", function()
            on.played(function(b)
                wait.till("descriptors to be given back", function() return b:fds() <= fds end)
                wait.till("sessions to end", function() return on.clients() == 1 end)
                local grown = b:rss_kb() - rss
                assert.is_true(keeps_freed_memory() or grown < 2 * MIB, grown .. " KiB")
            end)
        end)
    end)
end
