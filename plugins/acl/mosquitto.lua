-- SPDX-License-Identifier: BSD-2-Clause
--
-- mosquitto.lua -- mosquitto's ACL files, as rules.

local ACCESS = { read = "subscribe", write = "publish", readwrite = "all", deny = "all" }

--- The rules of a file's text, each with the line it stands on.
---@param text string
---@param path string for messages
return function(text, path)
    local rules, user, number = {}, false, 0 -- before the first user: clients without a name

    local function add(word, access, topic, where)
        if not ACCESS[access] then
            error(("%s: expected read, write, readwrite or deny, got %s"):format(where, access), 0)
        end
        local rule = { action = ACCESS[access], deny = access == "deny", topic = topic, where = where }
        if word == "topic" then rule.user, rule.literal = user, true end -- patterns are for everybody
        rules[#rules + 1] = rule
    end

    for line in (text .. "\n"):gmatch "(.-)\r?\n" do
        number = number + 1
        local where = ("%s:%d"):format(path, number)
        local word, rest = line:match "^%s*(%S+)%s*(.-)%s*$"
        if not word or word:sub(1, 1) == "#" then
            goto continue
        elseif word == "user" and rest ~= "" then
            user = rest
        elseif (word == "topic" or word == "pattern") and rest ~= "" then
            local access, topic = rest:match "^(%S+)%s+(.+)$"
            add(word, access or "readwrite", topic or rest, where)
        else
            error(("%s: expected user, topic or pattern, got %s"):format(where, line), 0)
        end
        ::continue::
    end
    return rules
end
