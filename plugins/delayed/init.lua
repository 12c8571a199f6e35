-- SPDX-License-Identifier: BSD-2-Clause
--
-- delayed -- publish to `$delayed/SECONDS/TOPIC` what is to appear on TOPIC that much later.
--
-- A message waits in its author's session, as text in `client.session`, so it lives as long as
-- that does and outlives a reload.  When its time has come it goes the way of its author's
-- messages: the author's rights to TOPIC count, at that time.  What waits is bounded.

local sol = require "sol"

local M = { defaults = { max_delay = 86400, max_pending = 10000, max_per_client = 32, max_bytes = 16 * 1024 * 1024 } }

local PREFIX = "delayed/" -- of the names in client.session
local FULL = sol.deny(0x97, "too many delayed messages")
local TOO_LONG = 65535    -- what a session's value may have
local SWEEP_EACH = 1      -- second, at most

--- The delay in seconds and the topic; or nil and what is wrong.
local function parse(topic, max_delay)
    local seconds, target = topic:match "^%$delayed/([^/]*)/(.+)$"
    if not seconds then return nil, "expected $delayed/SECONDS/TOPIC" end
    local delay = seconds:match "^%d+%.?%d*$" and tonumber(seconds)
    if not delay or delay > max_delay then return nil, ("expected 0 to %d seconds"):format(max_delay) end
    return delay, target
end

-- JSON is text: bytes go as base64.
local function packed(message, target, due)
    local copy = message:copy()
    copy.topic, copy.due, copy.payload = target, due, sol.base64.encode(copy.payload)
    local correlation = copy.properties.correlation_data
    copy.properties.correlation_data = correlation and sol.base64.encode(correlation)
    return assert(sol.json.encode(copy))
end

local function unpacked(text)
    local copy = assert(sol.json.decode(text))
    local correlation = copy.properties.correlation_data
    copy.payload = sol.base64.decode(copy.payload)
    copy.properties.correlation_data = correlation and sol.base64.decode(correlation)
    return copy
end

--- What waits on this worker: how many, how much, and of whom.
local Waiting = {}
Waiting.__index = Waiting

function Waiting:add(id, n, len)
    self.count, self.bytes = self.count + n, self.bytes + n * len
    local of_client = (self.of_client[id] or 0) + n
    self.of_client[id] = of_client > 0 and of_client or nil
end

function Waiting:forget(id, name, len)
    self:add(id, -1, len)
    self.armed[name] = nil
end

--- What waits for clients that have gone, sessions and all, makes room: else whoever comes under
--- one name after the other would fill it for everybody, for as long as the longest delay.
function Waiting:sweep()
    if sol.now() < self.next_sweep then return end
    self.next_sweep = sol.now() + SWEEP_EACH
    for name, one in pairs(self.armed) do
        if not sol.client(one.id) then
            one.timer:cancel()
            self:forget(one.id, name, one.len)
        end
    end
end

--- Is there room for so many bytes more?
function Waiting:has_room(options, len)
    return self.count < options.max_pending and self.bytes + len <= options.max_bytes
end

--- The time has come: whatever is left of the client and its session decides.
function Waiting:publish(id, name, len)
    self:forget(id, name, len)
    local client = sol.client(id)
    local text = client and client.session[name]
    if not text then return sol.log.info("delayed message of %s: gone with its session", id) end
    client.session[name] = nil
    local m = unpacked(text)
    local ok, err = sol.publish(m.topic, m.payload, { qos = m.qos, retain = m.retain, expiry = m.expiry,
        properties = m.properties, as = client })
    if not ok then sol.log.info("delayed message of %s to %s: %s", id, m.topic, err) end
end

function Waiting:arm(id, name, len, seconds)
    self:add(id, 1, len)
    local timer = sol.after(math.max(0, seconds), function() self:publish(id, name, len) end)
    self.armed[name] = { id = id, len = len, timer = timer }
end

--- After a reload: the sessions know what waits.
function Waiting:resume()
    for _, client in ipairs(sol.clients()) do
        for name, text in pairs(client.session) do
            if name:sub(1, #PREFIX) == PREFIX and not self.armed[name] then
                self:arm(client.id, name, #text, unpacked(text).due - sol.time())
            end
        end
    end
end

---@param options {max_delay: number, max_pending: integer, max_per_client: integer, max_bytes: integer}
function M.setup(options)
    for name, value in pairs(options) do
        if value <= 0 then error(name .. ": expected a number above 0", 0) end
    end
    local waiting = setmetatable({ count = 0, bytes = 0, of_client = {}, armed = {}, next_sweep = 0 }, Waiting)

    sol.on("publish", "$delayed/#", function(client, message)
        local delay, target = parse(message.topic, options.max_delay)
        if not delay then return sol.deny(0x90, target) end
        local text = packed(message, target, sol.time() + delay)
        if #text > TOO_LONG then return sol.deny(0x97, "too long to be delayed") end
        if (waiting.of_client[client.id] or 0) >= options.max_per_client then return FULL end
        if not waiting:has_room(options, #text) then
            waiting:sweep()
            if not waiting:has_room(options, #text) then return FULL end
        end
        local name = PREFIX .. sol.uuid()
        client.session[name] = text
        waiting:arm(client.id, name, #text, delay)
        return sol.drop() -- acknowledged, and not published now
    end)

    for _, event in ipairs { "start", "reload" } do
        sol.on(event, function() waiting:resume() end, { each_worker = true })
    end
end

return M
