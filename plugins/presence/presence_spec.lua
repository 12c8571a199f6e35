-- SPDX-License-Identifier: BSD-2-Clause
--
-- presence: what is said of clients that come, go, and vanish while nobody looks.

local broker = require "support.broker"
local wait = require "support.wait"
local with_broker = broker.with_broker

local WITHOUT = "allow_anonymous = true\n"
local PLUGIN = WITHOUT .. 'plugin("presence", {%s})\n'

local function with_presence(options, spec) with_broker({ config = PLUGIN:format(options) }, spec) end

-- The next message must be about `topic` and match these patterns.
local function expect(watcher, topic, ...)
    local packet = watcher:expect("PUBLISH", { topic = topic })
    for _, pattern in ipairs { ... } do assert.truthy(packet.payload:find(pattern), packet.payload) end
    return packet
end

local function reload(b, config, generation)
    b:configure(config)
    b:signal "HUP"
    b:log_wait(("(generation %d is in place)"):format(generation))
end

describe("presence", function()
    it("tells who comes and how they go", function()
        with_presence("", function(b)
            local w = b:client("w", { version = 5 }):subscribe("presence/#", 0)
            expect(w, "presence/w", '"status":"online"')
            local a = b:client("a", { version = 5, username = "ada" })
            expect(w, "presence/a", '^{"address":"127%.0%.0%.1:%d+","clientid":"a","since":%d+%.%d+,'
                .. '"status":"online","time":[%d.]+,"username":"ada"}$')
            a:disconnect()
            expect(w, "presence/a", '"normal":true', '"reason_code":0', '"status":"offline"', '"username":"ada"')

            -- without a word, with a reason to have the will sent, thrown out, taken over
            b:client("b", { version = 5 }):drop()
            expect(w, "presence/b", '"online"')
            expect(w, "presence/b", '"normal":false', '"offline"', "closed the connection")
            b:client("c", { version = 5 }):disconnect(4)
            expect(w, "presence/c", '"online"')
            expect(w, "presence/c", '"normal":false', '"offline"')
            b:client("d"):send { type = "SUBSCRIBE", id = 0, { filter = "x", qos = 0 } }
            expect(w, "presence/d", '"online"')
            expect(w, "presence/d", '"normal":false', '"reason_code":%d%d%d', '"offline"')
            b:client("e")
            expect(w, "presence/e", '"online"')
            b:client("e")
            expect(w, "presence/e", '"offline"', "taken over")
            expect(w, "presence/e", '"online"')

            -- it is retained, and a name is one level
            b:client("late"):subscribe("presence/b", 0):expect_publish("presence/b", nil, { retain = true })
            expect(w, "presence/late", '"online"')
            b:client("../+/#%")
            expect(w, "presence/..%2F%2B%2F%23%25", '"clientid":"%.%./%+/#%%"', '"online"')
        end)
    end)

    it("puts right what happened while nobody looked", function()
        with_presence("", function(b)
            local stays = b:client "stays"
            local goes = b:client("goes", { clean = false })
            reload(b, WITHOUT, 2)
            goes:drop()
            b:log_wait "client goes .- disconnected(:)"
            b:client "comes"
            local forger = b:client("forger"):publish("presence/nobody", '{"status":"online","clientid":{}}',
                { retain = true, qos = 1 })
            forger:publish("presence/text", "online", { retain = true, qos = 1 }):disconnect()
            local w = b:client("w"):subscribe("presence/#", 0)
            local seen = {}
            for _ = 1, 4 do
                local p = w:expect "PUBLISH"
                seen[p.topic] = p.payload
            end
            assert.truthy(seen["presence/goes"]:find '"online"')
            reload(b, PLUGIN:format "", 3)
            seen = {}
            wait.till("all to be put right", function()
                local p = w:expect "PUBLISH"
                seen[p.topic] = p.payload
                return seen["presence/goes"] and seen["presence/nobody"] and seen["presence/comes"]
                    and seen["presence/w"]
            end)
            assert.truthy(seen["presence/goes"]:find '"offline"')
            assert.truthy(seen["presence/nobody"]:find '"offline"')
            assert.truthy(seen["presence/comes"]:find '"online"')
            assert.is_nil(seen["presence/stays"]) -- it has been said
            assert.is_nil(seen["presence/text"])
            stays:ping()
        end)
    end)

    it("takes another topic, leaves some out, and forgets who is gone", function()
        with_presence([[topic = "who/${username}/${clientid}/state", forget = true, qos = 0,
            clients = function(client) return client.username ~= nil end]], function(b)
            local w = b:client("w"):subscribe("who/#", 0)
            local a = b:client("a", { username = "a/b" })
            expect(w, "who/a%2Fb/a/state", '"online"')
            a:disconnect()
            w:expect_publish("who/a%2Fb/a/state", "")
            b:client("late"):subscribe("who/#", 0):expect_nothing()
        end)
    end)

    it("does not load with options that make no sense", function()
        for options, says in pairs {
            ["topic = 'p'"] = "topic: ${clientid} is missing",
            ["topic = 'p/#/${clientid}'"] = "topic: expected a topic name",
            ["topic = 'p-${clientid}'"] = "topic: expected a topic name with placeholders as levels, got p-${clientid}",
            ["topic = 'p/${id}'"] = "unknown placeholder ${id}",
            ["qos = 3"] = "qos: expected 0, 1 or 2",
            ["clients = 'all'"] = "clients: expected a function",
            ["topics = ''"] = 'did you mean "topic"?',
        } do
            broker.with_dir(function(dir)
                broker.write_file(dir .. "/sol.lua", 'plugin("presence", {' .. options .. "})")
                local result = broker.sol("check", "-c", dir .. "/sol.lua")
                assert.not_equal(0, result.status, options)
                assert.truthy(result.stderr:find(says, 1, true), result.stderr)
            end)
        end
    end)
end)
