-- SPDX-License-Identifier: BSD-2-Clause
--
-- acl: what rules grant and refuse, and which files are taken.

local testing = require "sol.testing"

local function with_file(acl, config)
    return testing.broker { text = 'plugin("acl", { path = "acl.conf" })\n' .. (config or ""),
        files = { ["acl.conf"] = acl } }
end

local function with_rules(rules) return testing.broker { text = 'plugin("acl", { rules = ' .. rules .. " })" } end

local function client(b, id, username, options)
    local all = { client_id = id, username = username, password = username and "x" }
    for name, value in pairs(options or {}) do all[name] = value end
    return b:connect(all)
end

-- Publishing to these topics, or subscribing to these filters, is granted to `c`; or refused.
local function judge(code, c, verb, ...)
    for _, name in ipairs { ... } do
        assert.equal(code, (c[verb](c, name)), ("client %s: %s %s"):format(c.id:sub(1, 20), verb, name:sub(1, 60)))
    end
end

local function may(...) judge(0, ...) end
local function may_not(...) judge(0x87, ...) end

local EVERYTHING = "\nuser root\ntopic #\ntopic $SYS/#\n"

describe("acl, a file in mosquitto's format:", function()
    it("a publish outside the rules is answered with 0x87", function()
        local b = with_file "user ada\ntopic write up/#\n"
        local ada = client(b, "c", "ada")
        may(ada, "publish", "up/1", "up")
        may_not(ada, "publish", "down", "$up/1")
        assert.equal(0, ada:publish("up", "x", { qos = 2 }))
        assert.equal(0x87, ada:publish("down", "x", { qos = 2 }))
        may_not(client(b, "d", "bob"), "publish", "up/1")
        may_not(client(b, "e"), "publish", "up/1")
    end)

    it("a refused publish reaches nobody, and a 3.1.1 client stays connected", function()
        local b = with_file("user ada\ntopic write up/#\n" .. EVERYTHING)
        local root, ada = client(b, "root", "root"), client(b, "c", "ada", { version = 4 })
        root:subscribe "#"
        ada:publish("down", "x")
        ada:publish("up/1", "y")
        root:expect("up/1", "y")
        root:expect_none()
        assert.is_true(ada.connected)
    end)

    it("read is for subscriptions, write for publishing, neither word for both", function()
        local b = with_file "user ada\ntopic read r\ntopic write w\ntopic both\ntopic readwrite rw\n"
        local ada = client(b, "c", "ada")
        may(ada, "subscribe", "r", "rw", "both")
        may_not(ada, "subscribe", "w")
        may(ada, "publish", "w", "rw", "both")
        may_not(ada, "publish", "r")
    end)

    it("a subscription that can bring nothing is refused", function()
        local b = with_file "user ada\ntopic read a/+/c\ntopic deny a/secret/#\n"
        local ada = client(b, "c", "ada")
        may(ada, "subscribe", "a/b/c", "a/+/c", "a/#", "#", "+/+/+", "+/b/#", "a/b/c/#")
        may_not(ada, "subscribe", "b", "a/b", "a/+", "a/b/d", "a/b/c/+", "$SYS/#", "a/secret/c", "a/secret/+")
        assert.equal(0x80, client(b, "d", "ada", { version = 4 }):subscribe("b", { qos = 1 }))
    end)

    it("a subscription wider than the rules brings what they grant", function()
        local b = with_file("user ada\ntopic read a/#\ntopic deny a/secret/#\n" .. EVERYTHING)
        local ada, root = client(b, "c", "ada"), client(b, "root", "root")
        ada:subscribe("#", { qos = 1 })
        for _ = 1, 3 do
            may(root, "publish", "b", "a/secret/key", "a/open")
            ada:expect "a/open"
        end
        ada:expect_none()
    end)

    it("a retained message that may not be read is not sent", function()
        local b = with_file("user ada\ntopic read a/#\n" .. EVERYTHING)
        local root, ada = client(b, "root", "root"), client(b, "c", "ada")
        root:publish("b", "no", { retain = true })
        root:publish("a", "yes", { retain = true })
        ada:subscribe "#"
        assert.is_true(ada:expect("a", "yes").retain)
        ada:expect_none()
    end)

    it("a will is judged like a publish of its author", function()
        local b = with_file("user ada\ntopic write up/#\n" .. EVERYTHING)
        local root = client(b, "root", "root")
        root:subscribe "#"
        client(b, "c", "ada", { will = { topic = "down", payload = "no" } }):drop()
        client(b, "d", "ada", { will = { topic = "up/1", payload = "yes" } }):drop()
        root:expect("up/1", "yes")
        root:expect_none()
    end)

    it("deny counts wherever it stands", function()
        local b = with_file "user ada\ntopic readwrite a/#\ntopic deny a/x\npattern write b/#\npattern deny b/%c\n"
        local ada = client(b, "me", "ada")
        may(ada, "publish", "a/y", "b/x")
        may_not(ada, "publish", "a/x", "b/me")
        may(client(b, "you", "ada"), "publish", "b/me")
    end)

    it("patterns come after topic lines, as in mosquitto", function()
        local b = with_file "user ada\ntopic a/me\ntopic deny b/me\npattern deny a/%c\npattern readwrite b/%c\n"
        local ada = client(b, "me", "ada")
        for _, verb in ipairs { "publish", "subscribe" } do
            may(ada, verb, "a/me")
            may_not(ada, verb, "b/me")
        end
    end)

    it("rules before the first user are for clients without a name", function()
        local b = with_file "topic open\nuser ada\ntopic ada\nuser bob\ntopic bob\nuser ada\ntopic ada/2\n"
        local guest, ada = client(b, "c"), client(b, "d", "ada")
        may(guest, "publish", "open")
        may_not(guest, "publish", "ada")
        may(ada, "publish", "ada", "ada/2")
        may_not(ada, "publish", "open", "bob")
    end)

    it("patterns are for everybody, with their own name and id", function()
        local b = with_file "user nobody\npattern write d/%c/up\npattern read u/%u/#\n"
        local ada, guest = client(b, "c1", "ada"), client(b, "c2")
        may(ada, "publish", "d/c1/up")
        may_not(ada, "publish", "d/c2/up")
        may(ada, "subscribe", "u/ada/x")
        may_not(ada, "subscribe", "u/bob/x")
        may(guest, "publish", "d/c2/up")
        may_not(guest, "subscribe", "u/+/x")
    end)

    it("nobody reaches further by a clever name", function()
        local b = with_file "pattern readwrite d/%c/#\npattern readwrite u/%u/#\npattern readwrite %u/x\n"
        for _, name in ipairs { "+", "#", "a/b", "a/+", "+a", "/" } do
            local sly = client(b, name, "ada")
            may_not(sly, "publish", "d/" .. name:gsub("[+#]", "x"), "d/victim/x")
            may_not(sly, "subscribe", "d/#")
            sly:drop()
            local other = client(b, "c", name)
            may_not(other, "publish", "u/a/b/x")
            may_not(other, "subscribe", "u/victim/x")
            other:drop()
        end
        may_not(client(b, "c", "$SYS"), "publish", "$SYS/x")
        local percent = client(b, "d", "%c")
        may(percent, "publish", "u/%c/x")
        may_not(percent, "publish", "u/d/x")
    end)

    it("a name that escapes a deny pattern gets nothing from patterns", function()
        local b = with_file "user ada\ntopic own\npattern readwrite #\npattern deny secret/%c/#\n"
        local ada, sly = client(b, "c", "ada"), client(b, "c/x", "ada")
        may(ada, "publish", "open")
        may_not(ada, "publish", "secret/c/x")
        may(sly, "publish", "own")
        may_not(sly, "publish", "open")
        may_not(sly, "subscribe", "open")
    end)

    it("long names and topics, and many of them, fill no memory", function()
        local b = with_file("pattern write d/%c/#\n" .. EVERYTHING, "vm_memory = 4 << 20\nhook_budget = 5")
        local id, long = ("i"):rep(60000), ("x"):rep(5000)
        local c = client(b, id, ("u"):rep(60000))
        for i = 1, 150 do
            may(c, "publish", "d/" .. id .. "/" .. i)
            may_not(c, "publish", long .. i)
        end
    end)

    it("topic lines know no patterns", function()
        local ada = client(with_file "user ada\ntopic d/%c\n", "c", "ada")
        may(ada, "publish", "d/%c")
        may_not(ada, "publish", "d/c")
    end)

    it("a reload changes what old subscriptions bring", function()
        local b = with_file("user ada\ntopic read #\n" .. EVERYTHING)
        local ada, root = client(b, "c", "ada"), client(b, "root", "root")
        ada:subscribe "#"
        root:publish("a", "1")
        ada:expect("a", "1")
        b:write("acl.conf", "user ada\ntopic read b\n" .. EVERYTHING)
        assert.is_true(b:reload())
        root:publish("a", "2")
        root:publish("b", "3")
        ada:expect("b", "3")
        ada:expect_none()
    end)

    it("comes after password_file and before default_access", function()
        local b = with_file("user ada\ntopic t\n", "default_access = \"allow\"\nallow_anonymous = true")
        local ada = client(b, "c", "ada")
        may(ada, "publish", "t")
        may_not(ada, "publish", "u")
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
        may(ada, "subscribe", "news/x", "ada/log")
        may(ada, "publish", "ada/x", "devices/c1/up")
        may_not(ada, "publish", "ada/log", "guests", "devices/c2/up")
        may(guest, "subscribe", "news/#")
        may_not(guest, "subscribe", "ada/#")
        may(guest, "publish", "guests")
        may_not(guest, "publish", "news/x")
    end

    it("in the options", function() as_told(with_rules(RULES)) end)

    it("in a file that returns them", function()
        as_told(testing.broker { text = [[plugin("acl", { path = "acl.lua" })]],
            files = { ["acl.lua"] = "return " .. RULES } })
    end)

    it("with the words of mosquitto", function()
        local c = client(with_rules [[{ { action = "read", topic = "r" }, { action = "write", topic = "w" },
            { action = "readwrite", topic = "rw" } }]], "c")
        may(c, "subscribe", "r", "rw")
        may_not(c, "subscribe", "w")
        may(c, "publish", "w", "rw")
    end)
end)

describe("acl, as grants:", function()
    local RULES = "user ada\ntopic write up/#\ntopic down/+\ntopic deny down/not\n"

    -- How often the plugin's handler has been asked.
    local function asked(b)
        for _, hook in ipairs(b:hooks()) do
            if hook.event == "authorize" and hook.name:find "acl" then return hook.calls end
        end
    end

    -- A client that has asked for a few things, and how often Lua was asked for them.
    local function converse(b)
        local ada = client(b, "c", "ada")
        for i = 1, 5 do
            may(ada, "publish", "up/" .. i)
            may_not(ada, "publish", "no/" .. i)
            may(ada, "subscribe", "down/" .. i)
            may_not(ada, "subscribe", "no", "down/not")
            ada:publish("down/" .. i, "")
            ada:expect("down/" .. i, "")
        end
        may(ada, "subscribe", "#")
        may_not(ada, "publish", "down/not")
        may(ada, "publish", "up/x")
        ada:expect_none()
        return ada, asked(b)
    end

    it("Lua is asked once a client, and again after a reload", function()
        local b = with_file(RULES)
        local ada, calls = converse(b)
        assert.equal(1, calls)
        b:write("acl.conf", RULES .. "topic write no/#\n")
        assert.is_true(b:reload())
        may(ada, "publish", "no/1")
        assert.is_true(asked(b) >= 1) -- of the new generation
    end)

    it("not where another handler comes first: it is asked as before", function()
        local another = [[sol.on("authorize", "elsewhere", function() end, { priority = 1 })]]
        local _, calls = converse(with_file(RULES, another))
        assert.is_true(calls > 20, tostring(calls))
    end)

    it("not for more rules than a client should carry", function()
        local many = {}
        for i = 1, 70 do many[i] = ("topic write many/%d\n"):format(i) end
        local ada, calls = converse(with_file(RULES .. table.concat(many)))
        assert.is_true(calls > 20, tostring(calls))
        may(ada, "publish", "many/70")
    end)

    it("rules that no topic is like do no harm", function()
        local ada, calls = converse(with_file(RULES .. "topic read $share/g/x\ntopic read 100%/#\n"))
        assert.equal(1, calls)
        may(ada, "subscribe", "100%/x")
        may_not(ada, "subscribe", "$SYS/#")
        may_not(ada, "publish", "$x")
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
            local files = { ["acl.conf"] = row[2], ["acl.lua"] = row[2] }
            assert.error_matches(function() testing.broker { text = row[1], files = files } end, row[3], 1, true)
        end)
    end
end)
