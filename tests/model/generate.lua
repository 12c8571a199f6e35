-- SPDX-License-Identifier: BSD-2-Clause
--
-- generate.lua -- sequences at random, the same for the same seed.
--
-- Few clients, few topics and small limits, so that what they do meets.

local generate = {}

local CLIENTS = { "A", "B", "C", "D" }
local TOPICS = { "a", "a/b", "a/b", "a/c", "b", "$d/a" }
local FILTERS = { "a", "a/b", "a/c", "b", "#", "+", "a/#", "a/+", "+/b", "$d/#", "a/b/#" }
local SHARED = { "$share/g/a/b", "$share/g/a/#", "$share/h/a/b", "$share/g/+" }

local ILLEGAL = { "connect", "wildcard", "alias", "identifier", "receive_maximum", "puback", "a#",
     "a/#/b", "a+/b", "$share/g+/a", "$share//a" }

local random = math.random

local function one_of(list) return list[random(#list)] end

local function chance(percent) return random(100) <= percent end

local function maybe(percent, value) return chance(percent) and value or nil end

local function will()
    return { topic = one_of(TOPICS), qos = random(0, 2), retain = chance(20), delay = maybe(50, random(0, 20)),
        expiry = maybe(30, random(1, 20)) }
end

local function filter()
    return chance(25) and one_of(SHARED) or one_of(FILTERS)
end

local function subscription()
    return { filter = filter(), qos = random(0, 2), no_local = chance(15), retain_as_published = chance(25),
        retain_handling = chance(70) and 0 or random(0, 2) }
end

local make = {}

function make.connect(c)
    return { "connect", c = c, version = chance(65) and 5 or 4, clean = chance(25),
        expiry = maybe(75, one_of { 0, 5, 30, 1000, 1000 }), keep_alive = maybe(15, random(1, 20)),
        receive_maximum = maybe(60, random(1, 4)), alias_maximum = maybe(30, random(1, 3)),
        takes_small = maybe(8, true), will = maybe(35, will()) }
end

function make.subscribe(c)
    local filters = {}
    for i = 1, chance(70) and 1 or random(2, 3) do filters[i] = subscription() end
    return { "subscribe", c = c, filters = filters, identifier = maybe(40, random(1, 300)) }
end

function make.unsubscribe(c)
    local filters = {}
    for i = 1, chance(80) and 1 or 2 do filters[i] = chance(25) and one_of(SHARED) or one_of(FILTERS) end
    return { "unsubscribe", c = c, filters = filters }
end

function make.publish(c)
    return { "publish", c = c, topic = one_of(TOPICS), qos = random(0, 2), retain = chance(25), empty = chance(6),
        expiry = maybe(20, random(1, 20)), alias = maybe(15, random(1, 3)), content_type = maybe(5, "x"),
        vanish = chance(3), large = maybe(8, true) }
end

function make.ack(c) return { "ack", c = c, nth = random(4), refuse = chance(5) } end

function make.ack_all(c) return { "ack_all", c = c } end

function make.pubrel(c) return { "pubrel", c = c, nth = random(3) } end

function make.resend(c) return { "resend", c = c, nth = random(3) } end

function make.drop(c) return { "drop", c = c } end

function make.disconnect(c)
    return { "disconnect", c = c, rc = maybe(25, 4), expiry = maybe(25, one_of { 0, 5, 30, 1000 }) }
end

function make.ping(c) return { "ping", c = c } end

function make.stray(c) return { "stray", c = c, type = one_of { "PUBACK", "PUBREC", "PUBREL", "PUBCOMP" } } end

function make.illegal(c) return { "illegal", c = c, what = one_of(ILLEGAL) } end

function make.pass()
    return { "pass", ms = one_of { 500, 1000, 2000, 3000, 7000, 15000, 40000, chance(20) and 1100000 or 4000 } }
end

-- kind, how often
local WEIGHTS = { { "connect", 12 }, { "subscribe", 16 }, { "unsubscribe", 3 }, { "publish", 32 }, { "ack", 18 },
    { "ack_all", 4 }, { "pubrel", 5 }, { "resend", 2 }, { "drop", 4 }, { "disconnect", 4 }, { "ping", 1 },
    { "stray", 1 }, { "illegal", 1 }, { "pass", 8 } }

local total = 0
for _, row in ipairs(WEIGHTS) do total = total + row[2] end

local function action()
    local at = random(total)
    for _, row in ipairs(WEIGHTS) do
        at = at - row[2]
        if at <= 0 then return make[row[1]](one_of(CLIENTS)) end
    end
end

local function config()
    return { max_inflight = one_of { 2, 3, 5, 100 }, max_queued = one_of { 1, 2, 3, 1000, 1000 },
        max_topic_alias = 3, drop = chance(50) and "oldest" or "newest",
        overlapping = chance(25) and "each" or "once", queue_qos0 = chance(20) }
end

--- A sequence of about `length` actions; in the end all come back and take what is theirs.
--- What is published next to each other is published at once where it can be (player.lua).
function generate.sequence(seed, length)
    math.randomseed(seed)
    local s = { config = config() }
    s.config.placement = seed % 1000000
    for i = 1, 3 do s[i] = make.connect(CLIENTS[i]) end
    for i = 4, length do s[i] = action() end
    for _, c in ipairs(CLIENTS) do
        s[#s + 1] = { "connect", c = c, version = 5, expiry = 1000, clean = false }
        s[#s + 1] = { "ack_all", c = c }
    end
    return s
end

return generate
