-- SPDX-License-Identifier: BSD-2-Clause
--
-- jwt_auth: which tokens let in, where keys come from, and when a connection ends.

local broker = require "support.broker"
local eval = require "support.eval"
local wait = require "support.wait"
local world = require "support.world"

local VECTORS = broker.read_file "tests/support/jwt_vectors.json"

-- Chunks may sign: sign(claims, "rsa") with a private key, sign(claims) with the secret; and
-- keys("rsa") is a JWK Set.
local GLOBALS = [[(function()
    local v = sol.json.decode(sol.read_file "vectors.json")
    local algorithms = { rsa = "RS256", p256 = "ES256" }
    return {
        sign = function(claims, name, kid)
            return sol.jwt.sign(claims, { key = name and v.private[name] or v.secret,
                algorithm = algorithms[name] or "HS256", kid = kid })
        end,
        keys = function(kid)
            for _, key in ipairs(v.jwks.keys) do
                if key.kid == kid then return sol.json.encode { keys = { key } } end
            end
        end,
    }
end)()]]

local function config(options)
    return ([[
        workers = 1 -- each looks for keys by itself
        allow_anonymous = true
        local v = sol.json.decode(sol.read_file "vectors.json")
        plugin("jwt_auth", { %s })
    ]]):format(options)
end

local function with_plugin(options, spec, files)
    local all = { ["vectors.json"] = VECTORS }
    for name, text in pairs(files or {}) do all[name] = text end
    eval.with({ config = config(options), globals = GLOBALS, files = all }, spec)
end

local function login(b, id, token, connack, username)
    return b:client(id, { version = 5, username = username or "user", password = token, connack = connack or 0 })
end

