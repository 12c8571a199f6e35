-- SPDX-License-Identifier: BSD-2-Clause
--
-- acl: what rules grant and refuse, and which files are taken.

local broker = require "support.broker"
local with_broker, with_dir, write_file = broker.with_broker, broker.with_dir, broker.write_file

local function with_file(acl, spec, config)
    with_broker({ config = 'plugin("acl", { path = "acl.conf" })\n' .. (config or ""), files = { ["acl.conf"] = acl } },
        spec)
end

local function with_rules(rules, spec)
    with_broker({ config = 'plugin("acl", { rules = ' .. rules .. " })" }, spec)
end

-- An MQTT 5 client, which is told why.
local function client(b, id, username, opts)
    local all = { version = 5, username = username, password = username and "x" }
    for name, value in pairs(opts or {}) do all[name] = value end
    return b:client(id, all)
end

local EVERYTHING = "\nuser root\ntopic #\ntopic $SYS/#\n"

describe("acl, a file in mosquitto's format:", function()
    it("a publish outside the rules is answered with 0x87", function()
        with_file("user ada\ntopic write up/#\n", function(b)
            local ada = client(b, "c", "ada")
            ada:publish("up/1", "x", { qos = 1, rc = 0x10 }):publish("up", "x", { qos = 2, rc = 0x10 })
            ada:publish("down", "x", { qos = 1, rc = 0x87 }):publish("down", "x", { qos = 2, rc = 0x87 })
            ada:publish("$up/1", "x", { qos = 1, rc = 0x87 })
            client(b, "d", "bob"):publish("up/1", "x", { qos = 1, rc = 0x87 })
            client(b, "e"):publish("up/1", "x", { qos = 1, rc = 0x87 })
        end)
    end)

    it("a refused publish reaches nobody, and a 3.1.1 client stays connected", function()
        with_file("user ada\ntopic write up/#\n" .. EVERYTHING, function(b)
            local root = client(b, "root", "root"):subscribe("#", 0)
            client(b, "c", "ada", { version = 4 }):publish("down", "x", { qos = 1 }):publish("up/1", "y", { qos = 1 })
            root:expect_publish("up/1", "y"):expect_nothing()
        end)
    end)

    it("read is for subscriptions, write for publishing, neither word for both", function()
        with_file("user ada\ntopic read r\ntopic write w\ntopic both\ntopic readwrite rw\n",
            function(b)
                local ada = client(b, "c", "ada")
                ada:subscribe("r", 0):subscribe("rw", 0):subscribe("w", 0, { rc = 0x87 })
                ada:publish("r", "", { qos = 1, rc = 0x87 }):publish("w", "", { qos = 1, rc = 0x10 })
                ada:publish("rw", "", { qos = 1, rc = 0 }):subscribe("both", 0):publish("both", "", { qos = 1, rc = 0 })
            end)
    end)

    it("a subscription that can bring nothing is refused", function()
        with_file("user ada\ntopic read a/+/c\ntopic deny a/secret/#\n", function(b)
            local ada = client(b, "c", "ada")
            for filter, rc in pairs {
                ["a/b/c"] = 0, ["a/+/c"] = 0, ["a/#"] = 0, ["#"] = 0, ["+/+/+"] = 0, ["+/b/#"] = 0,
                ["b"] = 0x87, ["a/b"] = 0x87, ["a/+"] = 0x87, ["a/b/d"] = 0x87, ["a/b/c/#"] = 0,
                ["a/b/c/+"] = 0x87, ["$SYS/#"] = 0x87, ["a/secret/c"] = 0x87, ["a/secret/+"] = 0x87,
            } do
                ada:subscribe(filter, 0, { rc = rc })
            end
            client(b, "d", "ada", { version = 4 }):subscribe("b", 1, { rc = 0x80 })
        end)
    end)

    it("a subscription wider than the rules brings what they grant", function()
        with_file("user ada\ntopic read a/#\ntopic deny a/secret/#\n" .. EVERYTHING, function(b)
            local ada = client(b, "c", "ada"):subscribe("#", 1)
            local root = client(b, "root", "root")
            for _ = 1, 3 do
                root:publish("b", "no"):publish("a/secret/key", "no"):publish("a/open", "yes", { qos = 1, rc = 0 })
                ada:expect_publish("a/open", "yes"):ack()
            end
            ada:expect_nothing()
        end)
    end)

    it("a retained message that may not be read is not sent", function()
        with_file("user ada\ntopic read a/#\n" .. EVERYTHING, function(b)
            client(b, "root", "root"):publish("b", "no", { retain = true, qos = 1, rc = 0x10 })
                :publish("a", "yes", { retain = true, qos = 1, rc = 0x10 })
            client(b, "c", "ada"):subscribe("#", 0):expect_publish("a", "yes", { retain = true }):expect_nothing()
        end)
    end)

    it("a will is judged like a publish of its author", function()
        with_file("user ada\ntopic write up/#\n" .. EVERYTHING, function(b)
            local root = client(b, "root", "root"):subscribe("#", 0)
            client(b, "c", "ada", { will = { topic = "down", payload = "no" } }):drop()
            client(b, "d", "ada", { will = { topic = "up/1", payload = "yes" } }):drop()
            root:expect_publish("up/1", "yes"):expect_nothing()
        end)
    end)

    it("deny counts wherever it stands", function()
        with_file("user ada\ntopic readwrite a/#\ntopic deny a/x\npattern write b/#\npattern deny b/%c\n", function(b)
            local ada = client(b, "me", "ada")
            ada:publish("a/y", "", { qos = 1, rc = 0x10 }):publish("a/x", "", { qos = 1, rc = 0x87 })
            ada:publish("b/me", "", { qos = 1, rc = 0x87 }):publish("b/x", "", { qos = 1, rc = 0x10 })
            client(b, "you", "ada"):publish("b/me", "", { qos = 1, rc = 0x10 })
        end)
    end)

    it("patterns come after topic lines, as in mosquitto", function()
        with_file("user ada\ntopic a/me\ntopic deny b/me\npattern deny a/%c\npattern readwrite b/%c\n", function(b)
            client(b, "me", "ada"):publish("a/me", "", { qos = 1, rc = 0x10 }):subscribe("a/me", 0)
                :publish("b/me", "", { qos = 1, rc = 0x87 }):subscribe("b/me", 0, { rc = 0x87 })
        end)
    end)

    it("rules before the first user are for clients without a name", function()
        with_file("topic open\nuser ada\ntopic ada\nuser bob\ntopic bob\nuser ada\ntopic ada/2\n", function(b)
            client(b, "c"):publish("open", "", { qos = 1, rc = 0x10 }):publish("ada", "", { qos = 1, rc = 0x87 })
            client(b, "d", "ada"):publish("ada", "", { qos = 1, rc = 0x10 }):publish("open", "", { qos = 1, rc = 0x87 })
                :publish("ada/2", "", { qos = 1, rc = 0x10 }):publish("bob", "", { qos = 1, rc = 0x87 })
        end)
    end)

    it("patterns are for everybody, with their own name and id", function()
        with_file("user nobody\npattern write d/%c/up\npattern read u/%u/#\n", function(b)
            local ada = client(b, "c1", "ada")
            ada:publish("d/c1/up", "", { qos = 1, rc = 0x10 }):publish("d/c2/up", "", { qos = 1, rc = 0x87 })
            ada:subscribe("u/ada/x", 0):subscribe("u/bob/x", 0, { rc = 0x87 })
            local anonymous = client(b, "c2")
            anonymous:publish("d/c2/up", "", { qos = 1, rc = 0x10 }):subscribe("u/+/x", 0, { rc = 0x87 })
        end)
    end)

    it("nobody reaches further by a clever name", function()
        with_file("pattern readwrite d/%c/#\npattern readwrite u/%u/#\npattern readwrite %u/x\n", function(b)
            for _, name in ipairs { "+", "#", "a/b", "a/+", "+a", "/" } do
                local sly = client(b, name, "ada")
                sly:publish("d/" .. name:gsub("[+#]", "x"), "", { qos = 1, rc = 0x87 })
                sly:publish("d/victim/x", "", { qos = 1, rc = 0x87 }):subscribe("d/#", 0, { rc = 0x87 })
                sly:drop()
                client(b, "c", name):publish("u/a/b/x", "", { qos = 1, rc = 0x87 })
                    :subscribe("u/victim/x", 0, { rc = 0x87 }):drop()
            end
            client(b, "c", "$SYS"):publish("$SYS/x", "", { qos = 1, rc = 0x87 })
            client(b, "d", "%c"):publish("u/%c/x", "", { qos = 1, rc = 0x10 })
                :publish("u/d/x", "", { qos = 1, rc = 0x87 })
        end)
    end)

    it("a name that escapes a deny pattern gets nothing from patterns", function()
        with_file("user ada\ntopic own\npattern readwrite #\npattern deny secret/%c/#\n", function(b)
            client(b, "c", "ada"):publish("open", "", { qos = 1, rc = 0x10 })
                :publish("secret/c/x", "", { qos = 1, rc = 0x87 })
            client(b, "c/x", "ada"):publish("open", "", { qos = 1, rc = 0x87 }):subscribe("open", 0, { rc = 0x87 })
                :publish("own", "", { qos = 1, rc = 0x10 })
        end)
    end)

    it("long names and topics, and many of them, fill no memory", function()
        with_file("pattern write d/%c/#\n" .. EVERYTHING, function(b)
            local id, long = ("i"):rep(60000), ("x"):rep(5000)
            local c = client(b, id, ("u"):rep(60000))
            for i = 1, 150 do
                c:publish("d/" .. id .. "/" .. i, "", { qos = 1, rc = 0x10 })
                c:publish(long .. i, "", { qos = 1, rc = 0x87 })
            end
        end, "vm_memory = 4 << 20\nhook_budget = 5")
    end)

    it("topic lines know no patterns", function()
        with_file("user ada\ntopic d/%c\n", function(b)
            client(b, "c", "ada"):publish("d/c", "", { qos = 1, rc = 0x87 }):publish("d/%c", "", { qos = 1, rc = 0x10 })
        end)
    end)

    it("a reload changes what old subscriptions bring", function()
        with_file("user ada\ntopic read #\n" .. EVERYTHING, function(b)
            local ada, root = client(b, "c", "ada"):subscribe("#", 0), client(b, "root", "root")
            root:publish("a", "1")
            ada:expect_publish("a", "1")
            b:write("acl.conf", "user ada\ntopic read b\n" .. EVERYTHING)
            b:signal "HUP"
            b:log_wait "(generation 2 is in place)"
            root:publish("a", "2"):publish("b", "3")
            ada:expect_publish("b", "3"):expect_nothing()
        end)
    end)

    it("comes after password_file and before default_access", function()
        with_file("user ada\ntopic t\n", function(b)
            client(b, "c", "ada"):publish("t", "", { qos = 1, rc = 0x10 }):publish("u", "", { qos = 1, rc = 0x87 })
        end, "default_access = \"allow\"\nallow_anonymous = true")
    end)
end)

