-- SPDX-License-Identifier: BSD-2-Clause
--
-- servers.lua -- real servers for policies to talk to, each on a free port and in a folder of
-- its own.
--
--     servers.with_redis(function(redis)
--         with_broker({ config = redis:fill "db = sol.redis.pool { $REDIS }" }, ...)
--     end)

local broker = require "support.broker"
local proc = require "support.proc"
local wait = require "support.wait"
local world = require "support.world"

local M = {}

local Server = {}
Server.__index = Server

--- `text` with $REDIS or $PG replaced by the options that lead here, and $DIR2 by the folder.
function Server:fill(text)
    return (text:gsub("$" .. self.name, self.options):gsub("$DIR2", self.dir))
end

--- SIGSTOP and SIGCONT: it hears, and answers nothing.
function Server:pause() self.process:kill(19) end
function Server:resume() self.process:kill(18) end

function Server:stop()
    if not self.process then return end
    self.process:kill(18)
    self.process:kill(self.stop_signal)
    if not self.process:wait(wait.scaled(10)) then
        self.process:kill(9)
        self.process:wait(wait.scaled())
    end
    self.process = nil
end

--- Runs use(server), then stops it.
local function with(server, use)
    local ok, err = xpcall(use, function(e) return e end, server)
    server:stop()
    if not ok then error(err, 0) end
end

-- ---- Redis ------------------------------------------------------------------------------

--- A Redis server with a password.
function M.with_redis(use)
    broker.with_dir(function(dir)
        local port = broker.free_port()
        local server = setmetatable({ name = "REDIS", dir = dir, port = port, stop_signal = 9,
            options = ("port = %d, password = 'secret'"):format(port) }, Server)
        server.process = broker.spawn(dir, { "/usr/bin/redis-server", "--port", tostring(port), "--bind", "127.0.0.1",
            "--save", "", "--requirepass", "secret", "--dir", dir })
        with(server, function()
            wait.till("redis to listen", function()
                local s = proc.connect { port = port }
                return s and (s:close() or true)
            end)
            use(server)
        end)
    end)
end

-- ---- PostgreSQL -------------------------------------------------------------------------

-- The newest server's programs.
local function postgres_bin(name)
    local versions = proc.list "/usr/lib/postgresql"
    table.sort(versions, function(a, b) return tonumber(a) < tonumber(b) end)
    return ("/usr/lib/postgresql/%s/bin/%s"):format(versions[#versions], name)
end

-- It refuses to run as root.
local function as_postgres(...)
    if tonumber((broker.run { "/usr/bin/id", "-u" }.stdout)) ~= 0 then return { ... } end
    return { "/usr/bin/setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=KILL", ... }
end

local function must_run(argv)
    local r = broker.run(argv, { timeout = 60 })
    assert(r.status == 0, r.stdout .. r.stderr)
end

--- A PostgreSQL server with TLS and a password, for setup(); the folder goes with remove().
function M.start_postgres()
    local dir, port = assert(proc.tempdir()), broker.free_port()
    local server = setmetatable({ name = "PG", dir = dir, port = port, stop_signal = 2,
        options = ("host = 'localhost', port = %d, user = 'sol', password = 'secret', database = 'postgres'")
            :format(port) }, Server)
    world.certificates(dir)
    broker.write_file(dir .. "/password", "secret\n")
    if as_postgres("x")[2] then must_run { "/usr/bin/chown", "-R", "postgres:postgres", dir } end
    must_run(as_postgres(postgres_bin "initdb", "-D", dir .. "/data", "-A", "scram-sha-256", "-U", "sol", "-N",
        "--pwfile=" .. dir .. "/password", "-E", "UTF8", "--no-locale"))
    server.process = broker.spawn(dir, as_postgres(postgres_bin "postgres", "-D", dir .. "/data", "-k", dir,
        "-p", tostring(port), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "ssl=on",
        "-c", "client_connection_check_interval=20",
        "-c", "ssl_cert_file=" .. dir .. "/server.pem", "-c", "ssl_key_file=" .. dir .. "/server.key"))
    wait.till("PostgreSQL to be ready", function()
        return broker.read_file(dir .. "/err"):find "ready to accept connections"
    end, 30)
    return server
end

function Server:remove()
    self:stop()
    broker.run { "/usr/bin/rm", "-rf", self.dir }
end

--- A PostgreSQL server for one spec.
function M.with_postgres(use)
    local server = M.start_postgres()
    local ok, err = pcall(with, server, use)
    server:remove()
    if not ok then error(err, 0) end
end

return M
