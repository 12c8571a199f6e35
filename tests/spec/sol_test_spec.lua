-- SPDX-License-Identifier: BSD-2-Clause
--
-- `sol test` as a command: what it runs, what it says, how it ends.

local broker = require "support.broker"
local document = require "support.document"
local with_dir, write_file = broker.with_dir, broker.write_file

local GOOD = [[
local testing = require "sol.testing"
describe("the policy", function()
    it("lets everybody in", function()
        assert.is_true(testing.broker { config = "%s/sol.lua" }:connect({}).connected)
    end)
    it("drops noise", function()
        local c = testing.broker { config = "%s/sol.lua" }:connect {}
        c:subscribe "#"
        c:publish("noise/1", "x")
        c:expect_none()
    end)
end)
]]

local POLICY = [[
sol.on("publish", "noise/#", function() return sol.drop() end)
sol.on("publish", "never/#", function() end)
]]

-- Runs `sol test` with the words after writing `files`; %s in a file or word is their folder.
local function run(files, ...)
    local words, result = { ... }, nil
    with_dir(function(dir)
        for name, text in pairs(files) do write_file(dir .. "/" .. name, (text:gsub("%%s", dir))) end
        for i, word in ipairs(words) do words[i] = word:gsub("%%s", dir) end
        result = broker.sol("test", table.unpack(words))
        result.stdout = result.stdout:gsub(dir:gsub("%p", "%%%0") .. "/", "")
    end)
    return result
end

local function ends(result, status, ...)
    local said = result.stdout .. result.stderr
    assert.equal(status, result.status, said)
    for _, part in ipairs { ... } do assert.truthy(said:find(part, 1, true), said .. "\nhas no\n" .. part) end
    return said
end

