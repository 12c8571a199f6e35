-- SPDX-License-Identifier: BSD-2-Clause
--
-- Policy in Lua: which hooks are asked, in which order, what their verdicts do
-- and what they may change.

local with_broker = require("support.broker").with_broker

-- A broker with this policy.
local function policy(text, spec) with_broker({ config = text }, spec) end

describe("a connect hook", function()
    it("sees who connects", function()
        policy([[
            sol.on("connect", function(client, connect)
                if connect.client_id ~= "c" or connect.username ~= "u" or connect.keep_alive ~= 77
                    or connect.will.topic ~= "w" or connect.will.payload ~= "bye" then
                    return sol.deny()
                end
            end)
        ]], function(b)
            b:client("c", { username = "u", password = "p", keepalive = 77, will = { topic = "w", payload = "bye" } })
            b:raw():send({ type = "CONNECT", client_id = "d" }):expect_refused { 5 }
        end)
    end)

    for _, row in ipairs {
        { "sol.deny()", 5, 0x87 },
        { "false", 5, 0x87 },
        { "sol.deny(0x87)", 5, 0x87 },
        { "sol.deny(0x86)", 4, 0x86 },
        { "sol.deny(0x85)", 2, 0x85 },
        { "sol.deny(0x88)", 3, 0x88 },
        { "sol.deny(0x97)", nil, 0x97 },
        { "sol.deny(0x8A, 'banned')", 5, 0x8A },
    } do
        it(("denies with %s"):format(row[1]), function()
            policy(("sol.on('connect', function() return %s end)"):format(row[1]), function(b)
                for version = 3, 5 do
                    local c = b:raw { version = version }
                    c:send { type = "CONNECT", client_id = "c" }
                    local m = c:expect "CONNACK"
                    assert.is_false(m.session_present)
                    if version == 5 then assert.equal(row[3], m.rc)
                    elseif row[2] then assert.equal(row[2], m.rc)
                    else assert.is_true(m.rc >= 1 and m.rc <= 5) end
                    c:expect_close()
                end
            end)
        end)
    end

    it("tells an MQTT 5 client the reason", function()
        policy("sol.on('connect', function() return sol.deny(0x8A, 'you are banned') end)", function(b)
            local c = b:client("c", { version = 5, connack = 0x8A })
            assert.equal("you are banned", c.connack.props.reason)
        end)
    end)

    it("keeps the reason from a client that does not want it", function() -- [MQTT-3.1.2-29]
        policy("sol.on('connect', function() return sol.deny(0x8A, 'secret') end)", function(b)
            -- allowed in CONNACK, so either is right; it must not break the packet
            b:client("c", { version = 5, connack = 0x8A, props = { request_problem = 0 } }):expect_close()
        end)
    end)

    it("changes the client id", function()
        policy([[
            sol.on("connect", function(client, connect) connect.client_id = "tenant/" .. connect.client_id end)
        ]], function(b)
            local one = b:client("c")
            b:client("c"):ping()
            one:expect_close() -- the same effective id
            policy([[sol.on("connect", function(client, connect)
                connect.client_id = connect.client_id .. math.random(1 << 40) end)]], function(b2)
                local first = b2:client("c")
                b2:client("c"):ping()
                first:ping()
            end)
        end)
    end)

    it("changes the will", function()
        policy([[
            sol.on("connect", function(client, connect)
                if connect.will then connect.will.topic = "wills/" .. connect.client_id end
            end)
        ]], function(b)
            local w = b:client("w"):subscribe("#")
            b:client("c", { will = { topic = "x", payload = "bye" } }):drop()
            w:expect_publish("wills/c", "bye"):expect_nothing()
        end)
    end)

    it("removes the will", function()
        policy("sol.on('connect', function(client, connect) connect.will = nil end)", function(b)
            local w = b:client("w"):subscribe("#")
            b:client("c", { will = { topic = "x", payload = "bye" } }):drop()
            b:client("probe"):ping()
            w:expect_nothing()
        end)
    end)

    it("changes the keep-alive and says so to MQTT 5", function()
        policy("sol.on('connect', function(client, connect) connect.keep_alive = 1 end)", function(b)
            local c = b:client("c", { version = 5, keepalive = 600 })
            assert.equal(1, c.connack.props.server_keep_alive)
            c:expect_disconnect(0x8D, 8)
        end)
    end)

    it("changes the session expiry and says so to MQTT 5", function()
        policy("sol.on('connect', function(client, connect) connect.session_expiry = 0 end)", function(b)
            local c = b:client("c", { version = 5, clean = false, props = { session_expiry = 1000 } })
            assert.equal(0, c.connack.props.session_expiry)
            assert.is_false(c:disconnect():reconnect().connack.session_present)
        end)
    end)
end)

