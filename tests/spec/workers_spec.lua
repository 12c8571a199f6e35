-- SPDX-License-Identifier: BSD-2-Clause
--
-- Several workers: whoever clients talk to, they must not be able to tell.  Which worker a
-- client lives on is chance, so every spec takes enough of them to have some on each.

local mqtt = require "support.mqtt"
local wait = require "support.wait"
local with_broker = require("support.broker").with_broker
local workers = require "support.workers"

local several, client_where = workers.several, workers.client_where

-- `n` clients, no two neighbours on one worker.
local function crowd(b, stem, n, opts)
    local all, last = {}, nil
    for i = 1, n do
        all[i], last = client_where(b, stem .. i .. ".", function(home) return home ~= last end, opts)
    end
    return all
end

-- Publish `count` messages of each QoS to "t/QOS/NAME" and see them acknowledged.
local function publish_round(p, from, count)
    local name, ids, bytes = p.opts.client_id, {}, {}
    for i = from, from + count - 1 do
        for qos = 0, 2 do
            local id = qos > 0 and p:packet_id() or nil
            if id then ids[#ids + 1] = { qos = qos, id = id } end
            bytes[#bytes + 1] = mqtt.encode({ type = "PUBLISH", topic = ("t/%d/%s"):format(qos, name),
                payload = tostring(i), qos = qos, id = id }, p.version)
        end
    end
    p:send_raw(table.concat(bytes))
    for _, sent in ipairs(ids) do
        if sent.qos == 2 then p:await("PUBREC", sent.id):send { type = "PUBREL", id = sent.id } end
    end
    for _, sent in ipairs(ids) do p:await(sent.qos == 1 and "PUBACK" or "PUBCOMP", sent.id) end
end

-- Take and acknowledge `n` messages; each must follow the one before it of its topic and be of `qos`
-- at most.
local function take_in_order(s, n, seen)
    for _ = 1, n do
        local m = s:await "PUBLISH"
        local number = tonumber(m.payload)
        assert.equal((seen[m.topic] or 0) + 1, number, m.topic .. " at " .. s.opts.client_id)
        assert.equal(tonumber(m.topic:match "^t/(%d)"), m.qos)
        seen[m.topic] = number
        m:ack()
    end
end

