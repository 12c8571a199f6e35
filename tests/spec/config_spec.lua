-- SPDX-License-Identifier: BSD-2-Clause
--
-- sol.lua and the command line: what is accepted, and how what is wrong is said.

local broker = require "support.broker"
local proc = require "support.proc"

local sol, with_broker = broker.sol, broker.with_broker

describe("sol check", function()
    it("accepts an empty file", function()
        local said, status = broker.check ""
        assert.equal(0, status, said)
    end)

    it("accepts every setting", function()
        local said, status = broker.check [[
            listen "mqtt://127.0.0.1:1883"
            listen { "mqtt://127.0.0.1:1884", backlog = 100 }
            listen "unix:///tmp/never-opened.sock"
            allow_anonymous = false
            default_access = "deny"
            max_packet_size = 100000
            max_connections = 1000
            max_inflight = 10
            max_queued = 100
            max_topic_length = 1000
            max_payload_size = 50000
            max_qos = 1
            max_keepalive = 3600
            max_subscriptions = 50
            max_inflight_bytes = 1e6
            message_rate = 100
            byte_rate = 64 * 1024
            drop = "oldest"
            queue_qos0 = true
            overlapping = "each"
            protocol_versions = { 4, 5 }
            retain_available = false
            wildcard_subscription = false
            shared_subscription = false
            subscription_identifiers = false
            allow_empty_client_id = false
            strict_3_1_ids = true
            assert(#protocol_versions == 2 and protocol_versions[1] == 4 and not retain_available)
            connect_timeout = 5
            hook_budget = 0.05
            hook_timeout = 2.5
            vm_memory = 64 * 1024 * 1024
            log_level = "warn"
            log_format = "json"
        ]]
        assert.equal(0, status, said)
    end)

    it("opens no port and leaves no file", function()
        with_broker({}, function(b)
            local said, status = broker.check(('listen "mqtt://127.0.0.1:%d"'):format(b.port))
            assert.equal(0, status, said)
        end)
    end)

    -- text (the mistake is on line 3), patterns that what is said must match
    for _, row in ipairs {
        { "an unknown setting", "max_paket_size = 5", "max_paket_size", "max_packet_size" },
        { "a misspelt boolean setting", "allow_anonymus = true", "allow_anonymus", "allow_anonymous" },
        { "a setting nothing like any", "zzqqxx = 1", "zzqqxx" },
        { "a string for a number", [[max_packet_size = "lots"]], "max_packet_size", "lots" },
        { "a number for a boolean", "allow_anonymous = 1", "allow_anonymous", "1" },
        { "a negative limit", "max_connections = -5", "max_connections", "%-5" },
        { "a fraction of a connection", "max_connections = 1.5", "max_connections", "1%.5" },
        { "an inflight window of zero", "max_inflight = 0", "max_inflight", "0" },
        { "an inflight window too large", "max_inflight = 65536", "max_inflight", "65536" },
        { "a relative path of a socket", [[admin_socket = "sol.sock"]], "admin_socket", "absolute path", "sol%.sock" },
        { "a long path of a socket", [[admin_socket = "/" .. ("x"):rep(107)]], "admin_socket", "107 bytes" },
        { "a socket that is true", [[admin_socket = true]], "admin_socket", "absolute path", "true" },
        { "a log level that is none", [[log_level = "chatty"]], "log_level", "chatty", "debug" },
        { "a log format that is none", [[log_format = "xml"]], "log_format", "xml", "json" },
        { "an access that is none", [[default_access = "maybe"]], "default_access", "maybe", "deny" },
        { "a table for a setting", "max_queued = {}", "max_queued" },
        { "a topic of no length", "max_topic_length = 0", "max_topic_length", "65535" },
        { "a payload no packet can hold", "max_payload_size = 2^30", "max_payload_size", "bytes" },
        { "a QoS that is none", "max_qos = 3", "max_qos", "from 0 to 2, got 3" },
        { "a keep-alive too long", "max_keepalive = 65536", "max_keepalive", "seconds", "65536" },
        { "a negative number of subscriptions", "max_subscriptions = -1", "max_subscriptions" },
        { "a string for bytes", "max_inflight_bytes = '1 MB'", "max_inflight_bytes", "1 MB" },
        { "a negative rate", "message_rate = -1", "message_rate", "%-1" },
        { "a fraction of a byte", "byte_rate = 0.5", "byte_rate", "0%.5" },
        { "a drop rule that is none", [[drop = "odlest"]], "drop", "odlest", "did you mean \"oldest\"" },
        { "a number for a flag", "queue_qos0 = 1", "queue_qos0", "true or false, got 1" },
        { "a string for a flag", [[retain_available = "no"]], "retain_available", "true or false" },
        { "an overlapping that is none", "overlapping = 2", "overlapping", "once", "each" },
        { "versions that are no list", "protocol_versions = 5", "protocol_versions", "a list", "got 5" },
        { "a version that is none", "protocol_versions = { 4, 6 }", "protocol_versions", "3, 4, 5", "got 6" },
        { "a version by name", [[protocol_versions = { "3.1.1" }]], "protocol_versions", "3%.1%.1" },
        { "no version at all", "protocol_versions = {}", "protocol_versions", "a list" },
        { "a budget of no time", "hook_budget = 0", "hook_budget" },
        { "a port too large", [[listen "mqtt://127.0.0.1:99999"]], "99999" },
        { "a port that is no number", [[listen "mqtt://127.0.0.1:mqtt"]], "mqtt" },
        { "a scheme that is none", [[listen "mqqt://127.0.0.1:1883"]], "mqqt" },
        { "a URL that is none", [[listen "1883"]], "1883" },
        { "a URL of no string", [[listen(1883)]], "1883" },
        { "a unix socket without a path", [[listen "unix://"]], "unix" },
        { "a socket path too long", [[listen("unix:///" .. ("x"):rep(200))]], "xxx" },
        { "an unknown option of listen", [[listen { "mqtt://127.0.0.1:1883", backlogg = 5 }]], "backlogg",
            "backlog" },
        { "an unknown event", [[sol.on("publsh", function() end)]], "publsh", "publish" },
        { "a filter that is none", [[sol.on("publish", "a/#/b", function() end)]], "a/#/b" },
        { "a handler that is none", [[sol.on("publish", "a/b", 42)]], "function" },
        { "an unknown option of sol.on", [[sol.on("publish", print, { priorty = 5 })]], "priorty", "priority" },
        { "a missing plugin", [[plugin("no_such_plugin")]], "no_such_plugin" },
        { "a missing plugin file", [[plugin("./nowhere.lua")]], "nowhere%.lua" },
        { "an error", [[error("stop here")]], "stop here" },
        { "a nil call", [[no_such_function()]], "no_such_function" },
        { "a syntax error", [[if then]], "then" },
    } do
        it("refuses " .. row[1] .. " with file, line and value", function()
            local said, status = broker.check("-- first line\n\n" .. row[2] .. "\n")
            assert.is_true(status > 0, "status " .. status)
            assert.matches("sol%.lua:3:", said)
            for i = 3, #row do assert.matches(row[i], said) end
        end)
    end

    it("refuses a file that is not there", function()
        local r = sol("check", "-c", "/nowhere/sol.lua")
        assert.is_true(r.status > 0)
        assert.matches("/nowhere/sol.lua", r.stdout .. r.stderr, 1, true)
    end)

    it("refuses a folder for a file", function()
        assert.is_true(sol("check", "-c", "/tmp").status > 0)
    end)

    it("stops a file that never ends", function()
        local said, status = broker.check "\n\nwhile true do end"
        assert.is_true(status > 0)
        assert.matches("sol%.lua:3", said)
    end)

    it("stops a file that wants all memory", function()
        broker.refuses("vm_memory = 16 << 20 local t = {} while true do t[#t + 1] = ('x'):rep(999) .. #t end", "memory")
    end)
end)

describe("plugin", function()
    local PLUGIN = [[
        local sol = require "sol"
        local M = { defaults = { suffix = "!", times = 1 } }
        function M.setup(options)
            sol.on("publish", function(_, m) m.payload = m.payload .. options.suffix:rep(options.times) end)
        end
        return M
    ]]

    it("runs a file beside sol.lua, with its defaults", function()
        with_broker({ config = [[plugin "./mine.lua"]], files = { ["mine.lua"] = PLUGIN } }, function(b)
            b:client("c"):subscribe("t"):publish("t", "x"):expect_publish("t", "x!")
        end)
    end)

    it("runs a folder with init.lua, with options", function()
        with_broker({ config = [[plugin("./mine", { suffix = "?", times = 3 })]],
            files = { ["mine/init.lua"] = PLUGIN } }, function(b)
            b:client("c"):subscribe("t"):publish("t", "x"):expect_publish("t", "x???")
        end)
    end)

    it("is found from the folder of sol.lua, wherever sol is started", function()
        broker.with_dir(function(dir)
            broker.write_file(dir .. "/mine.lua", PLUGIN)
            broker.write_file(dir .. "/sol.lua", 'plugin "./mine.lua"')
            assert.equal(0, sol("check", "-c", dir .. "/sol.lua").status)
        end)
    end)

    for _, row in ipairs {
        { "an unknown option", [[plugin("./mine.lua", { sufix = "?" })]], "sufix", "suffix" },
        { "options that are no table", [[plugin("./mine.lua", 5)]], "5" },
    } do
        it("refuses " .. row[1], function()
            local said, status = broker.check("\n\n" .. row[2], { ["mine.lua"] = PLUGIN })
            assert.is_true(status > 0)
            assert.matches("sol%.lua:3:", said)
            for i = 3, #row do assert.matches(row[i], said) end
        end)
    end

    for _, row in ipairs {
        { "that is no Lua", "if then", "mine%.lua:1:" },
        { "that fails", "error 'inside'", "mine%.lua:1: inside" },
        { "that gives no table", "return 5", "mine%.lua" },
        { "without setup", "return {}", "setup" },
        { "whose setup fails", "return { setup = function() error 'in setup' end }", "mine%.lua:1: in setup" },
    } do
        it(row[1] .. " is refused by name", function()
            local said, status = broker.check([[plugin "./mine.lua"]], { ["mine.lua"] = row[2] })
            assert.is_true(status > 0)
            assert.matches(row[3], said)
        end)
    end

    it("has an environment of its own", function()
        with_broker({ config = [[
            plugin "./one.lua"
            plugin "./two.lua"
        ]], files = {
            ["one.lua"] = "leaked = 'yes' return { setup = function() end }",
            ["two.lua"] = [[
                local sol = require "sol"
                return { setup = function() sol.on("publish", function(_, m) m.payload = tostring(leaked) end) end }
            ]],
        } }, function(b)
            b:client("c"):subscribe("t"):publish("t", "x"):expect_publish("t", "nil")
        end)
    end)
end)

describe("the command line", function()
    it("--version names the program and its version", function()
        local r = sol "--version"
        assert.equal(0, r.status)
        assert.matches("[Ss]ol.*%d+%.%d+", r.stdout)
    end)

    it("--help tells the options and the subcommands", function()
        local r = sol "--help"
        assert.equal(0, r.status)
        for _, word in ipairs { "check", "passwd", "-c", "-v" } do assert.matches(word, r.stdout, 1, true) end
    end)

    for _, row in ipairs { { "an unknown option", "--frobnicate" }, { "an unknown command", "frobnicate" },
        { "-c without a file", "-c" } } do
        it("refuses " .. row[1], function()
            local r = sol(row[2])
            assert.is_true(r.status > 0)
            assert.is_true(#r.stderr > 0)
        end)
    end

    it("-c with a broken file does not start", function()
        broker.with_dir(function(dir)
            broker.write_file(dir .. "/sol.lua", "\nmax_paket_size = 5\n")
            local r = sol("-c", dir .. "/sol.lua")
            assert.is_true(r.status > 0)
            assert.matches("sol.lua:2", r.stdout .. r.stderr, 1, true)
        end)
    end)

    it("-v says more", function()
        local hook = "sol.on('publish', 'log', function() sol.log.debug 'for the curious' sol.log.info 'done' end)"
        for _, args in ipairs { {}, { "-v" } } do
            with_broker({ config = hook, args = args }, function(b)
                b:client("c"):publish("log", "x", { qos = 1 })
                b:log_wait "done"
                assert.equal(#args == 1, b:log():find("for the curious", 1, true) ~= nil)
            end)
        end
    end)

    it("without a file listens on localhost:1883, allows anyone and says so", function()
        local probe = proc.listen { port = 1883 }
        if not probe then return pending "port 1883 is taken on this machine" end
        probe:close()
        with_broker({ bare = true, port = 1883 }, function(b)
            b:client("c"):subscribe("t"):publish("t", "x"):expect_publish("t", "x")
            assert.matches("1883", b:log(), 1, true)
            assert.matches("anonymous", b:log(), 1, true)
        end)
    end)

    it("sol.lua.example passes the check", function()
        local r = sol("check", "-c", "sol.lua.example")
        assert.equal(0, r.status, r.stdout .. r.stderr)
    end)

    it("SIGINT stops the broker as SIGTERM does", function()
        with_broker({}, function(b)
            local c = b:client("c", { version = 5 })
            b:signal "INT"
            c:expect_disconnect(0x8B) -- Server shutting down
            local how, status = b.process:wait(5)
            assert.equal("exit", how)
            assert.equal(0, status)
            b.stopped = true
        end)
    end)

    it("SIGPIPE and SIGHUP do not end it", function()
        with_broker({}, function(b)
            b:signal "PIPE"
            b:signal "HUP"
            b:client("c"):ping()
        end)
    end)
end)
