-- SPDX-License-Identifier: BSD-2-Clause
--
-- sol.authenticator, and what it is made of: sol.breaker, sol.template.

local broker = require "support.broker"
local eval = require "support.eval"

-- The backend is a table of the policy's: what it says of a user, and how often it was asked.
local POLICY = [[
    workers = 1 -- each remembers answers of its own
    allow_anonymous = true
    local asked, says = {}, {
        ada = { attributes = { role = "admin", level = 3 }, superuser = false },
        alias = { username = "ada" }, plain = true, eve = false, other = "ignore",
        over = { expires = 1 }, twisted = { attributes = { role = {} } }, odd = { superuser = "yes" }, number = 42,
        short = { expires = sol.time() + 1.5 }, root = { superuser = true }, none = { acl = {} },
        limited = { attributes = { site = "s1" }, acl = {
            { topic = "t/${client_attrs.site}/${clientid}/#", action = "publish", qos = 1, retain = false },
            { topic = "t/private/#", permission = "deny" },
            { topic = "t/%u/#", action = "subscribe", permission = sol.json.null, retain = "all" },
            { topic = "all/100%/#" },
        } },
    }
    sol.on("authenticate", sol.authenticator({ name = "test", failures = 100 }, function(login)
        local name = login.username
        asked[name] = (asked[name] or 0) + 1
        if name == "raises" then error("a defect") end
        if name == "blank" then -- the hash of an empty password
            return { password_hash = "PBKDF2$sha512$1$c2FsdA==$AO9Czb/JjSnbIJdmCORVVn/d3xQfbrA"
                .. "7WoWt3SWXT10jdb1QgrgD6PTPqIrhvSUlb8vd0jGGdlZv8nl3kjAq7g==" }
        end
        if login.password ~= "secret" then return false end
        if name == "rules" then return { acl = load("return " .. login.clientid)() } end
        if says[name] == nil then return nil, "backend down" end
        return says[name]
    end))
    sol.on("authenticate", function(_, credentials)
        if credentials.username == "other" then return sol.deny(0x8A) end
    end)
]]

local function login(b, name, connack, password)
    return b:client(name, { version = 5, username = name, password = password or "secret", connack = connack or 0 })
end

