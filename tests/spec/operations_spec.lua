-- SPDX-License-Identifier: BSD-2-Clause
--
-- docs/operations.md, word by word: its policy runs, its commands are typed, their output compared.

local broker = require "support.broker"
local document = require "support.document"
local wait = require "support.wait"

local text = broker.read_file "docs/operations.md"

--- What stays the same from run to run.
local function plain(output)
    return (output:gsub("%x+%-%x+%-%x+%-%x+%-%x+", "UUID"):gsub("127%.0%.0%.1:%d+", "ADDRESS"):gsub("%d+%.%d+", "N")
        :gsub(" +", " "))
end

local function check(b, row)
    local typed = row.command:gsub("^sol (%a+)", broker.binary() .. " %1"):gsub("$", " " .. b.dir .. "/sol.sock", 1)
    local result = broker.run { "/bin/sh", "-c", typed }
    local expected = row.output:gsub("/etc/sol", b.dir):gsub("localhost:1883", "127.0.0.1:" .. b.port)
    assert.equal(plain(expected), plain(result.stdout .. result.stderr), row.command)
end

describe("docs/operations.md", function()
    it("shows what happens", function()
        local policy = text:match("```lua\n(.-)```"):gsub("localhost:1883", "127.0.0.1:$PORT")
        local shown = document.commands(table.concat(document.blocks(text, "console")))
        assert.equal(6, #shown)
        broker.with_broker({ listen = (policy:gsub("\n$", "")), config = "workers = 1" }, function(b)
            check(b, table.remove(shown, 1))
            local waiting = 0
            for _, id in ipairs { "press", "lathe" } do
                b:client(id, { keepalive = 60 }):publish("jobs/1", "x", { qos = 1, wait = false })
                waiting = waiting + 1
                wait.till("the hook to wait", function()
                    local result = broker.sol("console", "-e", "#parked()", b.dir .. "/sol.sock")
                    return result.stdout == waiting .. "\n"
                end)
            end
            for _, row in ipairs(shown) do check(b, row) end
            local faulty = policy:gsub("\n\n", "\nmax_quued = 5\n", 1)
            b:write("sol.lua", b:expand(faulty))
            check(b, document.commands(document.blocks(text, "console faulty")[1])[1])
        end)
    end)
end)
