-- SPDX-License-Identifier: BSD-2-Clause
--
-- sol.jwt, against tokens and keys that PyJWT made (tests/support/jwt_vectors.json), and what
-- it makes itself, which PyJWT's keys verify.

local broker = require "support.broker"
local eval = require "support.eval"

local RSA = { "RS256", "RS384", "RS512" }
local KIDS = { RS256 = "rsa", RS384 = "rsa", RS512 = "rsa", ES256 = "p256", ES384 = "p384", ES512 = "p521",
    EdDSA = "ed" }
local ALL = { "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA" }

local function with_jwt(spec)
    eval.with({
        files = { ["vectors.json"] = broker.read_file "tests/support/jwt_vectors.json" },
        config = [[
            local v = sol.json.decode(sol.read_file "vectors.json")
            local names = { RS256 = "rsa", RS384 = "rsa", RS512 = "rsa", ES256 = "p256", ES384 = "p384",
                ES512 = "p521", EdDSA = "ed" }
            local globals = { v = v, jwks = sol.json.encode(v.jwks),
                public = function(alg) return v.public[names[alg] ] or v.secret end,
                private = function(alg) return v.private[names[alg] ] or v.secret end }
            hook_budget = 20
        ]],
        globals = "globals",
    }, spec)
end

-- The verdict on a token that claims `header` and has these claims, signed with HS256.
local function forged(run, header, claims, more)
    return run(([[
        local head, body = sol.base64.encode_url(%q), sol.base64.encode_url(%q)
        local signed = head .. "." .. body
        local token = signed .. "." .. sol.base64.encode_url(sol.hmac("sha256", "k", signed))
        local claims, err = sol.jwt.verify(token, { key = "k", algorithms = "HS256" %s })
        return claims and "ok" or err ]]):format(header, claims, more and "," .. more or ""))
end

