-- SPDX-License-Identifier: BSD-2-Clause
--
-- testing.lua -- require "sol.testing": brokers and clients for the tests of a policy.
--
-- Runs in the Lua of `sol test`, never in a policy.  A broker is the real one, without threads
-- and network, on a clock that stands still: what a client sends has had all its consequences
-- when the call returns, and time passes in `advance` alone.

local core = ...

local error, floor, ipairs, pairs, pcall, require, setmetatable, tostring, type =
    error, math.floor, ipairs, pairs, pcall, require, setmetatable, tostring, type
local concat, pack, remove, sort, unpack = table.concat, table.pack, table.remove, table.sort, table.unpack

local M = {}

--- What the runner wants to know: every broker that opens, what the handlers of a generation
--- have done in the end, and that an expectation was not met.
local watcher = { opened = function() end, done = function() end, fail = error }

-- ---- arguments ------------------------------------------------------------------------

--- A value as it should appear in an error.
local function show(value)
    if type(value) == "string" then return ("%q"):format(value) end
    return tostring(value)
end

local function show_code(code) return code and ("0x%02X"):format(code) or "no reason code" end

--- `options` without unknown names; `level` as of error.
local function check_options(what, options, known, level)
    if options == nil then return {} end
    if type(options) ~= "table" then error(("%s: expected a table, got %s"):format(what, show(options)), level + 1) end
    for name in pairs(options) do
        if not known[name] then
            local names = {}
            for each in pairs(known) do names[#names + 1] = each end
            sort(names)
            error(("%s: unknown option %s; it knows %s"):format(what, show(name), concat(names, ", ")), level + 1)
        end
    end
    return options
end

local function set(names)
    local all = {}
    for name in names:gmatch "%S+" do all[name] = true end
    return all
end

-- ---- a client: what it hears --------------------------------------------------------------

local Client = {}
Client.__index = Client

local function acknowledge(self, packet)
    if packet.qos == 0 or not self.acknowledges then return end
    self.peer:post { type = packet.qos == 1 and "puback" or "pubrec", packet_id = packet.packet_id }
end

--- What waits for this packet's answer has it.
local function answer(self, packet, code)
    local ticket = self.tickets[packet.packet_id]
    if not ticket then return end
    ticket.reason_code = code
    ticket.reason = packet.properties and packet.properties.reason_string
    ticket.answered = true
    self.tickets[packet.packet_id] = nil
end

local function ended(self, packet)
    self.reason_code = packet.reason_code
    self.reason = packet.properties.reason_string
    self.properties = packet.properties
end

local hears = {}

function hears.connack(self, packet)
    ended(self, packet)
    self.connected = packet.reason_code == 0
    self.session_present = packet.session_present
    self.id = packet.properties.assigned_client_identifier or self.id
end

function hears.publish(self, packet)
    local inbox = self.inbox
    inbox[#inbox + 1] = packet
    acknowledge(self, packet)
end

function hears.pubrel(self, packet) self.peer:post { type = "pubcomp", packet_id = packet.packet_id } end

function hears.puback(self, packet) answer(self, packet, packet.reason_code) end

function hears.pubrec(self, packet)
    if packet.reason_code >= 0x80 then return answer(self, packet, packet.reason_code) end
    local ticket = self.tickets[packet.packet_id]
    if ticket then ticket.received = packet.reason_code end
    self.peer:post { type = "pubrel", packet_id = packet.packet_id }
end

function hears.pubcomp(self, packet)
    local ticket = self.tickets[packet.packet_id]
    answer(self, packet, ticket and ticket.received or packet.reason_code)
end

function hears.suback(self, packet) answer(self, packet, packet.codes[1]) end

function hears.unsuback(self, packet) answer(self, packet, packet.codes[1] or 0) end

function hears.auth(self, packet) self.challenge = packet.properties.authentication_data or "" end

function hears.disconnect(self, packet) ended(self, packet) end

function hears.pingresp(self) self.pongs = self.pongs + 1 end

--- Takes what has come; true when anything had.
local function hear(self)
    local any = false
    for packet in self.peer.take, self.peer do
        hears[packet.type](self, packet)
        any = true
    end
    if self.peer:is_over() then self.connected = false end
    return any
end

-- ---- a broker -----------------------------------------------------------------------------

local Broker = {}
Broker.__index = Broker
Broker.__name = "broker"

local KINDS = set "http redis pg socket dns"
local BROKER_OPTIONS = set "config text files plugins stubs tolerate"

local UNSTUBBED = 'the policy asks for sol.%s, and a test has no network: say what it answers with '
    .. 'broker:stub("%s", function(...) ... end)'

--- An error for the policy, and for the test whatever the policy makes of it.
local function fault(self, text, ...)
    self.fault = text:format(...)
    error(self.fault, 0)
end

--- What the policy's world says: the seconds it takes, and the answer.
local function asked(self, kind, ...)
    local stub = self.stubs[kind]
    if not stub then fault(self, UNSTUBBED, kind, kind) end
    local results = pack(pcall(stub.fn, ...))
    if not results[1] then fault(self, "the stub of sol.%s failed: %s", kind, tostring(results[2])) end
    if kind == "http" and results[2] ~= nil and type(results[2]) ~= "table" then
        fault(self, "the stub of sol.http gave %s; expected { status =, headers =, body = }, or nil and why",
            show(results[2]))
    end
    return stub.delay, unpack(results, 2, results.n)
end

--- Moves new log lines over; the errors among them.
local function take_log(self)
    local errors = {}
    for _, line in ipairs(self.core:log()) do
        self.lines[#self.lines + 1] = line
        -- Of a traceback, what lies within sol is not the test's business.
        line.text = line.text:gsub("\n\t%?: in [^\n]*", ""):gsub("\n\tsol/[^\n]*", "")
        if line.level == "error" then errors[#errors + 1] = line.text end
    end
    return errors
end

--- Everything has its consequences; an error in the policy becomes the test's.
local function settle(self, level)
    local again = true
    while again do
        self.core:settle()
        again = false
        for _, client in ipairs(self.clients) do again = hear(client) or again end
    end
    local errors, failures, wrong = take_log(self), self.core:failures(), self.fault
    if failures ~= self.failures then
        for _, text in ipairs(errors) do self.failed[#self.failed + 1] = text end
        if not self.tolerate then wrong = concat(errors, "\n") end
    end
    self.failures, self.fault = failures, nil
    if wrong then error("in the policy: " .. wrong, level + 1) end
end

local function set_stub(self, kind, fn, options, level)
    if not KINDS[kind] then
        error("stub: expected http, redis, pg, socket or dns, got " .. show(kind), level + 1)
    end
    if fn ~= nil and type(fn) ~= "function" then error("stub: expected a function, got " .. show(fn), level + 1) end
    options = check_options("stub", options, { delay = true }, level + 1)
    self.stubs[kind] = fn and { fn = fn, delay = (options.delay or 0) + 0.0 } or nil
end

-- ---- the files of a policy ----------------------------------------------------------------

--- Writes a file into the broker's folder.
local function write(self, name, text, level)
    if not self.folder then error("this broker has no files of its own: give it `files`", level + 1) end
    if type(name) ~= "string" or name:find "/" then error("files: no plain name: " .. show(name), level + 1) end
    local path = self.folder .. "/" .. name
    local file <close> = assert(io.open(path, "wb"))
    file:write(text)
end

local function remove_files(self)
    if self.folder then require "pl.dir".rmtree(self.folder) end -- which busted needs, too
    self.folder = nil
end

--- What the core is to load: a file, or a text that stands nowhere.
local function policy_of(self, options)
    local path, text = options.config, options.text
    if self.folder and text then
        write(self, "sol.lua", text, 3)
        path, text = self.folder .. "/sol.lua", nil
    end
    self.own = self.folder and self.folder .. "/" or text and "policy:"
    return { path = path or text and "policy" or nil, text = text, plugins = options.plugins }
end

--- A broker with a policy of its own.
function M.broker(options)
    options = check_options("testing.broker", options, BROKER_OPTIONS, 2)
    local self = {
        stubs = {}, clients = {}, lines = {}, failed = {}, failures = 0, names = 0, tolerate = options.tolerate,
        options = options, folder = options.files and core.folder(),
    }
    for name, text in pairs(options.files or {}) do write(self, name, text, 2) end
    for kind, fn in pairs(options.stubs or {}) do set_stub(self, kind, fn, nil, 2) end
    local err
    self.core, err = core.new(function(kind, ...) return asked(self, kind, ...) end, policy_of(self, options))
    if not self.core then
        remove_files(self)
        error(err, 2)
    end
    setmetatable(self, Broker) -- after its core, which is then collected after it
    watcher.opened(self)
    settle(self, 2)
    return self
end

--- Time passes: seconds.
function Broker:advance(seconds)
    if type(seconds) ~= "number" or seconds < 0 then error("advance: expected seconds, got " .. show(seconds), 2) end
    self.core:pass(floor(seconds * 1000 + 0.5))
    settle(self, 2)
end

--- From now on `fn` answers for the world; nil: nobody does.
function Broker:stub(kind, fn, options) set_stub(self, kind, fn, options, 2) end

local line_meta = { __tostring = function(line) return ("%s %s: %s"):format(line.level, line.area, line.text) end }

--- The log so far: a list of { level, area, text }.
function Broker:log()
    take_log(self)
    local lines = {}
    for i, line in ipairs(self.lines) do lines[i] = setmetatable(line, line_meta) end
    return lines
end

--- The latest line in which this Lua pattern is found, or nil.
function Broker:logged(pattern)
    take_log(self)
    for i = #self.lines, 1, -1 do
        local text = self.lines[i].text
        if text:find(pattern) then return text end
    end
    return nil
end

--- The errors of handlers and timers since the last call, for a broker that tolerates them.
function Broker:errors()
    local failed = self.failed
    self.failed = {}
    return failed
end

--- What each handler has done so far.
function Broker:hooks() return self.core:hooks() end

--- Writes a file beside the policy, for a broker with `files`.
function Broker:write(name, text) write(self, name, text, 2) end

--- Loads the policy again, or another text: true; or nil and what is wrong with it.
function Broker:reload(text)
    if text ~= nil then self.options.text = text end
    local hooks = self.core:hooks()
    local ok, err = self.core:reload(policy_of(self, self.options))
    if not ok then return nil, err end
    watcher.done(self, hooks)
    self.failures = 0
    settle(self, 2)
    return true
end

--- The broker stops, as on SIGTERM: `stop` handlers run, clients are told.
function Broker:stop()
    self.core:stop()
    for _, client in ipairs(self.clients) do hear(client) end
    take_log(self)
end

--- Ends it; harmless when it has ended.
function Broker:close()
    if self.is_closed then return end
    self.is_closed = true
    watcher.done(self, self.core:hooks())
    self.core:free()
    take_log(self)
    remove_files(self)
end

Broker.__close = Broker.close
Broker.__gc = Broker.close

-- ---- a client: what it says -----------------------------------------------------------------

local VERSIONS = { [3] = 3, [4] = 4, [5] = 5, ["3.1"] = 3, ["3.1.1"] = 4, ["5.0"] = 5 }
local CONNECT_OPTIONS = set [[client_id username password version clean_start keep_alive will properties session_expiry
    acknowledge listener address]]

--- The CONNECT packet that these options describe.
local function connect_packet(options, version)
    local properties = {}
    for name, value in pairs(options.properties or {}) do properties[name] = value end
    if options.session_expiry then properties.session_expiry_interval = options.session_expiry end
    return {
        type = "connect", version = version, clean_start = options.clean_start ~= false,
        keep_alive = options.keep_alive or 0, client_id = options.client_id, username = options.username,
        password = options.password, will = options.will, properties = properties,
    }
end

--- Sends a packet, and lets it have its consequences.  What no packet can hold is the caller's
--- error.
local function say(self, packet, level)
    local ok, err = pcall(self.peer.post, self.peer, packet)
    if not ok then error(("%s: %s"):format(packet.type, err), level + 1) end
    settle(self.broker, level + 1)
end

--- A client connects; what came of it is in its `connected` and `reason_code`.
function Broker:connect(options)
    options = check_options("connect", options, CONNECT_OPTIONS, 2)
    local version = VERSIONS[options.version or 5]
    if not version then error("connect: version must be 3, 4 or 5, not " .. show(options.version), 2) end
    local id = options.client_id
    if not id then
        self.names = self.names + 1
        id = "client-" .. self.names
    end
    local peer, err = self.core:open(options.listener, options.address)
    if not peer then error("connect: " .. err, 2) end
    local client = setmetatable({
        broker = self, peer = peer, id = id, version = version, connected = false, inbox = {}, tickets = {},
        last_id = 0, pongs = 0, acknowledges = options.acknowledge ~= false,
    }, Client)
    self.clients[#self.clients + 1] = client
    local packet = connect_packet(options, version)
    packet.client_id = id
    say(client, packet, 2)
    return client
end

--- Raises for who is not connected.
local function check_connected(self, what, level)
    if self.connected then return end
    error(("%s: client %q is not connected (%s%s)"):format(what, self.id, show_code(self.reason_code),
        self.reason and ", " .. self.reason or ""), level + 1)
end

--- Sends a packet that is answered by its id: the reason code, nil until it comes, and the
--- broker's words.
local function post(self, packet, level)
    repeat self.last_id = self.last_id % 65535 + 1 until not self.tickets[self.last_id]
    packet.packet_id = self.last_id
    self.answer = { answered = false }
    self.tickets[packet.packet_id] = self.answer
    say(self, packet, level + 1)
    return self.answer.reason_code, self.answer.reason
end

local PUBLISH_OPTIONS = set "qos retain dup properties"

--- Publishes, with QoS 1 unless told: a reason code, 0 also when nobody subscribes, and the
--- reason; nil with QoS 0, and until the answer comes.
function Client:publish(topic, payload, options)
    options = check_options("publish", options, PUBLISH_OPTIONS, 2)
    check_connected(self, "publish", 2)
    local qos = options.qos or 1
    local packet = {
        type = "publish", topic = topic, payload = payload or "", qos = qos, retain = options.retain,
        dup = options.dup, properties = options.properties,
    }
    if qos == 0 then
        say(self, packet, 2)
        return nil
    end
    local code, reason = post(self, packet, 2)
    if code == 0x10 then return 0 end
    return code, reason
end

local SUBSCRIBE_OPTIONS = set "qos no_local retain_as_published retain_handling properties"

--- Subscribes, with QoS 0 unless told: the reason code, which is the QoS granted or at least
--- 0x80, and the reason.
function Client:subscribe(filter, options)
    options = check_options("subscribe", options, SUBSCRIBE_OPTIONS, 2)
    check_connected(self, "subscribe", 2)
    local item = { filter }
    for name, value in pairs(options) do item[name] = value end
    local packet = { type = "subscribe", filters = { item }, properties = options.properties }
    local code, reason = post(self, packet, 2)
    return code, reason
end

--- The reason code, and the reason.
function Client:unsubscribe(filter)
    check_connected(self, "unsubscribe", 2)
    local code, reason = post(self, { type = "unsubscribe", filters = { { filter } } }, 2)
    return code, reason
end

--- The next turn of an enhanced authentication: `data` for the broker, whose own is in `challenge`.
function Client:auth(method, data, reason_code)
    say(self, {
        type = "auth", reason_code = reason_code or 0x18,
        properties = { authentication_method = method, authentication_data = data },
    }, 2)
    return self.connected
end

--- True when the broker answered.
function Client:ping()
    check_connected(self, "ping", 2)
    local before = self.pongs
    say(self, { type = "pingreq" }, 2)
    return self.pongs > before
end

--- Sends bytes as they are, for what no client would say.
function Client:send(bytes)
    check_connected(self, "send", 2)
    self.peer:bytes(bytes)
    settle(self.broker, 2)
end

--- Says goodbye and goes.
function Client:disconnect(reason_code, properties)
    check_connected(self, "disconnect", 2)
    say(self, { type = "disconnect", reason_code = reason_code or 0, properties = properties }, 2)
    self.connected = false
end

--- Goes without a word: its will is published.
function Client:drop()
    self.peer:drop()
    self.connected = false
    settle(self.broker, 2)
end

-- ---- a client: what it has heard ----------------------------------------------------------------

local function show_message(message) return ("%s on %q"):format(show(message.payload), message.topic) end

--- The next message must be this one; nil is anything.  Gives it.
function Client:expect(topic, payload)
    local message = remove(self.inbox, 1)
    local wanted = "expected " .. (payload and show(payload) or "a message") .. (topic and " on " .. show(topic) or "")
    if not message then watcher.fail(("%s, but client %q has received nothing"):format(wanted, self.id), 2) end
    if topic and message.topic ~= topic or payload and message.payload ~= payload then
        watcher.fail(("%s, but client %q received %s"):format(wanted, self.id, show_message(message)), 2)
    end
    return message
end

--- There must be no message.
function Client:expect_none()
    local message = self.inbox[1]
    if not message then return end
    watcher.fail(("expected nothing, but client %q received %s"):format(self.id, show_message(message)), 2)
end

--- All messages that have come and not been taken.
function Client:messages()
    local messages = self.inbox
    self.inbox = {}
    return messages
end

-- For the runner (test_runner.lua) alone.
local function watch(by) watcher = by end

return M, watch
