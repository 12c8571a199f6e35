-- SPDX-License-Identifier: BSD-2-Clause
--
-- audit_log -- write down who came, what they did and what was refused, one JSON object a line.
--
-- The lines go to a file that is only added to, or into the broker's log.  Nobody waits for the
-- disk; lines that it cannot take are counted.

local sol = require "sol"

local M = { defaults = {
    events = { "connected", "disconnected", "refused", "subscribed", "unsubscribed", "start", "stop", "reload" },
    topics = { "#" }, max_payload = 0, path = "", max_pending = 1 << 20,
} }

--- A moment as RFC 3339 has it, in UTC.
local function stamp(time)
    local whole = math.floor(time)
    return os.date("!%Y-%m-%dT%H:%M:%S", whole) .. (".%03dZ"):format(math.floor((time - whole) * 1000))
end

---@param options {path: string, events: string[], topics: string[], max_payload: integer, max_pending: integer}
function M.setup(options)
    local lines = sol.metrics.counter("sol_audit_lines_total", { labels = { "result" },
        help = "Lines of the plugin audit_log: written, or lost for want of room." })
    local file
    if options.path ~= "" then
        file = assert(sol.append_file(options.path, { max_pending = options.max_pending }))
    end

    sol.observe(options.events, function(event)
        event.time = stamp(event.time)
        local line = assert(sol.json.encode(event))
        local is_taken = true
        if file then is_taken = file:write(line .. "\n") else sol.log(line) end
        lines:add(1, { result = is_taken and "written" or "lost" })
    end, { topics = options.topics, max_payload = options.max_payload, name = "audit_log" })
end

return M
