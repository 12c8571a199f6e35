-- SPDX-License-Identifier: BSD-2-Clause
--
-- wait.lua -- deadlines and failures of the specs.
--
-- Nothing in the suite waits without a bound, and nothing sleeps in the hope
-- that something will have happened.  SOL_TEST_SLOW multiplies every bound, for
-- sanitizer builds and busy machines.

local proc = require "support.proc"

local wait = {}

local factor = tonumber(os.getenv "SOL_TEST_SLOW") or 1

--- `seconds` (default 5) on this machine.
function wait.scaled(seconds) return (seconds or 5) * factor end

--- The moment `seconds` (default 5, scaled) from now.
function wait.deadline(seconds) return proc.now() + wait.scaled(seconds) end

--- Fail the running spec, naming the line of the spec rather than of this suite.
function wait.fail(format, ...)
    local message, where = format:format(...), ""
    for level = 2, 30 do
        local info = debug.getinfo(level, "Sl")
        if not info then break end
        if info.short_src:find("_spec.lua", 1, true) then
            where = ("%s:%d: "):format(info.short_src, info.currentline)
            break
        end
    end
    error(where .. message, 0)
end

--- Poll `condition` until it is true and return its value; fail with `what` when it stays false.
function wait.till(what, condition, seconds)
    local deadline = wait.deadline(seconds)
    repeat
        local value = condition()
        if value then return value end
        proc.sleep(0.002)
    until proc.now() > deadline
    return wait.fail("waited %.1f s in vain for %s", wait.scaled(seconds), what)
end

return wait
