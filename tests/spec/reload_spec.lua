-- SPDX-License-Identifier: BSD-2-Clause
--
-- SIGHUP: a good policy replaces the old one without a dropped connection, a
-- broken one changes nothing and is reported.

local broker = require "support.broker"
local Door = require "support.door"

local with_broker = broker.with_broker

local function stamp(word)
    return ([[sol.on("publish", "t", function(_, m) m.payload = m.payload .. " %s" end)]]):format(word)
end

-- Reload with this policy; `pattern` is what the log must say then.
local function reload(b, config, pattern)
    local from = #b:log() + 1
    b:configure(config)
    b:signal "HUP"
    return b:log_wait(pattern, from, 15)
end

describe("a reload", function()
    it("swaps the policy and keeps every connection", function()
        with_broker({ config = stamp "old" }, function(b)
            local all = {}
            for i = 1, 50 do all[i] = b:client("c" .. i, { version = 3 + i % 3 }):subscribe("t", 1) end
            local p = b:client("p"):publish("t", "x", { qos = 1 })
            for _, c in ipairs(all) do c:expect_publish("t", "x old"):ack() end
            reload(b, stamp "new", "[Rr]eload")
            p:publish("t", "y", { qos = 1 })
            for _, c in ipairs(all) do c:expect_publish("t", "y new"):ack():expect_nothing(true) end
        end)
    end)

    for _, row in ipairs {
        { "a syntax error", "if then", "sol%.lua:3:" },
        { "an error", "error 'half-way'", "sol%.lua:3: half%-way" },
        { "an unknown setting", "max_paket_size = 5", "sol%.lua:3:.*max_paket_size.*max_packet_size" },
        { "a missing plugin", "plugin 'no_such_plugin'", "sol%.lua:3:.*no_such_plugin" },
        { "an endless loop", "while true do end", "sol%.lua:3" },
    } do
        it("with " .. row[1] .. " keeps the old policy and says why", function()
            with_broker({ config = stamp "old" }, function(b)
                local c = b:client("c"):subscribe("t")
                reload(b, stamp "new" .. "\n" .. row[2], row[3])
                c:publish("t", "x"):expect_publish("t", "x old")
                -- and the next good one is taken
                reload(b, stamp "mended", "[Rr]eload")
                c:publish("t", "y"):expect_publish("t", "y mended")
                b:client("newcomer"):ping()
            end)
        end)
    end

    it("without the file keeps the old policy", function()
        with_broker({ config = stamp "old" }, function(b)
            local c = b:client("c"):subscribe("t")
            local from = #b:log() + 1
            os.remove(b.dir .. "/sol.lua")
            b:signal "HUP"
            b:log_wait("sol%.lua", from)
            c:publish("t", "x"):expect_publish("t", "x old")
        end)
    end)

    it("lets a hook of the old policy finish", function()
        with_broker({ config = [[
            sol.on("publish", "t", function(_, m) sol.sleep(0.5) m.payload = m.payload .. " old" end)
        ]] }, function(b)
            local c = b:client("c"):subscribe("t"):publish("t", "x")
            b:client("probe"):ping()
            reload(b, stamp "new", "[Rr]eload")
            c:publish("t", "y")
            c:expect_publish("t", "x old")
            c:expect_publish("t", "y new")
        end)
    end)

    it("ends the timers of the old policy and starts those of the new", function()
        with_broker({ config = [[sol.every(0.05, function() sol.publish("tick", "old") end)]] }, function(b)
            local c = b:client("c"):subscribe("tick")
            c:expect_publish("tick", "old")
            reload(b, [[sol.every(0.05, function() sol.publish("tick", "new") end)]], "[Rr]eload")
            repeat local m = c:expect("PUBLISH") until m.payload == "new"
            for _ = 1, 5 do c:expect_publish("tick", "new") end
        end)
    end)

    it("keeps sessions, subscriptions, retained and queued messages", function()
        with_broker({ config = "" }, function(b)
            local c = b:client("c", { clean = false }):subscribe("t", 1):disconnect()
            local p = b:client("p"):publish("kept", "r", { retain = true }):publish("t", "queued", { qos = 1 })
            reload(b, "-- nothing\n", "[Rr]eload")
            c:reconnect()
            assert.is_true(c.connack.session_present)
            c:expect_publish("t", "queued"):ack()
            c:subscribe("kept"):expect_publish("kept", "r", { retain = true })
            p:ping()
        end)
    end)

    it("takes new limits for new packets", function()
        with_broker({ config = "" }, function(b)
            local c = b:client("c"):publish("t", ("x"):rep(500), { qos = 1 })
            reload(b, "max_packet_size = 200", "[Rr]eload")
            b:client("d"):publish("t", ("x"):rep(500), { qos = 1, wait = false }):expect_close()
            c:ping()
        end)
    end)

    it("takes a changed plugin", function()
        local function plugin(word)
            return "local sol = require 'sol'\nreturn { setup = function() " .. stamp(word) .. " end }"
        end
        with_broker({ config = [[plugin "./mine.lua"]], files = { ["mine.lua"] = plugin "old" } }, function(b)
            local c = b:client("c"):subscribe("t"):publish("t", "x")
            c:expect_publish("t", "x old")
            b:write("mine.lua", plugin "new")
            reload(b, [[plugin "./mine.lua"]], "[Rr]eload")
            c:publish("t", "y"):expect_publish("t", "y new")
        end)
    end)

    it("may be asked for a hundred times in a row", function()
        with_broker({ config = stamp "0" }, function(b)
            local c = b:client("c"):subscribe("t")
            local before = b:fds()
            for i = 1, 30 do
                reload(b, stamp(tostring(i)), "[Rr]eload")
                c:publish("t", "x"):expect_publish("t", "x " .. i)
            end
            for _ = 1, 70 do b:signal "HUP" end
            c:publish("t", "x"):expect_publish("t", "x 30")
            assert.is_true(b:fds() <= before + 2)
        end)
    end)

    it("tells the new policy", function()
        with_broker({ config = "" }, function(b)
            reload(b, [[sol.on("reload", function() sol.log.info "I am the new one" end)]], "I am the new one")
        end)
    end)

    it("tells which generation takes over from which", function()
        with_broker({ config = "" }, function(b)
            local tell = [[sol.on("reload", function(now)
                sol.log.info("%d after %d", now.generation, now.old_generation)
            end)]]
            reload(b, tell, "2 after 1")
            reload(b, tell, "3 after 2")
        end)
    end)

    it("keeps what is shared", function()
        local dict = [[shared = { d = "16 KB" } ]]
        with_broker({ config = dict .. [[sol.on("start", function() sol.shared.d:set("k", "kept") end)]] }, function(b)
            b:client "c"
            reload(b, dict .. [[sol.on("reload", function() print(sol.shared.d:get "k") end)]], "kept")
        end)
    end)

    it("gives all workers the same, whatever changes meanwhile", function()
        local wait_for_go = [[print "loading" repeat until sol.read_file "go" ]]
        local config = [[workers = 2
            local word = require "words"
            sol.on("publish", "t", function(_, m) m.payload = word end)]]
        with_broker({ config = config, files = { ["words.lua"] = "return 'one'" } }, function(b)
            local from = #b:log() + 1
            b:configure((config:gsub("sol%.on", wait_for_go .. "%0")))
            b:signal "HUP"
            b:log_wait("loading", from)
            b:write("words.lua", "return 'two!'")
            b:write("go", "go")
            b:log_wait("generation 2", from, 15)
            for i = 1, 8 do -- some of them live on either worker
                local c = b:client("c" .. i):subscribe("t")
                c:publish("t", "x"):expect_publish("t", "two!")
                c:disconnect()
            end
        end)
    end)

    it("gives waiting hooks of the old policy until reload_timeout", function()
        local config = [[reload_timeout = 0.05
            sol.on("publish", "long", function() sol.sleep(3000) end, { timeout = 3600 })]]
        with_broker({ config = config }, function(b)
            local c = b:client("c", { version = 5 }):publish("long", "x", { qos = 1, wait = false })
            b:client("d"):publish("other", "x", { qos = 1 })
            reload(b, "", "generation 2")
            c:expect("PUBACK", { rc = 0x87 })
            b:log_wait "its policy was replaced"
            c:publish("long", "y", { qos = 1 })
        end)
    end)
end)

