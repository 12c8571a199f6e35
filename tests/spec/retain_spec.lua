-- SPDX-License-Identifier: BSD-2-Clause
--
-- Retained messages: kept, replaced, removed, and sent to new subscriptions.

local eval = require "support.eval"
local with_broker = require("support.broker").with_broker

for version = 3, 5 do
    describe("a retained message at protocol level " .. version, function()
        for qos = 0, 2 do
            it("of QoS " .. qos .. " reaches a later subscription with RETAIN set", function() -- [MQTT-3.3.1-6]
                with_broker({}, function(b)
                    b:client("p", { version = version }):publish("t", "x", { qos = qos, retain = true }):ping()
                    local c = b:client("c", { version = version }):subscribe("t", 2)
                    c:expect_publish("t", "x", { qos = qos, retain = true, dup = false }):ack():expect_nothing()
                end)
            end)
        end

        it("reaches an existing subscription without RETAIN", function() -- [MQTT-3.3.1-9]
            with_broker({}, function(b)
                local c = b:client("c", { version = version }):subscribe("t")
                b:client("p", { version = version }):publish("t", "x", { retain = true })
                c:expect_publish("t", "x", { retain = false }):expect_nothing()
            end)
        end)

        it("is replaced by the next", function()
            with_broker({}, function(b)
                local p = b:client("p", { version = version })
                p:publish("t", "old", { retain = true }):publish("t", "new", { retain = true }):ping()
                local c = b:client("c", { version = version }):subscribe("t")
                c:expect_publish("t", "new", { retain = true }):expect_nothing()
            end)
        end)

        it("is not replaced by one that is not retained", function()
            with_broker({}, function(b)
                b:client("p"):publish("t", "kept", { retain = true }):publish("t", "passing"):ping()
                local c = b:client("c", { version = version }):subscribe("t")
                c:expect_publish("t", "kept", { retain = true }):expect_nothing()
            end)
        end)

        it("is removed by an empty one, which is delivered and not kept", function() -- [MQTT-3.3.1-10..11]
            with_broker({}, function(b)
                local p = b:client("p", { version = version }):publish("t", "x", { retain = true }):ping()
                local seen = b:client("seen", { version = version }):subscribe("t")
                seen:expect_publish("t", "x", { retain = true })
                p:publish("t", "", { retain = true })
                seen:expect_publish("t", "", { retain = false }):expect_nothing()
                b:client("c", { version = version }):subscribe("t"):expect_nothing()
            end)
        end)

        it("is found by wildcards, each topic once", function()
            with_broker({}, function(b)
                local p = b:client("p", { version = version })
                for _, topic in ipairs { "a", "a/b", "a/c", "a/b/c", "z", "/a", "a/" } do
                    p:publish(topic, topic, { retain = true })
                end
                p:ping()
                for filter, wanted in pairs {
                    ["a/+"] = "a/ a/b a/c", ["a/#"] = "a a/ a/b a/b/c a/c", ["+"] = "a z", ["/+"] = "/a",
                    ["+/b/#"] = "a/b a/b/c", ["+/+/+"] = "a/b/c", ["nothing/#"] = "",
                } do
                    local c = b:client("c", { version = version }):subscribe(filter):ping()
                    local got = {}
                    for i, m in ipairs(c.inbox) do got[i] = m.topic end
                    table.sort(got)
                    assert.equal(wanted, table.concat(got, " "))
                    c:disconnect()
                end
            end)
        end)

        it("is sent again for a subscription made anew", function() -- [MQTT-3.8.4-3]
            with_broker({}, function(b)
                b:client("p"):publish("t", "x", { retain = true }):ping()
                local c = b:client("c", { version = version })
                for _ = 1, 3 do c:subscribe("t"):expect_publish("t", "x", { retain = true }) end
                c:expect_nothing()
            end)
        end)

        it("outlives its publisher and all connections", function()
            with_broker({}, function(b)
                b:client("p", { version = version }):publish("t", "x", { retain = true }):disconnect()
                local c = b:client("c", { version = version }):subscribe("#")
                c:expect_publish("t", "x", { retain = true }):expect_nothing()
            end)
        end)

        it("of $SYS and the like is not found by a leading wildcard", function()
            with_broker({}, function(b)
                b:client("p"):publish("$own/x", "x", { retain = true }):publish("own", "y", { retain = true }):ping()
                local c = b:client("c", { version = version }):subscribe("#"):expect_publish("own", "y")
                c:expect_nothing()
                c:subscribe("$own/#"):expect_publish("$own/x", "x"):expect_nothing()
            end)
        end)

        it("comes with the lower of both QoS", function()
            with_broker({}, function(b)
                b:client("p"):publish("t", "x", { qos = 2, retain = true })
                local c = b:client("c", { version = version })
                c:subscribe("t", 0):expect_publish("t", "x", { qos = 0 })
                c:subscribe("t", 1):expect_publish("t", "x", { qos = 1 }):ack():expect_nothing()
            end)
        end)
    end)
