-- SPDX-License-Identifier: BSD-2-Clause
--
-- Compiled grants: what clients may do, decided without entering Lua, and taken back.

local broker = require "support.broker"
local eval = require "support.eval"
local workers = require "support.workers"

-- Nobody may anything but by a grant.  What `root` sends to "eval" runs in the policy.
local POLICY = [[
    workers = 1 -- the policy's own state is looked at
    local state = {}
    default_access = "deny"
    hook_timeout = 30
    sol.on("connected", function(client)
        if client.id == "root" or client.id == "eval" then client:grant { { "all", "#" }, { "all", "$SYS/#" } } end
    end)
    sol.on("unsubscribed", function(client, info)
        sol.log("over: %s %s %s", client.id, info.filter, info.reason)
    end)
]]

-- `spec(run, b, new, root)`: run(code) in the policy, new(id, grant [, opts]) a client with a grant.
local function with(config, spec)
    eval.with({ config = POLICY .. config, globals = "{ state = state }" }, function(_, b)
        local root = eval.client(b, "root", { version = 5 })
        local function run(code, ...) return eval.ask(root, code:format(...)) end
        local function new(id, grant, more)
            local all = { version = 5 }
            for name, value in pairs(more or {}) do all[name] = value end
            local c = b:client(id, all)
            if grant then run([[sol.client "%s":grant { %s }]], id, grant) end
            return c
        end
        spec(run, b, new, root)
    end)
end

local OK, NO = { qos = 1 }, { qos = 1, rc = 0x87 }

local function may(c, ...)
    for _, topic in ipairs { ... } do c:publish(topic, "", OK) end
end

local function may_not(c, ...)
    for _, topic in ipairs { ... } do c:publish(topic, "", NO) end
end

local function over(b, id, filter)
    b:log_wait(("over: %s %s not authorized"):format(id, filter:gsub("[%+%$]", "%%%0")))
end

