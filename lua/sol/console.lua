-- SPDX-License-Identifier: BSD-2-Clause
--
-- console.lua -- what `sol console` asks in a worker's VM: run this, complete that.
--
-- Loaded when it is first asked. Every connection has an environment of its own, which lasts
-- as long as the connection and the policy; behind it lies sol.lua's. What is printed
-- goes to who asked, values are shown as Lua would write them, lists of rows as a table.

---@class console_native
---@field load fun(chunk: string, name: string, mode: string, env: table): function?, string?
---@field env table                              sol.lua's environment
---@field builtins table                         the names it has besides settings
---@field sol table
---@field say fun(text: string): boolean         to who asked; false: they do not read
---@field describe fun(value: any): string?, string[], string[]  an object's type, fields, methods
---@field timers fun(): table[]
---@field parked fun(): table[]
---@field closures fun(limit: integer, name: string?): table[], integer
---@field reload fun(): boolean?, string
local native = ...

local error, getmetatable, ipairs, math_type, next, pairs, pcall, select, setmetatable, tostring, type =
    error, getmetatable, ipairs, math.type, next, pairs, pcall, select, setmetatable, tostring, type
local concat, pack, sort, unpack = table.concat, table.pack, table.sort, table.unpack
local sol = native.sol

local ROWS = 200       -- of a table that is shown
local COLUMNS = 12
local ENTRIES = 100    -- of a value that is no list of rows
local DEPTH = 4
local CELL = 60        -- bytes
local TEXT = 64 * 1024 -- bytes of one string
local CLOSURES = 1000

-- ---- showing values -----------------------------------------------------------------

local KEYWORDS = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or
    repeat return then true until while]]):gmatch "%a+" do KEYWORDS[word] = true end

local function is_name(key)
    return type(key) == "string" and key:find "^[%a_][%w_]*$" ~= nil and not KEYWORDS[key]
end

--- At most `most` bytes, whole characters.
local function cut(text, most)
    if #text <= most then return text end
    local at = most - 3
    while at > 0 and text:byte(at + 1) >= 0x80 and text:byte(at + 1) < 0xC0 do at = at - 1 end
    return text:sub(1, at) .. "..."
end

local ESCAPES = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\\"] = "\\\\", ['"'] = '\\"' }

local function escape(char) return ESCAPES[char] or ("\\%03d"):format(char:byte()) end

local function quote(text) return '"' .. cut(text, TEXT):gsub('[%c\\"]', escape) .. '"' end

local function number(n) return math_type(n) == "integer" and tostring(n) or ("%.14g"):format(n) end

local show

