-- SPDX-License-Identifier: BSD-2-Clause
--
-- presence: what is said of clients that come, go, and vanish while nobody looks.

local testing = require "sol.testing"

local WITHOUT = "allow_anonymous = true\n"
local PLUGIN = WITHOUT .. 'plugin("presence", {%s})\n'

local function with_presence(options) return testing.broker { text = PLUGIN:format(options) } end

-- A client that hears everything about `filter`.
local function watcher(b, filter)
    local w = b:connect { client_id = "w" }
    w:subscribe(filter)
    return w
end

-- The next message must be about `topic` and match these patterns.
local function expect(w, topic, ...)
    local message = w:expect(topic)
    for _, pattern in ipairs { ... } do assert.truthy(message.payload:find(pattern), message.payload) end
    return message
end

-- The latest payload of each topic that has been heard.
local function heard(w)
    local seen = {}
    for _, message in ipairs(w:messages()) do seen[message.topic] = message.payload end
    return seen
end

describe("presence", function()
    it("tells who comes and how they go", function()
        local b = with_presence ""
        local w = watcher(b, "presence/#")
        expect(w, "presence/w", '"status":"online"')
        local a = b:connect { client_id = "a", username = "ada" }
        expect(w, "presence/a", '^{"address":"127%.0%.0%.1:%d+","clientid":"a","since":%d+%.%d+,'
            .. '"status":"online","time":[%d.]+,"username":"ada"}$')
        a:disconnect()
        expect(w, "presence/a", '"normal":true', '"reason_code":0', '"status":"offline"', '"username":"ada"')

        -- without a word, with a reason to have the will sent, thrown out, taken over
        b:connect({ client_id = "b" }):drop()
        expect(w, "presence/b", '"online"')
        expect(w, "presence/b", '"normal":false', '"offline"', "closed the connection")
        b:connect({ client_id = "c" }):disconnect(4)
        expect(w, "presence/c", '"online"')
        expect(w, "presence/c", '"normal":false', '"offline"')
        b:connect({ client_id = "d", version = 4 }):send "\x82\x06\0\0\0\x01x\0" -- SUBSCRIBE without an id
        expect(w, "presence/d", '"online"')
        expect(w, "presence/d", '"normal":false', '"reason_code":%d%d%d', '"offline"')
        b:connect { client_id = "e" }
        expect(w, "presence/e", '"online"')
        b:connect { client_id = "e" }
        expect(w, "presence/e", '"offline"', "taken over")
        expect(w, "presence/e", '"online"')

        -- it is retained, and a name is one level
        local late = b:connect { client_id = "late" }
        late:subscribe "presence/b"
        assert.is_true(late:expect("presence/b").retain)
        expect(w, "presence/late", '"online"')
        b:connect { client_id = "../+/#%" }
        expect(w, "presence/..%2F%2B%2F%23%25", '"clientid":"%.%./%+/#%%"', '"online"')
    end)

    it("puts right what happened while nobody looked", function()
        local b = with_presence ""
        b:connect { client_id = "stays" }
        local goes = b:connect { client_id = "goes", session_expiry = 1000 }
        assert.is_true(b:reload(WITHOUT))
        goes:drop()
        b:connect { client_id = "comes" }
        local forger = b:connect { client_id = "forger" }
        forger:publish("presence/nobody", '{"status":"online","clientid":{}}', { retain = true })
        forger:publish("presence/text", "online", { retain = true })
        forger:disconnect()
        local w = watcher(b, "presence/#")
        assert.truthy(heard(w)["presence/goes"]:find '"online"')

        assert.is_true(b:reload(PLUGIN:format ""))
        b:advance(60)
        local seen = heard(w)
        assert.truthy(seen["presence/goes"]:find '"offline"')
        assert.truthy(seen["presence/nobody"]:find '"offline"')
        assert.truthy(seen["presence/comes"]:find '"online"')
        assert.truthy(seen["presence/w"]:find '"online"')
        assert.is_nil(seen["presence/stays"]) -- it has been said
        assert.is_nil(seen["presence/text"])
    end)

    it("takes another topic, leaves some out, and forgets who is gone", function()
        local b = with_presence [[topic = "who/${username}/${clientid}/state", forget = true, qos = 0,
            clients = function(client) return client.username ~= nil end]]
        local w = watcher(b, "who/#")
        local a = b:connect { client_id = "a", username = "a/b" }
        expect(w, "who/a%2Fb/a/state", '"online"')
        a:disconnect()
        w:expect("who/a%2Fb/a/state", "")
        local late = b:connect {}
        late:subscribe "who/#"
        late:expect_none()
    end)

    it("does not load with options that make no sense", function()
        for options, says in pairs {
            ["topic = 'p'"] = "topic: ${clientid} is missing",
            ["topic = 'p/#/${clientid}'"] = "topic: expected a topic name",
            ["topic = 'p-${clientid}'"] = "topic: expected a topic name with placeholders as levels, got p-${clientid}",
            ["topic = 'p/${id}'"] = "unknown placeholder ${id}",
            ["qos = 3"] = "qos: expected 0, 1 or 2",
            ["clients = 'all'"] = "clients: expected a function",
            ["topics = ''"] = 'did you mean "topic"?',
        } do
            assert.error_matches(function() with_presence(options) end, says, 1, true)
        end
    end)
end)
