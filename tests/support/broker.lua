-- SPDX-License-Identifier: BSD-2-Clause
--
-- broker.lua -- a real broker process for the length of one spec.
--
--     with_broker({ config = [[max_packet_size = 100]] }, function(b)
--         b:client("c"):subscribe("t", 1)
--     end)
--
-- The broker listens on a free port, its files live in a directory of their
-- own, and at the end it is asked to stop, must exit with status 0 and must not
-- have written a sanitizer's report.  Its log is shown when the spec fails.
-- SOL_BIN names the binary.  SPEC_BROKER=mosquitto runs the specs that need no
-- sol.lua against mosquitto instead: a check of the suite, not of Sol.

local Client = require "support.client"
local proc = require "support.proc"
local wait = require "support.wait"

local M = {}

local Broker = {}
Broker.__index = Broker

local SIGNALS = { HUP = 1, INT = 2, KILL = 9, USR1 = 10, PIPE = 13, TERM = 15, CONT = 18, STOP = 19 }

local function binary()
    local path = os.getenv "SOL_BIN" or "build/release/sol"
    return path:sub(1, 1) == "/" and path or proc.cwd() .. "/" .. path
end

local function read_file(path)
    local f = io.open(path, "rb")
    if not f then return "" end
    local text = f:read "a"
    f:close()
    return text
end

local function write_file(path, text)
    local f = assert(io.open(path, "wb"))
    f:write(text)
    f:close()
end

local function remove_tree(path)
    local st = proc.stat(path)
    if st and st.kind == "dir" then
        for _, name in ipairs(proc.list(path)) do remove_tree(path .. "/" .. name) end
    end
    os.remove(path)
end

-- Ports below those the kernel gives to clients, in blocks: a process takes one for itself, so that
-- specs which run side by side never want the same port.
local FIRST_PORT, BLOCK, BLOCKS = 15000, 500, 30
local claim, block, next_port

local function claim_ports()
    block = math.floor(proc.now() * 1e6) % BLOCKS
    for _ = 1, BLOCKS do
        block = (block + 1) % BLOCKS
        claim = proc.listen { path = "@sol-test-ports-" .. block }
        if claim then break end
    end
    next_port = claim and 0 or wait.fail("no free ports")
end

--- A port on which nobody listened a moment ago.
function M.free_port(host)
    if not claim then claim_ports() end
    for _ = 1, BLOCK do
        next_port = (next_port + 1) % BLOCK
        local port = FIRST_PORT + block * BLOCK + next_port
        local s = proc.listen { host = host or "127.0.0.1", port = port }
        if s then
            s:close()
            return port
        end
    end
    return wait.fail("no free port")
end

--- Does the broker's memory tell anything?  Sanitizers keep shadow memory and red zones.
function M.is_lean() return binary():find("/release/", 1, true) ~= nil end

-- How each broker is configured and started -----------------------------------------------------

local KINDS = {}

