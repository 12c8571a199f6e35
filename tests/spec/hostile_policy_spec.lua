-- SPDX-License-Identifier: BSD-2-Clause
--
-- Policies that do what nobody would do on purpose: each harms itself alone, the log says what
-- it was, and the broker goes on.

local broker = require "support.broker"
local eval = require "support.eval"
local wait = require "support.wait"
local world = require "support.world"
local with_broker = broker.with_broker

describe("a handler that throws", function()
    -- What the log says of each.
    local THROWN = {
        { "nil", "nil" },
        { "false", "boolean value" },
        { "{}", "table value" },
        { "setmetatable({}, { __tostring = function() error 'not even this' end })", "failed: " },
        { "setmetatable({}, { __tostring = function() return 7 end })", "failed: " },
        { "setmetatable({}, { __tostring = function() return 'well told' end })", "table value" },
        { "setmetatable({}, { __tostring = function() while true do end end })", "failed: " },
        { "setmetatable({}, { __tostring = function() sol.sleep(1) end })", "failed: " },
        { "setmetatable({}, { __name = 7, __index = error })", "table value" },
        { "print", "function value" },
        { "coroutine.create(print)", "thread value" },
        { "sol.semaphore(1)", "failed: " },
        { "12.5", "number value" },
        { "'a\\0b'", "a" },
        { "('long'):rep(100000)", "longlong" },
    }
    local EVENTS = { "publish", "deliver", "published", "acked", "subscribe", "authorize" }

    local function policy()
        local rows = {}
        for i, row in ipairs(THROWN) do rows[i] = "function() error(" .. row[1] .. ", 0) end," end
        return ([[
            hook_budget = 0.05
            default_access = "allow"
            local throw = { %s }
            local function thrower(event, number)
                return function(client, x)
                    local n = number(client, x)
                    if n and client.id == event then throw[n]() end
                end
            end
            local function of_topic(_, message) return tonumber(message.topic:match "^throw/(%%d+)") end
            for _, event in ipairs { "publish", "deliver", "published", "acked", "authorize" } do
                sol.on(event, thrower(event, of_topic))
            end
            sol.on("subscribe", thrower("subscribe", function(_, subscription)
                return tonumber(subscription.filter:match "^throw/(%%d+)")
            end))
            sol.on("publish", "later/+", function(_, message)
                sol.after(0, throw[tonumber(message.topic:match "%%d+")])
            end)
        ]]):format(table.concat(rows, "\n"))
    end

    it("anything at all fails alone, and is told", function()
        with_broker({ config = policy() }, function(b)
            local other = b:client("other"):subscribe("fine", 0)
            for _, event in ipairs(EVENTS) do
                local c = b:client(event, { version = 5 })
                if event ~= "subscribe" then c:subscribe("throw/#", 1) end
                for i, row in ipairs(THROWN) do
                    local from = #b:log()
                    if event == "subscribe" then
                        c:subscribe("throw/" .. i, 0, { rc = "refused" })
                    else
                        c:publish("throw/" .. i, "x", { qos = 1, wait = false })
                        c:await("PUBACK")
                        if event ~= "deliver" and event ~= "publish" and event ~= "authorize" then
                            c:expect_publish("throw/" .. i, "x"):ack()
                        end
                    end
                    -- a log line is cut when it is too long, so not always with what was thrown
                    local what = b:log_wait("(" .. event .. " handler[^\n]*failed: [^\n]*)\n", from)
                    assert.truthy(what:find(row[2], 1, true), row[1] .. " in " .. event .. ": " .. what:sub(1, 200))
                end
                other:publish("fine", "x"):expect_publish("fine", "x")
            end
            for i in ipairs(THROWN) do
                local from = #b:log()
                other:publish("later/" .. i, "", { qos = 1 })
                b:log_wait("sol.after [^\n]*failed: ", from)
            end
        end)
    end)
end)

