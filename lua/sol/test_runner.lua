-- SPDX-License-Identifier: BSD-2-Clause
--
-- test_runner.lua -- `sol test`: busted's runner around sol.testing, and what the handlers did.
--
-- Gives the exit status: 0 all passed, 1 something failed, 2 there was nothing to run.

local testing, watch, sol, words = ...

local USAGE = [[
usage: sol test [--coverage] [OPTION]... FILE...

Runs specs of busted against policies, in one process and without a network.  A FILE is a
spec, or a folder that is searched for *_spec.lua that use sol.testing.

  --coverage          list what every handler did, not only those that never ran
  --filter PATTERN    only tests whose names match the Lua pattern
  -h, --help          this text

Other options are busted's (busted --help).  docs/testing.md tells how tests are written.
]]

-- Options of busted that take the next word.
local TAKES_VALUE = {}
for option in ([[-p --pattern --exclude-pattern -e -o --output -C --directory -f --config-file
    --coverage-config-file -t --tags --exclude-tags --filter --filter-out -m --lpath --cpath -r --run --repeat
    --seed --lang --loaders --helper -Xoutput -Xhelper]]):gmatch "%S+" do
    TAKES_VALUE[option] = true
end

local function complain(text, ...)
    io.stderr:write("sol test: ", text:format(...), "\n")
    return 2
end

-- ---- what the handlers did ----------------------------------------------------------------

local NEVER_MAX = 20 -- handlers that are listed unasked
local COUNTS = { "calls", "allow", "deny", "drop", "continue", "errors", "timeouts" }

local handlers, order = {}, {} -- sums by event and place; the keys in the order they were met

