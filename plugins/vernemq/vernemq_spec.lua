-- SPDX-License-Identifier: BSD-2-Clause
--
-- vernemq: a script as its operators wrote it (fixtures/fleet.lua), and small ones for what it
-- does not use.  Against real servers: tests/spec/vernemq_spec.lua.

local testing = require "sol.testing"

local function read(name)
    local here = debug.getinfo(1, "S").source:match "^@(.*/)" or ""
    local file <close> = assert(io.open(here .. name))
    return file:read "a"
end

local FLEET = read "fixtures/fleet.lua"
local HASHES = {
    truck = "$2b$04$KIJKRLaM0klTGUxYpaEXNuvaojqvhnRxxYfbzW.KKd2u8m2s2QZs.",
    boss = "$2b$04$cR.qWWlcVS/wDjGS51o.z.LLy/PtOSkxEnzZ5CO4qHCc6V6MHK7hy",
    visitor = "$2b$04$nHnM7/B859hQN5JbUrxWYOchnTdZpUpGa5IuHmYWfjnSRQijmff0S",
}
local ROLES = { truck = "vehicle", boss = "dispatcher", visitor = "guest" }

local function with_script(script, options)
    options = options or {}
    options.text, options.files = 'plugin("vernemq", { script = "s.lua" })', { ["s.lua"] = script }
    return testing.broker(options)
end