describe("sol reload", function()
    local function sol_reload(b) return broker.sol("reload", b.dir .. "/sol.sock") end

    it("waits for the outcome and says what it is", function()
        with_broker({ config = "workers = 3\n" .. stamp "old" }, function(b)
            local c = b:client("c"):subscribe("t")
            b:configure("workers = 3\n" .. stamp "new")
            local good = sol_reload(b)
            assert.same({ 0, "policy generation 2 is in place\n", "" }, { good.status, good.stdout, good.stderr })
            c:publish("t", "x"):expect_publish("t", "x new")
            b:configure("workers = 3\nmax_paket_size = 1")
            local bad = sol_reload(b)
            assert.equal(1, bad.status)
            assert.equal("", bad.stdout)
            assert.truthy(bad.stderr:find "^/%S*sol%.lua:3: .*max_packet_size", bad.stderr)
            c:publish("t", "y"):expect_publish("t", "y new")
        end)
    end)

    it("may be asked for by many at once", function()
        with_broker({ config = "workers = 2" }, function(b)
            local doors = {}
            for i = 1, 10 do doors[i] = Door.open(b):ask(1, "reload"):ask(2, "reload") end
            doors[1]:close()
            for i = 2, 10 do
                assert.equal("ok", (doors[i]:answer(1)))
                assert.equal("ok", (doors[i]:answer(2)))
            end
        end)
    end)

    it("says when there is no broker", function()
        broker.with_dir(function(dir)
            local result = broker.sol("reload", dir .. "/sol.sock")
            assert.equal(1, result.status)
            assert.truthy(result.stderr:find "No such file", result.stderr)
        end)
    end)

    it("says how it is called", function()
        local asked, wrong = broker.sol("reload", "--help"), broker.sol("reload", "--now")
        assert.same({ 0, "usage: sol reload [SOCKET]\n" }, { asked.status, asked.stdout })
        assert.same({ 2, asked.stdout }, { wrong.status, wrong.stderr })
    end)
end)

