-- SPDX-License-Identifier: BSD-2-Clause
--
-- sol.dns: what name servers say, and that asking them holds nobody up.

local broker = require "support.broker"
local world = require "support.world"
local with_broker, with_world, run = broker.with_broker, world.with_world, world.run

-- Code runs in a policy that asks the small name server.
local function asking(spec, more)
    with_world({ "dns" }, function(server)
        local config = server:fill [[sol.dns.servers { "127.0.0.1:$WORLD" }]] .. "\n" .. world.RUNNER .. (more or "")
        with_broker({ config = config }, function(b)
            local c = b:client "c"
            spec(function(code) return run(c, code) end, server, b)
        end)
    end)
end

describe("sol.dns.resolve", function()
    it("gives addresses and records", function()
        asking(function(code, server)
            for call, says in pairs {
                ['"here.test"'] = "127.0.0.1",
                ['"HERE.test", { type = "A" }'] = "127.0.0.1",
                ['"both.test", { type = "AAAA" }'] = "::1",
                ['"many.test", { type = "A" }'] = "127.0.0.2 127.0.0.3",
                ['"text.test", { type = "TXT" }'] = "onetwo three",
                ['"test", { type = "NS" }'] = "ns.test",
                ['"4.3.2.1.in-addr.arpa", { type = "PTR" }'] = "ptr.test",
                ['"localhost", { type = "A" }'] = "127.0.0.1",
                ['"192.0.2.7"'] = "192.0.2.7",
            } do
                assert.equal(says, code("return table.concat(assert(sol.dns.resolve(" .. call .. ")), ' ')"))
            end
            assert.equal("a.test|1883|10|60|b.test|8883|20|40", code [[
                local a, b = table.unpack(sol.dns.resolve("_mqtt._tcp.test", { type = "SRV" }))
                return a.host, a.port, a.priority, a.weight, b.host, b.port, b.priority, b.weight
            ]])
            assert.equal("mx.test|5", code [[
                local mx = sol.dns.resolve("mail.test", { type = "MX" })[1]
                return mx.host, mx.priority
            ]])
            assert.equal(0, server:count "asked 192" + server:count "asked localhost", "name servers were asked")
            assert.equal("both families|2", code [[ return "both families", #sol.dns.resolve "both.test" ]])
        end)
    end)

    it("says why there is nothing", function()
        asking(function(code)
            assert.equal("nil|no such name", code 'return sol.dns.resolve "nowhere.test"')
            assert.equal("nil|no such record", code 'return sol.dns.resolve("here.test", { type = "MX" })')
            assert.equal("nil|no name server could answer",
                code 'return sol.dns.resolve("broken.test", { type = "TXT" })')
            assert.equal("nil|timeout", code 'return sol.dns.resolve("silent.test", { timeout = 0.2 })')
            assert.truthy(code 'return sol.dns.resolve("x", { type = "HINFO" })':find 'option "type" must be')
            assert.truthy(code 'return sol.dns.resolve ""':find "expected a name")
        end)
    end)

    it("asks once for what many want to know, and remembers it", function()
        asking(function(code, server)
            assert.equal("500", code [[
                local answers = 0
                local function ask()
                    if sol.dns.resolve("here.test", { type = "A" })[1] then answers = answers + 1 end
                end
                for i = 1, 500 do sol.spawn(ask) end
                while answers < 500 do sol.sleep(0.01) end
                return answers
            ]])
            code [[return sol.dns.resolve("here.test", { type = "A" })]]
            assert.equal(1, server:count "asked here.test")
        end)
    end)

    it("waits for its own client only, and is let go with it", function()
        asking(function(_, server, b)
            local c = b:client "asker"
            c:publish("look", "x", { qos = 1, wait = false })
            server:wait "asked silent.test"
            b:client("other"):ping()
            c:reset()
            b:log_wait "guard closed"
        end, [[
            sol.on("publish", "look", function()
                local guard <close> = setmetatable({}, { __close = function() sol.log.info "guard closed" end })
                sol.dns.resolve("silent.test", { timeout = 60 })
            end)
        ]])
    end)

    it("stops with the broker", function()
        asking(function(_, server, b)
            b:client("asker"):publish("look", "x", { qos = 1, wait = false })
            server:wait "asked silent.test"
            b:stop()
        end, [[sol.on("publish", "look", function() sol.dns.resolve("silent.test", { timeout = 60 }) end)]])
    end)
end)

describe("sol.dns.servers", function()
    it("takes addresses, while the policy is loaded", function()
        asking(function(code)
            assert.truthy(code 'sol.dns.servers { "127.0.0.1" }':find "only while the policy is loaded")
        end)
        broker.refuses('sol.dns.servers { "ns.example" }', "expected addresses")
    end)
end)

describe("names of sockets", function()
    it("are looked up by sol.dns, and every address is tried", function()
        with_world({ "talk" }, function(talk)
            asking(function(code)
                for _, name in ipairs { "here.test", "dead-first.test", "both.test" } do
                    assert.equal("hello", code(talk:fill(([[
                        local s <close> = assert(sol.socket.connect "tcp://%s:$WORLD")
                        s:send "echo hello\n"
                        return s:receive()
                    ]]):format(name))))
                end
                assert.equal("nil|nowhere.test: no such name", code 'return sol.socket.connect "tcp://nowhere.test:1"')
                assert.equal("nil|timeout", code 'return sol.socket.connect("tcp://silent.test:1", { timeout = 0.2 })')
            end)
        end)
    end)
end)

-- curl's own look-up, which would start threads, does not know this name server.
describe("names of web servers", function()
    it("are looked up by sol.dns", function()
        with_world({ "http" }, function(web)
            asking(function(code)
                assert.equal("hello", code(web:fill [[return sol.http.get("http://here.test:$WORLD/hello").body]]))
                assert.equal("hello", code(web:fill [[
                    local url = "http://here.test:$WORLD/to/302/http://both.test:$WORLD/hello"
                    return sol.http.get(url, { follow = 1 }).body
                ]]))
                assert.equal("nil|nowhere.test: no such name", code 'return sol.http.get "http://nowhere.test/"')
                assert.equal("nil|timeout", code 'return sol.http.get("http://silent.test/", { timeout = 0.2 })')
            end)
        end)
    end)
end)
