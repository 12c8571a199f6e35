-- SPDX-License-Identifier: BSD-2-Clause
--
-- What a policy does for a client by its own word: subscribes it, and sends to it alone.

local broker = require "support.broker"
local eval = require "support.eval"
local with_broker = broker.with_broker

-- Of another worker's client less is known.
local ONE = "workers = 1\n"

describe("client:subscribe", function()
    it("subscribes without asking, and sends what is retained", function()
        with_broker({ config = [[
            sol.on("connected", function(client)
                assert(client:subscribe("to/" .. client.id .. "/#", { qos = 1 }))
            end)
            sol.on("authorize", function(_, request) return request.action ~= "subscribe" end)
            sol.on("subscribed", function(client, fact)
                sol.publish("told", client.id .. " " .. fact.filter .. " " .. fact.qos)
            end)
            sol.on("start", function()
                local all <const> = "told"
                sol.subscribe(all, function(m) sol.log("told %s", m.payload) end)
                sol.publish("to/c/kept", "old", { retain = true, qos = 1 })
            end)
        ]] }, function(b)
            local c = b:client "c"
            assert.is_true(c:expect_publish("to/c/kept", "old"):ack() and true)
            b:client("p"):publish("to/c/x", "new", { qos = 2 }):publish("to/d/x", "not for c", { qos = 1 })
            assert.equal(1, c:expect_publish("to/c/x", "new").qos)
            b:log_wait "told c to/c/# 1"
            c:expect_nothing()
        end)
    end)

    it("is undone by client:unsubscribe", function()
        eval.with({ config = ONE }, function(run, b)
            local c = b:client("c"):subscribe("own", 0)
            assert.equal("true true false true", run [[
                c = sol.client "c"
                return c:subscribe("a/+"), c:unsubscribe "a/+", c:unsubscribe "a/+", c:unsubscribe "own"
            ]])
            b:client("p"):publish("a/b", "x", { qos = 1 }):publish("own", "x", { qos = 1 })
            c:expect_nothing()
        end)
    end)

    it("knows shared filters, and an end", function()
        eval.with({ config = ONE }, function(run, b)
            local c, d = b:client "c", b:client "d"
            assert.equal("true true", run [[
                return sol.client "c":subscribe("$share/g/t", { qos = 1 }), sol.client "d":subscribe("$share/g/t")
            ]])
            b:client("p"):publish("t", "1", { qos = 1 }):publish("t", "2", { qos = 1 })
            local seen = c:expect("PUBLISH").payload .. d:expect("PUBLISH").payload
            assert.truthy(seen == "12" or seen == "21", seen)
            c:expect_nothing()
            run 'gone = sol.client "c"'
            c:disconnect()
            assert.equal("nil closed nil closed", run [[
                local a, b = gone:subscribe "t"
                return a, b, gone:unsubscribe "t"
            ]])
            for text, with in pairs {
                ["'a/#/b'"] = "not a topic filter", ["'$share/g'"] = "not a topic filter",
                ["('a/'):rep(1000) .. '#'"] = "more than 1000 levels",
                ["'a', { qos = 3 }"] = 'option "qos" must be', ["'a', { qso = 1 }"] = 'unknown option "qso"',
            } do
                assert.matches(with, run("return gone:subscribe(" .. text .. ")"))
            end
        end)
    end)
end)

describe("sol.publish with to", function()
    it("reaches that client alone, whatever anybody has subscribed to", function()
        eval.with({ config = ONE .. [[
            sol.on("deliver", "secret/#", function(client, message)
                if message.payload == "no" then return sol.drop() end
                message.payload = message.payload .. " for " .. client.id
            end)
        ]] }, function(run, b)
            local c = b:client("c", { clean = false }):subscribe("secret/#", 0)
            local d = b:client("d", { version = 5 }):subscribe("secret/#", 1):subscribe("other", 1)
            assert.equal("true true true", run [[
                to = sol.client "c"
                return sol.publish("other", "x", { to = to, qos = 1 }), sol.publish("secret/1", "yes", { to = to }),
                    sol.publish("secret/1", "no", { to = to })
            ]])
            assert.equal(1, c:expect_publish("other", "x"):ack() and 1)
            c:expect_publish("secret/1", "yes for c"):expect_nothing()
            d:expect_nothing()
            -- it waits for a client whose session is kept
            c:drop()
            run [[while to.connected do sol.sleep(0.005) end]]
            assert.equal("true", run [[return sol.publish("later", "y", { to = to, qos = 1 })]])
            c:reconnect():expect_publish("later", "y")
            run [[gone = sol.client "d"]]
            d:disconnect()
            assert.equal("nil closed", run [[return sol.publish("t", "x", { to = gone })]])
            assert.matches("to must be a client", run [[sol.publish("t", "x", { to = "c" })]])
            assert.matches("to goes with neither as nor retain", run [[sol.publish("t", "x", { to = to, as = to })]])
            assert.matches("to goes with neither as nor retain",
                run [[sol.publish("t", "", { to = to, retain = true })]])
        end)
    end)

    it("keeps to the client's mount point", function()
        eval.with({ config = ONE .. [[
            sol.on("connect", function(client, connect)
                if connect.client_id == "m" then connect.mount_point = "below/" end
            end)
        ]] }, function(run, b)
            local m = b:client "m"
            assert.equal("true true", run [[
                to = sol.client "m"
                return sol.publish("below/t", "x", { to = to }), to:subscribe "below/u/+"
            ]])
            m:expect_publish("t", "x")
            b:client("p"):publish("below/u/1", "y")
            m:expect_publish("u/1", "y")
            assert.equal("nil outside the client's mount point nil outside the client's mount point", run [[
                local a, b = sol.publish("t", "x", { to = to })
                return a, b, to:subscribe "$share/g/elsewhere"
            ]])
        end)
    end)

    it("finds clients of other workers", function()
        eval.with({ config = "workers = 4" }, function(run, b)
            local clients = {}
            for i = 1, 12 do clients[i] = b:client("w" .. i) end
            assert.equal("12", run [[
                local n = 0
                for _, client in ipairs(sol.clients()) do
                    if client.id:match "^w" then
                        assert(client:subscribe("all", { qos = 1 }))
                        assert(sol.publish("for/" .. client.id, "you", { to = client, qos = 1 }))
                        n = n + 1
                    end
                end
                return n
            ]])
            for i = 1, 12 do clients[i]:expect_publish("for/w" .. i, "you"):ack() end
            b:client("p"):publish("all", "of you", { qos = 1 })
            for i = 1, 12 do clients[i]:expect_publish("all", "of you"):ack() end
            run [[for _, client in ipairs(sol.clients()) do client:unsubscribe "all" end]]
        end)
    end)
end)
