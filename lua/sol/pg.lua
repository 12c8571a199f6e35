-- SPDX-License-Identifier: BSD-2-Clause
--
-- pg.lua -- sol.pg: where to connect, and pools, over the connections that C makes.
--
-- libpq would look names up itself, and block: it is given addresses.

local sol, native = ...

-- Lua's own functions: an environment may replace its entries, not ours.
local error, ipairs, pairs, sort, tostring, type = error, ipairs, pairs, table.sort, tostring, type
local concat = table.concat
local now, resolve = sol.now, native.resolve or sol.dns.resolve

local OPTIONS = {
    host = { "string", default = "127.0.0.1" },
    port = { "integer", 1, 65535, default = 5432 },
    user = { "string", required = true },
    password = { "string", default = "" },
    database = { "string" },
    application = { "string", default = "sol" },
    tls = { "boolean" },
    ca = { "string" },
    cert = { "string" },
    key = { "string" },
    verify = { "boolean" },
    timeout = { "number", 0.001, 86400, default = 5 }, -- seconds
    max_result = { "integer", 1, 256 << 20, default = 16 << 20 }, -- bytes
    pool_size = { "integer", 1, 4096 },
    backlog = { "integer", 0, 4096 },
}

--- What OPTIONS cannot say. An error is its caller's caller's.
local function check(options)
    for name, value in pairs(options) do
        if type(value) == "string" and value:find("\0", 1, true) then
            error(("sol.pg: option %q has a zero byte in it"):format(name), 3)
        end
    end
    if options.tls and options.verify ~= false and not options.ca then
        error("sol.pg: tls needs \"ca\", a file of trusted certificates, or verify = false", 3)
    end
end

--- What libpq is told, or nil and why.
local function info_of(options, deadline)
    local host, port = options.host, ("%d"):format(options.port)
    local function file(name) return options[name] and native.path_of(options[name]) or "" end
    local info = {
        "user", options.user, "password", options.password, "dbname", options.database or options.user,
        "application_name", options.application, "client_encoding", "UTF8", "gssencmode", "disable",
        "sslmode", not options.tls and "disable" or options.verify == false and "require" or "verify-full",
        "sslrootcert", file "ca", "sslcert", file "cert", "sslkey", file "key",
    }
    local function add(name, value)
        info[#info + 1] = name
        info[#info + 1] = value
    end
    if host:sub(1, 1) == "/" then -- the folder of a unix socket
        add("host", host)
        add("port", port)
        return info
    end
    local list, err = resolve(host, { timeout = deadline - now() })
    if not list then return nil, err == "timeout" and err or host .. ": " .. err end
    local hosts, ports = {}, {}
    for i = 1, #list do hosts[i], ports[i] = host, port end
    add("host", concat(hosts, ","))
    add("hostaddr", concat(list, ","))
    add("port", concat(ports, ","))
    return info
end

--- Connections that may stand in for each other.
local function pool_name(options)
    local parts = { "pg" }
    local names = {}
    for name in pairs(options) do names[#names + 1] = name end
    sort(names)
    for _, name in ipairs(names) do
        if name ~= "timeout" and name ~= "pool_size" and name ~= "backlog" then
            parts[#parts + 1] = name .. "=" .. tostring(options[name])
        end
    end
    return concat(parts, "\n")
end

local function open(options)
    local deadline = now() + options.timeout
    local info, err = info_of(options, deadline)
    if not info then return nil, err end
    local connection
    connection, err = native.pg_connect(info, {
        timeout = options.timeout, max_result = options.max_result, pool = pool_name(options),
        pool_size = options.pool_size, backlog = options.backlog,
    })
    return connection, err
end

local Pool = {}
Pool.__index = Pool
Pool.__metatable = false
Pool.__name = "sol.pg.pool"

--- Calls a method of a connection of the pool.
local function borrow(self, method, ...)
    local connection <close>, err = open(self.options)
    if not connection then return nil, err end
    local result
    result, err = connection[method](connection, ...)
    if connection.open then connection:keepalive() end
    return result, err
end

-- No tail calls: errors name the line that called these.

function Pool:query(...)
    local result, err = borrow(self, "query", ...)
    return result, err
end

function Pool:execute(...)
    local result, err = borrow(self, "execute", ...)
    return result, err
end

function Pool:connect()
    local connection, err = open(self.options)
    return connection, err
end

return { pg = native.server_functions("sol.pg", OPTIONS, check, open, Pool) }
