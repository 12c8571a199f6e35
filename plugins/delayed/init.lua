-- SPDX-License-Identifier: BSD-2-Clause
--
-- delayed -- publish to `$delayed/SECONDS/TOPIC` what is to appear on TOPIC that much later.
--
-- A message waits outside of Sol's queues and then goes the way of its author's messages: the
-- author's rights to TOPIC count, at that time.  What waits is bounded, and held in memory.

local sol = require "sol"

local M = { defaults = { max_delay = 86400, max_pending = 10000, max_per_client = 100, max_bytes = 16 * 1024 * 1024 } }

local FULL = sol.deny(0x97, "too many delayed messages")

--- The delay in seconds and the topic; or nil and what is wrong.
local function parse(topic, max_delay)
    local seconds, target = topic:match "^%$delayed/([^/]*)/(.+)$"
    if not seconds then return nil, "expected $delayed/SECONDS/TOPIC" end
    local delay = seconds:match "^%d+%.?%d*$" and tonumber(seconds)
    if not delay or delay > max_delay then return nil, ("expected 0 to %d seconds"):format(max_delay) end
    return delay, target
end

---@param options {max_delay: number, max_pending: integer, max_per_client: integer, max_bytes: integer}
function M.setup(options)
    for name, value in pairs(options) do
        if value <= 0 then error(name .. ": expected a number above 0", 0) end
    end
    local count, bytes, of_client = 0, 0, {} -- what waits
    local pending = sol.metrics.gauge("sol_delayed_messages", { help = "Messages that wait for their time." })

    local function add(id, n, len)
        count, bytes = count + n, bytes + n * len
        of_client[id] = (of_client[id] or 0) + n
        if of_client[id] == 0 then of_client[id] = nil end
        pending:add(n)
    end

    sol.on("publish", "$delayed/#", function(client, message)
        local delay, target = parse(message.topic, options.max_delay)
        if not delay then return sol.deny(0x90, target) end
        local id, copy = client.id, message:copy()
        local len = #message.topic + #message.payload
        if count >= options.max_pending or bytes + len > options.max_bytes
            or (of_client[id] or 0) >= options.max_per_client then
            return FULL
        end
        add(id, 1, len)
        sol.after(delay, function()
            add(id, -1, len)
            local ok, err = sol.publish(target, copy.payload, { qos = copy.qos, retain = copy.retain,
                expiry = copy.expiry, properties = copy.properties, as = client })
            if not ok then sol.log.info("delayed message of %s to %s: %s", id, target, err) end
        end)
        return sol.drop() -- acknowledged, and not published now
    end)
end

return M
