-- SPDX-License-Identifier: BSD-2-Clause
--
-- workers.lua -- a broker with several workers, and where its clients live.

local with_broker = require("support.broker").with_broker

local M = {}

-- A client that publishes to "home" is told what its worker calls itself.
M.POLICY = [[
    workers = 4
    local me = sol.uuid()
    sol.on("publish", "home", function(client)
        sol.publish("home/" .. client.id, me)
        return sol.drop()
    end)
]]

--- Run `spec(b)` with a broker of four workers and this policy besides.
function M.several(config, spec) with_broker({ config = M.POLICY .. config }, spec) end

--- What the worker calls itself that `c` lives on.
function M.home_of(c)
    local topic = "home/" .. c.opts.client_id
    c:subscribe(topic):publish("home", "?")
    local home = c:expect("PUBLISH", { topic = topic }).payload
    c:unsubscribe(topic)
    return home
end

--- Clients `stem`1 and on until `fits(home)`; that one is returned, and its home.
function M.client_where(b, stem, fits, opts)
    for i = 1, 1000 do
        local c = b:client(stem .. i, opts)
        local home = M.home_of(c)
        if fits(home) then return c, home end
        c:disconnect()
    end
end

return M
