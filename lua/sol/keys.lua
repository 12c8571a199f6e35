-- SPDX-License-Identifier: BSD-2-Clause
--
-- keys.lua -- native.keys: what a token may be signed with, and the algorithms it is for.
--
-- A key is { kind, material, kid, alg }: kind is "secret", "RSA", "P-256", "P-384", "P-521" or
-- "Ed25519"; material a secret, a PEM text, or Ed25519's 32 bytes.  The kind decides which
-- algorithms there are: a public key is never taken for an HMAC's secret.

local sol, native = ...

local char, concat, error, ipairs, pcall, type = string.char, table.concat, error, ipairs, pcall, type
local base64, hex, json = sol.base64, sol.hex, sol.json

local Keys = {}

--- The kind of key each algorithm needs.
Keys.NEEDS = {
    HS256 = "secret", HS384 = "secret", HS512 = "secret", RS256 = "RSA", RS384 = "RSA", RS512 = "RSA",
    ES256 = "P-256", ES384 = "P-384", ES512 = "P-521", EdDSA = "Ed25519",
}

local function bytes(text) return (hex.decode((text:gsub(" ", "")))) end

-- Object identifiers as they stand in DER, and the kind they mean.
local OIDS = {
    { bytes "06 09 2a 86 48 86 f7 0d 01 01 01", "RSA" },
    { bytes "06 08 2a 86 48 ce 3d 03 01 07", "P-256" },
    { bytes "06 05 2b 81 04 00 22", "P-384" },
    { bytes "06 05 2b 81 04 00 23", "P-521" },
    { bytes "06 03 2b 65 70", "Ed25519" },
}

-- ---- DER ---------------------------------------------------------------------------

local function der(tag, ...)
    local body = concat { ... }
    local n = #body
    local length = n < 128 and char(n) or n < 256 and char(0x81, n) or char(0x82, n >> 8, n & 0xff)
    return char(tag) .. length .. body
end

local function der_integer(unsigned)
    unsigned = unsigned:gsub("^\0+", "")
    if unsigned == "" or unsigned:byte() >= 0x80 then unsigned = "\0" .. unsigned end
    return der(0x02, unsigned)
end

local function pem(info)
    local text = base64.encode(info):gsub(("."):rep(64), "%0\n"):gsub("\n$", "")
    return "-----BEGIN PUBLIC KEY-----\n" .. text .. "\n-----END PUBLIC KEY-----\n"
end

--- SubjectPublicKeyInfo of RFC 5280.
local function public_key(algorithm, key) return pem(der(0x30, der(0x30, algorithm), der(0x03, "\0" .. key))) end

local NULL = bytes "05 00"
local EC = bytes "06 07 2a 86 48 ce 3d 02 01"

-- ---- PEM ---------------------------------------------------------------------------

local function is_pem(text) return text:find("-----BEGIN ", 1, true) ~= nil end

--- A key of a PEM text, or nil and what is wrong.
local function from_pem(text)
    local label, body = text:match "%-%-%-%-%-BEGIN ([%u%d ]+)%-%-%-%-%-(.-)%-%-%-%-%-END"
    local info = body and base64.decode((body:gsub("%s", "")))
    if not info then return nil, "the key is no PEM text" end
    if label ~= "PUBLIC KEY" and label ~= "PRIVATE KEY" then
        if label == "RSA PRIVATE KEY" then return { kind = "RSA", material = text, is_private = true } end
        if label ~= "EC PRIVATE KEY" then
            return nil, ("the key is a %s; expected PUBLIC KEY or PRIVATE KEY"):format(label)
        end
    end
    for _, row in ipairs(OIDS) do
        if info:sub(1, 100):find(row[1], 1, true) or label == "EC PRIVATE KEY" and info:find(row[1], 1, true) then
            local material = row[2] == "Ed25519" and info:sub(-32) or text
            return { kind = row[2], material = material, is_private = label ~= "PUBLIC KEY" }
        end
    end
    return nil, "the key is of a kind that is not known here"
end

-- ---- JWK ---------------------------------------------------------------------------

local CURVES = { -- bytes of a coordinate, the curve's identifier
    ["P-256"] = { 32, OIDS[2][1] }, ["P-384"] = { 48, OIDS[3][1] }, ["P-521"] = { 66, OIDS[4][1] },
}

local function member(jwk, name)
    local data = type(jwk[name]) == "string" and base64.decode_url(jwk[name])
    if data and #data > 0 then return data end
    error(("%s is missing or not base64url"):format(name), 0)
end

local READ = {}

function READ.RSA(jwk)
    local n, e = member(jwk, "n"):gsub("^\0+", ""), member(jwk, "e")
    if #n < 256 then error("RSA keys have at least 2048 bits", 0) end
    return "RSA", public_key(OIDS[1][1] .. NULL, der(0x30, der_integer(n), der_integer(e)))
end

function READ.EC(jwk)
    local curve = CURVES[jwk.crv]
    if not curve then error("crv must be P-256, P-384 or P-521", 0) end
    local x, y = member(jwk, "x"), member(jwk, "y")
    if #x ~= curve[1] or #y ~= curve[1] then error("x and y are not of the curve's length", 0) end
    return jwk.crv, public_key(EC .. curve[2], "\4" .. x .. y)
end

function READ.OKP(jwk)
    local x = member(jwk, "x")
    if jwk.crv ~= "Ed25519" or #x ~= 32 then error("crv must be Ed25519, and x 32 bytes", 0) end
    return "Ed25519", x
end

function READ.oct(jwk) return "secret", member(jwk, "k") end

--- A key of a JWK, or nil and what is wrong; false when it is for something else.
local function from_jwk(jwk)
    if type(jwk) ~= "table" then return nil, "not an object" end
    local read = READ[jwk.kty]
    if not read or jwk.use ~= nil and jwk.use ~= "sig" then return false end
    local ok, kind, material = pcall(read, jwk)
    if not ok then return nil, kind end
    return { kind = kind, material = material, kid = jwk.kid, alg = jwk.alg }
end

-- ---- key sets ------------------------------------------------------------------------

--- The keys of a JWK Set's text, or nil and what is wrong.
function Keys.set(text)
    local set, err = json.decode(text)
    if set == nil then return nil, "the key set is no JSON: " .. err end
    if type(set) ~= "table" or type(set.keys) ~= "table" then return nil, "the key set has no list \"keys\"" end
    local keys = {}
    for n, jwk in ipairs(set.keys) do
        local key, wrong = from_jwk(jwk)
        if key == nil then return nil, ("keys[%d] of the key set: %s"):format(n, wrong) end
        keys[#keys + 1] = key or nil
    end
    return keys
end

--- The key of a secret or a PEM text, or nil and what is wrong.
function Keys.one(text)
    if #text == 0 then return nil, "the key is empty" end
    if is_pem(text) then return from_pem(text) end
    return { kind = "secret", material = text }
end

native.keys = Keys

return {}
