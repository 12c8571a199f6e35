-- SPDX-License-Identifier: BSD-2-Clause
--
-- Clients that take small packets only, and CONNECTs that take much memory.

local broker = require "support.broker"
local mqtt = require "support.mqtt"
local wait = require "support.wait"

local with_broker = broker.with_broker

describe("a client's Maximum Packet Size", function()
    -- Room for CONNACK as it is by default, and no more.
    it("makes CONNACK leave out what is for comfort, and nothing else", function() -- [MQTT-3.2.2-19]
        with_broker({}, function(b)
            local function connack(size)
                local c = b:raw { version = 5 }
                c:send { type = "CONNECT", client_id = "", props = { maximum_packet_size = size } }
                return c, c:take()
            end
            local _, ack = connack(1000)
            local needed = 0
            for size = 60, 20, -1 do
                local c = b:raw { version = 5 }
                c:send { type = "CONNECT", client_id = "", props = { maximum_packet_size = size } }
                local answer = c:take()
                if answer.rc ~= 0 then
                    needed = size + 1
                    assert.equal(0x95, answer.rc)
                    c:expect_close()
                    break
                end
                assert.equal(36, #answer.props.assigned_client_id)
                assert.equal(ack.props.receive_maximum, answer.props.receive_maximum)
            end
            assert.is_true(needed > 40)
        end)
    end)

    it("ends the connection where not even a refusal fits", function()
        with_broker({}, function(b)
            local c = b:raw { version = 5 }
            c:send { type = "CONNECT", client_id = "c", props = { maximum_packet_size = 4 } }
            c:expect_close()
            b:log_wait "CONNACK larger than the client takes"
        end)
    end)

    it("leaves no session behind when CONNACK does not fit", function()
        with_broker({}, function(b)
            local c = b:raw { version = 5 }
            c:send { type = "CONNECT", client_id = "c", clean = false,
                props = { maximum_packet_size = 10, session_expiry = 100 } }
            c:expect("CONNACK", { rc = 0x95 })
            c:expect_close()
            assert.is_false(b:client("c", { version = 5, clean = false }).connack.session_present)
        end)
    end)

    it("makes acknowledgements leave out their reason", function() -- [MQTT-3.4.2-2]
        with_broker({ config = [[
            sol.on("publish", function() return sol.deny(0x97, ("why "):rep(100)) end)
            sol.on("subscribe", function() return sol.deny(0x97, ("why "):rep(100)) end)
        ]] }, function(b)
            local c = b:client("c", { version = 5, props = { maximum_packet_size = 100 } })
            c:publish("t", "x", { qos = 1, rc = 0x97 }):publish("t", "x", { qos = 2, rc = 0x97 })
            c:subscribe("t", 0, { rc = 0x97 })
        end)
    end)
end)

describe("unfinished CONNECTs", function()
    -- CONNECT with a will of `size` bytes of user properties around it.
    local function large_connect(id, size)
        local user = {}
        for i = 1, size // 60000 + 1 do user[i] = { "k", ("x"):rep(math.min(size, 60000)) } end
        return mqtt.encode({ type = "CONNECT", client_id = id, props = { user = user } }, 5)
    end

    -- A CONNECT of so many bytes is taken, once the memory others held is given back.
    local function comes_in(b, id, size)
        wait.till("the memory to be given back", function()
            local c = b:raw { version = 5 }
            local ok = pcall(function()
                c:send_raw(large_connect(id, size))
                c:expect("CONNACK", { rc = 0 })
            end)
            return ok
        end)
    end

    it("may be as large as MQTT has need of", function()
        with_broker({}, function(b)
            b:client(("x"):rep(65535), { version = 5 })
            local c = b:raw { version = 5 }
            c:send_raw(large_connect("c", 75000))
            c:expect("CONNACK", { rc = 0 })
            b:client("d", { version = 4, username = ("u"):rep(65535), password = ("p"):rep(65535),
                will = { topic = ("w"):rep(65535), payload = ("x"):rep(65535) } })
        end)
    end)

    it("share a bounded memory", function()
        with_broker({ config = "max_packet_size = 100000000\nmax_connect_bytes = 8 * 1024 * 1024", nofile = 500 },
            function(b)
                local before, half = b:rss_kb(), large_connect("c", 3000000):sub(1, -2)
                local socks = {}
                for i = 1, 30 do
                    local c = b:raw { version = 5 }
                    c:send_raw(half)
                    socks[i] = c
                end
                b:log_wait "unfinished CONNECTs hold max_connect_bytes"
                -- others come in meanwhile, and those that are closed free what they held
                b:client("small", { version = 5 }):publish("t", "x", { qos = 1 })
                wait.till("enough of them to be closed", function()
                    local _, closed = b:log():gsub("hold max_connect_bytes", "")
                    return closed >= 27
                end)
                local grown = b:rss_kb() - before
                if broker.is_lean() then assert.is_true(grown < 40 * 1024, grown .. " KiB") end
                for _, c in ipairs(socks) do c:drop() end
                comes_in(b, "again", 3000000)
                comes_in(b, "and again", 5000000)
            end)
    end)

    it("count while handlers decide about them", function()
        with_broker({ config = [[
            max_packet_size = 100000000
            max_connect_bytes = 4 * 1024 * 1024
            sol.on("connect", function(client, connect)
                if not connect.client_id:find "^slow" then return end
                sol.log.info "slow is held"
                sol.sleep(3600)
            end, { timeout = 3600 })
        ]] }, function(b)
            local slow = b:raw { version = 5 }
            slow:send_raw(large_connect("slow", 3000000))
            b:log_wait "slow is held"
            local c = b:raw { version = 5 }
            c:send_raw(large_connect("c", 2000000))
            b:log_wait "unfinished CONNECTs hold max_connect_bytes"
            b:client("small")
            slow:reset() -- a mere end would be read when the handler is done
            comes_in(b, "c", 2000000)
        end)
    end)
end)

describe("retained messages", function()
    it("go when they have expired, asked for or not", function()
        with_broker({ config = "sys_interval = 0.1" }, function(b)
            local watch = b:client("watch"):subscribe("$SYS/broker/retained messages/count", 0)
            local function count() return tonumber(watch:take().payload) end
            local c = b:client("c", { version = 5 })
            for i = 1, 50 do
                c:publish("r/" .. i, "x", { qos = 0, retain = true, props = { message_expiry = 2 } })
            end
            c:ping()
            local most, now = 0, 0
            wait.till("the count to rise by them and to fall again", function()
                now = count()
                most = math.max(most, now)
                return most > 50 and now <= most - 40 -- $SYS is retained too, and may grow by some
            end)
        end)
    end)
end)

