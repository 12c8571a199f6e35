-- SPDX-License-Identifier: BSD-2-Clause
--
-- client.session: values that live as long as the MQTT session.

local eval = require "support.eval"
local with_broker = require("support.broker").with_broker

describe("client.session", function()
    it("is there again when the client comes back, with everything as it was", function()
        eval.with({}, function(_, b)
            local c = eval.client(b, "s", { clean = false })
            eval.ask(c, "client.session.n, client.session.t, client.session.b, client.attributes.a = 1, 'x', false, 1")
            c:drop():reconnect()
            assert.equal("1 x false nil nil", eval.ask(c, [[local s = client.session
                return s.n, s.t, s.b, s.other, client.attributes.a ]]))
            assert.equal("b n t", eval.ask(c, [[local names = {}
                for name in pairs(client.session) do names[#names + 1] = name end
                table.sort(names)
                return table.concat(names, " ") ]]))
            eval.ask(c, "client.session.n = nil")
            assert.equal("nil", eval.ask(c, "return client.session.n"))
        end)
    end)

    it("begins empty with a new session", function()
        eval.with({}, function(_, b)
            local c = eval.client(b, "s", { clean = false })
            eval.ask(c, "client.session.n = 1")
            c:drop()
            local fresh = eval.client(b, "s", { clean = true })
            assert.equal("nil", eval.ask(fresh, "return client.session.n"))
        end)
    end)

    it("can be reached while the client is away, and survives a reload", function()
        -- One worker: a client of another one shows no session.
        eval.with({ config = "workers = 1" }, function(run, b)
            local c = eval.client(b, "s", { clean = false })
            c:drop()
            run [[local s = sol.client "s"
                s.session.while_away = true ]]
            b:signal "HUP"
            b:log_wait "(generation 2 is in place)"
            c:reconnect()
            assert.equal("true", eval.ask(c, "return client.session.while_away"))
        end)
    end)

    it("says what cannot be kept, and when", function()
        eval.with({}, function(run)
            assert.matches("client.session.t must be a string, number or boolean, not a table",
                run "client.session.t = {}")
            assert.matches("client.session: a name must be a string", run "client.session[1] = 1")
            assert.matches("client.session: longer than 65535 bytes", run "client.session.x = ('x'):rep(65536)")
            assert.matches("client.session: more than 64", run "for i = 1, 65 do client.session['n' .. i] = i end")
        end)
        with_broker({ config = [[
            sol.on("authenticate", function(client)
                assert(client.session.x == nil)
                client.session.x = 1
            end, { on_error = "allow" })
        ]] }, function(b)
            b:client "c"
            b:log_wait "(client.session.x: there is none before the client is connected)"
        end)
    end)
end)
