-- SPDX-License-Identifier: BSD-2-Clause
--
-- sol explain: what handlers do with a packet, who decides, and that nothing comes of it.

local broker = require "support.broker"
local wait = require "support.wait"

local with_broker = broker.with_broker

local POLICY = [[
allow_anonymous = false
default_access = "deny"
local known = sol.cache { size = 10 }

sol.on("authenticate", function(client, credentials)
    if credentials.password ~= "secret" then return end
    client.attributes.role = "sensor"
    return true
end)

sol.on("connected", function(client) client.attributes.since = 7 end)

sol.on("publish", "in/#", function(client, message)
    if #message.payload == 0 then return sol.deny(0x99, "empty") end
    if message.payload == "away" then return sol.drop() end
    sol.sleep(0.02)
    message.topic = message.topic:gsub("^in", "out")
end, { name = "rename", priority = 5 })

sol.on("authorize", function(client, request)
    known:get(client.id, function() return true end)
    if request.topic:find "^out" and client.attributes.since == 7 then return true end
end)

sol.on("subscribe", "s/#", function(client, subscription) subscription.qos = 0 end)
sol.on("subscribe", "bad/#", function() error "boom" end)
]]

-- Runs `sol explain` on a policy: what it wrote, and its status.
local function explain(policy, ...)
    local result
    local args = { ... }
    broker.with_dir(function(dir)
        broker.write_file(dir .. "/sol.lua", policy)
        broker.write_file(dir .. "/payload", "21.5")
        for i, arg in ipairs(args) do args[i] = arg:gsub("%$DIR", dir) end
        result = broker.sol("explain", table.unpack(args))
        for _, name in ipairs { "stdout", "stderr" } do
            result[name] = result[name]:gsub(dir:gsub("%p", "%%%0") .. "/", "")
        end
    end)
    return result
end

local ME <const> = { "--client", "d1", "--username", "u", "--password", "secret", "-c", "$DIR/sol.lua" }

