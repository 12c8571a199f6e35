-- SPDX-License-Identifier: BSD-2-Clause
--
-- Mount points: clients whose topics lie below a prefix they never see.

local broker = require "support.broker"
local with_broker = broker.with_broker

-- Whoever comes by PORT2 lives below a/.
local MOUNTED = [[
    listen { "mqtt://127.0.0.1:$PORT2", mount_point = "a/", max_topic_length = 20, max_topic_levels = 3 }
    listen "mqtt://127.0.0.1:$PORT"
]]

local function mounted(spec, config)
    return function()
        with_broker({ listen = MOUNTED, config = config }, function(b)
            spec(b, function(id, opts)
                opts = opts or {}
                opts.port = b.port2
                return b:client(id, opts)
            end)
        end)
    end
end

-- What handlers are told, in the log.
local WITNESS = [[
    local function say(event, field)
        sol.on(event, function(client, x)
            if client then sol.log("%s %s %s", event, x[field], client.mount_point or "-") end
        end)
    end
    for _, event in ipairs { "publish", "deliver", "published", "will" } do say(event, "topic") end
    for _, event in ipairs { "subscribe", "unsubscribe", "subscribed", "unsubscribed" } do say(event, "filter") end
    sol.on("authorize", function(client, request)
        sol.log("authorize-%s %s %s", request.action, request.topic, client.mount_point or "-")
        return true
    end)
]]