describe("an authenticate hook", function()
    local USERS = [[
        sol.on("authenticate", function(client, credentials)
            if credentials.username == "ann" and credentials.password == "s3cret" then return sol.allow() end
            if credentials.username then return sol.deny() end
        end)
    ]]

    it("allows the right password", function()
        policy(USERS, function(b)
            for version = 3, 5 do
                b:client("c", { version = version, username = "ann", password = "s3cret" }):ping()
            end
        end)
    end)

    it("denies a wrong one with 'bad user name or password'", function()
        policy(USERS, function(b)
            for version = 3, 5 do
                b:client("c", { version = version, username = "ann", password = "wrong",
                    connack = version == 5 and 0x86 or 4 }):expect_close()
            end
        end)
    end)

    it("leaves the anonymous to allow_anonymous, which is then false", function()
        policy(USERS, function(b)
            b:client("c", { connack = 5 }):expect_close()
            b:client("c", { version = 5, connack = 0x87 }):expect_close()
        end)
    end)

    it("leaves the anonymous to allow_anonymous when that says true", function()
        policy("allow_anonymous = true\n" .. USERS, function(b)
            b:client("c"):ping()
            b:client("c", { username = "ann", password = "x", connack = 4 })
        end)
    end)

    it("is not needed to keep the anonymous out", function()
        policy("allow_anonymous = false", function(b)
            b:client("c", { connack = 5 }):expect_close()
            b:client("c", { version = 5, connack = 0x87 }):expect_close()
        end)
    end)

    it("hands over to the next when it says nothing", function()
        policy([[
            sol.on("authenticate", function(client, c) if c.username == "one" then return true end end)
            sol.on("authenticate", function(client, c) if c.username == "two" then return true end end)
        ]], function(b)
            b:client("a", { username = "one" })
            b:client("b", { username = "two" })
            b:client("c", { username = "three", connack = 5 })
        end)
    end)

    it("renames the user and leaves attributes for later hooks", function()
        policy([[
            sol.on("authenticate", function(client, credentials)
                credentials.username = credentials.username:upper()
                client.attributes.team = "red"
                return true
            end)
            sol.on("publish", function(client, message)
                message.payload = client.username .. " " .. client.attributes.team
            end)
        ]], function(b)
            local c = b:client("c", { username = "ann" }):subscribe("t"):publish("t", "x")
            c:expect_publish("t", "ANN red")
        end)
    end)

    it("takes passwords of any bytes", function()
        policy([[
            sol.on("authenticate", function(client, c) return c.password == "\0\xff\0" end)
        ]], function(b)
            b:client("c", { username = "u", password = "\0\xff\0" }):ping()
            b:client("c", { username = "u", password = "\0", connack = 4 })
        end)
    end)
end)

