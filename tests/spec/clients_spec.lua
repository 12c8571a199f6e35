-- SPDX-License-Identifier: BSD-2-Clause
--
-- Clients that others have written: mosquitto's, paho (Python) and MQTT.js.

local broker = require "support.broker"
local wait = require "support.wait"

local with_broker, run = broker.with_broker, broker.run

-- A policy that says who has subscribed, so that a spec need not guess when.
local TELLS = [[sol.on("subscribed", function(client) sol.log.info("now subscribed: " .. client.id .. ".") end)]]

local function pub(b, ...)
    local r = run { "mosquitto_pub", "-p", tostring(b.port), ... }
    assert.equal(0, r.status, r.stderr)
    return r
end

-- Start mosquitto_sub as client `id`, wait for its subscription, run `during`, and return what it
-- printed when it had received enough (-C) or its connection ended.
local function sub(b, id, options, during)
    local printed
    broker.with_dir(function(dir)
        local process = broker.spawn(dir, { "mosquitto_sub", "-p", tostring(b.port), "-i", id,
            table.unpack(options) })
        b:log_wait("now subscribed: " .. id .. "%.")
        during(process)
        local how = process:wait(wait.scaled(10))
        printed = broker.read_file(dir .. "/out") .. broker.read_file(dir .. "/err")
        if not how then wait.fail("mosquitto_sub goes on waiting; it has printed:\n%s", printed) end
    end)
    return printed
end

for _, version in ipairs { "mqttv31", "mqttv311", "mqttv5" } do
    describe("mosquitto's clients with " .. version, function()
        for qos = 0, 2 do
            it("exchange messages of QoS " .. qos, function()
                with_broker({ config = TELLS }, function(b)
                    local q = tostring(qos)
                    local options = { "-V", version, "-q", q, "-t", "t/#", "-C", "3", "-v" }
                    local printed = sub(b, "reader", options, function()
                        for i = 1, 3 do pub(b, "-V", version, "-q", q, "-t", "t/" .. i, "-m", "message " .. i) end
                    end)
                    assert.equal("t/1 message 1\nt/2 message 2\nt/3 message 3\n", printed)
                end)
            end)
        end

        it("send many lines in order", function()
            with_broker({ config = TELLS }, function(b)
                local lines = {}
                for i = 1, 500 do lines[i] = "line " .. i .. "\n" end
                local text = table.concat(lines)
                local printed = sub(b, "reader", { "-V", version, "-q", "1", "-t", "t", "-C", "500" }, function()
                    local command = { "mosquitto_pub", "-p", tostring(b.port), "-V", version, "-q", "1", "-t", "t",
                        "-l" }
                    assert.equal(0, run(command, { input = text }).status)
                end)
                assert.equal(text, printed)
            end)
        end)

        it("see retained messages", function()
            with_broker({ config = TELLS }, function(b)
                pub(b, "-V", version, "-t", "kept", "-m", "still here", "-r", "-q", "1")
                local printed = sub(b, "reader", { "-V", version, "-t", "kept", "-C", "1", "-F", "%r %p" },
                    function() end)
                assert.equal("1 still here\n", printed)
            end)
        end)

        it("see the will of one that was killed", function()
            with_broker({ config = TELLS }, function(b)
                local printed = sub(b, "reader", { "-V", version, "-t", "wills", "-C", "1" }, function()
                    sub(b, "doomed", { "-V", version, "-t", "x", "--will-topic", "wills", "--will-payload", "gone",
                        "--will-qos", "1" }, function(process) process:kill(9) end)
                end)
                assert.equal("gone\n", printed)
            end)
        end)

        it("find queued messages when they come back", function()
            with_broker({ config = TELLS }, function(b)
                local kept = { "-V", version, "-c", "-q", "1", "-t", "queue" }
                if version == "mqttv5" then
                    table.move({ "-x", "300" }, 1, 2, #kept + 1, kept)
                end
                sub(b, "reader", { "-E", table.unpack(kept) }, function() end)
                for i = 1, 3 do pub(b, "-V", version, "-q", "1", "-t", "queue", "-m", tostring(i)) end
                assert.equal("1\n2\n3\n", sub(b, "reader", { "-C", "3", table.unpack(kept) }, function() end))
            end)
        end)

        it("are told that they may not", function()
            with_broker({ config = "allow_anonymous = false" }, function(b)
                local r = run { "mosquitto_pub", "-p", tostring(b.port), "-V", version, "-t", "t", "-m", "x" }
                assert.is_true(r.status > 0)
                assert.matches("[Nn]ot authori[sz]ed", r.stdout .. r.stderr)
            end)
        end)
    end)
end

it("mosquitto_rr gets an answer from a policy", function()
    with_broker({ config = [[
        sol.on("publish", "question", function(_, m)
            sol.publish(m.properties.response_topic, "the answer to " .. m.payload, { properties = {
                correlation_data = m.properties.correlation_data } })
        end)
    ]] }, function(b)
        local r = run { "mosquitto_rr", "-p", tostring(b.port), "-V", "mqttv5", "-t", "question", "-e", "answer/1",
            "-m", "everything", "-W", "10" }
        assert.equal("the answer to everything\n", r.stdout)
    end)
end)

describe("the client library", function()
    for level = 3, 5 do
        for name, command in pairs {
            ["paho (Python)"] = { "/usr/bin/python3", "tests/support/paho_client.py" },
            ["MQTT.js"] = { "node", "tests/support/mqttjs.js" },
        } do
            it(("%s talks at level %d"):format(name, level), function()
                with_broker({}, function(b)
                    local r = run({ command[1], command[2], tostring(b.port), tostring(level) }, { timeout = 40 })
                    assert.equal(0, r.status, r.stdout .. r.stderr)
                    assert.matches("reconnect ok", r.stdout)
                end)
            end)
        end
    end
end)
