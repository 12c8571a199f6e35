-- SPDX-License-Identifier: BSD-2-Clause
--
-- docs/cookbook.md: each recipe's policy is run, and the conversation below it held.

local broker = require "support.broker"
local wait = require "support.wait"
local with_world = require("support.world").with_world

local cookbook = broker.read_file "docs/cookbook.md"

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

-- What a line may say: pattern -> what is done with the client of that name.
local SAYINGS = {}

local function say(pattern, act) SAYINGS[#SAYINGS + 1] = { pattern = "^" .. pattern .. "$", act = act } end

local function connect(talk, name, username, password, rc)
    talk[name] = talk.broker:client(name, { version = 5, username = username, password = password, connack = rc })
    if rc then talk[name]:expect_close() end
end

say("(%S+) connects as (%S+) with (.+)", connect)
say("(%S+) connects as (%S+)", function(talk, name, username, rc)
    connect(talk, name, username, username and "", rc)
end)
say("(%S+) connects", function(talk, name, rc) connect(talk, name, nil, nil, rc) end)
say("(%S+) subscribes to (%S+)", function(talk, name, filter, rc)
    talk[name]:subscribe(filter, 1, { rc = rc })
end)
say("(%S+) publishes (%S+) ?(.*)", function(talk, name, topic, payload, rc)
    talk[name]:publish(topic, payload, { qos = 1, rc = rc })
end)
say("(%S+) retains (%S+) ?(.*)", function(talk, name, topic, payload, rc)
    talk[name]:publish(topic, payload, { qos = 1, retain = true, rc = rc })
end)
say("(%S+) gets nothing", function(talk, name) talk[name]:expect_nothing() end)
say("(%S+) gets (%S+) (.*) %(expires%)", function(talk, name, topic, payload)
    local got = talk[name]:expect_publish(topic, payload)
    if not got.props.message_expiry then wait.fail("it does not expire") end
    got:ack()
end)
say("(%S+) gets (%S+) ?(.*)", function(talk, name, topic, payload)
    talk[name]:expect_publish(topic, payload):ack()
end)
say("(%S+) leaves", function(talk, name) talk[name]:disconnect() end)
say("(%S+) vanishes", function(talk, name) talk[name]:drop() end)
say("(%S+) is disconnected with 0x(%x%x)", function(talk, name, rc) talk[name]:expect_disconnect(tonumber(rc, 16)) end)
say("the policy is (reloaded)", function(talk)
    talk.broker:signal "HUP"
    talk.broker:log_wait "(generation 2 is in place)"
end)

--- Says one line of a conversation: `talk` is the broker and the clients by name.
local function hold(talk, line)
    local said, rc = line:match "^(.-) %-> 0x(%x%x)$"
    for _, saying in ipairs(SAYINGS) do
        local words = table.pack((said or line):match(saying.pattern))
        if words[1] then
            words[words.n + 1] = rc and tonumber(rc, 16)
            return saying.act(talk, table.unpack(words, 1, words.n + 1))
        end
    end
    wait.fail("no such saying: %s", line)
end

local function try(recipe, policy)
    broker.with_broker({ config = policy }, function(b)
        local talk = { broker = b }
        for line in recipe.talk:gmatch "[^\n]+" do
            local ok, err = pcall(hold, talk, line)
            if not ok then wait.fail("%s\n  at: %s", tostring(err), line) end
        end
    end)
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
            local service = "http://127.0.0.1:8000"
            if not recipe.policy:find(service, 1, true) then return try(recipe, recipe.policy) end
            with_world({ "http" }, function(web)
                try(recipe, (recipe.policy:gsub(service, "http://127.0.0.1:" .. web.port)))
            end)
        end)
    end
end)
