-- SPDX-License-Identifier: BSD-2-Clause
--
-- metrics.lua -- sol.metrics: counters, gauges and histograms of the policy's own.
--
-- The numbers lie in a shared dictionary, so all workers count together and a reload loses
-- nothing.  A key there is NAME \0 LABELS \0 PART: part is "" or, of a histogram, "sum" or
-- a bucket's index.  Buckets are kept each for itself and added up when they are read.

local _, native = ...

local concat, error, floor, huge, ipairs, pairs, setmetatable, sort, tostring, type =
    table.concat, error, math.floor, math.huge, ipairs, pairs, setmetatable, table.sort, tostring, type
local math_type, make_options = math.type, native.options

local PRIVATE = {} -- key of what a metric keeps
local BYTES = 4 << 20
local OTHER = "(other)" -- label value of what is beyond max_series

local dict = native.dict("sol.metrics", BYTES)
local registry = {} -- by name

local BUCKETS = { 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10 }

-- ---- series ------------------------------------------------------------------------

local ESCAPES = { ["\\"] = "\\\\", ['"'] = '\\"', ["\n"] = "\\n", ["\0"] = "" }

--- The labels as Prometheus writes them, without braces.
local function write_labels(names, values)
    local parts = {}
    for i, name in ipairs(names) do
        parts[i] = ('%s="%s"'):format(name, (tostring(values[name]):gsub('[\\"\n\0]', ESCAPES)))
    end
    return concat(parts, ",")
end

local function check_labels(state, labels)
    for name in pairs(labels) do
        if not state.is_label[name] then error(("%s: unknown label %q"):format(state.name, tostring(name)), 4) end
    end
    for _, name in ipairs(state.labels) do
        local kind = type(labels[name])
        if kind ~= "string" and kind ~= "number" and kind ~= "boolean" then
            error(("%s: label %s must be a string, number or boolean, not %s"):format(state.name, name, kind), 4)
        end
    end
end

--- The part of the key that names the series of these labels: one of at most max_series.
local function series(state, labels)
    if not state.labels[1] and labels == nil then return "" end
    labels = labels or {}
    if type(labels) ~= "table" then error(state.name .. ": labels must be a table", 3) end
    check_labels(state, labels)
    local text = write_labels(state.labels, labels)
    if state.seen[text] then return text end
    if state.count >= state.max_series then return state.other end
    state.seen[text] = true
    state.count = state.count + 1
    return text
end

local function key(state, labels, part) return state.name .. "\0" .. labels .. "\0" .. part end

local function check_number(state, value, min)
    if type(value) ~= "number" or value ~= value or value < min then
        error(("%s: expected a number%s, got %s"):format(state.name, min == 0 and " of at least 0" or "",
            tostring(value)), 3)
    end
end

-- ---- kinds -------------------------------------------------------------------------

local Counter = { __name = "sol.counter", __metatable = false }
Counter.__index = Counter

--- Count up by n, 1 if not said.
function Counter:add(n, labels)
    local state = self[PRIVATE]
    n = n == nil and 1 or n
    check_number(state, n, 0)
    dict:incr(key(state, series(state, labels), ""), n, 0)
end

local Gauge = { __name = "sol.gauge", __metatable = false }
Gauge.__index = Gauge

function Gauge:set(value, labels)
    local state = self[PRIVATE]
    check_number(state, value, -huge)
    dict:set(key(state, series(state, labels), ""), value)
end

function Gauge:add(n, labels)
    local state = self[PRIVATE]
    check_number(state, n, -huge)
    dict:incr(key(state, series(state, labels), ""), n, 0)
end

local Histogram = { __name = "sol.histogram", __metatable = false }
Histogram.__index = Histogram

function Histogram:observe(value, labels)
    local state = self[PRIVATE]
    check_number(state, value, -huge)
    local text, i = series(state, labels), 1
    while state.buckets[i] and value > state.buckets[i] do i = i + 1 end
    dict:incr(key(state, text, ("%d"):format(i)), 1, 0)
    dict:incr(key(state, text, "sum"), value, 0)
end

-- ---- registering -------------------------------------------------------------------

local OPTIONS = { help = { "string", default = "" }, labels = { "table" },
    max_series = { "integer", 1, 10000, default = 100 }, buckets = { "table" } }