describe("a publish hook", function()
    it("is asked for the topics of its filter only", function()
        policy([[
            sol.on("publish", "a/+/x", function(client, message) message.payload = message.payload .. "!" end)
        ]], function(b)
            local c = b:client("c"):subscribe("#")
            for topic, wanted in pairs { ["a/b/x"] = "m!", ["a/b/y"] = "m", ["a/x"] = "m", ["b/b/x"] = "m" } do
                c:publish(topic, "m"):expect_publish(topic, wanted)
            end
        end)
    end)

    it("runs by priority, then in the order of the file", function()
        policy([[
            local function mark(letter) return function(_, m) m.payload = m.payload .. letter end end
            sol.on("publish", mark "c")
            sol.on("publish", "t", mark "a", { priority = 10 })
            sol.on("publish", mark "d")
            sol.on("publish", mark "e", { priority = -5 })
            sol.on("publish", mark "b", { priority = 10 })
        ]], function(b)
            b:client("c"):subscribe("t"):publish("t", ""):expect_publish("t", "abcde")
        end)
    end)

    it("denies: 0x87 to MQTT 5, silence and an acknowledgement to the others", function()
        policy([[sol.on("publish", "no/#", function() return sol.deny() end)]], function(b)
            local watcher = b:client("w"):subscribe("#")
            for version = 3, 5 do
                local c = b:client("c", { version = version })
                local rc = version == 5 and 0x87 or nil
                c:publish("no/0", "x")
                c:publish("no/1", "x", { qos = 1, rc = rc }):publish("no/2", "x", { qos = 2, rc = rc })
                c:publish("yes", "y", { qos = 1 })
                watcher:expect_publish("yes", "y"):expect_nothing()
            end
        end)
    end)

    for _, row in ipairs { { "sol.deny(0x99, 'not JSON')", 0x99, "not JSON" }, { "sol.deny(0x97)", 0x97 },
        { "false", 0x87 }, { "sol.deny(0x83)", 0x83 }, { "sol.deny(nil, 'because')", 0x87, "because" } } do
        it("denies with " .. row[1], function()
            policy(("sol.on('publish', function() return %s end)"):format(row[1]), function(b)
                local c = b:client("c", { version = 5 })
                for qos = 1, 2 do
                    c:publish("t", "x", { qos = qos, rc = row[2] })
                    assert.equal(row[3], c.last.props.reason)
                end
                c:ping()
            end)
        end)
    end

    it("frees the identifier of a QoS 2 publish that it denied", function()
        policy([[sol.on("publish", "no", function() return sol.deny() end)]], function(b)
            local c = b:client("c", { version = 5 }):subscribe("yes")
            c:publish("no", "x", { qos = 2, id = 5, rc = 0x87 })
            c:publish("yes", "x", { qos = 2, id = 5 }):expect_publish("yes", "x"):expect_nothing()
        end)
    end)

    it("drops: acknowledged, delivered to nobody", function()
        policy([[sol.on("publish", "gone", function() return sol.drop() end)]], function(b)
            local watcher = b:client("w"):subscribe("#")
            for version = 4, 5 do
                local c = b:client("c", { version = version }):publish("gone", "x")
                for qos = 1, 2 do
                    c:publish("gone", "x", { qos = qos })
                    assert.is_true(c.last.rc < 0x80)
                end
            end
            watcher:expect_nothing()
        end)
    end)

    it("goes on when it says nothing, nil or allow", function()
        policy([[
            sol.on("publish", function() end)
            sol.on("publish", function() return nil end)
            sol.on("publish", function() return sol.allow() end)
            sol.on("publish", function() return true end)
        ]], function(b) b:client("c"):subscribe("t"):publish("t", "x"):expect_publish("t", "x") end)
    end)

    it("changes topic, payload, QoS and retain", function()
        policy([[
            sol.on("publish", "in/#", function(client, message)
                message.topic = message.topic:gsub("^in/", "out/")
                message.payload = message.payload:reverse()
                message.qos = 2
                message.retain = true
            end)
        ]], function(b)
            local c = b:client("c"):subscribe("#", 2):publish("in/x", "abc", { qos = 1 })
            c:expect_publish("out/x", "cba", { qos = 2, retain = false }):ack():expect_nothing()
            b:client("late"):subscribe("#", 2):expect_publish("out/x", "cba", { qos = 2, retain = true })
        end)
    end)

    it("changes for those after it, whose filters look at the new topic", function()
        policy([[
            sol.on("publish", "a", function(_, m) m.topic = "b" end)
            sol.on("publish", "b", function(_, m) m.payload = m.payload .. " seen by b" end, { priority = -1 })
        ]], function(b)
            b:client("c"):subscribe("#"):publish("a", "x"):expect_publish("b", "x seen by b")
        end)
    end)

    for _, topic in ipairs { "a/#", "+", "", "a\\0b", "\\xff\\xfe", "x" } do
        it(("that sets the topic %q is judged anew"):format(topic), function()
            policy(([[sol.on("publish", "t", function(_, m) m.topic = "%s" end)]]):format(topic), function(b)
                local watcher = b:client("w"):subscribe("#")
                local c = b:client("c", { version = 5 })
                if topic == "x" then
                    c:publish("t", "m", { qos = 1 })
                    watcher:expect_publish("x", "m"):expect_nothing()
                else
                    c:publish("t", "m", { qos = 1, rc = "refused" }):ping()
                    watcher:expect_nothing()
                end
            end)
        end)
    end

    for _, change in ipairs { "qos = 3", "qos = -1", "qos = 'high'", "payload = {}", "topic = 5 == 5",
        "retain = 'perhaps'", "topics = 'x'" } do
        it("that sets " .. change .. " is in error", function()
            policy(([[sol.on("publish", "t", function(_, m) m.%s end)]]):format(change), function(b)
                local watcher = b:client("w"):subscribe("#")
                b:client("c", { version = 5 }):publish("t", "m", { qos = 1, rc = "refused" }):ping()
                watcher:expect_nothing()
                b:log_wait "sol%.lua:2"
            end)
        end)
    end

    it("sees and changes the properties of MQTT 5", function()
        policy([[
            sol.on("publish", function(client, message)
                local p = message.properties
                p.content_type = p.content_type .. "; charset=utf-8"
            end)
        ]], function(b)
            local c = b:client("c", { version = 5 }):subscribe("t")
            c:publish("t", "x", { props = { content_type = "text/plain", user = { { "k", "v" } } } })
            local m = c:expect_publish("t", "x")
            assert.equal("text/plain; charset=utf-8", m.props.content_type)
            assert.same({ { "k", "v" } }, m.props.user)
        end)
    end)

    it("sees wills, and may deny them", function()
        policy([[sol.on("publish", "secret", function() return sol.deny() end)]], function(b)
            local w = b:client("w"):subscribe("#")
            b:client("c", { will = { topic = "secret", payload = "x" } }):drop()
            b:client("d", { will = { topic = "open", payload = "y" } }):drop()
            w:expect_publish("open", "y"):expect_nothing()
        end)
    end)
end)