describe("acl, rules in Lua:", function()
    local RULES = [[{
        { action = "subscribe", topic = "news/#" },
        { user = "ada", topic = "ada/#" },
        { user = "ada", action = "publish", topic = "ada/log", deny = true },
        { user = false, action = "publish", topic = "guests" },
        { action = "publish", topic = "devices/%c/up" },
    }]]

    local function as_told(b)
        local ada, guest = client(b, "c1", "ada"), client(b, "c2")
        ada:subscribe("news/x", 0):subscribe("ada/log", 0):publish("ada/x", "", { qos = 1, rc = 0x10 })
        ada:publish("ada/log", "", { qos = 1, rc = 0x87 }):publish("guests", "", { qos = 1, rc = 0x87 })
        ada:publish("devices/c1/up", "", { qos = 1, rc = 0x10 }):publish("devices/c2/up", "", { qos = 1, rc = 0x87 })
        guest:subscribe("news/#", 0):publish("news/x", "", { qos = 1, rc = 0x87 })
        guest:publish("guests", "", { qos = 1, rc = 0x10 }):subscribe("ada/#", 0, { rc = 0x87 })
    end

    it("in the options", function() with_rules(RULES, as_told) end)

    it("in a file that returns them", function()
        with_broker({ config = [[plugin("acl", { path = "acl.lua" })]], files = { ["acl.lua"] = "return " .. RULES } },
            as_told)
    end)

    it("with the words of mosquitto", function()
        with_rules([[{ { action = "read", topic = "r" }, { action = "write", topic = "w" },
            { action = "readwrite", topic = "rw" } }]], function(b)
            client(b, "c"):subscribe("r", 0):publish("w", "", { qos = 1, rc = 0x10 }):subscribe("w", 0, { rc = 0x87 })
                :publish("rw", "", { qos = 1, rc = 0x10 }):subscribe("rw", 0)
        end)
    end)
end)

