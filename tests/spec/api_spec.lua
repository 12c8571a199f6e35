-- SPDX-License-Identifier: BSD-2-Clause
--
-- The functions of `sol` seen from outside: publishing, clients, and the tools.

local with_broker = require("support.broker").with_broker

local function policy(text, spec) with_broker({ config = text }, spec) end

describe("sol.publish", function()
    it("sends from nobody, to whom it may concern", function()
        policy([[
            sol.on("publish", "in", function(_, m) sol.publish("out", "got " .. m.payload, { qos = 1 }) end)
        ]], function(b)
            local c = b:client("c"):subscribe("out", 2):publish("in", "x")
            c:expect_publish("out", "got x", { qos = 1, retain = false }):ack():expect_nothing()
        end)
    end)

    it("retains, and takes properties", function()
        policy([[
            sol.on("start", function()
                sol.publish("state", "up", { retain = true, properties = { content_type = "text/plain" } })
            end)
        ]], function(b)
            local c = b:client("c", { version = 5 }):subscribe("state")
            assert.equal("text/plain", c:expect_publish("state", "up", { retain = true }).props.content_type)
        end)
    end)

    it("as a client passes that client's hooks", function()
        policy([[
            sol.on("authorize", function(client, r)
                if client.id == "c" and r.action == "publish" then return r.topic ~= "forbidden" end
            end)
            sol.on("publish", "in", function(client)
                sol.publish("forbidden", "x", { as = client })
                sol.publish("allowed", "x", { as = client })
            end)
        ]], function(b)
            local w = b:client("w"):subscribe("allowed"):subscribe("forbidden")
            b:client("c"):publish("in", "x", { qos = 1 })
            w:expect_publish("allowed", "x"):expect_nothing()
        end)
    end)

    it("in a publish hook does not loop for ever", function()
        policy([[
            sol.on("publish", "t", function(client, m) sol.publish("t", m.payload, { as = client }) end)
        ]], function(b)
            local other = b:client("other")
            b:client("c"):publish("t", "x", { qos = 1, wait = false })
            other:ping()
        end)
    end)

    it("refuses a topic that is none", function()
        policy([[
            sol.on("publish", "go", function()
                for _, topic in ipairs { "a/#", "", "+" } do
                    local ok = pcall(function() assert(sol.publish(topic, "x")) end)
                    sol.log.info("published " .. topic .. ": " .. tostring(ok))
                end
            end)
        ]], function(b)
            local w = b:client("w"):subscribe("a/+"):subscribe("+")
            b:client("c"):publish("go", "x", { qos = 1 })
            b:log_wait "published a/#: false"
            b:log_wait "published %+: false"
            w:expect_publish("go", "x"):expect_nothing()
        end)
    end)

    it("keeps its order", function()
        policy([[
            sol.on("publish", "go", function() for i = 1, 100 do sol.publish("t", tostring(i), { qos = 1 }) end end)
        ]], function(b)
            local c = b:client("c"):subscribe("t", 1):publish("go", "", { qos = 1 })
            for i = 1, 100 do c:expect_publish("t", tostring(i)):ack() end
            c:expect_nothing()
        end)
    end)
end)

