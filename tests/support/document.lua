-- SPDX-License-Identifier: BSD-2-Clause
--
-- document.lua -- what stands in the fences of a document.

local M = {}

--- The texts of the blocks that open with this word, in order.
function M.blocks(text, opening)
    local found = {}
    for block in text:gmatch("\n```" .. opening .. "\n(.-)```") do found[#found + 1] = block end
    return found
end

--- The commands of console blocks, what stands behind "$ ": { command = , output = } each.
function M.commands(blocks)
    local list = {}
    for line in blocks:gmatch "[^\n]+" do
        local command = line:match "^%$ (.*)"
        if command then
            list[#list + 1] = { command = command, output = "" }
        else
            list[#list].output = list[#list].output .. line .. "\n"
        end
    end
    return list
end

return M