describe("acl, as grants:", function()
    -- A publish to "asked" tells how often the plugin's handler has been asked.
    local COUNT = [[
        sol.on("publish", "asked", function(client)
            for _, hook in ipairs(sol.hooks()) do
                if hook.event == "authorize" and hook.name:find "acl" then
                    sol.publish("asked/" .. client.id, tostring(hook.calls))
                end
            end
            return sol.drop()
        end)]]
    local RULES = "user ada\ntopic read asked/c\ntopic write up/#\ntopic down/+\ntopic deny down/not\n"

    local function asked(c)
        return tonumber(c:publish("asked", ""):expect("PUBLISH", { topic = "asked/c" }).payload)
    end

    -- A client that has asked for a few things, and how often Lua was asked for them.
    local function converse(b)
        local ada = client(b, "c", "ada"):subscribe("asked/c", 0)
        for i = 1, 5 do
            ada:publish("up/" .. i, "", { qos = 1, rc = 0x10 }):publish("no/" .. i, "", { qos = 1, rc = 0x87 })
            ada:subscribe("down/" .. i, 0):subscribe("no", 0, { rc = 0x87 }):subscribe("down/not", 0, { rc = 0x87 })
            ada:publish("down/" .. i, "", { qos = 1, rc = 0 }):expect_publish("down/" .. i, "")
        end
        ada:subscribe("#", 0)
        ada:publish("down/not", "", { qos = 1, rc = 0x87 }):publish("up/x", "", { qos = 1 }):expect_nothing()
        return ada, asked(ada)
    end

    it("Lua is asked once a client, and again after a reload", function()
        with_file(RULES, function(b)
            local ada, calls = converse(b)
            assert.equal(1, calls)
            b:write("acl.conf", RULES .. "topic write no/#\n")
            b:signal "HUP"
            b:log_wait "(generation 2 is in place)"
            ada:publish("no/1", "", { qos = 1 })
            assert.is_true(asked(ada) >= 1) -- of the new generation
        end, COUNT)
    end)

    it("not where another handler comes first: it is asked as before", function()
        with_file(RULES, function(b)
            local _, calls = converse(b)
            assert.is_true(calls > 20, tostring(calls))
        end, COUNT .. [[
        sol.on("authorize", "elsewhere", function() end, { priority = 1 })]])
    end)

    it("not for more rules than a client should carry", function()
        local many = {}
        for i = 1, 70 do many[i] = ("topic write many/%d\n"):format(i) end
        with_file(RULES .. table.concat(many), function(b)
            local ada, calls = converse(b)
            assert.is_true(calls > 20, tostring(calls))
            ada:publish("many/70", "", { qos = 1 })
        end, COUNT)
    end)

    it("rules that no topic is like do no harm", function()
        with_file(RULES .. "topic read $share/g/x\ntopic read 100%/#\n", function(b)
            local ada, calls = converse(b)
            assert.equal(1, calls)
            ada:subscribe("100%/x", 0):subscribe("$SYS/#", 0, { rc = 0x87 }):publish("$x", "", { qos = 1, rc = 0x87 })
        end, COUNT)
    end)
end)

