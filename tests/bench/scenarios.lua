-- What is measured: one row a scenario, in the order of the table.
-- `args` go to the load generator; `fan` is how many deliveries one publish causes;
-- `kind` picks the table; rows with `extra` run only with --all or when --only names them.

local M = {}

local function add(name, kind, fan, args, extra)
    M[#M + 1] = { name = name, kind = kind, fan = fan, args = args, extra = extra }
end

--- One row for each QoS.
local function messages(name, fan, args, extra)
    for qos = 0, 2 do
        add(("%s-q%d"):format(name, qos), "messages", fan, ("%s --qos %d"):format(args, qos), extra)
    end
end

messages("pair-1",      1,    "pair --publishers 1 --window 128")
messages("pair-100",    1,    "pair --publishers 100 --window 16")
messages("pair-1000",   1,    "pair --publishers 1000 --window 8")
messages("fanout-10",   10,   "fanout --subscribers 10 --window 32")
messages("fanout-1000", 1000, "fanout --subscribers 1000 --window 4")
messages("fanin-100",   1,    "fanin --publishers 100 --window 16")
messages("nosub",       1,    "nosub --publishers 1 --window 128")

messages("closed-1",    1,    "pair --publishers 1 --window 1 --latency", true)
messages("closed-10",   1,    "pair --publishers 10 --window 1 --latency", true)
messages("closed-100",  1,    "pair --publishers 100 --window 1 --latency", true)
messages("closed-1000", 1,    "pair --publishers 1000 --window 1 --latency", true)
messages("pair-10",     1,    "pair --publishers 10 --window 32", true)
messages("v5-pair-100", 1,    "pair --publishers 100 --window 16 --version 5", true)
messages("1k-pair-100", 1,    "pair --publishers 100 --window 16 --payload 1024", true)
messages("16k-pair-100", 1,   "pair --publishers 100 --window 4 --payload 16384", true)
messages("1k-fanout-1000", 1000, "fanout --subscribers 1000 --window 4 --payload 1024", true)
messages("fanout-5000", 5000, "fanout --subscribers 5000 --window 2", true)
messages("rate-10000",  1,    "pair --publishers 100 --rate 10000 --latency", true)

add("connect",      "connects",  1, "connect --connections 64")
add("takeover",     "takeovers", 1, "takeover --connections 64", true)
add("takeover-v5",  "takeovers", 1, "takeover --connections 64 --version 5", true)
add("idle-10000",   "idle",      1, "idle --connections 10000")

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
