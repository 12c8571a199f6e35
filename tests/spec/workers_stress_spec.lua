-- SPDX-License-Identifier: BSD-2-Clause
--
-- Several workers under pressure: readers that lag, workers held up, storms, and a stop in
-- the middle of everything.

local mqtt = require "support.mqtt"
local proc = require "support.proc"
local wait = require "support.wait"
local with_broker = require("support.broker").with_broker

local HOMES = [[
    workers = 4
    local me = sol.uuid()
    sol.on("publish", "home", function(client)
        sol.publish("home/" .. client.id, me)
        return sol.drop()
    end)
]]

local function several(config, spec) with_broker({ config = HOMES .. (config or "") }, spec) end

local function home_of(c)
    local topic = "home/" .. c.opts.client_id
    c:subscribe(topic):publish("home", "?")
    local home = c:expect("PUBLISH", { topic = topic }).payload
    c:unsubscribe(topic)
    return home
end

-- Clients `stem`1 and on until `fits(home)`; that one is returned.
local function client_where(b, stem, fits, opts)
    for i = 1, 1000 do
        local c = b:client(stem .. i, opts)
        if fits(home_of(c)) then return c end
        c:disconnect()
    end
end

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
            if wait.scaled(1) == 1 then assert.is_true(most < 64 * 1024, most .. " KiB") end
            s:drop()
            p:ping(20)
        end)
    end)
end)