describe("sol.jwt.verify", function()
    it("takes what others have signed", function()
        with_jwt(function(run)
            for _, alg in ipairs(ALL) do
                assert.equal("ada 9007199254740993", run(([[
                    local claims, err = sol.jwt.verify(v.tokens.%s, { key = public "%s", algorithms = "%s" })
                    if not claims then return err end
                    return claims.sub, claims.n ]]):format(alg, alg, alg)), alg)
                assert.equal("ada", run(([[
                    local claims, err = sol.jwt.verify(v.tokens.%s, { jwks = jwks, algorithms = { "%s", "RS256" } })
                    return claims and claims.sub or err ]]):format(alg, alg)), alg)
            end
        end)
    end)

    it("refuses a token with a bit changed anywhere", function()
        with_jwt(function(run)
            for _, alg in ipairs { "HS256", "RS256", "ES256", "EdDSA" } do
                assert.equal("0", run(([[
                    local token, passed = v.tokens.%s, 0
                    for i = 1, #token, 7 do
                        local c = token:byte(i)
                        local other = token:sub(1, i - 1) .. (c == 65 and "B" or "A") .. token:sub(i + 1)
                        if sol.jwt.verify(other, { key = public "%s", algorithms = "%s" }) then passed = passed + 1 end
                    end
                    return passed ]]):format(alg, alg, alg)), alg)
            end
        end)
    end)

    it("pins the algorithm to what is allowed and to the key", function()
        with_jwt(function(run)
            local function verify(token, options)
                return run(("return select(2, sol.jwt.verify(v.tokens.%s, { %s }))"):format(token, options))
            end
            assert.equal('algorithm "none" is not allowed', verify("none", "key = v.secret, algorithms = 'HS256'"))
            assert.equal('algorithm "HS256" is not allowed', verify("HS256", "key = v.secret, algorithms = 'HS512'"))
            assert.equal('no key for algorithm HS256 and kid "rsa"',
                verify("confused", "key = v.public.rsa, algorithms = { 'RS256', 'HS256' }"))
            assert.equal('signature does not match',
                verify("confused", "jwks = jwks:gsub('\"kid\":\"[^\"]*\",?', ''), "
                    .. "algorithms = { 'RS256', 'HS256' }"))
            assert.equal('no key for algorithm RS256 and kid "rsa"',
                verify("RS256", "key = v.secret, algorithms = 'RS256'"))
            assert.equal('no key for algorithm ES256 and kid "p256"',
                verify("ES256", "key = v.public.p384, algorithms = 'ES256'"))
            for _, alg in ipairs(RSA) do
                assert.equal(("algorithm %q is not allowed"):format(alg),
                    verify(alg, "jwks = jwks, algorithms = 'ES256'"))
            end
        end)
    end)

    it("tells what is malformed", function()
        with_jwt(function(run)
            for token, err in pairs {
                [""] = "not three parts", ["a.b"] = "not three parts", ["a.b.c.d"] = "not three parts",
                ["a+.b.c"] = "not three parts", ["YQ.YQ.YQ"] = "its header is no JSON object",
            } do
                assert.matches("^malformed token: .*" .. err, run(("return select(2, sol.jwt.verify(%q, "
                    .. "{ key = 'k', algorithms = 'HS256' }))"):format(token)), token)
            end
            assert.matches("longer than 65536",
                run "return select(2, sol.jwt.verify(('a'):rep(65537), { key = 'k', algorithms = 'HS256' }))")
            assert.matches("crit", forged(run, '{"alg":"HS256","crit":["x"]}', "{}"))
            assert.matches("its payload is no JSON object", forged(run, '{"alg":"HS256"}', "7"))
            assert.matches("algorithm nil is not allowed", forged(run, "{}", "{}"))
        end)
    end)

    it("checks the claims", function()
        with_jwt(function(run)
            local now = os.time()
            local function claims(text, more) return forged(run, '{"alg":"HS256"}', text:gsub("%$(-?%d+)",
                function(n) return ("%d"):format(now + n) end), more) end
            assert.equal("ok", claims '{"exp":$60,"nbf":$-60,"iat":$-60}')
            assert.matches("^expired %d+ s ago %(exp%)$", claims '{"exp":$-60}')
            assert.equal("ok", claims('{"exp":$-60}', "leeway = 120"))
            assert.matches("^not valid for another %d+ s %(nbf%)$", claims '{"nbf":$60}')
            assert.equal("ok", claims('{"nbf":$60}', "leeway = 120"))
            assert.matches("^issued %d+ s in the future %(iat%)$", claims '{"iat":$60}')
            assert.equal("exp is not a number", claims '{"exp":"x"}')
            assert.equal("ok", claims('{"iss":"i"}', "issuer = { 'j', 'i' }"))
            assert.equal('issuer "i" is not the one expected (iss)', claims('{"iss":"i"}', "issuer = 'j'"))
            assert.equal("issuer nil is not the one expected (iss)", claims("{}", "issuer = 'j'"))
            assert.equal("ok", claims('{"aud":["a","b"]}', "audience = 'b'"))
            assert.equal("ok", claims('{"aud":"b"}', "audience = { 'a', 'b' }"))
            assert.equal("audience a list is not the one expected (aud)", claims('{"aud":["a"]}', "audience = 'b'"))
            assert.equal("claim exp is missing", claims('{"sub":"x"}', "require = { 'sub', 'exp' }"))
        end)
    end)

    it("reads RFC 7515's example, long expired", function()
        with_jwt(function(run)
            assert.matches("^expired %d+ s ago", run [[
                local keys = '{"keys":[{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75'
                    .. 'aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}]}'
                local token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkz"
                    .. "ODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1"
                    .. "gFWFOEjXk"
                return select(2, sol.jwt.verify(token, { jwks = keys, algorithms = "HS256" })) ]])
        end)
    end)

    it("raises for what the caller did wrong", function()
        with_jwt(function(run)
            for options, err in pairs {
                ["{ key = 'k' }"] = "algorithms is missing",
                ["{ key = 'k', algorithms = 'none' }"] = '"none" is no algorithm that is offered',
                ["{ algorithms = 'HS256' }"] = "give either key or jwks",
                ["{ key = '', algorithms = 'HS256' }"] = "the key is empty",
                ["{ key = v.private.rsa, algorithms = 'RS256' }"] = "the key is a private one",
                ["{ key = 'k', algorithm = 'HS256' }"] = 'unknown option "algorithm"; did you mean "algorithms"?',
                ["{ jwks = 'x', algorithms = 'HS256' }"] = "the key set is no JSON",
                ["{ jwks = '{}', algorithms = 'HS256' }"] = 'the key set has no list "keys"',
                ['{ jwks = \'{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}\', algorithms = "RS256" }']
                    = "keys[1] of the key set: RSA keys have at least 2048 bits",
                ['{ jwks = \'{"keys":[{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}]}\', algorithms = "ES256" }']
                    = "keys[1] of the key set: x and y are not of the curve's length",
            } do
                local said = run(("sol.jwt.verify('a.b.c', %s)"):format(options))
                assert.truthy(said:find("error: eval:1: sol.jwt.verify: ", 1, true), said)
                assert.truthy(said:find(err, 1, true), said)
            end
            assert.matches("error: eval:1: bad argument #1 to 'verify'", run "sol.jwt.verify(nil, {})")
        end)
    end)
end)

