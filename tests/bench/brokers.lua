-- Starting and stopping what is measured, and running the load generator against it.
-- Every broker is the child of a shell that lives as long as our pipe to it: whatever
-- ends this script ends the broker too.

local M = { work = "build/bench" }

local function read_file(path)
    local f = io.open(path)
    if not f then return nil end
    local text = f:read "a"
    f:close()
    return text
end

local function write_file(path, text)
    local f = assert(io.open(path, "w"))
    f:write(text)
    f:close()
end

local function exists(path)
    local f = io.open(path)
    if f then f:close() end
    return f ~= nil
end

local function quote(text)
    return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function pause(seconds)
    os.execute(("sleep %.2f"):format(seconds))
end

--- What `command` prints, without the last newline.
local function output(command)
    local p = io.popen(command)
    local text = p:read "a"
    p:close()
    return (text:gsub("\n$", ""))
end

-- The same limits for everyone: windows bound what is under way, so no broker is to drop.
-- mosquitto is also spared its search for overlapping subscriptions, which compares every
-- receiver of a message with every other one and would decide the large fan-outs.
local configs = {
    mosquitto = [[
listener %d 127.0.0.1
allow_anonymous true
persistence false
log_dest none
max_inflight_messages 65535
max_queued_messages 0
allow_duplicate_messages true
set_tcp_nodelay true
user root
]],
    sol = [[
listen "mqtt://127.0.0.1:%d"
allow_anonymous = true
max_inflight = 65535
max_queued = 1000000
max_packet_size = 4 * 1024 * 1024
log_level = "error"
]],
}

--- Those that have a core for each of their workers, the load generator's included.
local workers = { sol2 = 2 }

--- name -> command(port, options, conf), or nil and why it cannot be measured here; `conf`
--- is where its configuration may lie.
local commands = {
    sol = function(port, options, conf)
        local binary = options.sol or "build/release/sol"
        if not exists(binary) then return nil, binary .. " is not built" end
        write_file(conf, configs.sol:format(port) .. (options.policy or "") .. "\n")
        return ("%s -c %s"):format(quote(binary), conf)
    end,
    sol2 = function(port, options, conf)
        local policy = ("%s\nworkers = %d"):format(options.policy or "", workers.sol2)
        return M.command("sol", port, { sol = options.sol, policy = policy }, conf)
    end,
    mosquitto = function(port, _, conf)
        local binary = output "PATH=$PATH:/usr/sbin command -v mosquitto"
        if binary == "" then return nil, "mosquitto is not installed" end
        write_file(conf, configs.mosquitto:format(port))
        return ("%s -c %s"):format(quote(binary), conf)
    end,
    relay = function(port)
        return ("%s/relay %d"):format(M.work, port)
    end,
    later = function(port, options)
        return ("%s/later %d %d"):format(M.work, port, options.later)
    end,
}

function M.command(name, port, options, conf)
    return commands[name](port, options, conf)
end

