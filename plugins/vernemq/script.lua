-- SPDX-License-Identifier: BSD-2-Clause
--
-- script.lua -- the script's states: copies of its globals, each lent to one call at a time.
--
-- A VerneMQ script keeps what it works with in globals and expects nobody in between while
-- it waits for its database.  So it is loaded several times, and a call has a copy to itself
-- until it returns; who finds none free waits in line.  Unless the script sets keep_state,
-- globals it sets during a call are forgotten afterwards, as VerneMQ forgets them.

local library = require "library"
local sol = require "sol"

local M = {}

local DEFAULT_STATES, MAX_STATES = 10, 100

--- `require` of a script: files from the folder it lies in, then what this plugin brings; they
--- share the script's globals.
local function requirer(folder, here, env)
    local loaded = {}
    return function(name)
        if loaded[name] ~= nil then return loaded[name] end
        if name:find("..", 1, true) then error("require: " .. name .. ": no such file", 2) end
        local file = name:gsub("%.", "/") .. ".lua"
        local text = sol.read_file(folder .. file) or sol.read_file(here .. file)
        if not text then
            error(("require: there is no %s%s; copy it there from VerneMQ's share/lua"):format(folder, file), 2)
        end
        local value = assert(load(text, "@" .. folder .. file, "t", env))(name)
        loaded[name] = value == nil or value
        return loaded[name]
    end
end

--- One state: { globals =, base =, hooks =, keep = }.
local function load_state(source, shared, number)
    local state, env = {}, {}
    local path, folder = source.path, source.path:match "^(.*/)" or ""
    local base = library.globals(source.options, shared, state)
    base._G, base.__SCRIPT_INSTANCE_ID__ = env, number
    base.package = { path = folder .. "?.lua", loaded = {} }
    base.require = requirer(folder, source.here, env)
    base.load = function(chunk, name, _, own) return load(chunk, name, "t", own or env) end
    setmetatable(env, { __index = base })
    local chunk, err = load(source.text, "@" .. path, "t", env)
    if not chunk then error(err, 0) end
    chunk()
    if type(env.hooks) ~= "table" then error(path .. " sets no global table `hooks`", 0) end
    state.globals, state.base, state.hooks, state.keep = env, base, env.hooks, env.keep_state == true
    for name, value in pairs(env) do base[name] = value end -- what a call sets lies before it
    for name in pairs(base) do env[name] = nil end
    return state
end

local Script = {}
Script.__index = Script

function Script:has(hook) return type(self.states[1].hooks[hook]) == "function" end

--- What the hook returns for these arguments, and what it put into auth_cache meanwhile.  *Waits*
--- for a free state, and with the script.
---@return any result, table<string, string> inserted
function Script:call(hook, args)
    local _ <close> = assert(self.turns:acquire())
    local state <close> = setmetatable(table.remove(self.free), self.lent)
    state.inserted = {}
    return state.hooks[hook](args), state.inserted
end

--- A call has returned, or was cut off while it waited.
function Script:give_back(state)
    if not state.keep then
        for name in pairs(state.globals) do state.globals[name] = nil end
    end
    state.inserted = nil
    self.free[#self.free + 1] = state
end

---@param path string the script
---@param here string this plugin's folder
---@param options table of the plugin
function M.load(path, here, options)
    local text, err = sol.read_file(path)
    if not text then error(err, 0) end
    local source, shared = { text = text, path = path, here = here, options = options }, library.shared()
    local script = setmetatable({ states = {}, free = {}, cache = shared.cache }, Script)
    local first = load_state(source, shared, 1)
    local count = first.base.num_states or (first.keep and 1 or DEFAULT_STATES)
    if math.type(count) ~= "integer" or count < 1 or count > MAX_STATES then
        error(("%s: num_states must be an integer from 1 to %d"):format(path, MAX_STATES), 0)
    end
    script.states[1] = first
    for n = 2, count do script.states[n] = load_state(source, shared, n) end
    for n, state in ipairs(script.states) do script.free[n] = state end
    script.turns = sol.semaphore(count)
    script.lent = { __close = function(state) script:give_back(state) end }
    return script
end

return M