-- A token with claims written in Lua.
local function token(run, claims, ...)
    local args = { claims }
    for _, arg in ipairs { ... } do args[#args + 1] = ("%q"):format(arg) end
    local text = run("return sign(" .. table.concat(args, ", ") .. ")")
    assert(text:find "^ey", text)
    return text
end

local SOON = "exp = math.floor(sol.time()) + 1000"

describe("jwt_auth", function()
    it("lets in whose token is in order, with what it claims", function()
        with_plugin([[key = v.secret, algorithms = "HS256", issuer = "https://id.test", audience = { "mqtt", "all" },
            username = "sub", attributes = { role = "role", groups = "groups", none = "none" },
            claims = { device = "${clientid}" }]], function(run, b)
            local good = 'iss = "https://id.test", aud = "mqtt", sub = "ada", device = "d1", ' .. SOON
            local yes = token(run, "{ role = 'admin', groups = { 'a', 'b' }, none = sol.json.null, " .. good .. "}")
            login(b, "d1", yes)
            assert.equal('ada admin ["a","b"] nil nil', run [[
                local c = sol.client "d1"
                local a = c.attributes return c.username, a.role, a.groups, a.none, a.superuser ]])
            -- rights, as a list and as EMQX's lists of filters
            for _, acl in ipairs {
                '{ { action = "publish", topic = "up/%c" }, { action = "subscribe", topic = "down/#" } }',
                '{ pub = { "up/${clientid}" }, sub = { "down/#" } }' } do
                local c = login(b, "d1", token(run, "{ acl = " .. acl .. "," .. good .. "}"))
                c:publish("up/d1", "", { qos = 1, rc = 0x10 }):publish("up/d2", "", { qos = 1, rc = 0x87 })
                c:subscribe("down/+", 0):subscribe("up/d1", 0, { rc = 0x87 })
            end
            login(b, "d1", token(run, '{ acl = { { topic = "#", action = "fly" } },' .. good .. "}"), 0x88)
            b:log_wait "(jwt_auth: acl%[1%]: no action: fly)"

            login(b, "d2", yes, 0x86)
            b:log_wait "(client d2: device is another's)"
            local bad = {
                ["exp missing"] = '{ iss = "https://id.test", aud = "mqtt", device = "d1" }',
                ["expired"] = ("{" .. good .. "}"):gsub("%+ 1000", "- 1000"),
                ["not yet"] = "{ nbf = math.floor(sol.time()) + 1000, " .. good .. "}",
                ["another issuer"] = ("{" .. good .. "}"):gsub("id.test", "evil.test"),
                ["another audience"] = ("{" .. good .. "}"):gsub('"mqtt"', '"http"'),
            }
            for _, claims in pairs(bad) do login(b, "d1", token(run, claims), 0x86) end
            b:log_wait "(client d1: expired %d+ s ago)"
            b:log_wait "(client d1: claim exp is missing)"
            for _, text in ipairs { "", "x", "a.b.c", yes:sub(1, -2), yes .. "x",
                token(run, "{" .. good .. "}", "rsa"), -- another algorithm
                "eyJhbGciOiJub25lIn0." .. yes:match "%.(.-)%." .. "." } do
                login(b, "d1", text, 0x86)
            end
            b:client("d1", { version = 5, username = "user", connack = 0x86 })
            assert.is_nil(b:log():find(yes:match "%.([^.]*)$", 1, true))
        end)
    end)

    it("ends a connection when its token does", function()
        with_plugin([[key_file = "secret", algorithms = "HS256", from = "username", optional = true })
            sol.on("refused", function(client) print(client.id .. " is refused by the name of " .. client.username) end)
            print({ ]], function(run, b)
            local exp = "exp = math.ceil(sol.time() + 2)"
            local secret = token(run, "{" .. exp .. ", sub = 'ada' }")
            local c = b:client("c", { version = 5, username = secret })
            assert.equal("ada", run [[return sol.client("c").username]])
            b:client("f", { version = 5, username = secret .. "x", connack = 0x86 })
            b:client("g", { version = 5, username = token(run, "{" .. exp .. "}") })
            assert.equal("", run [[return sol.client("g").username]])
            assert.equal("true", run [[return sol.client("c").attributes.expires_at > sol.time()]])
            c:expect_disconnect(0xA0)
            b:client("d", { username = "no token" }):ping() -- optional: the next handler decides
            b:client("e", { username = token(run, "{}"), version = 5, connack = 0x86 })
            b:log_wait "f is refused by the name of (\n)"
            assert.is_nil(b:log():find(secret, 1, true))
        end, { secret = VECTORS:match '"secret": "(.-)"' .. "\n" })
    end)

    it("fetches keys, and again for one it does not have", function()
        world.with_world({ "http" }, function(server)
            local file = server.dir .. "/jwks.json"
            local options = server:fill('jwks_url = "http://127.0.0.1:$WORLD/file' .. file .. '", '
                .. 'algorithms = { "RS256", "ES256" }, failures = 3, pause = 1000')
            with_plugin(options, function(run, b)
                local rsa = token(run, "{" .. SOON .. "}", "rsa", "rsa")
                local p256 = token(run, "{" .. SOON .. "}", "p256", "p256")
                local function reload(generation, more)
                    b:configure(eval.policy(config(options .. more), GLOBALS))
                    b:signal "HUP"
                    b:log_wait(("(generation %d is in place)"):format(generation))
                end
                -- no set, or none that makes sense: nobody comes in
                login(b, "a", rsa, 0x88)
                b:log_wait "(jwt_auth: http[^\n]*jwks.json: status 404)"
                broker.write_file(file, "{ not a set")
                reload(2, "")
                login(b, "a", rsa, 0x88)
                broker.write_file(file, run [[return keys "rsa"]])
                reload(3, "")
                login(b, "a", rsa)
                login(b, "c", token(run, "{" .. SOON .. "}"), 0x86) -- HS256 is not among the algorithms

                -- a key that is not there is looked for, and found once it is
                broker.write_file(file, run [[return keys "p256"]])
                reload(4, ", refresh = 0.01")
                login(b, "b", p256)
                login(b, "a", rsa, 0x86)
                b:log_wait '(client a: no key for algorithm RS256 and kid "rsa")'

                -- the service goes: the keys stay
                server:stop()
                wait.till("another look for keys", function()
                    login(b, "d", p256)
                    return b:log():find "connection refused"
                end)
            end)
        end)
    end)

    it("does not load with options that make no sense", function()
        for options, says in pairs {
            ["algorithms = 'HS256'"] = "give one of key, key_file, jwks_file, jwks_url",
            ["key = 'k', jwks_url = 'http://x'"] = "give either key or jwks_url",
            ["key = 'k', algorithms = 'HS256', leeway = '1'"] = "option leeway must be a number",
            ["key = 'k'"] = "algorithms is missing",
            ["key = 'k', algorithms = 'none'"] = '"none" is no algorithm that is offered',
            ["jwks_url = 'x', algorithms = 'RS256'"] = "jwks_url: expected http:// or https://",
            ["jwks_url = 'http://x', algorithms = 'RS257'"] = '"RS257" is no algorithm',
            ["jwks_file = 'sol.lua', algorithms = 'RS256'"] = "sol.jwt.verify: ",
            ["key_file = 'nowhere', algorithms = 'RS256'"] = "nowhere: No such file",
            ["key = 'k', algorithms = 'HS256', from = 'cookie'"] = 'from: expected "password" or "username"',
            ["key = 'k', algorithms = 'HS256', claims = { sub = '${user}' }"] = "unknown placeholder ${user}",
            ["key = 'k', algorithms = 'HS256', leeway = -1"] = "leeway must be a number",
            ["key = 'k', algorithm = 'HS256'"] = 'did you mean "algorithms"?',
        } do
            broker.refuses('plugin("jwt_auth", {' .. options .. "})", says)
        end
    end)
end)