--- Seconds (of all processors together) that passed and that the machine's host took away.
function M.clock()
    local passed, fields = 0, {}
    for ticks in (read_file "/proc/stat" or ""):match "^cpu +([^\n]*)":gmatch "%d+" do
        fields[#fields + 1] = tonumber(ticks) / 100
    end
    for i = 1, 8 do passed = passed + (fields[i] or 0) end
    return passed, fields[8] or 0
end

--- What a report says of the machine and the brokers: a list of { key, value }.
function M.about(options)
    local function first(path, pattern)
        return (read_file(path) or ""):match(pattern) or "unknown"
    end
    return {
        { "date", os.date "!%Y-%m-%d %H:%M UTC" },
        { "runs", options.runs }, { "seconds", options.seconds }, { "cores", options.cores },
        { "cpu", first("/proc/cpuinfo", "model name%s*:%s*([^\n]*)") },
        { "machine_cores", output "nproc" },
        { "kernel", first("/proc/sys/kernel/osrelease", "[^\n]*") },
        { "load_average", first("/proc/loadavg", "%S+") },
        { "sol", output "git describe --always --dirty 2>/dev/null" },
        { "mosquitto", output("PATH=$PATH:/usr/sbin mosquitto -h 2>/dev/null")
            :match "version (%S+)" or "none" },
    }
end

--- Splits "sol,mosquitto" and says which of them can run here.
function M.choose(list, options)
    local chosen = {}
    for name in list:gmatch "[^,]+" do
        if not commands[name] then
            error(("no such broker: %s (sol, sol2, mosquitto, relay)"):format(name), 0)
        end
        local conf = M.work .. "/probe"
        local command, why = commands[name](1, options, conf)
        os.remove(conf)
        if command then
            chosen[#chosen + 1] = name
        else
            io.stderr:write(("%s is left out: %s\n"):format(name, why))
        end
    end
    return chosen
end

--- A port nobody uses, below the range the kernel hands out.
local function free_port()
    local taken = {}
    for _, path in ipairs { "/proc/net/tcp", "/proc/net/tcp6" } do
        for port in (read_file(path) or ""):gmatch "%s%d+: %x+:(%x%x%x%x)" do
            taken[tonumber(port, 16)] = true
        end
    end
    local port
    repeat port = math.random(20000, 32000) until not taken[port]
    return port
end

local function running(pid)
    local state = (read_file(("/proc/%d/stat"):format(pid)) or ""):match "^%d+ %(.*%) (%a)"
    return state and state ~= "Z"
end

--- The one child a process starts.
local function child_of(pid)
    local child
    repeat
        pause(0.01)
        child = (read_file(("/proc/%d/task/%d/children"):format(pid, pid)) or ""):match "%d+"
    until child or not running(pid)
    return tonumber(child) or pid
end

--- Starts a broker; `options.core` pins it, or `options.cores` where it has several workers;
--- `options.nice` says how it shares them (-10, as the load does); `options.under` is put before
--- its command and, with `options.is_parent`, runs it as a child.
--- A handle with pid and port, or nil and why.
function M.start(name, options)
    local port = free_port()
    local base = ("%s/%s-%d"):format(M.work, name, port)
    local conf, log, pidfile = base .. ".conf", base .. ".log", base .. ".pid"
    local command = assert(commands[name](port, options, conf))
    local cores = workers[name] and options.cores or options.core
    local shell = io.popen(([[
        trap '' INT
        ulimit -n "$(ulimit -Hn)"
        nice -n %d taskset -c %s %s %s >%s 2>&1 </dev/null &
        echo $! >%s.new && mv %s.new %s
        while read -r signal pid; do kill -"$signal" "$pid" 2>/dev/null; done
        pkill -9 -P $!
        kill -9 $! 2>/dev/null
        wait
    ]]):format(options.nice or -10, cores, options.under or "", command, log, pidfile, pidfile, pidfile), "w")
    while not exists(pidfile) do pause(0.01) end
    local pid = tonumber(read_file(pidfile))
    if options.is_parent then pid = child_of(pid) end
    return { name = name, port = port, pid = pid, log = log, shell = shell,
             files = { conf, log, pidfile } }
end

--- Asks the broker to end (`grace` seconds, 5 by default), then makes it.  broker.complaint is
--- the first error that Sol has logged, a failing policy perhaps; or nil.
function M.stop(broker, grace)
    broker.shell:write("TERM ", broker.pid, "\n")
    broker.shell:flush()
    local waited = 0
    while running(broker.pid) and waited < (grace or 5) do
        pause(0.05)
        waited = waited + 0.05
    end
    broker.shell:close()
    broker.complaint = (read_file(broker.log) or ""):match "[^\n]* error [^\n]*"
    for _, path in ipairs(broker.files) do os.remove(path) end
    return waited < (grace or 5)
end

--- Runs the load generator: a table of its keys (numbers where they are numbers) with
--- `status` 0 or 2 (something was lost), or nil and why it failed.
function M.load(broker, args, core)
    local command = ("nice -n -10 taskset -c %d %s/load %s --port %d --pid %d --wait 20"):format(
        core, M.work, args, broker.port, broker.pid)
    local p = io.popen(command .. " 2>" .. M.work .. "/load.log")
    local line = p:read "a"
    local _, _, status = p:close()
    if status ~= 0 and status ~= 2 then
        return nil, ("%s: %s(broker: %s)"):format(command, read_file(M.work .. "/load.log"),
                                                  read_file(broker.log))
    end
    local result = { status = status }
    for key, value in line:gmatch "(%S+)=(%S+)" do result[key] = tonumber(value) or value end
    return result
end

--- Parses `--name value` and `--flag` against `defaults` (false marks a flag); what is
--- left stands in the array part.
function M.options(argv, defaults, usage)
    local options, i = {}, 1
    for key, value in pairs(defaults) do options[key] = value end
    local function fail(text)
        io.stderr:write(text, "\n", usage)
        os.exit(1)
    end
    while i <= #argv do
        local key = argv[i]:match "^%-%-(%a+)$"
        if key == "help" then
            io.write(usage)
            os.exit(0)
        elseif not key then
            options[#options + 1] = argv[i]
        elseif defaults[key] == nil then
            fail("no such option: " .. argv[i])
        elseif type(defaults[key]) == "boolean" then
            options[key] = true
        else
            i = i + 1
            local value = argv[i] or fail("--" .. key .. " needs a value")
            if type(defaults[key]) == "number" then
                value = tonumber(value) or fail("--" .. key .. " needs a number")
            end
            options[key] = value
        end
        i = i + 1
    end
    return options
end

return M
