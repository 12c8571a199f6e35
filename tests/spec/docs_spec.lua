-- SPDX-License-Identifier: BSD-2-Clause
--
-- What is documented is what there is: settings, functions, fields, and the example file.

local broker = require "support.broker"

local function text_of(path)
    local text = broker.read_file(path)
    assert(#text > 0, path .. " cannot be read")
    return text
end

local META = text_of "lua/sol/meta.lua" .. text_of "lua/sol/meta_world.lua"

-- Name -> where it may stand, from the table that defines all settings.
local function settings()
    local places, found, count = { GLOBAL = "all", LISTEN = "listener", CLIENT = "client" }, {}, 0
    for row in text_of("src/script/settings.c"):match("settings%[%] = {\n(.-)\n};"):gmatch "{ (.-) }," do
        local where, name = row:match '^(%u+)[%u_]*%("?([%w_]+)'
        found[name] = assert(places[where], row)
        count = count + 1
    end
    assert(count > 30)
    return found
end

describe("the documents", function()
    it("know every setting", function()
        local docs, example = text_of "docs/configuration.md", text_of "sol.lua.example"
        local meta = META
        for name in pairs(settings()) do
            assert.truthy(docs:find("| `" .. name .. "` |", 1, true), name .. " is not in docs/configuration.md")
            assert.truthy(example:find("\n-- " .. name .. " *= "), name .. " is not in sol.lua.example")
            assert.truthy(meta:find("\n" .. name .. " = "), name .. " is not in lua/sol/meta.lua")
        end
    end)

    it("know where a setting may stand", function()
        local docs, meta = text_of "docs/configuration.md", META
        local at_listener = meta:match "@class sol.listen_options[^\n]*\n(.-)\n\n"
        local of_client = meta:match "@class sol.limits\n(.-)\n\n"
        for name, where in pairs(settings()) do
            local said = docs:match("| `" .. name .. "` |[^|\n]*|[^|\n]*| (%l+) |")
            if said or where ~= "all" then assert.equal(where, said, name) end
            local field = "@field " .. name .. "? "
            assert.equal(where == "client", of_client:find(field, 1, true) ~= nil, name)
            assert.equal(where == "listener", at_listener:find(field, 1, true) ~= nil, name)
        end
    end)

    it("know every function of sol", function()
        local said = broker.check [[
            local function list(t, prefix)
                for name, value in pairs(t) do
                    if type(value) == "table" then list(value, prefix .. name .. ".")
                    else print("has " .. prefix .. name) end
                end
            end
            list(sol, "sol.")
        ]]
        local docs, meta, count = text_of "docs/lua-api.md", META, 0
        for name in said:gmatch "has (sol%.[%w_.]+)" do
            local last = name:match "[%w_]+$"
            assert.truthy(docs:find(name, 1, true) or docs:find("[`.]" .. last .. "[(`]"),
                name .. " is not in docs/lua-api.md")
            assert.truthy(meta:find(name .. "(", 1, true) or meta:find(name .. " =", 1, true)
                or meta:find("@field " .. last .. " ", 1, true), name .. " is not in lua/sol/meta.lua")
            count = count + 1
        end
        assert.is_true(count > 30, "only " .. count .. " functions found in:\n" .. said)
    end)

    it("know every field of the objects", function()
        local docs, meta = text_of "docs/lua-api.md", META
        for _, path in ipairs { "lib_client.c", "obj_message.c", "obj_request.c", "lib_hook.c", "lib_time.c",
            "cosocket.c", "lib_pg.c", "lib_sqlite.c" } do
            for rows in text_of("src/script/" .. path):gmatch "struct field [%w_]+%[%] = {\n(.-)\n};" do
                for name in rows:gmatch '{ "([%w_]+)", get_' do
                    assert.truthy(docs:find("[`.]" .. name .. "`"), name .. " is not in docs/lua-api.md")
                    assert.truthy(meta:find("@field " .. name .. "%?? ")
                        or meta:find("@field readonly " .. name .. "%?? "), name .. " is not in lua/sol/meta.lua")
                end
            end
        end
    end)

    it("give the defaults as they are", function()
        -- every commented setting of the example, compared with what a policy reads
        local lines = {}
        for name, value in text_of("sol.lua.example"):gmatch "\n%-%- ([%l%d_]+) *= ([^\n]-) *%f[-\n]" do
            if name ~= "allow_anonymous" then
                lines[#lines + 1] = ("local d = %s if d == 'never' then d = math.huge end "
                    .. "if plain(%s) ~= plain(d) then error('%s is ' .. tostring(%s)) end")
                    :format(value, name, name, name)
            end
        end
        assert.is_true(#lines > 10)
        for i, line in ipairs(lines) do lines[i] = "do " .. line .. " end" end
        table.insert(lines, 1, "local function plain(v) return type(v) == 'table' and table.concat(v, ' ') or v end")
        local said, status = broker.check(table.concat(lines, "\n"))
        assert.equal(0, status, said)
    end)
end)

describe("sol.lua.example", function()
    it("is right as it is", function()
        local result = broker.sol("check", "-c", "sol.lua.example")
        assert.equal(0, result.status, result.stderr)
    end)

    it("is right with every setting and plugin in force", function()
        broker.with_dir(function(dir)
            local text = text_of("sol.lua.example"):gsub("\n%-%- ([%l%d_]+ *= )", "\n%1")
            broker.write_file(dir .. "/sol.lua", text)
            local result = broker.sol("check", "-c", dir .. "/sol.lua")
            assert.equal(0, result.status, result.stderr)
        end)
    end)

    it("runs", function()
        local text = text_of "sol.lua.example"
        broker.with_broker({ listen = (text:gsub("127%.0%.0%.1:1883", "127.0.0.1:$PORT")) }, function(b)
            b:client("c"):subscribe("t", 1):publish("t", "x"):expect_publish("t", "x")
        end)
    end)
end)
