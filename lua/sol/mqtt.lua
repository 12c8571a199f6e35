-- SPDX-License-Identifier: BSD-2-Clause
--
-- mqtt.lua -- sol.mqtt: a client of another broker.
--
-- A connection is kept up by a task that makes one link after the other (mqtt_link.lua).  It
-- belongs to its policy: a reload ends the task, and with it the connection.

local sol, native = ...

-- Lua's own functions: an environment may replace its entries, not ours.
local error, ipairs, max, min, pairs, pcall, setmetatable, type =
    error, ipairs, math.max, math.min, pairs, pcall, setmetatable, type
local can_wait, check_function, check_seconds, is_first, is_loading, options_of, spawn, waiter =
    native.can_wait, native.check_function, native.check_seconds, native.is_first, native.is_loading,
    native.options, native.spawn, native.waiter
local after, hex, log, now, random, topic_of = sol.after, sol.hex, sol.log, sol.now, sol.random, sol.topic
local Link = native.mqtt_link

local STEADY = 10      -- seconds after which a link counts as a good one
local FOR_EVER = 86400 -- seconds that a session is kept

local PRIVATE = {} -- key of what a connection or a subscription keeps

-- ---- options -------------------------------------------------------------------------------

local OPTIONS = native.server_options {
    version = { "integer", 4, 5, default = 5 },
    client_id = { "string" },
    username = { "string" },
    password = { "string" },
    keepalive = { "integer", 0, 65535, default = 60 }, -- seconds
    clean = { "boolean", default = true },
    session_expiry = { "integer", 0, 0xffffffff }, -- seconds
    will = { "table" },
    timeout = { "number", 0.001, 3600, default = 10 }, -- seconds
    retry = { "number", 0.001, 3600, default = 1 }, -- seconds
    max_retry = { "number", 0.001, 86400, default = 60 }, -- seconds
    max_queue = { "integer", 1, 100000, default = 1000 }, -- messages
    max_packet = { "integer", 256, 64 << 20, default = 1 << 20 }, -- bytes
}

local MESSAGE = {
    qos = { "integer", 0, 2, default = 0 },
    retain = { "boolean", default = false },
    expiry = { "integer", 0, 0xffffffff }, -- seconds
    properties = { "table" },
}

local WILL = {
    topic = { "string", required = true },
    payload = { "string", default = "" },
    qos = { "integer", 0, 2, default = 0 },
    retain = { "boolean", default = false },
    delay = { "integer", 0, 0xffffffff, default = 0 }, -- seconds
    properties = { "table" },
}

local SUBSCRIBE = {
    qos = { "integer", 0, 2, default = 0 },
    no_local = { "boolean", default = false },
    retain_as_published = { "boolean", default = false },
    retain_handling = { "integer", 0, 2, default = 0 },
    each_worker = { "boolean", default = false },
}

--- Properties as they go out, and the expiry among them.  An error is its caller's caller's.
local function encode_properties(properties)
    if not properties then return nil end
    local ok, encoded, expiry = pcall(native.mqtt_properties, properties)
    if not ok then error(encoded, 3) end
    return encoded, expiry
end

local function check_topic(what, topic)
    if type(topic) ~= "string" or not topic_of.valid_name(topic) then error(what .. ": not a topic name", 3) end
end

local function check_will(given)
    local will = options_of("sol.mqtt.connect: will", given, WILL)
    check_topic("sol.mqtt.connect: will", will.topic)
    will.properties = encode_properties(will.properties)
    return will
end

--- What `options_of` cannot know. An error is its caller's caller's.
local function check(options)
    for _, name in ipairs { "client_id", "username", "password" } do
        if options[name] and #options[name] > 65535 then error("sol.mqtt.connect: " .. name .. " is too long", 3) end
    end
    if options.password and not options.username and options.version == 4 then
        error("sol.mqtt.connect: MQTT 3.1.1 has no password without a username", 3)
    end
    options.will = options.will and check_will(options.will)
    options.port = options.port or options.tls and 8883 or 1883
    options.client_id = options.client_id or "sol-" .. hex.encode(random(8))
    options.session_expiry = options.session_expiry or options.clean and 0 or FOR_EVER
end

-- ---- keeping it up -------------------------------------------------------------------------------

local function wake_all(waiters, ...)
    for w in pairs(waiters) do w:wake(...) end
end