describe("sol.authenticator", function()
    it("does as it is told", function()
        eval.with({ config = POLICY, globals = "{ asked = asked }" }, function(run, b)
            login(b, "plain")
            login(b, "ada")
            assert.equal("admin 3 ada", run [[
                local c = sol.client "ada" return c.attributes.role, c.attributes.level, c.username ]])
            login(b, "alias")
            assert.equal("ada", run [[return sol.client("alias").username]])
            login(b, "other", 0x8A)
            login(b, "eve", 0x86)
            login(b, "blank", 0, "")
            login(b, "blank", 0x86, "x")
            b:client("blank", { version = 5, username = "blank", connack = 0x86 }) -- none is not an empty one
            login(b, "over", 0x86)
            assert.equal("nil", run [[return asked.eval]]) -- without a name and a password

            -- remembered with the password, and without it
            for _ = 1, 3 do
                login(b, "ada", 0x86, "wrong")
                login(b, "ada")
            end
            assert.equal("2", run [[return asked.ada]])

            -- rights
            local c = login(b, "limited")
            local function may(topic, opts)
                opts = opts or {}
                opts.qos, opts.rc = opts.qos or 1, opts.rc or 0x10
                c:publish(topic, "", opts)
            end
            may("t/s1/limited/x") may("all/100%/x")
            may("t/s1/limited/x", { qos = 2, rc = 0x87 }) may("t/s1/limited/x", { retain = true, rc = 0x87 })
            may("t/s2/limited/x", { rc = 0x87 }) may("other", { rc = 0x87 }) may("$SYS/x", { rc = 0x87 })
            c:subscribe("t/limited/#", 0):subscribe("all/100%/+", 0):subscribe("t/private/x", 0, { rc = 0x87 })
            c:subscribe("#", 0, { rc = 0x87 }):subscribe("t/s1/limited/x", 0, { rc = 0x87 })
            login(b, "none"):publish("x", "", { qos = 1, rc = 0x87 })
            login(b, "root"):publish("anything", "", { qos = 1, rc = 0x10 }):subscribe("#", 0):subscribe("$SYS/#", 0)

            -- no answer, or none that makes sense: refused, and nothing is remembered
            for _, name in ipairs { "down", "twisted", "odd", "number", "raises" } do
                login(b, name, 0x88)
                login(b, name, 0x88)
                assert.equal("2", run(("return asked.%s"):format(name)))
            end
            for rule, why in pairs {
                ["{ 1 }"] = "acl%[1%]: it is a number", ["{ {}, { topic = 'x' } }"] = "acl%[1%]: no topic filter: nil",
                ["{ { topic = 'a/#/b' } }"] = "no topic filter: a/#/b",
                ["{ { topic = 'eq a' } }"] = "no topic filter: eq a",
                ["{ { topic = '${user}' } }"] = "no topic filter: %${user}",
                ["{ { topic = '$share/g/a' } }"] = "no topic filter: %$share/g/a",
                ["{ { topic = 'a', action = 'write' } }"] = "no action: write",
                ["{ { topic = 'a', permission = 'yes' } }"] = "no permission: yes",
                ["{ { topic = 'a', qos = { 1, 2 } } }"] = "qos is not the highest one",
                ["{ { topic = 'a', permission = 'deny', qos = 1 } }"] = "a rule that denies knows no qos",
                ["{ { topic = 'a', retain = 2 } }"] = "retain is neither true nor false",
                ["{ pub = {} }"] = "acl is no list",
            } do
                b:client(rule, { version = 5, username = "rules", password = "secret", connack = 0x88 })
                b:log_wait("(test: [^\n]*" .. why .. ")")
            end
            for _, why in ipairs { "backend down", "attribute role is neither text, number nor boolean in the answer",
                "superuser is no boolean in the answer", "the answer is a number" } do
                b:log_wait("(test: " .. why .. ")")
            end
            assert.is_nil(b:log():find("secret", 1, true))
            local metrics = run [[return sol.metrics.collect()]]
            assert.truthy(metrics:find('sol_logins_total{by="test",result="failure"} 22', 1, true), metrics)

            -- a login whose time is over, a reload in between
            local short = login(b, "short")
            b:signal "HUP"
            b:log_wait "(generation 2 is in place)"
            short:expect_disconnect(0xA0)
        end)
    end)

    it("lets in or has no opinion when the backend is down, where told so", function()
        eval.with({ config = [[
            workers = 1
            allow_anonymous = true
            sol.on("authenticate", sol.authenticator({ name = "a", on_failure = "ignore", failures = 1, pause = 100 },
                function() return nil, "down" end))
            sol.on("authenticate", sol.authenticator({ name = "b", on_failure = "allow", cache_ttl = 0 },
                function(login) return nil, "down too" end))
        ]] }, function(_, b)
            login(b, "x")
            login(b, "y")
            b:log_wait "(a: down)"
            b:log_wait "(a: not asked: down)"
            b:log_wait "(b: down too)"
        end)
    end)

    it("refuses options that make no sense", function()
        for options, says in pairs {
            ["{ cache = 1 }"] = 'unknown option "cache"',
            ["{ on_failure = 'pass' }"] = 'on_failure must be "deny", "allow" or "ignore"',
            ["{ cache_ttl = -1 }"] = "cache_ttl must be a number from 0 to 86400, not -1",
        } do
            broker.refuses("sol.authenticator(" .. options .. ", print)", "sol.lua:1: sol.authenticator: " .. says)
        end
    end)
end)

describe("sol.breaker and sol.template", function()
    it("leave alone who fails, and fill in what there is", function()
        eval.with({}, function(run)
            assert.equal("1 a nil e1 false nil e2 true nil not asked: e2 2", run [[
                local b, n = sol.breaker { failures = 2, pause = 100 }, 0
                local function fail() n = n + 1 return nil, "e" .. n end
                local one, two = b:call(function(...) return ... end, 1, "a")
                local f1, e1 = b:call(fail)
                local open1 = b:is_open()
                local f2, e2 = b:call(fail)
                local open2 = b:is_open()
                local f3, e3 = b:call(fail)
                return one, two, f1, e1, open1, f2, e2, open2, f3, e3, n ]])
            assert.equal("true false true not asked false", run [[
                local b = sol.breaker { failures = 1, pause = 0.01 }
                pcall(b.call, b, error, "x")
                local open = b:is_open()
                sol.sleep(0.02)
                local half = b:is_open()
                local probe = sol.spawn(function() return b:call(function() sol.await "go" return 1 end) end)
                local during, _, why = b:is_open(), b:call(print)
                sol.publish "go"
                probe:join()
                return open, half, during, why:match "not asked", b:is_open() ]])

            assert.equal("a/c1/b/ 7 ${clientid}", run [[
                local fill = sol.template("a/${clientid}/b/${username} ${n}", { "clientid", "username", "n" })
                return fill { clientid = "c1", n = 7 }, (sol.template("${x}", { "x" }) { x = "${clientid}" }) ]])
            assert.equal("$1 and $2 [x][y]", run [[
                local names = {}
                return sol.template("${x} and ${y}", { "x", "y" })(function(name)
                    names[#names + 1] = name
                    return "$" .. #names
                end), sol.template("${x}${y}", { "x", "y" })({ x = "x", y = "y" }, function(s)
                    return "[" .. s .. "]" end) ]])
            assert.truthy(run [[sol.template("${userame}", { "username" })]]
                :find 'unknown placeholder ${userame}; did you mean "?username', 1, true)
            assert.truthy(run [[sol.template("${x", { "x" })]]:find("a ${ without its }", 1, true))
        end)
    end)
end)