--- Adds what a broker's handlers have done, but for those that the test itself has written.
local function add_up(broker, hooks)
    for _, hook in ipairs(hooks) do
        local key = hook.event .. " " .. hook.name
        if not (broker.own and hook.name:sub(1, #broker.own) == broker.own) then
            local sum = handlers[key]
            if not sum then
                sum = { event = hook.event, name = hook.name }
                for _, count in ipairs(COUNTS) do sum[count] = 0 end
                handlers[key], order[#order + 1] = sum, key
            end
            for _, count in ipairs(COUNTS) do sum[count] = sum[count] + hook[count] end
        end
    end
end

local function row_of(sum)
    local words_of_row = {}
    for _, count in ipairs(COUNTS) do
        if count ~= "calls" and sum[count] > 0 then
            words_of_row[#words_of_row + 1] = ("%d %s"):format(sum[count], count)
        end
    end
    local verdicts = #words_of_row > 0 and ": " .. table.concat(words_of_row, ", ") or ""
    return ("  %s %s, %s%s"):format(sum.event, sum.name, sum.calls == 1 and "1 call" or sum.calls .. " calls", verdicts)
end

local function report(all)
    if #order == 0 then return end
    table.sort(order)
    local ran, never = {}, {}
    for _, key in ipairs(order) do
        local sum = handlers[key]
        if sum.calls > 0 then
            ran[#ran + 1] = row_of(sum)
        else
            never[#never + 1] = ("  %s %s"):format(sum.event, sum.name)
        end
    end
    print(("%d of %d handlers ran"):format(#ran, #order))
    if all and #ran > 0 then print(table.concat(ran, "\n")) end
    if #never == 0 then return end
    print("never ran:\n" .. table.concat(never, "\n", 1, all and #never or math.min(#never, NEVER_MAX)))
    if not all and #never > NEVER_MAX then print(("  and %d others (--coverage)"):format(#never - NEVER_MAX)) end
end

-- ---- brokers -----------------------------------------------------------------------------------

local FORGOTTEN_MAX = 32 -- brokers that nobody holds any more are found now and then

local in_test, of_test = false, {} -- those that the present test has opened
local others, others_len = setmetatable({}, { __mode = "k" }), 0

local function opened(broker)
    if in_test then
        of_test[#of_test + 1] = broker
        return
    end
    others[broker] = true
    others_len = others_len + 1
    if others_len % FORGOTTEN_MAX == 0 then collectgarbage() end
end

local function close_all()
    for _, broker in ipairs(of_test) do broker:close() end
    of_test = {}
end

--- Hooks up with the busted that is about to run.
local function attach(busted)
    watch { opened = opened, done = add_up, fail = busted.fail }
    busted.subscribe({ "test", "start" }, function()
        in_test = true
        return nil, true
    end)
    busted.subscribe({ "test", "end" }, function()
        in_test = false
        close_all()
        return nil, true
    end)
end

-- ---- tracebacks -------------------------------------------------------------------------------

-- busted takes one for every test, and Lua's own looks for the name of each function through
-- all that is loaded, which would take longer than the test.

local LEVELS_MAX = 22
local full_traceback, getinfo = debug.traceback, debug.getinfo

local function frame(info)
    local place = info.currentline > 0 and ("%s:%d:"):format(info.short_src, info.currentline) or info.short_src .. ":"
    if info.what == "main" then return place .. " in main chunk" end
    if info.name then return ("%s in %s '%s'"):format(place, info.namewhat, info.name) end
    if info.what == "C" then return place .. " in ?" end
    return ("%s in function <%s:%d>"):format(place, info.short_src, info.linedefined)
end

local function traceback(message, level)
    if type(message) ~= "string" then return full_traceback(message, level) end
    local lines = { message, "stack traceback:" }
    level = (level or 1) + 1
    for at = level, level + LEVELS_MAX do
        local info = getinfo(at, "Sln")
        if not info then break end
        lines[#lines + 1] = "\t" .. frame(info)
    end
    return table.concat(lines, "\n")
end

-- ---- the run -------------------------------------------------------------------------------------

--- Adds the file, or the specs of policies in the folder; nil and why when there are none.
local function add_files(list, path)
    local file <close>, err = io.open(path, "rb")
    if not file then return nil, err end
    if not require "pl.path".isdir(path) then
        list[#list + 1] = path
        return true
    end
    local found = require "pl.dir".getallfiles(path, "*_spec.lua")
    local before, left_out = #list, 0
    table.sort(found)
    for _, name in ipairs(found) do
        local spec <close> = assert(io.open(name, "rb"))
        if spec:read "a":find("sol.testing", 1, true) then
            list[#list + 1] = name
        else
            left_out = left_out + 1
        end
    end
    if #list == before then return nil, path .. ": no *_spec.lua here uses sol.testing" end
    if left_out > 0 then print(("%s: left out %d that do not use sol.testing"):format(path, left_out)) end
    return true
end

--- busted's words, and whether our own --coverage was among them; or nil and what is wrong.
local function parse()
    local options, files, coverage, value = {}, {}, false, false
    for _, word in ipairs(words) do
        local is_option = word:find "^%-" and not value
        if is_option and word == "--coverage" then
            coverage = true
        elseif is_option or value then
            options[#options + 1] = word
        else
            local ok, err = add_files(files, word)
            if not ok then return nil, err end
        end
        value = is_option and TAKES_VALUE[word]
    end
    if #files == 0 then return nil, "which file? (try: sol test --help)" end
    return table.move(files, 1, #files, #options + 1, options), coverage
end

local function run(rest)
    debug.traceback = traceback -- luacheck: ignore 122
    local module = require "busted"
    package.loaded.busted = function(busted)
        package.loaded.busted = module
        module(busted)
        attach(busted)
        return module
    end
    local EXIT = {}
    os.exit = function(status) -- luacheck: ignore 122
        EXIT.status = (status == true or status == nil or status == 0) and 0 or 1
        error(EXIT, 0)
    end
    rest[0] = "sol test"
    _G.arg = rest
    local ok, err = xpcall(require "busted.runner", function(err)
        if err == EXIT then return err end
        return debug.traceback(tostring(err), 2)
    end, { standalone = false })
    if ok then return 0 end
    if err ~= EXIT then error(err, 0) end
    return EXIT.status
end

for _, word in ipairs(words) do
    if word == "-h" or word == "--help" then
        io.write(USAGE)
        return 0
    end
end
if not package.searchpath("busted.runner", package.path) then
    io.stderr:write "sol test needs busted: apt install lua-busted\n"
    return 2
end
local rest, coverage = parse()
if not rest then return complain("%s", coverage) end
package.preload["sol.testing"] = function() return testing end
package.preload.sol = function() return sol end
local status = run(rest)
close_all()
for broker in pairs(others) do broker:close() end
report(coverage)
return status
