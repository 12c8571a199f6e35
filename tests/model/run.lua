-- SPDX-License-Identifier: BSD-2-Clause
--
-- run.lua -- plays many sequences; run by core.c from the top folder:
--
--     build/release/model/core tests/model/run.lua --count 5000
--     ... --seed 4711 --count 1 --tell        one of them, with all that was said
--     ... --workers 4                         a broker of four threads
--
-- The regressions come first, then sequences at random whose seeds count up from --seed.
-- Without --workers they go to a broker of one thread, and a tenth as many to one of four.
-- One that fails, or ends the broker, is shrunk and printed.

package.path = "tests/?.lua;" .. package.path
collectgarbage "generational" -- a sequence leaves nothing behind

local core = require "core"
local generate = require "model.generate"
local player = require "model.player"
local regressions = require "model.regressions"
local shrink = require "model.shrink"

local options = { seed = 1, count = tonumber(os.getenv "SOL_SEQUENCES") or 1000, length = 40, seconds = 0,
    faults = 1, workers = 0, tell = false }

local function usage(word)
    io.stderr:write("run.lua: ", word, "?  --seed N --count N --length N --seconds N --faults N --workers N --tell\n")
    os.exit(2)
end

local function read_options()
    local i = 1
    while arg[i] do
        local name = arg[i]:match("^%-%-(%l+)$")
        if options[name] == nil then usage(arg[i]) end
        options[name] = name == "tell" or math.tointeger(tonumber(arg[i + 1])) or usage(arg[i])
        i = i + (name == "tell" and 1 or 2)
    end
end

local function say(...) print("    " .. string.format(...)) end

local TRIES = 5 -- threads do not always meet in the same place

local function fault_of(sequence)
    for _ = 1, sequence.config.workers > 1 and TRIES or 1 do
        local fault = player.play(core.new, sequence)
        if fault then return fault end
    end
end

--- Does it end the broker?  Tried where that does no harm.
local function kills(sequence)
    return core.survive(function()
        io.stderr:close()
        fault_of(sequence)
        return 0
    end) == nil
end

local function report(what, sequence, fault, fails)
    print(("Failure: %s: %s"):format(what, fault))
    local shortest = shrink.shortest(sequence, fails)
    print(("The shortest that fails, %d actions:"):format(#shortest))
    print(shrink.source(shortest))
    print("What was said:")
    core.survive(function()
        io.stdout:setvbuf("line")
        print("    => " .. (player.play(core.new, shortest, say) or "this time all is well"))
        return 0
    end)
end

--- How many go to brokers of how many threads.
local function parts()
    if options.workers > 0 then return { { workers = options.workers, count = options.count } } end
    return { { workers = 1, count = options.count }, { workers = 4, count = options.count // 10 } }
end

--- The nth sequence of this run, and its name; nothing after the last.
local function sequence_of(n)
    for _, part in ipairs(parts()) do
        if n <= #regressions + part.count then
            local kept = regressions[n]
            local seed = options.seed + n - #regressions - 1
            local sequence = kept and kept.sequence or generate.sequence(seed, options.length)
            sequence.config.workers = part.workers
            return sequence, ("%s (workers: %d)"):format(kept and kept.name or "seed " .. seed, part.workers)
        end
        n = n - #regressions - part.count
    end
end

local function summary(played, failed, began)
    print(("%d successes / %d failures / 0 errors / 0 pending : %d s"):format(played - failed, failed,
        os.time() - began))
    return failed > 0 and 1 or 0
end

local function play_all()
    local began, failed, played = os.time(), 0, 0
    for n = 1, math.huge do
        core.note(n)
        local sequence, name = sequence_of(n)
        if not sequence then break end
        local fault = player.play(core.new, sequence, options.tell and say or nil)
        played = played + 1
        if fault then
            failed = failed + 1
            report(name, sequence, fault, fault_of)
        end
        if failed >= options.faults then break end
        if options.seconds > 0 and os.time() - began >= options.seconds then break end
    end
    return summary(played, failed, began)
end

read_options()
local code = core.survive(play_all)
if code then return code end
local sequence, name = sequence_of(core.noted())
report(name, sequence, "the broker died", kills)
return summary(core.noted(), 1, os.time())