describe("a broker with --watch", function()
    -- As editors save: another file takes the name.
    local function save(b, name, text)
        b:write(name .. "~", text)
        os.rename(b.dir .. "/" .. name .. "~", b.dir .. "/" .. name)
    end

    it("takes what is saved, says what is wrong, and goes on", function()
        local config = [[
            local word = require "words"
            plugin "./mine.lua"
            sol.on("publish", "t", function(_, m) m.payload = m.payload .. word end)]]
        local files = { ["words.lua"] = "return ' one'",
            ["mine.lua"] = "return { setup = function() end }" }
        with_broker({ config = config, files = files, args = { "run", "--watch" } }, function(b)
            local c = b:client("c"):subscribe("t"):publish("t", "x")
            c:expect_publish("t", "x one")
            b:write("words.lua", "return ' two'")
            b:log_wait "generation 2 is in place"
            c:publish("t", "x"):expect_publish("t", "x two")
            save(b, "words.lua", "return ' three")
            b:log_wait "the old policy stays: .-words%.lua:1: unfinished string"
            c:publish("t", "x"):expect_publish("t", "x two")
            save(b, "words.lua", "return ' four'")
            b:log_wait "generation 3 is in place"
            c:publish("t", "x"):expect_publish("t", "x four")
            save(b, "mine.lua", "error 'half-way'")
            b:log_wait "the old policy stays: .-mine%.lua:1: half%-way"
            save(b, "mine.lua", "return { setup = function() print 'mended' end }")
            b:log_wait "mended"
            save(b, "sol.lua", (broker.read_file(b.dir .. "/sol.lua"):gsub("word end", "' whole' end")))
            b:log_wait "generation 5 is in place"
            c:publish("t", "x"):expect_publish("t", "x whole")
        end)
    end)
end)