describe("sol test", function()
    it("runs a file, and names the handlers that never ran", function()
        local result = run({ ["sol.lua"] = POLICY, ["a_spec.lua"] = GOOD }, "%s/a_spec.lua")
        ends(result, 0, "2 successes / 0 failures / 0 errors", "1 of 2 handlers ran\nnever ran:\n  publish sol.lua:2")
    end)

    it("lists what every handler did when asked", function()
        local result = run({ ["sol.lua"] = POLICY, ["a_spec.lua"] = GOOD }, "--coverage", "%s/a_spec.lua")
        ends(result, 0, "publish sol.lua:1, 1 call: 1 drop", "never ran:\n  publish sol.lua:2")
    end)

    it("runs several files and folders, and those tests whose names match", function()
        local one = 'require "sol.testing" it("one", function() end)'
        local two = one .. 'it("other", function() end)'
        local files = { ["a_spec.lua"] = one, ["b_spec.lua"] = two, ["c.lua"] = "error()",
            ["d_spec.lua"] = "error 'not for sol test'" }
        ends(run(files, "%s/a_spec.lua", "%s/b_spec.lua"), 0, "3 successes")
        ends(run(files, "%s"), 0, "3 successes", "left out 1 that do not use sol.testing")
        ends(run(files, "--filter", "other", "%s"), 0, "1 success /")
        ends(run(files, "--filter=other", "-o", "TAP", "%s"), 0, "ok 1 - other")
    end)

    it("tells what was expected, and where", function()
        local result = run({ ["a_spec.lua"] = [[
            local testing = require "sol.testing"
            it("hears", function()
                local c = testing.broker { text = "" }:connect { client_id = "c" }
                c:expect("t", "x")
            end)
        ]] }, "%s/a_spec.lua")
        ends(result, 1, "0 successes / 1 failure",
            'a_spec.lua:4: expected "x" on "t", but client "c" has received nothing')
    end)

    it("shows the errors of handlers with their place", function()
        local result = run({
            ["sol.lua"] = "\nsol.on('publish', function(_, message) return message.topic.x.y end)",
            ["a_spec.lua"] = [[
                local testing = require "sol.testing"
                it("publishes", function()
                    testing.broker { config = "%s/sol.lua" }:connect({}):publish("t", "x")
                end)
            ]],
        }, "%s/a_spec.lua")
        ends(result, 1, "1 error", "a_spec.lua:3: in the policy: publish handler",
            "sol.lua:2: attempt to index a nil value")
    end)

    it("ends a handler that does not end", function()
        local result = run({ ["a_spec.lua"] = [[
            local testing = require "sol.testing"
            it("publishes", function()
                testing.broker { text = [=[
                    hook_budget = 0.05
                    sol.on("publish", function() while true do end end)
                ]=] }:connect({}):publish("t", "x")
            end)
            it("goes on", function() end)
        ]] }, "%s/a_spec.lua")
        ends(result, 1, "1 success / 0 failures / 1 error", "policy:2", "ran past its budget of 50 ms")
    end)

    it("says what is wrong with a file", function()
        ends(run({ ["a_spec.lua"] = "it(" }, "%s/a_spec.lua"), 1, "a_spec.lua:1:", "1 error")
        ends(run({ ["a_spec.lua"] = "error 'at once'" }, "%s/a_spec.lua"), 1, "at once")
        ends(run({ ["a_spec.lua"] = [[
            require "sol.testing".broker { config = "%s/sol.lua" }
        ]], ["sol.lua"] = "foo = 1" }, "%s/a_spec.lua"), 1, 'sol.lua:1: unknown setting "foo"')
        ends(run({}, "%s/none_spec.lua"), 2, "none_spec.lua: No such file or directory")
        ends(run({ ["a_spec.lua"] = "" }, "%s"), 2, "no *_spec.lua here uses sol.testing")
        ends(run({}), 2, "which file?")
        ends(run({}, "--filter", "x"), 2, "which file?")
        ends(run({ ["a_spec.lua"] = "" }, "--nonsense", "%s/a_spec.lua"), 1, "--nonsense")
        ends(run({}, "--help"), 0, "usage: sol test")
    end)

    it("ends with 1 however many tests fail", function()
        ends(run({ ["a_spec.lua"] = "for i = 1, 256 do it('fails', function() assert.is_true(false) end) end" },
            "%s/a_spec.lua"), 1, "256 failures")
    end)

    it("says what to install when busted is missing", function()
        local result
        with_dir(function(dir)
            write_file(dir .. "/a_spec.lua", "")
            result = broker.run({ broker.binary(), "test", dir .. "/a_spec.lua" },
                { env = { "LUA_PATH=" .. dir .. "/?.lua", "LUA_PATH_5_4=" .. dir .. "/?.lua" } })
        end)
        ends(result, 2, "sol test needs busted: apt install lua-busted")
    end)

    it("leaves no file behind", function()
        local result
        with_dir(function(dir)
            write_file(dir .. "/a_spec.lua", [[
                local testing = require "sol.testing"
                local outer = testing.broker { text = "", files = { x = "1" } }
                it("fails", function()
                    testing.broker { text = "sol.read_file 'y'", files = { y = "2" } }
                    assert.is_nil(outer)
                end)
            ]])
            local env = { "TMPDIR=" .. dir }
            result = broker.run({ broker.binary(), "test", dir .. "/a_spec.lua" }, { env = env })
            result.left = broker.run({ "ls", dir }).stdout
        end)
        ends(result, 1, "1 failure")
        assert.equal("a_spec.lua\n", result.left)
    end)

    it("is fast: a fresh broker and policy for each of hundreds of tests", function()
        local count = broker.is_lean() and 500 or 50
        local result = run({ ["a_spec.lua"] = [[
            local testing = require "sol.testing"
            local start = os.clock()
            teardown(function() print(("\ncpu %.3f"):format(os.clock() - start)) end)
            for i = 1, ]] .. count .. [[ do
                it("is quick " .. i, function()
                    local b = testing.broker { text = "sol.on('publish', function() return sol.drop() end)" }
                    local c = b:connect { client_id = "c" }
                    c:subscribe "t"
                    assert.equal(0, c:publish("t", "x"))
                    c:expect_none()
                end)
            end
        ]] }, "%s/a_spec.lua")
        ends(result, 0, count .. " successes")
        local seconds, cpu = result.stdout:match "pending : ([%d.]+) seconds", result.stdout:match "cpu ([%d.]+)"
        print(("\nsol test: %d tests in %s s: %.0f a second, %.0f a second of processor time"):format(count, seconds,
            count / seconds, count / cpu))
    end)

    it("says what docs/testing.md says", function()
        local docs = broker.read_file "docs/testing.md"
        local blocks, consoles = document.blocks(docs, "lua"), document.blocks(docs, "console")
        assert.equal(2, #blocks)
        assert.equal(3, #consoles)
        with_dir(function(dir)
            write_file(dir .. "/sol_spec.lua", blocks[2])
            for i, console in ipairs(consoles) do
                write_file(dir .. "/sol.lua", i < 3 and blocks[1] or (blocks[1]:gsub("reading%.f", "reading.value")))
                local command, output = console:match "^%$ sol ([^\n]+)\n(.*)$"
                local words = { broker.binary() }
                for word in command:gmatch "%S+" do words[#words + 1] = word end
                local said = broker.run(words, { cwd = dir }).stdout
                assert.equal(output, (said:gsub(": %d+%.%d+ seconds", ": 0.01 seconds")))
            end
        end)
    end)
end)
