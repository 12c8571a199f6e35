-- SPDX-License-Identifier: BSD-2-Clause
--
-- redis.lua -- sol.redis: commands to a Redis server over sol.socket, RESP2 and RESP3.
--
-- A connection does one thing at a time.  What it cannot understand, and what is cut off
-- in the middle of a reply, closes it: afterwards nobody could tell whose bytes come next.

local sol, native = ...

-- Lua's own functions: an environment may replace its entries, not ours.
local error, getmetatable, ipairs, math_type, pcall, select, setmetatable, tonumber, tostring, type =
    error, getmetatable, ipairs, math.type, pcall, select, setmetatable, tonumber, tostring, type
local concat, remove, unpack = table.concat, table.remove, table.unpack
local connect = native.redis_connect or sol.socket.connect

local DEPTH_MAX = 32          -- of replies within replies
local QUEUE_MAX = 10000       -- messages that came while a command waited for its reply
local FOR_EVER = 86400        -- seconds of one wait for a message

local null = sol.json.null

-- ---- options ----------------------------------------------------------------------------

local OPTIONS = native.server_options {
    username = { "string" },
    password = { "string" },
    db = { "integer", default = 0 },
    protocol = { "integer", 2, 3, default = 2 },
    timeout = { "number", 0.001, 86400, default = 5 }, -- seconds
    max_reply = { "integer", 1, 64 << 20, default = 16 << 20 }, -- bytes
    pool_size = { "integer", 1, 4096 },
    backlog = { "integer", 0, 4096 },
}

--- What OPTIONS cannot say. An error is its caller's caller's.
local function check(options)
    if options.username and not options.password then
        error("sol.redis: option \"username\" needs a \"password\"", 3)
    end
    options.port = options.port or 6379
end

--- What sol.socket is asked for.  Who is somebody else, or elsewhere, has another pool.
local function socket_options(options)
    local who = { "redis", options.username or "", options.password or "", options.db, options.protocol }
    return {
        timeout = options.timeout, max_receive = options.max_reply,
        pool = concat(who, "/"):gsub("\0", "%%00"), pool_size = options.pool_size, backlog = options.backlog,
        ca = options.ca, cert = options.cert, key = options.key, server_name = options.server_name,
        verify = options.verify,
    }
end

-- ---- commands as bytes --------------------------------------------------------------------

