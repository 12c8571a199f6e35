-- SPDX-License-Identifier: BSD-2-Clause
--
-- prelude.lua -- how a policy is put together: environments, require, plugins.
--
-- Runs once in every VM before sol.lua, with the C side's primitives.  Every plugin gets
-- an environment of its own, so that no global of one is seen by another; so does every
-- module that one of them requires.

---@class native
---@field globals table                        what every environment inherits
---@field sol table
---@field folder string                        of sol.lua
---@field plugin_path string[]                 folders
---@field load fun(chunk: string|function, name: string?, mode: string, env: table)
---@field load_file fun(path: string, env: table): function?, string?
---@field kind fun(path: string): "file"|"folder"|nil
---@field list fun(folder: string): string[]
---@field suggest fun(word: string, names: string[]): string
---@field is_loading fun(): boolean
local native = ...

-- Lua's own functions: an environment may replace its entries, not ours.
local error, ipairs, pairs, pcall, select, setmetatable, tostring, type =
    error, ipairs, pairs, pcall, select, setmetatable, tostring, type
local concat, sort = table.concat, table.sort

local function join(folder, path)
    if path:sub(1, 1) == "/" or folder == "." then return path end
    return folder .. "/" .. path
end

local function names_of(t)
    local names = {}
    for name in pairs(t) do
        if type(name) == "string" then names[#names + 1] = name end
    end
    sort(names)
    return names
end

--- A value as it should appear in an error.
local function show(value)
    if type(value) == "string" then return ("%q"):format(value) end
    return tostring(value)
end

local CHUNK_MAX = 1 << 20 -- bytes that load compiles at once: no budget reaches the compiler

-- ---- environments ------------------------------------------------------------------

local environment

--- `load` for one environment: text only, and globals are that environment's.
local function loader(env)
    return function(chunk, name, mode, own, ...)
        if type(chunk) == "string" and #chunk > CHUNK_MAX then error("load: longer than 1 MiB", 2) end
        if mode ~= nil and mode ~= "t" and mode ~= "bt" then
            error("load: only text can be loaded (mode \"t\")", 2)
        end
        local given = own ~= nil or select("#", ...) > 0
        return native.load(chunk, name, "t", given and own or env)
    end
end

-- Libraries that people look for; they would hold up the broker. What is there in their place.
local INSTEAD = { socket = "sol.socket", ssl = "sol.socket", http = "sol.http", redis = "sol.redis", pgmoon = "sol.pg",
    luasql = "sol.pg", cjson = "sol.json", dkjson = "sol.json", lfs = "", posix = "", cqueues = "" }

--- What to say of a name that is no module beside the file.
local function advice(name)
    local instead = INSTEAD[name:match "^[^.]+"]
    if instead == "" then return "; a library that blocks would hold up every client: see what in sol waits" end
    return instead and ("; %s is there already"):format(instead) or ""
end

--- `require` for one folder: "sol", or a module beside the file that asks.
local function requirer(folder)
    local loaded, loading = { sol = native.sol }, {}
    return function(name)
        if type(name) ~= "string" then
            error("require: expected a module's name, got a " .. type(name), 2)
        end
        if loaded[name] ~= nil then return loaded[name] end
        if loading[name] then error(("module %q requires itself"):format(name), 2) end
        local base = join(folder, (name:gsub("%.", "/")))
        local path = base .. ".lua"
        if native.kind(path) ~= "file" then path = base .. "/init.lua" end
        if name:find("..", 1, true) or native.kind(path) ~= "file" then
            error(("module %q not found: there is no %s.lua, and \"sol\" is the only library%s")
                :format(name, base, advice(name)), 2)
        end
        local chunk, err = native.load_file(path, environment(folder))
        if not chunk then error(err, 0) end
        loading[name] = true
        local ok, value = pcall(chunk, name, path)
        loading[name] = nil
        if not ok then error(value, 0) end
        if value == nil then value = true end
        loaded[name] = value
        return value
    end
end

local LIBRARIES = { "coroutine", "debug", "math", "os", "string", "table", "utf8" }

--- Adds to `env` what belongs to it alone: what it puts into a library, others do not see.
local function furnish(env, itself, folder)
    for _, library in ipairs(LIBRARIES) do
        local own = {}
        for name, value in pairs(native.globals[library]) do own[name] = value end
        env[library] = own
    end
    env._G = itself
    env.load = loader(itself)
    env.require = requirer(folder)
    return env
end

--- A plugin's or module's environment.
function environment(folder)
    local env = {}
    return setmetatable(furnish(env, env, folder), { __index = native.globals, __metatable = false })
end

-- ---- plugins -----------------------------------------------------------------------

--- The file to load for a plugin's name or path, and its folder; or nil and where it was
--- looked for.
local function find_in(base)
    if native.kind(base) == "folder" and native.kind(base .. "/init.lua") == "file" then
        return base .. "/init.lua", base
    end
    if native.kind(base .. ".lua") == "file" then return base .. ".lua", base:match "^(.*)/" or "." end
    if base:find "%.lua$" and native.kind(base) == "file" then return base, base:match "^(.*)/" or "." end
end

--- The nearest name among the plugins there are.
local function nearest(name)
    local names = {}
    for _, folder in ipairs(native.plugin_path) do
        for _, entry in ipairs(native.list(folder)) do
            local base = join(folder, entry)
            if find_in(base) then names[#names + 1] = entry:gsub("%.lua$", "") end
        end
    end
    return native.suggest(name, names)
end

local function find(name)
    if name:find("/", 1, true) then
        local path, folder = find_in(join(native.folder, name))
        if path then return path, folder end
        error(("plugin %q not found: there is no %s"):format(name, join(native.folder, name)), 3)
    end
    for _, where in ipairs(native.plugin_path) do
        local path, folder = find_in(join(where, name))
        if path then return path, folder end
    end
    error(("plugin %q not found in %s%s"):format(name, concat(native.plugin_path, ", "), nearest(name)), 3)
end

--- `given` with the defaults for what it leaves out; or nil and what is wrong.
local function merge(defaults, given)
    local options = {}
    for name, value in pairs(defaults) do options[name] = value end
    for name, value in pairs(given) do
        local default = defaults[name]
        if default == nil then
            local names = names_of(defaults)
            local near = native.suggest(tostring(name), names)
            if near == "" and #names > 0 then near = "; it knows " .. concat(names, ", ") end
            return nil, ("unknown option %s (= %s)%s"):format(show(name), show(value), near)
        end
        local wants = type(default)
        if wants ~= "table" and wants ~= "function" and type(value) ~= wants then
            return nil, ("option %s must be a %s, not %s"):format(name, wants, show(value))
        end
        options[name] = value
    end
    return options
end

--- Runs fn(...); an error of its own is told with the plugin's name at sol.lua's line.
local function guarded(name, fn, ...)
    local ok, result = pcall(fn, ...)
    if ok then return result end
    error(("plugin %q: %s"):format(name, tostring(result)), 3)
end

--- plugin(name or path, options): loads it and calls its setup.
local function plugin(name, given)
    if type(name) ~= "string" then error("plugin: expected a name or path, got a " .. type(name), 2) end
    if not native.is_loading() then error(("plugin %q: plugins are loaded with the policy"):format(name), 2) end
    if given ~= nil and type(given) ~= "table" then
        error(("plugin %q: options must be a table, not %s"):format(name, show(given)), 2)
    end
    local path, folder = find(name)
    local chunk, err = native.load_file(path, environment(folder))
    if not chunk then error(("plugin %q: %s"):format(name, err), 2) end
    local module = guarded(name, chunk, name, path)
    if type(module) ~= "table" or type(module.setup) ~= "function" then
        error(("plugin %q: %s must return a table with a function `setup`"):format(name, path), 2)
    end
    if module.defaults ~= nil and type(module.defaults) ~= "table" then
        error(("plugin %q: `defaults` of %s must be a table, not %s"):format(name, path, show(module.defaults)), 2)
    end
    local options, wrong = merge(module.defaults or {}, given or {})
    if not options then error(("plugin %q: %s"):format(name, wrong), 2) end
    guarded(name, module.setup, options)
end

-- What sol.lua's environment has: one table, so that a name is found at once.
local builtins = { plugin = plugin }
for name, value in pairs(native.globals) do builtins[name] = value end

return { furnish = furnish, builtins = builtins }
