-- SPDX-License-Identifier: BSD-2-Clause
--
-- door.lua -- a conversation with a broker's admin socket, phrase by phrase.
--
--     local door = Door.open(b)
--     door:ask(1, "ping", "hello")
--     assert.same({ "ok", "hello" }, { door:answer(1) })

local proc = require "support.proc"
local wait = require "support.wait"

local Door = {}
Door.__index = Door

--- The door of broker `b`, or the one at `path`.
function Door.open(b, path)
    local sock, why = proc.connect { path = path or b.dir .. "/sol.sock" }
    if not sock then wait.fail("no admin socket: %s", why) end
    return setmetatable({ sock = sock, buffer = "", phrases = {} }, Door)
end

function Door:send(bytes)
    local deadline, at = wait.deadline(), 1
    while at <= #bytes do
        local n, why = self.sock:send(bytes:sub(at))
        if n then
            at = at + n
        elseif why ~= "again" or not self.sock:wait("w", deadline - proc.now()) then
            return nil, why
        end
    end
    return self
end

--- Ask; `words` go between the verb and the length.
function Door:ask(id, verb, body, words)
    body = body or ""
    return self:send(("%d %s%s %d\n%s"):format(id, verb, words and " " .. words or "", #body, body))
end

local function take(self)
    local id, kind, len, at = self.buffer:match "^(%d+) (%l+) (%d+)\n()"
    if not id or #self.buffer < at - 1 + len then return nil end
    local body = self.buffer:sub(at, at - 1 + len)
    self.buffer = self.buffer:sub(at + len)
    return { id = tonumber(id), kind = kind, body = body }
end

--- The next phrase: { id, kind, body }; nil when the other end has closed.
function Door:phrase()
    local deadline = wait.deadline()
    while true do
        local phrase = take(self)
        if phrase then return phrase end
        local bytes, why = self.sock:recv()
        if bytes then
            self.buffer = self.buffer .. bytes
        elseif why ~= "again" then
            return nil
        elseif not self.sock:wait("r", deadline - proc.now()) then
            return wait.fail("no answer from the admin socket")
        end
    end
end

--- The answer to question `id`: "ok" or "fail", its text, and what was said before it.
function Door:answer(id)
    local said = {}
    while true do
        local phrase = self:phrase()
        if not phrase then return nil, "closed", table.concat(said) end
        if phrase.id == id and phrase.kind ~= "out" then return phrase.kind, phrase.body, table.concat(said) end
        if phrase.id == id then said[#said + 1] = phrase.body end
    end
end

function Door:close() self.sock:close() end

return Door