function KINDS.sol(b, opts)
    -- Its operators' door is in its own folder.
    local runtime = "XDG_RUNTIME_DIR=" .. b.dir
    if opts.bare then return { "/usr/bin/env", runtime, binary() } end
    local listen = b:expand(opts.listen or [[listen "mqtt://127.0.0.1:$PORT"]])
    local config = b:expand(opts.config or "")
    -- On the first line, so that errors keep their line numbers.  Sanitizers make handlers slow;
    -- specs of handlers that never end need not wait for that.
    local budget = opts.hook_budget or wait.scaled(0.1)
    if not config:find "hook_budget" then listen = ("hook_budget = %g "):format(budget) .. listen end
    if M.workers and not config:find("workers%s*=") then listen = M.workers .. " " .. listen end
    b:write("sol.lua", listen .. "\n" .. config .. "\n")
    local argv = { "/usr/bin/env", runtime, binary(), table.unpack(opts.args or {}) }
    table.move({ "-c", b.dir .. "/sol.lua" }, 1, 2, #argv + 1, argv)
    return argv
end

function KINDS.mosquitto(b)
    b:write("mosquitto.conf", ("listener %d 127.0.0.1\nallow_anonymous true\nuser root\n"):format(b.port))
    return { "/usr/sbin/mosquitto", "-v", "-c", b.dir .. "/mosquitto.conf" }
end

M.kind = os.getenv "SPEC_BROKER" or "sol"
-- How many workers every broker has that does not say so itself; unset: Sol's default.
M.workers = os.getenv "SPEC_WORKERS" and ("workers = %d"):format(os.getenv "SPEC_WORKERS")

-- The broker as specs see it --------------------------------------------------------------------

--- `text` with $PORT, $PORT2 and $DIR filled in.
function Broker:expand(text)
    return (text:gsub("%$(%u+2?)", { PORT = self.port, PORT2 = self.port2, DIR = self.dir }))
end

-- A file into a directory; folders in `name` are made.
local function write_into(dir, name, content)
    for folder in name:gmatch "()/" do proc.mkdir(dir .. "/" .. name:sub(1, folder - 1)) end
    write_file(dir .. "/" .. name, content)
end

--- Write a file into the broker's directory; folders in `name` are made.
function Broker:write(name, content) write_into(self.dir, name, content) end

--- Write sol.lua anew, with this in place of opts.config (before a reload).
function Broker:configure(config)
    KINDS.sol(self, { listen = self.opts.listen, config = config })
end

function Broker:start()
    self.process = assert(proc.spawn { stdout = self.dir .. "/log", stderr = self.dir .. "/log", cwd = self.dir,
        nofile = self.opts.nofile, table.unpack(self.argv) })
    self.pid = self.process:pid()
    self.stopped = false
    wait.till("the broker to accept connections", function()
        local how, status = self.process:wait(0)
        if how then wait.fail("the broker ended at once: %s %d", how, status) end
        local s = proc.connect { host = self.host, port = self.port, path = self.path }
        return s and (s:close() or true)
    end, 10)
    return self
end

--- Everything the broker has written so far.
function Broker:log() return read_file(self.dir .. "/log") end

--- Wait until the log contains the Lua pattern (after position `from`); return its captures.
function Broker:log_wait(pattern, from, seconds)
    local captures = wait.till("log line " .. pattern, function()
        local found = { self:log():match(pattern, from) }
        return found[1] and found
    end, seconds)
    return table.unpack(captures)
end

function Broker:signal(name) return self.process:kill(SIGNALS[name]) end

--- Kill without warning; `start` may follow.
function Broker:kill9()
    self:signal "KILL"
    self.process:wait(wait.scaled())
    self.stopped = true
    return self
end

--- Ask to stop and check that it went well.
function Broker:stop()
    if self.stopped then return end
    self.stopped = true
    self:signal "TERM"
    local how, status = self.process:wait(wait.scaled(10))
    if not how then
        self.process:kill(SIGNALS.KILL)
        wait.fail("the broker did not stop within %.0f s of SIGTERM", wait.scaled(10))
    end
    if how ~= "exit" or status ~= 0 then wait.fail("the broker ended with %s %d", how, status) end
    local log = self:log()
    for _, report in ipairs { "Sanitizer", "runtime error:" } do
        if log:find(report, 1, true) then wait.fail("the broker's log has a sanitizer report") end
    end
end

--- How many descriptors the broker has open.
function Broker:fds() return #proc.list(("/proc/%d/fd"):format(self.pid)) end

--- Resident memory in KiB.
function Broker:rss_kb()
    return tonumber(read_file(("/proc/%d/status"):format(self.pid)):match "VmRSS:%s*(%d+)")
end

--- Processor time used so far, in seconds.
function Broker:cpu_seconds()
    local stat = read_file(("/proc/%d/stat"):format(self.pid)):match "%) (.*)"
    local fields = {}
    for field in stat:gmatch "%S+" do fields[#fields + 1] = field end
    return (tonumber(fields[12]) + tonumber(fields[13])) / 100
end

--- A client that has not sent CONNECT: for bytes of the spec's own.
function Broker:raw(opts)
    local client = Client.new(self, "raw", opts)
    table.insert(self.clients, client)
    return client:dial()
end

--- A connected client.  `opts`: version (default 4), clean (true), keepalive (0), username,
--- password, will {topic, payload, qos, retain, props}, props, connack (the wanted code),
--- host, port, path.
function Broker:client(client_id, opts)
    local client = Client.new(self, client_id, opts)
    table.insert(self.clients, client)
    return client:dial():handshake()
end

-- Running ---------------------------------------------------------------------------------------

--- Run `spec(b)` with a broker.  `opts`: config (text of sol.lua), listen (in place of the usual
--- line), files {name = content}, host, path (where clients dial), args (of the program),
--- bare (no sol.lua) with port, nofile (its descriptor limit).
--- Specs that give `config`, `listen` or `files` pass without a check on another broker.
function M.with_broker(opts, spec)
    if M.kind ~= "sol" and (opts.config or opts.listen or opts.files) then return end
    local b = setmetatable({ opts = opts, clients = {}, stopped = true, dir = assert(proc.tempdir()),
        host = opts.host or "127.0.0.1" }, Broker)
    local failure
    local ok = xpcall(function()
        b.port, b.port2 = opts.port or M.free_port(b.host), M.free_port(b.host)
        b.path = opts.path and b:expand(opts.path)
        for name, content in pairs(opts.files or {}) do b:write(name, b:expand(content)) end
        b.argv = KINDS[M.kind](b, opts)
        b:start()
        spec(b)
    end, function(err) failure = err end)
    for _, client in ipairs(b.clients) do client:drop() end
    local stopped_ok = xpcall(b.stop, function(err) failure = failure or err end, b)
    if not (ok and stopped_ok) then
        io.stderr:write("\n--- the broker's log ---\n", b:log():sub(-6000), "--- end of log ---\n")
    end
    remove_tree(b.dir)
    if not (ok and stopped_ok) then error(failure, 0) end
end

--- A directory for the length of `use(dir)`.
function M.with_dir(use)
    local dir = assert(proc.tempdir())
    local ok, err = xpcall(use, function(e) return e end, dir)
    remove_tree(dir)
    if not ok then error(err, 0) end
end

--- Run a program to its end: {stdout=, stderr=, status=}.  `opts`: cwd, input, timeout.
function M.run(argv, opts)
    opts = opts or {}
    local result
    M.with_dir(function(dir)
        local args = { stdout = dir .. "/out", stderr = dir .. "/err", cwd = opts.cwd, env = opts.env,
            stdin = opts.input and true, table.unpack(argv) }
        local process = assert(proc.spawn(args))
        if opts.input then
            process:write(opts.input)
            process:close_stdin()
        end
        local how, status = process:wait(wait.scaled(opts.timeout or 20))
        if not how then
            process:kill(SIGNALS.KILL)
            wait.fail("%s did not end; it wrote:\n%s%s", table.concat(argv, " "), read_file(dir .. "/out"),
                read_file(dir .. "/err"))
        end
        result = { stdout = read_file(dir .. "/out"), stderr = read_file(dir .. "/err"),
            status = how == "exit" and status or -status }
    end)
    return result
end

--- Start a program that reads what the spec writes to it, its output going to `dir`/out and
--- `dir`/err; it is killed when collected.
function M.spawn(dir, argv)
    return assert(proc.spawn { stdin = true, stdout = dir .. "/out", stderr = dir .. "/err", table.unpack(argv) })
end

--- Run the broker's binary with these arguments: {stdout=, stderr=, status=}.
function M.sol(...) return M.run { binary(), ... } end

--- All that `sol check` says of this policy, with `files` {name = content} beside it, and its status.
function M.check(policy, files)
    local result
    M.with_dir(function(dir)
        write_file(dir .. "/sol.lua", policy)
        for name, content in pairs(files or {}) do write_into(dir, name, content) end
        result = M.sol("check", "-c", dir .. "/sol.lua")
    end)
    return result.stdout .. result.stderr, result.status
end

--- `sol check` must refuse this policy and say `says`.
function M.refuses(policy, says, files)
    local said, status = M.check(policy, files)
    if status == 1 and said:find(says, 1, true) then return end
    wait.fail("sol check ended with %d and said:\n%sto:\n%s", status, said, policy)
end

M.write_file, M.read_file, M.binary = write_file, read_file, binary

return M
