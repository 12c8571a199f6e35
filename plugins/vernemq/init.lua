-- SPDX-License-Identifier: BSD-2-Clause
--
-- vernemq -- run a Lua script written for VerneMQ (vmq_diversity) as it is.
--
-- Its hooks become handlers: each calls the script with VerneMQ's arguments (convert.lua) in a
-- state of its own (script.lua) and does what it answers.  VerneMQ asks once whether a message
-- may be published and what becomes of it; here the publish handler asks, and notes for the
-- authorize handler that follows it which topic was granted.

local acl = require "acl"
local convert = require "convert"
local load_script = require("script").load
local sol = require "sol"

local M = { defaults = { script = "", redis = {}, postgres = {} } }

local HERE = select(2, ...):match "^(.*/)"
local REFUSED, BAD_LOGIN = sol.deny(0x87), sol.deny(0x86)
local LATE = { priority = -100 } -- after other plugins have had their say

local PUBLISH = { topic = true, payload = true, qos = true, retain = true, mountpoint = true, throttle = true,
    properties = true }
local DELIVER = { topic = true, payload = true, properties = true }
local NEVER = { "on_auth_m5", "on_session_expired" } -- Sol has no event for these

local REGISTERS = { "auth_on_register", "auth_on_register_m5" }
local PUBLISHES = { "auth_on_publish", "auth_on_publish_m5" }
local SUBSCRIBES = { "auth_on_subscribe", "auth_on_subscribe_m5" }

local script              -- the script's states
local granted             -- client id -> the topic or filter that the script has just granted

--- Registers a handler where the script has one of these hooks.
local function on(hooks, event, fn, opts)
    for _, hook in ipairs(hooks) do
        if script:has(hook) then return sol.on(event, fn, opts) end
    end
end

--- true, false, a table of changes, or nil: this script does not know.
local function ask(hook, args)
    if not script:has(hook) then return nil, {} end
    local answer, inserted = script:call(hook, args)
    if type(answer) ~= "boolean" and type(answer) ~= "table" then answer = nil end
    return answer, inserted
end

local function tell(hook, args)
    if script:has(hook) then script:call(hook, args) end
end

local function key_of(client) return convert.mountpoint(client.mount_point) .. "\0" .. client.id end

--- What auth_cache knows of a client: also after a reload, which empties the cache.
local function lists_of(client)
    local lists, text = script.cache:get(key_of(client)), nil
    if not lists then text = client.attributes["vernemq.acl"] end
    if text then
        lists = acl.of_text(text)
        script.cache:set(key_of(client), lists)
    end
    return lists
end

local function forget(client)
    script.cache:delete(key_of(client))
    granted[client.id] = nil
end

local function on_connect(client, connect)
    if client.attributes["vernemq.registered"] then return end -- by another script
    local args = convert.registration(client, connect)
    local answer, inserted = ask(connect.version == 5 and "auth_on_register_m5" or "auth_on_register", args)
    if answer == nil then return end
    if not answer then return BAD_LOGIN end
    if answer ~= true and not convert.register(client, connect, answer) then return REFUSED end
    local key = convert.mountpoint(connect.mount_point) .. "\0" .. connect.client_id
    client.attributes["vernemq.registered"] = true
    client.attributes["vernemq.keeps"] = connect.session_expiry > 0
    client.attributes["vernemq.acl"] = inserted[key]
end

local function on_authenticate(client)
    if client.attributes["vernemq.registered"] then return sol.allow() end
end

--- What the script says of a publish.
local function judge_publish(client, message)
    local lists = lists_of(client)
    if lists then
        local topic = convert.unmounted(client, message.topic)
        return acl.may_publish(lists, topic, message.qos, message.payload, message.retain)
    end
    local args, suffix = convert.publication(client, message)
    return (ask("auth_on_publish" .. suffix, args))
end

local function on_publish(client, message)
    granted[client.id] = nil
    if client.attributes["vernemq.allow_publish"] == false then return REFUSED end
    local answer = judge_publish(client, message)
    if answer == nil then return nil end
    if not answer then return REFUSED end
    if answer ~= true then convert.modify(client, message, answer, PUBLISH) end
    granted[client.id] = message.topic
    return sol.allow() -- authorize comes next, other scripts are not asked
end

--- What the script says of a subscription.
local function judge_subscription(client, args, suffix, qos)
    local lists = lists_of(client)
    if lists then return acl.may_subscribe(lists, args.topics[1][1], qos) end
    return (ask("auth_on_subscribe" .. suffix, args))
end

