-- SPDX-License-Identifier: BSD-2-Clause
--
-- seeds.lua -- writes the first programs of fuzz_broker.c: conversations that make sense.
--
--     lua5.4 tests/fuzz/seeds.lua DIR
--
-- A program is its settings and steps { NAME, client, arguments... }; add 128 to the client and the
-- next step does not wait for what comes of this one.  The numbers of the names are read from the
-- C source; what arguments mean is told there, too.

local STEP = 8
local SOURCE = "tests/fuzz/fuzz_broker.c"

local numbers = {}
do
    local f = assert(io.open(SOURCE))
    local n = 0
    for name in f:read("a"):match("enum op {(.-)OPS"):gmatch "OP_(%u+)" do
        numbers[name] = n
        n = n + 1
    end
    f:close()
end

-- CONNECT: version, then bits; here by name.
local V31, V311, V5, CLEAN, WILL, USER, AUTH = 0, 1, 2, 4, 8, 16, 64
-- Hook events and conducts, as enum hook_event and enum conduct have them.
local CONNECT, AUTHENTICATE, EXCHANGE, SUBSCRIBE, UNSUBSCRIBE, PUBLISH, AUTHORIZE, DELIVER = 0, 1, 2, 3, 4, 5, 6, 7
local DENIES, WAITS, DROPS, CHANGES, KICKS, CONTINUES = 2, 3, 4, 5, 6, 7
local QOS1, QOS2, RETAIN = 8, 16, 32 -- of PUBLISH's first argument