local function check_buckets(what, list)
    local last = -huge
    for _, bound in ipairs(list) do
        if type(bound) ~= "number" or bound <= last or bound == huge then
            error(what .. ": buckets must be numbers that rise", 3)
        end
        last = bound
    end
    if #list == 0 then error(what .. ": buckets are empty", 3) end
    return list
end

--- Called as a tail, so level 2 is the policy's own line.
local function make(kind, methods, name, given)
    local what = "sol.metrics." .. kind
    local options = make_options(what, given, OPTIONS)
    if type(name) ~= "string" or not name:find "^[%a_:][%w_:]*$" then
        error(("%s: %s is no name of a metric"):format(what, tostring(name)), 2)
    end
    local known = registry[name]
    if known and known.kind ~= kind then error(("%s: %s is a %s"):format(what, name, known.kind), 2) end
    if known then return known.metric end
    local state = { name = name, kind = kind, help = options.help, labels = options.labels or {}, is_label = {},
        max_series = options.max_series, seen = {}, count = 0 }
    local others = {}
    for _, label in ipairs(state.labels) do
        if type(label) ~= "string" or not label:find "^[%a_][%w_]*$" or label == "le" then
            error(("%s: %s is no name of a label"):format(what, tostring(label)), 2)
        end
        state.is_label[label], others[label] = true, OTHER
    end
    state.other = write_labels(state.labels, others)
    if kind == "histogram" then state.buckets = check_buckets(what, options.buckets or BUCKETS) end
    state.metric = setmetatable({ [PRIVATE] = state }, methods)
    registry[name] = state
    return state.metric
end

-- ---- reading -----------------------------------------------------------------------

local function number(n)
    if math_type(n) == "integer" or floor(n) == n and n > -1e15 and n < 1e15 then return ("%d"):format(n) end
    if n == huge then return "+Inf" elseif n == -huge then return "-Inf" end
    return ("%.14g"):format(n)
end

--- { [name] = { [labels] = { [part] = value } } }
local function read()
    local all = {}
    for _, k in ipairs(dict:get_keys(0)) do
        local name, labels, part = k:match "^([^\0]*)\0([^\0]*)\0([^\0]*)$"
        local value = dict:get(k)
        if value ~= nil then
            all[name] = all[name] or {}
            all[name][labels] = all[name][labels] or {}
            all[name][labels][part] = value
        end
    end
    return all
end

local function sorted(t)
    local keys = {}
    for k in pairs(t) do keys[#keys + 1] = k end
    sort(keys)
    return keys
end

local function braces(labels, more)
    if more then labels = labels == "" and more or labels .. "," .. more end
    return labels == "" and "" or "{" .. labels .. "}"
end

local function write_histogram(lines, state, labels, parts)
    local sum = 0
    for i = 1, #state.buckets + 1 do
        local bound = state.buckets[i]
        sum = sum + (parts[tostring(i)] or 0)
        lines[#lines + 1] = ("%s_bucket%s %s"):format(state.name,
            braces(labels, ('le="%s"'):format(number(bound or huge))), number(sum))
    end
    lines[#lines + 1] = ("%s_sum%s %s"):format(state.name, braces(labels), number(parts.sum or 0))
    lines[#lines + 1] = ("%s_count%s %s"):format(state.name, braces(labels), number(sum))
end

--- All metrics that this policy knows, in Prometheus' text format.
local function collect()
    local all, lines = read(), {}
    for _, name in ipairs(sorted(registry)) do
        local state = registry[name]
        if state.help ~= "" then
            lines[#lines + 1] = ("# HELP %s %s"):format(name, (state.help:gsub("[\\\n]", ESCAPES)))
        end
        lines[#lines + 1] = ("# TYPE %s %s"):format(name, state.kind)
        for _, labels in ipairs(sorted(all[name] or {})) do
            local parts = all[name][labels]
            if state.kind == "histogram" then
                write_histogram(lines, state, labels, parts)
            elseif parts[""] ~= nil then
                lines[#lines + 1] = ("%s%s %s"):format(name, braces(labels), number(parts[""]))
            end
        end
    end
    lines[#lines + 1] = ""
    return concat(lines, "\n")
end

return { metrics = {
    counter = function(name, options) return make("counter", Counter, name, options) end,
    gauge = function(name, options) return make("gauge", Gauge, name, options) end,
    histogram = function(name, options) return make("histogram", Histogram, name, options) end,
    collect = collect,
} }
