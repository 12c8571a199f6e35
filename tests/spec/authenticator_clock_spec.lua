-- SPDX-License-Identifier: BSD-2-Clause
--
-- sol.authenticator as time goes by: what is remembered for how long, when a backend is left
-- alone, when a login is over.

local testing = require "sol.testing"

local function with(options, settings)
    local asked = { n = 0 }
    local b = testing.broker { tolerate = true, text = ([[
        allow_anonymous = false
        sol.on("authenticate", sol.authenticator({ name = "test", %s }, function(login)
            local reply, err = sol.http.get("http://backend.test/" .. login.username)
            if not reply then return nil, err end
            if reply.status ~= 200 then return false end
            return { expires = reply.body ~= "" and sol.time() + tonumber(reply.body) or nil }
        end), { timeout = 30 })
        %s
    ]]):format(options or "", settings or "") }
    b:stub("http", function()
        asked.n = asked.n + 1
        if asked.down then return nil, "connection refused" end
        return { status = asked.status or 200, body = asked.body or "" }
    end)
    local function login(name) return b:connect { client_id = name, username = name, password = "x" } end
    return b, asked, login
end

describe("sol.authenticator", function()
    it("remembers who may come in, and for a shorter time who may not", function()
        local b, asked, login = with "cache_ttl = 60, deny_ttl = 5"
        assert.equal(0, login("ada").reason_code)
        asked.status = 403
        assert.equal(0x86, login("eve").reason_code)
        b:advance(4)
        assert.equal(0, login("ada").reason_code)
        assert.equal(0x86, login("eve").reason_code)
        assert.equal(2, asked.n)
        asked.status = 200
        b:advance(2)
        assert.equal(0, login("eve").reason_code)
        assert.equal(3, asked.n)
        asked.status = 403
        b:advance(53)
        assert.equal(0, login("ada").reason_code)
        b:advance(2)
        assert.equal(0x86, login("ada").reason_code)
    end)

    it("leaves a backend alone for a while, then tries it with one login", function()
        local b, asked, login = with "failures = 3, pause = 10"
        asked.down = true
        for _ = 1, 5 do assert.equal(0x88, login("ada").reason_code) end
        assert.equal(3, asked.n)
        b:advance(9)
        assert.equal(0x88, login("ada").reason_code)
        assert.equal(3, asked.n)
        b:advance(2)
        assert.equal(0x88, login("ada").reason_code)
        assert.equal(0x88, login("ada").reason_code)
        assert.equal(4, asked.n)
        asked.down = false
        b:advance(11)
        assert.equal(0, login("ada").reason_code)
        assert.equal(0, login("eve").reason_code)
        assert.equal(6, asked.n)
    end)

    it("ends a connection when its login is over, and lets nobody in by it afterwards", function()
        local b, asked, login = with()
        asked.body = "30"
        local ada = login "ada"
        assert.equal(0, ada.reason_code)
        b:advance(20)
        assert.is_true(ada.connected)
        assert.equal(0, login("ada").reason_code) -- remembered; takes the first one's place
        assert.is_false(ada.connected)
        ada = login "ada"
        assert.equal(1, asked.n)
        assert(b:reload())
        b:advance(8)
        assert.is_true(ada.connected)
        b:advance(3)
        assert.is_false(ada.connected)
        assert.equal(0xA0, ada.reason_code)
        asked.body = "-1"
        assert.equal(0x86, login("ada").reason_code)
    end)
end)