--- The fields of a table or object as { name, value } rows, sorted; and what it is called.
local function entries(value)
    local list, kind, fields = {}, native.describe(value)
    for _, name in ipairs(fields or {}) do list[#list + 1] = { name, value[name] } end
    if #list > 0 then return list, kind .. " " end
    local len = kind and 0 or #value
    for i = 1, len do list[i] = { i, value[i] } end
    local named = {}
    for key, v in pairs(value) do
        if not (math_type(key) == "integer" and key >= 1 and key <= len) then named[#named + 1] = { key, v } end
        if #named > ENTRIES then break end
    end
    sort(named, function(a, b) return tostring(a[1]) < tostring(b[1]) end)
    for _, row in ipairs(named) do list[#list + 1] = row end
    return list, kind and kind .. " " or ""
end

local function show_key(key, position)
    if key == position then return "" end
    if is_name(key) then return key .. " = " end
    return ("[%s] = "):format(show(key, DEPTH))
end

--- A table or object as a constructor.
local function show_fields(value, depth)
    if depth >= DEPTH then return "{...}" end
    local list, kind = entries(value)
    local parts, length = {}, 0
    for i, row in ipairs(list) do
        if i > ENTRIES then
            parts[i] = "..."
            break
        end
        parts[i] = show_key(row[1], i) .. show(row[2], depth + 1)
        length = length + #parts[i] + 2
    end
    if #parts == 0 then return kind .. "{}" end
    if length + 2 * depth <= 72 then return kind .. "{ " .. concat(parts, ", ") .. " }" end
    local indent = ("  "):rep(depth + 1)
    return kind .. "{\n" .. indent .. concat(parts, ",\n" .. indent) .. "\n" .. ("  "):rep(depth) .. "}"
end

--- Any value, as Lua would write it where it can.
function show(value, depth)
    local kind = type(value)
    if kind == "string" then return quote(value) end
    if kind == "number" then return number(value) end
    if kind == "table" or kind == "userdata" and native.describe(value) then
        local ok, text = pcall(show_fields, value, depth)
        return ok and text or ("<%s: %s>"):format(kind, tostring(text))
    end
    return kind == "function" and "<function>" or tostring(value)
end

-- ---- lists of rows --------------------------------------------------------------------

-- The columns of lists that commands give.
local layouts = setmetatable({}, { __mode = "k" })

local function with_layout(list, ...)
    layouts[list] = { ... }
    return list
end

local CLIENT = { "id", "username", "address", "version", "connected", "clean_start", "keep_alive", "listener" }

local function cell(value)
    if value == nil then return "-" end
    if type(value) == "string" then return cut((value:gsub("%c", escape)), CELL) end
    if math_type(value) == "float" then return ("%.6g"):format(value) end
    return cut((show(value, DEPTH):gsub("%c", " ")), CELL)
end

--- All columns of plain rows, sorted; nil when a row is something else.
local function columns_of(list)
    local seen, names = {}, {}
    for i = 1, math.min(#list, ROWS) do
        if type(list[i]) ~= "table" or #list[i] > 0 or getmetatable(list[i]) ~= nil then return nil end
        for name, value in next, list[i] do
            if not is_name(name) or type(value) == "table" or #names == COLUMNS then return nil end
            if not seen[name] then names[#names + 1] = name end
            seen[name] = true
        end
    end
    sort(names)
    return #names > 0 and names or nil
end

--- How the list is laid out as a table; nil: it is not one.
local function layout_of(list)
    if layouts[list] then return layouts[list] end
    if type(list[1]) == "userdata" and native.describe(list[1]) == "client" then return CLIENT end
    return next(list) ~= nil and columns_of(list) or nil
end

local function width_of(text) return utf8.len(text) or #text end

local function show_rows(list, columns)
    if #list == 0 then return "(none)" end
    local rows, widths = { columns }, {}
    for i = 1, math.min(#list, ROWS) do
        local row = {}
        for c, name in ipairs(columns) do row[c] = cell(list[i][name]) end
        rows[i + 1] = row
    end
    for c in ipairs(columns) do
        widths[c] = 0
        for _, row in ipairs(rows) do widths[c] = math.max(widths[c], width_of(row[c])) end
    end
    for i, row in ipairs(rows) do
        for c, text in ipairs(row) do row[c] = text .. (" "):rep(widths[c] - width_of(text)) end
        rows[i] = concat(row, "  "):gsub(" +$", "")
    end
    if #list > ROWS then rows[#rows + 1] = ("... and %d more"):format(#list - ROWS) end
    return concat(rows, "\n")
end

--- A result as it stands on a line of its own.
local function show_result(value)
    if type(value) == "string" then return cut(value, TEXT) end
    local ok, columns = pcall(function() return type(value) == "table" and layout_of(value) end)
    if ok and columns then return show_rows(value, columns) end
    return show(value, 0)
end

-- ---- commands -------------------------------------------------------------------------

local commands = {}

--- clients(), clients{...}: those of sol.clients, one row each.
function commands.clients(filter) return with_layout(sol.clients(filter), unpack(CLIENT)) end

--- client "id": that client, or nil.
function commands.client(id) return sol.client(id) end

--- hooks(): this worker's handlers, and what has become of their calls.
function commands.hooks()
    return with_layout(sol.hooks(), "event", "name", "priority", "calls", "errors", "timeouts", "waits", "mean")
end

--- top(), top "calls": the handlers that cost most, by estimated microseconds or by calls.
function commands.top(by)
    if by ~= nil and by ~= "us" and by ~= "calls" then error("top: expected \"us\" or \"calls\"", 0) end
    local list = {}
    for _, hook in ipairs(sol.hooks()) do
        local us = hook.mean * 1e6
        list[#list + 1] = { event = hook.event, name = hook.name, calls = hook.calls, us_each = us,
            us = math.floor(us * hook.calls), errors = hook.errors }
    end
    by = by or "us"
    sort(list, function(a, b)
        if a[by] ~= b[by] then return a[by] > b[by] end
        return a.name < b.name
    end)
    return with_layout(list, "name", "event", "calls", "us", "us_each", "errors")
end

--- timers(): what sol.after and sol.every have set on this worker; seconds.
function commands.timers() return with_layout(native.timers(), "name", "due", "period", "busy") end

-- A frame of a traceback: where, and what it is called there.
local FRAME = "^%s*(.-): in (.*)$"

--- What a parked task waits for, and the line of the policy that does.
local function place(traceback)
    local waits_for
    for line in traceback:gmatch "[^\n]+" do
        local where, what = line:match(FRAME)
        local name = what and (what:match "'(.-)'" or what)
        if where and where ~= "[C]" and where:sub(1, 4) ~= "sol/" then return waits_for, where end
        if where then waits_for = name end
    end
    return waits_for, nil
end

--- parked(): who waits on this worker, for what, since when.
function commands.parked()
    local list = native.parked()
    for _, row in ipairs(list) do
        row.waits_for, row.at = place(row.traceback)
        row.traceback = nil
    end
    sort(list, function(a, b) return a.seconds > b.seconds end)
    return with_layout(list, "seconds", "what", "client", "waits_for", "at")
end

--- closures(), closures "name": what this worker's loop runs, by UUID.
function commands.closures(name)
    if name ~= nil and type(name) ~= "string" then error("closures: expected a name", 0) end
    local list, total = native.closures(CLOSURES, name)
    if total > #list then native.say(("the first %d of %d\n"):format(#list, total)) end
    return with_layout(list, "uuid", "kind", "name", "due", "fd")
end

--- reload(): as `sol reload`; what came of it, or nil and where the fault is.
function commands.reload()
    local ok, text = native.reload()
    if ok then return text end
    return nil, text
end

local HELP = [[
clients()      who is connected or has a session; clients{ username = "u" }, as sol.clients
client "id"    one of them, with all its fields
hooks()        this worker's handlers and their calls;  top(), top "calls": the costliest first
timers()       what sol.after and sol.every have set
parked()       who waits, for what, since when
closures()     what the loop runs, by UUID; closures "connection"
reload()       read the policy again
print(...)     comes here;  sol, require and the settings are as in sol.lua
]]

function commands.help() native.say(HELP) end

-- ---- environments ------------------------------------------------------------------------

local environments = {} -- of connections, by number

local function print_here(...)
    local words = {}
    for i = 1, select("#", ...) do words[i] = tostring((select(i, ...))) end
    if not native.say(concat(words, "\t") .. "\n") then error("what is printed here is not read", 2) end
end

local function environment(peer)
    if environments[peer] then return environments[peer] end
    local env = { print = print_here }
    for name, command in pairs(commands) do env[name] = command end
    env._G = env
    environments[peer] = setmetatable(env, { __index = native.env })
    return env
end

-- ---- what is asked --------------------------------------------------------------------------

local M = {}

local function compile(code, env)
    local chunk = native.load("return " .. code, "=console", "t", env)
    if chunk then return chunk end
    return native.load(code, "=console", "t", env)
end

local function shown(...)
    local values = pack(...)
    for i = 1, values.n do values[i] = show_result(values[i]) end
    return concat(values, "\n", 1, values.n)
end

--- Runs it: the text of its results; or nil and what is wrong with its syntax.
function M.eval(code, peer)
    local input, err = compile(code, environment(peer))
    if not input then return nil, err end
    return shown(input())
end

--- Is there more to come?
function M.parse(code)
    local chunk, err = compile(code, {})
    return not chunk and err:find "<eof>['\"]?$" and "part" or "whole"
end

local function add_names(names, list, prefix)
    for _, name in ipairs(list) do
        if is_name(name) and name:sub(1, #prefix) == prefix then names[name] = true end
    end
end

local function keys_of(value)
    local list = {}
    for key in pairs(value) do list[#list + 1] = key end
    return list
end

--- The members of a value that may follow `separator`.
local function members(value, separator)
    local kind, fields, methods = native.describe(value)
    if kind then return separator == ":" and methods or fields end
    if type(value) == "string" then return separator == ":" and keys_of(string) or {} end
    return type(value) == "table" and keys_of(value) or {}
end

--- How a line may go on: the length of the word that is replaced, then the words, a line each.
function M.complete(line, peer)
    local env, names = environment(peer), {}
    local path, separator, prefix = line:match "([%a_][%w_.:]*)([.:])([%w_]*)$"
    if not path and line:find "[.:)%]][%w_]*$" then return "0" end -- of what has no name
    if not path then
        prefix = line:match "[%a_][%w_]*$" or ""
        add_names(names, keys_of(env), prefix)
        add_names(names, keys_of(native.builtins), prefix)
        for word in pairs(KEYWORDS) do names[word] = word:sub(1, #prefix) == prefix or nil end
    else
        local value = env
        for name in path:gmatch "[%w_]+" do
            local ok, member = pcall(function() return value[name] end)
            value = ok and member or nil
            if value == nil then return "0" end
        end
        local ok, list = pcall(members, value, separator)
        add_names(names, ok and list or {}, prefix)
    end
    local list = keys_of(names)
    sort(list)
    return concat({ tostring(#prefix), unpack(list, 1, math.min(#list, ROWS)) }, "\n")
end

--- The connection has gone.
function M.forget(peer) environments[peer] = nil end

return M
