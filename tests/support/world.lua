-- SPDX-License-Identifier: BSD-2-Clause
--
-- world.lua -- small servers for policies to talk to (world.py), for the length of a spec.
--
--     with_world({ "http" }, function(web)
--         with_broker({ config = web:fill [[ sol.http.get "http://127.0.0.1:$HTTP/hello" ]] }, ...)
--     end)

local broker = require "support.broker"
local wait = require "support.wait"

local World = {}
World.__index = World

local M = {}

--- Everything the server has printed.
function World:said() return broker.read_file(self.dir .. "/out") end

--- Wait until the server has printed the pattern; its captures.
function World:wait(pattern, from)
    return table.unpack(wait.till("the server to say " .. pattern, function()
        local found = { self:said():match(pattern, from) }
        return found[1] and found
    end))
end

--- How often the server has printed the pattern.
function World:count(pattern) return select(2, self:said():gsub(pattern, "")) end

--- `text` with $WORLD replaced by the port and $DIR2 by the server's folder.
function World:fill(text)
    return (text:gsub("$WORLD", tostring(self.port)):gsub("$DIR2", (self.dir:gsub("%%", "%%%%"))))
end

function World:stop() self.process:kill(9) self.process:wait(wait.scaled()) end

--- Run `use(world)` with world.py and these arguments; $DIR2 in them is a folder of its own.
function M.with_world(argv, use)
    broker.with_dir(function(dir)
        local self = setmetatable({ dir = dir }, World)
        if argv.prepare then argv.prepare(dir) end
        local command = { "/usr/bin/python3", "tests/support/world.py" }
        for _, word in ipairs(argv) do command[#command + 1] = (word:gsub("$DIR2", dir)) end
        self.process = broker.spawn(dir, command)
        self.port = tonumber((self:wait "port (%d+)\n"))
        local ok, err = xpcall(use, function(e) return e end, self)
        self:stop()
        if not ok then
            io.stderr:write("\n--- the server said ---\n", self:said():sub(-2000),
                broker.read_file(dir .. "/err"):sub(-2000), "---\n")
            error(err, 0)
        end
    end)
end

--- Certificates in `dir`: ca.pem signs server.pem (key server.key) for localhost, 127.0.0.1 and
--- here.test; other.pem is a CA that has signed nothing.
function M.certificates(dir)
    local function openssl(...)
        local r = broker.run { "/usr/bin/openssl", ... }
        assert(r.status == 0, r.stderr)
    end
    local names = "subjectAltName=DNS:localhost,DNS:here.test,IP:127.0.0.1"
    for _, name in ipairs { "ca", "other" } do
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj", "/CN=" .. name, "-keyout", dir .. "/" .. name .. ".key", "-out", dir .. "/" .. name .. ".pem")
    end
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=server",
        "-addext", names, "-keyout", dir .. "/server.key", "-out", dir .. "/server.csr")
    openssl("x509", "-req", "-in", dir .. "/server.csr", "-CA", dir .. "/ca.pem", "-CAkey", dir .. "/ca.key",
        "-days", "2", "-copy_extensions", "copy", "-out", dir .. "/server.pem")
end

--- A policy that runs what is published on "run" and answers with its results, "|" between.
M.RUNNER = [[
    hook_timeout = 60
    hook_budget = 10
    sol.on("publish", "run", function(_, message)
        local results = table.pack(pcall(assert(load(message.payload, "=code"))))
        for i = 1, results.n do results[i] = tostring(results[i]) end
        message.payload = table.concat(results, "|", results[1] == "true" and 2 or 1, results.n)
    end)
]]

--- Have the broker run this code; its results as text.
function M.run(client, code)
    if not client.runs then client:subscribe "run" end
    client.runs = true
    return client:publish("run", code):expect("PUBLISH").payload
end

return M
