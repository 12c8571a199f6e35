-- SPDX-License-Identifier: BSD-2-Clause
--
-- offline.lua -- the world as a test plays it: in the policy of testing.broker alone.
--
-- It takes the place of what would reach the network, as far down as can be: what lies above
-- (redirects, replies of Redis, pools, the checks of options) is what always runs.  Every
-- question goes to native.ask, which gives the seconds that the answer takes, and the answer.

local sol, native = ...

local error, floor, ipairs, math_type, pairs, setmetatable, sort, tonumber, tostring, type =
    error, math.floor, ipairs, math.type, pairs, setmetatable, table.sort, tonumber, tostring, type
local concat, pack, unpack = table.concat, table.pack, table.unpack
local now, sleep, waiter = sol.now, sol.sleep, native.waiter

local TIMEOUT = 5 -- seconds: what sol.socket and sol.dns have without the option
local FOR_EVER = 86400

-- ---- asking ---------------------------------------------------------------------------

--- The answer when its time has come.  Whoever asks waits, as always when the world is asked.
local function after(timeout, delay, ...)
    sleep(delay < timeout and delay or timeout)
    if delay >= timeout then return nil, "timeout" end
    return ...
end

local function ask(kind, timeout, ...) return after(timeout, native.ask(kind, ...)) end

local function timeout_of(options) return type(options) == "table" and options.timeout or TIMEOUT end

-- ---- time -------------------------------------------------------------------------------

local os_time, os_date, wall = os.time, os.date, sol.time

function os.time(when) -- luacheck: ignore 122
    if when ~= nil then return os_time(when) end
    return floor(wall())
end

function os.date(format, when) -- luacheck: ignore 122
    return os_date(format or "%c", when or floor(wall()))
end

-- ---- names --------------------------------------------------------------------------------

function sol.dns.resolve(name, options)
    if type(name) ~= "string" then error("sol.dns.resolve: expected a name, got a " .. type(name), 2) end
    local list, err = ask("dns", timeout_of(options), name, type(options) == "table" and options.type or nil)
    return list, err
end

--- For sol.http and sol.pg, whose stubs see names: an address that leads nowhere.
function native.resolve() return { "192.0.2.1" } end

-- ---- sol.http -------------------------------------------------------------------------------

--- Names in lower case and values of "Name: value" lines, as http.lua makes them for curl.
local function headers_of(lines)
    local headers = {}
    for _, line in ipairs(lines) do
        local name, mark, value = line:match "^([^:;]+)([:;]) ?(.*)$"
        -- "Name:" is not sent at all, "Name;" is empty.
        if mark == ";" or value ~= "" then headers[name:lower()] = value end
    end
    return headers
end

