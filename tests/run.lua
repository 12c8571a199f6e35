-- SPDX-License-Identifier: BSD-2-Clause
--
-- run.lua -- runs unit tests and specs side by side and tells what they said, in order.
--
--     lua5.4 tests/run.lua JOBS FILE...
--
-- A FILE is a test program, or a spec, which gets a busted, or a `sol test`, of its own.  What a file writes is
-- kept and printed in one piece when those before it have been printed.  The last line is the sum
-- of all; the exit status is 0 when nothing failed.

local proc = require "support.proc"
local broker = require "support.broker"

-- These measure the machine or fill it: they run when nothing else does.
local ALONE = { ["tests/spec/many_spec.lua"] = true }

local LIMIT_SECONDS = 900 -- for one file, which fails when it is not done by then
local SIGKILL = 9
local TAIL_BYTES = 4000 -- of what a failed file wrote, said again at the end

-- What the runners call their counts: Lua patterns, by the field they add to.
local COUNTS = {
    { "passed", "%[  PASSED  %] (%d+) test" },
    { "failed", "%[  FAILED  %] [^\n]-(%d+) test%(s%), listed" },
    { "skipped", "%[  SKIPPED %] [^\n]-(%d+) test%(s%), listed" },
    { "passed", "(%d+) success[es]* / " },
    { "failed", " / (%d+) failures? / " },
    { "failed", " / (%d+) errors? / " },
    { "skipped", " / (%d+) pending : " },
}

-- Tests of policies have brokers of their own: `sol test` runs them.
local function argv_of(file)
    if not file:find "_spec%.lua$" then return { file } end
    if broker.read_file(file):find 'require "sol.testing"' then return { os.getenv "SOL_BIN", "test", file } end
    return { "lua5.4", "/usr/bin/busted", "--pattern=_spec", file }
end

local function start(job, dir)
    local argv = argv_of(job.file)
    job.output = ("%s/%d"):format(dir, job.number)
    job.deadline = proc.now() + LIMIT_SECONDS
    job.process = assert(proc.spawn { stdout = job.output, stderr = job.output, table.unpack(argv) })
end

-- True when `job` has ended; then job.failure says what was wrong with that, if anything.
local function has_ended(job)
    local how, status = job.process:wait(0)
    if not how and proc.now() < job.deadline then return false end
    if not how then
        job.process:kill(SIGKILL)
        job.failure = ("not done after %d s"):format(LIMIT_SECONDS)
    elseif how ~= "exit" or status ~= 0 then
        job.failure = how .. " " .. status
    end
    return true
end

-- Print what `job` wrote and add its counts to `sum`.
local function report(job, sum)
    local text = broker.read_file(job.output)
    io.write("--- ", job.file, "\n", text)
    local failed_before = sum.failed
    for _, row in ipairs(COUNTS) do
        for n in text:gmatch(row[2]) do sum[row[1]] = sum[row[1]] + tonumber(n) end
    end
    if job.failure then
        -- One that crashed had no time to count.
        if sum.failed == failed_before then sum.failed = sum.failed + 1 end
        table.insert(sum.failures, { file = job.file, how = job.failure, text = text })
    end
    io.flush()
end

-- Start what may start beside the `running` ones.
local function start_some(waiting, running, jobs, dir)
    while waiting[1] and #running < jobs do
        local alone = ALONE[waiting[1].file] or running[1] and ALONE[running[1].file]
        if alone and running[1] then return end
        local job = table.remove(waiting, 1)
        start(job, dir)
        table.insert(running, job)
    end
end

local function run_all(jobs, files, dir)
    local waiting, order, running = {}, {}, {}
    for i, file in ipairs(files) do
        order[i] = { file = file, number = i }
        waiting[i] = order[i]
    end
    local sum = { passed = 0, failed = 0, skipped = 0, failures = {} }
    local next_report = 1
    while order[next_report] do
        start_some(waiting, running, jobs, dir)
        for i = #running, 1, -1 do
            if has_ended(running[i]) then table.remove(running, i).ended = true end
        end
        while order[next_report] and order[next_report].ended do
            report(order[next_report], sum)
            next_report = next_report + 1
        end
        proc.sleep(0.01)
    end
    return sum
end

local function main(jobs, ...)
    -- The crowded ones last: until then every processor has something to do.
    local files = {}
    for _, alone in ipairs { false, true } do
        for _, file in ipairs { ... } do
            if (ALONE[file] or false) == alone then table.insert(files, file) end
        end
    end
    local sum
    broker.with_dir(function(dir) sum = run_all(tonumber(jobs), files, dir) end)
    for _, failure in ipairs(sum.failures) do
        print("--- again: the end of " .. failure.file)
        for line in failure.text:sub(-TAIL_BYTES):gmatch "[^\n]+" do print("> " .. line) end
    end
    for _, failure in ipairs(sum.failures) do print(("FAILED %s: %s"):format(failure.file, failure.how)) end
    print(("%d passed, %d failed, %d skipped"):format(sum.passed, sum.failed, sum.skipped))
    os.exit(sum.failures[1] == nil, true)
end

main(...)