describe("a grant", function()
    it("lets publish what it says, by the names of the client, and adds up with others", function()
        with("", function(run, _, new)
            local c = new("dev-1", [[{ "publish", "t/%c/#" }, { "publish", "u-%u/+" }]], { username = "ada" })
            may(c, "t/dev-1", "t/dev-1/x", "u-ada/x")
            may_not(c, "t/dev-2", "t", "u-bob/x", "u-ada", "t/%c/x")
            run [[local c = sol.client "dev-1"
                c.attributes.tenant, c.attributes.n = "acme", 7
                c:grant { { "publish", "%%{tenant}/%%{n}/100%%%%" } }]]
            may(c, "acme/7/100%", "t/dev-1")
            may_not(c, "acme/8/100%", "%{tenant}/7/100%")
            c:subscribe("t/dev-1/#", 0, { rc = 0x87 })
        end)
    end)

    it("has conditions", function()
        with("", function(_, _, new)
            local c = new("c", [[{ "publish", "q", qos = 1 }, { "publish", "s", size = 3 },
                { "publish", "r", retain = false }, { "publish", "k", retain = true }]])
            c:publish("q", "", { qos = 1, rc = 0x10 }):publish("q", "", { qos = 2, rc = 0x87 })
            c:publish("s", "abc", OK):publish("s", "abcd", NO)
            c:publish("r", "", OK):publish("r", "", { qos = 1, retain = true, rc = 0x87 })
            c:publish("k", "", NO):publish("k", "", { qos = 1, retain = true, rc = 0x10 })
        end)
    end)

    it("to subscribe takes filters inside it, one to read wider ones too", function()
        with("", function(_, _, new, root)
            local c = new("c", [[{ "subscribe", "s/#" }, { "read", "r/#" }, { "deny", "d/x" }, { "read", "d/+" }]])
            for filter, rc in pairs {
                ["s/#"] = 0, ["s/+/x"] = 0, ["s"] = 0, ["+/x"] = 0, ["r/#"] = 0, ["#"] = 0, ["d/+"] = 0, ["d/y"] = 0,
                ["d/x"] = 0x87, ["x"] = 0x87, ["+"] = 0, ["$SYS/#"] = 0x87, ["e/+"] = 0x87, ["$share/g/r/x"] = 0,
                ["$share/g/x"] = 0x87,
            } do
                c:subscribe(filter, 0, { rc = rc }):unsubscribe(filter)
            end
            c:subscribe("#", 1)
            root:publish("x", "no"):publish("d/x", "no"):publish("d/y", "1"):publish("r/a/b", "2")
            c:expect_publish("d/y", "1")
            c:expect_publish("r/a/b", "2")
            c:expect_nothing():subscribe("r/a/#", 0) -- both bring it: once
            root:publish("r/a/b", "3"):publish("x", "no")
            c:expect_publish("r/a/b", "3"):expect_nothing()
        end)
    end)

    it("to read is checked for retained messages, and says how high the QoS may be", function()
        with("", function(_, _, new, root)
            local retained = { retain = true, qos = 1, rc = 0x10 }
            root:publish("r/1", "one", retained):publish("r/0", "zero", retained):publish("x", "no", retained)
            local c = new("c", [[{ "read", "r/0", qos = 0 }, { "read", "r/#", qos = 1 }]])
            c:subscribe("#", 2, { rc = 1 })
            local qos = {}
            for _ = 1, 2 do
                local m = c:expect "PUBLISH"
                m:ack()
                qos[m.topic] = m.qos
            end
            assert.same({ ["r/0"] = 0, ["r/1"] = 1 }, qos)
            c:expect_nothing():subscribe("r/0", 1, { rc = 0 }):expect_publish("r/0", "zero", { qos = 0 })
        end)
    end)

    it("says how high the QoS may be where a wider one gives more, and comes later", function()
        with("", function(run, _, new, root)
            local c = new("c", [[{ "read", "r/0", qos = 0 }, { "read", "r/#" }, name = "g"]]):subscribe("r/#", 2)
            root:publish("r/0", "1", { qos = 1 }):publish("r/1", "2", { qos = 1 })
            c:expect_publish("r/0", "1", { qos = 0 })
            c:expect_publish("r/1", "2", { qos = 1 }):ack()
            for _, how in ipairs { "", [[sol.client "c":revoke "g"]] } do
                run(how .. [[ sol.client "c":grant { { "read", "r/#", qos = 0 }, name = "g" }]])
                root:publish("r/1", "3", { qos = 1 })
                c:expect_publish("r/1", "3", { qos = 0 })
                run [[sol.client "c":grant { { "read", "r/#" }, name = "g" }]]
                root:publish("r/1", "4", { qos = 1 })
                c:expect_publish("r/1", "4", { qos = 1 }):ack()
            end
        end)
    end)

    it("is asked before older ones, its entries in order, and a deny is one of them", function()
        with("", function(run, _, new)
            local c = new("c", [[{ "deny", "a/secret/#" }, { "all", "a/#" }, { "deny", "a/b" }, name = "base"]])
            may(c, "a/x", "a/b")
            may_not(c, "a/secret/x")
            c:subscribe("a/secret/x", 0, { rc = 0x87 }):subscribe("a/#", 0)
            assert.equal("lock", run [[return sol.client "c":grant {
                { "deny", "#", action = "publish" }, name = "lock" }]])
            may_not(c, "a/x", "a/b")
            assert.equal("1", run [[return sol.client "c":revoke "lock"]])
            c:publish("a/x", "here", { qos = 1, rc = 0 }):expect_publish("a/x", "here")
            run [[sol.client "c":grant { { "deny", "#", action = "read" }, name = "blind" }]]
            c:publish("a/x", "not here", { qos = 1, rc = 0 }):expect_nothing()
            c:subscribe("a/y", 0, { rc = 0x87 })
            -- one of the same name takes its place
            run [[sol.client "c":grant { { "publish", "z" }, name = "base" } sol.client "c":revoke "blind"]]
            may(c, "z")
            may_not(c, "a/x")
        end)
    end)

    it("is no wider for a clever name", function()
        with("", function(_, _, new, root)
            root:subscribe("d/victim/x", 0)
            for _, id in ipairs { "+", "#", "a/b", "victim/x", "/" } do
                local c = new(id, [[{ "all", "d/%c/#" }, { "all", "%u/x" }]], { username = id })
                may_not(c, "d/victim/x", "d/a/b", "victim/x", "d/x/x")
                for _, filter in ipairs { "d/#", "d/+/x", "+/x" } do c:subscribe(filter, 0, { rc = 0x87 }) end
                c:disconnect()
            end
            local c = new("$SYS", [[{ "all", "%c/#" }, { "all", "d/%c" }]])
            c:subscribe("$SYS/#", 0, { rc = 0x87 })
            may(c, "d/$SYS")
            root:expect_nothing()
        end)
    end)

    it("that denies widens where a name does not fit", function()
        with("", function(_, _, new)
            local c = new("a/b", [[{ "deny", "s/%c" }, { "publish", "#" }]])
            may(c, "t/x")
            may_not(c, "s/a/b", "s/c", "s")
        end)
    end)

    it("names full topics, for $SYS and below a mount point too", function()
        with([[sol.on("connect", function(_, connect)
            if connect.client_id:find "^m" then connect.mount_point = "tenants/a/" end
        end)]], function(_, _, new, root)
            root:subscribe("#", 0)
            local c = new("m1", [[{ "publish", "tenants/a/up/%c" }, { "read", "tenants/a/down/#" }]])
            c:publish("up/m1", "x", { qos = 1, rc = 0 })
            root:expect_publish("tenants/a/up/m1", "x")
            may_not(c, "up/m2", "tenants/a/up/m1")
            c:subscribe("#", 0):subscribe("$share/g/down/#", 0):subscribe("up/#", 0, { rc = 0x87 })
            c:unsubscribe "$share/g/down/#"
            root:publish("tenants/a/down/x", "y"):publish("tenants/a/other", "no")
            root:expect_publish("tenants/a/down/x", "y")
            root:expect_publish("tenants/a/other", "no")
            c:expect_publish("down/x", "y"):expect_nothing()
            new("s", [[{ "read", "$SYS/broker/version" }]]):subscribe("$SYS/#", 0)
                :expect("PUBLISH", { topic = "$SYS/broker/version" })
        end)
    end)

    it("counts for the members of a share: who may not have it is passed over", function()
        with("", function(_, _, new, root)
            local a = new("a", [[{ "read", "t/a" }]]):subscribe("$share/g/t/+", 1)
            local b = new("b", [[{ "read", "t/b" }]]):subscribe("$share/g/t/+", 1)
            for i = 1, 4 do
                root:publish("t/a", "a" .. i, { qos = 1 }):publish("t/b", "b" .. i, { qos = 1 })
                a:expect_publish("t/a", "a" .. i):ack()
                b:expect_publish("t/b", "b" .. i):ack()
            end
            root:publish("t/c", "", { qos = 1 })
            a:expect_nothing()
            b:expect_nothing()
        end)
    end)

    it("judges wills, and sol.publish in the client's name", function()
        with("", function(run, _, new, root)
            root:subscribe("w/#", 0)
            local GRANT = [[{ "publish", "w/%c" }]]
            new("a", GRANT, { will = { topic = "w/a", payload = "yes" } }):drop()
            root:expect_publish("w/a", "yes")
            new("b", GRANT, { will = { topic = "w/a", payload = "no" } }):drop()
            new("c", GRANT)
            root:unsubscribe "w/#"
            assert.equal("true", run [[return sol.publish("w/c", "as", { as = sol.client "c" })]])
            assert.equal("nil refused 135", run [[return sol.publish("w/d", "as", { as = sol.client "c" })]])
        end)
    end)
end)

