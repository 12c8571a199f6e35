-- SPDX-License-Identifier: BSD-2-Clause
--
-- password_file in a broker of its own: what needs threads, or `sol passwd`. The rest is beside
-- the plugin.

local broker = require "support.broker"
local with_broker, with_dir = broker.with_broker, broker.with_dir

-- The password is "secret", and cheap to check.
local ADA = "ada:$7$101$GJGKkqRs+wTX3ZVc$0wDSvncOTHCnaHwGA/8F9wGWOJQy2g/BPAOrvF8zygNhZ4idyhyvZyyY"
    .. "fCwvCRgHadySJN/7BVFV3655Ig2Lfw==\n"

local PLUGIN = [[plugin("password_file", { path = "passwd" })]]

local function with_users(passwd, spec, config)
    with_broker({ config = PLUGIN .. "\n" .. (config or ""), files = { passwd = passwd } }, spec)
end

-- Runs spec(broker), in which ada's password is "sesame".
local function with_ada(spec, config)
    with_dir(function(dir)
        local file = dir .. "/passwd"
        assert.equal(0, broker.sol("passwd", "-c", "-b", file, "ada", "sesame").status)
        with_users(broker.read_file(file), spec, config)
    end)
end

describe("password_file", function()
    it("takes entries made by sol passwd", function()
        with_ada(function(b)
            b:client("c", { username = "ada", password = "sesame" }):ping()
            b:client("d", { username = "ada", password = "sesam", connack = 4 })
        end)
    end)

    it("holds up nobody while it checks", function()
        with_ada(function(b)
            local logins = {}
            local sub = b:client("sub"):subscribe("t", 0)
            for i = 1, 10 do
                logins[i] = b:client("c" .. i, { username = "ada", password = "sesame", connack = false })
            end
            b:client("pub"):publish("t", "while they wait")
            sub:expect_publish("t", "while they wait")
            for i = 1, 10 do logins[i]:expect("CONNACK", { rc = 0 }, 20) end
        end, "allow_anonymous = true hook_timeout = 60")
    end)

    it("forgets a login whose client has gone", function()
        with_users(ADA, function(b)
            for i = 1, 50 do b:client("c" .. i, { username = "ada", password = "secret", connack = false }):drop() end
            b:client("c", { username = "ada", password = "secret" }):ping()
        end)
    end)
end)
