-- SPDX-License-Identifier: BSD-2-Clause
--
-- convert.lua -- Sol's objects as VerneMQ's argument tables, and what a script answers as
-- changes to Sol's objects.
--
-- VerneMQ's mountpoint "a" is Sol's mount point "a/": scripts see topics without it.

local sol = require "sol"

local M = {}

local function mount(mountpoint) return mountpoint == "" and "" or mountpoint .. "/" end

function M.mountpoint(mount_point) return mount_point and mount_point:gsub("/$", "") or "" end

--- A client's address: addr, port.
function M.peer(address)
    local host, port = address:match "^(.*):(%d+)$"
    if not host then return address, 0 end
    return (host:gsub("[%[%]]", "")), tonumber(port)
end

--- Who it is, as in every argument table, and which of the hooks are his.
---@return table args, string suffix
function M.client(client)
    return { client_id = client.id, username = client.username, mountpoint = M.mountpoint(client.mount_point) },
        client.version == 5 and "_m5" or ""
end

function M.registration(client, connect)
    local addr, port = M.peer(client.address)
    local reg = { addr = addr, port = port, mountpoint = M.mountpoint(connect.mount_point),
        client_id = connect.client_id, username = connect.username, password = connect.password }
    if connect.version ~= 5 then
        reg.clean_session = connect.clean_start
        return reg
    end
    local expiry = connect.session_expiry
    reg.clean_start = connect.clean_start
    reg.properties = { p_session_expiry_interval = math.tointeger(expiry) or 0xFFFFFFFF }
    return reg
end

-- Messages ----------------------------------------------------------------------------------

local PROPERTIES = { p_content_type = "content_type", p_response_topic = "response_topic",
    p_correlation_data = "correlation_data", p_message_expiry_interval = "message_expiry_interval" }

