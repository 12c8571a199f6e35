-- SPDX-License-Identifier: BSD-2-Clause
--
-- The plugin vernemq against a real Redis, PostgreSQL and web server, with clients that come all
-- at once.  What it does: plugins/vernemq/vernemq_spec.lua.

local broker = require "support.broker"
local proc = require "support.proc"
local servers = require "support.servers"
local wait = require "support.wait"
local with_world = require("support.world").with_world
local with_broker = broker.with_broker

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

describe("vernemq", function()
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
