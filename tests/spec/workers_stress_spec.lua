-- SPDX-License-Identifier: BSD-2-Clause
--
-- Several workers under pressure: readers that lag, workers held up, storms, and a stop in
-- the middle of everything.

local broker = require "support.broker"
local mqtt = require "support.mqtt"
local proc = require "support.proc"
local wait = require "support.wait"
local with_broker = broker.with_broker
local workers = require "support.workers"

local several, home_of, client_where = workers.several, workers.home_of, workers.client_where

-- Send `bytes` `times` over as they are taken, for as long as `goes_on()`; how often they were sent.
local function flood(p, bytes, times, goes_on)
    local at, sent = 1, 0
    while sent < times and goes_on() do
        local n = p.sock:send(at == 1 and bytes or bytes:sub(at))
        if n then at = at + n else p.sock:wait("w", 0.01) end
        if at > #bytes then at, sent = 1, sent + 1 end
    end
    p.dirty = true
    if at > 1 then p:send_raw(bytes:sub(at)) end
    return sent
end

local function payload(n) return ("x"):rep(n) end

describe("a reader that lags", function()
    local MESSAGE = mqtt.encode({ type = "PUBLISH", topic = "t", payload = payload(50000) }, 4)

    -- A reader and a publisher on two workers.
    local function pair(b, opts)
        local s = b:client("reader", opts)
        local home = home_of(s)
        s:subscribe "t"
        return s, client_where(b, "p", function(other) return other ~= home end)
    end

    it("loses nothing by living on another worker than the publisher, if it reads on", function()
        several("", function(b)
            local s, p = pair(b, { rcvbuf = 16384 })
            local COUNT, got = 800, 0 -- 40 MB: five times max_output_bytes
            local bytes, sent, at = 0, 0, 1
            local deadline = wait.deadline(20)
            while got < COUNT and proc.now() < deadline do
                while sent < COUNT do -- as much as is taken
                    local n = p.sock:send(at == 1 and MESSAGE or MESSAGE:sub(at))
                    if not n then break end
                    at = at + n
                    if at > #MESSAGE then at, sent = 1, sent + 1 end
                end
                if s.sock:wait("r", 0.02) then bytes = bytes + #(s.sock:recv(65536) or "") end
                got = bytes // #MESSAGE
            end
            assert.equal(COUNT, got)
        end)
    end)

    it("slows a publisher of another worker, but not for ever, nor other readers", function()
        several("", function(b)
            local s, p = pair(b)
            local other = b:client("other"):subscribe "t"
            local COUNT, got, took = 600, 0, proc.now()
            local sent = flood(p, MESSAGE, COUNT, function()
                while other.sock:wait("r", 0) do got = got + #(other.sock:recv(65536) or "") end
                return true
            end)
            took = proc.now() - took
            assert.equal(COUNT, sent)
            local deadline = wait.deadline(20)
            while got < COUNT * #MESSAGE and other.sock:wait("r", math.max(0, deadline - proc.now())) do
                got = got + #(other.sock:recv(65536) or "")
            end
            assert.equal(COUNT * #MESSAGE, got)
            assert.is_true(took < wait.scaled(8), took .. " s")
            s:drop()
            p:ping()
        end)
    end)
end)

describe("a worker that is held up", function()
    it("makes publishers elsewhere wait, instead of hoarding their messages", function()
        several([[
            hook_budget = 5
            sol.on("publish", "spin", function()
                local till = sol.now() + 2
                while sol.now() < till do end
                return sol.drop()
            end)
        ]], function(b)
            local s = b:client("busy")
            local home = home_of(s)
            s:subscribe("t")
            local p = client_where(b, "p", function(other) return other ~= home end)
            local message = mqtt.encode({ type = "PUBLISH", topic = "t", payload = payload(50000) }, 4)
            local before, most, till = b:rss_kb(), 0, proc.now() + 1.5
            s:publish("spin", "")
            local sent = flood(p, message, math.huge, function()
                most = math.max(most, b:rss_kb() - before)
                return proc.now() < till
            end)
            assert.is_true(sent * 50 > 4096, sent .. " messages were taken") -- as much as may wait
            if broker.is_lean() then assert.is_true(most < 64 * 1024, most .. " KiB") end
            s:drop()
            p:ping(20)
        end)
    end)
end)

local function clients(b, stem, n, opts)
    local all = {}
    for i = 1, n do all[i] = b:client(stem .. i, opts) end
    return all
end

describe("clients that come and go", function()
    it("may vanish at any moment of their move", function()
        several([[
            sol.on("publish", "who", function()
                sol.publish("who/is", tostring(#sol.clients { connected = true }))
                return sol.drop()
            end)
        ]], function(b)
            local probe = b:client("probe"):subscribe "who/is"
            local fds = b:fds()
            for i = 1, 300 do
                local c = b:raw()
                c:send { type = "CONNECT", client_id = "v" .. i, clean = i % 2 == 0 }
                c:send { type = "SUBSCRIBE", id = 1, { filter = "t", qos = 1 } }
                if i % 3 == 0 then c:reset() elseif i % 3 == 1 then c:drop() else c:half_close() end
            end
            wait.till("all to be gone", function()
                probe:publish("who", "")
                return probe:expect("PUBLISH", { topic = "who/is" }).payload == "1" and b:fds() <= fds
            end)
        end)
    end)

    it("may be told to go in the middle of what they say", function()
        several([[
            sol.on("publish", "kick/#", function(_, message)
                for _, c in ipairs(sol.clients { id = message.payload }) do c:disconnect() end
                return sol.drop()
            end)
        ]], function(b)
            local watcher, kicker = b:client("watcher"):subscribe("t/#", 1), b:client "kicker"
            local all, seen = clients(b, "c", 12), {}
            local bytes = {}
            for k = 1, 100 do
                bytes[k] = mqtt.encode({ type = "PUBLISH", topic = "t/%d", payload = tostring(k), qos = 1, id = k }, 4)
            end
            for i, c in ipairs(all) do
                c:send_raw((table.concat(bytes):gsub("t/%%d", ("t/%02x"):format(i))))
                kicker:publish("kick", c.opts.client_id)
            end
            for _, c in ipairs(all) do wait.till("it to be gone", function() return not pcall(c.ping, c) end) end
            b:client("last"):publish("t/last", "end", { qos = 1 })
            repeat -- what came of each came in order
                local m = watcher:await "PUBLISH"
                m:ack()
                if m.topic ~= "t/last" then
                    assert.equal((seen[m.topic] or 0) + 1, tonumber(m.payload))
                    seen[m.topic] = tonumber(m.payload)
                end
            until m.topic == "t/last"
        end)
    end)

    it("find their way by a unix socket, too", function()
        with_broker({ listen = [[listen "unix://$DIR/s"]], path = "$DIR/s", config = workers.POLICY }, function(b)
            local all = clients(b, "u", 24)
            for _, c in ipairs(all) do c:subscribe("t", 1) end
            for i, p in ipairs(all) do p:publish("t", tostring(i), { qos = 1 }) end
            for _, c in ipairs(all) do
                for _ = 1, #all do c:await("PUBLISH"):ack() end
            end
        end)
    end)

    it("are served in a storm, and spread evenly, named or not", function()
        several([[
            sys_interval = 0
            local n = 0
            sol.on("connected", function() n = n + 1 end)
            sol.every(0.05, function() sol.publish("load/" .. me, tostring(n), { retain = true }) end,
                { each_worker = true })
        ]], function(b)
            for _, named in ipairs { true, false } do
                local before, loads = {}, b:client("reader" .. tostring(named)):subscribe "load/#"
                local function read_loads()
                    local got, len = {}, 0
                    loads:ping()
                    while loads.inbox[1] do table.remove(loads.inbox, 1) end
                    while len < 8 do -- each worker twice: what it says now
                        local m = loads:take()
                        len = len + ((got[m.topic] or 0) < 2 and 1 or 0)
                        got[m.topic] = (got[m.topic] or 0) + 1
                        before[m.topic] = tonumber(m.payload)
                    end
                    local copy = {}
                    for topic, n in pairs(before) do copy[topic] = n end
                    return copy
                end
                local start, served = read_loads(), 0
                for batch = 1, 40 do
                    local socks = {}
                    for i = 1, 50 do
                        local sock = assert(proc.connect { port = b.port, timeout = wait.scaled() })
                        local id = named and ("%d-%d-%f"):format(batch, i, math.random()) or ""
                        sock:send(mqtt.encode({ type = "CONNECT", client_id = id, clean = true }, 4))
                        socks[i] = sock
                    end
                    for _, sock in ipairs(socks) do
                        assert.is_true(sock:wait("r", wait.scaled()))
                        if sock:recv(4) == "\x20\x02\x00\x00" then served = served + 1 end
                        sock:close()
                    end
                end
                assert.equal(2000, served)
                local now = read_loads()
                for topic, n in pairs(now) do
                    n = n - start[topic]
                    assert.is_true(n > 400 and n < 600, ("%s: %d of 2000"):format(tostring(named), n))
                end
            end
        end)
    end)
end)

describe("a stop", function()
    it("is clean with everything in flight", function()
        for _ = 1, 2 do
            several([[
                sol.on("deliver", "t/slow", function() sol.sleep(0.01) end)
                for _ = 1, 5 do
                    sol.on("start", function()
                        sol.spawn(function()
                            while true do
                                local list = sol.clients()
                                if list[1] and #list % 7 == 0 then list[1]:disconnect() end
                                sol.client(tostring(math.random(100)))
                            end
                        end)
                    end, { each_worker = true })
                end
            ]], function(b)
                local all = clients(b, "c", 60, { clean = false, will = { topic = "t/will", payload = "w", qos = 1 } })
                for i, c in ipairs(all) do
                    local filter = i % 2 == 0 and "t/#" or "$share/g/t/#"
                    c:send { type = "SUBSCRIBE", id = 1, { filter = filter, qos = i % 3 } }
                end
                local bytes = {}
                for k = 1, 60 do
                    local qos = k % 3
                    bytes[k] = mqtt.encode({ type = "PUBLISH", topic = k % 5 == 0 and "t/slow" or "t/" .. k,
                        payload = "x", qos = qos, id = qos > 0 and k or nil, retain = k % 7 == 0 }, 4)
                end
                for _, c in ipairs(all) do c:send_raw(table.concat(bytes)) end
                for i = 1, 30 do b:raw():send { type = "CONNECT", client_id = "late" .. i } end
                b:stop()
            end)
        end
    end)
end)