local function properties_of(properties)
    local given = {}
    for theirs, ours in pairs(PROPERTIES) do given[theirs] = properties[ours] end
    if properties.payload_format_indicator == 1 then given.p_payload_format_indicator = "utf8" end
    local user = {}
    for name, value in pairs(properties.user_properties) do user[#user + 1] = { [name] = value } end
    if #user > 0 then given.p_user_property = user end
    return given
end

--- The topic, or the filter of a subscription, as the client says it.
function M.unmounted(client, topic)
    local prefix, group, inner = client.mount_point or "", sol.topic.shared(topic)
    if group then return ("$share/%s/%s"):format(group, M.unmounted(client, inner)) end
    return topic:sub(1, #prefix) == prefix and topic:sub(#prefix + 1) or topic
end

function M.mounted(client, topic)
    local group, inner = sol.topic.shared(topic)
    if group then return ("$share/%s/%s"):format(group, M.mounted(client, inner)) end
    return (client.mount_point or "") .. topic
end

--- What publish and deliver hooks are called with.
---@return table args, string suffix
function M.publication(client, message)
    local args, suffix = M.client(client)
    args.topic, args.payload = M.unmounted(client, message.topic), message.payload
    args.qos, args.retain = message.qos, message.retain
    args.properties = suffix == "_m5" and properties_of(message.properties) or nil
    return args, suffix
end

local CHANGES = { topic = "string", payload = "string", qos = "number", retain = "boolean", mountpoint = "string",
    properties = "table", throttle = "number" }

local function change_properties(properties, wanted)
    for theirs, value in pairs(wanted) do
        if theirs == "p_user_property" then
            for _, pair in ipairs(value) do
                for name, text in pairs(pair) do properties.user_properties[name] = text end
            end
        elseif theirs == "p_payload_format_indicator" then
            properties.payload_format_indicator = value == "utf8" and 1 or nil
        elseif PROPERTIES[theirs] then
            properties[PROPERTIES[theirs]] = value
        else
            error(("property %s cannot be set"):format(theirs), 0)
        end
    end
end

--- Do to the message what the script asks for; `known` are the modifiers of its hook.
function M.modify(client, message, modifiers, known)
    for name, value in pairs(modifiers) do
        if not known[name] or type(value) ~= CHANGES[name] then
            error(("invalid modifier %s = %s"):format(tostring(name), tostring(value)), 0)
        end
    end
    if modifiers.throttle then sol.sleep(modifiers.throttle / 1000) end
    if modifiers.topic or modifiers.mountpoint then
        local prefix = modifiers.mountpoint and mount(modifiers.mountpoint) or client.mount_point or ""
        message.topic = prefix .. (modifiers.topic or M.unmounted(client, message.topic))
    end
    for _, name in ipairs { "payload", "qos", "retain" } do
        if modifiers[name] ~= nil then message[name] = modifiers[name] end
    end
    if modifiers.properties then change_properties(message.properties, modifiers.properties) end
end

-- Subscriptions -----------------------------------------------------------------------------

function M.subscription(client, subscription)
    local args, suffix = M.client(client)
    local filter, qos = M.unmounted(client, subscription.filter), subscription.qos
    if suffix == "_m5" then
        local options = { no_local = subscription.no_local, rap = subscription.retain_as_published,
            retain_handling = subscription.retain_handling }
        args.topics = { { filter, { qos, options } } }
        args.properties = { p_subscription_id = subscription.identifier and { subscription.identifier } }
    else
        args.topics = { { filter, qos } }
    end
    return args, suffix
end

--- Do to the subscription what the script's list of topics says; false when it is refused.
function M.resubscribe(client, subscription, topics)
    local topic = topics[1]
    if #topics ~= 1 or type(topic) ~= "table" then
        error(("a subscription cannot become %d: give one topic in its place"):format(#topics), 0)
    end
    local qos, options = topic[2], {}
    if type(qos) == "table" then qos, options = qos[1], qos[2] or {} end
    if qos == 128 or qos > 2 then return false end
    subscription.filter, subscription.qos = M.mounted(client, topic[1]), qos
    if options.no_local ~= nil then subscription.no_local = options.no_local end
    if options.rap ~= nil then subscription.retain_as_published = options.rap end
    return true
end

-- Registration ------------------------------------------------------------------------------

local LIMITS = { max_message_size = "max_payload_size", max_message_rate = "message_rate",
    max_inflight_messages = "max_inflight", max_offline_messages = "max_queued" }

local IGNORED = { "allow_unsubscribe", "max_connection_lifetime", "max_online_messages", "max_drain_time",
    "max_msgs_per_drain_step", "queue_type", "retry_interval", "upgrade_qos", "shared_subscription_policy" }
for _, name in ipairs(IGNORED) do IGNORED[name] = true end

local REGISTER = {}

function REGISTER.subscriber_id(connect, id)
    connect.client_id = id.client_id
    connect.mount_point = mount(id.mountpoint)
end

function REGISTER.username(connect, value) connect.username = value end
function REGISTER.clean_session(connect, value) connect.clean_start = value end

function REGISTER.properties(connect, wanted)
    local expiry = wanted.p_session_expiry_interval
    if expiry then connect.session_expiry = expiry == 0xFFFFFFFF and math.huge or expiry end
end

for theirs, ours in pairs(LIMITS) do
    REGISTER[theirs] = function(connect, value) connect.limits[ours] = value end
end

for _, name in ipairs { "allow_publish", "allow_subscribe" } do
    REGISTER[name] = function(_, value, client)
        if value == false then client.attributes["vernemq." .. name] = false end
    end
end

--- Do to the registration what the script asks for; false when it is refused.
function M.register(client, connect, modifiers)
    if modifiers.allow_register == false then return false end
    for name, value in pairs(modifiers) do
        if REGISTER[name] then
            REGISTER[name](connect, value, client)
        elseif IGNORED[name] then
            sol.log.debug("auth_on_register: %s has no counterpart and is ignored", name)
        elseif name ~= "allow_register" then
            error(("auth_on_register: invalid modifier %s"):format(tostring(name)), 0)
        end
    end
    return true
end

return M