describe("a handler that waits or yields", function()
    local CANNOT = "cannot wait"

    it("where it cannot is told so, and can go on", function()
        eval.with({}, function(run)
            for code, said in pairs {
                ["table.sort({ 3, 2, 1 }, function(a, b) sol.sleep(0.001) return a < b end)"] = CANNOT,
                ["('x'):gsub('x', function() sol.sleep(0.001) end)"] = CANNOT,
                ["tostring(setmetatable({}, { __tostring = function() sol.sleep(0.001) return '' end }))"] = CANNOT,
                ["load(function() sol.sleep(0.001) end)"] = "nil",
                ["sol.json.encode(setmetatable({}, { __index = function() sol.sleep(0.001) end }))"] = "",
                ["xpcall(error, function() sol.sleep(0.001) end)"] = "",
                ["select(2, sol.spawn(function() coroutine.yield() end):join())"] = "outside a coroutine",
                ["coroutine.yield()"] = "outside a coroutine",
                ["coroutine.wrap(coroutine.yield)(sol.sleep(0.001))"] = "",
                ["coroutine.close(coroutine.running())"] = "cannot close a running coroutine",
                ["coroutine.resume(coroutine.running())"] = "false",
                ["coroutine.wrap(function() for i = 1, 3 do sol.sleep(0.001) coroutine.yield(i) end end)()"] = "",
                ["local _ <close> = setmetatable({}, { __close = function() sol.sleep(0.001) end })"] = "",
                ["sol.cache():get(1, function() coroutine.yield() end)"] = "nil",
                ["sol.once(1, function() return sol.once(1, print, 0.01) end, 0.02)"] = "",
            } do
                local answer = run("return tostring(select(2, pcall(function() return " .. (code:find "^local"
                    and "(function() " .. code .. " end)()" or code) .. " end)))")
                if said == "" then assert.is_string(answer) else assert.matches(said, answer, code) end
                assert.equal("fine", run "sol.sleep(0.001) return 'fine'", code)
            end
        end)
    end)

    it("leaves coroutines behind for the collector", function()
        eval.with({ config = "hook_budget = 30 vm_memory = 32 << 20" }, function(run, b)
            -- ThreadSanitizer keeps memory for every coroutine that never ends.
            for _ = 1, broker.is_lean() and 20 or 3 do
                assert.equal("ok", run [[
                    for _ = 1, 2000 do
                        coroutine.wrap(function()
                            local held <close> = setmetatable({}, { __close = error })
                            coroutine.yield(("x"):rep(1000))
                        end)()
                    end
                    return "ok"
                ]])
            end
            assert.is_nil(b:log():find "memory")
        end)
    end)

    it("lends nobody its coroutine, neither while it waits nor afterwards", function()
        eval.with({ config = "workers = 1 -- so that both find it" }, function(run, b)
            local parked = eval.client(b, "parked")
            parked:publish("eval", [[
                inner = coroutine.create(function() outer_closed = nil
                    local _ <close> = setmetatable({}, { __close = function() sol.log "closed" end })
                    sol.log "parking"
                    sol.sleep(3600)
                end)
                outer = coroutine.running()
                coroutine.resume(inner)
            ]])
            b:log_wait "parking"
            for _, name in ipairs { "inner", "outer" } do
                assert.matches("^false cannot resume", run("return coroutine.resume(" .. name .. ")"))
                assert.matches("^error: .*cannot close", run("return coroutine.close(" .. name .. ")"))
                assert.equal("fine", run "sol.sleep(0.001) return 'fine'")
            end
            parked:reset()
            b:log_wait "closed"
            for _, name in ipairs { "inner", "outer" } do
                assert.matches("^false cannot resume", run("return coroutine.resume(" .. name .. ")"))
                assert.is_string(run("return coroutine.status(" .. name .. ")"))
            end
        end)
    end)
end)