local function give_up(s)
    s.is_over = true
    if s.link then Link.lose(s, s.link, "closed") end
    if s.nap then s.nap:wake() end
    local left = {}
    for _, entry in pairs(s.queue) do left[#left + 1] = entry end
    for _, holder in pairs(s.ids) do left[#left + 1] = holder end
    for _, entry in ipairs(left) do if entry.topic then Link.finish(s, entry, nil, "closed") end end
    for _, subscription in ipairs(s.subscriptions) do subscription.waiter:wake(nil, "closed") end
    wake_all(s.ready, nil, "closed")
    s.subscriptions, s.ready = {}, {}
end

--- Tells of changes, not of every attempt.
local function report(s, why)
    if why == s.reported then return end
    if why then
        log.warn("sol.mqtt %s: %s", s.url, why)
    else
        log.info("sol.mqtt %s: connected", s.url)
    end
    s.reported = why
end

local function serve(s, link, has_session)
    Link.serve(s, link, has_session)
    wake_all(s.ready, true)
    s.ready = {}
    link.lost:wait()
end

local run

--- A task may end otherwise than by being over: on a machine that is too busy its budget runs out.
local Ending = { __close = function(held)
    local s = held.s
    if s.is_over or native.is_retired() then
        give_up(s)
        return
    end
    if s.link then Link.lose(s, s.link, "cut off") end
    after(s.options.retry, function() run(s) end)
end }

function run(s)
    local _ <close> = setmetatable({ s = s }, Ending)
    local o = s.options
    local delay = o.retry
    while not s.is_over do
        local link, has_session = Link.open(s)
        if link and s.is_over then
            link.socket:close()
        elseif link then
            report(s, nil)
            serve(s, link, has_session)
            if now() - link.since >= STEADY then delay = o.retry end
        else
            s.why = has_session -- an error, then
        end
        if s.is_over then break end
        report(s, s.why)
        s.nap = waiter()
        s.nap:wait(delay * (0.5 + random(1):byte() / 511))
        delay = min(delay * 2, max(o.retry, o.max_retry))
    end
end

local function start(s)
    if s.is_started or s.is_over then return end
    s.is_started = true
    spawn(run, s)
end

-- ---- what a policy has ---------------------------------------------------------------------------

local Subscription = { __name = "sol.mqtt.subscription", __metatable = false }
Subscription.__index = Subscription

--- True; false when it had ended.
function Subscription:unsubscribe()
    local s, subscription = self[PRIVATE].connection, self[PRIVATE].subscription
    if not subscription or not Link.forget(s, subscription) then return false end
    if s.link then Link.leave(s, s.link, subscription) end
    return true
end

local Methods = {}

function Methods:publish(topic, payload, given)
    local s = self[PRIVATE]
    check_topic("sol.mqtt publish", topic)
    if payload ~= nil and type(payload) ~= "string" then
        error(("sol.mqtt publish: payload must be a string, not a %s"):format(type(payload)), 2)
    end
    local options = options_of("sol.mqtt publish", given, MESSAGE)
    local properties, expiry = encode_properties(options.properties)
    expiry = options.expiry or expiry
    if is_loading() then error("sol.mqtt publish cannot be used while the policy is loaded", 2) end
    if s.is_over then return nil, "closed" end
    if s.pending >= s.options.max_queue then return nil, "queue full" end
    start(s)
    s.last = s.last + 1
    local entry = { number = s.last, topic = topic, payload = payload or "", qos = options.qos,
        retain = options.retain, properties = properties, deadline = expiry and now() + expiry, waiter = waiter() }
    s.pending = s.pending + 1
    Link.enqueue(s, entry)
    Link.kick(s)
    if entry.qos == 0 or not can_wait() then return true end
    local came, ok, err, code = entry.waiter:wait(s.options.timeout)
    if came and ok then return true end
    if came then return nil, err, code end
    if entry.state == "queued" and not entry.id then Link.finish(s, entry) end -- nobody has seen it
    return nil, "timeout"
end

local function check_filter(filter)
    if type(filter) ~= "string" or not topic_of.valid_filter(filter) then
        error("sol.mqtt subscribe: not a topic filter", 3)
    end
end

function Methods:subscribe(filter, fn, given)
    local s = self[PRIVATE]
    check_filter(filter)
    check_function("subscribe", 2, fn)
    local options = options_of("sol.mqtt subscribe", given, SUBSCRIBE)
    local public = setmetatable({ [PRIVATE] = { connection = s } }, Subscription)
    if is_loading() and not is_first() and not options.each_worker then return public end
    if s.is_over then return nil, "closed" end
    local _, inner = topic_of.shared(filter)
    s.last_subscription = s.last_subscription + 1
    local subscription = { number = s.last_subscription, filter = filter, match = inner or filter, fn = fn,
        options = options, state = "new", waiter = waiter() }
    public[PRIVATE].subscription = subscription
    s.subscriptions[#s.subscriptions + 1] = subscription
    s.is_wanted = true
    if is_loading() then return public end
    start(s)
    if s.link then Link.ask(s, s.link, subscription) end
    if not can_wait() then return public end
    local came, ok, err, code = subscription.waiter:wait(s.options.timeout)
    if came and ok then return public end
    public:unsubscribe()
    if came then return nil, err, code end
    return nil, s.why or "timeout"
end

--- True once there is a link; or nil and why there is none.
function Methods:ready(timeout)
    local s = self[PRIVATE]
    timeout = check_seconds("ready", 1, timeout, s.options.timeout)
    if s.is_over then return nil, "closed" end
    if s.link then return true end
    start(s)
    local w = waiter()
    s.ready[w] = true
    local came, ok, err = w:wait(timeout)
    s.ready[w] = nil
    if came and ok then return true end
    return nil, err or s.why or "timeout"
end

--- True; false when it had been closed.
function Methods:close()
    local s = self[PRIVATE]
    if s.is_over then return false end
    give_up(s)
    return true
end

local Connection = { __name = "sol.mqtt.connection", __metatable = false, __close = Methods.close }

function Connection:__index(name)
    if name == "connected" then return self[PRIVATE].link ~= nil end
    if name == "queued" then return self[PRIVATE].pending end
    return Methods[name]
end

local function connect(given)
    local options = options_of("sol.mqtt.connect", given, OPTIONS)
    check(options)
    local s = { options = options, url = native.server_url(options), queue = {}, first = 1, last = 0, in_flight = 0,
        pending = 0, ids = {}, last_id = 0, received = {}, subscriptions = {}, last_subscription = 0, ready = {},
        is_new = true, reported = "nothing yet" }
    if is_loading() then
        -- other workers connect when something is asked of them
        after(0, function() if s.is_wanted or native.worker_number() == 0 then start(s) end end, { each_worker = true })
    else
        start(s)
    end
    return setmetatable({ [PRIVATE] = s }, Connection)
end

return { mqtt = { connect = connect } }
