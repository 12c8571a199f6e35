-- SPDX-License-Identifier: BSD-2-Clause
--
-- sol.http: requests, what the world does to them, redirects, and hooks that wait for them.

local broker = require "support.broker"
local proc = require "support.proc"
local wait = require "support.wait"
local world = require "support.world"
local with_broker, with_world, run = broker.with_broker, world.with_world, world.run

-- A broker and a web server; $URL in code is where that is.
local function web(argv, spec, more)
    with_world(argv, function(server)
        local scheme = argv[2] and "https" or "http"
        local function fill(text) return (server:fill(text):gsub("$URL", scheme .. "://localhost:" .. server.port)) end
        with_broker({ config = world.RUNNER .. fill(more or "") }, function(b)
            local c = b:client "c"
            spec(function(code) return run(c, fill(code)) end, server, b)
        end)
    end)
end

local function https(spec)
    web({ "http", "$DIR2/server.pem", "$DIR2/server.key", prepare = world.certificates }, spec)
end

describe("sol.http", function()
    it("gets", function()
        web({ "http" }, function(code)
            assert.equal("200|hello|text/plain|text/plain|one, two|nil", code [[
                local r = assert(sol.http.get "$URL/hello")
                local h = r.headers
                return r.status, r.body, h["content-type"], h["Content-Type"], h["X-Twice"], h.absent
            ]])
            assert.equal("404|status 404", code [[
                local r = sol.http.get "$URL/status/404"
                return r.status, r.body
            ]])
        end)
    end)

    it("speaks over a unix socket", function()
        web({ "http-unix", "$DIR2/socket" }, function(code)
            assert.equal("hello", code [[
                return sol.http.get("http://any.test/hello", { socket = "$DIR2/socket" }).body
            ]])
        end)
    end)

    it("sends methods, headers and bodies as they are", function()
        web({ "http" }, function(code)
            local said = code [[
                return sol.http.post("$URL/echo/path?a=b", "the\0body", { headers = { ["Content-Type"] = "text/x-test",
                    Authorization = "Bearer t", ["X-Number"] = 7, ["X-Empty"] = "" } }).body
            ]]
            for _, part in ipairs { "^POST /echo/path%?a=b\n", "\nContent%-Type: text/x%-test\n",
                "\nAuthorization: Bearer t\n", "\nX%-Number: 7\n", "\nX%-Empty: \n",
                "\nContent%-Length: 8\n", "\nthe\0body$" } do
                assert.truthy(said:find(part), part)
            end
            assert.is_nil(said:find "Expect:")
            said = code [[return sol.http.request { method = "PUT", url = "$URL/echo/", body = "x" }.body]]
            assert.truthy(said:find "^PUT /echo/\n")
            assert.is_nil(said:find "Content%-Type")
            assert.truthy(code [[return sol.http.post("$URL/echo/").body]]:find "\nContent%-Length: 0\n")
            said = code [[return sol.http.request { method = "DELETE", url = "$URL/echo/" }.body]]
            assert.truthy(said:find "^DELETE ")
            assert.equal("200|", code [[
                local r = sol.http.request { method = "HEAD", url = "$URL/hello" }
                return r.status, r.body
            ]])
        end)
    end)

    it("uses a connection again", function()
        web({ "http" }, function(code, server)
            code [[ for _ = 1, 5 do assert(sol.http.get("$URL/hello").status == 200) end ]]
            assert.equal(1, server:count "connection\n")
        end)
    end)

    it("says what the world did", function()
        web({ "http" }, function(code)
            assert.equal("nil|connection refused",
                code(("return sol.http.get 'http://127.0.0.1:%d/'"):format(broker.free_port())))
            assert.equal("nil|closed", code "return sol.http.get '$URL/drop'")
            assert.equal("nil|closed", code "return sol.http.get '$URL/cut'")
            assert.equal("nil|timeout", code "return sol.http.get('$URL/silent', { timeout = 0.2 })")
            assert.equal("nil|response too large", code "return sol.http.get('$URL/bytes/2000', { max_body = 1999 })")
            assert.equal("2000", code "return #sol.http.get('$URL/bytes/2000', { max_body = 2000 }).body")
            assert.equal("nil|response too large", code "return sol.http.get '$URL/headers/400'")
            assert.equal("4194304", code [[
                return #sol.http.get("$URL/bytes/4194304", { max_body = 8 << 20, timeout = 30 }).body
            ]])
        end)
    end)

    it("raises what the caller did wrong", function()
        web({ "http" }, function(code)
            for wrong, says in pairs {
                ["get 'ftp://localhost/'"] = "expected an http:// or https:// URL",
                ["get 'http://'"] = "sol.http: http://:",
                ["get(7)"] = "sol.http.get: url must be a string, not 7",
                ["get()"] = "url is missing",
                ["get('$URL', 7)"] = "options must be a table",
                ["get('$URL', { timout = 1 })"] = 'unknown option "timout"; did you mean "timeout"',
                ["get('$URL', { timeout = -1 })"] = "timeout must be a number from 0.001 to 86400, not -1",
                ["get('$URL', { verify = 'no' })"] = "verify must be a boolean",
                ["get('$URL', { follow = 21 })"] = "follow must be an integer from 0 to 20",
                ["get('$URL', { headers = { ['X: Y'] = 'z' } })"] = '"X: Y" is no name of a header',
                ["get('$URL', { headers = { X = 'a\\r\\nEvil: b' } })"] = 'header "X" must be one line',
                ["request { url = '$URL', method = 'GET / HTTP/1.1' }"] = "is no HTTP method",
            } do
                local said = code("local response = sol.http." .. wrong .. " return response")
                assert.truthy(said:find(says, 1, true), wrong .. ": " .. said)
                assert.truthy(said:find "code:1: ", said)
            end
        end)
    end)
end)

