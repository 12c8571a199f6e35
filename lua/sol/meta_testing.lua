---@meta sol.testing
-- SPDX-License-Identifier: BSD-2-Clause
--
-- meta_testing.lua -- as meta.lua: require "sol.testing", in specs that `sol test` runs.

---@class sol.testing
local testing = {}

---@class sol.testing.options
---@field config? string path of the policy
---@field text? string the policy itself
---@field files? table<string, string> files beside the policy: name to text
---@field plugins? string folders, ':' between
---@field stubs? table<sol.testing.kind, function> as by stub, from the start
---@field tolerate? boolean errors of handlers do not fail the test

---@alias sol.testing.kind "http"|"redis"|"pg"|"socket"|"dns"

---A broker that has just started. Errors when the policy does not load.
---@param options? sol.testing.options
---@return sol.testing.broker
function testing.broker(options) end

---@class sol.testing.broker
local broker = {}

---@class sol.testing.will
---@field topic string
---@field payload? string
---@field qos? integer
---@field retain? boolean
---@field properties? table

---@class sol.testing.connect
---@field client_id? string "client-1" ...
---@field username? string
---@field password? string
---@field version? 3|4|5 5
---@field clean_start? boolean true
---@field session_expiry? integer seconds; 0
---@field keep_alive? integer seconds; 0: off
---@field will? sol.testing.will
---@field properties? table by the names of the standard
---@field acknowledge? boolean answers QoS 1 and 2 by itself; true
---@field listener? string URL; the first of the policy
---@field address? string "127.0.0.1:1"

---@param options? sol.testing.connect
---@return sol.testing.client
function broker:connect(options) end

---Time passes, from timer to timer.
---@param seconds number
function broker:advance(seconds) end

---From now on `fn` answers for the world; nil: nobody does.
---@param kind sol.testing.kind
---@param fn function?
---@param options? {delay?: number} seconds that the answer takes
function broker:stub(kind, fn, options) end

---Writes a file beside the policy, for a broker with `files`.
---@param name string
---@param text string
function broker:write(name, text) end

---Another generation of the policy, as on SIGHUP.
---@param text? string another policy
---@return boolean? ok
---@return string? err
function broker:reload(text) end

---@return {level: "debug"|"info"|"warn"|"error", area: string, text: string}[]
function broker:log() end

---The latest line in which this Lua pattern is found.
---@param pattern string
---@return string?
function broker:logged(pattern) end

---What handlers, timers and tasks have failed with since the last call.
---@return string[]
function broker:errors() end

---@class sol.testing.hook
---@field event string
---@field name string file:line
---@field calls integer
---@field allow integer
---@field deny integer
---@field drop integer
---@field continue integer
---@field errors integer
---@field timeouts integer

---What each handler has done.
---@return sol.testing.hook[]
function broker:hooks() end

---As SIGTERM.
function broker:stop() end

---Done by itself at the end of the test.
function broker:close() end

---@class sol.testing.client
---@field id string
---@field connected boolean
---@field reason_code integer? of the latest CONNACK or DISCONNECT; nil: no answer yet
---@field reason string? its text
---@field properties table its properties
---@field session_present boolean
---@field challenge string? the broker's data in an enhanced authentication
---@field answer {answered: boolean, reason_code: integer?, reason: string?} to the latest request
local client = {}

---@class sol.testing.publish
---@field qos? 0|1|2 1
---@field retain? boolean
---@field dup? boolean
---@field properties? table

---@param topic string
---@param payload? string
---@param options? sol.testing.publish
---@return integer? reason_code 0 also when nobody subscribes; nil with QoS 0
---@return string? reason
function client:publish(topic, payload, options) end

---@class sol.testing.subscribe
---@field qos? 0|1|2 0
---@field no_local? boolean
---@field retain_as_published? boolean
---@field retain_handling? 0|1|2
---@field properties? table

---@param filter string
---@param options? sol.testing.subscribe
---@return integer? reason_code the QoS granted, or 0x80 and more
---@return string? reason
function client:subscribe(filter, options) end

---@param filter string
---@return integer? reason_code
---@return string? reason
function client:unsubscribe(filter) end

---@class sol.testing.message
---@field topic string
---@field payload string
---@field qos integer
---@field retain boolean
---@field dup boolean
---@field properties table

---The next message; fails the test unless it is this one.
---@param topic? string nil: any
---@param payload? string nil: any
---@return sol.testing.message
function client:expect(topic, payload) end

---Fails the test if there is a message.
function client:expect_none() end

---All that have come.
---@return sol.testing.message[]
function client:messages() end

---The next turn of an enhanced authentication.
---@param method string
---@param data string
---@param reason_code? integer 0x18
---@return boolean connected
function client:auth(method, data, reason_code) end

---@return boolean answered
function client:ping() end

---Bytes as they are, for what no client would say.
---@param bytes string
function client:send(bytes) end

---@param reason_code? integer 0
---@param properties? table
function client:disconnect(reason_code, properties) end

---Goes without a word: its will is published.
function client:drop() end

return testing
