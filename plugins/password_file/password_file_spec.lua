-- SPDX-License-Identifier: BSD-2-Clause
--
-- password_file: who is let in, and which files are taken.

local broker = require "support.broker"
local with_broker, with_dir, write_file = broker.with_broker, broker.with_dir, broker.write_file

-- Each of the password "secret".
local HASHES = {
    ["mosquitto's $7$"] = "$7$101$GJGKkqRs+wTX3ZVc$0wDSvncOTHCnaHwGA/8F9wGWOJQy2g/BPAOrvF8zygNhZ4idyhyvZyyY"
        .. "fCwvCRgHadySJN/7BVFV3655Ig2Lfw==",
    ["mosquitto's $6$"] = "$6$bggJ5Uwz+pATvmQa$YDOsFSQTCdTttseDDXuQSHUczW+ZnjpQWRsOQ7AQ4uFfoOU+bxYQulVxf5uc"
        .. "v/08yqPgivwrgpRAi2SabRMsyw==",
    ["crypt's $6$"] = "$6$gyFrznEN3SiZi4fF$PlaZ7TsnQnADCX/a9HPYRXANwUB9I7VUZRjRzYQXu7KMFTYAM7dDAwgCF7JhZtSPm"
        .. "gm54lU1o39Jh/T2n5KZS.",
    yescrypt = "$y$j9T$lw7mx2fvfdBtMqeo6cERj.$mN.i4XeMUepNfeOrkQjQxCglOWHM0nbsYgWxuUQ7e90",
    bcrypt = "$2b$05$eUveYDFbsBlJ/W5hEEKHhu81K0WcRwL9riNSWe25OZbndTi2b32Ne",
}
local ADA = "ada:" .. HASHES["mosquitto's $7$"] .. "\n"

local PLUGIN = [[plugin("password_file", { path = "passwd" })]]

local function with_users(passwd, spec, config)
    with_broker({ config = PLUGIN .. "\n" .. (config or ""), files = { passwd = passwd } }, spec)
end

describe("password_file", function()
    for name, hash in pairs(HASHES) do
        it("lets in the owner of a hash in the form of " .. name, function()
            with_users("ada:" .. hash .. "\n", function(b)
                b:client("c", { username = "ada", password = "secret" }):ping()
                b:client("d", { username = "ada", password = "Secret", connack = 4 })
            end)
        end)
    end

    it("takes entries made by sol passwd", function()
        with_dir(function(dir)
            local file = dir .. "/passwd"
            assert.equal(0, broker.sol("passwd", "-c", "-b", file, "ada", "sesame").status)
            with_users(broker.read_file(file), function(b)
                b:client("c", { username = "ada", password = "sesame" }):ping()
                b:client("d", { username = "ada", password = "sesam", connack = 4 })
            end)
        end)
    end)

    it("refuses a wrong password and an unknown user alike", function()
        with_users(ADA, function(b)
            for version, code in pairs { [3] = 4, [4] = 4, [5] = 0x86 } do
                local function refused(id, username, password)
                    b:client(id, { version = version, username = username, password = password, connack = code })
                end
                refused("a", "ada", "wrong")
                refused("b", "ada", "")
                refused("c", "eve", "secret")
                refused("d", "", "secret")
            end
            b:client("e", { version = 5, username = "ada", connack = 0x86 }) -- no password at all
        end)
    end)

    it("leaves clients without a user name to allow_anonymous", function()
        with_users(ADA, function(b) b:client("c", { connack = 5 }) end, "allow_anonymous = false")
        with_users(ADA, function(b) b:client("c"):ping() end, "allow_anonymous = true")
    end)

    it("skips comments and blanks, and takes lines that end in CR LF", function()
        with_users("# ada:nothing\n\n  \n" .. ADA:gsub("\n", "\r\n") .. "#end", function(b)
            b:client("c", { username = "ada", password = "secret" }):ping()
            b:client("d", { username = "# ada", password = "nothing", connack = 4 })
        end)
    end)

    it("lets nobody in by an empty file", function()
        with_users("", function(b) b:client("c", { username = "ada", password = "secret", connack = 4 }) end)
    end)

    it("holds up nobody while it checks", function()
        with_dir(function(dir)
            local file = dir .. "/passwd"
            assert.equal(0, broker.sol("passwd", "-c", "-b", file, "ada", "sesame").status)
            with_users(broker.read_file(file), function(b)
                local logins = {}
                local sub = b:client("sub"):subscribe("t", 0)
                for i = 1, 20 do
                    logins[i] = b:client("c" .. i, { username = "ada", password = "sesame", connack = false })
                end
                b:client("pub"):publish("t", "while they wait")
                sub:expect_publish("t", "while they wait")
                for i = 1, 20 do logins[i]:expect("CONNACK", { rc = 0 }, 20) end
            end, "allow_anonymous = true hook_timeout = 60")
        end)
    end)

    it("forgets a login whose client has gone", function()
        with_users(ADA, function(b)
            for i = 1, 50 do b:client("c" .. i, { username = "ada", password = "secret", connack = false }):drop() end
            b:client("c", { username = "ada", password = "secret" }):ping()
        end)
    end)

    it("reads the file again on reload, and keeps the old users when it is broken", function()
        with_users(ADA, function(b)
            b:client("eve", { username = "eve", password = "secret", connack = 4 })
            b:write("passwd", ADA .. ADA:gsub("ada", "eve"))
            b:signal "HUP"
            b:log_wait "(generation 2 is in place)"
            b:client("eve", { username = "eve", password = "secret" }):ping()

            b:write("passwd", ADA .. "bob\n")
            b:signal "HUP"
            b:log_wait "(passwd:2: [^\n]*)\n"
            b:client("eve2", { username = "eve", password = "secret" }):ping()
        end)
    end)

    describe("does not load", function()
        local rows = {
            ["a line without a colon"] = { ADA .. "bob\n", "passwd:2: expected user:hash" },
            ["a plain password"] = { ADA .. "\nbob:secret\n", "passwd:3: user bob: not a password hash" },
            ["a hash cut short"] = { ADA:sub(1, 60) .. "\n", "passwd:1: user ada: not a password hash" },
            ["a hash of absurd cost"] = { "bob:$7$4000000000$" .. ADA:match "%$101%$(.*)",
                "passwd:1: user bob: the hash asks for too much" },
            ["a user twice"] = { ADA .. ADA, "passwd:2: user ada is there twice" },
            ["a nameless user"] = { ":" .. ADA:match ":(.*)", "passwd:1: a user without a name" },
        }
        for name, row in pairs(rows) do
            it(name, function()
                with_dir(function(dir)
                    write_file(dir .. "/passwd", row[1])
                    write_file(dir .. "/sol.lua", PLUGIN)
                    local result = broker.sol("check", "-c", dir .. "/sol.lua")
                    assert.not_equal(0, result.status)
                    assert.truthy((result.stderr .. result.stdout):find(row[2], 1, true), result.stderr)
                end)
            end)
        end

        it("a file that is not there, or no path", function()
            with_dir(function(dir)
                for config, message in pairs { [PLUGIN] = "passwd", [ [[plugin("password_file", {})]] ] = "path" } do
                    write_file(dir .. "/sol.lua", config)
                    local result = broker.sol("check", "-c", dir .. "/sol.lua")
                    assert.not_equal(0, result.status)
                    assert.truthy((result.stderr .. result.stdout):find(message, 1, true), result.stderr)
                end
            end)
        end)
    end)
end)
