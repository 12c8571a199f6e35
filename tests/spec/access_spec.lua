-- SPDX-License-Identifier: BSD-2-Clause
--
-- Policy in Lua: who may subscribe, publish and receive, and what is told
-- afterwards.

local with_broker = require("support.broker").with_broker

local function policy(text, spec) with_broker({ config = text }, spec) end

describe("a subscribe hook", function()
    it("denies with 0x87, 0x80 in 3.1.1", function()
        policy([[sol.on("subscribe", function(client, s)
            if s.filter:find "^secret" then return sol.deny() end
        end)]], function(b)
            b:client("c", { version = 5 }):subscribe("secret/#", 1, { rc = 0x87 }):subscribe("open", 1)
            local c = b:client("d", { version = 4 }):subscribe("secret/#", 1, { rc = 0x80 }):subscribe("open", 1)
            b:client("p"):publish("secret/x", "no"):publish("open", "yes")
            c:expect_publish("open", "yes"):expect_nothing()
        end)
    end)

    it("denies one filter of several", function()
        policy([[sol.on("subscribe", function(client, s) if s.filter == "b" then return sol.deny(0x97) end end)]],
            function(b)
                local c = b:client("c", { version = 5 }):subscribe { { filter = "a", qos = 1 },
                    { filter = "b", qos = 1 }, { filter = "c", qos = 2 } }
                assert.same({ 1, 0x97, 2 }, c.last.codes)
                c:publish("a", "1"):publish("b", "2"):publish("c", "3")
                c:expect_publish("a", "1")
                c:expect_publish("c", "3"):expect_nothing()
            end)
    end)

    it("changes filter and QoS", function()
        policy([[
            sol.on("subscribe", function(client, s)
                s.filter = "tenant/" .. s.filter
                s.qos = math.min(s.qos, 1)
            end)
        ]], function(b)
            local c = b:client("c"):subscribe("t/#", 2, { rc = 1 })
            b:client("p"):publish("tenant/t/x", "yes", { qos = 2 }):publish("t/x", "no", { qos = 2 })
            c:expect_publish("tenant/t/x", "yes", { qos = 1 }):ack():expect_nothing()
        end)
    end)

    for _, filter in ipairs { "a/#/b", "", "x+" } do
        it(("that sets the filter %q is judged anew"):format(filter), function()
            policy(([[sol.on("subscribe", function(_, s) s.filter = %q end)]]):format(filter), function(b)
                b:client("c", { version = 5 }):subscribe("t", 0, { rc = "refused" }):ping()
            end)
        end)
    end

    it("takes a filter of registration: only subscriptions inside are asked for", function()
        policy([[sol.on("subscribe", "secret/#", function() return sol.deny() end)]], function(b)
            local c = b:client("c", { version = 5 })
            c:subscribe("secret/a", 0, { rc = 0x87 }):subscribe("open/a", 0)
        end)
    end)
end)

describe("an unsubscribe hook", function()
    it("changes the filter as the subscribe hook did", function()
        policy([[
            sol.on("subscribe", function(_, s) s.filter = "tenant/" .. s.filter end)
            sol.on("unsubscribe", function(_, u) u.filter = "tenant/" .. u.filter end)
        ]], function(b)
            local c = b:client("c", { version = 5 }):subscribe("t"):unsubscribe("t")
            assert.same({ 0 }, c.last.codes)
            b:client("p"):publish("tenant/t", "x")
            c:expect_nothing()
        end)
    end)
end)

