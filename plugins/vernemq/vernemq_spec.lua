-- SPDX-License-Identifier: BSD-2-Clause
--
-- vernemq: a script as its operators wrote it (fixtures/fleet.lua) against a real Redis, and
-- small ones for what it does not use.

local broker = require "support.broker"
local proc = require "support.proc"
local servers = require "support.servers"
local wait = require "support.wait"
local with_world = require("support.world").with_world
local with_broker, with_dir, write_file = broker.with_broker, broker.with_dir, broker.write_file

local FLEET = broker.read_file "plugins/vernemq/fixtures/fleet.lua"
local HASHES = {
    truck = "$2b$04$KIJKRLaM0klTGUxYpaEXNuvaojqvhnRxxYfbzW.KKd2u8m2s2QZs.",
    boss = "$2b$04$cR.qWWlcVS/wDjGS51o.z.LLy/PtOSkxEnzZ5CO4qHCc6V6MHK7hy",
    visitor = "$2b$04$nHnM7/B859hQN5JbUrxWYOchnTdZpUpGa5IuHmYWfjnSRQijmff0S",
}

--- The accounts of the fleet, in Redis.
local function fill(redis)
    local s = assert(proc.connect { port = redis.port })
    local function command(...)
        local words = { "*" .. select("#", ...) }
        for _, word in ipairs { ... } do words[#words + 1] = ("$%d\r\n%s"):format(#word, word) end
        s:send(table.concat(words, "\r\n") .. "\r\n")
        wait.till("redis to say OK", function() return (s:recv() or ""):find "OK" end)
    end
    command("AUTH", "secret")
    for name, role in pairs { truck = "vehicle", boss = "dispatcher", visitor = "guest" } do
        command("SET", "account:" .. name, ('{"passhash":"%s","role":"%s"}'):format(HASHES[name], role))
    end
    s:close()
end

local function fleet(spec, config)
    servers.with_redis(function(redis)
        fill(redis)
        local plugin = redis:fill 'plugin("vernemq", { script = "fleet.lua", redis = { $REDIS } })\n'
        with_broker({ config = plugin .. (config or ""), files = { ["fleet.lua"] = FLEET } }, function(b)
            spec(b)
            assert.is_nil(b:log():match "[^\n]*handler[^\n]* failed[^\n]*")
        end)
    end)
end

local function with_script(script, spec, config)
    with_broker({ config = 'plugin("vernemq", { script = "s.lua" })\n' .. (config or ""),
        files = { ["s.lua"] = script } }, spec)
end

local function login(b, id, name, opts)
    local all = { username = name, password = name }
    for k, v in pairs(opts or {}) do all[k] = v end
    return b:client(id, all)
end

describe("vernemq, a fleet's script:", function()
    it("lets in whom Redis knows, and nobody else", function()
        fleet(function(b)
            login(b, "truck-1", "truck"):ping()
            login(b, "x", "truck", { password = "wrong", connack = 4 })
            b:log_wait "(wrong password of truck from 127.0.0.1)"
            login(b, "y", "stranger", { connack = 5 })
            b:client("z", { connack = 4 })
            b:log_wait "(register truck%-1 127.0.0.1)"
            b:log_wait "(wakeup truck%-1@)\n"
        end)
    end)

    it("holds vehicles to the lists in auth_cache", function()
        fleet(function(b)
            local boss = login(b, "boss", "boss"):subscribe("fleet/#", 1):subscribe("broadcast/+", 0)
            local truck = login(b, "truck-1", "truck", { clean = false })
            truck:subscribe("fleet/truck/orders/#", 1):subscribe("broadcast/+", 0)
            truck:subscribe("broadcast/+", 1, { rc = 0x80 }):subscribe("#", 0, { rc = 0x80 })
            truck:subscribe("fleet/boss/orders/#", 0, { rc = 0x80 })
            truck:publish("fleet/truck/position", "48.2,16.4", { qos = 1 })
            boss:expect_publish("fleet/truck/position", "48.2,16.4"):ack()
            truck:publish("fleet/boss/position", "1,1", { qos = 1 }) -- not its own
            truck:publish("fleet/truck/position", "1,1", { qos = 2 }) -- above max_qos
            truck:publish("fleet/truck/position", ("9"):rep(65), { qos = 1 }) -- too long
            truck:publish("fleet/truck/fuel", "70", { qos = 1, retain = true }) -- may not retain
            truck:publish("fleet/truck/fuel", "71", { qos = 1 })
            boss:expect_publish("fleet/truck/fuel", "71"):ack()
            truck:publish("legacy/truck-1/gps", "2,2")
            boss:expect_publish("fleet/truck/position", "2,2"):ack():expect_nothing()
            boss:publish("dispatch/shout", "all home", { retain = true })
            boss:expect_publish("broadcast/boss", "ALL HOME", { retain = false })
            truck:expect_publish("broadcast/boss", "ALL HOME")
            truck:subscribe("orders", 0, { rc = 1 }):unsubscribe "fleet/truck/orders/#"
            -- the lists outlive a reload, and end with the connection
            b:signal "HUP"
            b:log_wait "(generation 2 is in place)"
            truck:publish("fleet/truck/fuel", "72", { qos = 1 }):publish("fleet/boss/fuel", "0", { qos = 1 })
            boss:expect_publish("fleet/truck/fuel", "72"):ack():expect_nothing()
            truck:disconnect()
            b:log_wait "(sleeps truck%-1)"
        end)
    end)

    it("asks the script about everybody else", function()
        fleet(function(b)
            local truck = login(b, "truck-1", "truck", { clean = false }):subscribe("fleet/truck/orders/#", 1)
            local boss = login(b, "boss", "boss"):subscribe("everything", 1, { rc = 0 })
            boss:subscribe("private", 0, { rc = 0x80 })
            b:log_wait "(subscribe boss fleet/#)"
            boss:publish("fleet/truck/orders/7", "load", { qos = 1 })
            boss:expect_publish("fleet/truck/orders/7", "load")
            truck:expect_publish("fleet/truck/orders/7", "load"):ack()
            b:log_wait "(publish boss fleet/truck/orders/7 1)"
            boss:publish("undecided/x", "nobody grants this", { qos = 1 }):expect_nothing()
            truck:disconnect()
            boss:publish("fleet/truck/orders/8", "while away", { qos = 1 }):expect_publish "fleet/truck/orders/8"
            b:log_wait "(offline truck%-1 while away)"
            boss:unsubscribe("everything"):publish("fleet/truck/orders/9", "x", { qos = 1 }):expect_nothing()
            boss:drop()
            b:log_wait "(gone boss@)\n"
        end)
    end)

    it("puts guests under a mountpoint, by other names", function()
        fleet(function(b)
            local one = login(b, "a", "visitor"):subscribe("chat/#", 0)
            login(b, "b", "visitor"):subscribe("chat/+", 0):subscribe("fleet/#", 0, { rc = 0x80 })
                :publish("chat/1", "call 0815"):publish("fleet/truck/position", "no")
            one:expect_publish("chat/1", "call ****"):expect_nothing()
            one:unsubscribe("chat/#"):subscribe("$share/g/fleet/#", 0, { rc = 0x80 })
            b:log_wait "(register guest%-b 127.0.0.1)"
            b:log_wait "(wakeup guest%-b@guests)"
        end)
    end)

    it("gives each client what is his, however many log in at once", function()
        fleet(function(b)
            local clients = {}
            for i = 1, 24 do
                local name = i % 2 == 0 and "truck" or "boss"
                clients[i] = login(b, name .. i, name, { connack = false })
            end
            for i, c in ipairs(clients) do
                c:expect("CONNACK", { rc = 0 }, 20)
                c:subscribe("fleet/truck/position", 0, { rc = i % 2 == 0 and 0x80 or 0 })
                c:subscribe("legacy/x", 0, { rc = 0x80 })
            end
        end)
    end)

    it("does so on several workers", function()
        fleet(function(b)
            for i = 1, 4 do
                local truck = login(b, "truck-" .. i, "truck"):subscribe("fleet/truck/orders/#", 1)
                truck:subscribe("fleet/boss/orders/#", 1, { rc = 0x80 })
            end
        end, "workers = 2")
    end)
end)

describe("vernemq, MQTT 5:", function()
    local SCRIPT = [[
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
            return { topics = { { s.topics[1][1], { 2, { rap = true } } } } }
        end
        hooks = { auth_on_register_m5 = reg, auth_on_publish_m5 = pub, auth_on_subscribe_m5 = sub }
    ]]
    it("has hooks of its own", function()
        with_script(SCRIPT, function(b)
            local c = b:client("c", { version = 5 })
            assert.equal(60, c.connack.props.session_expiry)
            c:subscribe("b", 0, { rc = 2 }):subscribe("no", 0, { rc = 0x87 })
            c:publish("a", "x", { retain = true, props = { user = { { "a", "1" } } } })
            local got = c:expect_publish("b", "x", { retain = true, props = { content_type = "text/x" } })
            assert.same({ { "a", "2" } }, got.props.user)
            b:client("d", { version = 4, connack = 5 })
        end)
    end)
end)

describe("vernemq, its libraries:", function()
    --- A script whose publish hook answers by the value of this code.
    local function says(expected, code, setup)
        with_script(([[
            %s
            hooks = { auth_on_publish = function(pub) return { payload = tostring((function() %s end)()) } end,
                auth_on_subscribe = function() return true end }
        ]]):format(setup or "", code), function(b)
            b:client("c"):subscribe("t"):publish("t", ""):expect_publish("t", expected)
        end)
    end

    it("json, kv, crypto, obf, log and Lua 5.2's names", function()
        says('{"a":[1,2.5,true],"s":"x"} nil nil 2 earth false nil 64 pw 3', [[
            kv.delete_all("t")
            kv.insert("t", { hello = "world" })
            local new = kv.insert_new("t", { hello = "moon" })
            kv.insert("t", { hello = "earth", n = { 1, 2 } })
            local parts = { json.encode { a = { 1, 2.5, true }, s = "x" }, json.decode "{", json.decode '{"n":null}'.n,
                #kv.lookup("t", "n")[1], kv.lookup("t", "hello")[1], new, kv.lookup("t", "nothing")[1],
                #crypto.hash("sha256", "") * 2, obf.decrypt "pw", select("#", unpack { 1, 2, 3 }) }
            log.info "a line"
            local text = {}
            for i = 1, 10 do text[i] = tostring(parts[i]) end
            return table.concat(text, " ")
        ]], 'kv.ensure_table { name = "t", type = "set" }')
    end)

    it("globals of a call are forgotten, unless keep_state says otherwise", function()
        local COUNT = "n = (n or 0) + 1 return n"
        for keep, second in pairs { ["false"] = "1", ["true"] = "2" } do
            with_script(([[
                keep_state = %s
                function pub() %s end
                hooks = { auth_on_publish = function() return { payload = tostring(pub()) } end,
                    auth_on_subscribe = function() return true end }
            ]]):format(keep, COUNT), function(b)
                b:client("c"):subscribe("t"):publish("t", ""):expect_publish("t", "1"):publish("t", "")
                    :expect_publish("t", second)
            end)
        end
    end)

    it("refuses what a broken hook was asked, and modifiers that are none", function()
        with_script([[
            hooks = { auth_on_publish = function(pub)
                if pub.topic == "raise" then error "out of order" end
                return { colour = "red" }
            end, auth_on_subscribe = function() return { { "a", 0 }, { "b", 0 } } end }
        ]], function(b)
            local c = b:client("c", { version = 4 }):publish("raise", "", { qos = 1 }):publish("t", "", { qos = 1 })
            c:subscribe("t", 0, { rc = 0x80 })
            b:log_wait "(s.lua:2: out of order)"
            b:log_wait "(invalid modifier colour = red)"
            b:log_wait "(a subscription cannot become 2)"
        end)
    end)
end)

describe("vernemq, the world:", function()
    local ACCOUNTS = [[
        CREATE EXTENSION pgcrypto;
        CREATE TABLE accounts (client_id text, username text, password text, publish_acl json, subscribe_acl json,
            logins int DEFAULT 0);
        INSERT INTO accounts VALUES ('c', 'ada', crypt('secret', gen_salt('bf', 4)),
            '[{"pattern": "up/%u", "max_qos": 1}]', '[{"pattern": "down/%c/#"}]');
    ]]
    local SCRIPT = [[
        require "auth/auth_commons"
        pool = "accounts"
        postgres.ensure_pool { pool_id = pool, size = 2 }
        function auth_on_register(reg)
            if postgres.hash_method() ~= "crypt" or reg.username == nil then return false end
            rows = postgres.execute(pool, "SELECT publish_acl::TEXT, subscribe_acl::TEXT FROM accounts WHERE "
                .. "client_id = $1 AND username = $2 AND password = crypt($3, password)", reg.client_id, reg.username,
                reg.password)
            if #rows == 0 then return false end
            done = postgres.execute(pool, "UPDATE accounts SET logins = logins + 1 WHERE username = $1", reg.username)
            none = postgres.execute(pool, "DELETE FROM accounts WHERE username = 'nobody'")
            log.info("changed " .. tostring(done) .. " " .. tostring(none))
            cache_insert(reg.mountpoint, reg.client_id, reg.username, json.decode(rows[1].publish_acl),
                json.decode(rows[1].subscribe_acl))
            return true
        end
        hooks = { auth_on_register = auth_on_register, auth_on_publish = auth_on_publish,
            auth_on_subscribe = auth_on_subscribe, auth_on_register_m5 = auth_on_register }
    ]]
    it("PostgreSQL holds the accounts", function()
        servers.with_postgres(function(pg)
            local url = ("postgresql://sol:secret@127.0.0.1:%d/postgres"):format(pg.port)
            local r = broker.run { "/usr/bin/psql", "-v", "ON_ERROR_STOP=1", "-c", ACCOUNTS, url }
            assert.equal(0, r.status, r.stderr)
            with_broker({ config = pg:fill 'plugin("vernemq", { script = "s.lua", postgres = { $PG } })',
                files = { ["s.lua"] = SCRIPT } }, function(b)
                login(b, "c", "ada", { password = "wrong", connack = 4 })
                login(b, "d", "ada", { password = "secret", connack = 4 })
                local c = login(b, "c", "ada", { password = "secret" })
                b:log_wait "(changed true false)"
                c:subscribe("down/c/x", 1):subscribe("down/d/x", 0, { rc = 0x80 })
                pg:stop()
                login(b, "c2", "ada", { password = "secret", connack = 5 })
                b:log_wait "(postgres.execute: )"
            end)
        end)
    end)

    it("a web service lets in, by what is posted to it", function()
        with_world({ "http" }, function(web)
            with_script(web:fill [[
                http.ensure_pool { pool_id = "web" }
                function auth_on_register(reg)
                    ret = http.post("web", "http://127.0.0.1:$WORLD/auth", json.encode { user = reg.username,
                        password = reg.password }, { x_key = "k" })
                    if not ret or ret.status ~= 200 then return false end
                    answer = json.decode(http.body(ret.ref))
                    form = http.body(http.put("web", "http://127.0.0.1:$WORLD/echo", { ["a b"] = "c&d", e = "f" }).ref)
                    gone = http.get("web", "http://127.0.0.1:$WORLD/drop")
                    log.info(answer.role .. " " .. string.match(form, "[^\n]*$") .. " " .. tostring(gone))
                    return answer.ok
                end
                hooks = { auth_on_register = auth_on_register }
            ]], function(b)
                login(b, "c", "ada", { password = "secret" })
                b:log_wait "(admin a%%20b=c%%26d&e=f false)"
                login(b, "d", "eve", { connack = 4 })
            end)
        end)
    end)
end)

describe("vernemq does not load", function()
    local rows = {
        ["no script"] = { nil, 'plugin "vernemq": script is missing' },
        ["a script that is not there"] = { nil, "nowhere.lua", 'script = "nowhere.lua"' },
        ["a syntax error"] = { "hooks = {", "s.lua:1: " },
        ["an error at load time"] = { "\nerror 'no'", "s.lua:2: no" },
        ["no hooks"] = { "x = 1", "s.lua sets no global table `hooks`" },
        ["MySQL"] = { "mysql.ensure_pool {}", "s.lua:1: mysql.ensure_pool: Sol has no mysql; use postgres" },
        ["MongoDB"] = { "mongodb.ensure_pool {}", "Sol has no mongodb" },
        ["memcached"] = { "memcached.ensure_pool {}", "Sol has no memcached; use redis or kv" },
        ["a kv table of bags"] = { 'kv.ensure_table { type = "bag" }', "a table of type bag is not possible" },
        ["a module that is not there"] = { 'require "auth/postgres_cockroach_commons"',
            "require: there is no auth/postgres_cockroach_commons.lua; copy it there" },
        ["a number of states out of range"] = { "num_states = 0 hooks = {}", "num_states must be an integer" },
    }
    for name, row in pairs(rows) do
        it(name, function()
            with_dir(function(dir)
                if row[1] then write_file(dir .. "/s.lua", row[1]) end
                local option = row[3] or row[1] and 'script = "s.lua"' or ""
                write_file(dir .. "/sol.lua", ('plugin("vernemq", { %s })'):format(option))
                local result = broker.sol("check", "-c", dir .. "/sol.lua")
                assert.not_equal(0, result.status)
                local said = result.stderr .. result.stdout
                assert.truthy(said:find(row[2], 1, true), said)
            end)
        end)
    end
end)
