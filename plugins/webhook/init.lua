-- SPDX-License-Identifier: BSD-2-Clause
--
-- webhook -- tell a web service what happens, in order, in batches, again until it has heard.
--
-- Events of all workers go into one list of a shared dictionary, which bounds them and lives
-- through reloads; the first worker sends.  A batch on its way lies in a list of its own until
-- the service has it, so one that a reload cuts short is sent again, under the same id.

local sol = require "sol"

local M = { defaults = {
    url = "", events = { "connected", "disconnected" }, topics = { "#" }, queue = "webhook", interval = 1,
    batch_size = 100, attempts = 10, backoff = 1, max_backoff = 60, timeout = 10, max_payload = 65536,
    secret = "", headers = {}, ca = "", verify = true,
} }

local BATCH_BYTES = 1 << 20

--- Checks the options; the key to sign with, or nil.
local function check(options)
    if not options.url:find "^https?://" then error("url: expected http:// or https://", 0) end
    for name, least in pairs { batch_size = 1, attempts = 0, interval = 0.01, backoff = 0.01, max_payload = 0 } do
        if options[name] < least then error(("%s: expected at least %s"):format(name, least), 0) end
    end
    local encoded = options.secret:match "^whsec_(.*)$"
    local key = encoded and sol.base64.decode(encoded) or options.secret
    if encoded and not sol.base64.decode(encoded) then error("secret: what follows whsec_ is not base64", 0) end
    return key ~= "" and key or nil
end

--- Those of Standard Webhooks, and the operator's.
local function headers_of(options, key, id, body)
    local stamp = ("%d"):format(math.floor(sol.time()))
    local headers = { ["Content-Type"] = "application/json", ["webhook-id"] = id, ["webhook-timestamp"] = stamp }
    for name, value in pairs(options.headers) do headers[name] = value end
    if key then
        local code = sol.hmac("sha256", key, table.concat({ id, stamp, body }, "."))
        headers["webhook-signature"] = "v1," .. sol.base64.encode(code)
    end
    return headers
end

--- Sends a batch until it is heard, refused or given up: "sent", "refused" or "given_up".
local function send(options, key, id, body)
    local place = options.url:match("^https?://[^/?#]*"):gsub("//.*@", "//") -- for the log
    local attempt, pause = 0, options.backoff
    while true do
        attempt = attempt + 1
        local reply, err = sol.http.post(options.url, body, { headers = headers_of(options, key, id, body),
            timeout = options.timeout, verify = options.verify, ca = options.ca ~= "" and options.ca or nil })
        local status = reply and reply.status or 0
        if status >= 200 and status < 300 then return "sent" end
        if status >= 300 and status < 500 and status ~= 408 and status ~= 429 then
            sol.log.error("%s refuses a batch with status %d", place, status)
            return "refused"
        end
        if attempt == options.attempts then
            sol.log.error("%s: %s; given up after %d attempts", place, err or "status " .. status, attempt)
            return "given_up"
        end
        sol.log.warn("%s: %s (attempt %d)", place, err or "status " .. status, attempt)
        local asked = tonumber(reply and reply.headers["retry-after"]) or 0
        sol.sleep(math.min(options.max_backoff, math.max(asked, pause * (0.5 + math.random() / 2))))
        pause = math.min(options.max_backoff, pause * 2)
    end
end

function M.setup(options)
    local key, queue = check(options), sol.shared[options.queue]
    local waiting, sending = "waiting " .. options.url, "sending " .. options.url
    local count = sol.metrics.counter("sol_webhook_events_total", { labels = { "result" },
        help = "Events of the plugin webhook: sent, refused or given_up with their batch, dropped for want of room." })

    sol.observe(options.events, function(event)
        if not queue:rpush(waiting, assert(sol.json.encode(event))) then count:add(1, { result = "dropped" }) end
    end, { topics = options.topics, max_payload = options.max_payload, name = "webhook" })

    --- "id number body" of the batch that is to be sent, or nil.
    local function next_batch()
        local batch = queue:lpop(sending)
        if not batch then
            local list, bytes, text = {}, 0, queue:lpop(waiting)
            while text do
                list[#list + 1], bytes = text, bytes + #text
                text = #list < options.batch_size and bytes < BATCH_BYTES and queue:lpop(waiting)
            end
            batch = list[1] and ("%s %d [%s]"):format(sol.uuid(), #list, table.concat(list, ","))
        end
        if batch then queue:lpush(sending, batch) end
        return batch
    end

    sol.every(options.interval, function()
        for batch in next_batch do
            local id, number, body = batch:match "^(%S+) (%d+) (.*)$"
            count:add(tonumber(number), { result = send(options, key, id, body) })
            local first = queue:lpop(sending)
            if first and first ~= batch then queue:lpush(sending, first) end -- another generation's
        end
    end)
end

return M
