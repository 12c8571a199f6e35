-- Runs and what they amount to: the file of all runs, medians, ratios.

local M = {}

--- The kinds of rows, in the order of the tables.  Smaller is better in `price`, larger
--- in `rate`.
M.kinds = {
    { id = "messages", title = "messages", price = "broker_cpu_us_per_msg", rate = "msgs_per_s" },
    { id = "latency", title = "latency", price = "p99_us", rate = "msgs_per_s" },
    { id = "connects", title = "connections", price = "broker_cpu_us_per_connect",
      rate = "connects_per_s" },
    { id = "takeovers", title = "take-overs", price = "broker_cpu_us_per_takeover",
      rate = "takeovers_per_s" },
    { id = "subscribes", title = "subscriptions", price = "broker_cpu_us_per_subscribe",
      rate = "subscribes_per_s" },
    { id = "idle", title = "idle connections", price = "kib_per_connection" },
}
for _, kind in ipairs(M.kinds) do M.kinds[kind.id] = kind end

--- The columns of the file of all runs, behind scenario, broker and run.
M.keys = {
    "status",
    "msgs_per_s", "broker_cpu_us_per_msg", "connects_per_s", "broker_cpu_us_per_connect",
    "takeovers_per_s", "broker_cpu_us_per_takeover", "subscribes_per_s",
    "broker_cpu_us_per_subscribe", "mean_per_s", "mean_cpu_us",
    "kib_per_connection", "kib_per_served", "idle_cpu_us_per_s", "bytes_per_filter",
    "bytes_per_kept", "rss_kib", "broker_busy", "load_busy", "stolen",
    "p50_us", "p99_us", "p999_us", "max_us", "lost", "dup", "reordered", "refused", "bad_acks",
}

local function median(values)
    table.sort(values)
    local n = #values
    if n == 0 then return nil end
    return (values[(n + 1) // 2] + values[n // 2 + 1]) / 2
end

--- The median of one figure over the runs that have it, or nil.
function M.median(results, key)
    local values = {}
    for _, result in ipairs(results or {}) do
        if type(result[key]) == "number" then values[#values + 1] = result[key] end
    end
    return median(values)
end

--- Were messages lost, doubled, reordered or refused in one of the runs?
function M.untrue(results)
    for _, result in ipairs(results or {}) do
        if result.status == 2 then return true end
    end
    return false
end

--- How two brokers relate, or nil: the median over the rounds in which both ran, so that a slow
--- minute of the machine, which meets both, does not show.
function M.ratio(by_broker, key, ours, theirs)
    local ratios, other = {}, {}
    for _, result in ipairs((by_broker or {})[theirs] or {}) do other[result.run] = result[key] end
    for _, result in ipairs((by_broker or {})[ours] or {}) do
        local a, b = result[key], other[result.run]
        if a and b and b ~= 0 then ratios[#ratios + 1] = a / b end
    end
    return median(ratios)
end

--- The share of the machine's time that its host may take away during a run.
M.CALM = 0.02

--- How many runs count although the host took more, and how many there are.
function M.disturbed(runs)
    local some, all = 0, 0
    for _, by_broker in pairs(runs) do
        for _, results in pairs(by_broker) do
            for _, result in ipairs(results) do
                all = all + 1
                if (result.stolen or 0) > M.CALM then some = some + 1 end
            end
        end
    end
    return some, all
end

--- Opens the file of all runs; `about` is a list of { key, value } told first.  The
--- function it gives writes one run; called without arguments it closes the file.
function M.writer(path, about)
    local f = assert(io.open(path, "w"))
    for _, pair in ipairs(about) do f:write("# ", pair[1], "\t", tostring(pair[2]), "\n") end
    f:write("scenario\tbroker\trun\t", table.concat(M.keys, "\t"), "\n")
    return function(scenario, broker, run, result)
        if not scenario then return f:close() end
        local cells = { scenario, broker, run }
        for _, key in ipairs(M.keys) do cells[#cells + 1] = tostring(result[key] or "") end
        f:write(table.concat(cells, "\t"), "\n")
        f:flush()
    end
end

local function split(line)
    local cells = {}
    for cell in (line .. "\t"):gmatch "([^\t]*)\t" do cells[#cells + 1] = cell end
    return cells
end

--- Reads it back: scenario -> broker -> list of results, and what was told first.
function M.read(path)
    local runs, about, head = {}, {}, nil
    for line in assert(io.lines(path)) do
        local key, value = line:match "^# (%S+)\t(.*)$"
        local cells = split(line)
        if key then
            about[key] = value
        elseif not head then
            head = cells
        else
            local result = { run = tonumber(cells[3]) }
            for i = 4, #cells do result[head[i]] = tonumber(cells[i]) end
            local row = runs[cells[1]] or {}
            row[cells[2]] = row[cells[2]] or {}
            table.insert(row[cells[2]], result)
            runs[cells[1]] = row
        end
    end
    return runs, about
end

return M
