-- SPDX-License-Identifier: BSD-2-Clause
--
-- presence -- say in a retained message of its own for each client whether it is there.
--
-- What is said must hold after a restart and a reload as well: when the policy starts, the
-- messages of clients that have gone unnoticed are put right, and those of clients that came
-- unnoticed are made.

local sol = require "sol"

local M = { defaults = {
    topic = "presence/${clientid}", qos = 1, forget = false, clients = function() return true end,
} }

--- A name as one level of a topic: what would be more than that is percent-encoded.
local function level(name)
    return (name:gsub("[+#/%%\1-\31]", function(c) return ("%%%02X"):format(c:byte()) end))
end

---@param options {topic: string, qos: integer, forget: boolean, clients: fun(client: sol.client): boolean}
function M.setup(options)
    local topic_of = sol.template(options.topic, { "clientid", "username" })
    local function topic_for(id, username) return topic_of({ clientid = id, username = username }, level) end
    local all = topic_of { clientid = "+", username = "+" }
    if not sol.topic.valid_name(topic_for("x", "x")) or not sol.topic.valid_filter(all) then
        error("topic: expected a topic name with placeholders as levels, got " .. options.topic, 0)
    end
    if not options.topic:find("${clientid}", 1, true) then error("topic: ${clientid} is missing", 0) end
    if type(options.clients) ~= "function" then error("clients: expected a function", 0) end
    if options.qos < 0 or options.qos > 2 then error("qos: expected 0, 1 or 2", 0) end

    local function say(topic, state)
        state.time = sol.time()
        local text = options.forget and state.status == "offline" and "" or assert(sol.json.encode(state))
        sol.publish(topic, text, { qos = options.qos, retain = true })
    end

    local function online(client)
        if not options.clients(client) then return end
        say(topic_for(client.id, client.username), { status = "online", clientid = client.id,
            username = client.username, address = client.address, since = client.connected_at })
    end

    sol.on("connected", online, { name = "presence" })
    sol.on("disconnected", function(client, facts)
        if not options.clients(client) then return end
        say(topic_for(client.id, client.username), { status = "offline", clientid = client.id,
            username = client.username, since = sol.time(), normal = facts.normal, reason = facts.reason,
            reason_code = facts.reason_code })
    end, { name = "presence" })

    local function is_online(payload)
        local state = payload and sol.json.decode(payload)
        return type(state) == "table" and state.status == "online" and state
    end

    --- Every client that is here is online, and whoever else is said to be is not.  Others come
    --- and go meanwhile: where something new has been said, that stays.
    local function put_right()
        local said, is_here = {}, {} -- by topic
        for _, message in ipairs((sol.retained(all, 10000))) do said[message.topic] = message.payload end
        for _, client in ipairs(sol.clients { connected = true }) do
            is_here[topic_for(client.id, client.username)] = client
        end
        local function is_news(topic)
            local message = sol.retained(topic)[1]
            return (message and message.payload) ~= said[topic]
        end
        for topic, client in pairs(is_here) do
            if not is_online(said[topic]) and client.connected and not is_news(topic) then online(client) end
        end
        for topic, payload in pairs(said) do
            local state = is_online(payload)
            if state and not is_here[topic] and not is_news(topic) then
                say(topic, { status = "offline", clientid = state.clientid, username = state.username,
                    since = sol.time(), normal = false, reason = "gone while nobody looked" })
            end
        end
    end
    sol.on("start", put_right, { name = "presence", timeout = 60 })
    sol.on("reload", put_right, { name = "presence", timeout = 60 })
end

return M