--- Appends a command to the pieces to send.
local function encode(pieces, command, level)
    local len = command.n or #command
    if len == 0 then error("sol.redis: an empty command", level + 1) end
    pieces[#pieces + 1] = "*" .. len .. "\r\n"
    for i = 1, len do
        local word = command[i]
        if math_type(word) == "float" then word = ("%.17g"):format(word) end
        if type(word) == "number" then word = tostring(word) end
        if type(word) ~= "string" then
            error(("sol.redis: argument %d is a %s; expected strings and numbers"):format(i - 1, type(word)), level + 1)
        end
        pieces[#pieces + 1] = "$" .. #word .. "\r\n"
        pieces[#pieces + 1] = word
        pieces[#pieces + 1] = "\r\n"
    end
end

-- ---- replies -------------------------------------------------------------------------------

local Failure = {} -- the metatable of an error reply among others

--- Ends the reading of a reply; `receive_reply` catches it.
local function cut(why) error({ why = why }, 0) end

local function take(self, len)
    self.left = self.left - len
    if self.left < 0 then cut "reply too large" end
end

local function line(self)
    local text, err = self.socket:receive "line"
    if not text then cut(err) end
    take(self, #text + 2)
    return text
end

local function count(text)
    local n = math_type(tonumber(text)) == "integer" and tonumber(text)
    if not n or n < -1 then cut "not a reply of redis" end
    return n
end

local function bulk(self, text)
    local len = count(text)
    if len < 0 then return nil end
    take(self, len + 2)
    local data, err = self.socket:receive(len)
    if not data then cut(err) end
    if self.socket:receive(2) ~= "\r\n" then cut "not a reply of redis" end
    return data
end

local read

local function list(self, text, depth)
    local len = count(text)
    if len < 0 then return nil end
    take(self, len * 3) -- the least that they can be
    local items = {}
    for i = 1, len do
        local value = read(self, depth + 1)
        if value == nil then value = null end
        items[i] = value
    end
    return items
end

local function map(self, text, depth)
    local items = {}
    for _ = 1, count(text) do
        local key = read(self, depth + 1)
        local value = read(self, depth + 1)
        if value == nil then value = null end
        if key ~= nil and key == key then items[key] = value end
    end
    return items
end

local function failure(text) return setmetatable({ err = text }, Failure) end

local function number(text)
    local n = ({ inf = math.huge, ["-inf"] = -math.huge, nan = 0 / 0 })[text] or tonumber(text)
    if not n then cut "not a reply of redis" end
    return n
end

-- By the first byte of a reply.
local READ = {
    ["+"] = function(_, text) return text end,
    ["-"] = function(_, text) return failure(text) end,
    [":"] = function(_, text) return number(text) end,
    ["$"] = bulk,
    ["*"] = list,
    -- RESP3
    ["_"] = function() return nil end,
    ["#"] = function(_, text) return text == "t" end,
    [","] = function(_, text) return number(text) end,
    ["("] = function(_, text) return math_type(tonumber(text)) == "integer" and tonumber(text) or text end,
    ["!"] = function(self, text) return failure(bulk(self, text)) end,
    ["="] = function(self, text) return (bulk(self, text) or ""):sub(5) end,
    ["%"] = map,
    ["~"] = list,
    [">"] = list,
    ["|"] = function(self, text, depth)
        map(self, text, depth) -- attributes: remarks nobody asked for
        return read(self, depth)
    end,
}

function read(self, depth)
    if depth > DEPTH_MAX then cut "reply too deep" end
    local text = line(self)
    local reader = READ[text:sub(1, 1)]
    if not reader then cut "not a reply of redis" end
    return reader(self, text:sub(2), depth), text:sub(1, 1)
end

local MESSAGES = { message = 3, pmessage = 4, smessage = 3 }

--- A message as subscribers get it, or nil when the reply is none.
local function message_of(self, reply, kind)
    if type(reply) ~= "table" or not (kind == ">" or kind == "*" and self.subscribed) then return nil end
    local len = MESSAGES[reply[1]]
    if not len or #reply ~= len then return nil end
    return { kind = reply[1], pattern = len == 4 and reply[2] or nil, channel = reply[len - 1], payload = reply[len] }
end

local function close(self)
    self.socket:close()
    return nil
end

--- The next reply, whatever it is: true, reply, its first byte; or false and why.  The
--- connection is closed then, unless `at_rest` and nothing had come.
local function receive_reply(self, at_rest)
    self.left = self.max_reply
    local ok, reply, kind = pcall(read, self, 1)
    if ok then return true, reply, kind end
    if type(reply) ~= "table" then
        close(self)
        error(reply, 0)
    end
    if not (at_rest and reply.why == "timeout" and self.left == self.max_reply) then close(self) end
    return false, reply.why
end

--- The reply to a command: messages that come first are kept.
local function answer(self)
    while true do
        local ok, reply, kind = receive_reply(self)
        if not ok then return false, reply end
        local message = message_of(self, reply, kind)
        if not message and kind ~= ">" then return true, reply end
        if not message and self.confirming then return true, reply end
        if message then
            if #self.queue >= QUEUE_MAX then
                close(self)
                return false, "too many messages"
            end
            self.queue[#self.queue + 1] = message
        end
    end
end

-- ---- a connection ---------------------------------------------------------------------------

-- Commands after which the connection is no longer like the others of its pool.
local PERSONAL = {
    AUTH = true, CLIENT = true, HELLO = true, MONITOR = true, MULTI = true, QUIT = true, RESET = true, SELECT = true,
    WATCH = true, SUBSCRIBE = true, PSUBSCRIBE = true, SSUBSCRIBE = true, UNSUBSCRIBE = true, PUNSUBSCRIBE = true,
    SUNSUBSCRIBE = true, SYNC = true, PSYNC = true,
}

local function word_of(command) return type(command[1]) == "string" and command[1]:upper() or "" end

--- Would these commands change the connection for those that come after?  A transaction
--- that ends does not.
local function is_personal(commands)
    local open = false
    for _, command in ipairs(commands) do
        local word = word_of(command)
        if word == "MULTI" or word == "WATCH" then
            open = true
        elseif word == "EXEC" or word == "DISCARD" then
            open = false
        elseif PERSONAL[word] then
            return true
        end
    end
    return open
end

--- Sends all commands and reads all replies: the list of them, or nil and why.
local function exchange(self, commands, level)
    local pieces = {}
    for _, command in ipairs(commands) do encode(pieces, command, level + 1) end
    if not self.socket.open then return nil, "closed" end
    if self.busy then error("sol.redis: another coroutine is using this connection", level + 1) end
    self.busy = true
    self.personal = self.personal or is_personal(commands)
    local replies = {}
    local ok, err = self.socket:send(pieces)
    if not ok then close(self) end
    for i = 1, ok and #commands or 0 do
        ok, err = answer(self)
        if not ok then break end
        replies[i] = err == nil and null or err
    end
    self.busy = false
    if not ok then return nil, err end
    return replies
end

--- A reply as a command gives it: null is nil, an error is nil and its text.
local function plain(replies, err)
    if not replies then return nil, err end
    local reply = replies[1]
    if reply == null then return nil end
    if getmetatable(reply) == Failure then return nil, reply.err end
    return reply
end

local Connection = {}

-- No tail calls in functions that check arguments: errors name the line of their caller.

function Connection:command(...)
    local replies, err = exchange(self, { { n = select("#", ...), ... } }, 2)
    return plain(replies, err)
end

local function check_commands(commands)
    if type(commands) ~= "table" then error("sol.redis: expected a list of commands", 3) end
    for i, command in ipairs(commands) do
        if type(command) ~= "table" then
            error(("sol.redis: command %d is a %s; expected { NAME, ARGUMENTS... }"):format(i, type(command)), 3)
        end
    end
end

function Connection:pipeline(commands)
    check_commands(commands)
    local replies, err = exchange(self, commands, 2)
    return replies, err
end

--- Subscribes or unsubscribes: each name is confirmed by itself.
local function subscription(verb)
    return function(self, ...)
        local names = select("#", ...)
        if names == 0 then error("sol.redis: " .. verb .. " needs a name", 2) end
        local pieces = {}
        encode(pieces, { n = names + 1, verb, ... }, 1)
        if not self.socket.open then return nil, "closed" end
        if self.busy then error("sol.redis: another coroutine is using this connection", 2) end
        self.busy, self.confirming, self.subscribed, self.personal = true, true, true, true
        local ok, reply = self.socket:send(pieces)
        for _ = 1, ok and names or 0 do
            ok, reply = answer(self)
            if not ok or getmetatable(reply) == Failure then break end
        end
        self.busy, self.confirming = false, false
        if not ok then return nil, reply end
        if getmetatable(reply) == Failure then return nil, reply.err end
        return true
    end
end

for _, verb in ipairs { "subscribe", "psubscribe", "ssubscribe", "unsubscribe", "punsubscribe", "sunsubscribe" } do
    Connection[verb] = subscription(verb:upper())
end

--- The next message of a subscription.
function Connection:receive(timeout)
    if not self.subscribed then error("sol.redis: subscribe first", 2) end
    if #self.queue > 0 then return remove(self.queue, 1) end
    if not self.socket.open then return nil, "closed" end
    if self.busy then error("sol.redis: another coroutine is using this connection", 2) end
    self.socket:settimeouts(self.timeout, timeout or FOR_EVER)
    self.busy = true
    local ok, reply, kind, message
    repeat
        ok, reply, kind = receive_reply(self, true)
        message = ok and message_of(self, reply, kind)
    until message or not ok and (timeout or reply ~= "timeout")
    self.busy = false
    if self.socket.open then self.socket:settimeouts(self.timeout) end
    if not ok then return nil, reply end
    return message
end

function Connection:keepalive(idle, size)
    if self.personal or self.busy or #self.queue > 0 then
        close(self)
        return nil, "this connection is not like the others any more"
    end
    local ok, err = self.socket:setkeepalive(idle, size)
    return ok, err
end

function Connection:close()
    local ok, err = self.socket:close()
    return ok, err
end

-- ---- any command as a method ---------------------------------------------------------------------

--- The metatable of objects with `methods`; other names are commands.
local function commanding(methods, more)
    local known = {}
    local function command(name)
        local word = name:upper()
        return function(self, ...)
            local reply, err = self:command(word, ...)
            return reply, err
        end
    end
    more.__index = function(_, name)
        if type(name) ~= "string" or not name:find "^%a+$" then return nil end
        if methods[name] then return methods[name] end
        known[name] = known[name] or command(name)
        return known[name]
    end
    return more
end

local connection_meta = commanding(Connection, {
    __name = "sol.redis.connection",
    __metatable = false,
    __close = function(self) self.socket:close() end,
})

--- What a fresh connection is told first.
local function greeting(options)
    local commands = {}
    local name = options.username
    if options.protocol == 3 then
        local hello = { "HELLO", 3 }
        if options.password then hello = { "HELLO", 3, "AUTH", name or "default", options.password } end
        commands[1] = hello
    elseif options.password then
        commands[1] = name and { "AUTH", name, options.password } or { "AUTH", options.password }
    end
    if options.db ~= 0 then commands[#commands + 1] = { "SELECT", options.db } end
    return commands
end

local function open(options)
    local socket, err = connect(native.server_url(options), socket_options(options))
    if not socket then return nil, err end
    local self = setmetatable({
        socket = socket, timeout = options.timeout, max_reply = options.max_reply, queue = {},
        left = 0, busy = false, confirming = false, subscribed = false, personal = false,
    }, connection_meta)
    socket:settimeouts(self.timeout)
    if socket.reused > 0 then return self end
    local replies
    replies, err = exchange(self, greeting(options), 1)
    for _, reply in ipairs(replies or {}) do
        if getmetatable(reply) == Failure then err = reply.err end
    end
    self.personal = false
    if err then
        socket:close()
        return nil, err
    end
    return self
end

-- ---- a pool ---------------------------------------------------------------------------------------

local Pool = {}

--- Runs fn(connection, ...) on a connection of the pool.
local function borrow(self, fn, ...)
    local connection <close>, err = open(self.options)
    if not connection then return nil, err end
    local reply
    reply, err = fn(connection, ...)
    if connection.socket.open then connection:keepalive() end
    return reply, err
end

local function check_shared(commands)
    if is_personal(commands) then
        error("sol.redis: " .. word_of(commands[1]) .. " needs a connection of its own: pool:connect()", 3)
    end
end

function Pool:command(...)
    local command = { n = select("#", ...), ... }
    check_shared { command }
    encode({}, command, 1)
    local reply, err = borrow(self, Connection.command, unpack(command, 1, command.n))
    return reply, err
end

function Pool:pipeline(commands)
    check_commands(commands)
    check_shared(commands)
    for _, command in ipairs(commands) do encode({}, command, 1) end
    local replies, err = borrow(self, Connection.pipeline, commands)
    return replies, err
end

function Pool:connect()
    local connection, err = open(self.options)
    return connection, err
end

for _, verb in ipairs { "subscribe", "psubscribe", "ssubscribe" } do
    Pool[verb] = function() error("sol.redis: " .. verb .. " needs a connection of its own: pool:connect()", 2) end
end

local pool_meta = commanding(Pool, { __name = "sol.redis.pool", __metatable = false })

local M = native.server_functions("sol.redis", OPTIONS, check, open, pool_meta)
M.null = null

return { redis = M }