describe("a refused hook", function()
    it("tells what was refused, and why", function()
        with_broker({ config = [[
            sol.on("refused", function(client, facts)
                sol.publish("told", table.concat({ tostring(client.id), tostring(client.username), facts.action,
                    tostring(facts.topic), ("0x%02X"):format(facts.reason_code), tostring(facts.reason) }, " "))
                if facts.topic == "go/away" then client:disconnect() end
            end)
            sol.on("authenticate", function(client, credentials)
                if credentials.username == "eve" then return sol.deny(0x8A, "go home") end
                if credentials.username then client:grant { { "all", "t" }, { "deny", "#" } } end
                return sol.allow()
            end)
            sol.on("subscribe", "no/#", function() return sol.deny() end)
            sol.on("authorize", "secret/#", function() return sol.deny(0x87, "hush") end)
            sol.on("publish", "go/away", function() return sol.deny() end)
            default_access = "allow"
            max_payload_size = 2000
        ]] }, function(b)
            local w = b:client("w", { version = 5 }):subscribe("told", 0)
            b:client("bad", { version = 5, username = "eve", connack = 0x8A })
            w:expect_publish("told", "bad eve connect nil 0x8A go home")
            local c = b:client("c", { version = 5 })
            c:subscribe("no/1", 1, { rc = 0x87 }):subscribe("secret/1", 1, { rc = 0x87 })
            w:expect_publish("told", "c nil subscribe no/1 0x87 nil")
            w:expect_publish("told", "c nil subscribe secret/1 0x87 hush")
            c:publish("secret/2", "x"):publish("secret/3", "x", { qos = 1, rc = 0x87 })
            w:expect_publish("told", "c nil publish secret/2 0x87 hush")
            w:expect_publish("told", "c nil publish secret/3 0x87 hush")
            c:publish("$SYS/x", "x", { qos = 1, rc = 0x87 })
            w:expect_publish("told", "c nil publish $SYS/x 0x87 nil")
            local granted = b:client("g", { version = 5, username = "granted" })
            granted:publish("other", "x", { qos = 1, rc = 0x87 }):subscribe("other", 0, { rc = 0x87 })
            w:expect_publish("told", "g granted publish other 0x87 nil")
            w:expect_publish("told", "g granted subscribe other 0x87 nil")
            granted:publish("t", ("x"):rep(3000), { qos = 1, rc = 0x97 })
            w:expect_publish("told", "g granted publish t 0x97 payload larger than max_payload_size")
            c:publish("go/away", "x", { qos = 1, rc = 0x87 }):expect_disconnect(0x98)
            w:expect_publish("told", "c nil publish go/away 0x87 nil")
        end)
    end)
end)
