-- SPDX-License-Identifier: BSD-2-Clause
--
-- embed.lua -- makes embed.c of Lua files: lua5.4 embed.lua OUT.c FILE.lua...
--
-- The Makefile leaves out meta*.lua, which is for editors only.

local function read(path)
    local file <close> = assert(io.open(path, "rb"))
    return file:read "a"
end

--- A C string literal, one source line a line.
local function literal(text)
    local escaped = text:gsub('[\\"]', "\\%0"):gsub("[^\n\32-\126]", function(c)
        return ("\\%03o"):format(c:byte())
    end)
    return '"' .. escaped:gsub("\n", '\\n"\n        "') .. '"'
end

local out <close> = assert(io.open(arg[1], "wb"))
out:write('/* Made by embed.lua: do not edit. */\n#include "script/embed.h"\n\n',
    "const struct embedded embedded_lua[] = {\n")
for i = 2, #arg do
    local name = arg[i]:match "([^/]+)%.lua$"
    local text = read(arg[i])
    out:write(('    { "%s",\n        %s,\n        %d },\n'):format(name, literal(text), #text))
end
out:write("    { NULL, NULL, 0 },\n};\n")
