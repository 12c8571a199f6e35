-- SPDX-License-Identifier: BSD-2-Clause
--
-- run.lua -- plays many sequences; run by core.c from the top folder:
--
--     build/release/model/core tests/model/run.lua --count 5000
--     ... --seed 4711 --count 1 --tell        one of them, with all that was said
--
-- Seeds count up from --seed.  A sequence that fails is shrunk and printed.

package.path = "tests/?.lua;" .. package.path

collectgarbage "generational" -- a sequence leaves nothing behind

local core = require "core"
local generate = require "model.generate"
local player = require "model.player"
local shrink = require "model.shrink"

local options = { seed = 1, count = 1000, length = 40, seconds = 0, faults = 1, tell = false }

local function usage(word)
    io.stderr:write("run.lua: ", word, "?  --seed N --count N --length N --seconds N --faults N --tell\n")
    os.exit(2)
end

local i = 1
while arg[i] do
    local name = arg[i]:match("^%-%-(%l+)$")
    if options[name] == nil then usage(arg[i]) end
    if name == "tell" then
        options.tell = true
        i = i + 1
    else
        options[name] = math.tointeger(tonumber(arg[i + 1])) or usage(arg[i])
        i = i + 2
    end
end

local function say(...) print("    " .. string.format(...)) end

local function report(seed, sequence, fault)
    print(("Failure: seed %d: %s"):format(seed, fault))
    local shortest = shrink.shortest(sequence, function(s) return player.play(core.new, s) ~= nil end)
    print(("The shortest that fails, %d actions:"):format(#shortest))
    print(shrink.source(shortest))
    print("What was said:")
    print("    => " .. tostring(player.play(core.new, shortest, say)))
end

local began, failed, played = os.time(), 0, 0
for seed = options.seed, options.seed + options.count - 1 do
    local sequence = generate.sequence(seed, options.length)
    local fault = player.play(core.new, sequence, options.tell and say or nil)
    played = played + 1
    if fault then
        failed = failed + 1
        report(seed, sequence, fault)
    end
    if failed >= options.faults then break end
    if options.seconds > 0 and os.time() - began >= options.seconds then break end
end
print(("%d successes / %d failures / 0 errors / 0 pending : %d s"):format(played - failed, failed, os.time() - began))
return failed > 0 and 1 or 0
