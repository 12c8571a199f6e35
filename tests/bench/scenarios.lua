-- What is measured: one row a scenario, in the order of the tables.
--
--   args        go to the load generator
--   fan         deliveries one publish causes
--   kind        picks the table
--   only        the brokers it makes sense for; all without it
--   policy      Lua that Sol runs with; $LATER is the port of a web service
--   later       milliseconds after which that service answers; without it there is none
--   warmup      seconds of load before it is measured (0.3)
--   extra       runs only with --all or when --only names it
--   target      what Sol is to reach, CPU us (`memory`: KiB or bytes); as measured on another
--               machine.  A table names a multiple of the relay's figure instead
--   elsewhere   what mosquitto 2.1.2 took on that machine
--   title       says what it is, in the report

local M = {}

--- 19000 -> "19,000"
local function thousands(n)
    return (("%d"):format(n):reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", ""))
end

local both = { sol = true, mosquitto = true }

local function add(row)
    row.fan = row.fan or 1
    row.kind = row.kind or "messages"
    M[#M + 1] = row
end

--- One row for each QoS that `figures` has: { [qos] = { target, elsewhere } }.
local function messages(name, row, figures)
    for qos = 0, 2 do
        if figures[qos] then
            add {
                name = ("%s-q%d"):format(name, qos),
                title = ("%s, QoS %d"):format(row.title, qos),
                args = ("%s --qos %d"):format(row.args, qos),
                fan = row.fan, extra = row.extra,
                target = figures[qos][1], elsewhere = figures[qos][2],
            }
        end
    end
end

local any = { [0] = {}, {}, {} }

messages("pair-1", { title = "1 pair", args = "pair --publishers 1 --window 128" },
         { [0] = { 0.20, 0.98 }, {}, {} })
messages("pair-10", { title = "10 pairs", args = "pair --publishers 10 --window 32" }, any)
messages("pair-100", { title = "100 pairs", args = "pair --publishers 100 --window 16" },
         { [0] = { 0.25, 1.15 }, { 0.38, 2.4 }, { 0.65, 3.0 } })
messages("pair-1000", { title = "1,000 pairs", args = "pair --publishers 1000 --window 8" },
         { [0] = { 0.60, 1.7 }, { 0.95, 3.3 }, {} })
messages("1k-pair-10", { title = "10 pairs, 1 KiB",
                         args = "pair --publishers 10 --window 32 --payload 1024" },
         { [0] = { 0.35, 1.4 } })
messages("16k-pair-10", { title = "10 pairs, 16 KiB",
                          args = "pair --publishers 10 --window 16 --payload 16384" },
         { [0] = { { relay = 1.1 }, 5.8 } })
messages("1m-pair-10", { title = "10 pairs, 1 MiB",
                         args = "pair --publishers 10 --window 2 --payload 1048576" },
         { [0] = {} })
messages("closed-1000", { title = "1,000 pairs, closed loop",
                          args = "pair --publishers 1000 --window 1 --latency" },
         { [0] = { 3.4, 3.4 }, {} })

--- A delivery costs what a write costs, divided by the messages it holds: so these come in bursts of
--- one size, as large as makes the relay's figure about what it was where the targets come from.
local function fanout(n, burst, figures)
    messages("fanout-" .. n, { title = "1 to " .. thousands(n), fan = n,
        args = ("fanout --subscribers %d --window %d --burst"):format(n, burst) }, figures)
end
fanout(10, 64, { [0] = { 0.08, 1.13 } })
fanout(100, 32, { [0] = {} })
fanout(1000, 16, { [0] = { 0.40, 2.7 } })
fanout(1000, 4, { { 0.80, 5.0 } })
fanout(5000, 2, { [0] = { { relay = 1.0 }, 4.8 } })

messages("fanin-100", { title = "100 to 1", args = "fanin --publishers 100 --window 16" },
         { [0] = { 0.20, 0.99 }, { 0.33, 3.2 } })
messages("nosub", { title = "Nobody listens", args = "nosub --publishers 1 --window 128" },
         { [0] = { 0.09, 0.28 }, { 0.14, 0.82 }, { 0.27, 1.5 } })

--- Random topics, each matched by one of `n` filters; measured when those that can be remembered are,
--- by two workers, too, each of which meets half of the messages.
local function filters(n, target, elsewhere)
    add {
        name = "filters-" .. n, title = ("Random topics, %s mixed filters"):format(thousands(n)), only = both,
        args = ("filters --filters %d --publishers 10 --subscribers 100 --window 256"):format(n),
        target = target, elsewhere = elsewhere, filters = n, warmup = 1.5,
    }
end
filters(1000, 0.40, 1.4)
filters(10000)
filters(100000, 0.80, 4.7)
filters(1000000, 1.3, 7.7)

add { name = "retained", title = "100,000 retained to a new subscriber", only = both,
      args = "retained --kept 100000", target = 0.5, elsewhere = 1.9 }
add { name = "drain", title = "50,000 queued QoS 1 to a client that is back", only = both,
      args = "drain --qos 1 --kept 50000", target = 0.40, elsewhere = 0.90 }

local function hook(name, title, policy)
    add { name = "hook-" .. name .. "-q0", title = title, only = { sol = true }, policy = policy,
          args = "pair --publishers 100 --window 16 --qos 0" }
end
hook("off", "100 pairs, no hook", "")
hook("filtered", "the same, a publish hook on another topic",
     'sol.on("publish", "elsewhere/#", function() end)')
hook("on", "the same, an empty publish hook", 'sol.on("publish", function() end)')
hook("read", "the same, a publish hook that reads topic and payload", [[
sol.on("publish", function(client, message)
    if message.topic == "" or message.payload == "" then return sol.deny(0x99) end
end)]])
hook("fields", "the same, a publish hook that reads topic, QoS and user name", [[
sol.on("authenticate", function(client, credentials) credentials.username = client.id end)
sol.on("publish", function(client, message)
    if message.topic == "" or message.qos > 2 or not client.username then return sol.deny(0x99) end
end)]])
hook("deliver", "the same, an empty deliver hook", 'sol.on("deliver", function() end)')
hook("granted", "the same, allowed by the last of five grants", [[
default_access = "deny"
sol.on("connected", function(client)
    client:grant { { "publish", "bench/%c/up" }, { "publish", "devices/+/%c" }, { "publish", "bench/other/#" },
        { "publish", "bench/%c/alarm" }, { "all", "bench/#" } }
end)]])
hook("authorize", "the same, allowed by an authorize hook", [[
default_access = "deny"
sol.on("authorize", function() return true end)]])

for _, n in ipairs { 1, 10, 100 } do
    messages("closed-" .. n, { title = n .. " pairs, closed loop", extra = true,
        args = ("pair --publishers %d --window 1 --latency"):format(n) }, any)
end
messages("v5-pair-100", { title = "100 pairs, MQTT 5", extra = true,
                          args = "pair --publishers 100 --window 16 --version 5" }, any)
messages("1k-pair-100", { title = "100 pairs, 1 KiB", extra = true,
                          args = "pair --publishers 100 --window 16 --payload 1024" }, any)
messages("16k-pair-100", { title = "100 pairs, 16 KiB", extra = true,
                           args = "pair --publishers 100 --window 4 --payload 16384" }, any)
messages("1k-fanout-1000", { title = "1 to 1,000, 1 KiB", extra = true, fan = 1000,
                             args = "fanout --subscribers 1000 --window 4 --burst --payload 1024" }, any)

--- `rate` messages a second on schedule, perhaps with idle connections beside.
local function rate(n, idle)
    add {
        name = ("rate-%d%s"):format(n, idle and "-idle" or ""), kind = "latency",
        title = thousands(n) .. " messages/s" .. (idle and (", %s idle beside"):format(thousands(idle)) or ""),
        args = ("pair --publishers 100 --rate %d --latency --sources 4 --idle %d")
            :format(n, idle or 0),
    }
end
rate(1000)
rate(10000)
rate(50000)
rate(100000)
rate(10000, 19000)
rate(50000, 19000)

--- 1,000 idle clients besides, each of which keeps a hook of its own waiting or does not.
local function parked(name, title, policy, extra)
    add { name = "rate-1000-" .. name, kind = "latency", only = { sol = true }, policy = policy, extra = extra,
          title = "1,000 messages/s, " .. title, later = 50,
          args = "pair --publishers 100 --rate 1000 --latency --sources 4 --idle 1000" }
end
local lookup = [[
sol.on("subscribed", "bench/idle/#", function()
    sol.spawn(function()
        while true do
            sol.http.get("http://127.0.0.1:$LATER/")
            sol.sleep(%g)
        end
    end)
end)]]
parked("unparked", "1,000 idle clients beside", "")
parked("parked", "1,000 lookups of 50 ms a second beside", lookup:format(0.95))
parked("parked-busy", "1,000 lookups of 50 ms at any time beside", lookup:format(0), true)

add { name = "connect", kind = "connects", title = "CONNECT, CONNACK, DISCONNECT, end",
      args = "connect --connections 64 --sources 4", target = 8, elsewhere = 16 }
add { name = "takeover", kind = "takeovers", title = "Take-over of a client id", only = both,
      args = "takeover --connections 64 --sources 4", target = 7, elsewhere = 9.0 }
add { name = "takeover-v5", kind = "takeovers", title = "Take-over, MQTT 5", only = both,
      args = "takeover --connections 64 --sources 4 --version 5", extra = true }
add { name = "subscribe", kind = "subscribes", title = "SUBSCRIBE, one mixed filter a packet",
      only = both, args = "subscribe --connections 10", target = 0.9, elsewhere = 5.6 }
add { name = "idle-19000", kind = "idle", title = "19,000 idle connections",
      args = "idle --connections 19000 --sources 4", target = 1.2, elsewhere = 4.9 }

--- What a kept thing costs in memory: figures of rows above.
M.memory = {
    { row = "idle-19000", key = "kib_per_connection", title = "an idle connection, KiB",
      target = 1.2, elsewhere = 4.9 },
    { row = "drain", key = "bytes_per_kept", title = "a queued 64-byte QoS 1 message, bytes",
      target = 350 },
    { row = "retained", key = "bytes_per_kept", title = "a retained 64-byte message, bytes" },
    { row = "filters-1000000", key = "bytes_per_filter",
      title = "a subscription among 1,000,000, bytes", target = 300 },
    { row = "filters-1000000", key = "rss_kib", scale = 1 / 1024,
      title = "the whole broker with 1,000,000 subscriptions, MiB", target = 300, elsewhere = 807 },
}

--- Whether `word` names the row: wholly ("pair-100-q1"), up to a dash ("pair-100"), or
--- with stars for any text ("*-q0").
local function matches(name, word)
    local pattern = "^" .. word:gsub("[^%w*]", "%%%0"):gsub("%*", ".*")
    return name:find(pattern .. "$") or name:find(pattern .. "%-")
end

--- The rows named by one of the comma-separated words in `only`; without it the default
--- set, or everything.
function M.choose(only, all)
    local chosen = {}
    for _, row in ipairs(M) do
        local wanted = not only and (all or not row.extra)
        for word in (only or ""):gmatch "[^,]+" do wanted = wanted or matches(row.name, word) end
        if wanted then chosen[#chosen + 1] = row end
    end
    return chosen
end

for _, row in ipairs(M) do M[row.name] = row end

return M