local function on_subscribe(client, subscription)
    granted[client.id] = nil
    if client.attributes["vernemq.allow_subscribe"] == false then return REFUSED end
    local args, suffix = convert.subscription(client, subscription)
    local answer = judge_subscription(client, args, suffix, subscription.qos)
    if answer == nil then return nil end
    local topics = type(answer) == "table" and (answer.topics or answer)
    if not answer or topics and not convert.resubscribe(client, subscription, topics) then return REFUSED end
    granted[client.id] = subscription.filter
    return sol.allow()
end

--- What the script has just granted passes.
local function on_authorize(client, request)
    local topic = granted[client.id]
    granted[client.id] = nil
    if topic == request.topic then return sol.allow() end
end

--- A subscription that is judged again (sol.reauthorize) has no subscribe handlers before it.
local function on_authorize_subscribe(client, request)
    local verdict = on_authorize(client, request)
    if verdict or client.attributes["vernemq.allow_subscribe"] == false then return verdict end
    local again = { filter = request.topic, qos = request.qos }
    local args, suffix = convert.subscription(client, again)
    local answer = judge_subscription(client, args, suffix, request.qos)
    local topics = type(answer) == "table" and (answer.topics or answer)
    if topics then answer = convert.resubscribe(client, again, topics) and again.filter == request.topic end
    if answer then return sol.allow() end
end

local function refuse() return REFUSED end

local function on_unsubscribe(client, subscription)
    local args, suffix = convert.client(client)
    args.topics = { convert.unmounted(client, subscription.filter) }
    if suffix == "_m5" then args.properties = {} end
    local answer = ask("on_unsubscribe" .. suffix, args)
    local topics = type(answer) == "table" and (answer.topics or answer)
    if topics and topics[1] then subscription.filter = convert.mounted(client, topics[1]) end
end

local function on_deliver(client, message)
    local args, suffix = convert.publication(client, message)
    if not client.connected then return tell("on_offline_message", args) end
    local answer = ask("on_deliver" .. suffix, args)
    if type(answer) == "table" then convert.modify(client, message, answer, DELIVER) end
end

local function on_published(client, message)
    if not client then return end -- the broker's own messages
    local args, suffix = convert.publication(client, message)
    tell("on_publish" .. suffix, args)
end

local function on_subscribed(client, subscribed)
    local args, suffix = convert.client(client)
    local filter = convert.unmounted(client, subscribed.filter)
    args.topics = { { filter, suffix == "_m5" and { subscribed.qos, {} } or subscribed.qos } }
    if suffix == "_m5" then args.properties = {} end
    tell("on_subscribe" .. suffix, args)
end

local function on_connected(client)
    forget(client) -- an earlier connection; what belongs to this one is in its attributes
    local args, suffix = convert.client(client)
    args.addr, args.port = convert.peer(client.address)
    if suffix == "_m5" then args.properties = {} end
    tell("on_register" .. suffix, args)
    tell("on_client_wakeup", { client_id = args.client_id, mountpoint = args.mountpoint })
end

local function on_disconnected(client)
    local args = { client_id = client.id, mountpoint = convert.mountpoint(client.mount_point) }
    local keeps = client.attributes["vernemq.keeps"]
    forget(client)
    tell(keeps and "on_client_offline" or "on_client_gone", args)
end

---@param options {script: string, redis: table, postgres: table}
function M.setup(options)
    if options.script == "" then error("script is missing: the path of a VerneMQ script", 0) end
    script, granted = load_script(options.script, HERE, options), {}

    on(REGISTERS, "connect", on_connect)
    on(REGISTERS, "authenticate", on_authenticate)
    on(PUBLISHES, "publish", on_publish, LATE)
    on(SUBSCRIBES, "subscribe", on_subscribe, LATE)
    on(PUBLISHES, "authorize", on_authorize, { actions = { "publish", "will" } })
    on(SUBSCRIBES, "authorize", on_authorize_subscribe, { actions = { "subscribe" } })
    -- What nobody grants is refused, as VerneMQ does.
    on(PUBLISHES, "authorize", refuse, { actions = { "publish", "will" }, priority = LATE.priority })
    on(SUBSCRIBES, "authorize", refuse, { actions = { "subscribe" }, priority = LATE.priority })
    on({ "on_unsubscribe", "on_unsubscribe_m5" }, "unsubscribe", on_unsubscribe)
    on({ "on_deliver", "on_deliver_m5", "on_offline_message" }, "deliver", on_deliver)
    on({ "on_publish", "on_publish_m5" }, "published", on_published)
    on({ "on_subscribe", "on_subscribe_m5" }, "subscribed", on_subscribed)
    sol.on("connected", on_connected)
    sol.on("disconnected", on_disconnected)

    for _, hook in ipairs(NEVER) do
        if script:has(hook) then sol.log.warn("%s: %s is never called", options.script, hook) end
    end
end

return M
