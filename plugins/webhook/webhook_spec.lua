-- SPDX-License-Identifier: BSD-2-Clause
--
-- webhook: what is told, in which order, and what becomes of it when nobody listens.

local broker = require "support.broker"
local eval = require "support.eval"
local wait = require "support.wait"
local world = require "support.world"

local function config(server, path, options, size)
    return server:fill(([[
        allow_anonymous = true
        shared = { webhook = %q }
        plugin("webhook", { url = "http://ada:hush@127.0.0.1:$WORLD/%s", interval = 0.02, backoff = 0.02 %s })
    ]]):format(size or "1 MB", path, options or ""))
end

-- A broker that tells a service, which answers as `path` says (support/world.py).
local function with_hook(path, options, spec, size)
    world.with_world({ "http" }, function(server)
        eval.with({ config = config(server, path, options, size) }, function(run, b) spec(b, server, run) end)
    end)
end

-- The bodies that the service has got, one after the other.
local function bodies(server)
    local list = {}
    for body in server:said():gmatch "\nbody ([^\n]*)" do list[#list + 1] = body end
    return list
end

-- The numbers published as payloads, in the order in which they were heard.
local function numbers(server)
    local list = {}
    for _, body in ipairs(bodies(server)) do
        for n in body:gmatch '"payload":"(%d+)"' do list[#list + 1] = tonumber(n) end
    end
    return list
end

local function publish_many(b, from, to)
    local p = b:client("p" .. from)
    for i = from, to do p:publish("n", tostring(i)) end
    return p:ping()
end

local function heard(server, count)
    wait.till("everything to be heard", function() return #numbers(server) >= count end)
end

local MANY = ', events = { "published" }, topics = { "n", "m/#" }'

describe("webhook", function()
    it("tells of clients and messages", function()
        with_hook("say/204%20", [[, secret = "whsec_c2VjcmV0", headers = { Authorization = "Bearer t" },
            events = { "connected", "disconnected", "subscribed", "unsubscribed", "published", "refused", "will" },
            topics = { "a/#" }, max_payload = 10]], function(b, server, run)
            local c = b:client("c", { version = 5, username = "ada", password = "hush",
                will = { topic = "a/will", payload = "w" } })
            c:subscribe("a/b", 1):publish("a/b", "text", { qos = 1, retain = true })
            c:publish("a/b", "\xff\0", { qos = 1 }):publish("a/c", ("x"):rep(11), { qos = 1 })
            c:publish("b", "not told"):unsubscribe("a/b"):drop()
            local head = '"clientid":"c","event":"%s",[^}]-'
            for name, rest in pairs {
                connected = '"session_present":false,"time":[%d.]+,"username":"ada"',
                subscribed = '"filter":"a/b","qos":1,', unsubscribed = '"filter":"a/b",',
                published = '"payload":"text","qos":1,"retain":true,"time":[%d.]+,"topic":"a/b",',
                disconnected = '"normal":false,"reason":"[%w ]+","reason_code":0,',
                will = '"payload":"w","qos":0,"retain":false,"time":[%d.]+,"topic":"a/will",',
            } do
                server:wait("(" .. head:format(name) .. rest .. ")")
            end
            server:wait '({"address":"127.0.0.1:%d+","clientid":"c","event":"connected")'
            server:wait '("payload_base64":"/wA=")'
            server:wait '("payload_size":11)'
            assert.is_nil(server:said():find("not told", 1, true))
            assert.is_nil(server:said():find("hush", 1, true))

            -- signed as Standard Webhooks has it
            local said = server:said()
            local id, stamp = said:match "webhook%-id (%S+)", said:match "webhook%-timestamp (%S+)"
            local code, body = said:match "webhook%-signature v1,(%S+)", bodies(server)[1]
            assert.equal(code, run(("return sol.base64.encode(sol.hmac('sha256', 'secret', %q))")
                :format(id .. "." .. stamp .. "." .. body)))
        end)
    end)

    it("keeps the order, through retries, batch by batch", function()
        with_hook("turns/503%20,drop,429%20,cut,204%20", MANY .. ", batch_size = 50, timeout = 30", function(b, server)
            publish_many(b, 1, 220)
            server:wait "(body [^\n]*\"220\")"
            local all, last, ids = numbers(server), 0, {}
            for _, n in ipairs(all) do
                assert.is_true(n <= last + 1, "a gap before " .. n)
                last = math.max(last, n)
            end
            assert.equal(220, last)
            for _, body in ipairs(bodies(server)) do
                assert.is_true(select(2, body:gsub('"event"', "")) <= 50)
            end
            for id in server:said():gmatch "webhook%-id (%S+)" do ids[#ids + 1] = id end
            for i = 2, 5 do assert.equal(ids[1], ids[i]) end
            assert.not_equal(ids[5], ids[6])
            b:log_wait "(http://127.0.0.1:%d+: status 503 %(attempt 1%))"
            b:log_wait "(http://127.0.0.1:%d+: closed %(attempt %d%))"
        end)
    end)

    it("goes on after a batch that is refused, and gives up in the end", function()
        with_hook("turns/400%20,204%20", MANY .. ", batch_size = 2", function(b, server, run)
            publish_many(b, 1, 6)
            heard(server, 6)
            b:log_wait "(http://127.0.0.1:%d+ refuses a batch with status 400)"
            wait.till("it to be counted", function()
                local said = run [[return sol.metrics.collect()]]
                return said:find 'result="sent"} [1-5]\n' and said:find 'result="refused"} %d\n'
            end)
        end)
        with_hook("turns/500%20,500%20,500%20,204%20", MANY .. ", attempts = 3", function(b, server, run)
            publish_many(b, 1, 1)
            b:log_wait "(status 500; given up after 3 attempts)"
            publish_many(b, 2, 2)
            server:wait '(body [^\n]*"2")'
            assert.truthy(run([[return sol.metrics.collect()]]):find('result="given_up"} 1', 1, true))
        end)
    end)

    it("holds so much and no more while nobody answers, and the rest after a reload", function()
        with_hook("turns/silent,204%20", MANY .. ", timeout = 3600", function(b, server, run)
            publish_many(b, 1, 1)
            server:wait '(body [^\n]*"1")'
            local p, text = b:client "p", ("x"):rep(3000)
            for i = 2, 9 do p:publish("n", tostring(i)) end
            for _ = 1, 50 do p:publish("m/1", text) end
            p:ping()
            local dropped = tonumber(run([[return sol.metrics.collect()]]):match 'result="dropped"} (%d+)')
            assert.is_true(dropped > 20 and dropped < 50, dropped)

            -- the batch on its way is sent again under its id, then the others
            local id = server:said():match "webhook%-id (%S+)"
            b:configure(config(server, "turns/silent,204%20", MANY, "64 KB"))
            b:signal "HUP"
            b:log_wait "(generation 2 is in place)"
            server:wait '(body [^\n]*"9")'
            assert.equal("1 1 2 3 4 5 6 7 8 9", table.concat(numbers(server), " "))
            assert.equal(id, select(2, server:said():match "webhook%-id (%S+).-webhook%-id (%S+)"))
        end, "64 KB")
    end)

    it("does not load with options that make no sense", function()
        local URL = "url = 'http://x', "
        for options, says in pairs {
            [""] = "url: expected http:// or https://",
            [URL .. "queue = 'other'"] = "sol.shared.other is not declared",
            [URL .. "events = { 'conected' }"] = 'there is no event "conected" to tell of',
            [URL .. "events = { 'deliver' }"] = 'there is no event "deliver" to tell of',
            [URL .. "events = { 'published' }, topics = { 'a/#/b' }"] = "a/#/b",
            [URL .. "batch_size = 0"] = "batch_size: expected at least 1",
            [URL .. "secret = 'whsec_?'"] = "secret: what follows whsec_ is not base64",
            [URL .. "event = {}"] = 'did you mean "events"?',
        } do
            broker.refuses("shared = { webhook = '1 MB' }\nplugin('webhook', {" .. options .. "})", says)
        end
    end)
end)
