-- SPDX-License-Identifier: BSD-2-Clause
--
-- auth_commons.lua -- what scripts get from `require "auth/auth_commons"` when no file of that
-- name lies beside them: cache_insert, and hooks that refuse what the cache does not know.
-- Runs among the script's globals.
-- luacheck: std none, globals auth_cache assert ipairs pairs type cache_insert type_assert validate_acls
-- luacheck: globals auth_on_publish auth_on_subscribe auth_on_publish_m5 auth_on_subscribe_m5 auth_on_register
-- luacheck: globals auth_on_register_m5 on_unsubscribe on_client_gone on_client_offline on_session_expired
-- luacheck: globals num_states keep_state

--- Raises unless the value is of this type, or of one of these.
function type_assert(value, expected, description)
    local kinds, said = type(expected) == "table" and expected or { expected }, ""
    for _, kind in ipairs(kinds) do
        if type(value) == kind then return end
        said = said == "" and kind or said .. " or " .. kind
    end
    assert(false, description .. ": expected a " .. said .. ", got a " .. type(value))
end

function validate_acls(acls)
    for _, acl in ipairs(acls or {}) do
        for name, value in pairs(acl) do
            type_assert(name, "string", "acl key")
            type_assert(value, name == "modifiers" and "table" or { "string", "number", "boolean" }, "acl " .. name)
        end
    end
end

function cache_insert(mountpoint, client_id, username, publish_acl, subscribe_acl)
    type_assert(mountpoint, "string", "mountpoint")
    type_assert(client_id, "string", "client_id")
    type_assert(username, "string", "username")
    type_assert(publish_acl, { "table", "nil" }, "publish_acl")
    type_assert(subscribe_acl, { "table", "nil" }, "subscribe_acl")
    validate_acls(publish_acl)
    validate_acls(subscribe_acl)
    auth_cache.insert(mountpoint, client_id, username, publish_acl, subscribe_acl)
end

local function refuse() return false end
local function nothing() end

auth_on_publish, auth_on_subscribe, auth_on_publish_m5, auth_on_subscribe_m5 = refuse, refuse, refuse, refuse
on_unsubscribe, on_client_gone, on_client_offline, on_session_expired = nothing, nothing, nothing, nothing
function auth_on_register_m5(reg) return auth_on_register(reg) end

num_states, keep_state = 10, false