describe("a mounted client", function()
    for version = 3, 5 do
        it("publishes below its mount point at level " .. version, mounted(function(b, new)
            local all = b:client("all", { version = version }):subscribe("#", 2)
            local c = new("c", { version = version })
            for qos = 0, 2 do
                c:publish("x/y", "q" .. qos, { qos = qos })
                all:expect_publish("a/x/y", "q" .. qos, { qos = qos }):ack()
            end
        end))

        it("is sent what lies below it, without the prefix, at level " .. version, mounted(function(b, new)
            local c = new("c", { version = version }):subscribe("#", 2)
            local p = b:client("p", { version = version })
            for qos = 0, 2 do
                p:publish("x/y", "elsewhere", { qos = qos }):publish("ab/x", "elsewhere", { qos = qos })
                p:publish("a/x/y", "q" .. qos, { qos = qos })
                c:expect_publish("x/y", "q" .. qos, { qos = qos }):ack()
            end
            c:expect_nothing()
        end))

        it("has its filters there at level " .. version, mounted(function(b, new)
            local c = new("c", { version = version }):subscribe("+/y", 1):subscribe("exact", 0)
            local p = b:client("p")
            p:publish("a/x/y", "1"):publish("x/y", "no"):publish("a/exact", "2"):publish("exact", "no")
            c:expect_publish("x/y", "1")
            c:expect_publish("exact", "2")
            c:unsubscribe "+/y"
            p:publish("a/x/y", "no")
            c:expect_nothing()
        end))

        it("has retained messages there at level " .. version, mounted(function(b, new)
            local c = new("c", { version = version })
            c:publish("r", "mine", { retain = true, qos = 1 })
            b:client("p"):publish("r", "global", { retain = true, qos = 1 })
            c:subscribe("#", 1):expect_publish("r", "mine", { retain = true }):ack()
            c:expect_nothing()
            b:client("q"):subscribe("a/r", 0):expect_publish("a/r", "mine", { retain = true })
            c:publish("r", "", { retain = true, qos = 1 })
            b:client("s"):subscribe("a/r", 0):expect_nothing()
        end))

        it("leaves its will there at level " .. version, mounted(function(b, new)
            local other = b:client("other"):subscribe("#", 0)
            new("c", { version = version, will = { topic = "w", payload = "gone" } }):drop()
            other:expect_publish("a/w", "gone")
        end))

        it("shares filters there at level " .. version, mounted(function(b, new)
            local c = new("c", { version = version }):subscribe("$share/g/t", 0)
            local d = b:client("d", { version = version }):subscribe("$share/g/a/t", 0)
            local p = b:client("p")
            p:publish("a/t", "1"):publish("a/t", "2")
            local first, second = c:await "PUBLISH", d:await "PUBLISH"
            assert.equal("t", first.topic)
            assert.equal("a/t", second.topic)
            assert.is_true(first.payload ~= second.payload)
        end))
    end

    it("names and is sent topics by alias", mounted(function(b, new)
        local all = b:client("all"):subscribe("#", 0)
        local c = new("c", { version = 5, props = { topic_alias_maximum = 5 } }):subscribe("t/#", 0)
        c:publish("x", "1", { props = { topic_alias = 1 } }):publish("", "2", { props = { topic_alias = 1 } })
        all:expect_publish("a/x", "1")
        all:expect_publish("a/x", "2")
        local p = b:client("p")
        for i = 1, 3 do p:publish("a/t/u", tostring(i)) end
        local alias = c:expect_publish("t/u", "1").props.topic_alias
        assert.is_number(alias)
        assert.equal(alias, c:expect_publish("", "2").props.topic_alias)
        assert.equal(alias, c:expect_publish("", "3").props.topic_alias)
    end))

    it("has its response topic there, both ways", mounted(function(b, new)
        local c = new("c", { version = 5, will = { topic = "w", payload = "", props = { response_topic = "r/w" } } })
        c:subscribe("in", 1)
        local all = b:client("all", { version = 5 }):subscribe("a/#", 1)
        local props = { response_topic = "r/c", content_type = "x", user = { { "k", "v" }, { "k", "w" } } }
        c:publish("out", "x", { qos = 1, props = props })
        assert.same({ response_topic = "a/r/c", content_type = "x", user = props.user },
            all:expect_publish("a/out", "x").props)
        b:client("p", { version = 5 }):publish("a/in", "y", { props = { response_topic = "a/r/p" } })
            :publish("a/in", "z", { props = { response_topic = "elsewhere" } })
        assert.equal("r/p", c:expect_publish("in", "y").props.response_topic)
        assert.equal("elsewhere", c:expect_publish("in", "z").props.response_topic)
        c:drop()
        all:await("PUBLISH"); all:await("PUBLISH")
        assert.equal("a/r/w", all:expect_publish("a/w", "").props.response_topic)
    end))

    it("has an ordinary $SYS of its own", mounted(function(_, new)
        local c = new("c"):subscribe("$SYS/#", 0):subscribe("+/+/+", 0)
        c:expect_nothing()
        c:publish("$SYS/x", "mine")
        c:expect_publish("$SYS/x", "mine")
    end))

    it("is not sent the mount point itself", mounted(function(b, new)
        local c = new("c"):subscribe("#", 0)
        b:client("p"):publish("a", "no"):publish("a/", "no"):publish("a/x", "yes")
        c:expect_publish("x", "yes")
    end))

    for version = 3, 5 do
        it("is held to what it says itself at level " .. version, mounted(function(_, new)
            local refused = version == 5 and 0x8F or 0x80
            local c = new("c", { version = version })
            c:subscribe("1/2/3", 0):subscribe(("x"):rep(20), 0)
            c:subscribe("1/2/3/4", 0, { rc = refused }):subscribe(("x"):rep(21), 0, { rc = refused })
            c:publish("1/2/3", "x"):expect_publish("1/2/3", "x")
            c:publish(("x"):rep(20), "y"):expect_publish(("x"):rep(20), "y")
            c:publish("1/2/3/4", "x"):expect_disconnect(0x90)
            new("d", { version = version }):publish(("x"):rep(21), "x"):expect_disconnect(0x90)
            new("e", { version = version, will = { topic = "1/2/3/4", payload = "" },
                connack = version == 5 and 0x90 or 5 })
        end))

        it("cannot say a topic that the prefix makes too long at level " .. version, function()
            with_broker({ config = 'sol.on("connect", function(_, c) c.mount_point = "tenants/a/" end)' }, function(b)
                local longest, refused = ("x"):rep(65535 - 10), version == 5 and 0x8F or 0x80
                local c = b:client("c", { version = version }):subscribe(longest, 0)
                c:publish(longest, "x"):expect_publish(longest, "x")
                c:subscribe(longest .. "x", 0, { rc = refused })
                c:publish(longest .. "x", "x"):expect_disconnect(0x90)
                b:client("d", { version = version, will = { topic = longest .. "x", payload = "" },
                    connack = version == 5 and 0x90 or 5 })
            end)
        end)
    end

    it("cannot say a response topic that the prefix makes too long", mounted(function(_, new)
        new("c", { version = 5 }):publish("t", "x", { props = { response_topic = ("x"):rep(65535) } })
            :expect_disconnect(0x90)
    end))

    -- a/# matches "a", but below a/ that topic has no name: another member must get it.
    it("takes no message from a share that it cannot pass on", mounted(function(b, new)
        new("inside"):subscribe("$share/g/#", 1)
        local outside = b:client("outside"):subscribe("$share/g/a/#", 1)
        local p = b:client("p")
        for i = 1, 4 do
            p:publish("a", tostring(i), { qos = 1 })
            outside:expect_publish("a", tostring(i)):ack()
        end
    end))

    it("cannot make a shared filter of a wrong one", mounted(function(_, new)
        for _, filter in ipairs { "$share/g+/x", "$share//x", "$share/g" } do
            local c = new("c", { version = 5 })
            c:send { type = "SUBSCRIBE", id = 9, { filter = filter, qos = 0 } }
            c:expect_rejected("SUBACK", { 0x8F, 0x82, 0x81 })
        end
    end))

    it("finds its queue when it comes back", mounted(function(b, new)
        local c = new("c", { clean = false }):subscribe("t", 1)
        c:disconnect()
        b:client("p"):publish("a/t", "waited", { qos = 1 })
        assert.is_true(c:reconnect().connack.session_present)
        c:expect_publish("t", "waited"):ack()
    end))

    for version = 4, 5 do
        it("starts anew when it comes back below another at level " .. version, mounted(function(b, new)
            local opts = { version = version, clean = false, props = version == 5 and { session_expiry = 100 } or nil }
            local c = new("c", opts):subscribe("t", 1)
            c:disconnect()
            local p = b:client("p"):publish("a/t", "lost", { qos = 1 })
            opts.port = nil
            local again = b:client("c", opts)
            assert.is_false(again.connack.session_present)
            p:publish("a/t", "no"):publish("t", "no")
            again:expect_nothing()
        end))
    end
end)

