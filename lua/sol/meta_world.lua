---@meta sol
-- SPDX-License-Identifier: BSD-2-Clause
--
-- meta_world.lua -- as meta.lua: what reaches other machines.

-- ---- the world ----------------------------------------------------------------------

---@class sol.tls
---@field ca? string file of trusted certificates; the system's
---@field cert? string file of our own certificate
---@field key? string file of its key
---@field verify? boolean true

---@class sol.socket.options: sol.tls
---@field timeout? number seconds; 5
---@field max_receive? integer bytes one receive may give; 1 MiB
---@field pool_size? integer connections to this place, in use and kept
---@field backlog? integer how many may wait for one of them
---@field pool? string keeps connections to one place apart
---@field server_name? string whom the certificate has to be for

---@class sol.socket_object
---@field readonly open boolean
---@field readonly reused integer how often it came from a pool
local socket = {}

---Waits.
---@param data string|string[]
---@return integer? bytes
---@return string? err
function socket:send(data) end

---Waits.
---@param what? "line"|"all"|integer
---@return string? data
---@return string? err
---@return string? partial what had come until then
function socket:receive(what) end

---Waits for at least a byte.
---@param max? integer
---@return string? data
---@return string? err
---@return string? partial
function socket:receive_any(max) end

---@param send number seconds
---@param receive? number seconds
function socket:settimeouts(send, receive) end

---Give the connection to its pool; this socket is closed then.
---@param idle? number seconds; 60
---@param size? integer connections the pool keeps
---@return true?
---@return string? err
function socket:setkeepalive(idle, size) end

---@return true?
---@return string? err
function socket:close() end

sol.socket = {}

---Waits.
---@param url string tcp://HOST:PORT, tls://HOST:PORT, unix:///path
---@param options? sol.socket.options
---@return sol.socket_object?
---@return string? err
function sol.socket.connect(url, options) end

sol.dns = {}

---Waits.
---@param name string
---@param options? {type?: "A"|"AAAA"|"MX"|"NS"|"PTR"|"SRV"|"TXT", timeout?: number}
---@return (string|{host: string, port: integer?, priority: integer, weight: integer?})[]?
---@return string? err
function sol.dns.resolve(name, options) end

---Ask these name servers; while the policy is loaded only.
---@param list string[]
function sol.dns.servers(list) end

---@class sol.http.options: sol.tls
---@field headers? table<string, string|number>
---@field timeout? number seconds, for all of it; 10
---@field max_body? integer bytes; 1 MiB
---@field follow? integer redirects; 0
---@field socket? string path of a unix socket

---@class sol.http.request: sol.http.options
---@field url string
---@field method? string "GET"
---@field body? string

---@class sol.http.response
---@field status integer
---@field headers table<string, string> found by any spelling
---@field body string
---@field url string

sol.http = {}

---Waits.
---@param url string
---@param options? sol.http.options
---@return sol.http.response?
---@return string? err
function sol.http.get(url, options) end

---Waits.
---@param url string
---@param body? string
---@param options? sol.http.options
---@return sol.http.response?
---@return string? err
function sol.http.post(url, body, options) end

---Waits.
---@param options sol.http.request
---@return sol.http.response?
---@return string? err
function sol.http.request(options) end

---@class sol.redis.options: sol.tls
---@field host? string "127.0.0.1"
---@field port? integer 6379
---@field socket? string path of a unix socket instead
---@field tls? boolean false
---@field server_name? string whom the certificate has to be for
---@field username? string
---@field password? string
---@field db? integer 0
---@field protocol? 2|3
---@field timeout? number seconds; 5
---@field max_reply? integer bytes; 16 MiB
---@field pool_size? integer
---@field backlog? integer

---Any command is a method: `db:get("k")`.  Waits.
---@class sol.redis.commands
---@field [string] fun(self, ...: string|number): any, string?
local redis_commands = {}

---Waits.
---@param name string
---@param ... string|number
---@return any reply nil for null
---@return string? err
function redis_commands:command(name, ...) end

---Waits.
---@param commands (string|number)[][]
---@return any[]? replies
---@return string? err
function redis_commands:pipeline(commands) end

---@class sol.redis.pool_object: sol.redis.commands
local redis_pool = {}

---Waits.
---@return sol.redis.connection?
---@return string? err
function redis_pool:connect() end

---@class sol.redis.connection: sol.redis.commands
---@field subscribe fun(self, ...: string): true?, string? waits
---@field psubscribe fun(self, ...: string): true?, string? waits
---@field ssubscribe fun(self, ...: string): true?, string? waits
---@field unsubscribe fun(self, ...: string): true?, string? waits
---@field punsubscribe fun(self, ...: string): true?, string? waits
---@field sunsubscribe fun(self, ...: string): true?, string? waits
local redis_connection = {}

---Waits for a message of a subscription.
---@param timeout? number seconds
---@return {kind: string, channel: string, payload: string, pattern: string?}?
---@return string? err
function redis_connection:receive(timeout) end

---@param idle? number seconds
---@param size? integer
---@return true?
---@return string? err
function redis_connection:keepalive(idle, size) end

---@return true?
---@return string? err
function redis_connection:close() end

sol.redis = {}

---Null in lists and pipelines.
---@type sol.json.null
sol.redis.null = nil

---@param options? sol.redis.options
---@return sol.redis.pool_object
function sol.redis.pool(options) end

---Waits.
---@param options? sol.redis.options
---@return sol.redis.connection?
---@return string? err
function sol.redis.connect(options) end

