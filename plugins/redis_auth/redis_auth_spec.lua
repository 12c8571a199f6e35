-- SPDX-License-Identifier: BSD-2-Clause
--
-- redis_auth: who is let in, and what happens when Redis does not answer.

local broker = require "support.broker"
local eval = require "support.eval"
local servers = require "support.servers"
local world = require "support.world"

local HASH = "$2b$05$eUveYDFbsBlJ/W5hEEKHhu81K0WcRwL9riNSWe25OZbndTi2b32Ne" -- of "secret"

local PLUGIN = [[
    allow_anonymous = true
    workers = 1 -- each has a breaker and a cache of its own
    plugin("redis_auth", { redis = { $REDIS $WHERE }, pause = 1000 $MORE })
]]

local function config(redis, where, more)
    return (redis:fill(PLUGIN):gsub("%$WHERE", where or ""):gsub("%$MORE", more or ""))
end

local function login(b, username, connack, password)
    return b:client("c-" .. username, { version = 5, username = username, password = password or "secret",
        connack = connack or 0 })
end

describe("redis_auth", function()
    it("lets in who is there, remembers, and refuses while nobody answers", function()
        servers.with_redis(function(redis)
            eval.with({ config = config(redis) }, function(run, b)
                run(redis:fill [[r = assert(sol.redis.connect { $REDIS })]])
                run(([[
                    local hash = %q
                    r:hset("mqtt_user:ada", "password_hash", hash, "is_superuser", "0", "tenant", "acme")
                    r:hset("mqtt_user:root", "password_hash", hash, "is_superuser", "1")
                    r:hset("mqtt_user:broken", "password_hash", "secret")
                    r:hset("mqtt_user:empty", "tenant", "acme")
                    r:set("mqtt_user:text", hash) ]]):format(HASH))
                login(b, "ada")
                login(b, "root")
                assert.equal("acme nil true", run [[
                    local ada, root = sol.client("c-ada").attributes, sol.client("c-root").attributes
                    return ada.tenant, ada.superuser, root.superuser ]])
                assert.equal("nil", run [[return sol.client("c-ada").attributes.password_hash]])
                login(b, "ada", 0x86, "guess")
                login(b, "ada", 0x86, "")
                login(b, "eve", 0x86)
                login(b, "ada\r\nDEL x", 0x86)
                login(b, "${clientid}", 0x86)
                login(b, "empty", 0x86)
                login(b, "broken", 0x88)
                b:log_wait "(redis_auth: password of user broken: not a password hash of a known form)"
                login(b, "text", 0x88)
                b:log_wait "(redis_auth: WRONGTYPE)"
                b:client("c-none", { version = 5, password = "secret" }) -- no name: allow_anonymous

                -- remembered, until a reload
                run [[r:del "mqtt_user:ada"]]
                login(b, "ada")
                b:configure(config(redis, ", timeout = 0.2", ", failures = 2"))
                b:signal "HUP"
                b:log_wait "(generation 2 is in place)"
                login(b, "ada", 0x86)

                redis:pause()
                login(b, "root", 0x88)
                b:log_wait "(redis_auth: timeout)"
                redis:stop()
                login(b, "root", 0x88)
                b:log_wait "(redis_auth: connection refused)"
                login(b, "root", 0x88)
                b:log_wait "(redis_auth: not asked: connection refused)"
                for _, word in ipairs { "secret", "guess", HASH } do
                    assert.is_nil(b:log():find(word, 1, true), word)
                end
            end)
        end)
    end)

    it("takes no garbage for an answer, and its key and protocol from the options", function()
        servers.with_redis(function(redis)
            eval.with({ config = config(redis, ", protocol = 3", [[, key = "u/${username}/${clientid}",
                acl_key = "acl/${username}"]]) },
                function(run, b)
                    run(redis:fill [[sol.redis.pool({ $REDIS }):hset("u/ada/c-ada", "password_hash", "]] .. HASH
                        .. [[", "site", "7")]])
                    run(redis:fill [[sol.redis.pool({ $REDIS }):hset("acl/ada", "up/${clientid}/#", "publish",
                        "down/%c/#", "1", "json/#", '{ "action": "all", "qos": 1 }')]])
                    local ada = login(b, "ada")
                    assert.equal("7", run [[return sol.client("c-ada").attributes.site]])
                    ada:publish("up/c-ada/1", "", { qos = 1, rc = 0x10 }):publish("up/x/1", "", { qos = 1, rc = 0x87 })
                    ada:subscribe("down/c-ada/+", 0):subscribe("up/c-ada/1", 0, { rc = 0x87 }):subscribe("json/x", 1)
                    ada:publish("json/x", "", { qos = 2, rc = 0x87 })
                    run(redis:fill [[sol.redis.pool({ $REDIS }):hset("acl/ada", "bad/#", "fly")]])
                    run(redis:fill [[sol.redis.pool({ $REDIS }):hset("u/ada/other", "password_hash", "]] .. HASH
                        .. [[")]])
                    b:client("other", { version = 5, username = "ada", password = "secret", connack = 0x88 })
                    b:log_wait "(redis_auth: acl%[%d%]: no action: fly)"
                end)
        end)
        world.with_world({ "redis" }, function(server)
            broker.with_broker({ config = server:fill [[
                plugin("redis_auth", { redis = { port = $WORLD } }) ]] }, function(b)
                login(b, "ada", 0x88)
                b:log_wait "(redis_auth: not a hash)"
            end)
        end)
    end)

    it("does not load with options that make no sense", function()
        for options, says in pairs {
            ["{ redis = { prot = 1 } }"] = 'unknown option "prot"; did you mean "port"?',
            ["{ key = '${user}' }"] = 'unknown placeholder ${user}; did you mean "username"?',
            ["{ key = '${password}' }"] = "unknown placeholder ${password}",
            ["{ on_failure = 'pass' }"] = 'on_failure must be "deny", "allow" or "ignore"',
            ["{ keys = '' }"] = 'unknown option "keys" (= ""); did you mean "key"?',
        } do
            broker.refuses('plugin("redis_auth", ' .. options .. ")", says)
        end
    end)
end)
