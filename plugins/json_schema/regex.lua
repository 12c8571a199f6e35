-- SPDX-License-Identifier: BSD-2-Clause
--
-- regex.lua -- the regular expressions of JSON Schema (ECMA 262's), compiled to closures.
--
-- Works on code points, by backtracking: every node is a function (text, i) that matches from
-- `i` on and calls what follows it.  Effort is bounded; a text for which it does not suffice
-- raises an error.  Not here: back-references, look-behind, \p{...}.

local M = {}

local MAX_STEPS, STEPS_EACH = 50000, 10 -- of one test, and more for each character
local MAX_REPEAT = 1000                 -- {n,m}

-- Characters --------------------------------------------------------------------------------

local function is_digit(c) return c >= 48 and c <= 57 end
local function is_word(c) return is_digit(c) or c == 95 or c >= 65 and c <= 90 or c >= 97 and c <= 122 end
local SPACES = { [9] = true, [10] = true, [11] = true, [12] = true, [13] = true, [32] = true, [0xA0] = true,
    [0x1680] = true, [0x2028] = true, [0x2029] = true, [0x202F] = true, [0x205F] = true, [0x3000] = true,
    [0xFEFF] = true }
for c = 0x2000, 0x200A do SPACES[c] = true end
local function is_space(c) return SPACES[c] == true end
local function is_break(c) return c == 10 or c == 13 or c == 0x2028 or c == 0x2029 end

local function negated(test) return function(c) return not test(c) end end

local SETS = { d = is_digit, w = is_word, s = is_space }
for name, test in pairs { D = is_digit, W = is_word, S = is_space } do SETS[name] = negated(test) end
local CONTROLS = { t = 9, n = 10, v = 11, f = 12, r = 13, ["0"] = 0 }

-- Parsing: nodes are { kind, ... } ----------------------------------------------------------

local Parser = {}
Parser.__index = Parser

function Parser:fail(message) error(("pattern %q: %s"):format(self.pattern, message), 0) end

--- Takes what the Lua pattern matches here.
function Parser:take(pattern)
    local from, to, capture = self.pattern:find("^" .. pattern, self.at)
    if not from then return nil end
    self.at = to + 1
    return capture or self.pattern:sub(from, to)
end

--- What follows a backslash: a test, or a code point.
function Parser:escape()
    local c = self:take(utf8.charpattern) or self:fail "ends in a backslash"
    if SETS[c] then return SETS[c] end
    if CONTROLS[c] then return nil, CONTROLS[c] end
    local hex = c == "x" and self:take "%x%x" or c == "u" and (self:take "%x%x%x%x" or self:take "{(%x+)}")
    if hex then return nil, tonumber(hex, 16) end
    if c:match "%w" then self:fail("\\" .. c .. " is not supported") end
    return nil, utf8.codepoint(c)
end

--- One end of a range in [...].
function Parser:class_atom()
    if self:take "\\b" then return nil, 8 end
    if self:take "\\" then return self:escape() end
    return nil, utf8.codepoint(self:take(utf8.charpattern) or self:fail "[ is not closed")
end

function Parser:class()
    local is_negated, tests, points = self:take "%^", {}, {}
    while not self:take "%]" do
        local test, low = self:class_atom()
        if low and self.pattern:find("^%-[^%]]", self.at) then
            self.at = self.at + 1
            local _, high = self:class_atom()
            if not high or high < low then self:fail "a range in [...] is upside down" end
            tests[#tests + 1] = function(c) return c >= low and c <= high end
        elseif low then
            points[low] = true
        else
            tests[#tests + 1] = test
        end
    end
    local function test(c)
        if points[c] then return true end
        for _, one in ipairs(tests) do
            if one(c) then return true end
        end
        return false
    end
    return { "test", is_negated and negated(test) or test }
end

function Parser:group()
    local kind = self:take "%?[:=!]"
    if not kind and self:take "%?" then self:fail "look-behind and named groups are not supported" end
    local node = self:alternatives()
    if not self:take "%)" then self:fail "( is not closed" end
    if kind == "?=" or kind == "?!" then return { "look", node, kind == "?!" } end
    return node
end

local ANCHORS = { ["^"] = "first", ["$"] = "last" }

function Parser:atom()
    if self:take "%(" then return self:group() end
    if self:take "%[" then return self:class() end
    if self:take "%." then return { "test", negated(is_break) } end
    if self:take "\\b" then return { "edge", true } end
    if self:take "\\B" then return { "edge", false } end
    if self:take "\\" then
        local test, point = self:escape()
        return { "test", test or function(c) return c == point end }
    end
    if self:take "[*+?]" then self:fail "nothing to repeat" end
    local c = self:take(utf8.charpattern)
    if ANCHORS[c] then return { ANCHORS[c] } end
    local point = utf8.codepoint(c)
    return { "test", function(other) return other == point end }
end

--- An atom with what says how often.
function Parser:repeated()
    local atom = self:atom()
    local min, max
    local sign = self:take "[*+?]"
    if sign then
        min, max = sign == "+" and 1 or 0, sign == "?" and 1 or math.huge
    elseif self.pattern:find("^{%d+,?%d*}", self.at) then
        min = tonumber(self:take "{(%d+)")
        max = self:take "," and (tonumber(self:take "%d+") or math.huge) or min
        self:take "}"
    else
        return atom
    end
    if min > MAX_REPEAT or max < min or max < math.huge and max > MAX_REPEAT then self:fail "{n,m} is out of range" end
    return { "repeat", atom, min, max, self:take "%?" ~= nil }
end

function Parser:sequence()
    local list = { "sequence" }
    while self.at <= #self.pattern and not self.pattern:find("^[|)]", self.at) do list[#list + 1] = self:repeated() end
    return list
end

function Parser:alternatives()
    local list = { "any", self:sequence() }
    while self:take "|" do list[#list + 1] = self:sequence() end
    return list
end

-- Compiling: compile(node, follow) is a function (text, i) ------------------------------------

local compile

local COMPILE = {}

function COMPILE.test(node, follow)
    local test = node[2]
    return function(text, i)
        local c = text[i]
        return c ~= nil and test(c) and follow(text, i + 1)
    end
end

function COMPILE.sequence(node, follow)
    for i = #node, 2, -1 do follow = compile(node[i], follow) end
    return follow
end

function COMPILE.any(node, follow)
    local list = {}
    for i = 2, #node do list[#list + 1] = compile(node[i], follow) end
    if #list == 1 then return list[1] end
    return function(text, i)
        for _, one in ipairs(list) do
            if one(text, i) then return true end
        end
        return false
    end
end

function COMPILE.first(_, follow) return function(text, i) return i == 1 and follow(text, i) end end
function COMPILE.last(_, follow) return function(text, i) return text[i] == nil and follow(text, i) end end

function COMPILE.edge(node, follow)
    return function(text, i)
        local before, here = text[i - 1], text[i]
        local is_edge = (before ~= nil and is_word(before)) ~= (here ~= nil and is_word(here))
        return is_edge == node[2] and follow(text, i)
    end
end

function COMPILE.look(node, follow)
    local inner = compile(node[2], function() return true end)
    return function(text, i) return inner(text, i) ~= node[3] and follow(text, i) end
end

local function step(text)
    text.steps = text.steps - 1
    if text.steps < 0 then error("a pattern takes too long on this text", 0) end
end

--- One character, repeated: no recursion.
local function repeat_test(test, min, max, is_lazy, follow)
    return function(text, i)
        local most = 0
        while most < max and text[i + most] ~= nil and test(text[i + most]) do most = most + 1 end
        local from, to, by = most, min, -1
        if is_lazy then from, to, by = min, most, 1 end
        if most < min then return false end
        for count = from, to, by do
            step(text)
            if follow(text, i + count) then return true end
        end
        return false
    end
end

COMPILE["repeat"] = function(node, follow)
    local _, inner, min, max, is_lazy = table.unpack(node, 1, 5)
    if inner[1] == "test" then return repeat_test(inner[2], min, max, is_lazy, follow) end
    local key = {} -- text[key]: { how often so far, where the last began }
    local body, attempt

    local function once_more(text, i)
        local now = text[key]
        if now[1] >= max or now[1] >= min and now[2] == i then return false end -- an empty one gets nowhere
        text[key] = { now[1] + 1, i }
        if body(text, i) then return true end
        text[key] = now
        return false
    end

    local function leave(text, i)
        local now = text[key]
        if now[1] < min then return false end
        if follow(text, i) then return true end
        text[key] = now
        return false
    end

    function attempt(text, i)
        step(text)
        if is_lazy then return leave(text, i) or once_more(text, i) end
        return once_more(text, i) or leave(text, i)
    end

    body = compile(inner, function(text, i) return attempt(text, i) end)
    return function(text, i)
        local before = text[key]
        text[key] = { 0 }
        local found = attempt(text, i)
        text[key] = before
        return found
    end
end

function compile(node, follow) return COMPILE[node[1]](node, follow) end

--- fn(text): does the pattern match somewhere in it?  Raises for a pattern it does not know.
function M.compile(pattern)
    local parser = setmetatable({ pattern = pattern, at = 1 }, Parser)
    local node = parser:alternatives()
    if parser.at <= #pattern then parser:fail ") without (" end
    local is_here = compile(node, function() return true end)
    return function(string)
        local text = { steps = MAX_STEPS + STEPS_EACH * #string }
        for _, c in utf8.codes(string) do text[#text + 1] = c end
        for i = 1, #text + 1 do
            step(text)
            if is_here(text, i) then return true end
        end
        return false
    end
end

return M