describe("handlers", function()
    it("see full names", mounted(function(b, new)
        local c = new("c", { will = { topic = "w", payload = "x" } })
        c:subscribe("s/+", 0):subscribe("$share/g/t", 0):publish("s/1", "x"):expect_publish("s/1", "x")
        c:unsubscribe "s/+"
        c:drop()
        for _, line in ipairs { "subscribe a/s/%+ a/", "authorize%-subscribe a/s/%+ a/", "subscribed a/s/%+ a/",
            "subscribe %$share/g/a/t a/", "authorize%-subscribe a/t a/", "publish a/s/1 a/",
            "authorize%-publish a/s/1 a/", "published a/s/1 a/", "deliver a/s/1 a/", "unsubscribe a/s/%+ a/",
            "unsubscribed a/s/%+ a/", "authorize%-will a/w a/", "will a/w a/" } do
            b:log_wait("policy +" .. line .. "\n")
        end
    end, WITNESS))

    it("may set the mount point of one client, or none", function()
        with_broker({ listen = MOUNTED, config = [[
            sol.on("connect", function(client, connect)
                sol.log("will is %s", connect.will and connect.will.topic)
                if connect.username == "free" then connect.mount_point = nil
                elseif connect.username then connect.mount_point = "tenants/" .. connect.username .. "/" end
                sol.log("mount is %s", tostring(connect.mount_point))
            end)
            sol.on("authenticate", function(client)
                sol.log("authenticate %s", client.mount_point or "-")
                return true
            end)
        ]] }, function(b)
            local all = b:client("all"):subscribe("#", 0)
            b:client("x", { username = "eve", port = b.port2, will = { topic = "w", payload = "" } }):publish("t", "1")
            b:log_wait "will is w\n"
            b:log_wait "mount is tenants/eve/\n"
            b:log_wait "authenticate tenants/eve/\n"
            all:expect_publish("tenants/eve/t", "1")
            b:client("y", { username = "free", port = b.port2 }):publish("t", "2")
            all:expect_publish("t", "2")
            b:client("z", { port = b.port2 }):publish("t", "3")
            all:expect_publish("a/t", "3")
        end)
    end)

    it("may not set what is none", function()
        for mount, why in pairs { ["a"] = "must end with '/'", ["a/+/"] = "without wildcards", [""] = "must end",
            ["$share/g/"] = "for subscriptions", [("x/"):rep(101)] = "more than 100 levels" } do
            with_broker({ config = ('sol.on("connect", function(_, c) c.mount_point = %q end)'):format(mount) },
                function(b)
                    b:client("c", { version = 5, connack = 0x87 })
                    b:log_wait("connect.mount_point: .*" .. why)
                end)
        end
    end)

    it("may give a client what lies elsewhere", function()
        with_broker({ listen = MOUNTED, config = [[
            sol.on("subscribe", "a/news/#", function(_, s) s.filter = s.filter:gsub("^a/", "") end)
            sol.on("deliver", "a/odd", function(_, m) m.topic = "plain" end)
            sol.on("deliver", "a/even", function(_, m) m.topic = "a/other" end)
        ]] }, function(b)
            local c = b:client("c", { port = b.port2 })
            c:subscribe("news/x", 0):subscribe("odd", 1):subscribe("even", 1)
            local p = b:client("p")
            p:publish("news/x", "1")
            c:expect_publish("news/x", "1")
            p:publish("a/odd", "2", { qos = 1 })
            c:expect_publish("plain", "2"):ack()
            p:publish("a/even", "3", { qos = 1 })
            c:expect_publish("other", "3"):ack()
        end)
    end)
end)

describe("mount_point in a file", function()
    for value, why in pairs { ['"a"'] = "it must end with '/'", ['"+/"'] = "it must be a topic name",
        ["5"] = "it must be a string", ['"$share/"'] = "$share/ is for subscriptions" } do
        it("is refused when it is " .. value, function()
            local listen = '\nlisten { "mqtt://127.0.0.1:1883", mount_point = %s }'
            broker.refuses(listen:format(value), ("sol.lua:2: listen: mount_point %s: %s"):format(value, why))
        end)
    end
end)