describe("acl does not load", function()
    local FILE = [[plugin("acl", { path = "acl.conf" })]]
    local rows = {
        ["an unknown word"] = { FILE, "user ada\ntopics a", "acl.conf:2: expected user, topic or pattern" },
        ["an unknown access"] = { FILE, "\n\ntopic reed a/b", "acl.conf:3: expected read, write, readwrite or deny" },
        ["a filter that is none"] = { FILE, "topic read a/#/b",
            "acl.conf:1: expected a topic filter, got a/#/b" },
        ["a topic line without a topic"] = { FILE, "topic", "acl.conf:1: expected" },
        ["a pattern inside a level"] = { FILE, "pattern read a/x%c", "must be a whole level, not part of x%c" },
        ["a file that is not there"] = { [[plugin("acl", { path = "none.conf" })]], "", "none.conf" },
        ["neither file nor rules"] = { [[plugin("acl", {})]], "", "give path or rules" },
        ["a rule without a topic"] = { [[plugin("acl", { rules = { {} } })]], "",
            "plugin \"acl\": rules[1].topic: expected a topic filter, got nil" },
        ["an unknown action"] = { [[plugin("acl", { rules = { { topic = "a", action = "reed" } } })]], "",
            "plugin \"acl\": rules[1].action: expected publish, subscribe or all, got reed" },
        ["a deny that is no boolean"] = { [[plugin("acl", { rules = { { topic = "a", deny = "no" } } })]], "",
            "rules[1].deny: expected true or false, got no" },
        ["an unknown field"] = { [[plugin("acl", { rules = { { topics = "a" } } })]], "",
            "plugin \"acl\": rules[1].topics: no such field" },
        ["a user that is no name"] = { [[plugin("acl", { rules = { { topic = "a", user = 1 } } })]], "",
            "plugin \"acl\": rules[1].user: expected a name" },
        ["a Lua file with a mistake"] = { [[plugin("acl", { path = "acl.lua" })]], "return {", "acl.lua:1:" },
        ["a Lua file that returns no list"] = { [[plugin("acl", { path = "acl.lua" })]], "return 1",
            "acl.lua: expected a list of rules, got number" },
    }
    for name, row in pairs(rows) do
        it(name, function()
            with_dir(function(dir)
                write_file(dir .. "/acl.conf", row[2])
                write_file(dir .. "/acl.lua", row[2])
                write_file(dir .. "/sol.lua", row[1])
                local result = broker.sol("check", "-c", dir .. "/sol.lua")
                assert.not_equal(0, result.status)
                assert.truthy((result.stderr .. result.stdout):find(row[3], 1, true), result.stderr)
            end)
        end)
    end
end)
