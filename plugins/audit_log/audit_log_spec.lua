-- SPDX-License-Identifier: BSD-2-Clause
--
-- audit_log: which lines there are, where they go, and what becomes of them when they cannot.

local broker = require "support.broker"
local eval = require "support.eval"
local wait = require "support.wait"

local CONFIG = [[
    workers = 1
    allow_anonymous = true
    plugin("audit_log", { %s })
    plugin("acl", { rules = { { topic = "open/#" }, { topic = "eval" }, { topic = "answer/#" } } })
]]

local FILE = 'path = "audit.log"'

local function with_log(options, spec, files)
    eval.with({ config = CONFIG:format(options), files = files }, function(run, b) spec(b, run) end)
end

local function lines(b, name) return broker.read_file(b.dir .. "/" .. (name or "audit.log")) end

-- A line with these patterns, in this order.
local function expect(b, ...)
    local pattern = "\n([^\n]*" .. table.concat({ ... }, "[^\n]*") .. "[^\n]*)"
    return wait.till("a line " .. pattern, function() return ("\n" .. lines(b)):match(pattern) end)
end

local function reload(b, config, generation)
    b:configure(config)
    b:signal "HUP"
    b:log_wait(("(generation %d is in place)"):format(generation))
end

describe("audit_log", function()
    it("writes down who came, what they did and what was refused", function()
        with_log(FILE, function(b)
            local c = b:client("c\n}", { version = 5, username = 'a"da', password = "hush" })
            expect(b, '{"address":"127.0.0.1:%d+","clientid":"c\\n}","event":"connected","session_present":false,'
                .. '"time":"%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ","username":"a\\"da"}')
            c:subscribe("open/+", 1):publish("open/1", "not told"):unsubscribe "open/+"
            expect(b, '"event":"subscribed","filter":"open/%+","qos":1,')
            expect(b, '"event":"unsubscribed","filter":"open/%+",')
            c:subscribe("shut", 0, { rc = 0x87 }):publish("shut", "x", { qos = 1, rc = 0x87 })
            expect(b, '"action":"subscribe"', '"event":"refused","reason_code":135,', '"topic":"shut"')
            expect(b, '"action":"publish"', '"event":"refused","reason_code":135,', '"topic":"shut"')
            c:disconnect()
            expect(b, '"event":"disconnected","normal":true,"reason":"DISCONNECT","reason_code":0')
            b:client("", { version = 4, clean = false, connack = 2 })
            expect(b, '"action":"connect"', '"event":"refused"')
            local said = lines(b)
            assert.truthy(said:find('^{"event":"start","time":"[^"]+"}\n'), said:sub(1, 200))
            assert.is_nil(said:find("hush", 1, true))
            assert.is_nil(said:find("not told", 1, true))
            for line in said:gmatch "[^\n]+" do assert.truthy(line:find "^{.*}$", line) end
        end)
    end)

    it("opens the file anew with a reload, and adds to what is there", function()
        with_log(FILE, function(b)
            wait.till("the first line", function() return lines(b):find "\n.*\n" end)
            assert.truthy(os.rename(b.dir .. "/audit.log", b.dir .. "/audit.log.1"))
            b:client("old"):disconnect()
            wait.till("what was taken before", function() return lines(b, "audit.log.1"):find '"old"' end)
            assert.equal("older\n", lines(b, "audit.log.1"):match "^[^\n]*\n")
            reload(b, eval.policy(CONFIG:format(FILE)), 2)
            b:client("new"):disconnect()
            expect(b, '"event":"reload","generation":2,"old_generation":1')
            expect(b, '"clientid":"new","event":"disconnected"')
            assert.is_nil(lines(b, "audit.log.1"):find '"new"')
            b:stop()
            assert.truthy(lines(b):find '"event":"stop"')
            assert.truthy(lines(b):find '"clientid":"eval","event":"disconnected"[^\n]*\n$', lines(b))
        end, { ["audit.log"] = "older\n" })
    end)

    it("keeps thousands of lines in their order, of several workers too", function()
        eval.with({ config = CONFIG:format(FILE .. [[, events = { "published" }, topics = "open/#", max_payload = 20]])
            :gsub("workers = 1", "workers = 2") }, function(_, b)
            local p, q = b:client("p", { version = 5 }), b:client("q", { version = 5 })
            for i = 1, 1500 do
                p:publish("open/p", tostring(i))
                q:publish("open/q", tostring(i))
            end
            p:publish("open/b", "\xff\0"):ping()
            q:publish("open/l", ("x"):rep(21)):ping()
            expect(b, '"payload_base64":"/wA="')
            expect(b, '"payload_size":21')
            local last = { p = 0, q = 0 }
            for line in lines(b):gmatch "[^\n]+" do
                assert.truthy(line:find "^{.*}$", line)
                local id, n = line:match '"clientid":"([pq])".*"payload":"(%d+)"'
                if n then
                    assert.equal(last[id] + 1, tonumber(n))
                    last[id] = last[id] + 1
                end
            end
            assert.same({ p = 1500, q = 1500 }, last)
        end)
    end)

    it("goes on when lines cannot be written, and counts those it has no room for", function()
        broker.with_broker({ files = { ["sub/x"] = "" },
            config = CONFIG:format [[path = "sub/audit.log", events = { "connected" }]] }, function(b)
            os.remove(b.dir .. "/sub/x")
            os.remove(b.dir .. "/sub")
            b:client "a"
            b:log_wait "(sub/audit.log: No such file or directory; what is written there is lost)"
            b:write("sub/x", "")
            wait.till("the file to be written again", function()
                b:client "b"
                return lines(b, "sub/audit.log"):find '"clientid":"b"'
            end)
            b:log_wait "(sub/audit.log can be written again)"
        end)
        with_log(FILE .. [[, max_pending = 100, events = { "published" }, max_payload = 1000]], function(b, run)
            local p = b:client("p", { version = 5 })
            p:publish("open/1", ("x"):rep(200), { qos = 1, rc = 0x10 })
            assert.truthy(run([[return sol.metrics.collect()]]):find('sol_audit_lines_total{result="lost"} 1', 1, true))
        end)
    end)

    it("writes into the broker's log without a path", function()
        with_log([[events = { "connected" }]], function(b)
            b:client("x")
            b:log_wait '(info  audit_log {"address":"127.0.0.1:%d+","clientid":"x","event":"connected",)'
        end)
    end)

    it("does not load with options that make no sense", function()
        for options, says in pairs {
            ["path = 'nowhere/audit.log'"] = "nowhere/audit.log: No such file or directory",
            ["path = '/dev/full'"] = "/dev/full: is not a regular file",
            ["path = '.'"] = "is not a regular file",
            ["path = 'x', max_pending = 0"] = "max_pending must be 1 to 67108864",
            ["events = { 'disconected' }"] = 'there is no event "disconected" to tell of; did you mean "disconnected"?',
            ["file = 'x'"] = 'unknown option "file"',
        } do
            broker.refuses("plugin('audit_log', {" .. options .. "})", says)
        end
    end)
end)