describe("an authorize hook", function()
    local OWN = [[
        default_access = "deny"
        sol.on("authorize", function(client, request)
            if request.topic:find("^home/" .. client.id .. "/") then return sol.allow() end
        end)
    ]]

    it("allows what it knows; the rest falls to default_access", function()
        policy(OWN, function(b)
            local c = b:client("c", { version = 5 })
            c:subscribe("home/c/#", 1):subscribe("home/d/#", 1, { rc = 0x87 }):subscribe("#", 0, { rc = 0x87 })
            c:publish("home/c/x", "mine", { qos = 1 }):publish("home/d/x", "theirs", { qos = 1, rc = 0x87 })
            c:expect_publish("home/c/x", "mine"):ack():expect_nothing()
        end)
    end)

    it("is asked for each action with topic, QoS and retain", function()
        policy([[
            sol.on("authorize", function(client, r)
                sol.log.info(("asked %s %s qos=%d retain=%s"):format(r.action, r.topic, r.qos, tostring(r.retain)))
                return true
            end)
        ]], function(b)
            local c = b:client("c", { will = { topic = "w", payload = "x", qos = 1, retain = true } })
            c:subscribe("s/+", 2):publish("p", "x", { qos = 1, retain = true })
            b:log_wait "asked subscribe s/%+ qos=2"
            b:log_wait "asked publish p qos=1 retain=true"
            c:drop()
            b:log_wait "asked will w qos=1 retain=true"
        end)
    end)

    it("judges the effective topic, after the publish hooks", function()
        policy([[
            default_access = "deny"
            sol.on("publish", "nice/#", function(_, m) m.topic = "secret" end)
            sol.on("publish", "plain", function(_, m) m.topic = "nice/x" end)
            sol.on("authorize", function(_, r)
                if r.action == "subscribe" then return true end
                return r.topic:find "^nice" ~= nil
            end)
        ]], function(b)
            local w = b:client("w"):subscribe("#")
            local c = b:client("c", { version = 5 })
            c:publish("nice/x", "x", { qos = 1, rc = 0x87 }) -- allowed as written, denied as changed
            w:expect_nothing()
        end)
    end)

    it("judges wills when they are sent", function()
        policy([[
            sol.on("authorize", function(_, r) if r.action == "will" then return r.topic == "ok" end end)
        ]], function(b)
            local w = b:client("w"):subscribe("#")
            b:client("c", { will = { topic = "no", payload = "x" } }):drop()
            b:client("d", { will = { topic = "ok", payload = "y" } }):drop()
            w:expect_publish("ok", "y"):expect_nothing()
        end)
    end)

    it("is asked about deliveries only where it wants to be", function()
        policy([[
            sol.on("authorize", function(client, r)
                if r.action == "deliver" then return client.id ~= "blind" end
            end, { actions = { "deliver" } })
        ]], function(b)
            local blind, sees = b:client("blind"):subscribe("t", 1), b:client("sees"):subscribe("t", 1)
            b:client("p"):publish("t", "x", { qos = 1 })
            sees:expect_publish("t", "x"):ack()
            blind:expect_nothing()
        end)
    end)

    it("of several: the first word counts", function()
        policy([[
            sol.on("authorize", function(_, r) if r.topic == "t" then return false end end)
            sol.on("authorize", function() return true end)
        ]], function(b)
            local c = b:client("c", { version = 5 })
            c:publish("t", "x", { qos = 1, rc = 0x87 }):publish("u", "x", { qos = 1 })
        end)
    end)
end)

describe("a deliver hook", function()
    it("changes the copy of one subscriber and no other", function()
        policy([[
            sol.on("deliver", function(client, message)
                if client.id == "guest" then message.payload = "***" end
            end)
        ]], function(b)
            local guest = b:client("guest"):subscribe("t", 2)
            local staff = b:client("staff"):subscribe("t", 2)
            for qos = 0, 2 do
                b:client("p"):publish("t", "secret", { qos = qos })
                guest:expect_publish("t", "***", { qos = qos }):ack()
                staff:expect_publish("t", "secret", { qos = qos }):ack()
            end
        end)
    end)

    it("drops a copy", function()
        policy([[
            sol.on("deliver", "t/#", function(client) if client.id == "guest" then return sol.drop() end end)
        ]], function(b)
            local guest, staff = b:client("guest"):subscribe("#", 1), b:client("staff"):subscribe("#", 1)
            b:client("p"):publish("t/x", "x", { qos = 1 }):publish("u", "y", { qos = 1 })
            staff:expect_publish("t/x", "x"):ack()
            staff:expect_publish("u", "y"):ack()
            guest:expect_publish("u", "y"):ack():expect_nothing()
        end)
    end)

    it("drops a copy when it fails: a broken redaction must not leak", function()
        policy([[sol.on("deliver", "t", function(client) if client.id == "guest" then error "broken" end end)]],
            function(b)
                local guest, staff = b:client("guest"):subscribe("t", 1), b:client("staff"):subscribe("t", 1)
                b:client("p"):publish("t", "secret", { qos = 1 })
                staff:expect_publish("t", "secret"):ack()
                guest:expect_nothing()
                b:log_wait "sol%.lua:2.*broken"
            end)
    end)

    it("sees retained messages on their way, too", function()
        policy([[sol.on("deliver", function(_, m) m.payload = m.payload .. "!" end)]], function(b)
            b:client("p"):publish("t", "x", { retain = true }):ping()
            b:client("c"):subscribe("t"):expect_publish("t", "x!", { retain = true })
        end)
    end)

    it("keeps the order of what it lets pass", function()
        policy([[sol.on("deliver", function(_, m) if tonumber(m.payload) % 3 == 0 then return sol.drop() end end)]],
            function(b)
                local c = b:client("c"):subscribe("t", 1)
                local p = b:client("p")
                for i = 1, 30 do p:publish("t", tostring(i), { qos = 1 }) end
                for i = 1, 30 do
                    if i % 3 ~= 0 then c:expect_publish("t", tostring(i)):ack() end
                end
                c:expect_nothing()
            end)
    end)
end)

