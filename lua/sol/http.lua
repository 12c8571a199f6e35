-- SPDX-License-Identifier: BSD-2-Clause
--
-- http.lua -- sol.http: requests as a policy writes them.
--
-- The C side makes one request to known addresses; here are URLs, names, headers and
-- redirects, with one deadline over all of it.

local sol, native = ...

-- Lua's own functions: an environment may replace its entries, not ours.
local error, ipairs, pairs, setmetatable, sort, tostring, type =
    error, ipairs, pairs, setmetatable, table.sort, tostring, type
local concat = table.concat
local now, resolve, options_of = sol.now, native.resolve or sol.dns.resolve, native.options

local OPTIONS = {
    url = { "string", required = true },
    method = { "string", default = "GET" },
    headers = { "table", default = {} },
    body = { "string" },
    timeout = { "number", 0.001, 86400, default = 10 }, -- seconds for all of a request
    max_body = { "integer", 0, 256 << 20, default = 1 << 20 }, -- bytes of a response
    follow = { "integer", 0, 20, default = 0 }, -- redirects
    verify = { "boolean" },
    ca = { "string" },
    cert = { "string" },
    key = { "string" },
    socket = { "string" },
}

local M = {}

-- ---- what the caller did wrong -------------------------------------------------------

local TOKEN = "^[%w!#$%%&'*+%-.^_`|~]+$" -- what methods and the names of headers are

--- What `options_of` cannot know. An error is its caller's caller's.
local function check(request)
    if not request.method:find(TOKEN) then error(("sol.http: %q is no HTTP method"):format(request.method), 3) end
    for name, value in pairs(request.headers) do
        if type(name) ~= "string" or not name:find(TOKEN) then
            error(("sol.http: %q is no name of a header"):format(tostring(name)), 3)
        end
        local kind = type(value)
        if kind ~= "string" and kind ~= "number" or tostring(value):find "[\r\n\0]" then
            error(("sol.http: header %q must be one line of text"):format(name), 3)
        end
    end
end

-- ---- headers ---------------------------------------------------------------------------

--- The lines to send: in a fixed order, without what curl would add.
local function lines_of(headers, has_body)
    local lines, has_type = {}, false
    for name, value in pairs(headers) do
        value = tostring(value)
        has_type = has_type or name:lower() == "content-type"
        lines[#lines + 1] = value == "" and name .. ";" or name .. ": " .. value
    end
    sort(lines)
    if has_body and not has_type then lines[#lines + 1] = "Content-Type:" end
    return lines
end

-- A response's headers are found by any spelling of their names.
local any_case = {
    __index = function(headers, name)
        if type(name) ~= "string" then return nil end
        local lower = name:lower()
        if lower ~= name then return headers[lower] end
    end,
}

--- Without blanks at either end.  No pattern: one that looks for the last blanks tries each.
local function trim(text)
    local from, to = 1, #text
    while from <= to and (text:byte(from) == 32 or text:byte(from) == 9) do from = from + 1 end
    while to >= from and (text:byte(to) == 32 or text:byte(to) == 9) do to = to - 1 end
    return text:sub(from, to)
end

--- "Name: value" lines as a table; what comes more than once is joined with ", ".
local function parse_headers(text)
    local headers = {}
    for name, value in text:gmatch "\n([^:\r\n]+):([^\r\n]*)" do
        name, value = name:lower(), trim(value)
        headers[name] = headers[name] and headers[name] .. ", " .. value or value
    end
    return setmetatable(headers, any_case)
end

-- ---- one request, and those it is redirected to ---------------------------------------------

local function is_address(host) return host:find "^[%d.]+$" or host:find(":", 1, true) end

--- Where to connect for this URL: what the C side takes, nil when the URL says it; or nil and why.
local function addresses_of(url, left)
    if is_address(url.host) then return nil end
    local list, err = resolve(url.host, { timeout = left })
    if not list then return nil, err == "timeout" and err or url.host .. ": " .. err end
    for i, address in ipairs(list) do
        if address:find(":", 1, true) then list[i] = "[" .. address .. "]" end
    end
    return ("%s:%d:%s"):format(url.host, url.port, concat(list, ","))
end

--- One hop: the response, or nil and why.
local function hop(request, url, deadline)
    local left = deadline - now()
    if left <= 0 then return nil, "timeout" end
    local addresses, err
    if not request.socket then
        addresses, err = addresses_of(url, left)
        if err then return nil, err end
        left = deadline - now()
        if left <= 0 then return nil, "timeout" end
    end
    local status, headers, body = native.http_fetch {
        method = request.method, url = url.url, addresses = addresses, socket = request.socket,
        headers = lines_of(request.headers, request.body), body = request.body, timeout = left,
        max_body = request.max_body, verify = request.verify, ca = request.ca, cert = request.cert, key = request.key,
    }
    if not status then return nil, headers end
    return { status = status, headers = parse_headers(headers), body = body, url = url.url }
end

local REDIRECT = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

-- Headers that are meant for one server alone.
local PRIVATE = { authorization = true, cookie = true, host = true, ["proxy-authorization"] = true }

--- The request as it goes on to `to`.
local function redirected(request, response, from, to)
    local next_request = {}
    for name, value in pairs(request) do next_request[name] = value end
    local method, status = request.method, response.status
    if status == 303 and method ~= "HEAD" or (status == 301 or status == 302) and method == "POST" then
        next_request.method, next_request.body = "GET", nil
    end
    local same = from.scheme == to.scheme and from.host == to.host and from.port == to.port
    local kept = {}
    for name, value in pairs(request.headers) do
        local lower = name:lower()
        local is_body = not next_request.body and lower:find "^content%-"
        if not is_body and (same or not PRIVATE[lower]) then kept[name] = value end
    end
    next_request.headers = kept
    if not same then next_request.cert, next_request.key = nil, nil end
    return next_request
end

local WITH_BODY = { POST = true, PUT = true, PATCH = true }

local function run(request)
    if WITH_BODY[request.method] then request.body = request.body or "" end
    local url, err = native.parse_url(request.url)
    if not url then error(("sol.http: %s: %s"):format(request.url, err), 3) end
    local deadline, follow = now() + request.timeout, request.follow
    while true do
        local response
        response, err = hop(request, url, deadline)
        if not response then return nil, err end
        local location = REDIRECT[response.status] and response.headers.location
        if not location or follow == 0 then return response end
        local to = native.parse_url(location, url.url)
        if not to then return nil, "redirected to no URL: " .. location end
        if url.scheme == "https" and to.scheme == "http" then return nil, "redirected from https to http" end
        request = redirected(request, response, url, to)
        url, follow = to, follow - 1
    end
end

-- ---- functions ----------------------------------------------------------------------------------

--- The options of a request with a function of its own.
local function with(method, url, body, given)
    if type(given or {}) ~= "table" then return given end
    local all = {}
    for name, value in pairs(given or {}) do all[name] = value end
    all.method, all.url, all.body = method, url, body
    return all
end

-- No tail calls: errors name the line that called these.

function M.request(options)
    local request = options_of("sol.http.request", options, OPTIONS)
    check(request)
    local response, err = run(request)
    return response, err
end

function M.get(url, options)
    local request = options_of("sol.http.get", with("GET", url, nil, options), OPTIONS)
    check(request)
    local response, err = run(request)
    return response, err
end

function M.post(url, body, options)
    local request = options_of("sol.http.post", with("POST", url, body, options), OPTIONS)
    check(request)
    local response, err = run(request)
    return response, err
end

return { http = M }
