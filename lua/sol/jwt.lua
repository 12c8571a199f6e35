-- SPDX-License-Identifier: BSD-2-Clause
--
-- jwt.lua -- sol.jwt: JSON Web Tokens, verified and made.
--
-- The caller pins the algorithms, a key's kind pins them again: what the token says of
-- itself only selects among what both allow.

local sol, native = ...

local concat, error, ipairs, max, tostring, type = table.concat, error, ipairs, math.max, tostring, type
local base64, equal, hmac, json, time = sol.base64, sol.equal, sol.hmac, sol.json, sol.time
local jwks, keys, make_options, lru = native.jwks, native.keys, native.options, native.lru
local ed25519_sign, ed25519_verify, jwt_sign, jwt_verify =
    native.ed25519_sign, native.ed25519_verify, native.jwt_sign, native.jwt_verify

local TOKEN_MAX = 65536 -- bytes
local REMEMBERED = 16   -- keys and key sets that are kept parsed

local HMACS = { HS256 = "sha256", HS512 = "sha512" }

-- ---- keys --------------------------------------------------------------------------

local parsed = { one = lru(REMEMBERED), set = lru(REMEMBERED) }

--- A key or key set of the caller's at this level; what is wrong with it is his mistake.
local function read(kind, text, what, level)
    local node = parsed[kind]:use(text)
    if node then return node.value end
    local value, err = keys[kind](text)
    if not value then error(what .. ": " .. err, level) end
    parsed[kind]:add(text, { value = value })
    return value
end

--- The algorithms of an option, as a set.
local function check_algorithms(given)
    local list, set = type(given) == "table" and given or { given }, {}
    for _, name in ipairs(list) do
        if not keys.NEEDS[name] then
            error(("sol.jwt.verify: %q is no algorithm that is offered"):format(tostring(name)), 3)
        end
        set[name] = true
    end
    if #list == 0 then error("sol.jwt.verify: algorithms is missing", 3) end
    return set
end

