-- SPDX-License-Identifier: BSD-2-Clause
--
-- format.lua -- the values of JSON Schema's `format` that are checked.

local M = {}

local DAYS = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }

function M.date(s)
    local year, month, day = s:match "^(%d%d%d%d)%-(%d%d)%-(%d%d)$"
    if not year then return false end
    year, month, day = tonumber(year), tonumber(month), tonumber(day)
    local days = DAYS[month]
    if month == 2 and year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0) then days = 29 end
    return days ~= nil and day >= 1 and day <= days
end

function M.time(s)
    local hour, minute, second, zone = s:match "^(%d%d):(%d%d):(%d%d)%.?%d*(.+)$"
    if not hour or s:find "%.%D" then return false end
    if tonumber(hour) > 23 or tonumber(minute) > 59 or tonumber(second) > 60 then return false end
    if zone == "Z" or zone == "z" then return true end
    local hours, minutes = zone:match "^[+-](%d%d):(%d%d)$"
    return hours ~= nil and tonumber(hours) <= 23 and tonumber(minutes) <= 59
end

M["date-time"] = function(s)
    local date, time = s:match "^(.-)[Tt](.+)$"
    return date ~= nil and M.date(date) and M.time(time)
end

function M.hostname(s)
    if #s == 0 or #s > 253 then return false end
    for label in (s .. "."):gmatch "(.-)%." do
        if #label > 63 or not label:match "^%w[%w-]*$" or label:match "%-$" then return false end
    end
    return true
end

function M.email(s)
    local name, host = s:match "^([%w.!#$%%&'*+/=?^_`{|}~-]+)@(.+)$"
    return name ~= nil and not ("." .. name .. "."):find("..", 1, true) and M.hostname(host)
end

function M.ipv4(s)
    local parts = { s:match "^(%d+)%.(%d+)%.(%d+)%.(%d+)$" }
    for _, part in ipairs(parts) do
        if tonumber(part) > 255 or part:match "^0%d" then return false end
    end
    return #parts == 4
end

function M.ipv6(s)
    local tail = s:match "[%d.]*%.[%d.]*$"
    if tail then
        if not M.ipv4(tail) then return false end
        s = s:sub(1, #s - #tail) .. "0:0"
    end
    local left, right = s:match "^(.-)::(.*)$"
    if right and right:find("::", 1, true) then return false end
    local count = 0
    for _, half in ipairs { left or s, right } do
        if half ~= "" then
            for group in (half .. ":"):gmatch "(.-):" do
                if not group:match "^%x%x?%x?%x?$" then return false end
                count = count + 1
            end
        end
    end
    if left then return count <= 7 end
    return count == 8
end

function M.uuid(s)
    local x = "%x%x%x%x"
    return s:match("^" .. table.concat({ x .. x, x, x, x, x .. x .. x }, "%-") .. "$") ~= nil
end

function M.uri(s) return s:match "^%a[%w+.-]*:[^%s<>\"{}|\\^`]*$" ~= nil and not s:find "%%%f[^%%]%X" end

M["json-pointer"] = function(s)
    return (s == "" or s:sub(1, 1) == "/") and not s:gsub("~[01]", ""):find("~", 1, true)
end

return M