describe("redirects", function()
    it("are followed when asked for, as far as asked for", function()
        web({ "http" }, function(code)
            assert.equal("302|/hello", code [[
                local r = sol.http.get "$URL/to/302//hello"
                return r.status, r.headers.location
            ]])
            assert.equal("200|hello|true", code [[
                local r = sol.http.get("$URL/to/302//hello", { follow = 1 })
                return r.status, r.body, r.url == "$URL/hello"
            ]])
            assert.equal("302|/loop/4", code [[
                local r = sol.http.get("$URL/loop/0", { follow = 3 })
                return r.status, r.headers.location
            ]])
        end)
    end)

    it("change the method where they should, and keep secrets to their server", function()
        web({ "http" }, function(code, server)
            local send = [[
                local headers = { Authorization = "secret" }
                return sol.http.post("$URL/to/%d/%s", "body", { follow = 1, headers = headers }).body
            ]]
            local function echoed(status, target) return code(send:format(status, target)) end
            for _, status in ipairs { 301, 302, 303 } do
                local said = echoed(status, "/echo/")
                assert.truthy(said:find "^GET ")
                assert.is_nil(said:find "body$")
                assert.truthy(said:find "secret")
            end
            for _, status in ipairs { 307, 308 } do
                assert.truthy(echoed(status, "/echo/"):find "^POST .*body$")
            end
            assert.is_nil(echoed(307, "http://127.0.0.1:" .. server.port .. "/echo/"):find "secret")
            assert.equal("nil|redirected to no URL: gopher://x",
                code [[return sol.http.get("$URL/to/302/gopher://x", { follow = 1 })]])
        end)
    end)

    it("have one deadline", function()
        web({ "http" }, function(code)
            assert.equal("nil|timeout",
                code [[return sol.http.get("$URL/to/302//silent", { follow = 3, timeout = 0.3 })]])
        end)
    end)
end)

describe("https", function()
    it("verifies the server", function()
        https(function(code)
            assert.equal("hello", code [[return sol.http.get("$URL/hello", { ca = "$DIR2/ca.pem" }).body]])
            for _, options in ipairs { "{}", '{ ca = "$DIR2/other.pem" }' } do
                local said = code("return sol.http.get('$URL/hello', " .. options .. ")")
                assert.truthy(said:find "^nil|.*certificate", said)
            end
            assert.equal("hello", code [[return sol.http.get("$URL/hello", { verify = false }).body]])
            -- and does not take what was trusted blindly for trusted
            assert.truthy(code [[return sol.http.get "$URL/hello"]]:find "^nil|")
        end)
    end)

    it("does not follow to plain http", function()
        https(function(code)
            assert.equal("nil|redirected from https to http", code [[
                return sol.http.get("$URL/to/302/http://localhost:1/", { follow = 1, ca = "$DIR2/ca.pem" })
            ]])
        end)
    end)
end)

describe("a hook that waits for a web service", function()
    local ASK = [[
        sol.on("publish", "ask", function()
            local guard <close> = setmetatable({}, { __close = function() sol.log.info "guard closed" end })
            sol.http.get("$URL/silent", { timeout = 60 })
        end)
    ]]

    local function parked(spec)
        web({ "http" }, function(_, server, b)
            local c = b:client "asker"
            c:publish("ask", "x", { qos = 1, wait = false })
            server:wait "request GET /silent"
            spec(b, c, server)
        end, ASK)
    end

    it("is let go with its client, and the request is dropped", function()
        parked(function(b, c, server)
            b:client("other"):ping()
            c:reset()
            b:log_wait "guard closed"
            server:wait "gone"
        end)
    end)

    it("is let go by a reload, once its time is over", function()
        parked(function(b, c, server)
            b:configure(world.RUNNER)
            b:signal "HUP"
            b:log_wait "[Rr]eload"
            assert.equal("new", run(b:client "d", [[return "new"]]))
            c:reset()
            server:wait "gone"
        end)
    end)

    it("does not keep the broker from stopping", function()
        parked(function(b)
            local since = proc.now()
            b:stop()
            assert.is_true(proc.now() - since < wait.scaled(5))
        end)
    end)

    it("may be one of a thousand", function()
        web({ "http" }, function(_, server, b)
            local all = {}
            for i = 1, 1000 do all[i] = b:client("c" .. i) end
            for i = 1, 1000 do all[i]:publish("ask", "x", { qos = 1, wait = false, id = 7 }) end
            for i = 1, 1000 do all[i]:await("PUBACK", nil, 60) end
            assert.is_true(server:count "connection\n" <= 64)
        end, [[
            workers = 1 -- each of them keeps up to 64 connections to a server
            max_parked = 2000
            sol.on("publish", "ask", function()
                local r = assert(sol.http.get("$URL/hello", { timeout = 60 }))
                assert(r.body == "hello")
            end)
        ]])
    end)

    it("may decide who comes in", function()
        web({ "http" }, function(_, _, b)
            local ada = b:client("ada", { username = "ada", password = "secret" }):ping()
            b:client("eve", { version = 5, username = "eve", password = "guess", connack = 0x86 })
            ada:ping()
        end, [[
            sol.on("authenticate", function(client, credentials)
                if client.id == "c" then return true end
                local reply, err = sol.http.post("$URL/auth",
                    sol.json.encode { user = credentials.username, password = credentials.password },
                    { timeout = 5, headers = { ["Content-Type"] = "application/json" } })
                if not reply then
                    sol.log.warn("the account service: %s", err)
                    return sol.deny(0x88)
                end
                if reply.status ~= 200 then return sol.deny(0x86) end
                client.attributes.role = sol.json.decode(reply.body).role
                return sol.allow()
            end)
        ]])
    end)
end)