--- Those of the set that a token with this header may be signed with.
local function fitting(set, header)
    local found = {}
    for _, key in ipairs(set) do
        if key.kind == keys.NEEDS[header.alg] and (key.alg == nil or key.alg == header.alg)
            and (header.kid == nil or key.kid == nil or key.kid == header.kid) then
            found[#found + 1] = key
        end
    end
    return found
end

-- ---- verifying ---------------------------------------------------------------------

local function decode_part(part, what)
    local text = base64.decode_url(part)
    local value = text and json.decode(text)
    if type(value) ~= "table" then return nil, ("malformed token: its %s is no JSON object"):format(what) end
    return value
end

local function fits(key, alg, token, signed, signature)
    if key.kind == "Ed25519" then return ed25519_verify(key.material, signature, signed) end
    if HMACS[alg] then return equal(hmac(HMACS[alg], key.material, signed), signature) end
    return jwt_verify(alg, key.material, token)
end

--- Is `value` (or one of the list it is) the one wanted (or one of the list)?
local function is_among(value, wanted)
    for _, w in ipairs(type(wanted) == "table" and wanted or { wanted }) do
        for _, v in ipairs(type(value) == "table" and value or { value }) do
            if v == w then return true end
        end
    end
    return false
end

local function shown(value)
    return type(value) == "string" and ("%q"):format(value) or type(value) == "table" and "a list" or tostring(value)
end

--- Checks the times of the claims: true, or nil and what is wrong.
local function check_times(claims, leeway)
    local now = time()
    for _, name in ipairs { "exp", "nbf", "iat" } do
        if claims[name] ~= nil and type(claims[name]) ~= "number" then return nil, name .. " is not a number" end
    end
    if claims.exp and now >= claims.exp + leeway then
        return nil, ("expired %.0f s ago (exp)"):format(now - claims.exp)
    end
    if claims.nbf and now < claims.nbf - leeway then
        return nil, ("not valid for another %.0f s (nbf)"):format(max(1, claims.nbf - now))
    end
    if claims.iat and now < claims.iat - leeway then
        return nil, ("issued %.0f s in the future (iat)"):format(max(1, claims.iat - now))
    end
    return true
end

local function check_claims(claims, options)
    local ok, err = check_times(claims, options.leeway)
    if not ok then return nil, err end
    if options.issuer and not is_among(claims.iss, options.issuer) then
        return nil, ("issuer %s is not the one expected (iss)"):format(shown(claims.iss))
    end
    if options.audience and not is_among(claims.aud, options.audience) then
        return nil, ("audience %s is not the one expected (aud)"):format(shown(claims.aud))
    end
    for _, name in ipairs(options.require or {}) do
        if claims[name] == nil then return nil, ("claim %s is missing"):format(name) end
    end
    return claims
end

--- The header, if the token may be looked at more closely; or nil and what is wrong.
local function check_header(part, algorithms)
    local header, err = decode_part(part, "header")
    if not header then return nil, err end
    if type(header.alg) ~= "string" or not algorithms[header.alg] then
        return nil, ("algorithm %s is not allowed"):format(shown(header.alg))
    end
    if header.crit ~= nil then return nil, "a critical header that is not known here (crit)" end
    return header
end

local VERIFY = {
    key = { "string" }, jwks = { "string" }, algorithms = { "any" }, issuer = { "any" }, audience = { "any" },
    leeway = { "number", 0, 86400, default = 0 }, require = { "table" }, jwks_url = { "string" },
    jwks_ttl = { "number", 0.001, 86400, default = 300 }, http = { "table" },
}

--- The keys that the options give; or nil and why.  A mistake in them is the caller's caller's.
local function key_set(options)
    if options.jwks_url then return jwks(options) end
    local set = options.jwks and read("set", options.jwks, "sol.jwt.verify", 4)
        or { read("one", options.key, "sol.jwt.verify", 4) }
    if set[1] and set[1].is_private then error("sol.jwt.verify: the key is a private one; give the public one", 3) end
    return set
end

--- Those that a token with this header may be signed with; or nil and why there are none.
local function candidates_of(options, set, header)
    local found = fitting(set, header)
    if #found == 0 and options.jwks_url and header.kid ~= nil then
        found = fitting(jwks(options, true) or {}, header)
    end
    if #found > 0 then return found end
    return nil, ("no key for algorithm %s and kid %s"):format(header.alg, shown(header.kid))
end

--- The claims of a token that is in order; or nil and what is wrong with it, and true when
--- there are no keys to tell by.
local function verify(token, given)
    if type(token) ~= "string" then
        error(("bad argument #1 to 'verify' (string expected, got %s)"):format(type(token)), 2)
    end
    local options = make_options("sol.jwt.verify", given, VERIFY)
    local algorithms = check_algorithms(options.algorithms)
    local given_keys = (options.key and 1 or 0) + (options.jwks and 1 or 0) + (options.jwks_url and 1 or 0)
    if given_keys ~= 1 then error("sol.jwt.verify: give either key or jwks or jwks_url", 2) end
    local set = not options.jwks_url and key_set(options)

    if #token > TOKEN_MAX then return nil, "malformed token: longer than 65536 bytes" end
    local signed, head, body, tail = token:match "^(([%w_-]+)%.([%w_-]*))%.([%w_-]*)$"
    if not signed then return nil, "malformed token: not three parts of base64url" end
    local header, err = check_header(head, algorithms)
    if not header then return nil, err end
    local signature = base64.decode_url(tail)
    if not set then set, err = key_set(options) end
    if not set then return nil, err, true end
    local candidates
    candidates, err = candidates_of(options, set, header)
    if not candidates then return nil, err end
    for _, key in ipairs(candidates) do
        if signature and fits(key, header.alg, token, signed, signature) then
            local claims, wrong = decode_part(body, "payload")
            if not claims then return nil, wrong end
            return check_claims(claims, options)
        end
    end
    return nil, "signature does not match"
end

-- ---- signing -----------------------------------------------------------------------

local SIGN = { key = { "string", required = true }, algorithm = { "string", required = true }, kid = { "string" } }

--- A token with these claims.
local function sign(claims, given)
    if type(claims) ~= "table" then
        error(("bad argument #1 to 'sign' (table expected, got %s)"):format(type(claims)), 2)
    end
    local options = make_options("sol.jwt.sign", given, SIGN)
    local alg, needs = options.algorithm, keys.NEEDS[options.algorithm]
    if not needs then error(("sol.jwt.sign: %q is no algorithm that is offered"):format(alg), 2) end
    local key = read("one", options.key, "sol.jwt.sign", 3)
    if key.kind ~= needs or needs ~= "secret" and not key.is_private then
        error(("sol.jwt.sign: %s needs a %s"):format(alg, needs == "secret" and "secret" or needs .. " private key"), 2)
    end
    local text, err = json.encode(claims)
    if not text then error("sol.jwt.sign: " .. err, 2) end
    if #text > TOKEN_MAX // 2 then error("sol.jwt.sign: the claims are too long", 2) end
    if not HMACS[alg] and needs ~= "Ed25519" then
        return jwt_sign(alg, key.material, text, options.kid) or error("sol.jwt.sign: the key cannot be used", 2)
    end
    local header = json.encode { alg = alg, typ = "JWT", kid = options.kid }
    local signed = concat({ base64.encode_url(header), base64.encode_url(text) }, ".")
    local signature = HMACS[alg] and hmac(HMACS[alg], key.material, signed) or ed25519_sign(key.material, signed)
    return signed .. "." .. base64.encode_url(signature)
end

return { jwt = { verify = verify, sign = sign } }
