-- SPDX-License-Identifier: BSD-2-Clause
--
-- websocket.lua -- as much of a WebSocket client (RFC 6455) as the tests of chapter 6 need.
--
-- It masks what it sends, with a key of zeros, and reads unmasked frames.  Not here: extensions,
-- the check of Sec-WebSocket-Accept.

local proc = require "support.proc"
local wait = require "support.wait"

local M = { TEXT = 1, BINARY = 2, CLOSE = 8 }

local WebSocket = {}
WebSocket.__index = WebSocket

-- Read until `complete(buffer)` gives something.
local function read_until(self, what, complete)
    local deadline = wait.deadline()
    while true do
        local value = complete(self.buffer)
        if value then return value end
        if self.ended then return nil end
        if not self.sock:wait("r", math.max(0, deadline - proc.now())) then wait.fail("waited in vain for %s", what) end
        local bytes, why = self.sock:recv()
        if bytes then
            self.buffer = self.buffer .. bytes
        elseif why ~= "again" then
            self.ended = why
        end
    end
end

--- Connect to `port` of this machine and ask for an upgrade; `status` and `headers` are the answer's.
function M.connect(port, path, protocols)
    local sock = assert(proc.connect { host = "127.0.0.1", port = port, timeout = wait.scaled() })
    local self = setmetatable({ sock = sock, buffer = "", headers = {} }, WebSocket)
    sock:send(("GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        .. "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        .. "Sec-WebSocket-Protocol: %s\r\n\r\n"):format(path, port, protocols))
    local stop = read_until(self, "the answer to the upgrade", function(s)
        return select(2, s:find("\r\n\r\n", 1, true))
    end)
    if not stop then return wait.fail("the connection ended instead of an upgrade") end
    local head = self.buffer:sub(1, stop)
    self.buffer = self.buffer:sub(stop + 1)
    self.status = tonumber(head:match "^HTTP/1.1 (%d+)")
    for name, value in head:gmatch "\r\n([%w-]+):%s*([^\r]*)" do self.headers[name:lower()] = value end
    return self
end

--- Send one frame.
function WebSocket:send(opcode, payload, is_part)
    local first = string.char(opcode | (is_part and 0 or 0x80))
    local len = #payload < 126 and string.char(0x80 | #payload) or string.pack(">BI2", 0x80 | 126, #payload)
    self.sock:send(first .. len .. "\0\0\0\0" .. payload)
    return self
end

-- One frame at the start of `s`: {opcode, payload, size}.
local function frame(s)
    if #s < 2 then return nil end
    local opcode, len, at = s:byte(1) & 15, s:byte(2) & 127, 3
    if len == 126 then
        if #s < 4 then return nil end
        len, at = string.unpack(">I2", s, 3)
    end
    if #s < at + len - 1 then return nil end
    return { opcode = opcode, payload = s:sub(at, at + len - 1), size = at + len - 1 }
end

--- The next frame's opcode and payload; nil when the connection ended.
function WebSocket:receive()
    local f = read_until(self, "a frame", frame)
    if not f then return nil end
    self.buffer = self.buffer:sub(f.size + 1)
    return f.opcode, f.payload
end

--- Read binary frames until they hold `count` bytes, and return those.
function WebSocket:bytes(count)
    local all = ""
    while #all < count do
        local opcode, payload = self:receive()
        if opcode ~= M.BINARY and opcode ~= 0 then
            return wait.fail("wanted a binary frame, got opcode %s", tostring(opcode))
        end
        all = all .. payload
    end
    return all
end

--- The connection must end, after an exchange of close frames at most.
function WebSocket:expect_close()
    local opcode, payload = self:receive()
    if opcode == M.CLOSE then opcode = self:send(M.CLOSE, payload):receive() end
    if opcode then wait.fail("wanted the end, got a frame of opcode %d", opcode) end
    self.sock:close()
end

return M