describe("key sets from the web", function()
    local world = require "support.world"

    -- verify(alg, more) says who signed that token, by the keys that the web server has.
    local function with_web(spec)
        world.with_world({ "http" }, function(web)
            with_jwt(function(run, b)
                local function write(name, text)
                    local f = assert(io.open(web.dir .. "/" .. name .. ".new", "wb"))
                    f:write(text):close()
                    os.rename(web.dir .. "/" .. name .. ".new", web.dir .. "/" .. name)
                end
                write("keys.json", run "return jwks")
                spec(function(code) return run(web:fill(code)) end, web, write, b)
            end)
        end)
    end

    it("are fetched once for all who ask", function()
        with_web(function(run, web)
            assert.equal("ada ada ada ada ada", run [[
                local tasks, said = {}, {}
                for i, alg in ipairs { "RS256", "ES256", "EdDSA", "RS512", "RS256" } do
                    tasks[i] = sol.spawn(sol.jwt.verify, v.tokens[alg],
                        { jwks_url = "http://127.0.0.1:$WORLD/file/$DIR2/keys.json", algorithms = alg })
                end
                for i, task in ipairs(tasks) do
                    local _, claims, err = task:join()
                    said[i] = claims and claims.sub or err
                end
                return table.concat(said, " ")
            ]])
            -- what has no key is looked for again, but not at once
            assert.equal("nil no key for algorithm RS256 and kid \"mine\"", run [[
                return sol.jwt.verify(sol.jwt.sign({}, { key = private "RS256", algorithm = "RS256", kid = "mine" }),
                    { jwks_url = "http://127.0.0.1:$WORLD/file/$DIR2/keys.json", algorithms = "RS256" })
            ]])
            assert.equal(1, web:count "request GET")
        end)
    end)

    it("are fetched again when they are old or lack a key, and go on counting without their server", function()
        with_web(function(run, web, write, b)
            local verify = [[
                local claims, err = sol.jwt.verify(v.tokens.ES256, { algorithms = "ES256", jwks_ttl = 0.001,
                    jwks_url = "http://127.0.0.1:$WORLD/file/$DIR2/keys.json", http = { timeout = 60 } })
                return claims and claims.sub or err
            ]]
            write("full.json", run "return jwks")
            write("keys.json", '{"keys":[]}')
            assert.equal('no key for algorithm ES256 and kid "p256"', run(verify))
            os.rename(web.dir .. "/full.json", web.dir .. "/keys.json")
            repeat local said = run(verify) until said == "ada"
            write("keys.json", "no keys")
            repeat assert.equal("ada", run(verify)) until b:log():find "the key set is no JSON"
            os.remove(web.dir .. "/keys.json")
            repeat assert.equal("ada", run(verify)) until b:log():find "keys.json: status 404"
        end)
    end)

    it("say what is wrong where there never were any", function()
        with_web(function(run)
            assert.matches("^nil http://127.0.0.1:%d+/status/500: status 500 true$", run [[
                return sol.jwt.verify(v.tokens.ES256, { algorithms = "ES256",
                    jwks_url = "http://127.0.0.1:$WORLD/status/500" })
            ]])
            assert.matches("give either key or jwks or jwks_url", run [[
                return sol.jwt.verify("x", { jwks = "{}", jwks_url = "http://x", algorithms = "ES256" })
            ]])
        end)
    end)
end)

describe("sol.jwt.sign", function()
    it("makes what the public key verifies", function()
        with_jwt(function(run)
            for _, alg in ipairs(ALL) do
                assert.equal("ada 9007199254740993", run(([[
                    local token = sol.jwt.sign({ sub = "ada", n = 9007199254740993, exp = sol.time() + 60 },
                        { key = private "%s", algorithm = "%s", kid = "%s" })
                    local claims, err = sol.jwt.verify(token, { jwks = jwks, algorithms = "%s" })
                    if not claims then return err end
                    return claims.sub, claims.n ]]):format(alg, alg, KIDS[alg] or "oct", alg)), alg)
            end
        end)
    end)

    it("raises for what cannot be signed", function()
        with_jwt(function(run)
            assert.matches("RS256 needs a RSA private key",
                run "sol.jwt.sign({}, { key = v.public.rsa, algorithm = 'RS256' })")
            assert.matches("RS256 needs a RSA private key", run "sol.jwt.sign({}, { key = 'k', algorithm = 'RS256' })")
            assert.matches("HS256 needs a secret", run "sol.jwt.sign({}, { key = v.private.rsa, algorithm = 'HS256' })")
            assert.matches('"none" is no algorithm', run "sol.jwt.sign({}, { key = 'k', algorithm = 'none' })")
            assert.matches("algorithm is missing", run "sol.jwt.sign({}, { key = 'k' })")
            assert.matches("bad argument #1 to 'sign'", run "sol.jwt.sign('x', { key = 'k', algorithm = 'HS256' })")
        end)
    end)
end)
