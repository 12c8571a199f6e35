-- layers.lua -- who may include whom; `make layers` runs it in the top folder.
-- SPDX-License-Identifier: BSD-2-Clause
--
-- The table is the architecture: a folder of src/ may include the folders named in its
-- row and itself, and some system headers have one owner.

local MAY = {
    base = {},
    io = { "base" },
    mqtt = { "base" },
    core = { "base", "io", "mqtt" },
    store = { "base", "io", "mqtt", "core" },
    cluster = { "base", "io", "mqtt", "core" },
    script = { "base", "io", "mqtt", "core" },
    admin = { "base", "io", "mqtt", "core" },
}

-- Pattern of a system header -> pattern of the only files that may include it, or a list of
-- them.
local OWNER = {
    ["^sys/epoll%.h$"] = "^src/io/loop%.c$",
    ["^openssl/"] = "^src/io/tls%.c$",
    ["^ares%.h$"] = "^src/io/resolver%.c$",
    ["^curl/"] = "^src/io/fetch%.c$",
    ["^libpq"] = "^src/script/pg%.c$",
    ["^lua"] = "^src/script/",
    ["^lauxlib%.h$"] = "^src/script/",
    ["^sqlite3%.h$"] = { "^src/store/", "^src/script/sqlite%.c$" }, -- ours; the user's own files
    ["^nats"] = "^src/cluster/",
    ["^histedit%.h$"] = "^src/admin/edit%.c$",
    ["^microhttpd%.h$"] = "^src/admin/",
    ["^uuid/"] = "^src/base/uuid%.c$",
    ["^jansson%.h$"] = "^src/script/",
    ["^sodium%.h$"] = "^src/script/",
    ["^jwt%.h$"] = "^src/script/",
}

-- Calls with one owner: threads start in one place; Lua is entered through two doors.
local CALLS = {
    { "pthread_create%s*%(", "^src/core/worker%.c$" },
    { "lua_pcallk?%s*%(", "^src/script/vm%.c$" },
    { "lua_resume%s*%(", "^src/script/vm%.c$" },
    { "epoll_ctl%s*%(", "^src/io/loop%.c$" },
}

local faults = 0
local function fault(file, line, ...)
    faults = faults + 1
    print(("%s:%d: %s"):format(file, line, string.format(...)))
end

local function allowed(layer, target)
    if layer == target then return true end
    for _, name in ipairs(MAY[layer]) do
        if name == target then return true end
    end
    return false
end

local function check_include(file, line, layer, header)
    local target = header:match("^([%w_]+)/")
    if MAY[target] and not allowed(layer, target) then
        fault(file, line, "%s may not include %s", layer, header)
    end
end

local function is_owner(file, owner)
    for _, pattern in ipairs(type(owner) == "table" and owner or { owner }) do
        if file:match(pattern) then return true end
    end
    return false
end

local function check_owner(file, line, header)
    for pattern, owner in pairs(OWNER) do
        if header:match(pattern) and not is_owner(file, owner) then
            local names = type(owner) == "table" and table.concat(owner, " and ") or owner
            fault(file, line, "<%s> belongs to %s alone", header, (names:gsub("[%^%%$]", "")))
        end
    end
end

local function check_calls(file, line, text)
    for _, row in ipairs(CALLS) do
        if text:match(row[1]) and not file:match(row[2]) then
            fault(file, line, "%s belongs to %s alone", text:match("[%w_]+%s*%("),
                (row[2]:gsub("[%^%%$]", "")))
        end
    end
end

local files = 0
local list = assert(io.popen("find src -name '*.[ch]' | LC_ALL=C sort"))
for file in list:lines() do
    local layer = file:match("^src/([%w_]+)/")
    local n = 0
    files = files + 1
    for text in io.lines(file) do
        n = n + 1
        local own = text:match('^%s*#%s*include%s+"([^"]+)"')
        local system = text:match("^%s*#%s*include%s+<([^>]+)>")
        if own and layer then check_include(file, n, layer, own) end
        if system then check_owner(file, n, system) end
        if layer and not text:match("^%s*[/ ]%*") then check_calls(file, n, text) end
    end
end
list:close()

print(("layers: %d files, %d faults"):format(files, faults))
os.exit(faults == 0)