describe("clients", function()
    it("are listed by sol.clients and found by sol.client", function()
        policy([[
            sol.on("publish", "ask", function(_, m)
                local ids = {}
                for _, client in ipairs(sol.clients()) do ids[#ids + 1] = client.id end
                table.sort(ids)
                m.payload = table.concat(ids, ",") .. " " .. tostring(sol.client("b").id)
                    .. " " .. tostring(sol.client("nobody"))
            end)
        ]], function(b)
            b:client("b")
            local a = b:client("a"):subscribe("ask"):publish("ask", "")
            a:expect_publish("ask", "a,b b nil")
        end)
    end)

    it("are disconnected with a reason code", function()
        policy([[
            sol.on("publish", "kick", function(_, m) sol.client(m.payload):disconnect(0x98) end)
        ]], function(b)
            local p = b:client("p")
            for version = 3, 5 do
                local c = b:client("c", { version = version })
                p:publish("kick", "c", { qos = 1 })
                c:expect_disconnect(0x98)
            end
        end)
    end)

    it("may be disconnected by a hook of their own", function()
        for _, event in ipairs { "publish", "subscribe", "published", "subscribed", "connected" } do
            policy(([[sol.on("%s", function(client) if client.id == "c" then client:disconnect(0x98) end end)]])
                :format(event), function(b)
                local other = b:client("other")
                local c = b:client("c", { version = 5, connack = false })
                c:send { type = "SUBSCRIBE", id = 1, { filter = "t", qos = 1 } }
                c:send { type = "PUBLISH", topic = "t", payload = "x", qos = 1, id = 2 }
                local packet
                repeat packet = c:take() until packet.type == "DISCONNECT"
                assert.equal(0x98, packet.rc)
                c:expect_close()
                other:ping()
            end)
        end
    end)

    it("that are gone answer instead of crashing", function()
        policy([[
            hook_budget = 5
            workers = 1 -- one `kept` for both clients
            local kept
            sol.on("connected", function(client) if client.id == "c" then kept = client end end)
            sol.on("publish", "ask", function(_, m)
                m.payload = tostring(kept.id) .. " " .. tostring(kept:disconnect())
                kept = nil
                for i = 1, 10000 do local garbage = { tostring(i) } end
            end)
        ]], function(b)
            local a = b:client("a"):subscribe("ask")
            b:client("c"):disconnect()
            a:publish("ask", ""):expect("PUBLISH")
            a:ping()
        end)
    end)

    it("keep attributes for the length of a connection", function()
        policy([[
            sol.on("publish", function(client, m)
                client.attributes.count = (client.attributes.count or 0) + 1
                m.payload = tostring(client.attributes.count)
            end)
        ]], function(b)
            local c = b:client("c", { clean = false }):subscribe("t")
            c:publish("t", ""):expect_publish("t", "1")
            c:publish("t", ""):expect_publish("t", "2")
            c:reconnect():publish("t", ""):expect_publish("t", "1")
        end)
    end)
end)

describe("the tool", function()
    -- name, body of a function, what tostring gives of its value
    for _, row in ipairs {
        { "sol.topic.match", "return sol.topic.match('a/+/#', 'a/b/c')", "true" },
        { "sol.topic.match of $", "return sol.topic.match('#', '$SYS/x')", "false" },
        { "sol.topic.match of a parent", "return sol.topic.match('a/#', 'a')", "true" },
        { "sol.topic.parse", "return table.concat(sol.topic.parse('a//b'), '|')", "a||b" },
        { "sol.json integers", "return sol.json.encode(sol.json.decode('[1,9007199254740993,-5]'))",
            "[1,9007199254740993,-5]" },
        { "sol.json reals", "return sol.json.encode { value = (68 - 32) / 1.8 }", '{"value":20.0}' },
        { "sol.json null", "return tostring(sol.json.decode('{\"a\":null}').a == sol.json.null)", "true" },
        { "sol.json empty array", "return sol.json.encode(sol.json.decode('{\"a\":[]}'))", '{"a":[]}' },
        { "sol.json empty object", "return sol.json.encode {}", "{}" },
        { "sol.json strings", [[return sol.json.decode('"\\u00e9\\n\\ud83d\\udc0e"')]], "é\n🐎" },
        { "sol.json error", "local v, err = sol.json.decode('{') return tostring(v) .. type(err)", "nilstring" },
        { "sol.json depth", "local v = sol.json.decode(('['):rep(100000)) return v", "nil" },
        { "sol.uuid", "return #sol.uuid() .. sol.uuid():sub(9, 9) .. tostring(sol.uuid() ~= sol.uuid())", "36-true" },
        { "integer division", "return 7 // 2", "3" },
        { "string.pack", "return string.pack('>I2', 258)", "\1\2" },
        { "utf8", "return utf8.len('é🐎')", "2" },
        { "os.time", "return math.type(os.time())", "integer" },
        { "require 'sol'", "return require 'sol' == sol", "true" },
    } do
        it(row[1] .. " works", function()
            policy(([[sol.on("publish", "ask", function(_, m)
                m.payload = tostring((function() %s end)())
            end)]]):format(row[2]), function(b)
                b:client("c"):subscribe("ask"):publish("ask", ""):expect_publish("ask", row[3])
            end)
        end)
    end

    it("sol.log writes one line an event, whatever is in it", function()
        policy([[
            sol.on("publish", "log", function(_, m)
                sol.log.info("said " .. m.payload)
                sol.log.warn "be careful"
                sol.log.error "too late"
                sol.log.debug "not shown"
            end)
        ]], function(b)
            b:client("c"):publish("log", "one\nforged line\27[31m\r", { qos = 1 })
            b:log_wait "too late"
            local log = b:log()
            assert.matches("said one[^\n]*forged line", log)
            assert.is_nil(log:find("\27", 1, true))
            assert.matches("be careful", log, 1, true)
            assert.is_nil(log:find("not shown", 1, true))
        end)
    end)

    it("log_format = \"json\" writes an object a line", function()
        policy([[
            log_format = "json"
            sol.on("publish", "log", function(_, m) sol.log.info('a "quoted" word: ' .. m.payload) end)
        ]], function(b)
            b:client("c"):publish("log", "x\ny", { qos = 1 })
            b:log_wait "quoted"
            for line in b:log():gmatch "[^\n]+" do
                if line:find "quoted" then assert.matches('^{.*"a \\"quoted\\" word: x\\ny".*}$', line) end
            end
        end)
    end)

    it("log_level = \"debug\" shows more, \"error\" less", function()
        local hook = "\nsol.on('publish', 'log', function() sol.log.debug 'fine' sol.log.warn 'loud' "
            .. "sol.log.error 'last' end)"
        policy('log_level = "debug"' .. hook, function(b)
            b:client("c"):publish("log", "x", { qos = 1 })
            b:log_wait "fine.*loud.*last"
        end)
        policy('log_level = "error"' .. hook, function(b)
            b:client("c"):publish("log", "x", { qos = 1 })
            b:log_wait "last"
            assert.is_nil(b:log():find "loud")
        end)
    end)
end)
