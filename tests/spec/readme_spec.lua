-- SPDX-License-Identifier: BSD-2-Clause
--
-- README.md, word by word: its policies are run, its commands typed, their output compared.

local broker = require "support.broker"
local wait = require "support.wait"

local readme = broker.read_file "README.md"

--- The fenced blocks of one language, in order.
local function blocks(language)
    local found = {}
    for text in readme:gmatch("```" .. language .. "\n(.-)```") do found[#found + 1] = text end
    return found
end

--- The commands of a console block: { command = , output = } each.
local function commands(block)
    local list = {}
    for line in block:gmatch "[^\n]+" do
        local command = line:match "^%$ (.*)"
        if command then
            list[#list + 1] = { command = command, output = "" }
        else
            list[#list].output = list[#list].output .. line .. "\n"
        end
    end
    return list
end

local policies, consoles = blocks "lua", blocks "console"

-- The README's broker listens on 1883; here on a port that is free.
local function policy(b, n)
    return (table.concat(policies, "\n", 1, n):gsub("localhost:1883", "127.0.0.1:" .. b.port))
end

local function typed(b, command)
    local shell = command:gsub("^(mosquitto_%a+)", "%1 -p " .. b.port)
    return { "/bin/sh", "-c", "exec " .. shell }
end

local function check(b, row)
    local result = broker.run(typed(b, row.command))
    assert.equal(row.output, result.stdout .. result.stderr, row.command)
end

--- With times and counts of instructions as N.
local function without_times(text)
    return (text:gsub("[%d.]+ [mu]?s, %d+ instructions", "N"))
end

describe("README.md", function()
    it("has the blocks this spec knows", function()
        assert.equal(2, #policies)
        assert.equal(4, #consoles)
    end)

    it("shows what happens", function()
        local anywhere = 'listen "mqtt://127.0.0.1:$PORT"'
        broker.with_broker({ listen = anywhere, config = "" }, function(b)
            b:write("sol.lua", policy(b, 1))
            b:signal "HUP"
            b:log_wait "generation 2 is in place"
            broker.with_dir(function(dir)
                local subscribe = commands(consoles[1])[1]
                local publish = commands(consoles[2])
                local subscriber = broker.spawn(dir, typed(b, subscribe.command))
                b:log_wait "connected"
                wait.till("the subscription", function()
                    broker.run(typed(b, publish[1].command))
                    return broker.read_file(dir .. "/out") ~= ""
                end)
                local first_line = broker.read_file(dir .. "/out"):match "^[^\n]*\n"
                assert.equal(subscribe.output, first_line)
                check(b, publish[2])
                subscriber:kill(15)
                subscriber:wait(wait.scaled())
            end)

            local explain = commands(consoles[3])[1]
            local shell = explain.command:gsub("^%S+", "%%s"):format(b.argv[#b.argv - 2])
            local result = broker.run({ "/bin/sh", "-c", shell }, { cwd = b.dir })
            assert.equal(without_times(explain.output), without_times(result.stdout .. result.stderr))

            b:write("sol.lua", policy(b, 2))
            b:signal "HUP"
            b:log_wait "generation 3 is in place"
            check(b, commands(consoles[4])[1])
        end)
    end)
end)