describe("fact events", function()
    local FACTS = [[
        for _, event in ipairs { "connected", "disconnected", "subscribed", "unsubscribed", "published", "acked",
            "will" } do
            sol.on(event, function(client, about)
                local what = event:find "scribed" and about.filter or event:find "connected" and "" or about.topic
                sol.log.info(("fact %s %s %s."):format(event, client.id, what))
            end)
        end
    ]]

    it("tell what has happened", function()
        policy(FACTS, function(b)
            local c = b:client("c", { will = { topic = "last/words", payload = "bye" } })
            b:log_wait "fact connected c"
            c:subscribe("t/+", 1)
            b:log_wait "fact subscribed c t/%+%."
            c:publish("t/x", "m", { qos = 1 })
            b:log_wait "fact published c t/x%."
            c:expect_publish("t/x", "m"):ack()
            b:log_wait "fact acked c t/x%."
            c:unsubscribe("t/+")
            b:log_wait "fact unsubscribed c t/%+%."
            c:drop()
            b:log_wait "fact will c last/words%."
            b:log_wait "fact disconnected c"
        end)
    end)

    it("are not told of what was refused", function()
        policy(FACTS .. [[
            sol.on("subscribe", function() return sol.deny() end)
            sol.on("publish", function() return sol.deny() end)
        ]], function(b)
            local c = b:client("c", { version = 5 })
            c:subscribe("t", 0, { rc = 0x87 }):publish("t", "x", { qos = 1, rc = 0x87 }):disconnect()
            b:log_wait "fact disconnected c"
            assert.is_nil(b:log():find "fact subscribed")
            assert.is_nil(b:log():find "fact published")
        end)
    end)

    it("that fail are logged and harm nothing", function()
        policy([[
            sol.on("connected", function() error "oops connected" end)
            sol.on("published", function() error "oops published" end)
        ]], function(b)
            b:client("c"):subscribe("t"):publish("t", "x"):expect_publish("t", "x")
            b:log_wait "sol%.lua:2.*oops connected"
            b:log_wait "sol%.lua:3.*oops published"
        end)
    end)

    it("start and stop are told", function()
        policy([[
            sol.on("start", function() sol.log.info "the day begins" end)
            sol.on("stop", function() sol.log.info "the day ends" end)
        ]], function(b)
            b:log_wait "the day begins"
            b:stop()
            b:log_wait "the day ends"
        end)
    end)

    it("dropped is told when a queue is full", function()
        policy([[
            max_queued = 2
            sol.on("dropped", function(client, about) sol.log.info("fact dropped " .. client.id) end)
        ]], function(b)
            b:client("c", { clean = false }):subscribe("t", 1):disconnect()
            local p = b:client("p")
            for _ = 1, 5 do p:publish("t", "x", { qos = 1 }) end
            b:log_wait "fact dropped c"
        end)
    end)
end)
