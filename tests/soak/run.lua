-- SPDX-License-Identifier: BSD-2-Clause
--
-- run.lua -- a policy that waits for faulty backends, reloaded every second, under clients that
-- come and go.
--
--     lua5.4 tests/soak/run.lua SECONDS [ACTS]
--
-- ACTS (20) of clients every hundredth of a second.  Prints the broker's memory and descriptors
-- now and then.  Afterwards nothing may hold
-- anything: every client is served, the descriptors are what they were, the memory of the last
-- quarter is that of the second quarter.

local broker = require "support.broker"
local mqtt = require "support.mqtt"
local proc = require "support.proc"
local wait = require "support.wait"
local with_world = require("support.world").with_world

local SECONDS = tonumber((...)) or 60
local ACTS_A_STEP = tonumber((select(2, ...))) or 20
local CLIENTS = 200
local SAMPLES = 20 -- a run, at least one every 30 s

local BROKEN = { "local x = ", "error 'in the file'", "no_such_setting = 1", "sol.on('nothing', print)" }

-- One client: does something at random, and waits for nothing --------------------------------------

local Visitor = {}
Visitor.__index = Visitor

function Visitor:send(packet)
    if not self.sock:send(mqtt.encode(packet, self.version)) then self:leave "close" end
end

function Visitor:leave(how)
    if self.sock then self.sock[how](self.sock) end
    self.sock = nil
end

function Visitor:enter(port)
    self.sock = proc.connect { host = "127.0.0.1", port = port }
    if not self.sock then return end
    self.version = math.random(3, 5)
    local is_v5 = self.version == 5
    self:send { type = "CONNECT", client_id = self.id, clean = math.random(2) == 1, keepalive = 60,
        will = math.random(4) == 1 and { topic = "soak/will", payload = "gone", qos = 1 } or nil,
        props = is_v5 and { session_expiry = math.random(0, 20) } or nil }
end

local function topic() return "soak/" .. math.random(10) end

local ACTS = {
    function(self)
        local qos = math.random(0, 1)
        self:send { type = "PUBLISH", topic = topic(), payload = "x", qos = qos, retain = math.random(20) == 1,
            id = qos > 0 and math.random(1000) or nil }
    end,
    function(self) self:send { type = "SUBSCRIBE", id = 7, { filter = topic(), qos = math.random(0, 2) } } end,
    function(self) self:send { type = "UNSUBSCRIBE", id = 8, topic() } end,
    function(self) self:send { type = "PINGREQ" } end,
    function(self)
        self:send { type = "DISCONNECT" }
        self:leave "close"
    end,
    function(self) self:leave "close" end,
    function(self) self:leave "reset" end,
}
local WEIGHTS = { 60, 10, 5, 5, 2, 2, 2 }

-- Takes what has come without looking at it; one that cannot keep up would be a test of its own.
function Visitor:read()
    while self.sock and self.sock:wait("r", 0) do
        local bytes, why = self.sock:recv()
        if not bytes and why ~= "again" then self:leave "close" end
        if not bytes then return end
    end
end

function Visitor:act(port)
    if not self.sock then return self:enter(port) end
    self:read()
    if not self.sock then return end
    local n, at = math.random(86), 0
    repeat
        at = at + 1
        n = n - WEIGHTS[at]
    until n <= 0
    ACTS[at](self)
end

-- The whole ------------------------------------------------------------------------------------------

local function median(list, from, to)
    local part = table.move(list, from, to, 1, {})
    table.sort(part)
    return part[(#part + 1) // 2]
end

local function sample(b, samples, started, generation)
    local kb, fds = b:rss_kb(), b:fds()
    samples[#samples + 1] = kb
    print(("%6.0f s  generation %5d  %7d KiB  %4d descriptors"):format(proc.now() - started, generation, kb, fds))
    io.flush()
end

local function play(b, fill)
    local visitors, samples, generation = {}, {}, 1
    for i = 1, CLIENTS do visitors[i] = setmetatable({ id = "v" .. i }, Visitor) end
    local started = proc.now()
    local next_reload, next_sample = started + 1, started
    local step = math.min(30, SECONDS / SAMPLES)
    while proc.now() < started + SECONDS do
        for _ = 1, ACTS_A_STEP do visitors[math.random(CLIENTS)]:act(b.port) end
        if proc.now() >= next_reload then
            generation, next_reload = generation + 1, next_reload + 1
            b:configure(generation % 7 == 0 and BROKEN[math.random(#BROKEN)] or fill(generation))
            b:signal "HUP"
        end
        if proc.now() >= next_sample then
            next_sample = next_sample + step
            sample(b, samples, started, generation)
        end
        proc.sleep(0.01)
    end
    for _, v in ipairs(visitors) do v:leave "close" end
    return samples
end

-- With a policy that waits for nobody.
local function check_rest(b, fds, samples)
    b:configure "allow_anonymous = true\nsol.on('reload', function() sol.log.error 'calm' end)"
    b:signal "HUP"
    b:log_wait("calm", nil, 60)
    wait.till("nobody to be connected", function() return b:fds() <= fds + 2 end, 60)
    for i = 1, CLIENTS do b:client("v" .. i, { clean = true }):ping():disconnect() end
    local n = #samples
    local early, late = median(samples, n // 4, n // 2), median(samples, n - n // 4, n)
    print(("memory: %d KiB early, %d KiB late; all %d clients are served"):format(early, late, CLIENTS))
    assert(late < early * 1.1 + 2048, "the memory grows")
end

math.randomseed(os.time())
with_world({ "http" }, function(web)
    with_world({ "talk" }, function(talk)
        with_world({ "redis" }, function(redis)
            local closed = broker.free_port()
            local policy = broker.read_file "tests/soak/policy.lua"
            local function fill(generation)
                return ("local WEB, TALK, REDIS, CLOSED, GENERATION = %d, %d, %d, %d, %d "):format(
                    web.port, talk.port, redis.port, closed, generation) .. policy
            end
            broker.with_broker({ config = fill(1) }, function(b)
                local fds = b:fds()
                check_rest(b, fds, play(b, fill))
            end)
        end)
    end)
end)
