-- SPDX-License-Identifier: BSD-2-Clause
--
-- webhook as time goes by: when batches go out, and how long it waits before it tries again.

local testing = require "sol.testing"

local function with(options)
    local heard = { status = 204 }
    local b = testing.broker { text = ([[
        allow_anonymous = true
        shared = { webhook = "1 MB" }
        plugin("webhook", { url = "http://hook.test/", events = { "published" }, %s })
    ]]):format(options or "") }
    b:stub("http", function(request)
        heard[#heard + 1] = request
        return { status = heard.status, headers = heard.headers }
    end)
    local c = b:connect {}
    return b, heard, function(payload) c:publish("t", payload) end
end

describe("webhook", function()
    it("sends what has gathered, every so often", function()
        local b, heard, tell = with "interval = 5, batch_size = 2"
        tell "1"
        tell "2"
        tell "3"
        b:advance(4)
        assert.equal(0, #heard)
        b:advance(2)
        assert.equal(2, #heard)
        assert.truthy(heard[1].body:find '"payload":"1".*"payload":"2"')
        assert.truthy(heard[2].body:find '^%[{[^{]*"payload":"3"[^{]*}%]$')
        b:advance(20)
        assert.equal(2, #heard)
    end)

    it("waits longer from attempt to attempt, up to a bound, and gives up in the end", function()
        local b, heard, tell = with "interval = 1, backoff = 8, max_backoff = 30, attempts = 5"
        heard.status = 503
        tell "1"
        b:advance(1)
        assert.equal(1, #heard)
        for n, pause in ipairs { 8, 16, 30, 30 } do -- each shortened by up to a half
            local waited = 0
            while #heard == n and waited < 100 do
                b:advance(0.5)
                waited = waited + 0.5
            end
            assert.is_true(waited >= pause / 2 and waited <= pause + 0.5, waited)
            assert.equal(heard[1].headers["webhook-id"], heard[n + 1].headers["webhook-id"])
        end
        assert.truthy(b:logged "given up after 5 attempts")
        heard.status = 200
        tell "2"
        b:advance(2)
        assert.equal(6, #heard)
        assert.truthy(heard[6].body:find '"payload":"2"')
    end)

    it("waits as long as it is asked to, within the bound", function()
        local b, heard, tell = with "interval = 1, backoff = 1, max_backoff = 60"
        heard.status, heard.headers = 429, { ["Retry-After"] = "40" }
        tell "1"
        b:advance(1)
        b:advance(39)
        assert.equal(1, #heard)
        heard.headers = { ["Retry-After"] = "4000" }
        b:advance(2)
        assert.equal(2, #heard)
        b:advance(61)
        assert.equal(3, #heard)
    end)
end)
