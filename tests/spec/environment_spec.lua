-- SPDX-License-Identifier: BSD-2-Clause
--
-- What one part of a policy does to its environment is its own affair, and mistakes in
-- spelling are told where they are made.

local broker = require "support.broker"
local with_broker = broker.with_broker

local VANDAL = [[
    local sol = require "sol"
    return { setup = function()
        mine = "global"
        string.format, string.split = nil, function() return "split" end
        table.concat, math.floor, os.time = print, nil, nil
        coroutine.wrap, utf8.char, debug.traceback = nil, nil, nil
        print = error
        for _, t in ipairs { sol, sol.topic, sol.json, sol.log, io } do
            assert(not pcall(rawset, t, "x", 1) and not pcall(function() t.x = 1 end))
            assert(not pcall(setmetatable, t, {}) and next(t) == nil)
        end
        assert(not pcall(function() sol.deny = nil end))
        assert(string.split "x" == "split" and string.format == nil)
    end }
]]

local LOOKS_INTACT = [[
    assert(mine == nil and string.split == nil)
    assert(string.format("%d", 7) == "7" and ("%d"):format(7) == "7")
    assert(table.concat { 1, 2 } == "12" and math.floor(1.5) == 1 and os.time())
    assert(coroutine.wrap and utf8.char and debug.traceback and sol.deny)
    assert(rawget(sol, "x") == nil)
    print "intact"
]]

describe("an environment", function()
    it("keeps what a plugin does to libraries from the others", function()
        local victim = "local sol = require 'sol' return { setup = function() " .. LOOKS_INTACT .. " end }"
        local said = broker.check([[
            plugin "./vandal"
            local rawget = rawget
            local function look(mine, print) ]] .. LOOKS_INTACT .. [[ end
            look(nil, print)
            plugin "./victim"
        ]], { ["vandal.lua"] = VANDAL, ["victim.lua"] = victim })
        local _, times = said:gsub("intact", "")
        assert.equal(2, times, said)
    end)

    it("keeps what sol.lua does to libraries from plugins", function()
        local said = broker.check([[
            string.format, table.concat, math.floor = nil, nil, nil
            plugin "./victim"
        ]], { ["victim.lua"] = "local sol = require 'sol' return { setup = function() " .. LOOKS_INTACT .. " end }" })
        assert.matches("intact", said)
    end)

    it("tells mistakes about sol with their place and what was meant", function()
        for line, expected in pairs {
            ["sol.onn('publish', print)"] = 'sol has no member "onn"; did you mean "on"?',
            ["sol.topic.mach('a', 'a')"] = 'sol.topic has no member "mach"; did you mean "match"?',
            ["sol.log_level = 'debug'"] = 'sol.log_level cannot be assigned: it is a setting, written "log_level =',
            ["sol.log_levl = 'debug'"] = 'sol.log_levl cannot be assigned; did you mean "log_level"?',
            ["sol.publish = print"] = "sol.publish cannot be replaced",
            ["sol.log.info('%d', 'x')"] = "bad argument #2 to 'string.format' (number expected, got string)",
            ["sol.log('%d %d', 1)"] = "bad argument #3 to 'string.format'",
            ["require 'socket.http'"] = 'module "socket.http" not found: there is no',
            ["io.popen 'ls'"] = "io.popen is not available in a policy: a policy cannot start programs",
        } do
            broker.refuses("\n" .. line, "sol.lua:2: " .. expected)
        end
    end)

    it("says why a blocking library is not there", function()
        assert.matches("would hold up every client", broker.check "require 'lfs'")
        assert.matches("sol.socket is there already", broker.check "require 'socket.http'")
        assert.matches("sol.json is there already", broker.check "require 'cjson'")
        assert.matches('"sol" is the only library\n', broker.check "require 'mine'")
    end)

    it("names a plugin's missing file without the plugin's own places", function()
        for _, name in ipairs { "acl", "password_file" } do
            local said = broker.check(("\nplugin(%q, { path = '/nowhere/x' })"):format(name))
            assert.truthy(said:find(('sol.lua:2: plugin "%s": /nowhere/x: No such file'):format(name), 1, true), said)
        end
    end)
end)

describe("greed in C functions", function()
    local GREED = {
        "string.rep('x', 250 << 20)",
        "string.rep('xy', 1 << 40, 'z')",
        "table.concat(setmetatable({}, { __index = function() return '' end }), '', 1, 1e15 // 1 | 0)",
        "utf8.len(('x'):rep(60 << 20))",
        "('%d'):rep(1 << 20):format(1)",
        "os.date(('%c'):rep(1 << 20))",
        "('x'):rep(60 << 20):gsub('x', 'yy')",
        "('a'):rep(100000):find(('a?'):rep(1000) .. 'b')",
        "table.unpack({}, 1, 1e9 // 1 | 0)",
        "table.sort(setmetatable({}, { __index = function() return 1 end }))",
        "sol.topic.parse(('/'):rep(60 << 20))",
        "local s = 'x' while true do s = s .. s end",
        "('x'):rep(60 << 20):lower():upper():reverse():byte(1, -1)",
    }

    it("ends with an error, and the next message finds all in order", function()
        local handlers = {}
        for i, code in ipairs(GREED) do
            handlers[i] = ("sol.on('publish', 'greed/%d', function() %s end)"):format(i, code)
        end
        with_broker({ config = table.concat(handlers, "\n")
            .. "\nsol.on('publish', 'good', function(_, m) m.payload = m.payload:rep(2) end)" }, function(b)
            local c = b:client("c"):subscribe("good", 0)
            for i in ipairs(GREED) do
                c:publish("greed/" .. i, "x"):publish("good", tostring(i))
                c:expect_publish("good", tostring(i):rep(2))
            end
            local _, failed = b:log():gsub("publish handler [^\n]-failed", "")
            assert.is_true(failed >= #GREED - 2, b:log())
        end)
    end)
end)