end

describe("retain handling of MQTT 5", function()
    for _, row in ipairs {
        { 0, "at every subscribe", true, true },
        { 1, "only when the subscription is new", true, false },
        { 2, "never", false, false },
    } do
        it(("%d sends retained messages %s"):format(row[1], row[2]), function() -- [MQTT-3.3.1-9..11]
            with_broker({}, function(b)
                b:client("p"):publish("t", "x", { retain = true }):ping()
                local c = b:client("c", { version = 5 })
                for turn = 1, 2 do
                    c:subscribe("t", 0, { retain_handling = row[1] })
                    if row[2 + turn] then c:expect_publish("t", "x", { retain = true }) end
                    c:expect_nothing()
                end
            end)
        end)
    end
end)

it("retain as published keeps the flag of MQTT 5", function() -- [MQTT-3.3.1-12..13]
    with_broker({}, function(b)
        local keeps = b:client("keeps", { version = 5 }):subscribe("t", 0, { retain_as_published = true })
        local clears = b:client("clears", { version = 5 }):subscribe("t")
        b:client("p"):publish("t", "1", { retain = true }):publish("t", "2")
        keeps:expect_publish("t", "1", { retain = true })
        keeps:expect_publish("t", "2", { retain = false }):expect_nothing()
        clears:expect_publish("t", "1", { retain = false })
        clears:expect_publish("t", "2", { retain = false }):expect_nothing()
    end)
end)

it("a thousand retained messages all come to one wildcard", function()
    with_broker({ config = "max_queued = 2000" }, function(b)
        local p = b:client("p")
        for i = 1, 1000 do p:publish(("many/%d/x"):format(i), tostring(i), { retain = true }) end
        p:ping()
        local c = b:client("c"):subscribe("many/+/x"):ping()
        assert.equal(1000, #c.inbox)
        local seen = {}
        for _, m in ipairs(c.inbox) do
            assert.equal(m.topic, ("many/%s/x"):format(m.payload))
            assert.is_nil(seen[m.topic])
            seen[m.topic] = true
        end
    end)
end)

it("retained properties reach the later subscriber", function()
    with_broker({}, function(b)
        local props = { content_type = "text/plain", user = { { "k", "v" } } }
        b:client("p", { version = 5 }):publish("t", "x", { retain = true, props = props }):ping()
        local c = b:client("c", { version = 5 }):subscribe("t")
        assert.same(props, c:expect_publish("t", "x", { retain = true }).props)
    end)
end)

it("a policy finds retained messages, so many at a time", function()
    eval.with({ config = "allow_anonymous = true" }, function(run, b)
        local p = b:client("p", { version = 5 })
        for i = 1, 5 do p:publish("many/" .. i, "x", { retain = true, qos = 1, props = { content_type = "text" } }) end
        assert.equal("5 false x text true 1", run [[
            local list, more = sol.retained "many/+"
            local m = list[1]
            return #list, more, m.payload, m.properties.content_type, m.retain, m.qos ]])
        assert.equal("2 true 5 false 0 false", run [[
            local two, more = sol.retained("many/#", 2)
            local five, no_more = sol.retained("many/#", 5)
            local none, nothing = sol.retained "few/#"
            return #two, more, #five, no_more, #none, nothing ]])
        assert.matches("eval:1: bad argument #1 to 'retained' %(not a topic filter%)", run [[sol.retained "a/#/b"]])
        assert.matches("eval:1: bad argument #2 to 'retained' %(expected 1 to 10000%)", run [[sol.retained("a", 0)]])
    end)
end)
