-- SPDX-License-Identifier: BSD-2-Clause
--
-- policy.lua -- a policy that waits for backends in every event, some of which never answer.
--
-- run.lua sets WEB, TALK, REDIS and CLOSED, which are ports, and GENERATION, the number of the reload.

workers = 2
hook_timeout = 2
log_level = "error"
allow_anonymous = true

local pick = math.random

local function one_of(list) return list[pick(#list)] end

local PATHS = { "hello", "status/500", "drop", "cut", "silent", "bytes/100000", "headers/50", "to/302/hello", "auth/" }

local function web()
    local port = pick(20) == 1 and CLOSED or WEB
    return sol.http.get(("http://127.0.0.1:%d/%s"):format(port, one_of(PATHS)), { timeout = pick() })
end

local LINES = { "echo hello", "bytes 100000", "half a li", "slowly does it", "silent", "end", "deaf" }

local function talk()
    local port = pick(20) == 1 and CLOSED or TALK
    local sock <close> = sol.socket.connect("tcp://127.0.0.1:" .. port, { timeout = pick() })
    if not sock then return end
    sock:send(one_of(LINES) .. "\r\n")
    if sock:receive "line" and pick(2) == 1 then sock:setkeepalive(1, 8) end
end

local redis = sol.redis.pool { host = "127.0.0.1", port = REDIS, timeout = 0.5, pool_size = 8, backlog = 20 }

local function ask_redis()
    local command = one_of { "get", "mute", "raw", "cut" }
    return redis[command](redis, one_of { "x", "+OK\r\n", "$100\r\nhalf", "garbage\r\n" })
end

local cache = sol.cache { size = 64, ttl = 0.5, negative_ttl = 0.1, jitter = 0.1 }
local narrow = sol.semaphore(4)

local waits = {
    web, talk, ask_redis,
    function() sol.sleep(pick() / 2) end,
    function() return sol.once("one", function() sol.sleep(pick() / 10) return true end) end,
    function() return cache:get(tostring(pick(100)), web) end,
    function()
        local turn <close> = narrow:acquire(pick())
        if turn then sol.sleep(pick() / 10) end
    end,
    function() return sol.spawn(web):join() end,
    function() sol.spawn(talk) end,
    function() return sol.await("soak/" .. pick(10), pick()) end,
    function() error { "a table" } end,
    function() error "an error" end,
}

local function wait_some(chance) if pick() < chance then one_of(waits)() end end

sol.on("connect", function() wait_some(0.3) end)
sol.on("authenticate", function() wait_some(0.3) end)
sol.on("publish", "soak/#", function(client, message)
    wait_some(0.3)
    local n = pick(200)
    if n == 1 then client:disconnect() end
    if n == 2 then return sol.drop() end
    if n == 3 then return sol.deny(0x87) end
    if n < 10 then message.payload = message.payload .. " " .. GENERATION end
end)
sol.on("subscribe", function() wait_some(0.1) end)
sol.on("authorize", function() wait_some(0.02) return true end)
sol.on("deliver", "soak/1", function() wait_some(0.02) end)
sol.on("disconnected", function() wait_some(0.1) end)
sol.on("reload", function() wait_some(0.5) end)

sol.subscribe("soak/2", function() sol.shared.soak:incr("heard", 1, 0) end)
sol.every(0.05, function() wait_some(0.5) end)
sol.on("start", function() sol.spawn(function() while true do sol.sleep(0.1) end end) end)
