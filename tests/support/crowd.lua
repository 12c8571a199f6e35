-- SPDX-License-Identifier: BSD-2-Clause
--
-- crowd.lua -- thousands of connections, as cheaply as the test process can.
--
-- A crowd speaks MQTT 3.1.1 with fixed packets and keeps nothing but sockets.
-- Run as a program (`lua5.4 tests/support/crowd.lua PORT COUNT PREFIX`) it opens
-- its connections, prints how many were served and how many were not, and holds
-- them until its input ends: for crowds larger than one process may open.

local mqtt = require "support.mqtt"
local proc = require "support.proc"
local wait = require "support.wait"

local Crowd = {}
Crowd.__index = Crowd

local BATCH = 250 -- connections that wait for their CONNACK together

-- Read exactly `wanted`; false when something else or nothing came in time.
local function read_exactly(sock, wanted, deadline)
    local got = ""
    while #got < #wanted do
        if not sock:wait("r", math.max(0, deadline - proc.now())) then return false end
        local bytes, why = sock:recv(#wanted - #got)
        if not bytes and why ~= "again" then return false end
        got = got .. (bytes or "")
    end
    return got == wanted
end

--- Open `count` connections; those that are refused, or not answered within `patience` seconds
--- of their batch, are closed and counted in `refused`.
function Crowd.open(port, count, prefix, patience)
    local self = setmetatable({ refused = 0 }, Crowd)
    local opened = 0
    while opened < count do
        local batch = {}
        for _ = 1, math.min(BATCH, count - opened) do
            opened = opened + 1
            local sock = proc.connect { port = port, timeout = patience }
            if sock then
                sock:send(mqtt.encode({ type = "CONNECT", client_id = prefix .. opened }, 4))
                batch[#batch + 1] = sock
            else
                self.refused = self.refused + 1
            end
        end
        local deadline = proc.now() + patience
        for _, sock in ipairs(batch) do
            if read_exactly(sock, "\x20\x02\x00\x00", deadline) then
                self[#self + 1] = sock
            else
                self.refused = self.refused + 1
                sock:close()
            end
        end
    end
    return self
end

--- Send the same packet on every connection, then read the same answer from each; how many gave it.
function Crowd:exchange(request, answer)
    for _, sock in ipairs(self) do sock:send(request) end
    return self:expect(answer)
end

--- Read the same bytes from every connection; how many gave them.
function Crowd:expect(answer)
    local n, deadline = 0, wait.deadline(20)
    for _, sock in ipairs(self) do
        if read_exactly(sock, answer, deadline) then n = n + 1 end
    end
    return n
end

function Crowd:close()
    for _, sock in ipairs(self) do sock:reset() end
end

if arg and arg[0] and arg[0]:find "crowd%.lua$" then
    local crowd = Crowd.open(tonumber(arg[1]), tonumber(arg[2]), arg[3], wait.scaled(2))
    io.stdout:write(("served %d refused %d\n"):format(#crowd, crowd.refused))
    io.stdout:flush()
    io.stdin:read "a"
    crowd:close()
end

return Crowd