describe("authorize handlers", function()
    local ASKED = [[
        sol.on("authorize", function(client, request)
            if client.id == "root" or client.id == "eval" then return end
            sol.log("asked: %s %s", request.action, request.topic)
            if request.topic == "lazy" then client:grant { { "all", "lazy" } } return end
            if request.topic:find "^free" then return sol.allow() end
        end, { actions = { "publish", "subscribe", "deliver" } })]]

    it("are asked only for what no grant decides, and may grant it", function()
        with(ASKED, function(_, b, new, root)
            local c = new("c", [[{ "publish", "p" }, { "read", "r/#" }, { "deny", "free/not" }]])
            may(c, "p")
            may_not(c, "free/not")
            c:subscribe("r/x", 0):subscribe("free/#", 0)
            root:publish("r/x", "1"):publish("free/x", "2"):publish("free/not", "no")
            c:expect_publish("r/x", "1")
            c:expect_publish("free/x", "2"):expect_nothing()
            c:unsubscribe "free/#"
            may(c, "free", "lazy", "lazy")
            may_not(c, "other")
            c:subscribe("lazy", 0)
            local asked = {}
            for line in b:log():gmatch "asked: ([^\n]+)" do asked[#asked + 1] = line end
            assert.same({ "subscribe free/#", "deliver free/x", "publish free", "publish lazy", "publish other" },
                asked)
        end)
    end)

    it("keep what they were not asked about from who may read a part of it", function()
        local handler = [[default_access = "allow"
            sol.on("authorize", function(client) if client.id == "c" then return sol.deny() end end)]]
        for config, comes in pairs { [handler] = false, [ [[default_access = "allow"]] ] = true } do
            with(config, function(_, _, new, root)
                local c = new("c", [[{ "read", "r/#" }]]):subscribe("x", 0, { rc = comes and 0 or 0x87 })
                c:unsubscribe("x"):subscribe("#", 0)
                root:publish("x", "perhaps"):publish("r/x", "yes")
                if comes then c:expect_publish("x", "perhaps") end
                c:expect_publish("r/x", "yes"):expect_nothing()
            end)
        end
    end)

    it("may grant a delivery, at a lower QoS", function()
        with([[sol.on("authorize", function(client)
                if client.id == "c" then client:grant { { "read", "r/#", qos = 0 } } end
            end, { actions = { "deliver" } })]], function(_, _, new, root)
            local c = new("c", [[{ "read", "other" }]]):subscribe("#", 1)
            root:publish("r/x", "1", { qos = 1 }):publish("r/x", "2", { qos = 1 })
            c:expect_publish("r/x", "1", { qos = 0 })
            c:expect_publish("r/x", "2", { qos = 0 }):expect_nothing()
        end)
    end)
end)

describe("a grant ends", function()
    it("when it is revoked, and with it what was subscribed by it", function()
        with("", function(run, b, new, root)
            local c = new("c", [[{ "all", "t/#" }, name = "t"]])
            run [[local c = sol.client "c"
                other = c:grant { { "all", "u" } }
                third = c:grant { { "all", "v/#" } }]]
            may(c, "t/y")
            c:subscribe("t/x", 1):subscribe("#", 1):subscribe("u", 1)
            assert.equal("1 0", run [[local c = sol.client "c" return c:revoke "t", c:revoke "t"]])
            over(b, "c", "t/x")
            b:log_wait "subscription of client c to t/x has ended: not authorized"
            may_not(c, "t/y")
            root:publish("t/x", "no"):publish("u", "yes"):publish("v/x", "yes")
            c:expect_publish("u", "yes")
            c:expect_publish("v/x", "yes"):expect_nothing()
            assert.equal("1", run [[return sol.client "c":revoke(other)]])
            over(b, "c", "u")
            may_not(c, "u")
            c:publish("v/y", "", { qos = 1, rc = 0 }):expect_publish("v/y", "", { qos = 1 })
            assert.equal("1 0", run [[local c = sol.client "c" return c:revoke(), c:revoke()]])
            over(b, "c", "#")
            may_not(c, "v/y")
            root:publish("v/x", "no")
            c:expect_nothing():subscribe("v/x", 0, { rc = 0x87 })
        end)
    end)

    it("at its time", function()
        with("", function(run, b, new, root)
            local c = new("c", [[{ "all", "t/#" }, ttl = 3600]])
            c:subscribe("t/#", 1)
            assert.equal("true", run [[local ttl = sol.client "c":grants()[1].ttl return ttl <= 3600 and ttl > 1800]])
            run [[local c = sol.client "c" c:revoke() c:grant { { "all", "t/#" }, ttl = 0.05 }]]
            over(b, "c", "t/#")
            may_not(c, "t/x")
            root:publish("t/x", "no")
            c:expect_nothing()
            assert.equal("0", run [[return #sol.client "c":grants()]])
        end)
    end)

    it("with its connection; until it comes back it judges what its session gets", function()
        with("", function(_, _, new, root)
            local session = { clean = false, props = { session_expiry = 100 } }
            local c = new("c", [[{ "read", "t/#" }]], session):subscribe("t/#", 1):subscribe("#", 1)
            c:drop()
            root:publish("t/1", "kept", { qos = 1 }):publish("x", "no", { qos = 1 })
            c:reconnect():expect_publish("t/1", "kept"):ack()
            root:publish("t/2", "no", { qos = 1 })
            c:expect_nothing()
            may_not(c, "t/2")
            c:drop()
            c = new("c", [[{ "read", "t/3" }]], session)
            root:publish("t/2", "no", { qos = 1 }):publish("t/3", "yes", { qos = 1 })
            c:expect_publish("t/3", "yes"):ack():expect_nothing()
        end)
    end)

    it("at a reload only where it says so", function()
        with("", function(_, b, new, root)
            local c = new("c", [[{ "all", "stays" }]])
            local d = new("d", [[{ "all", "goes" }, until_reload = true]]):subscribe("goes", 0)
            c:subscribe("stays", 0)
            b:configure(POLICY)
            b:signal "HUP"
            over(b, "d", "goes")
            may(c, "stays")
            may_not(d, "goes")
            root:publish("stays", "yes"):publish("goes", "no")
            for _ = 1, 2 do c:expect "PUBLISH" end
            d:expect_nothing()
        end)
    end)
end)

describe("who a grant is for", function()
    it("is settled when CONNECT is accepted", function()
        with([[allow_anonymous = true
            sol.on("connect", function(client, connect)
                client:grant { { "publish", "c/%c/%u" } }
                if connect.username == "guest" then connect.client_id = "guest-" .. connect.client_id end
            end)
            sol.on("authenticate", function(client, credentials)
                client:grant { { "publish", "a/%c/%u" }, { "publish", "t/%{tenant}" } }
                client.attributes.tenant = "acme"
                if credentials.username then credentials.username = credentials.username:upper() end
            end)]], function(_, b)
            local c = b:client("x", { version = 5, username = "guest" })
            may(c, "c/guest-x/GUEST", "a/guest-x/GUEST", "t/acme")
            may_not(c, "c/x/guest", "c/x/GUEST", "a/guest-x/guest", "c/guest-x/guest")
        end)
    end)

    it("changes when the client authenticates again under another name", function()
        with([[allow_anonymous = true
            sol.on("auth", function(client, exchange)
                exchange.username = exchange.data
                if exchange.data ~= "same" then client:grant { { "all", "by/%u/#" }, name = exchange.data } end
                return sol.allow()
            end)]], function(run, b)
            local function as(name)
                return { auth_method = "NAME", auth_data = name }
            end
            local c = b:client("c", { version = 5, props = as "ada" }):subscribe("by/ada/#", 0)
            may(c, "by/ada/x")
            c:expect "PUBLISH"
            c:send { type = "AUTH", rc = 0x19, props = as "ada" }
            c:expect "AUTH"
            c:publish("by/ada/x", "", { qos = 1, rc = 0 }):expect "PUBLISH"
            c:send { type = "AUTH", rc = 0x19, props = as "bob" }
            c:expect "AUTH"
            over(b, "c", "by/ada/#")
            may_not(c, "by/ada/x")
            may(c, "by/bob/x")
            assert.equal("bob 1", run [[local all = sol.client "c":grants() return all[1].name, #all]])
        end)
    end)
end)

describe("sol.reauthorize", function()
    local BY_TABLE = [[
        state.ada, state.bob = "t", "t"
        sol.on("authorize", function(client, request)
            if state.wait then sol.sleep(0.01) end
            return request.topic == state[client.username]
        end)]]

    it("has subscriptions judged again, whoever has authorized them", function()
        with(BY_TABLE, function(run, b, new, root)
            local ada = new("a1", nil, { username = "ada" }):subscribe("t", 0)
            local bob = new("b1", nil, { username = "bob" }):subscribe("t", 0)
            assert.equal("1", run [[return sol.reauthorize { username = "ada" }]])
            root:publish("t", "1")
            ada:expect_publish("t", "1")
            bob:expect_publish("t", "1")
            assert.equal("1 0 0", run [[state.ada, state.bob = "u", "u"
                return sol.reauthorize { client_id = "b1" }, sol.reauthorize { client_id = "none" },
                    sol.reauthorize { client_id = "b1", username = "ada" }]])
            over(b, "b1", "t")
            root:publish("t", "2")
            ada:expect_publish("t", "2")
            bob:expect_nothing()
            may_not(ada, "t")
            may(ada, "u")
            run [[state.wait = true sol.reauthorize { all = true }]]
            over(b, "a1", "t")
            root:publish("t", "3")
            ada:expect_nothing():subscribe("u", 0)
        end)
    end)

    it("revokes first where told to, so that handlers are asked anew", function()
        with([[state.level = "1"
            sol.on("authorize", function(client, request)
                if client.id == "c" then
                    client:grant { { "all", state.level .. "/#" }, { "deny", "#" }, name = "level" }
                end
            end)]], function(run, b, new)
            local c = new("c"):subscribe("1/x", 0):subscribe("+/y", 0)
            run [[state.level = "2"]]
            may(c, "1/z")
            may_not(c, "2/z")
            run [[sol.client "c":grant { { "publish", "own" }, name = "own" }
                sol.reauthorize { all = true, revoke = "level" }]]
            over(b, "c", "1/x")
            may(c, "2/z")
            may_not(c, "1/z")
            c:publish("2/y", "", { qos = 1, rc = 0 }):expect_publish("2/y", "")
            assert.equal("level own", run [[local all = sol.client "c":grants() return all[1].name, all[2].name]])
            run [[sol.reauthorize { client_id = "c", revoke = true }]]
            may(c, "2/z")
            assert.equal("1", run [[return #sol.client "c":grants()]])
        end)
    end)

    it("does what docs/lua-api.md says, for a session that comes back as well", function()
        local docs = broker.read_file "docs/lua-api.md"
        local example = docs:match "\n(    local function give%(client%)\n.-\n)\n"
        with([[state.rights = { ada = { "all", "1/#" } }
            local function fetch_rights(username) return { state.rights[username] } end
            local function knows() return true end
            ]] .. example, function(run, b, _, root)
            local session = { version = 5, username = "ada", clean = false, props = { session_expiry = 100 } }
            local c = b:client("c", session):subscribe("1/#", 1)
            c:drop()
            c:reconnect()
            root:publish("1/x", "sent", { qos = 1 })
            c:expect_publish("1/x", "sent"):ack()
            run [[state.rights = { ada = { "all", "2/#" } }]]
            may(c, "1/y")
            c:expect_publish("1/y", ""):ack()
            root:publish("rights/changed", "ada", { qos = 1 })
            over(b, "c", "1/#")
            may(c, "2/x")
            may_not(c, "1/x")
        end)
    end)

    it("judges many, a few waiting at a time", function()
        with(BY_TABLE .. "\nmax_parked = 80", function(run, b, new)
            local all = {}
            for i = 1, 100 do
                all[i] = new("c" .. i, nil, { username = "ada" }):subscribe("t", 0)
            end
            run [[state.wait = true sol.reauthorize { all = true }]]
            run [[sol.sleep(0.05)]]
            for _, c in ipairs(all) do c:unsubscribe("t") end
            assert.falsy(b:log():find("has ended", 1, true))
            assert.falsy(b:log():find("max_parked", 1, true))
        end)
    end)
end)

describe("with several workers, grants", function()
    it("are given, taken and judged again from any of them", function()
        eval.with({ globals = "{ state = state }", config = workers.POLICY .. POLICY .. [[
            shared = { rights = "1 MB" }
            sol.on("connect", function(client) client:grant { { "all", "home/#" }, { "all", "own/%c" } } end)
            sol.on("authorize", function(client, request)
                if request.topic == "shared" then return sol.shared.rights:get "t" ~= "no" end
            end)]] }, function(_, b)
            local root = eval.client(b, "root", { version = 5 })
            local function run(code, ...) return eval.ask(root, code:format(...)) end
            local all = {}
            for i = 1, 6 do
                all[i] = b:client("c" .. i, { version = 5 })
                may(all[i], "own/c" .. i) -- granted where it was accepted
                assert.equal("g", run([[return sol.client "c%d":grant { { "all", "t/%%c" }, name = "g" }]], i))
            end
            run [[sol.clients()]] -- comes to every worker after what was sent there
            for i, c in ipairs(all) do
                c:subscribe("t/c" .. i, 0):subscribe("t/other", 0, { rc = 0x87 }):subscribe("shared", 0)
                root:publish("t/c" .. i, "x")
                c:expect_publish("t/c" .. i, "x")
            end
            assert.equal("8", run [[return sol.reauthorize { all = true }]])
            assert.equal("1", run [[return sol.reauthorize { client_id = "c2" }]])
            run [[sol.shared.rights:set("t", "no") sol.reauthorize { all = true, revoke = "g" }]]
            for i, c in ipairs(all) do
                over(b, "c" .. i, "t/c" .. i)
                over(b, "c" .. i, "shared")
                may_not(c, "t/c" .. i)
                may(c, "own/c" .. i)
                run([[sol.client "c%d":revoke()]], i)
            end
            run [[sol.clients()]]
            for i, c in ipairs(all) do may_not(c, "own/c" .. i) end
        end)
    end)
end)

describe("what is no grant", function()
    local rows = {
        { "{}", "client:grant: it has no entries" },
        { "5", "table expected, got number" },
        { "{ 'publish', 'a' }", "client:grant: entry 1: expected a table, got a string" },
        { "{ { 'publish', 'a' }, { 'publsh', 'a' } }",
            'client:grant: entry 2: unknown action "publsh"; did you mean "publish"?' },
        { "{ { 'publish' } }", "entry 1: expected a topic filter, got a nil" },
        { "{ { nil, 'a' } }", "entry 1: action must be a string, not a nil" },
        { "{ { 'publish', 'a/#/b' } }", 'entry 1: "a/#/b" is not a topic filter' },
        { "{ { 'read', '$share/g/a' } }", 'entry 1: "$share/g/a" is a shared subscription' },
        { "{ { 'publish', 'a/%x' } }", 'entry 1: "a/%x" has an unknown placeholder; there are %c, %u' },
        { "{ { 'publish', 'a/%{no/name}' } }", "has an unknown placeholder" },
        { "{ { 'publish', 'a', qos = 3 } }", "entry 1: qos must be an integer from 0 to 2" },
        { "{ { 'publish', 'a', qos = '1' } }", "entry 1: qos must be an integer from 0 to 2" },
        { "{ { 'publish', 'a', size = -1 } }", "entry 1: size must be an integer from 0 to 4294967295" },
        { "{ { 'publish', 'a', retain = 1 } }", "entry 1: retain must be true or false" },
        { "{ { 'read', 'a', retain = true } }", "entry 1: retain is for what may be published" },
        { "{ { 'deny', 'a', qos = 1 } }", "entry 1: qos: what denies has no conditions" },
        { "{ { 'read', 'a', action = 'publish' } }", "entry 1: action: is for \"deny\"" },
        { "{ { 'deny', 'a', action = 'subscribe' } }", 'entry 1: unknown action "subscribe"' },
        { "{ { 'publish', 'a', qoss = 1 } }", 'entry 1: unknown field "qoss"; did you mean "qos"?' },
        { "{ { 'publish', 'a', 'b' } }", "entry 1: expected an action and a topic filter" },
        { "{ { 'publish', 'a' }, ttl = 0 }", "client:grant: ttl must be seconds" },
        { "{ { 'publish', 'a' }, ttl = 0/0 }", "client:grant: ttl must be seconds" },
        { "{ { 'publish', 'a' }, tll = 1 }", 'client:grant: unknown field "tll"; did you mean "ttl"?' },
        { "{ { 'publish', 'a' }, name = '#1' }", "client:grant: name must be" },
        { "{ { 'publish', 'a' }, name = 1 }", "client:grant: name must be" },
        { "{ { 'publish', 'a' }, until_reload = 1 }", "client:grant: until_reload must be true or false" },
        { "{ { 'publish', 'a' }, [3] = { 'publish', 'b' } }", 'client:grant: unknown field "3"' },
    }

    it("is said with its place, and nothing is granted", function()
        with("", function(run)
            for _, row in ipairs(rows) do
                local said = run("client:revoke 'x' return client:grant(" .. row[1]:gsub("%%", "%%%%") .. ")")
                assert.truthy(said:find(row[2], 1, true), row[1] .. ": " .. said)
                assert.truthy(said:find("^error: "), said)
            end
            assert.equal("1", run "return #client:grants()")
            assert.truthy(run([[local all = {} for i = 1, 4096 do all[i] = { "publish", "a" } end
                return client:grant(all)]]):find("4096 entries of 1048576 bytes in all", 1, true))
            assert.equal("1 table", run "return #client:grants(), type(client:grants()[1][1])")
        end)
    end)

    it("is not made of what a metamethod says", function()
        with("", function(run)
            assert.equal("0 own 2", run [[client:revoke "x"
                local asked = 0
                local trap = { __index = function() asked = asked + 1 end }
                client:grant(setmetatable({ setmetatable({ "publish", "a" }, trap),
                    setmetatable({ "deny", "b" }, trap), name = "own" }, trap))
                local newest = client:grants()[1]
                return asked, newest.name, #newest ]])
        end)
    end)

    it("is said by sol.reauthorize", function()
        with("", function(run)
            for code, said in pairs {
                ["{}"] = "whom? Give username, client_id or all = true",
                ["{ all = true, username = 'a' }"] = "all = true goes with neither",
                ["{ username = 1 }"] = "must be strings",
                ["{ user = 'a' }"] = 'unknown option "user"; did you mean "username"?',
                ["{ all = true, revoke = 1 }"] = "revoke must be a grant's name, or true",
            } do
                local answer = run("return sol.reauthorize(" .. code .. ")")
                assert.truthy(answer:find(said, 1, true), answer)
            end
        end)
    end)

    it("is given to a client that has gone", function()
        with("", function(run, b, new)
            local c = new("c")
            run [[c = sol.client "c" c:disconnect()]]
            c:expect_disconnect(0x98):drop()
            b:client("later"):ping()
            assert.equal("nil closed nil closed nil closed", run [[
                local _, a = c:grant { { "publish", "x" } }
                local _, b = c:revoke()
                local _, d = c:grants()
                return nil, a, nil, b, nil, d]])
        end)
    end)

    it("shows what has been given as it was", function()
        with("", function(run)
            local text = [[{ "publish", "a/%%{x}", qos = 1, size = 5, retain = false },
                { "deny", "b", action = "read" }, { "deny", "c" }, { "all", "d" }, name = "n", until_reload = true]]
            local shown = "publish a/%{x} 1 5 false deny b read deny c all d n true"
            assert.equal(shown, run("client:grant { " .. text .. [[ }
                local g = client:grants()[1]
                local e = g[1]
                return e[1], e[2], e.qos, e.size, e.retain, g[2][1], g[2][2], g[2].action, g[3][1], g[3][2], g[4][1],
                    g[4][2], g.name, g.until_reload]]))
            assert.truthy(run "return client:grant { { 'publish', 'x' } }":find "^#0%.%d+$")
        end)
    end)
end)