describe("a handler that disconnects its own client", function()
    -- How each event comes about for the client whose id it is.
    local PROVOKE = {
        subscribe = function(c) c:send { type = "SUBSCRIBE", id = 1, { filter = "t" } } end,
        unsubscribe = function(c) c:send { type = "UNSUBSCRIBE", id = 1, "t" } end,
        publish = function(c) c:publish("t", "x", { qos = 2, wait = false }) end,
        deliver = function(c, b)
            c:subscribe("t", 2)
            b:client("p"):publish("t", "x", { qos = 2 })
        end,
        acked = function(c, b)
            c:subscribe("t", 1)
            b:client("p"):publish("t", "x", { qos = 1 })
            c:expect_publish("t", "x"):ack()
        end,
        connect = function() end,
        disconnected = function(c) c:send { type = "DISCONNECT" } end,
    }
    PROVOKE.authorize, PROVOKE.published = PROVOKE.publish, PROVOKE.publish
    PROVOKE.subscribed, PROVOKE.unsubscribed = PROVOKE.subscribe, PROVOKE.unsubscribe
    PROVOKE.authenticate, PROVOKE.connected = PROVOKE.connect, PROVOKE.connect

    it("in any event ends that connection and nothing else", function()
        local events = {}
        for event in pairs(PROVOKE) do events[#events + 1] = event end
        table.sort(events)
        with_broker({ config = [[
            allow_anonymous = true
            for _, event in ipairs { "]] .. table.concat(events, '", "') .. [[" } do
                for _, waits in ipairs { false, true } do
                    sol.on(event, function(client, x)
                        if not client or client.id ~= event .. (waits and "-waits" or "") then return end
                        if waits then sol.sleep(0.001) end
                        local gone, why = client:disconnect(0x98, "by its own handler")
                        sol.log("%s %s %s %s %s", client.id, gone, why, client:disconnect())
                        if event == "publish" or event == "deliver" then x.payload = "changed all the same" end
                        if waits then sol.sleep(0.001) end
                    end)
                end
            end
        ]] }, function(b)
            local other = b:client("other"):subscribe("fine", 0)
            for _, event in ipairs(events) do
                for _, suffix in ipairs { "", "-waits" } do
                    local c = b:raw { version = 5 }
                    c:send { type = "CONNECT", client_id = event .. suffix,
                        will = { topic = "will", payload = "x", qos = 0 } }
                    if PROVOKE[event] ~= PROVOKE.connect then c:expect("CONNACK", { rc = 0 }) end
                    PROVOKE[event](c, b)
                    b:log_wait("policy   " .. event .. suffix:gsub("-", "%%-") .. " [tn][^\n]* nil closed\n")
                    repeat
                        local ok, err = pcall(c.take, c)
                    until not ok and (c.closed or error(err, 0))
                    other:publish("fine", "x"):expect_publish("fine", "x")
                end
            end
        end)
    end)
end)

describe("a handler that publishes without end", function()
    it("is stopped, and told how deep it was", function()
        with_broker({ config = [[
            workers = 1 -- which counts all
            local n = 0
            sol.on("publish", "as/#", function(client)
                n = n + 1
                assert(sol.publish("as/again", "x", { as = client }))
            end)
            sol.on("published", "told/#", function() n = n + 1 sol.publish("told/again", "x") end)
            sol.on("deliver", "deliver/#", function() n = n + 1 sol.publish("deliver/again", "x") end)
            sol.subscribe("heard/#", function() n = n + 1 sol.publish("heard/again", "x") end)
            sol.on("publish", "count", function(_, message) message.payload, n = tostring(n), 0 end)
        ]] }, function(b)
            local c = b:client("c"):subscribe("deliver/#", 0):subscribe("count", 0)
            for _, topic in ipairs { "as", "deliver", "heard" } do
                local from = #b:log()
                c:publish(topic .. "/1", "x", { qos = 1 })
                b:log_wait("messages cause messages, %d+ ", from)
                c:publish("count", "")
                local p
                repeat p = c:take() until p.topic == "count"
                local n = tonumber(p.payload)
                assert.is_true(n >= 1 and n <= 50, topic .. ": " .. n)
            end
        end)
    end)
end)

describe("a handler that changes what is fixed", function()
    it("is told when that was possible", function()
        eval.with({}, function(run)
            for code, said in pairs {
                ["sol.on('publish', print)"] = "sol.on: handlers are registered while the policy is loaded",
                ["plugin 'acl'"] = "plugin \"acl\": plugins are loaded with the policy",
                ["listen 'mqtt://127.0.0.1:1'"] = "listeners are fixed",
                ["sol.dns.servers { '127.0.0.1' }"] = "while the policy is loaded",
                ["sol.sleep = print"] = "sol",
                ["string.format = nil return ('%d'):format(1)"] = "",
                ["setmetatable('', {})"] = "table expected",
                ["client.id = 'x'"] = "client",
                ["client.colour = 'x'"] = "colour",
                ["rawset(client, 'id', 'x')"] = "table expected",
                ["getmetatable(client).__index = print"] = "",
            } do
                local answer = run(code)
                if said ~= "" then assert.matches("^error: .*" .. said, answer, code) end
                assert.equal("fine eval", run "return 'fine', client.id", code)
            end
        end)
    end)

    it("while it is walked over gets some order or an error, no more", function()
        eval.with({}, function(run)
            local walks = { [[
                for i = 1, 30 do client.attributes["a" .. i] = i end
                for name in pairs(client.attributes) do
                    client.attributes[name] = nil
                    client.attributes["b" .. name] = 1
                    if #name > 50 then break end
                end
            ]], [[
                for i = 1, 30 do client.session["a" .. i] = ("x"):rep(i) end
                for name, value in pairs(client.session) do client.session[name] = nil end
            ]], [[
                local t = {} for i = 1, 100 do t[i] = i end
                for k in pairs(t) do t[k] = nil t[-k] = k end
            ]], [[
                local t = { 1, 2, 3 }
                table.sort(t, function(a, b) t[#t + 1] = a return true end)
            ]], [[
                local c = sol.cache { size = 3 }
                for i = 1, 10 do c:get(i, function() c:clear() c:set(i, i) return i end) end
            ]], [[
                return sol.json.encode(setmetatable({ 1, 2 }, { __pairs = function(t) t[3] = 3 return next, t end }))
            ]], [[
                local t = {} t[1] = t
                return sol.json.encode(t)
            ]], [[
                local list = {}
                sol.log.info("x", setmetatable({}, { __index = function() list[#list + 1] = 1 end }))
                sol.log.info("x", { a = setmetatable({}, { __tostring = function() list.b = 1 return "y" end }) })
            ]] }
            for _, code in ipairs(walks) do
                run(code)
                assert.equal("fine", run "sol.sleep(0.001) return 'fine'", code)
            end
        end)
    end)

    it("in a message's properties while walking them does no harm", function()
        with_broker({ config = [[
            sol.on("publish", "t", function(_, message)
                local user = message.properties.user_properties
                for name in pairs(user) do
                    user[name] = nil
                    user["x" .. name] = "y"
                    message.properties = nil
                    user[#user + 1] = { "end", tostring(#user) }
                    if #user > 20 then break end
                end
                message.properties = { user_properties = user and { { "a", "b" } } }
            end)
        ]] }, function(b)
            local c = b:client("c", { version = 5 }):subscribe("t", 0)
            c:publish("t", "x", { props = { user = { { "one", "1" }, { "two", "2" }, { "one", "3" } } } })
            assert.same({ { "a", "b" } }, c:expect_publish("t", "x").props.user)
        end)
    end)
end)

describe("a handler that makes nonsense of", function()
    local function denied(b, c, topic)
        c:publish(topic, "x", { qos = 1, wait = false })
        assert.is_true(c:await("PUBACK").rc >= 0x80, topic)
        return b
    end

    it("a message is denied, and the next is served", function()
        local changes = {
            "m.topic = 'a/#'", "m.topic = ''", "m.topic = 'a\\0b'", "m.topic = '\\xff'", "m.topic = 7", "m.topic = nil",
            "m.topic = ('x'):rep(70000)", "m.topic = ('x/'):rep(300)", "m.payload = ('x'):rep(3000000)",
            "m.payload = nil", "m.payload = {}", "m.qos = 3", "m.qos = 0.5", "m.retain = 1", "m.expiry = -1",
            "m.expiry = 1 << 40", "m.properties = 7", "m.properties = { user_properties = { 'x' } }",
            "m.properties.response_topic = 'a/+'", "m.properties.payload_format_indicator = 2",
            "m.properties.content_type = '\\xff'", "m.properties.colour = 1", "m.colour = 1",
            "m.properties = { content_type = ('x'):rep(70000) }", "setmetatable(m, nil)", "m:copy().x.y = 1",
        }
        local rows = {}
        for i, code in ipairs(changes) do rows[i] = ("[%d] = function(m) %s end"):format(i, code) end
        with_broker({ config = [[
            max_packet_size = 2000000
            max_topic_levels = 200
            local changes = { ]] .. table.concat(rows, ",\n") .. [[ }
            sol.on("publish", "bad/+", function(_, m) changes[tonumber(m.topic:match "%d+")](m) end)
        ]] }, function(b)
            local c = b:client("c", { version = 5 }):subscribe("#", 1)
            for i, code in ipairs(changes) do
                denied(b, c, "bad/" .. i)
                c:publish("good", code, { qos = 0 }):expect_publish("good", code)
            end
        end)
    end)

    it("a CONNECT or a subscription refuses that one alone", function()
        local connects = {
            "x.client_id = 'a\\0b'", "x.client_id = ('x'):rep(70000)", "x.client_id = 7", "x.username = '\\xff'",
            "x.keep_alive = -1", "x.keep_alive = 70000", "x.session_expiry = -1", "x.session_expiry = 0 / 0",
            "x.will = { payload = 'no topic' }", "x.will = { topic = 'a/#' }", "x.will = 7", "x.mount_point = 'a/#/'",
            "x.mount_point = ('x/'):rep(40000)", "x.limits = { max_qos = 3 }", "x.limits.colour = 1", "x.colour = 1",
            "x.password = 'mine'", "x.version = 3",
        }
        local subscriptions = {
            "x.filter = 'a/#/b'", "x.filter = ''", "x.filter = 7", "x.filter = ('x'):rep(70000)", "x.qos = 3",
            "x.no_local = 1", "x.retain_handling = 3", "x.filter = '$share/g'", "x.identifier = 7",
            "x.filter = '\\xff'",
        }
        local function functions(list)
            local rows = {}
            for i, code in ipairs(list) do rows[i] = ("[%d] = function(x) %s end"):format(i, code) end
            return "{ " .. table.concat(rows, ",\n") .. " }"
        end
        with_broker({ config = [[
            allow_anonymous = true
            local connects, subscriptions = ]] .. functions(connects) .. ", " .. functions(subscriptions) .. [[

            sol.on("connect", function(client, x)
                local n = x.client_id:match "^connect(%d+)"
                if n then connects[tonumber(n)](x) end
            end)
            sol.on("subscribe", function(_, x)
                local n = x.filter:match "^subscribe(%d+)"
                if n then subscriptions[tonumber(n)](x) end
            end)
        ]] }, function(b)
            local other = b:client("other", { version = 5 }):subscribe("fine", 0)
            for i, code in ipairs(connects) do
                local c = b:raw { version = 5 }
                c:send { type = "CONNECT", client_id = "connect" .. i }
                assert.is_true(c:expect("CONNACK").rc >= 0x80, code)
                c:expect_close()
            end
            for i, code in ipairs(subscriptions) do
                local c = b:client("s", { version = 5 })
                c:send { type = "SUBSCRIBE", id = 1, { filter = "subscribe" .. i }, { filter = "t" } }
                local codes = c:expect("SUBACK").codes
                assert.is_true(codes[1] >= 0x80 and codes[2] == 0, code)
            end
            other:publish("fine", "x"):expect_publish("fine", "x")
        end)
    end)
end)

describe("a plugin that is wrong", function()
    it("is told with its place", function()
        local wrong = {
            { nil, "sol.lua:1: plugin \"./p\" not found: there is no .*/p" },
            { "local x = = 1", "p/init.lua:1: unexpected symbol near '='" },
            { "\n\nerror 'at its third line'", "p/init.lua:3: at its third line" },
            { "error {}", "sol.lua:1: plugin \"./p\": table: 0x" },
            { "return 7", "must return a table with a function `setup`" },
            { "return { setup = 7 }", "must return a table with a function `setup`" },
            { "return { setup = function() error() end }", "sol.lua:1: plugin \"./p\": nil" },
            { "return { setup = function() local x; return x.y end }", "p/init.lua:1: attempt to index a nil value" },
            { "return { defaults = 7, setup = function() end }", "`defaults` of .*/p/init.lua must be a table, not 7" },
            { "return setmetatable({}, { __index = function() error 'got you' end })", "got you" },
            { "\27Lua", "attempt to load a binary chunk" },
        }
        for _, row in ipairs(wrong) do
            local said, status = broker.check("plugin './p'", { ["p/init.lua"] = row[1] })
            assert.equal(1, status, row[1])
            assert.matches(row[2], said, row[1])
        end
    end)
end)

describe("a backend that is of no use", function()
    it("gives an error in time, and back what it took", function()
        world.with_world({ "chaos" }, function(chaos)
            local ports = { refuse = broker.free_port() }
            for what, port in chaos:said():gmatch "(%l+) (%d+)\n" do ports[what] = tonumber(port) end
            ports.port = nil
            eval.with({ globals = [[{
                ask = {
                    socket = function(port)
                        local s <close>, err = sol.socket.connect("tcp://127.0.0.1:" .. port, { timeout = 0.2 })
                        if not s then return nil, err end
                        s:send "hello\n"
                        return s:receive "line"
                    end,
                    http = function(port) return sol.http.get("http://127.0.0.1:" .. port, { timeout = 0.2 }) end,
                    redis = function(port)
                        return sol.redis.pool { port = port, timeout = 0.2, password = "x" }:get "key"
                    end,
                    pg = function(port)
                        return sol.pg.pool { port = port, timeout = 0.2, user = "x" }:query "SELECT 1"
                    end,
                    mqtt = function(port)
                        local c <close> = sol.mqtt.connect { port = port, timeout = 0.2, retry = 60 }
                        local ok, err = c:ready(0.4)
                        return ok, err -- no tail call: it would be closed before
                    end,
                },
            }]] }, function(run, b)
                local fds -- after a first round: then all that stays open is
                for _, what in ipairs { "refuse", "hang", "reset", "end", "garbage", "dribble", "flood" } do
                    local said = run(([[
                        local tasks, said = {}, {}
                        for name, fn in pairs(ask) do tasks[name] = sol.spawn(fn, %d) end
                        for name, task in pairs(tasks) do
                            local done, value, err = task:join()
                            said[#said + 1] = name .. ": " .. (done and value == nil and err or "?")
                        end
                        return table.concat(said, "\n")
                    ]]):format(ports[what]))
                    assert.equal(4, select(2, said:gsub("\n", "")), what .. ": " .. said)
                    -- a line is a line, from whomever it comes
                    if what == "flood" or what == "garbage" then said = said:gsub("socket: %?", "socket: line") end
                    assert.is_nil(said:find(": ?", 1, true), what .. ": " .. said)
                    fds = fds or b:fds()
                end
                wait.till("the connections to be closed", function()
                    run "return 'a turn of the loop'"
                    return b:fds() <= fds
                end)
            end)
        end)
    end)
end)