local function as_me(action, ...)
    local args = table.move(ME, 1, #ME, 2, { action })
    return explain(POLICY, table.unpack(table.move({ ... }, 1, select("#", ...), #args + 1, args)))
end

local function has(text, part) assert.truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text)) end
local function hasnt(text, part) assert.falsy(text:find(part, 1, true), ("%q is in:\n%s"):format(part, text)) end

describe("sol explain publish", function()
    it("tells handlers, changes, waits, caches and who decided", function()
        local r = as_me("publish", "--topic", "in/1", "--payload", "@$DIR/payload", "--qos", "1")
        assert.same({ 0, "" }, { r.status, r.stderr })
        has(r.stdout, 'authenticate by d1\n  sol.lua:5 priority 0: allow, ')
        has(r.stdout, '      client.attributes.role: nil -> "sensor"\n')
        has(r.stdout, '      client.attributes.since: nil -> 7\n')
        has(r.stdout, "publish in/1 by d1\n  rename (sol.lua:13) [in/#] priority 5: no opinion, ")
        has(r.stdout, '      topic: "in/1" -> "out/1"\n')
        hasnt(r.stdout, "payload:")
        assert.matches("waited [%d.]+ %l+ in sol%.sleep %(sol%.lua:16%)\n", r.stdout)
        has(r.stdout, "      cache: miss d1 (sol.lua:21)\n")
        assert.matches("authorize publish out/1 by d1\n  sol%.lua:20 priority 0: allow, [%d.]+ %l+, %d+ instructions\n",
            r.stdout)
        has(r.stdout, "publish: allowed, by sol.lua:20; 0 subscribers would get it\n")
    end)

    it("names the handler that refuses or drops", function()
        local r = as_me("publish", "--topic", "in/1")
        assert.equal(1, r.status)
        has(r.stdout, 'publish: refused 0x99 (payload format invalid) "empty", by rename (sol.lua:13)\n')
        r = as_me("publish", "--topic", "in/1", "--payload", "away")
        assert.equal(0, r.status)
        has(r.stdout, "publish: dropped, by rename (sol.lua:13)\n")
    end)

    it("names the policy's line where a function of sol's has made the handler", function()
        local r = explain([[
            sol.observe({ "connected" }, function() end, { name = "seen" })
            sol.on("authenticate", sol.authenticator({ cache_ttl = 0 }, function() return true end))
        ]], "publish", "--topic", "t", table.unpack(ME))
        has(r.stdout, "\n  sol.lua:2 priority 0: allow, ")
        has(r.stdout, "\n  seen (sol.lua:1) priority 0: ")
    end)

    it("tells of the sol.lua it has not been given", function()
        broker.with_dir(function(dir)
            broker.write_file(dir .. "/sol.lua", "default_access = 'deny'")
            local asking = 'sol=$(realpath "$0") && cd "$1" && exec "$sol" explain publish --client c --topic t'
            local r = broker.run { "/bin/sh", "-c", asking, broker.binary(), dir }
            assert.equal(0, r.status)
            has(r.stderr, "there is a sol.lua here; to ask it: -c sol.lua\n")
        end)
    end)

    it("names the setting, or the limit, when no handler decides", function()
        local r = as_me("publish", "--topic", "else", "--payload=x")
        assert.equal(1, r.status)
        has(r.stdout, "publish\n  no handler is concerned\n")
        has(r.stdout, 'publish: refused 0x87 (not authorized), by default_access = "deny"\n')
        r = as_me("publish", "--topic", "a/+")
        has(r.stdout, 'publish: refused 0x90 (topic name invalid) "not a topic name", by a limit or a rule')
        r = explain("", "publish", "--client", "x", "--topic", "t")
        assert.equal(0, r.status)
        has(r.stdout, 'publish: allowed, by default_access = "allow"; 0 subscribers')
    end)

    it("names the grant that decides", function()
        local policy = [[
            default_access = "deny"
            sol.on("connected", function(client)
                client:grant { { "publish", "t/%c" }, { "read", "pub/+" }, { "deny", "pub/#" }, name = "own" }
            end)
            sol.on("publish", "mine", function(_, message) message.topic = "t/d1" end)
            sol.on("authorize", function() return false end)]]
        local function ask(action, name, value, more)
            return explain(policy, action, name, value, "--client", "d1", "-c", "$DIR/sol.lua", more)
        end
        local r = ask("publish", "--topic", "mine")
        has(r.stdout, "authorize publish t/d1 by d1\n  grant own (t/%c)\n  => allow, by grant own (t/%c)\n")
        has(r.stdout, "publish: allowed, by grant own (t/%c); ")
        r = ask("subscribe", "--filter", "pub/#")
        has(r.stdout, "subscribe: allowed, by grant own (pub/+, in part); QoS 0\n")
        r = ask("subscribe", "--filter", "pub/a/b", "--json")
        has(r.stdout, [["grants":["grant own (deny pub/#)"],"verdict":"deny","reason_code":135,]])
        has(r.stdout, [["reason_code":135,"reason":null,"by":"grant","who":"grant own (deny pub/#)"]])
    end)

    it("leaves CONNECT out where the client is taken for connected", function()
        local r = as_me("publish", "--topic", "in/1", "--payload", "x", "--as-connected")
        assert.equal(1, r.status)
        hasnt(r.stdout, "authenticate")
        has(r.stdout, 'by default_access = "deny"\n')
    end)

    it("ends where the CONNECT is refused", function()
        local r = explain(POLICY, "publish", "--client", "d1", "--topic", "in/1", "-c", "$DIR/sol.lua")
        assert.equal(1, r.status)
        has(r.stdout, "  => nobody decided: allow_anonymous = false\n")
        has(r.stdout, "connect: refused 0x87 (not authorized): nobody vouches for the client")
        hasnt(r.stdout, "publish")
    end)

    it("says it in JSON, an object a line", function()
        local r = as_me("publish", "--topic", "in/\27[1m", "--payload", "\xff\"\n", "--json")
        local lines = 0
        for line in r.stdout:gmatch "[^\n]+" do
            assert.matches("^{.*}$", line)
            lines = lines + 1
        end
        assert.equal(5, lines)
        has(r.stdout, [["topic":"in/\u001b[1m"]])
        has(r.stdout, [["changes":[{"field":"topic","before":"in/\u001b[1m","after":"out/\u001b[1m"}],]])
        has(r.stdout, [["waits":[{"for":"sol.sleep (]])
        has(r.stdout, [["outcome":"allowed","reason_code":16,"reason":null,"by":"handler","who":"sol.lua:20"]])
    end)
end)

describe("sol explain", function()
    it("explains a connect", function()
        local r = as_me("connect")
        assert.equal(0, r.status)
        has(r.stdout, "connect\n  no handler is concerned\n")
        has(r.stdout, "connect: allowed, by sol.lua:5\n")
        hasnt(r.stdout, "connected")
        hasnt(r.stdout, "secret")
    end)

    it("explains a subscribe", function()
        local r = as_me("subscribe", "--filter", "s/1", "--qos", "2")
        has(r.stdout, "subscribe s/1 by d1\n  sol.lua:25 [s/#] priority 0: no opinion, ")
        has(r.stdout, "      qos: 2 -> 0\n")
        has(r.stdout, 'subscribe: refused 0x87 (not authorized), by default_access = "deny"\n')
        r = as_me("subscribe", "--filter", "out/+", "--qos", "2")
        assert.equal(0, r.status)
        has(r.stdout, "subscribe: allowed, by sol.lua:20; QoS 2\n")
    end)

    it("tells a failure and shows the policy's log", function()
        local r = as_me("subscribe", "--filter", "bad/1")
        assert.equal(1, r.status)
        has(r.stdout, "failed: sol.lua:26: boom; deny, ")
        has(r.stdout, "subscribe: refused 0x87 (not authorized), by sol.lua:26\n")
        has(r.stderr, "log: subscribe handler sol.lua:26, client d1 failed: sol.lua:26: boom")
    end)

    it("escapes what would reorder or hide the text around it", function()
        local r = as_me("publish", "--topic", "in/\u{202e}\u{200b}\u{e9}", "--payload", "x")
        has(r.stdout, "publish in/\\u202e\\u200b\u{e9} by d1\n")
        has(r.stdout, "topic: \"in/\\u202e\\u200b\u{e9}\" -> \"out/")
        assert.falsy(r.stdout:find "\u{202e}")
    end)

    for _, row in ipairs {
        { "no action", {}, "explain what?" },
        { "an unknown action", { "fly" }, 'explain what, "fly"?' },
        { "an unknown option", { "publish", "--topik", "x" }, 'unknown option "--topik"; did you mean "topic"?' },
        { "an option without its value", { "publish", "--topic" }, "--topic: a value is missing" },
        { "nobody to ask about", { "publish", "--topic", "x" }, "whose? (--client ID)" },
        { "no topic", { "publish", "--client", "c" }, "publish where?" },
        { "no filter", { "subscribe", "--client", "c" }, "subscribe to what?" },
        { "a filter to publish to", { "publish", "--client", "c", "--topic", "t", "--filter", "f" },
            "an option does not go with what is asked" },
        { "a QoS of 3", { "publish", "--qos", "3" }, "--qos: expected 0, 1 or 2" },
        { "a user name that is not UTF-8", { "connect", "--username", "\xff" }, "--username: expected UTF-8" },
        { "a missing payload", { "publish", "--client", "c", "--topic", "t", "--payload", "@$DIR/none" },
            "none: No such file or directory" },
        { "an unreadable payload", { "publish", "--client", "c", "--topic", "t", "--payload", "@$DIR" },
            "Is a directory" },
        { "a missing policy", { "connect", "--client", "c", "-c", "$DIR/none.lua" }, "none.lua" },
        { "a broken policy", { "connect", "--client", "c", "-c", "$DIR/sol.lua" }, "sol.lua:2: half-way",
            "\nerror 'half-way'" },
        { "an argument too many", { "connect", "--client", "c", "more" }, 'unexpected argument "more"' },
        { "an unknown listener", { "connect", "--client", "c", "--listener", "mqtt://x" }, "" },
        { "a broker that is not there", { "connect", "--client", "c", "--live", "$DIR/none.sock" }, "none.sock" },
    } do
        it("refuses " .. row[1], function()
            local r = explain(row[4] or "", table.unpack(row[2]))
            assert.equal(2, r.status)
            has(r.stderr, row[3])
            assert.is_true(#r.stderr + #r.stdout > 0 and #r.stderr < 250, r.stderr)
        end)
    end
end)

describe("sol explain --live", function()
    local live = [[
        default_access = "deny"
        sol.on("connect", function(client, connect)
            if connect.client_id == "gone" then client:disconnect(0x8A, "banned") end
        end)
        sol.on("authorize", function(client, request)
            if request.topic:find "^slow" then
                sol.log.info "waiting"
                sol.sleep(60)
            end
            client.attributes.asked = (client.attributes.asked or 0) + 1
            if client.attributes.member then return true end
        end)
        sol.on("authenticate", function(client, credentials)
            client.attributes.member = credentials.username == "member"
            return true
        end)
        sol.on("published", "#", function(_, message) sol.log.info("published " .. message.topic) end)
        sol.on("subscribed", "#", function(_, info) sol.log.info("subscribed " .. info.filter) end)
        sol.on("refused", function(_, info) sol.log.info("told of a refused " .. info.action) end)
        sol.on("connected", function(client) sol.log.info("hello " .. client.id) end)
    ]]

    it("asks the running policy, and nothing comes of it", function()
        with_broker({ config = live }, function(b)
            local function about(action, client, ...)
                local args = { action, "--client", client, ... }
                table.move({ "--live", b.dir .. "/sol.sock" }, 1, 2, #args + 1, args)
                return broker.sol("explain", table.unpack(args))
            end
            local reader = b:client("reader", { username = "member" }):subscribe("#", 1)
            local from = #b:log() + 1

            -- a client that is there is asked about as it is
            local r = about("publish", "reader", "--topic", "t", "--payload", "x", "--retain", "--qos", "1")
            assert.equal(0, r.status)
            hasnt(r.stdout, "authenticate")
            has(r.stdout, "      client.attributes.asked: 1 -> 2\n")
            has(r.stdout, "1 subscriber would get it\n")
            -- of another one the CONNECT is asked about first
            r = about("publish", "other", "--topic", "t", "--username", "member")
            has(r.stdout, "connect: allowed, by ")
            has(r.stdout, "publish: allowed, by ")
            r = about("subscribe", "other", "--filter", "t")
            assert.equal(1, r.status)
            has(r.stdout, "subscribe: refused 0x87 (not authorized), by default_access")
            r = about("connect", "gone")
            assert.equal(1, r.status)
            has(r.stdout, 'connect: refused 0x8A (banned) "banned", by ')
            r = about("connect", "reader")
            assert.equal(0, r.status)
            r = about("publish", "x", "--topic", "t", "--listener", "mqtt://nowhere:1")
            assert.same({ 2, "there is no such listener\n" }, { r.status, r.stdout })

            assert.equal("", b:log():sub(from):match "published.*" or "")
            hasnt(b:log():sub(from), "hello")
            hasnt(b:log():sub(from), "subscribed")
            hasnt(b:log():sub(from), "told of")
            hasnt(b:log():sub(from), "disconnected")
            reader:expect_nothing(true)
            b:client("late", { username = "member" }):subscribe("t", 1):expect_nothing(true) -- not retained
        end)
    end)

    it("can be given up while a handler waits", function()
        with_broker({ config = "hook_timeout = 60\n" .. live }, function(b)
            for _, row in ipairs {
                { "publish", "--topic", 2 }, { "subscribe", "--filter", 2 }, { "publish", "--topic", 9 },
                { "subscribe", "--filter", 9 },
            } do
                broker.with_dir(function(dir)
                    local from = #b:log() + 1
                    local process = broker.spawn(dir, { b.argv[#b.argv - 2], "explain", row[1], "--client", "c",
                        row[2], "slow", "--live", b.dir .. "/sol.sock" })
                    b:log_wait("waiting", from)
                    process:kill(row[3])
                    local how, status = process:wait(wait.scaled(10))
                    if row[3] == 9 then return end
                    assert.same({ "exit", 2 }, { how, status })
                    has(broker.read_file(dir .. "/err"), "sol: given up\n")
                end)
            end
            assert.equal(0, broker.sol("explain", "connect", "--client", "c", "--live", b.dir .. "/sol.sock").status)
        end)
    end)

    it("finds the client's worker", function()
        with_broker({ config = "workers = 3\n" .. live }, function(b)
            for i = 1, 4 do
                b:client("c" .. i, { username = "member" })
                local r = broker.sol("explain", "publish", "--client", "c" .. i, "--topic", "t", "--live",
                    b.dir .. "/sol.sock")
                assert.same({ 0, "" }, { r.status, r.stderr })
                hasnt(r.stdout, "connect")
            end
        end)
    end)
end)

describe("docs/explain.md", function()
    -- With times and counts of instructions as N, as they differ from run to run.
    local function masked(text)
        return (text:gsub("[%d.]+ [mu]?s([, ])", "N%1"):gsub("%d+ instructions", "N instructions"))
    end

    -- The words of a command, quotes taken off.
    local function words(line)
        local list = {}
        for quoted, plain in line:gsub("'([^']*)'", function(s) return "\1" .. s:gsub(" ", "\2") end)
            :gmatch "()(%S+)" do
            list[#list + 1] = quoted and plain:gsub("\1", ""):gsub("\2", " ")
        end
        return list
    end

    it("shows what is so", function()
        local text = broker.read_file "docs/explain.md"
        local policy, count = assert(text:match "\n```lua\n(.-)```"), 0
        for command, output in text:gmatch "\n```console\n%$ sol (explain [^\n]*)\n(.-)```" do
            local args = words(command)
            for i, arg in ipairs(args) do args[i] = arg == "sol.lua" and "$DIR/sol.lua" or arg end
            assert.equal(masked(output), masked(explain(policy, table.unpack(args, 2)).stdout))
            count = count + 1
        end
        assert.equal(3, count)
    end)
end)
