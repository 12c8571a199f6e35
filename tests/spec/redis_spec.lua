-- SPDX-License-Identifier: BSD-2-Clause
--
-- sol.redis against a real server, and against one that misbehaves on demand.

local broker = require "support.broker"
local servers = require "support.servers"
local world = require "support.world"
local with_broker, with_world, run = broker.with_broker, world.with_world, world.run

-- A server that answers RAW <bytes> with these bytes.
local function fake(spec, more)
    with_world({ "redis" }, function(server)
        with_broker({ config = world.RUNNER .. server:fill(more or "") }, function(b)
            local c = b:client "c"
            spec(function(code) return run(c, server:fill(code)) end, server, b)
        end)
    end)
end

-- The real one, with a password; $REDIS in code is its options.
local function real(spec, more)
    servers.with_redis(function(redis)
        with_broker({ config = world.RUNNER .. redis:fill(more or "") }, function(b)
            local c = b:client "c"
            spec(function(code) return run(c, redis:fill(code)) end, b)
        end)
    end)
end

describe("sol.redis", function()
    for _, protocol in ipairs { 2, 3 } do
        it("speaks to a real server with RESP" .. protocol, function()
            real(function(code)
                assert.equal("OK|a value|nil|3|ERR value is not an integer or out of range|true", code(([[
                    local r <close> = assert(sol.redis.connect { $REDIS, protocol = 2 })
                    local set, get, absent = r:set("k", "a value"), r:get "k", r:get "absent"
                    r:rpush("l", "a\r\n\0b", 2, 3.5)
                    local list = r:lrange("l", 0, -1)
                    local _, err = r:incr "k"
                    return set, get, absent, #list, err, list[1] == "a\r\n\0b" and list[3] == "3.5"
                ]]):gsub("protocol = 2", "protocol = " .. protocol)))
                assert.equal(protocol == 3 and "1|true|0.5" or "nil|true|0.5", code(([[
                    local r <close> = assert(sol.redis.connect { $REDIS, protocol = 2 })
                    r:hset("h", "a", "1")
                    r:zadd("z", 0.5, "m")
                    local score = r:zscore("z", "m")
                    return r:hgetall("h").a, r:exists("h") == 1, score
                ]]):gsub("protocol = 2", "protocol = " .. protocol)))
            end)
        end)
    end

    it("logs in and selects, or says why not", function()
        real(function(code)
            assert.equal("7", code [[
                local r <close> = assert(sol.redis.connect { $REDIS, username = "default", db = 7 })
                return r:client("INFO"):match " db=(%d+)"
            ]])
            for _, protocol in ipairs { 2, 3 } do
                assert.truthy(code(([[
                    return sol.redis.connect { $REDIS, username = "eve", protocol = %d }
                ]]):format(protocol)):find "^nil|WRONGPASS")
            end
            assert.truthy(code [[return sol.redis.connect { $REDIS, db = 99 }]]:find "^nil|ERR DB index")
        end)
    end)

    it("sends pipelines and transactions in one go", function()
        real(function(code)
            assert.equal("4|OK|null|ERR|1", code [[
                local r <close> = sol.redis.connect { $REDIS }
                local t = r:pipeline { { "SET", "a", 1 }, { "GET", "absent" }, { "NONSENSE" }, { "EXISTS", "a" } }
                return #t, t[1], t[2] == sol.redis.null and "null", t[3].err:match "^%u+", t[4]
            ]])
            assert.equal("2|3", code [[
                local db = sol.redis.pool { $REDIS }
                db:set("n", 1)
                return table.unpack(db:pipeline { { "MULTI" }, { "INCR", "n" }, { "INCR", "n" }, { "EXEC" } }[4])
            ]])
        end)
    end)

    it("brings messages to subscribers, and commands between them", function()
        for _, protocol in ipairs { 2, 3 } do
            real(function(code)
                local said = code(([[
                    local db = sol.redis.pool { $REDIS }
                    local s <close> = sol.redis.connect { $REDIS, protocol = 2 }
                    assert(s:subscribe("news", "weather"))
                    assert(s:psubscribe "sport/*")
                    db:publish("news", "n1")
                    db:publish("sport/cup", "s1")
                    db:publish("weather", "w1")
                    local all = {}
                    for _ = 1, 3 do
                        local m = assert(s:receive(5))
                        all[#all + 1] = ("%s %s %s %s"):format(m.kind, m.pattern, m.channel, m.payload)
                    end
                    local none, err = s:receive(0.1)
                    assert(s:unsubscribe "news")
                    db:publish("news", "n2")
                    db:publish("weather", "w2")
                    return table.concat(all, ", "), none, err, s:receive(5).payload
                ]]):gsub("protocol = 2", "protocol = " .. protocol))
                assert.equal("message nil news n1, pmessage sport/* sport/cup s1, message nil weather w1" ..
                    "|nil|timeout|w2", said)
            end)
        end
    end)

    it("may wait for a message in a task of its own", function()
        real(function(code, b)
            local c = b:client("w"):subscribe "from/redis"
            b:log_wait "subscribed"
            code [[return sol.redis.pool { $REDIS }:publish("news", "hello")]]
            c:expect_publish("from/redis", "hello")
        end, [[
            sol.after(0, function()
                local s <close> = assert(sol.redis.connect { $REDIS })
                s:subscribe "news"
                sol.log.info "subscribed"
                for m in function() return s:receive() end do sol.publish("from/redis", m.payload) end
            end)
        ]])
    end)

    it("reads every kind of reply", function()
        fake(function(code)
            local rows = {
                { "+simple\r\n", "simple" }, { ":-42\r\n", "-42" }, { "$-1\r\n", "nil" }, { "*-1\r\n", "nil" },
                { "$0\r\n\r\n", "" }, { "_\r\n", "nil" }, { "#t\r\n", "true" }, { "#f\r\n", "false" },
                { ",1.5\r\n", "1.5" }, { ",-inf\r\n", "-inf" }, { "(123\r\n", "123" },
                { "(123456789012345678901234567890\r\n", "123456789012345678901234567890" },
                { "!9\r\nERR wrong\r\n", "nil|ERR wrong" }, { "-ERR wrong\r\n", "nil|ERR wrong" },
                { "=8\r\ntxt:text\r\n", "text" }, { "|1\r\n+a\r\n+b\r\n+after\r\n", "after" },
                { ">2\r\n+invalidate\r\n+x\r\n+after\r\n", "after" },
                { "*3\r\n:1\r\n$-1\r\n-ERR x\r\n", "[1,null,{\"err\":\"ERR x\"}]" },
                { "%2\r\n+a\r\n:1\r\n+b\r\n~1\r\n:2\r\n", '{"a":1,"b":[2]}' }, { "*0\r\n", "{}" },
            }
            for _, row in ipairs(rows) do
                assert.equal(row[2], code(([[
                    local r <close> = sol.redis.connect { port = $WORLD }
                    local reply, err = r:command("RAW", %q)
                    if type(reply) == "table" then return sol.json.encode(reply) end
                    if err then return reply, err end
                    return reply
                ]]):format(row[1])))
            end
        end)
    end)

    it("closes a connection whose replies make no sense, are cut off or too large", function()
        fake(function(code)
            local big = "$900\r\n" .. ("x"):rep(900) .. "\r\n"
            local rows = {
                { "RAW", "hello\r\n", "not a reply of redis" }, { "RAW", "$5\r\nhello!!", "not a reply of redis" },
                { "RAW", "$x\r\n", "not a reply of redis" }, { "RAW", ("*1\r\n"):rep(40), "reply too deep" },
                { "RAW", "*999999999\r\n", "reply too large" }, { "RAW", "$999999999\r\n", "reply too large" },
                { "RAW", "*2\r\n" .. big .. big, "reply too large" },
                { "CUT", "$10\r\nhalf", "closed" }, { "CUT", "+half", "closed" }, { "MUTE", "", "timeout" },
            }
            for _, row in ipairs(rows) do
                assert.equal("nil|" .. row[3] .. "|closed", code(([[
                    local r <close> = sol.redis.connect { port = $WORLD, max_reply = 1000, timeout = 0.5 }
                    local reply, err = r:command(%q, %q)
                    return reply, err, select(2, r:get "x")
                ]]):format(row[1], row[2])))
            end
        end)
    end)

    it("keeps connections for the next, but not those that have changed", function()
        fake(function(code, server)
            assert.equal("done", code [[
                local db = sol.redis.pool { port = $WORLD, password = "secret", db = 2 }
                for i = 1, 10 do assert(db:set("k", i)) end
                return "done"
            ]])
            assert.equal(1, server:count "accepted")
            assert.equal(1, server:count "command AUTH secret")
            assert.equal(1, server:count "command SELECT 2")
            assert.equal("nil|this connection is not like the others any more", code [[
                local r = sol.redis.connect { port = $WORLD, password = "secret", db = 2 }
                r:select(3)
                return r:keepalive()
            ]])
            -- another user has another pool
            assert.truthy(code [[return sol.redis.pool { port = $WORLD, password = "guess" }:get "k"]]:find "WRONGPASS")
        end)
    end)

    it("raises what the caller did wrong", function()
        fake(function(code)
            for wrong, says in pairs {
                ["connect { prot = 1 }"] = 'unknown option "prot"',
                ["connect { port = '1' }"] = "port must be an integer from 1 to 65535",
                ["connect { protocol = 4 }"] = "protocol must be an integer from 2 to 3",
                ["connect { username = 'x' }"] = 'needs a "password"',
                ["pool({ port = $WORLD }):select(1)"] = "SELECT needs a connection of its own",
                ["pool({ port = $WORLD }):subscribe 'x'"] = "subscribe needs a connection of its own",
                ["connect({ port = $WORLD }):get {}"] = "argument 1 is a table",
                ["connect({ port = $WORLD }):pipeline { 'GET' }"] = "command 1 is a string",
                ["connect({ port = $WORLD }):receive()"] = "subscribe first",
            } do
                local said = code("local x = sol.redis." .. wrong .. " return x")
                assert.truthy(said:find(says, 1, true), wrong .. ": " .. said)
            end
            assert.truthy(code [[
                local r <close> = sol.redis.connect { port = $WORLD }
                sol.spawn(function() r:command "MUTE" end)
                return r:get "x"
            ]]:find "another coroutine is using this connection")
        end)
    end)

    it("lets go of a hook whose client has gone, and of its connection", function()
        fake(function(_, server, b)
            local c = b:client "asker"
            c:publish("ask", "x", { qos = 1, wait = false })
            server:wait "command MUTE"
            c:reset()
            b:log_wait "guard closed"
            server:wait "ended"
        end, [[
            local db = sol.redis.pool { port = $WORLD, timeout = 60 }
            sol.on("publish", "ask", function()
                local guard <close> = setmetatable({}, { __close = function() sol.log.info "guard closed" end })
                db:command "MUTE"
            end)
        ]])
    end)

    it("serves a thousand hooks over a few connections", function()
        fake(function(_, server, b)
            local all = {}
            for i = 1, 1000 do all[i] = b:client("c" .. i) end
            for i = 1, 1000 do all[i]:publish("ask", "x", { qos = 1, wait = false, id = 7 }) end
            for i = 1, 1000 do all[i]:await("PUBACK", nil, 60) end
            assert.is_true(server:count "accepted" <= 10)
        end, [[
            workers = 1 -- a pool is the worker's own
            max_parked = 2000
            local db = sol.redis.pool { port = $WORLD, timeout = 60, pool_size = 10, backlog = 2000 }
            sol.on("publish", "ask", function(client)
                assert(db:set(client.id, 1) == "OK")
            end)
        ]])
    end)
end)
