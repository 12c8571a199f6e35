-- SPDX-License-Identifier: BSD-2-Clause
--
-- table.lua -- which statement of the standards is proven by which test.
--
--     lua5.4 table.lua RESULTS.json [DOC.md]
--
-- RESULTS.json is what `busted -o json` wrote about the specs of this folder.  Prints the table
-- statement, test, result, and the failures; writes DOC.md.  Ends with status 1 when a statement
-- that binds a server has no test or one that fails, or a test names a statement that does not exist.

local json = require "dkjson"

local here = arg[0]:match "^(.*/)" or "./"

local STANDARDS = {
    { name = "MQTT 3.1.1", statements = dofile(here .. "statements_3_1_1.lua"),
        url = "https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/os/mqtt-v3.1.1-os.html" },
    { name = "MQTT 5.0", statements = dofile(here .. "statements_5_0.lua"),
        url = "https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html" },
}

local function read_results(path)
    local f = assert(io.open(path))
    local text = f:read "a"
    f:close()
    local results, _, err = json.decode(text, text:find "{" or 1)
    return results or error(path .. ": " .. err)
end

-- The tests in the order of their names: {name=, ok=, message=}.
local function tests_of(results)
    local all = {}
    local function add(list, ok)
        for _, entry in ipairs(list) do
            local message = type(entry.message) == "string" and entry.message or json.encode(entry.message)
            all[#all + 1] = { name = entry.name, ok = ok, message = not ok and message }
        end
    end
    add(results.successes, true)
    add(results.failures, false)
    add(results.errors, false)
    add(results.pendings, false)
    table.sort(all, function(a, b) return a.name < b.name end)
    return all
end

-- Give each statement its tests; what names no statement of its standard is returned.
local function assign(tests)
    local strays = {}
    for _, test in ipairs(tests) do
        local found = false
        for _, standard in ipairs(STANDARDS) do
            if test.name:find(standard.name, 1, true) == 1 then
                test.says = test.name:gsub("^.*%[MQTT%-[%d.]+%-%d+%] ", "")
                for id in test.name:gmatch "%[(MQTT%-[%d.]+%-%d+)%]" do
                    local s = standard.by_id[id]
                    found = s ~= nil
                    if s then table.insert(s.tests, test) end
                    if not s then break end
                end
            end
        end
        if not found then strays[#strays + 1] = test end
    end
    return strays
end

-- Whom a statement binds that does not bind this server.
local UNBOUND = {
    client = "binds clients only",
    websocket = "binds WebSocket listeners, which this version does not offer",
}

local function result_of(s)
    if #s.tests == 0 then return UNBOUND[s.binds] or "NO TEST" end
    for _, test in ipairs(s.tests) do
        if not test.ok then return "FAIL" end
    end
    return "pass"
end

-- {all, binding = those that bind a server, tested, passing}
local function count(standard)
    local n = { all = #standard.statements, binding = 0, tested = 0, passing = 0 }
    for _, s in ipairs(standard.statements) do
        if not UNBOUND[s.binds] then
            n.binding = n.binding + 1
            n.tested = n.tested + (#s.tests > 0 and 1 or 0)
            n.passing = n.passing + (s.result == "pass" and 1 or 0)
        end
    end
    return n
end

local function summary(n)
    return ("%d statements, %d bind a server: %d with a test, %d pass, %d without a test")
        :format(n.all, n.binding, n.tested, n.passing, n.binding - n.tested)
end

local function print_table(standard)
    print(("\n%s: %s\n"):format(standard.name, summary(standard.counts)))
    for _, s in ipairs(standard.statements) do
        if #s.tests == 0 then print(("%-15s %s"):format(s.id, s.result)) end
        for _, test in ipairs(s.tests) do
            print(("%-15s %-4s  %s"):format(s.id, test.ok and "pass" or "FAIL", test.says))
        end
    end
end

local function print_failures(tests, strays)
    for _, test in ipairs(tests) do
        if not test.ok then print(("\nFAIL %s\n    %s"):format(test.name, (test.message:gsub("\n", "\n    ")))) end
    end
    for _, test in ipairs(strays) do print("\nnames no statement: " .. test.name) end
end

-- Text in a cell of a Markdown table.
local function cell(text) return (text:gsub("[|<>*_#`$\\]", "\\%0")) end

local function write_doc(path)
    local out = {}
    local function add(format, ...) out[#out + 1] = select("#", ...) > 0 and format:format(...) or format end
    add "# Conformance"
    add ""
    add "Every normative statement of the two standards, and what proves that Sol keeps it. Written by"
    add "`make conformance` from the tests in [tests/spec/conformance](../tests/spec/conformance), which"
    add "run against a real broker with packets built by hand. The words are ours; the numbers lead to"
    add "those that count."
    for _, standard in ipairs(STANDARDS) do
        add ""
        add("## %s", standard.name)
        add ""
        add("[Appendix B](%s) has %s.", standard.url, summary(standard.counts))
        add ""
        add "| statement | says | test | result |"
        add "|---|---|---|---|"
        for _, s in ipairs(standard.statements) do
            local first = s.tests[1] and cell(s.tests[1].says) or ""
            if #s.tests > 1 then first = ("%s; %d more"):format(first, #s.tests - 1) end
            local result = s.result
            if s.binds == "client" and result == "pass" then result = "pass (binds clients; what Sol answers)" end
            add("| %s | %s | %s | %s |", s.id, cell(s.says), first, result)
        end
    end
    local f = assert(io.open(path, "w"))
    f:write(table.concat(out, "\n"), "\n")
    f:close()
end

for _, standard in ipairs(STANDARDS) do
    standard.by_id = {}
    for _, s in ipairs(standard.statements) do
        assert(not standard.by_id[s.id], "twice: " .. s.id)
        standard.by_id[s.id], s.tests = s, {}
    end
end

local tests = tests_of(read_results(arg[1]))
local strays = assign(tests)
local complete = #strays == 0
for _, standard in ipairs(STANDARDS) do
    for _, s in ipairs(standard.statements) do s.result = result_of(s) end
    standard.counts = count(standard)
    complete = complete and standard.counts.passing == standard.counts.binding
    print_table(standard)
end
print_failures(tests, strays)
for _, standard in ipairs(STANDARDS) do print(("%s: %s"):format(standard.name, summary(standard.counts))) end
if arg[2] then write_doc(arg[2]) end
os.exit(complete)
