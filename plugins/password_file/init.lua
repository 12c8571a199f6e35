-- SPDX-License-Identifier: BSD-2-Clause
--
-- password_file -- let in who is in a file of user:hash lines.
--
-- The file is read when the policy is loaded, so a reload takes its changes up; a line
-- that makes no sense keeps the policy from loading.  Hashes are of any form that
-- sol.password.verify knows, mosquitto's among them.

local sol = require "sol"

local M = { defaults = { path = "" } }

--- The users of a file: name -> hash, and the hashes in the order of the file.
---@param path string
---@return table<string, string> users, string[] hashes
local function read_users(path)
    local users, hashes, number = {}, {}, 0
    local text, unread = sol.read_file(path)
    if not text then error(unread, 0) end
    for line in (text .. "\n"):gmatch "(.-)\r?\n" do
        number = number + 1
        local where = ("%s:%d: "):format(path, number)
        local name, hash = line:match "^%s*(.-)%s*:%s*(.-)%s*$"
        if name and line:sub(1, 1) ~= "#" then
            if name == "" then error(where .. "a user without a name", 0) end
            if users[name] then error(where .. "user " .. name .. " is there twice", 0) end
            local kind, err = sol.password.kind(hash)
            if not kind then error(where .. "user " .. name .. ": " .. err, 0) end
            users[name] = hash
            hashes[#hashes + 1] = hash
        elseif line:match "%S" and line:sub(1, 1) ~= "#" then
            error(where .. "expected user:hash", 0)
        end
    end
    return users, hashes
end

--- Somebody's hash for a name that is nobody's, always the same one for the same name: an
--- unknown user takes as long to refuse as a known one with a wrong password.
local function decoy(hashes, name)
    local n = 0
    for i = 1, #name do n = (n * 31 + name:byte(i)) % 0x7fffffff end
    return hashes[n % #hashes + 1]
end

---@param options {path: string}
function M.setup(options)
    if options.path == "" then error("path is missing", 0) end
    local users, hashes = read_users(options.path)

    sol.on("authenticate", function(_, credentials)
        local name, password = credentials.username, credentials.password
        if not name then return end -- allow_anonymous decides
        if #hashes == 0 then return sol.deny(0x86) end

        local hash = users[name] or decoy(hashes, name)
        local same, err = sol.password.verify(password or "", hash)
        if err then
            sol.log.error("user %s: %s", name, err)
            return sol.deny(0x88)
        end
        if same and password and users[name] then return sol.allow() end
        return sol.deny(0x86)
    end)
end

return M
