-- SPDX-License-Identifier: BSD-2-Clause
--
-- docs/cookbook.md: each recipe's policy is run, and the conversation below it held.

local testing = require "sol.testing"

local function read(path)
    local file <close> = assert(io.open(path))
    return file:read "a"
end

local cookbook = read "docs/cookbook.md"

--- The recipes in order: { title, policy, talk }.
local function recipes()
    local found, at = {}, cookbook:find "\n## "
    while at do
        local next_at = cookbook:find("\n## ", at + 1)
        local text = cookbook:sub(at, next_at)
        found[#found + 1] = { title = text:match "## ([^\n]+)", policy = text:match "\n```lua\n(.-)\n```",
            talk = text:match "\n```text\n(.-)\n```" }
        at = next_at
    end
    return found
end

-- What a line may say: pattern -> what is done; gives a reason code where there is one.
local SAYINGS = {}

local function say(pattern, act) SAYINGS[#SAYINGS + 1] = { pattern = "^" .. pattern .. "$", act = act } end

local function connect(talk, name, username, password)
    talk[name] = talk.broker:connect { client_id = name, username = username, password = password }
    return talk[name].reason_code
end

say("(%S+) connects as (%S+) with (.+)", connect)
say("(%S+) connects as (%S+)", function(talk, name, username) return connect(talk, name, username, "") end)
say("(%S+) connects", connect)
say("(%S+) leaves", function(talk, name) talk[name]:disconnect() end)
say("(%S+) vanishes", function(talk, name) talk[name]:drop() end)
say("(%S+) is disconnected with (0x%x%x)", function(talk, name, rc)
    assert.is_false(talk[name].connected)
    assert.equal(tonumber(rc), talk[name].reason_code)
end)

say("(%S+) subscribes to (%S+)", function(talk, name, filter)
    local rc = talk[name]:subscribe(filter, { qos = 1 })
    return rc >= 0x80 and rc or 0
end)
say("(%S+) publishes (%S+) ?(.*)", function(talk, name, topic, payload) return (talk[name]:publish(topic, payload)) end)
say("(%S+) retains (%S+) ?(.*)", function(talk, name, topic, payload)
    return (talk[name]:publish(topic, payload, { retain = true }))
end)

say("(%S+) gets nothing", function(talk, name) talk[name]:expect_none() end)
say("(%S+) gets (%S+) ?(.*)", function(talk, name, topic, payload) talk[name]:expect(topic, payload) end)

local SECONDS = { second = 1, minute = 60, hour = 3600, day = 86400 }
say("(%d+) (%l-)s? pass", function(talk, count, unit) talk.broker:advance(count * SECONDS[unit]) end)
say("the policy is reloaded", function(talk) assert(talk.broker:reload()) end)
say("the web service answers (%d+) (.*)", function(talk, status, body)
    talk.broker:stub("http", function() return { status = math.tointeger(status), body = body } end)
end)
say("the web service is down", function(talk)
    talk.broker:stub("http", function() return nil, "connection refused" end)
end)

--- Says one line of a conversation: `talk` is the broker and the clients by name.
local function hold(talk, line)
    local said, rc = line:match "^(.-) %-> (0x%x%x)$"
    for _, saying in ipairs(SAYINGS) do
        local words = table.pack((said or line):match(saying.pattern))
        if words[1] then
            local answer = saying.act(talk, table.unpack(words, 1, words.n))
            return assert.equal(tonumber(rc or 0), answer or 0)
        end
    end
    error("no such saying: " .. line)
end

describe("docs/cookbook.md:", function()
    local all = recipes()

    it("has recipes, each with a policy and a conversation, and a table of them", function()
        assert.is_true(#all >= 15, #all .. " recipes")
        for _, recipe in ipairs(all) do
            assert.truthy(recipe.policy and recipe.talk, recipe.title)
            local anchor = recipe.title:lower():gsub("[^%w -]", ""):gsub(" ", "-")
            assert.truthy(cookbook:find("(#" .. anchor .. ")", 1, true), "no link to " .. anchor)
        end
    end)

    for _, recipe in ipairs(all) do
        it(recipe.title, function()
            local talk = { broker = testing.broker { text = recipe.policy } }
            for line in recipe.talk:gmatch "[^\n]+" do
                local ok, err = pcall(hold, talk, line)
                if not ok then error(("%s\n  at: %s"):format(tostring(err.message or err), line), 0) end
            end
        end)
    end
end)
