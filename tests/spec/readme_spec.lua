-- SPDX-License-Identifier: BSD-2-Clause
--
-- README.md, word by word: its policies are run, its commands typed, their output compared.

local broker = require "support.broker"
local document = require "support.document"
local wait = require "support.wait"

local readme = broker.read_file "README.md"

local policies, consoles = document.blocks(readme, "lua"), document.blocks(readme, "console")

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
    return (text:gsub("[%d.]+ [mu]?s, %d+ instructions", "N"):gsub(": [%d.]+ seconds", ": N seconds"))
end

--- A command of Sol's own, in the broker's folder.
local function typed_sol(b, command)
    local line = "cd %s && exec env XDG_RUNTIME_DIR=%s %s %s"
    return { "/bin/sh", "-c", line:format(b.dir, b.dir, broker.binary(), command:match "^%S+ (.*)") }
end

local function check_sol(b, row)
    local result = broker.run(typed_sol(b, row.command))
    assert.equal(without_times(row.output), without_times(result.stdout .. result.stderr), row.command)
end

local function reload(b, n, generation)
    b:write("sol.lua", policy(b, n))
    b:signal "HUP"
    b:log_wait("generation " .. generation .. " is in place")
end

describe("README.md", function()
    it("has the blocks this spec knows", function()
        assert.equal(2, #policies)
        assert.equal(6, #consoles)
    end)

    it("shows what happens", function()
        local anywhere = 'listen "mqtt://127.0.0.1:$PORT"'
        broker.with_broker({ listen = anywhere, config = "" }, function(b)
            reload(b, 1, 2)
            broker.with_dir(function(dir)
                local subscribe = document.commands(consoles[1])[1]
                local publish = document.commands(consoles[2])
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

            reload(b, 2, 3)
            check(b, document.commands(consoles[3])[1])
            b:write("first_spec.lua", document.blocks(readme, "lua test")[1])
            check_sol(b, document.commands(consoles[4])[1])
            check_sol(b, document.commands(consoles[5])[1])

            local trace = document.commands(consoles[6])[1]
            broker.with_dir(function(dir)
                local tracer = broker.spawn(dir, typed_sol(b, trace.command))
                local me = b:client "me"
                wait.till("the trace to begin", function()
                    me:publish("sensors/kitchen/raw", '{"f":68}')
                    return broker.read_file(dir .. "/out"):find "nobody decided\n"
                end)
                tracer:kill(2)
                tracer:wait(wait.scaled())
                local said = broker.read_file(dir .. "/out"):match "^.-nobody decided\n"
                local here = said:gsub(b.dir:gsub("%W", "%%%0") .. "/", "") -- the README's broker knows it so
                assert.equal(without_times(trace.output), without_times(here))
            end)
        end)
    end)
end)