---@class sol.pg.options: sol.tls
---@field host? string "127.0.0.1"; the folder of a unix socket when it begins with /
---@field port? integer 5432
---@field user string
---@field password? string
---@field database? string the user's name
---@field application? string "sol"
---@field tls? boolean false
---@field timeout? number seconds; 5
---@field max_result? integer bytes; 16 MiB
---@field pool_size? integer
---@field backlog? integer

---@class sol.pg.result
---@field [integer] table<string, any> rows
---@field columns string[]
---@field affected integer

---@class sol.pg.queries
local pg_queries = {}

---Waits.
---@param sql string
---@param ... any the parameters $1, $2 ...
---@return sol.pg.result?
---@return string? err
function pg_queries:query(sql, ...) end

---As query, prepared once a connection.  Waits.
---@param sql string
---@param ... any
---@return sol.pg.result?
---@return string? err
function pg_queries:execute(sql, ...) end

---@class sol.pg.pool_object: sol.pg.queries
local pg_pool = {}

---Waits.
---@return sol.pg.connection?
---@return string? err
function pg_pool:connect() end

---@class sol.pg.connection: sol.pg.queries
---@field readonly open boolean
---@field readonly reused integer
local pg_connection = {}

---Waits.
---@param channel string
---@return sol.pg.result?
---@return string? err
function pg_connection:listen(channel) end

---Waits for a notification.
---@param timeout? number seconds
---@return {channel: string, payload: string, pid: integer}?
---@return string? err
function pg_connection:receive(timeout) end

---@param idle? number seconds
---@param size? integer
---@return true?
---@return string? err
function pg_connection:keepalive(idle, size) end

---@return true?
---@return string? err
function pg_connection:close() end

sol.pg = {}

---@param options sol.pg.options
---@return sol.pg.pool_object
function sol.pg.pool(options) end

---Waits.
---@param options sol.pg.options
---@return sol.pg.connection?
---@return string? err
function sol.pg.connect(options) end

-- ---- sol.sqlite ------------------------------------------------------------------------

---@class sol.sqlite.options
---@field write? boolean may change and make the file; false
---@field timeout? number seconds; 5
---@field busy_timeout? number seconds to wait for a lock; 1
---@field max_result? integer bytes; 16 MiB
---@field connections? integer queries that run at a time; 1
---@field backlog? integer queries that wait in line; 1000

---@class sol.sqlite.result
---@field columns string[]
---@field affected integer rows changed
---@field last_id integer number of the row added last
---@field [integer] table<string, string|number>

---@class sol.sqlite.database
---@field readonly open boolean
local database = {}

---Waits.
---@param sql string
---@param ... string|number|boolean|nil parameters
---@return sol.sqlite.result?
---@return string? err
function database:query(sql, ...) end

---@return true?
---@return string? err
function database:close() end

sol.sqlite = {}

---@param path string from the folder of sol.lua
---@param options? sol.sqlite.options
---@return sol.sqlite.database
function sol.sqlite.open(path, options) end

-- ---- sol.mqtt --------------------------------------------------------------------------

---@class sol.mqtt.will
---@field topic string
---@field payload? string ""
---@field qos? 0|1|2 0
---@field retain? boolean false
---@field delay? integer seconds; 0
---@field properties? sol.properties

---@class sol.mqtt.options: sol.tls
---@field host? string "127.0.0.1"
---@field port? integer 1883, or 8883 with tls
---@field socket? string path of a unix socket
---@field tls? boolean false
---@field server_name? string whom the certificate has to be for
---@field version? 4|5 5; 4 is MQTT 3.1.1
---@field client_id? string
---@field username? string
---@field password? string
---@field keepalive? integer seconds; 60
---@field clean? boolean true
---@field session_expiry? integer seconds; 0, or a day when not clean
---@field will? sol.mqtt.will
---@field timeout? number seconds of connecting and of each acknowledgement; 10
---@field retry? number seconds before it connects again; 1
---@field max_retry? number seconds; 60
---@field max_queue? integer messages that wait; 1000
---@field max_packet? integer bytes; 1 MiB

---@class sol.mqtt.message_options
---@field qos? 0|1|2 0
---@field retain? boolean false
---@field expiry? integer seconds
---@field properties? sol.properties

---@class sol.mqtt.subscribe_options
---@field qos? 0|1|2 0
---@field no_local? boolean false
---@field retain_as_published? boolean false
---@field retain_handling? 0|1|2 0
---@field each_worker? boolean false

---@class sol.mqtt.subscription
local mqtt_subscription = {}

---@return boolean # false when it had ended
function mqtt_subscription:unsubscribe() end

---@class sol.mqtt.connection
---@field readonly connected boolean
---@field readonly queued integer messages that wait
local mqtt_connection = {}

---Waits for the acknowledgement of QoS 1 and 2.
---@param topic string
---@param payload? string
---@param options? sol.mqtt.message_options
---@return true?
---@return string? err
---@return integer? code
function mqtt_connection:publish(topic, payload, options) end

---Waits, but for while the policy is loaded.
---@param filter string
---@param fn fun(message: sol.message_copy)
---@param options? sol.mqtt.subscribe_options
---@return sol.mqtt.subscription?
---@return string? err
---@return integer? code
function mqtt_connection:subscribe(filter, fn, options) end

---Waits until there is a connection.
---@param timeout? number seconds
---@return true?
---@return string? err
function mqtt_connection:ready(timeout) end

---@return boolean # false when it was closed
function mqtt_connection:close() end

sol.mqtt = {}

---@param options? sol.mqtt.options
---@return sol.mqtt.connection
function sol.mqtt.connect(options) end

return sol
