-- SPDX-License-Identifier: BSD-2-Clause
--
-- library.lua -- the global tables that VerneMQ gives its scripts, on top of sol.*.
--
-- What is documented there and not possible here is a table whose functions raise an error
-- that says so: at load time for a pool, so that a script never runs with a library missing.

local acl = require "acl"
local sol = require "sol"

--- JSON's null is nil in VerneMQ.
local function without_null(value)
    if type(value) ~= "table" then return value end
    for key, inner in pairs(value) do
        if inner == sol.json.null then value[key] = nil else without_null(inner) end
    end
    return value
end

local json = {}

function json.decode(text)
    local value = sol.json.decode(text)
    if value == sol.json.null then return nil end
    return without_null(value)
end

function json.encode(value)
    local ok, text = pcall(sol.json.encode, value)
    return ok and text or nil
end

local log = { info = sol.log.info, debug = sol.log.debug, warning = sol.log.warn, error = sol.log.error }

local crypto = {}

function crypto.hash(algorithm, data)
    local digest = algorithm == "sha256" and sol.sha256 or algorithm == "sha512" and sol.sha512
    if not digest then error(("crypto.hash: sha256 and sha512 are there, %s is not"):format(algorithm), 2) end
    return digest(data)
end

local bcrypt = {}

--- The hash itself when the password is right, else another text: it serves the comparison
--- `hash == bcrypt.hashpw(password, hash)`.
function bcrypt.hashpw(password, hash)
    if #hash ~= 60 then error("bcrypt.hashpw: a whole hash is needed (60 bytes): passwords can be checked here, "
        .. "new hashes are made by `sol passwd`", 2) end
    local same, err = sol.password.verify(password, hash)
    if err then error("bcrypt.hashpw: " .. err, 2) end
    return same and hash or hash:sub(1, 29) .. ("."):rep(31)
end

function bcrypt.gen_salt() error("bcrypt.gen_salt: new hashes are made by `sol passwd`", 2) end

--- VerneMQ hides passwords from its own memory dumps; here they come as they are.
local function same(text) return text end
local obf = { encrypt = same, decrypt = same }

-- Pools -------------------------------------------------------------------------------------

--- What a pool is made with: the script's config, then the plugin's option, then defaults.
local function setting(config, defaults, name, otherwise)
    local value = config[name]
    if value == nil then value = defaults[name] end
    if value == nil then value = otherwise end
    return value
end

local function pool_of(pools, library, id)
    return pools[id] or error(("%s: unknown pool %s"):format(library, tostring(id)), 3)
end

