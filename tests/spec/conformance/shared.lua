-- SPDX-License-Identifier: BSD-2-Clause
--
-- shared.lua -- one broker for all tests of a file, and the check after each of them.
--
--     local test = shared.broker({ version = 5 }, it, teardown)
--     test("[MQTT-3.12.4-1] answers PINGREQ", function(b, t) b:client("c"):ping() end)
--
-- A test gets the broker and a word of its own, `t`, to build topics from; its client ids are
-- made its own as well, so that tests leave nothing for each other.  When it has ended, well or
-- not, another client must be served, and the clients of the test are dropped.  A broker that
-- does not serve is replaced, so that one failure stays one.

local broker = require "support.broker"
local mqtt = require "support.mqtt"
local proc = require "support.proc"
local wait = require "support.wait"

local M = {}

local tests = 0 -- so far, in all files

--- with_broker as two calls, start and stop: the coroutine waits inside it while the tests run.
--- Gives { broker = }, which stop takes.
function M.start(opts)
    local thread = coroutine.create(function()
        broker.with_broker(opts, function(b)
            local failure = coroutine.yield(b)
            if failure then error(failure, 0) end
        end)
    end)
    local ok, b = coroutine.resume(thread)
    if not ok then error(b, 0) end
    return { thread = thread, broker = b }
end

--- Stop the broker; `failure` is shown with its log.
function M.stop(running, failure)
    local ok, err = coroutine.resume(running.thread, failure)
    if not ok then error(err, 0) end
end

-- Someone else is served.
local function still_serves(b, name)
    b:client(name):subscribe(name, 1):publish(name, "x", { qos = 1 }):expect_publish(name, "x"):ack()
end

-- The broker as one test sees it: client ids are its own, and `version` is the file's.
local function view(b, word, version)
    local own = {}
    function own.client(_, client_id, opts)
        local all = { version = version }
        for name, value in pairs(opts or {}) do all[name] = value end
        if client_id ~= "" then client_id = word .. client_id end
        return b:client(client_id, all)
    end
    --- A client whose session outlives its connection.
    function own.lasting(_, client_id, opts)
        local all = { clean = false, props = version == 5 and { session_expiry = 60 } or nil }
        for name, value in pairs(opts or {}) do all[name] = value end
        return own:client(client_id, all)
    end
    function own.raw(_, opts)
        local all = { version = version }
        for name, value in pairs(opts or {}) do all[name] = value end
        return b:raw(all)
    end
    return setmetatable(own, { __index = b })
end

--- A function `test(name, spec)` in place of `it`.  `opts`: version (of the clients, default 4)
--- and those of with_broker.
function M.broker(opts, it, teardown)
    local running

    teardown(function()
        if running then M.stop(running) end
        running = nil
    end)

    return function(name, spec)
        it(name, function()
            running = running or M.start(opts)
            local b = running.broker
            tests = tests + 1
            local word = "t" .. tests
            local ok, err = pcall(spec, view(b, word, opts.version or 4), word)
            local serves, why = pcall(still_serves, b, "still" .. tests)
            for _, client in ipairs(b.clients) do client:drop() end
            b.clients = {}
            if not serves then
                pcall(M.stop, running, why)
                running = nil
            end
            if not ok then error(err, 0) end
            if not serves then error(why, 0) end
        end)
    end
end

M.STANDARD = { [4] = "MQTT 3.1.1", [5] = "MQTT 5.0" }

--- The same for statements that both standards have, `opts.version` saying which it is now:
--- test(numbers, name, spec), numbers[1] being those of 3.1.1 and numbers[2] those of 5.0, or
--- `numbers` a string where they are the same.
function M.both(opts, it, teardown)
    local test = M.broker(opts, it, teardown)
    return function(numbers, name, spec)
        if type(numbers) == "table" then numbers = numbers[opts.version - 3] end
        test(numbers .. " " .. name, spec)
    end
end

--- The next packet of the broker, as bytes.  Nothing may have been expected of `c` but CONNACK.
function M.packet_bytes(c)
    local deadline = wait.deadline()
    while true do
        local bytes = c.buffer
        local len, shift, at = 0, 0, 2
        while (bytes:byte(at) or 0) >= 0x80 do
            len, shift, at = len | (bytes:byte(at) & 0x7F) << shift, shift + 7, at + 1
        end
        local total = bytes:byte(at) and at + (len | bytes:byte(at) << shift)
        if total and #bytes >= total then
            c.buffer = bytes:sub(total + 1)
            return bytes:sub(1, total)
        end
        if not c.sock:wait("r", math.max(0, deadline - proc.now())) then c:fail("wanted a packet, nothing came") end
        local more, why = c.sock:recv()
        if not more and why ~= "again" then c:fail("wanted a packet, but the connection ended (%s)", why) end
        c.buffer = bytes .. (more or "")
    end
end

--- `bytes` as hexadecimal digits.
function M.to_hex(bytes)
    return (bytes:gsub(".", function(c) return ("%02X "):format(c:byte()) end):sub(1, -2))
end

--- The next packet of the broker must be these bytes, given in hexadecimal.
function M.expect_bytes(c, wanted)
    local got = M.to_hex(M.packet_bytes(c))
    local normal = M.to_hex(mqtt.hex(wanted))
    if got ~= normal then c:fail("wanted the bytes %s, got %s", normal, got) end
    return c
end

--- The codes of the SUBACK to one SUBSCRIBE of all these {filter, qos}.
function M.codes_of(c, ...)
    local request = {}
    for i, pair in ipairs { ... } do request[i] = { filter = pair[1], qos = pair[2] } end
    return c:subscribe(request).last.codes
end

--- All packets of the inbox, after a round trip.
function M.drain(c)
    c:ping()
    local inbox = c.inbox
    c.inbox = {}
    return inbox
end

return M
