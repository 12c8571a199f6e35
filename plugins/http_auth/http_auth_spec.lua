-- SPDX-License-Identifier: BSD-2-Clause
--
-- http_auth: what the service's answers mean, and what happens when there is none.
--
-- The user's name is what the service answers: see on_say of support/world.py.

local broker = require "support.broker"
local eval = require "support.eval"
local world = require "support.world"

local PLUGIN = [[
    allow_anonymous = true
    workers = 1 -- each has a breaker and a cache of its own
    plugin("http_auth", { url = "http://127.0.0.1:$WORLD/say/${username}", timeout = $TIMEOUT, failures = 4,
        pause = 1000 $MORE })
]]

local function config(server, more, timeout)
    return (server:fill(PLUGIN):gsub("%$TIMEOUT", timeout or 30):gsub("%$MORE", more or ""))
end

local function with_service(more, spec)
    world.with_world({ "http" }, function(server)
        eval.with({ config = config(server, more) }, function(run, b) spec(b, server, run) end)
    end)
end

local number = 0

local function login(b, username, connack, password)
    number = number + 1
    return b:client("c" .. number, { version = 5, username = username, password = password or "secret",
        connack = connack or 0 })
end

describe("http_auth", function()
    it("does as the service says", function()
        with_service("", function(b, server, run)
            local rows = {
                ["204 "] = 0, ["200 "] = 0, ["200 allow"] = 0, ["200 OK\n"] = 0, ['200 {"result":"allow"}'] = 0,
                ['200 {"ok":true}'] = 0, ['200 {"result":"allow","is_superuser":null,"client_attrs":null}'] = 0,
                ["200 deny"] = 0x86, ['200 {"result":"deny"}'] = 0x86, ['200 {"ok":false,"error":"x"}'] = 0x86,
                ["400 "] = 0x86, ["401 allow"] = 0x86, ["403 "] = 0x86, ["404 "] = 0x86,
                ["200 ignore"] = 0, ['200 {"result":"ignore"}'] = 0, -- allow_anonymous decides
            }
            for username, code in pairs(rows) do login(b, username, code) end

            login(b, '200 {"result":"allow","client_attrs":{"role":"admin","site":7},"username":"ada"}')
            assert.equal("admin 7 ada", run(([[
                local c = sol.client "c%d" return c.attributes.role, c.attributes.site, c.username ]]):format(number)))
            login(b, '200 {"result":"allow","expire_at":1}', 0x86)
            login(b, '200 {"result":"allow","acl":[{"permission":"allow","action":"publish","topic":"t/${clientid}"}]}')
                :publish("t/c" .. number, "", { qos = 1, rc = 0x10 }):publish("t/x", "", { qos = 1, rc = 0x87 })
            login(b, '200 {"result":"allow","is_superuser":true}'):publish("t/x", "", { qos = 1, rc = 0x10 })
            login(b, '200 {"result":"allow","acl":[{"topic":"#","action":"fly"}]}', 0x88)

            -- what it was told, in JSON; a password that JSON has no words for never gets there
            local said = server:said()
            assert.truthy(said:find('{"clientid":"c1","password":"secret","peerhost":"127.0.0.1","username":', 1, true))
            local before = server:count "request"
            login(b, "204 ", 0x86, "\xff\xfe")
            assert.equal(before, server:count "request")
        end)
    end)

    it("takes garbage and errors for no answer, and leaves the service alone after some", function()
        local garbage = { "500 ", "503 allow", "429 ", "302 ", "206 allow", "200 <html>allow</html>", "200 allowed",
            '200 {"result":"maybe"}', "200 {}", "200 []", '200 {"result":"allow","client_attrs":"x"}',
            '200 {"result":"allow","client_attrs":{"a":{}}}', '200 {"result":"allow","is_superuser":"true"}',
            '200 {"result":"allow","expire_at":"tomorrow"}', "cut", "drop", "bytes 100000" }
        with_service(", failures = 1000", function(b)
            for _, username in ipairs(garbage) do login(b, username, 0x88) end
            b:log_wait "(http_auth: status 503)"
            b:log_wait "(http_auth: neither JSON nor a word that is known)"
            b:log_wait "(http_auth: response too large)"
        end)
    end)

    it("remembers, refuses while the service is slow or down, and reloads", function()
        with_service("", function(b, server)
            local function asked() return server:count "request POST /say/" end
            local one = { username = "204 ", password = "secret", version = 5 }
            b:client("same", one)
            b:client("same", one):disconnect()
            assert.equal(1, asked())
            one.password, one.connack = "other", 0
            b:client("same", one)
            assert.equal(2, asked())

            b:configure(config(server, "", 0.05))
            b:signal "HUP"
            b:log_wait "(generation 2 is in place)"
            login(b, "silent", 0x88)
            b:log_wait "(http_auth: timeout)"
            server:wait "(gone)"
            server:stop()
            for _ = 1, 3 do login(b, "204 ", 0x88) end
            b:log_wait "(http_auth: connection refused)"
            login(b, "204 ", 0x88)
            b:log_wait "(http_auth: not asked: connection refused)"
            assert.is_nil(b:log():find("secret", 1, true))

            b:configure(config(server, ', on_failure = "allow", deny_ttl = 1, method = "GET"'))
            b:signal "HUP"
            b:log_wait "(generation 3 is in place)"
            login(b, "204 ", 0)
        end)
    end)

    it("puts a login into the URL and the headers without letting it out of its place", function()
        world.with_world({ "http" }, function(server)
            eval.with({ config = server:fill [[
                allow_anonymous = true
                plugin("http_auth", { url = "http://127.0.0.1:$WORLD/say/204%20?u=${username}&p=${password}",
                    method = "GET", headers = { ["X-Client"] = "${clientid}" } })
                plugin("http_auth", { url = "http://127.0.0.1:$WORLD/say/200%20ignore",
                    body = { who = "${username}@${clientid}" } })
            ]] }, function(_, b)
                b:client("a\r\nb", { username = "x&p=1 ${password}", password = "p/?#" })
                server:wait "request GET /say/204%%20%?u=x%%26p%%3D1%%20%%24%%7Bpassword%%7D&p=p%%2F%%3F%%23()\n"
            end)
        end)
    end)

    it("does not load with options that make no sense", function()
        for options, says in pairs {
            ["{}"] = "url: expected http:// or https://",
            ["{ url = 'http://x', method = 'PUT' }"] = 'method: expected "POST" or "GET"',
            ["{ url = 'http://x/${user}' }"] = 'unknown placeholder ${user}; did you mean "username"?',
            ["{ url = 'http://x', body = { a = '${topic}' } }"] = "unknown placeholder ${topic}",
            ["{ url = 'http://x', on_failure = 'pass' }"] = 'on_failure must be "deny", "allow" or "ignore"',
            ["{ url = 'http://x', ttl = 1 }"] = "unknown option \"ttl\" (= 1)",
            ["{ url = 'http://x', cache_ttl = '1' }"] = "option cache_ttl must be a number",
        } do
            broker.refuses('plugin("http_auth", ' .. options .. ")", says)
        end
    end)
end)