local function lines_of(headers)
    local lines = {}
    for name, value in pairs(headers) do lines[#lines + 1] = ("%s: %s\r\n"):format(name, value) end
    sort(lines)
    return "HTTP/1.1\r\n" .. concat(lines)
end

function native.http_fetch(request)
    local response, err = ask("http", request.timeout, {
        method = request.method, url = request.url, body = request.body, socket = request.socket,
        headers = headers_of(request.headers),
    })
    if not response then return nil, err or "connection refused" end
    local body = response.body or ""
    if #body > request.max_body then return nil, "response too large" end
    return response.status or 200, lines_of(response.headers or {}), body
end

-- ---- sockets ----------------------------------------------------------------------------------

-- A connection whose other end is a function: reply(bytes) gives what comes back, nil for
-- nothing, or nil and why the connection ends.
local Socket = {}
Socket.__index = Socket
Socket.__metatable = false

local function connection(reply, timeout)
    return setmetatable({
        open = true, reused = 0, reply = reply, input = "", sending = timeout, receiving = timeout,
    }, Socket)
end

--- Something has happened that a receive may wait for.
local function rouse(self)
    if self.waiting then self.waiting:wake() end
    self.waiting = nil
end

function Socket:send(data)
    if not self.open then return nil, "closed" end
    if type(data) == "table" then data = concat(data) end
    local back, err = self.reply(data, self.sending)
    if err == "timeout" then return nil, err end
    self.input = self.input .. (back or "")
    self.ended = self.ended or err
    rouse(self)
    return #data
end

--- The first `len` bytes of the input; `skip` more are dropped.
local function take(self, len, skip)
    local data = self.input:sub(1, len)
    self.input = self.input:sub(len + (skip or 0) + 1)
    return data
end

--- What find(self) gives as soon as it gives anything; or nil, why not, and what has come.
local function await(self, find)
    local deadline = now() + self.receiving
    while self.open do
        local data = find(self)
        if data then return data end
        local err, left = self.ended, deadline - now()
        if not err then
            self.waiting = waiter()
            err = (left <= 0 or not self.waiting:wait(left)) and "timeout"
        end
        if err then return nil, err, take(self, #self.input) end
    end
    return nil, "closed"
end

local FIND = {}

function FIND.line(self)
    local at, last = self.input:find "\r?\n"
    return at and take(self, at - 1, last - at + 1)
end

function FIND.all(self) return self.ended and take(self, #self.input) end

function Socket:receive(what)
    local find = FIND[what or "line"] or function() return #self.input >= what and take(self, what) end
    local data, err, rest = await(self, find)
    return data, err, rest
end

function Socket:receive_any(max)
    local data, err = await(self, function()
        local len = #self.input
        return len > 0 and take(self, max and max < len and max or len)
    end)
    return data, err
end

function Socket:settimeouts(sending, receiving)
    self.sending, self.receiving = sending, receiving or sending
end

function Socket:close()
    local was = self.open
    self.open = false
    rouse(self)
    if not was then return nil, "closed" end
    return true
end

Socket.setkeepalive = Socket.close
Socket.__close = Socket.close

function sol.socket.connect(url, options)
    if type(url) ~= "string" then error("sol.socket.connect: expected a URL, got a " .. type(url), 2) end
    local timeout = timeout_of(options)
    local ok, err = ask("socket", timeout, url)
    if not ok then return nil, err or "connection refused" end
    return connection(function(data, sending)
        local back, why = ask("socket", sending, url, data)
        if back == false then return nil, "closed" end
        if back == true then back = nil end
        return back, why
    end, timeout)
end

--- What sol.mqtt leaves to be said when its socket goes: nobody would hear it.
function native.farewell() end

-- ---- sol.redis ----------------------------------------------------------------------------------

--- A stub's value as Redis would write it.
local function encode(value)
    if value == nil then return "$-1\r\n" end
    if value == true then return "+OK\r\n" end
    if value == false then return ":0\r\n" end
    if math_type(value) == "integer" then return (":%d\r\n"):format(value) end
    if type(value) ~= "table" then
        local text = tostring(value)
        return ("$%d\r\n%s\r\n"):format(#text, text)
    end
    if value.err then return "-" .. tostring(value.err) .. "\r\n" end
    local pieces = {}
    for i = 1, value.n or #value do pieces[i] = encode(value[i]) end
    return ("*%d\r\n%s"):format(#pieces, concat(pieces))
end

--- The commands in what redis.lua sends.
local function commands_in(data)
    local at = 1
    local function word()
        local len, last = data:match("^[*$](%d+)\r\n()", at)
        at = last
        return tonumber(len)
    end
    return function()
        if at > #data then return nil end
        local command = {}
        for i = 1, word() do
            local len = word()
            command[i] = data:sub(at, at + len - 1)
            at = at + len + 2
        end
        return command
    end
end

-- What only a server needs to hear.
local GREETING = { AUTH = true, SELECT = true, HELLO = true }

function native.redis_connect(_, options)
    return connection(function(data, sending)
        local replies = {}
        for command in commands_in(data) do
            local results = pack(true)
            if not GREETING[command[1]:upper()] then results = pack(ask("redis", sending, command)) end
            local value, err = unpack(results, 1, 2)
            if value == nil and err == "timeout" then return nil, "timeout" end
            replies[#replies + 1] = encode(value == nil and err and { err = err } or value)
        end
        return concat(replies)
    end, timeout_of(options))
end

-- ---- sol.pg ---------------------------------------------------------------------------------------

local Postgres = {}
Postgres.__index = Postgres
Postgres.__metatable = false

--- What a stub leaves out of a result.
local function completed(rows)
    if not rows.columns then
        rows.columns = {}
        for name in pairs(rows[1] or {}) do rows.columns[#rows.columns + 1] = name end
        sort(rows.columns)
    end
    rows.affected = rows.affected or 0
    return rows
end

function Postgres:query(sql, ...)
    if type(sql) ~= "string" then error("sol.pg: expected SQL, got a " .. type(sql), 2) end
    if not self.open then return nil, "closed" end
    local rows, err = ask("pg", self.timeout, sql, { ... })
    if rows then return completed(rows) end
    if err == "timeout" then self.open = false end
    return nil, err or "connection refused"
end

Postgres.execute = Postgres.query

function Postgres:listen() -- luacheck: ignore 212
    sleep(0)
    return completed {}
end

function Postgres:receive(timeout) -- luacheck: ignore 212
    sleep(timeout or FOR_EVER)
    return nil, "timeout"
end

Postgres.close = Socket.close
Postgres.keepalive = Socket.close
Postgres.__close = Socket.close

function native.pg_connect(_, options)
    return setmetatable({ open = true, reused = 0, timeout = options.timeout }, Postgres)
end

return {}