local function redis_of(defaults, pools)
    local redis = {}

    function redis.ensure_pool(config)
        local function value(...) return setting(config, defaults, ...) end
        local id = value("pool_id", "pool_redis")
        pools[id] = pools[id] or sol.redis.pool {
            host = value("host", "127.0.0.1"), port = value("port", 6379), username = value "user",
            password = value "password", db = value("database", 0), pool_size = value("size", 5), backlog = 1000,
        }
        return true
    end

    local function shown(reply)
        if reply == "OK" then return true end
        if type(reply) == "number" then return tostring(reply) end
        if type(reply) ~= "table" then return reply end
        local list = {}
        for i, one in ipairs(reply) do
            if one ~= sol.redis.null then list[i] = one == "OK" and one or shown(one) end
        end
        return list
    end

    function redis.cmd(id, command, ...)
        local words = {}
        for word in command:gmatch "[^ ]+" do words[#words + 1] = word end
        for i = 1, select("#", ...) do
            local arg = select(i, ...)
            if type(arg) ~= "string" and type(arg) ~= "number" then
                error(("redis.cmd: argument %d is a %s; strings and numbers can be sent"):format(i, type(arg)), 2)
            end
            words[#words + 1] = arg
        end
        local reply, err = pool_of(pools, "redis.cmd", id):command(table.unpack(words))
        if err then
            sol.log.warn("redis.cmd: %s", err)
            return false
        end
        return shown(reply)
    end

    return redis
end

local function postgres_of(defaults, pools)
    local postgres = {}

    function postgres.ensure_pool(config)
        local function value(...) return setting(config, defaults, ...) end
        local id = value("pool_id", "pool_postgres")
        pools[id] = pools[id] or sol.pg.pool {
            host = value("host", "127.0.0.1"), port = value("port", 5432), user = value("user", "root"),
            password = value "password", database = value "database", pool_size = value("size", 5), backlog = 1000,
            tls = value "ssl", ca = value "cacertfile", cert = value "certfile", key = value "keyfile",
        }
        return true
    end

    --- Rows of what selects, whether anything changed for the rest.
    function postgres.execute(id, sql, ...)
        local result, err = pool_of(pools, "postgres.execute", id):execute(sql, ...)
        if not result then error("postgres.execute: " .. err, 2) end
        local verb = (sql:match "%a+" or ""):lower()
        local changes = verb == "insert" or verb == "update" or verb == "delete"
        if #result.columns == 0 or changes then return result.affected > 0 end
        return result
    end

    function postgres.hash_method() return defaults.password_hash_method or "crypt" end

    return postgres
end

local function escaped(text)
    return (tostring(text):gsub("[^%w._~-]", function(c) return ("%%%02X"):format(c:byte()) end))
end

local function http_of(pools)
    local http = {}

    function http.ensure_pool(config)
        pools[config.pool_id or "pool_http"] = true
        return true
    end

    local function request(method)
        return function(id, url, body, headers)
            pool_of(pools, "http." .. method:lower(), id)
            if type(body) == "table" then -- a form
                local fields = {}
                for name, value in pairs(body) do fields[#fields + 1] = escaped(name) .. "=" .. escaped(value) end
                table.sort(fields)
                body = table.concat(fields, "&")
                headers = headers or {}
                headers["Content-Type"] = headers["Content-Type"] or "application/x-www-form-urlencoded"
            end
            local reply, err = sol.http.request { method = method, url = url, body = body, headers = headers }
            if not reply then
                sol.log.warn("http.%s: %s: %s", method:lower(), url, err)
                return false
            end
            return { status = reply.status, headers = reply.headers, ref = reply.body }
        end
    end

    http.get, http.put, http.post, http.delete = request "GET", request "PUT", request "POST", request "DELETE"
    http.body = same
    return http
end

-- State -------------------------------------------------------------------------------------

local function copy(value)
    if type(value) ~= "table" then return value end
    local t = {}
    for name, inner in pairs(value) do t[name] = copy(inner) end
    return t
end

--- Tables of a worker, shared by the script's states.
local function kv_of(tables)
    local kv = {}
    local function table_of(name, called)
        return tables[name] or error(("kv.%s: unknown table %s"):format(called, tostring(name)), 3)
    end

    function kv.ensure_table(config)
        local name, kind = config.name or "simple_kv", config.type or "set"
        if kind ~= "set" and kind ~= "ordered_set" then
            error(("kv.ensure_table: a table of type %s is not possible, only set"):format(kind), 2)
        end
        tables[name] = tables[name] or {}
        return true
    end

    function kv.insert(name, objects)
        local t = table_of(name, "insert")
        for key, value in pairs(objects) do t[key] = copy(value) end
        return true
    end

    function kv.insert_new(name, objects)
        local t = table_of(name, "insert_new")
        for key in pairs(objects) do
            if t[key] ~= nil then return false end
        end
        return kv.insert(name, objects)
    end

    function kv.lookup(name, key) return { copy(table_of(name, "lookup")[key]) } end

    function kv.delete(name, key)
        table_of(name, "delete")[key] = nil
        return true
    end

    function kv.delete_all(name)
        local t = table_of(name, "delete_all")
        for key in pairs(t) do t[key] = nil end
        return true
    end

    return kv
end

--- The lists of the state's call go with it; what is inserted for others lies in the cache.
local function auth_cache_of(cache, state)
    local auth_cache = {}

    function auth_cache.insert(mountpoint, client_id, username, publish, subscribe)
        local text = acl.text(mountpoint, client_id, username, publish, subscribe)
        local key = mountpoint .. "\0" .. client_id
        if state.inserted then state.inserted[key] = text end
        cache:set(key, acl.of_text(text))
        return true
    end

    function auth_cache.match_publish(mountpoint, client_id, topic, qos, payload, retain)
        local lists = cache:get(mountpoint .. "\0" .. client_id)
        return lists ~= nil and acl.may_publish(lists, topic, qos, payload, retain)
    end

    function auth_cache.match_subscribe(mountpoint, client_id, filter, qos)
        local lists = cache:get(mountpoint .. "\0" .. client_id)
        return lists ~= nil and acl.may_subscribe(lists, filter, qos)
    end

    return auth_cache
end

local vmq_api = {}

function vmq_api.disconnect_by_subscriber_id(id)
    local client = sol.client(id.client_id)
    if not client or not client:disconnect() then return "not_found" end
    return "ok"
end

function vmq_api.reauthorize_subscriptions(_, id)
    sol.reauthorize { client_id = id.client_id }
    return "ok"
end

--- A library that is not there: any use of it raises.
local function refused(name, instead)
    return setmetatable({}, { __index = function(_, member)
        error(("%s.%s: Sol has no %s; %s"):format(name, member, name, instead), 2)
    end })
end

--- Lua 5.2's, of which VerneMQ's Lua is.
local function old_names(base)
    base.unpack, base.loadstring = table.unpack, function(...) return base.load(...) end
    base.math = setmetatable({ pow = function(x, y) return x ^ y end }, { __index = math })
    base.bit32 = {
        band = function(x, y) return x & y & 0xFFFFFFFF end, bor = function(x, y) return (x | y) & 0xFFFFFFFF end,
        bxor = function(x, y) return (x ~ y) & 0xFFFFFFFF end, bnot = function(x) return ~x & 0xFFFFFFFF end,
        lshift = function(x, n) return x << n & 0xFFFFFFFF end,
        rshift = function(x, n) return (x & 0xFFFFFFFF) >> n end,
    }
    return base
end

local SQL, STORE = "use postgres, or a web service with http", "use redis or kv"

local M = {}

--- What all states of a script share: pools and tables have names of their own, as in VerneMQ.
function M.shared()
    return { redis = {}, postgres = {}, http = {}, tables = {}, cache = sol.cache { size = 10000 } }
end

--- The globals of one state, on top of Lua's own.
---@param options table of the plugin
---@param shared table as M.shared gives it
---@param state { inserted: table<string, string>? }
function M.globals(options, shared, state)
    return setmetatable(old_names {
        json = json, log = log, crypto = crypto, bcrypt = bcrypt, obf = obf, vmq_api = vmq_api,
        redis = redis_of(options.redis, shared.redis), postgres = postgres_of(options.postgres, shared.postgres),
        http = http_of(shared.http), kv = kv_of(shared.tables), auth_cache = auth_cache_of(shared.cache, state),
        mysql = refused("mysql", SQL), cockroachdb = refused("cockroachdb", SQL), mongodb = refused("mongodb", SQL),
        memcached = refused("memcached", STORE),
    }, { __index = _ENV })
end

return M