--- The fleet's broker; what Redis is asked is in the second result.
local function fleet()
    local b, asked = with_script(FLEET), {}
    b:stub("redis", function(command)
        asked[#asked + 1] = table.concat(command, " ")
        local name = command[1]:upper() == "GET" and command[2]:match "^account:(.*)$"
        if name then return HASHES[name] and ('{"passhash":"%s","role":"%s"}'):format(HASHES[name], ROLES[name]) end
        return 1
    end)
    return b, asked
end

--- A client of MQTT 3.1.1, for which the script is written; its password is its name.
local function login(b, id, name, options)
    local all = { client_id = id, username = name, password = name, version = 4 }
    for key, value in pairs(options or {}) do all[key] = value end
    return b:connect(all)
end

describe("vernemq, a fleet's script:", function()
    it("lets in whom Redis knows, and nobody else", function()
        local b, asked = fleet()
        assert.equal(0, login(b, "truck-1", "truck", { address = "192.0.2.1:5000" }).reason_code)
        assert.same({ "get account:truck", "incr logins:truck" }, asked)
        assert.equal(4, login(b, "x", "truck", { password = "wrong" }).reason_code)
        assert.truthy(b:logged "wrong password of truck from")
        assert.equal(5, login(b, "y", "stranger").reason_code)
        assert.equal(4, b:connect({ version = 4 }).reason_code)
        assert.equal(4, login(b, "z", "truck", { address = "192.0.2.66:1" }).reason_code)
        assert.truthy(b:logged "^register truck%-1 192.0.2.1$")
        assert.truthy(b:logged "^wakeup truck%-1@$")
        assert.equal(0x87, login(b, "five", "truck", { version = 5 }).reason_code) -- no _m5 hooks
    end)

    it("holds vehicles to the lists in auth_cache", function()
        local b = fleet()
        local boss, truck = login(b, "boss", "boss"), login(b, "truck-1", "truck", { clean_start = false })
        assert.equal(1, boss:subscribe("fleet/#", { qos = 1 }))
        boss:subscribe "broadcast/+"
        for filter, rc in pairs { ["fleet/truck/orders/#"] = 1, ["fleet/truck/orders/7"] = 1, ["broadcast/+"] = 0x80,
            ["#"] = 0x80, ["fleet/boss/orders/#"] = 0x80, ["fleet/+/orders/7"] = 0x80, orders = 1 } do
            assert.equal(rc, truck:subscribe(filter, { qos = 1 }), filter)
        end
        assert.equal(0, truck:subscribe "broadcast/+") -- max_qos is 0

        truck:publish("fleet/truck/position", "48.2,16.4")
        truck:publish("fleet/boss/position", "1,1") -- not its own
        truck:publish("fleet/truck/position", "1,1", { qos = 2 }) -- above max_qos
        truck:publish("fleet/truck/position", ("9"):rep(65)) -- too long
        truck:publish("fleet/truck/fuel", "70", { retain = true }) -- may not be retained
        truck:publish("fleet/truck/fuel", "71")
        truck:publish("legacy/truck-1/gps", "2,2")
        boss:expect("fleet/truck/position", "48.2,16.4")
        boss:expect("fleet/truck/fuel", "71")
        boss:expect("fleet/truck/position", "2,2")
        boss:expect_none()

        assert(b:reload()) -- the lists outlive it
        truck:publish("fleet/truck/fuel", "72")
        truck:publish("fleet/boss/fuel", "0")
        boss:expect("fleet/truck/fuel", "72")
        boss:expect_none()
        truck:disconnect()
        assert.truthy(b:logged "^sleeps truck%-1$")
    end)

    it("asks the script about everybody else", function()
        local b = fleet()
        local truck, boss = login(b, "truck-1", "truck", { clean_start = false }), login(b, "boss", "boss")
        truck:subscribe("fleet/truck/orders/#", { qos = 1 })
        assert.equal(0, boss:subscribe("everything", { qos = 1 }))
        assert.equal(0x80, boss:subscribe "private")
        assert.truthy(b:logged "^subscribe boss fleet/#$")
        boss:publish("fleet/truck/orders/7", "load")
        boss:expect("fleet/truck/orders/7", "load")
        truck:expect("fleet/truck/orders/7", "load")
        assert.truthy(b:logged "^publish boss fleet/truck/orders/7 1$")
        boss:publish("undecided/x", "nobody grants this")
        boss:publish("elsewhere", "this neither")
        boss:subscribe "broadcast/+"
        boss:publish("dispatch/shout", "all home", { retain = true })
        assert.is_false(boss:expect("broadcast/boss", "ALL HOME").retain)
        boss:expect_none()

        truck:disconnect()
        boss:publish("fleet/truck/orders/8", "while away")
        assert.truthy(b:logged "^offline truck%-1 while away$")
        boss:messages()
        boss:unsubscribe "everything"
        boss:publish("fleet/truck/orders/9", "x")
        boss:expect_none()
        boss:drop()
        assert.truthy(b:logged "^gone boss@$")
    end)

    it("puts guests under a mountpoint, by other names", function()
        local b = fleet()
        local one, two = login(b, "a", "visitor"), login(b, "b", "visitor")
        assert.equal(0, one:subscribe "chat/#")
        assert.equal(0x80, two:subscribe "fleet/#")
        assert.equal(0x80, two:subscribe "$share/g/fleet/#")
        two:publish("chat/1", "call 0815")
        two:publish("fleet/truck/position", "no")
        one:expect("chat/1", "call ****")
        one:expect_none()
        assert.truthy(b:logged "^register guest%-b ")
        assert.truthy(b:logged "^wakeup guest%-b@guests$")
    end)

    it("judges a will as its author's message", function()
        local b = fleet()
        local boss = login(b, "boss", "boss")
        boss:subscribe "fleet/#"
        login(b, "truck-1", "truck", { will = { topic = "fleet/truck/alarm", payload = "lost", retain = true } }):drop()
        login(b, "truck-2", "truck", { will = { topic = "fleet/boss/alarm", payload = "no" } }):drop()
        boss:expect("fleet/truck/alarm", "lost")
        boss:expect_none()
    end)
end)

describe("vernemq, several scripts:", function()
    it("the first that knows decides", function()
        --- A script that answers by what it is asked about, and says next of all else.
        local function script(name)
            return ([[
                local function decide(what) if answers[what] ~= nil then return answers[what] else return next end end
                answers = { %s = true, both = "%s" == "one", ["%s/t"] = true, ["both/t"] = "%s" == "one", no = false }
                hooks = { auth_on_register = function(r) return decide(r.client_id) end,
                    auth_on_publish = function(p) return decide(p.topic) end,
                    auth_on_subscribe = function(s) return decide(s.topics[1][1]) end }
            ]]):gsub("%%s", name)
        end
        local b = testing.broker {
            text = 'plugin("vernemq", { script = "one.lua" }) plugin("vernemq", { script = "two.lua" })',
            files = { ["one.lua"] = script "one", ["two.lua"] = script "two" },
        }
        for id, rc in pairs { one = 0, two = 0, both = 0, no = 4, nobody = 5 } do
            assert.equal(rc, b:connect({ client_id = id, version = 4 }).reason_code, id)
        end
        local c = b:connect { client_id = "both", version = 4 }
        for _, name in ipairs { "one", "two", "both" } do
            assert.equal(0, c:subscribe(name .. "/t"))
            c:publish(name .. "/t", name)
            c:expect(name .. "/t", name)
        end
        for _, name in ipairs { "no", "nobody" } do
            assert.equal(0x80, c:subscribe(name))
            c:publish(name)
        end
        c:expect_none()
    end)
end)

describe("vernemq, MQTT 5:", function()
    it("has hooks of its own", function()
        local b = with_script [[
            function reg(r)
                assert(r.clean_start == true and r.properties.p_session_expiry_interval == 0)
                return { properties = { p_session_expiry_interval = 60 } }
            end
            function pub(p)
                assert(p.properties.p_user_property[1].a == "1")
                return { topic = "b", properties = { p_content_type = "text/x", p_user_property = { { a = "2" } } } }
            end
            function sub(s)
                if s.topics[1][1] == "no" then return false end
                assert(s.properties.p_subscription_id[1] == 7)
                return { topics = { { s.topics[1][1], { 2, { rap = true } } } } }
            end
            function unsub(s) return { topics = { "b" } } end
            function deliver(p) return { payload = p.payload .. "!" } end
            hooks = { auth_on_register_m5 = reg, auth_on_publish_m5 = pub, auth_on_subscribe_m5 = sub,
                on_unsubscribe_m5 = unsub, on_deliver_m5 = deliver, on_auth_m5 = reg }
        ]]
        assert.truthy(b:logged "on_auth_m5 is never called")
        local c = b:connect {}
        assert.equal(60, c.properties.session_expiry_interval)
        assert.equal(2, c:subscribe("b", { properties = { subscription_identifier = 7 } }))
        assert.equal(0x87, c:subscribe "no")
        local properties = { user_properties = { { "a", "1" } } }
        assert.equal(0, c:publish("a", "x", { retain = true, properties = properties }))
        local got = c:expect("b", "x!")
        assert.is_true(got.retain)
        assert.equal("text/x", got.properties.content_type)
        assert.same({ { "a", "2" } }, got.properties.user_properties)
        c:unsubscribe "anything"
        c:publish("a", "x", { properties = properties })
        c:expect_none()
        assert.equal(5, b:connect({ version = 4 }).reason_code)
    end)

    it("modifiers of registration", function()
        local b = with_script [[
            local MODIFIERS = {
                renamed = { subscriber_id = { mountpoint = "m", client_id = "other" }, username = "name" },
                limited = { max_message_size = 10, allow_subscribe = false, retry_interval = 5 },
                silent = { allow_publish = false }, refused = { allow_register = false }, wrong = { colour = "red" },
            }
            hooks = { auth_on_register_m5 = function(reg) return MODIFIERS[reg.client_id] or true end,
                auth_on_publish_m5 = function(pub) return { topic = pub.client_id .. pub.mountpoint .. pub.topic } end,
                auth_on_subscribe_m5 = function() return true end,
                on_register_m5 = function(r) print(r.client_id .. " " .. r.username .. " " .. r.mountpoint) end }
        ]]
        local renamed = b:connect { client_id = "renamed", username = "x", password = "" }
        assert.truthy(b:logged "^other name m$")
        renamed:subscribe "#"
        renamed:publish "t"
        renamed:expect "othermt"
        local limited = b:connect { client_id = "limited", username = "x", password = "" }
        assert.equal(0x87, limited:subscribe "t")
        assert.equal(0, limited:publish("t", "0123456789"))
        local silent = b:connect { client_id = "silent", username = "x", password = "" }
        assert.equal(0x87, silent:publish "t")
        assert.equal(0x87, b:connect({ client_id = "refused" }).reason_code)
    end)
end)

describe("vernemq, its libraries:", function()
    --- A publisher whose script answers each publish by what this code gives.
    local function says(expected, code, setup, stubs)
        local b = with_script(([[
            %s
            hooks = { auth_on_publish = function(pub) return { payload = tostring((function() %s end)()) } end,
                auth_on_subscribe = function() return true end }
        ]]):format(setup or "", code))
        for kind, stub in pairs(stubs or {}) do b:stub(kind, stub) end
        local c = b:connect { version = 4 }
        c:subscribe "t"
        c:publish "t"
        c:expect("t", expected)
        return b
    end

    it("json, kv, crypto, obf, log and Lua 5.2's names", function()
        local b = says('{"a":[1,2.5,true],"s":"x"} nil nil 2 earth false nil 64 pw 3 8 6 7', [[
            kv.delete_all("t")
            kv.insert("t", { hello = "world" })
            local new = kv.insert_new("t", { hello = "moon" })
            kv.insert("t", { hello = "earth", n = { 1, 2 } })
            local parts = { json.encode { a = { 1, 2.5, true }, s = "x" }, json.decode "{", json.decode '{"n":null}'.n,
                #kv.lookup("t", "n")[1], kv.lookup("t", "hello")[1], new, kv.lookup("t", "nothing")[1],
                #crypto.hash("sha256", "") * 2, obf.decrypt "pw", select("#", unpack { 1, 2, 3 }),
                math.floor(math.pow(2, 3)), bit32.band(7, 14), loadstring "return 7"() }
            log.warning "a line"
            local text = {}
            for i = 1, 13 do text[i] = tostring(parts[i]) end
            return table.concat(text, " ")
        ]], 'kv.ensure_table { name = "t", type = "set" }')
        assert.truthy(b:logged "^a line$")
    end)

    it("redis gives what VerneMQ's gives", function()
        says("true nil 5 one,nil,OK,7 false text", [[
            local list = redis.cmd("p", "mget a b")
            local items = {}
            for i = 1, 4 do items[i] = tostring(list[i]) end
            return table.concat({ tostring(redis.cmd("p", "set k", "a value")), tostring(redis.cmd("p", "get none")),
                redis.cmd("p", "incr n"), table.concat(items, ","), tostring(redis.cmd("p", "bad")),
                redis.cmd("p", "get k") }, " ")
        ]], 'redis.ensure_pool { pool_id = "p" }', { redis = function(command)
            local line = table.concat(command, "|")
            local answers = { ["set|k|a value"] = "OK", ["incr|n"] = 5, ["mget|a|b"] = { "one", nil, "OK", 7, n = 4 },
                ["get|k"] = "text" }
            if line == "bad" then return nil, "ERR unknown command" end
            return answers[line]
        end })
    end)

    it("http posts forms and texts", function()
        local seen
        says("200 ok j false", [[
            http.ensure_pool { pool_id = "p" }
            local reply = http.post("p", "http://h/x", { ["a b"] = "c&d", e = 1 }, { ["X-K"] = "v" })
            return table.concat({ reply.status, http.body(reply.ref), reply.headers["content-type"],
                tostring(http.get("p", "http://h/down")) }, " ")
        ]], "", { http = function(request)
            if request.url:find "down$" then return nil, "connection refused" end
            seen = request
            return { status = 200, body = "ok", headers = { ["content-type"] = "j" } }
        end })
        assert.equal("a%20b=c%26d&e=1", seen.body)
        assert.equal("POST", seen.method)
    end)

    it("globals of a call are forgotten, unless keep_state says otherwise", function()
        for keep, second in pairs { ["false"] = "1", ["true"] = "2" } do
            local b = with_script(([[
                keep_state = %s
                hooks = { auth_on_subscribe = function() return true end, auth_on_publish = function()
                    n = (n or 0) + 1
                    return { payload = tostring(n) }
                end }
            ]]):format(keep))
            local c = b:connect { version = 4 }
            c:subscribe "t"
            for _, payload in ipairs { "1", second } do
                c:publish "t"
                c:expect("t", payload)
            end
        end
    end)

    it("a call that waits has its globals to itself, and waits for a free state", function()
        local b = with_script [[
            num_states = 2
            http.ensure_pool { pool_id = "p" }
            hooks = { auth_on_publish = function(pub)
                mine = pub.client_id
                http.get("p", "http://h/")
                return { topic = "done", payload = mine }
            end, auth_on_subscribe = function() return true end }
        ]]
        b:stub("http", function() return { status = 200 } end, { delay = 1 })
        local sub = b:connect { version = 4 }
        sub:subscribe "done"
        for i = 1, 4 do b:connect({ client_id = "c" .. i, version = 4 }):publish("t", "x", { qos = 0 }) end
        for round = 0, 1 do
            sub:expect_none()
            b:advance(1.1)
            for i = 1, 2 do sub:expect("done", "c" .. round * 2 + i) end
        end
    end)

    it("vmq_api disconnects a client, and has its subscriptions judged again", function()
        local b = with_script [[
            kv.ensure_table { name = "closed" }
            hooks = { auth_on_publish = function(pub)
                local who = { mountpoint = "", client_id = "reader" }
                if pub.topic == "close" then
                    kv.insert("closed", { [pub.payload] = true })
                    return { payload = vmq_api.reauthorize_subscriptions(nil, who, {}) }
                elseif pub.topic == "kick" then
                    return { payload = vmq_api.disconnect_by_subscriber_id(who, { do_cleanup = true }) }
                end
                return true
            end, auth_on_subscribe = function(sub)
                if kv.lookup("closed", sub.topics[1][1])[1] then return false end
                return { { sub.topics[1][1], 0 } }
            end }
        ]]
        local admin, reader = b:connect { version = 4 }, b:connect { client_id = "reader", version = 4 }
        for _, filter in ipairs { "a", "b" } do assert.equal(0, reader:subscribe(filter, { qos = 1 })) end
        for _, filter in ipairs { "close", "kick" } do admin:subscribe(filter) end
        admin:publish("close", "a")
        admin:expect("close", "ok")
        admin:publish("a", "unheard")
        admin:publish("b", "heard")
        reader:expect("b", "heard")
        reader:expect_none()
        for _, answer in ipairs { "ok", "not_found" } do
            admin:publish "kick"
            admin:expect("kick", answer)
        end
        assert.is_false(reader.connected)
    end)

    it("a hook that raises, or answers what is none, refuses", function()
        local b = with_script([[
            hooks = { auth_on_publish_m5 = function(pub)
                if pub.topic == "raise" then error "out of order" end
                return { colour = "red" }
            end, auth_on_subscribe_m5 = function() return { topics = { { "a", 0 }, { "b", 0 } } } end }
        ]], { tolerate = true })
        local c = b:connect {}
        assert.equal(0x87, c:publish "raise")
        assert.equal(0x87, c:publish "t")
        assert.equal(0x87, c:subscribe "t")
        local errors = table.concat(b:errors())
        for _, text in ipairs { "s.lua:2: out of order", "invalid modifier colour = red",
            "a subscription cannot become 2" } do
            assert.truthy(errors:find(text, 1, true), text)
        end
    end)
end)

describe("vernemq does not load", function()
    local rows = {
        ["a syntax error"] = { "hooks = {", "s.lua:1: " },
        ["an error at load time"] = { "\nerror 'no'", "s.lua:2: no" },
        ["no hooks"] = { "x = 1", "sets no global table `hooks`" },
        ["MySQL"] = { "mysql.ensure_pool {}", "s.lua:1: mysql.ensure_pool: Sol has no mysql; use postgres" },
        ["MongoDB"] = { "mongodb.ensure_pool {}", "Sol has no mongodb" },
        ["memcached"] = { "memcached.ensure_pool {}", "Sol has no memcached; use redis or kv" },
        ["a kv table of bags"] = { 'kv.ensure_table { type = "bag" }', "a table of type bag is not possible" },
        ["a module that is not there"] = { 'require "auth/postgres_cockroach_commons"', "copy it there" },
        ["a number of states out of range"] = { "num_states = 0 hooks = {}", "num_states must be an integer" },
    }
    for name, row in pairs(rows) do
        it(name, function()
            assert.error_matches(function() with_script(row[1]) end, row[2], 1, true)
        end)
    end

    it("no script, or one that is not there", function()
        for option, message in pairs { [""] = "script is missing", ['script = "nowhere.lua"'] = "nowhere.lua" } do
            local text = 'plugin("vernemq", {' .. option .. "})"
            assert.error_matches(function() testing.broker { text = text } end, message, 1, true)
        end
    end)
end)
