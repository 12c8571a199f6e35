-- SPDX-License-Identifier: BSD-2-Clause
--
-- eval.lua -- a policy that runs what a spec sends it.
--
--     eval.with({ config = "..." }, function(run, b)
--         assert.equal("3 x", run "return 1 + 2, 'x'")
--     end)
--
-- Each chunk runs in a publish handler, so it may wait; what it returns comes back with
-- spaces between, an error as "error: ...".  Globals stay from one chunk to the next.

local broker = require "support.broker"

local M = {}

local POLICY = [[
    hook_timeout = 30
    local env = setmetatable($GLOBALS, { __index = _G })
    sol.on("publish", "eval", function(client, message)
        local chunk, err = load(message.payload, "=eval", "t", env)
        env.client = client
        local results = table.pack(pcall(chunk or error, chunk and client or err))
        local parts = {}
        for i = 2, results.n do parts[#parts + 1] = tostring(results[i]) end
        local text = (results[1] and "" or "error: ") .. table.concat(parts, " ")
        sol.publish("answer/" .. client.id, text)
        return sol.drop()
    end)
]]

--- Sends a chunk in this client's name and gives the answer.
function M.ask(c, code, seconds)
    return c:publish("eval", code):expect("PUBLISH", { topic = "answer/" .. c.id }, seconds).payload
end

--- A client for M.ask.
function M.client(b, id, opts)
    local c = b:client(id, opts)
    c.id = id
    return c:subscribe("answer/" .. id, 0)
end

--- The policy, with `config` in front; `globals` is an expression for the table of the chunks' globals.
function M.policy(config, globals)
    return (config or "") .. "\n" .. POLICY:gsub("%$GLOBALS", globals or "{}")
end

--- with_broker, and `spec(run, b)`; opts.config and opts.globals make the policy.
function M.with(opts, spec)
    local own = {}
    for name, value in pairs(opts) do own[name] = value end
    own.config = M.policy(opts.config, opts.globals)
    broker.with_broker(own, function(b)
        local c = M.client(b, "eval")
        spec(function(code, seconds) return M.ask(c, code, seconds) end, b)
    end)
end

return M