describe("messages between workers", function()
    it("keep their order for each publisher and QoS, and come once", function()
        several("", function(b)
            local ROUNDS, BATCH = 6, 12
            local readers, seen = crowd(b, "reader", 5), {}
            for i, s in ipairs(readers) do
                seen[i] = {}
                s:subscribe("t/#", 2)
                s:subscribe("t/+/+", 2) -- overlaps: still once
            end
            local writers = crowd(b, "writer", 5, { version = 5 })
            for round = 1, ROUNDS do
                for _, p in ipairs(writers) do publish_round(p, (round - 1) * BATCH + 1, BATCH) end
                for i, s in ipairs(readers) do take_in_order(s, #writers * BATCH * 3, seen[i]) end
            end
            for _, s in ipairs(readers) do s:expect_nothing() end
        end)
    end)

    it("do not come back to one who asked for no local ones", function()
        several("", function(b)
            local all = crowd(b, "c", 4, { version = 5 })
            for _, c in ipairs(all) do c:subscribe("t", 1, { no_local = true }) end
            for i, p in ipairs(all) do
                p:publish("t", tostring(i), { qos = 1 })
                for _, c in ipairs(all) do
                    if c ~= p then c:expect_publish("t", tostring(i)):ack() end
                end
            end
            for _, c in ipairs(all) do c:expect_nothing() end
        end)
    end)

    it("that nobody takes may be looked at later", function()
        several([[
            sol.on("dropped", "t/#", function(_, message)
                sol.sleep(0.05)
                sol.publish("lost", message.payload)
            end)
        ]], function(b)
            local N = 20
            local p, home = client_where(b, "p", function() return true end)
            local s = client_where(b, "s", function(its) return its ~= home end,
                { version = 5, props = { maximum_packet_size = 90 } })
            local listener = b:client("listener"):subscribe("lost")
            s:subscribe("t/#")
            local sent = {}
            for i = 1, N do -- one after the other: each finds memory of the one before used again
                sent[i] = ("%03d"):format(i):rep(40)
                p:publish("t/" .. i, sent[i], { qos = 0 }):ping()
            end
            for i = 1, N do listener:expect_publish("lost", sent[i]) end
            p:publish("t/short", "taken")
            s:expect_publish("t/short", "taken")
        end)
    end)

    it("are told apart by subscription identifiers where they arrive", function()
        several([[overlapping = "each"]], function(b)
            local all = crowd(b, "c", 3, { version = 5 })
            for i, c in ipairs(all) do
                c:subscribe("t/#", 0, { props = { subscription_id = i } })
                c:subscribe("t/+", 0, { props = { subscription_id = i + 10 } })
            end
            all[1]:publish("t/x", "m")
            for i, c in ipairs(all) do
                local ids = {}
                for k = 1, 2 do
                    local id = c:expect_publish("t/x", "m").props.subscription_id
                    ids[k] = type(id) == "table" and id[1] or id
                end
                table.sort(ids)
                assert.same({ i, i + 10 }, ids)
            end
        end)
    end)

    it("that are retained are there for subscribers of every worker", function()
        several("", function(b)
            local all = crowd(b, "c", 5)
            for round = 1, 3 do
                for i, c in ipairs(all) do
                    c:publish("state/" .. i, round .. "/" .. i, { qos = 1, retain = true })
                end
                for _, c in ipairs(all) do
                    c:subscribe("state/+", 1)
                    local got = {}
                    for _ = 1, #all do
                        local m = c:expect("PUBLISH", { retain = true })
                        got[m.topic] = m.payload
                        m:ack()
                    end
                    for i = 1, #all do assert.equal(round .. "/" .. i, got["state/" .. i]) end
                    c:unsubscribe("state/+")
                end
            end
            for i = 1, #all do all[1]:publish("state/" .. i, "", { qos = 1, retain = true }) end
            for _, c in ipairs(all) do c:subscribe("state/+"):expect_nothing() end
        end)
    end)
end)

describe("sessions with several workers", function()
    it("wait for their client, by whatever door it returns", function()
        several("", function(b)
            local p = b:client "p"
            local all = crowd(b, "kept", 6, { clean = false })
            for _, c in ipairs(all) do c:subscribe("t", 1) end
            for round = 1, 3 do
                for _, c in ipairs(all) do c:disconnect() end
                for i = 1, 20 do p:publish("t", round .. "." .. i, { qos = 1 }) end
                for _, c in ipairs(all) do
                    c:reconnect()
                    assert.is_true(c.connack.session_present)
                    for i = 1, 20 do c:expect_publish("t", round .. "." .. i):ack() end
                    c:expect_nothing()
                end
            end
        end)
    end)

    it("say the will of a client that vanishes to all workers", function()
        several("", function(b)
            local watchers = crowd(b, "w", 4)
            for _, w in ipairs(watchers) do w:subscribe("will/#", 1) end
            for i = 1, 8 do
                b:client("m" .. i, { will = { topic = "will/" .. i, payload = "gone", qos = 1 } }):reset()
                for _, w in ipairs(watchers) do w:expect_publish("will/" .. i, "gone"):ack() end
            end
        end)
    end)

    it("let exactly one of a storm of take-overs survive", function()
        several([[
            sol.on("publish", "count", function()
                sol.publish("count/is", tostring(#sol.clients { id = "one", connected = true }))
                return sol.drop()
            end)
        ]], function(b)
            local counter = b:client("counter"):subscribe("count/is")
            for _ = 1, 8 do
                local storm, alive = {}, 0
                for i = 1, 25 do
                    storm[i] = b:raw()
                    storm[i].opts.client_id = "one"
                end
                for _, c in ipairs(storm) do c:send { type = "CONNECT", client_id = "one", clean = false } end
                for _, c in ipairs(storm) do c:await "CONNACK" end
                for _, c in ipairs(storm) do
                    if pcall(c.ping, c) then alive = alive + 1 end
                end
                assert.equal(1, alive)
                counter:publish("count", ""):expect_publish("count/is", "1")
                for _, c in ipairs(storm) do c:drop() end
            end
        end)
    end)

    it("take what follows CONNECT in the same write, in its order", function()
        several("", function(b)
            for i = 1, 100 do
                local c = b:raw()
                local bytes = {}
                for _, packet in ipairs {
                    { type = "CONNECT", client_id = "piped" .. i, clean = true },
                    { type = "SUBSCRIBE", id = 1, { filter = "mine/" .. i, qos = 1 } },
                    { type = "PUBLISH", topic = "mine/" .. i, payload = "x", qos = 1, id = 2 },
                    { type = "PINGREQ" },
                } do bytes[#bytes + 1] = mqtt.encode(packet, 4) end
                c:send_raw(table.concat(bytes))
                c:expect("CONNACK", { rc = 0 }):expect("SUBACK"):expect_publish("mine/" .. i, "x")
                c:expect("PUBACK"):expect("PINGRESP")
                c:drop()
            end
        end)
    end)

    it("are limited by max_connections all together", function()
        several("max_connections = 6", function(b)
            local all = {}
            for i = 1, 6 do all[i] = b:client("c" .. i) end
            for i = 1, 6 do b:raw():send({ type = "CONNECT", client_id = "more" .. i }):expect_refused { 3 } end
            all[3]:reconnect() -- takes no new place
            all[2]:disconnect()
            b:client "next"
            b:raw():send({ type = "CONNECT", client_id = "late" }):expect_refused { 3 }
        end)
    end)

    it("are never more than max_connections, however many come at once", function()
        several("max_connections = 20", function(b)
            local all = {}
            for round = 1, 4 do
                for i = 1, 100 do all[i] = b:raw() end
                for i, c in ipairs(all) do c:send { type = "CONNECT", client_id = round .. "." .. i } end
                local accepted = 0
                for _, c in ipairs(all) do
                    if c:await("CONNACK").rc == 0 then accepted = accepted + 1 end
                end
                assert.equal(20, accepted)
                for _, c in ipairs(all) do c:drop() end
                wait.till("all to be gone", function()
                    local c = b:raw():send { type = "CONNECT", client_id = "probe" }
                    local rc = c:await("CONNACK").rc
                    c:drop()
                    return rc == 0 and b:fds() < 60
                end)
            end
        end)
    end)
end)

-- Members of a share, each with the messages it has taken; a message must come once to one of them.
local function new_share(members)
    local share = { members = members, seen = {}, total = 0, counts = {} }
    for i, m in ipairs(members) do
        m:subscribe("$share/g/t", 1)
        share.counts[i] = 0
    end
    return share
end

-- Take what has come to the members up to now, or until `total` have come in all.
local function collect(share, total, leave)
    wait.till(total .. " messages of the share", function()
        for i, c in ipairs(share.members) do
            if not c.closed and not (leave and leave[i]) then
                c:ping()
                for k = #c.inbox, 1, -1 do assert.equal("PUBLISH", c.inbox[k].type) end
                while c.inbox[1] do
                    local m = table.remove(c.inbox, 1)
                    assert.is_nil(share.seen[m.payload], m.payload .. " came twice")
                    share.seen[m.payload] = i
                    share.counts[i], share.total = share.counts[i] + 1, share.total + 1
                    m:ack()
                end
            end
        end
        return share.total >= total
    end, 10)
    assert.equal(total, share.total)
end

describe("a share with members on several workers", function()
    it("gives each message to one, and all their turns", function()
        several("", function(b)
            local share, writers = new_share(crowd(b, "m", 6, { version = 5 })), crowd(b, "p", 4)
            for i = 1, 150 do
                for k, p in ipairs(writers) do p:publish("t", k .. "." .. i, { qos = 1 }) end
                if i % 30 == 0 then collect(share, i * #writers) end
            end
            for i, n in ipairs(share.counts) do
                assert.is_true(n >= 50 and n <= 150, ("member %d of 6 took %d of 600"):format(i, n))
            end
        end)
    end)

    it("passes over members whose window is closed, and hands on what dead ones held", function()
        several("", function(b)
            local members = crowd(b, "m", 6, { version = 5, props = { receive_maximum = 1 } })
            for i = 3, 6 do
                members[i]:drop()
                members[i]:reconnect { props = { receive_maximum = 1000 } }
            end
            local share = new_share(members)
            local held = { true, true }
            local writers = crowd(b, "p", 3)
            for i = 1, 40 do
                for k, p in ipairs(writers) do p:publish("t", k .. "." .. i, { qos = 1 }) end
            end
            collect(share, 120 - 2, held)
            for i = 1, 2 do members[i]:drop() end -- their sessions end with the connections
            collect(share, 120, held)
        end)
    end)
end)

describe("policies with several workers", function()
    it("are asked about clients wherever they live", function()
        several([[
            sol.on("publish", "who", function()
                local ids = {}
                for _, c in ipairs(sol.clients()) do ids[#ids + 1] = c.id .. (c.connected and "+" or "-") end
                table.sort(ids)
                sol.publish("who/is", table.concat(ids, " "))
                return sol.drop()
            end)
            sol.on("publish", "kick", function(_, message)
                local c = sol.client(message.payload)
                local answer = c and tostring(c:disconnect(0x98, "enough")) or "nobody"
                sol.publish("kick/is", answer)
                return sol.drop()
            end)
        ]], function(b)
            local all = crowd(b, "c", 6, { version = 5 })
            local ids = { "away-" }
            b:client("away", { clean = false }):disconnect()
            for _, c in ipairs(all) do ids[#ids + 1] = c.opts.client_id .. "+" end
            table.sort(ids)
            for _, c in ipairs(all) do
                c:subscribe("who/is"):publish("who", ""):expect_publish("who/is", table.concat(ids, " "))
                c:unsubscribe "who/is"
            end
            all[1]:subscribe "kick/is"
            for i = 2, 6 do
                all[1]:publish("kick", all[i].opts.client_id):expect_publish("kick/is", "true")
                all[i]:expect_disconnect(0x98)
            end
            all[1]:publish("kick", all[2].opts.client_id):expect_publish("kick/is", "nobody")
        end)
    end)

    it("start, stop, reload and keep time once, or on each worker if told so", function()
        several([[
            for _, event in ipairs { "start", "stop", "reload" } do
                sol.on(event, function() sol.log.info("once: " .. event .. ".") end)
                sol.on(event, function() sol.log.info("each: " .. event .. ".") end, { each_worker = true })
            end
            sol.after(0.01, function() sol.log.info "once: timer." end)
            sol.after(0.01, function() sol.log.info "each: timer." end, { each_worker = true })
        ]], function(b)
            local function lines(text) return select(2, b:log():gsub(text, "")) end
            local function expect_lines(event, n)
                wait.till(event, function() return lines("each: " .. event) >= 4 * n end)
                assert.equal(4 * n, lines("each: " .. event))
                assert.equal(n, lines("once: " .. event))
            end
            expect_lines("start%.", 1)
            expect_lines("timer%.", 1)
            b:signal "HUP"
            b:log_wait "generation 2 is in place"
            expect_lines("reload%.", 1)
            expect_lines("timer%.", 2)
            b:stop()
            expect_lines("stop%.", 1)
            expect_lines("start%.", 1)
        end)
    end)

    it("are replaced on all workers by a reload", function()
        local function version(n)
            return workers.POLICY .. ([[sol.on("publish", "version", function(client)
                sol.publish("version/" .. client.id, "%d")
                return sol.drop()
            end)]]):format(n)
        end
        with_broker({ config = version(1) }, function(b)
            local all = crowd(b, "c", 6)
            for _, c in ipairs(all) do c:subscribe("version/" .. c.opts.client_id) end
            for n = 1, 4 do
                if n > 1 then
                    b:configure(version(n))
                    b:signal "HUP"
                    b:log_wait("generation " .. n .. " is in place")
                end
                for _, c in ipairs(all) do
                    c:publish("version", "?"):expect_publish("version/" .. c.opts.client_id, tostring(n))
                end
            end
        end)
    end)

    it("may change the client id, at once or after a wait, before the client moves", function()
        several([[
            sol.on("connect", function(client, connect)
                client.attributes.was = connect.client_id
                if connect.client_id:find "^slow" then sol.sleep(0.01) end
                connect.client_id = "now-" .. connect.client_id
            end)
            sol.on("authenticate", function(client)
                return client.attributes.was and client.id == "now-" .. client.attributes.was and sol.allow()
                    or sol.deny()
            end)
        ]], function(b)
            for _, stem in ipairs { "slow", "quick" } do
                for i = 1, 20 do
                    local id = stem .. i
                    local c = b:raw()
                    c:send { type = "CONNECT", client_id = id, clean = true }
                    c:send { type = "SUBSCRIBE", id = 1, { filter = "home/now-" .. id, qos = 0 } }
                    c:send { type = "PUBLISH", topic = "home", payload = "" }
                    c:expect("CONNACK", { rc = 0 }):expect("SUBACK"):expect("PUBLISH", { topic = "home/now-" .. id })
                end
            end
        end)
    end)

    it("let nobody in before the start handlers have run", function()
        several([[
            hook_budget = 30
            sol.on("start", function()
                local till = sol.now() + 0.3
                while sol.now() < till do end
                sol.publish("state", "up", { retain = true })
            end)
        ]], function(b)
            for i = 1, 12 do b:client("c" .. i):subscribe("state"):expect_publish("state", "up", { retain = true }) end
        end)
    end)

    it("hold an exchange of enhanced authentication where the client lives", function()
        several([[
            sol.on("auth", function(client, exchange)
                if not exchange.state.sent then
                    exchange.state.sent = "challenge for " .. client.id
                    return sol.continue(exchange.state.sent)
                end
                return exchange.data == exchange.state.sent:reverse() and sol.allow() or sol.deny()
            end)
        ]], function(b)
            for i = 1, 24 do
                local c = b:client("a" .. i, { version = 5, connack = false, props = { auth_method = "M" } })
                local challenge = c:expect("AUTH", { rc = 0x18 }).props.auth_data
                assert.equal("challenge for a" .. i, challenge)
                c:send { type = "AUTH", rc = 0x18, props = { auth_method = "M", auth_data = challenge:reverse() } }
                c:expect("CONNACK", { rc = 0 })
            end
        end)
    end)
end)