local PLAIN = {}
local SEEDS = {
    plain_3_1_1 = { PLAIN, { "CONNECT", 0, V311 + CLEAN }, { "SUBSCRIBE", 0, 0, 2, 0, 0 },
        { "PUBLISH", 0, 1 + QOS2, 2, 0 }, { "SAY", 0, 0 }, { "PUBLISH", 0, 1 + QOS1, 2, 1 }, { "ACK", 0 },
        { "ACK", 0 }, { "UNSUBSCRIBE", 0, 0 }, { "SAY", 0, 1 } },
    plain_3_1 = { PLAIN, { "CONNECT", 0, V31 + CLEAN + WILL, 0, 0, 3 }, { "SUBSCRIBE", 0, 5, 1 },
        { "PUBLISH", 0, 1 }, { "LEAVE", 0 } },
    plain_5 = { PLAIN, { "CONNECT", 0, V5 + CLEAN, 0xE0, 5 }, { "SUBSCRIBE", 0, 0x20, 0x1E, 9 },
        { "PUBLISH", 0, 1 + QOS2 + RETAIN, 2, 0, 15, 1 }, { "PUBLISH", 0, 0x80 + QOS1, 2, 1, 2, 1 }, { "ACK", 0 },
        { "ACK", 0 }, { "SAY", 0, 1 } },
    takeover = { PLAIN, { "CONNECT", 0, V5 + WILL, 0, 0x18, 1, 5 }, { "SUBSCRIBE", 0, 0, 2 },
        { "CONNECT", 1, V311 + CLEAN, 1 }, { "PUBLISH", 1, 1 + QOS2, 2 }, { "PUBLISH", 1, 1 + QOS1, 2, 1 },
        { "CONNECT", 2, V5, 0, 0x18 }, { "ACK", 2 }, { "LEAVE", 2 }, { "CONNECT", 3, V5, 0, 0x18 }, { "ACK", 3 } },
    wills = { PLAIN, { "CONNECT", 0, V5 + WILL, 0, 0x10, 1, 5 }, { "CONNECT", 1, V311 + CLEAN, 1 },
        { "SUBSCRIBE", 1, 0, 1 }, { "LEAVE", 0 }, { "PASS", 0, 4 }, { "ACK", 1 }, { "PASS", 0, 5 } },
    shares = { PLAIN, { "CONNECT", 0, V5 + CLEAN }, { "CONNECT", 1, V5 + CLEAN, 1 }, { "CONNECT", 2, V5 + CLEAN, 2 },
        { "SUBSCRIBE", 0, 6, 1 }, { "SUBSCRIBE", 1, 6, 2 }, { "PUBLISH", 2, 0 + QOS1, 1 },
        { "PUBLISH", 2, 0 + QOS2, 1, 1 }, { "LEAVE", 0 }, { "ACK", 1 }, { "ACK", 1 } },
    queue = { { 12, 5, 0 }, { "CONNECT", 0, V5, 0x10, 0x18 }, { "SUBSCRIBE", 0, 0, 2 }, { "LEAVE", 0 },
        { "CONNECT", 1, V311 + CLEAN, 1 }, { "FLOOD", 1, 1 + QOS1, 2, 0, 0, 0, 6 }, { "PUBLISH", 1, 1, 1, 0, 1 },
        { "PASS", 0, 3 }, { "CONNECT", 2, V5, 0x10, 0x18 }, { "ACK", 2 }, { "ACK", 2 } },
    stalled = { { 0, 0, 8 }, { "CONNECT", 0, V311 + CLEAN }, { "SUBSCRIBE", 0, 0, 1 }, { "STALL", 0, 1 },
        { "CONNECT", 1, V311 + CLEAN, 1 }, { "FLOOD", 1, 1, 7, 0, 0, 0, 20 }, { "PASS", 0, 2 },
        { "FLOOD", 1, 1 + QOS1, 6, 0, 0, 0, 3 }, { "STALL", 0, 0 }, { "ACK", 0 } },
    retained = { { 1 }, { "CONNECT", 0, V5 + CLEAN }, { "PUBLISH", 0, 1 + RETAIN, 2, 0, 1 },
        { "PUBLISH", 0, 2 + RETAIN + QOS1, 3 }, { "SUBSCRIBE", 0, 2, 0x1A, 7 }, { "PUBLISH", 0, 1 + RETAIN, 0 },
        { "SUBSCRIBE", 0, 2, 0x02 }, { "PASS", 0, 5 }, { "ACK", 0 }, { "SUBSCRIBE", 0, 11 }, { "PASS", 0, 5 } },
    hooks_wait = { PLAIN, { "HOOK", 0, CONNECT, WAITS }, { "HOOK", 0, AUTHENTICATE, WAITS },
        { "CONNECT", 0, V5 + USER }, { "ANSWER", 0, 0, 0, 1 }, { "ANSWER", 0, 0, 0, 1 },
        { "HOOK", 0, SUBSCRIBE, WAITS }, { "SUBSCRIBE", 0, 0x20, 2 },
        { "ANSWER", 0, 0, 0, 1 }, { "ANSWER", 0, 0, 0, 2, 6 }, { "ANSWER", 0 },
        { "HOOK", 0, PUBLISH, WAITS }, { "HOOK", 0, AUTHORIZE, WAITS }, { "PUBLISH", 128, 1 + QOS1, 2 },
        { "SAY", 0, 0 }, { "ANSWER", 0, 0, 0, CHANGES }, { "ANSWER", 0, 0, 0, 1 }, { "HOOK", 0, UNSUBSCRIBE, WAITS },
        { "UNSUBSCRIBE", 0, 0 }, { "ANSWER", 0 } },
    hooks_deliver = { PLAIN, { "HOOK", 0, DELIVER, WAITS }, { "CONNECT", 0, V5 + CLEAN }, { "SUBSCRIBE", 0, 0, 2 },
        { "PUBLISH", 0, 1 + QOS1, 2 }, { "PUBLISH", 0, 1 + QOS2, 2, 1 }, { "ANSWER", 0, 0, 0, CHANGES },
        { "ANSWER", 0, 0, 0, DROPS }, { "HOOK", 0, DELIVER, KICKS }, { "PUBLISH", 0, 1 } },
    hooks_refuse = { PLAIN, { "CONNECT", 0, V5 }, { "HOOK", 0, PUBLISH, DENIES, 9 }, { "PUBLISH", 0, 1 + QOS1, 2 },
        { "PUBLISH", 0, 1 + QOS2, 2, 1 }, { "HOOK", 0, AUTHORIZE, DENIES, 6 }, { "SUBSCRIBE", 0, 0, 2 },
        { "HOOK", 0, PUBLISH, KICKS }, { "PUBLISH", 0, 1 + QOS1, 2 } },
    auth = { PLAIN, { "HOOK", 0, EXCHANGE, CONTINUES }, { "CONNECT", 0, V5 + AUTH }, { "SAY", 0, 2, 3 },
        { "HOOK", 0, EXCHANGE, WAITS }, { "SAY", 0, 2, 3 }, { "ANSWER", 0, 0, 0, 1 }, { "SAY", 0, 2, 4 },
        { "ANSWER", 0, 0, 0, CONTINUES }, { "SAY", 0, 2, 3 }, { "ANSWER", 0, 0, 0, DENIES, 6 } },
    limits = { { 2, 0x55, 0x11, 0xF5, 1 }, { "CONNECT", 0, V5 + CLEAN, 0, 4 }, { "SUBSCRIBE", 0, 0x30, 2 },
        { "PUBLISH", 0, 1 + QOS1, 3 }, { "FLOOD", 0, 1, 3, 0, 0, 0, 4 }, { "PASS", 0, 2 } },
    keep_alive = { PLAIN, { "CONNECT", 0, V311 + CLEAN, 4 }, { "PASS", 0, 1 }, { "SAY", 0, 0 }, { "PASS", 0, 3 } },
    halves = { PLAIN, { "SPLIT", 0, 5 }, { "CONNECT", 0, V311 + CLEAN }, { "SPLIT", 0, 60 }, { "PUBLISH", 0, 1, 7 },
        { "LEAVE", 0, 1 } },
    raw = { PLAIN, { "RAW", 0, 4, 0x10, 0x0D, 0x00, 0x04, 0x4D }, { "RAW", 0, 4, 0x51, 0x54, 0x54, 0x04, 0x02 },
        { "RAW", 0, 4, 0x00, 0x3C, 0x00, 0x01, 0x63 }, { "RAW", 0, 1, 0xC0, 0x00 }, { "RAW", 0, 1, 0xE0, 0x00 } },
    reload = { PLAIN, { "HOOK", 0, PUBLISH, WAITS }, { "CONNECT", 0, V5 }, { "SUBSCRIBE", 0, 0, 1 },
        { "PUBLISH", 0, 1 + QOS1, 2 }, { "POLICY", 0, 2 }, { "ANSWER", 0, 0, 0, 1 }, { "POLICY", 0, 1, 1, 2 },
        { "POLICY", 0, 0, 0, 9, 1 } },
    stop = { { 1 }, { "CONNECT", 0, V5 + WILL }, { "CONNECT", 1, V311, 1 }, { "HOOK", 0, PUBLISH, WAITS },
        { "PUBLISH", 1, 1 + QOS1, 2 }, { "POLICY", 0, 3, 0, 0 }, { "PASS", 0, 2 } },
}

local function bytes(step)
    local full = table.move(step, 1, #step, 1, {})
    if type(full[1]) == "string" then full[1] = assert(numbers[full[1]], full[1]) end
    for i = #full + 1, STEP do full[i] = 0 end
    return string.char(table.unpack(full))
end

local dir = assert(arg[1], "usage: seeds.lua DIR")
for name, program in pairs(SEEDS) do
    local f = assert(io.open(dir .. "/" .. name, "wb"))
    for _, step in ipairs(program) do f:write(bytes(step)) end
    f:close()
end
