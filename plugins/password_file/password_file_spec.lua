-- SPDX-License-Identifier: BSD-2-Clause
--
-- password_file: who is let in, and which files are taken.

local testing = require "sol.testing"

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

local function with_users(passwd, config)
    return testing.broker { text = PLUGIN .. "\n" .. (config or ""), files = { passwd = passwd } }
end

-- The reason code for this login; of an MQTT 5 client unless told.
local function login(b, username, password, version)
    return b:connect({ username = username, password = password, version = version }).reason_code
end

describe("password_file", function()
    for name, hash in pairs(HASHES) do
        it("lets in the owner of a hash in the form of " .. name, function()
            local b = with_users("ada:" .. hash .. "\n")
            assert.equal(0, login(b, "ada", "secret"))
            assert.equal(0x86, login(b, "ada", "Secret"))
        end)
    end

    it("refuses a wrong password and an unknown user alike", function()
        local b = with_users(ADA)
        for version, code in pairs { [3] = 4, [4] = 4, [5] = 0x86 } do
            assert.equal(code, login(b, "ada", "wrong", version))
            assert.equal(code, login(b, "ada", "", version))
            assert.equal(code, login(b, "eve", "secret", version))
            assert.equal(code, login(b, "", "secret", version))
        end
        assert.equal(0x86, login(b, "ada")) -- no password at all
    end)

    it("leaves clients without a user name to allow_anonymous", function()
        assert.equal(0x87, login(with_users(ADA, "allow_anonymous = false")))
        assert.equal(0, login(with_users(ADA, "allow_anonymous = true")))
    end)

    it("skips comments and blanks, and takes lines that end in CR LF", function()
        local b = with_users("# ada:nothing\n\n  \n" .. ADA:gsub("\n", "\r\n") .. "#end")
        assert.equal(0, login(b, "ada", "secret"))
        assert.equal(0x86, login(b, "# ada", "nothing"))
    end)

    it("lets nobody in by an empty file", function() assert.equal(0x86, login(with_users "", "ada", "secret")) end)

    it("reads the file again on reload, and keeps the old users when it is broken", function()
        local b = with_users(ADA)
        assert.equal(0x86, login(b, "eve", "secret"))
        b:write("passwd", ADA .. ADA:gsub("ada", "eve"))
        assert.is_true(b:reload())
        assert.equal(0, login(b, "eve", "secret"))

        b:write("passwd", ADA .. "bob\n")
        local ok, err = b:reload()
        assert.is_nil(ok)
        assert.truthy(err:find "passwd:2: ")
        assert.equal(0, login(b, "eve", "secret"))
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
                assert.error_matches(function() with_users(row[1]) end, row[2], 1, true)
            end)
        end

        it("a file that is not there, or no path", function()
            for config, message in pairs { [PLUGIN] = "passwd", [ [[plugin("password_file", {})]] ] = "path" } do
                assert.error_matches(function() testing.broker { text = config } end, message, 1, true)
            end
        end)
    end)
end)
