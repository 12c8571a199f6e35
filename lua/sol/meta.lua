---@meta sol
-- SPDX-License-Identifier: BSD-2-Clause
--
-- meta.lua -- the API for editors that speak LuaLS.  Never run; docs/lua-api.md explains.

-- ---- settings of sol.lua ------------------------------------------------------------

---Threads that serve clients; "auto": one a core.
---@type integer|"auto"
workers = 1

---Who comes in when no `authenticate` handler decided.
---@type boolean
allow_anonymous = nil

---What counts when no `authorize` handler decided.
---@type "allow"|"deny"
default_access = "allow"

---Connected clients; 0: no limit.
---@type integer
max_connections = 0

---Largest incoming packet, bytes.
---@type integer
max_packet_size = 1048576

---QoS 1 and 2 messages on their way to one client.
---@type integer
max_inflight = 1024

---QoS 1 and 2 messages that wait for one client.
---@type integer
max_queued = 10000

---Topics and payloads of those, bytes.
---@type integer
max_queued_bytes = 67108864

---What a slow reader may leave unread before QoS 0 to it is dropped, bytes.
---@type integer
max_output_bytes = 8388608

---CONNECT packets that are not decided, of all connections, bytes.
---@type integer
max_connect_bytes = 67108864

---Levels of a topic or filter.
---@type integer
max_topic_levels = 200

---Topic aliases of a connection, each way; 0: none.
---@type integer
max_topic_alias = 32

---Between publications of $SYS topics, seconds; 0: none.
---@type number
sys_interval = 10

---How long any session may outlive its connection, seconds.
---@type number|"never"
max_session_expiry = "never"

---How long a kept session of MQTT 3.x outlives its connection, seconds.
---@type number|"never"
session_expiry_3x = "never"

---From connecting to CONNECT, and for each AUTH of an exchange, seconds.
---@type number
connect_timeout = 10

---Bytes of a topic or filter.
---@type integer
max_topic_length = 65535

---Bytes of an incoming message's payload; 0: what max_packet_size lets through.
---@type integer
max_payload_size = 0

---What clients may publish with, and are granted.
---@type 0|1|2
max_qos = 2

---Longest keep-alive, seconds; 0: any.
---@type integer
max_keepalive = 0

---Subscriptions of one session; 0: no limit.
---@type integer
max_subscriptions = 0

---Topics and payloads on their way to one client; 0: no limit.
---@type integer
max_inflight_bytes = 0

---Publishes a second and client; 0: no limit.
---@type integer
message_rate = 0

---Bytes of publishes a second and client; 0: no limit.
---@type integer
byte_rate = 0

---Which message a full queue loses.
---@type "newest"|"oldest"
drop = "newest"

---Whether QoS 0 waits for clients that are away.
---@type boolean
queue_qos0 = false

---Deliveries of a message that several subscriptions of a client match.
---@type "once"|"each"
overlapping = "once"

---Protocol levels that are served: 3 is MQTT 3.1, 4 is 3.1.1.
---@type (3|4|5)[]
protocol_versions = { 3, 4, 5 }

---Whether clients may retain messages.
---@type boolean
retain_available = true

---Whether filters may have wildcards.
---@type boolean
wildcard_subscription = true

---Whether there are shared subscriptions.
---@type boolean
shared_subscription = true

---Whether subscriptions may have identifiers.
---@type boolean
subscription_identifiers = true

---Whether a payload that is said to be UTF-8 must be.
---@type boolean
validate_payload_format = false

---Whether a client may leave its name to the broker.
---@type boolean
allow_empty_client_id = true

---Whether MQTT 3.1 clients are held to 23 characters of client identifier.
---@type boolean
strict_3_1_ids = false

---How long a handler may run without waiting, seconds.
---@type number
hook_budget = 0.1

---How long handlers may take with waiting, seconds.
---@type number
hook_timeout = 5

---How long hooks of the old policy may go on waiting after a reload, seconds.
---@type number
reload_timeout = 5

---Handlers of one event that wait at the same time.
---@type integer
max_parked = 10000

---Memory of the policy's Lua state, bytes.
---@type integer
vm_memory = 268435456

---Dictionaries for `sol.shared`: name and size, in bytes or like "10 MB".
---@type table<string, string|integer>
shared = {}

---The file that `sol.kv` is kept in, or false.
---@type string|false
store = false

---Whether who makes a change that is kept waits until it is on the disk.
---@type "sync"|"async"
durability = "sync"

---Memory for `sol.kv`, bytes.
---@type integer
kv_size = 16777216

---The operators' door: a path, "auto", or false for none.
---@type string|false
admin_socket = "auto"

---@type "debug"|"info"|"warn"|"error"|"off"
log_level = "info"

---@type "text"|"json"
log_format = "text"

---What can be set for one client, for those of a listener, and for all.
---@class sol.limits
---@field max_packet_size? integer
---@field max_inflight? integer
---@field max_inflight_bytes? integer
---@field max_queued? integer
---@field max_queued_bytes? integer
---@field max_topic_levels? integer
---@field max_topic_length? integer
---@field max_topic_alias? integer
---@field max_payload_size? integer
---@field max_qos? 0|1|2
---@field max_keepalive? integer
---@field max_subscriptions? integer
---@field max_session_expiry? number|"never"
---@field message_rate? integer
---@field byte_rate? integer
---@field retain_available? boolean
---@field wildcard_subscription? boolean
---@field shared_subscription? boolean
---@field subscription_identifiers? boolean
---@field validate_payload_format? boolean

---@class sol.listen_options: sol.limits
---@field [1]? string     URL
---@field url? string     URL
---@field backlog? integer
---@field mode? integer   permissions of a unix socket's file
---@field mount_point? string what its clients' topics lie below; ends in "/"
---@field allow_anonymous? boolean
---@field max_connections? integer of this listener
---@field session_expiry_3x? number|"never"
---@field connect_timeout? number seconds
---@field protocol_versions? (3|4|5)[]
---@field allow_empty_client_id? boolean
---@field strict_3_1_ids? boolean

---Open a door: `listen "mqtt://0.0.0.0:1883"`, `listen "unix:///run/sol/mqtt.sock"`.
---@param where string|sol.listen_options
function listen(where) end

---Load a plugin by name or path.
---@param name string
---@param options? table
function plugin(name, options) end

-- ---- objects ------------------------------------------------------------------------

---@class sol.client
---@field readonly id string
---@field readonly username? string
---@field readonly address string
---@field readonly listener string
---@field readonly version? 3|4|5
---@field readonly clean_start boolean
---@field readonly keep_alive integer seconds
---@field readonly connected_at number seconds since 1970
---@field readonly connected boolean
---@field readonly mount_point? string what its topics lie below
---@field readonly attributes table<string, string|number|boolean|nil> as long as the connection
---@field readonly session table<string, string|number|boolean|nil> as long as the MQTT session
local client = {}

---End its connection.
---@param code? integer default 0x98
---@param reason? string
---@param options? {server_reference?: string} with 0x9C and 0x9D
---@return true? ok
---@return "closed"? err
function client:disconnect(code, reason, options) end

---@class sol.client_subscribe_options
---@field qos? 0|1|2 0
---@field no_local? boolean false
---@field retain_as_published? boolean false
---@field retain_handling? 0|1|2 0

---Subscribe the client's session without asking handlers.
---@param filter string its full name
---@param options? sol.client_subscribe_options
---@return true? ok
---@return string? err
function client:subscribe(filter, options) end

---@param filter string its full name
---@return boolean? # false when there was none
---@return string? err
function client:unsubscribe(filter) end

---@class sol.grant_entry
---@field [1] "publish"|"subscribe"|"read"|"all"|"deny"
---@field [2] string a topic filter; %c, %u, %{NAME}, %%
---@field qos? 0|1|2 at most
---@field size? integer bytes of a published payload, at most
---@field retain? boolean of a publish
---@field action? "publish"|"read"|"all" of a deny

---@class sol.grant
---@field [integer] sol.grant_entry the first that matches decides
---@field name? string it takes the place of the one of its name
---@field ttl? number seconds
---@field until_reload? boolean

---Let it do something, without asking Lua.
---@param grant sol.grant
---@return string? name
---@return string? err "closed"
function client:grant(grant) end

---End the grant of this name, or all.
---@param name? string
---@return integer|true|nil ended true: it lives on another worker
---@return "closed"? err
function client:revoke(name) end

---What it has been granted, the newest first.
---@return sol.grant[]? grants
---@return "closed"? err
function client:grants() end

---@class sol.user_properties
---@field [integer] {[1]: string, [2]: string}
---@field [string] string?

---@class sol.properties
---@field payload_format_indicator? 0|1
---@field message_expiry_interval? integer seconds
---@field content_type? string
---@field response_topic? string
---@field correlation_data? string
---@field user_properties? sol.user_properties

---@class sol.message_copy
---@field topic string
---@field payload string
---@field qos 0|1|2
---@field retain boolean
---@field expiry? integer seconds left
---@field properties sol.properties

---@class sol.message: sol.message_copy
local message = {}

---A plain table of everything, to be kept.
---@return sol.message_copy
function message:copy() end

---@class sol.will
---@field topic string
---@field payload string
---@field qos 0|1|2
---@field retain boolean
---@field delay integer seconds

---@class sol.connect
---@field client_id string
---@field username? string
---@field readonly password? string
---@field readonly version 3|4|5
---@field clean_start boolean
---@field keep_alive integer seconds
---@field session_expiry number seconds; math.huge: for ever
---@field will? sol.will
---@field mount_point? string what its topics lie below; ends in "/"
---@field response_information? string for a client that asks for it
---@field limits sol.limits of this client

---@class sol.credentials
---@field readonly client_id string
---@field username? string
---@field readonly password? string
---@field readonly version 3|4|5

---@class sol.exchange
---@field readonly method string
---@field readonly data? string what the client sent in this round
---@field username? string the client's when the exchange succeeds
---@field readonly reauth boolean it is connected and authenticates again
---@field readonly state table for values of your own, as long as the exchange

---@class sol.subscription
---@field filter string
---@field qos 0|1|2
---@field no_local boolean
---@field retain_as_published boolean
---@field retain_handling 0|1|2
---@field readonly identifier? integer

---@class sol.filter
---@field filter string

---@class sol.request
---@field readonly action "publish"|"subscribe"|"will"|"deliver"
---@field readonly topic string topic name, or filter of a subscription
---@field readonly qos 0|1|2
---@field readonly retain boolean
---@field readonly message? sol.message

---@class sol.registration
---@field readonly event string
---@field readonly name string
local registration = {}

---@return string
function registration:uuid() end

---@class sol.timer
---@field readonly active boolean
local timer = {}

---@return boolean was_active
function timer:cancel() end

---@class sol.verdict

-- ---- events -------------------------------------------------------------------------

---@class sol
---@field version string
local sol = {}

---@class sol.on_options
---@field priority? integer higher runs first
---@field name? string in logs
---@field timeout? number seconds it may wait
---@field waits? boolean true; false: fails where it would wait
---@field on_error? "deny"|"allow"|"drop"|"ignore"
---@field each_worker? boolean start, stop, reload: not on the first worker alone

---@class sol.on_authorize_options: sol.on_options
---@field actions? ("publish"|"subscribe"|"will"|"deliver")[]

---@alias sol.decision sol.verdict|boolean|nil
---@alias sol.filters string|string[]

---@alias sol.connect_fn fun(client: sol.client, connect: sol.connect): sol.decision
---@alias sol.authenticate_fn fun(client: sol.client, credentials: sol.credentials): sol.decision
---@alias sol.auth_fn fun(client: sol.client, exchange: sol.exchange): sol.decision
---@alias sol.subscribe_fn fun(client: sol.client, subscription: sol.subscription): sol.decision
---@alias sol.unsubscribe_fn fun(client: sol.client, subscription: sol.filter): sol.decision
---@alias sol.message_fn fun(client: sol.client, message: sol.message): sol.decision
---@alias sol.authorize_fn fun(client: sol.client, request: sol.request): sol.decision
---@alias sol.told_fn fun(client: sol.client?, message: sol.message, reason: string?)

---@class sol.info
---@field session_present? boolean of `connected`
---@field reason? string           of `disconnected`, `unsubscribed`
---@field reason_code? integer     of `disconnected`
---@field normal? boolean          of `disconnected`: the client said goodbye
---@field filter? string           of `subscribed` and `unsubscribed`
---@field action? "connect"|"publish"|"subscribe"|"unsubscribe" of `refused`; reason and reason_code too
---@field topic? string            of `refused`: or the filter
---@field qos? integer             of `subscribed`
---@alias sol.info_fn fun(client: sol.client, info: sol.info)

-- luacheck: push no max comment line length

---Call `fn` for an event; only while the policy is loaded.
---@overload fun(event: "connect", fn: sol.connect_fn, options?: sol.on_options): sol.registration
---@overload fun(event: "authenticate", fn: sol.authenticate_fn, options?: sol.on_options): sol.registration
---@overload fun(event: "auth", fn: sol.auth_fn, options?: sol.on_options): sol.registration
---@overload fun(event: "subscribe", fn: sol.subscribe_fn, options?: sol.on_options): sol.registration
---@overload fun(event: "subscribe", filter: sol.filters, fn: sol.subscribe_fn, options?: sol.on_options): sol.registration
---@overload fun(event: "unsubscribe", fn: sol.unsubscribe_fn, options?: sol.on_options): sol.registration
---@overload fun(event: "unsubscribe", filter: sol.filters, fn: sol.unsubscribe_fn, options?: sol.on_options): sol.registration
---@overload fun(event: "publish"|"deliver", fn: sol.message_fn, options?: sol.on_options): sol.registration
---@overload fun(event: "publish"|"deliver", filter: sol.filters, fn: sol.message_fn, options?: sol.on_options): sol.registration
---@overload fun(event: "authorize", fn: sol.authorize_fn, options?: sol.on_authorize_options): sol.registration
---@overload fun(event: "authorize", filter: sol.filters, fn: sol.authorize_fn, options?: sol.on_authorize_options): sol.registration
---@overload fun(event: "connected"|"disconnected"|"refused", fn: sol.info_fn, options?: sol.on_options): sol.registration
---@overload fun(event: "subscribed"|"unsubscribed", fn: sol.info_fn, options?: sol.on_options): sol.registration
---@overload fun(event: "subscribed"|"unsubscribed", filter: sol.filters, fn: sol.info_fn, options?: sol.on_options): sol.registration
---@overload fun(event: "published"|"acked"|"dropped"|"expired"|"will", fn: sol.told_fn, options?: sol.on_options): sol.registration
---@overload fun(event: "published"|"acked"|"dropped"|"expired"|"will", filter: sol.filters, fn: sol.told_fn, options?: sol.on_options): sol.registration
---@overload fun(event: "start"|"stop", fn: fun(), options?: sol.on_options): sol.registration
---@overload fun(event: "reload", fn: fun(info: {generation: integer, old_generation: integer}), options?: sol.on_options): sol.registration
function sol.on(event, filter, fn, options) end

-- luacheck: pop

---Yes, and no further handler is asked.
---@param data? string `auth` only: for the client, at most 65535 bytes
---@return sol.verdict
function sol.allow(data) end

---`auth` only: another round.
---@param data? string for the client, at most 65535 bytes
---@return sol.verdict
function sol.continue(data) end

---No.
---@param code? integer reason code, 0x80 to 0xFF
---@param reason? string for the client
---@param options? {server_reference?: string} connect, authenticate and auth; with 0x9C and 0x9D
---@return sol.verdict
function sol.deny(code, reason, options) end

---Acknowledge a publish and go no further; do not deliver.
---@return sol.verdict
function sol.drop() end

-- ---- talking ------------------------------------------------------------------------

---@class sol.publish_options
---@field qos? 0|1|2
---@field retain? boolean
---@field expiry? integer seconds
---@field properties? sol.properties
---@field as? sol.client in this client's name, with its hooks and rights
---@field to? sol.client to this client's session alone

---May wait, with `as`.
---@param topic string
---@param payload? string
---@param options? sol.publish_options
---@return true? ok
---@return string? err
---@return integer? code
function sol.publish(topic, payload, options) end

---Waits, with several workers.
---@param id string
---@return sol.client?
function sol.client(id) end

---Waits, with several workers.
---@param filter? {id?: string, username?: string, listener?: string, connected?: boolean}
---@return sol.client[]
function sol.clients(filter) end

---@class sol.reauthorize_options
---@field username? string
---@field client_id? string
---@field all? boolean
---@field revoke? string|true grants to end first

---Judge subscriptions again.  Waits, with several workers.
---@param options sol.reauthorize_options
---@return integer clients
function sol.reauthorize(options) end

-- ---- time ---------------------------------------------------------------------------

---Waits.
---@param seconds number
function sol.sleep(seconds) end

---@param seconds number
---@param fn fun()
---@param options? {each_worker?: boolean}
---@return sol.timer
function sol.after(seconds, fn, options) end

---@param seconds number
---@param fn fun()
---@param options? {each_worker?: boolean}
---@return sol.timer
function sol.every(seconds, fn, options) end

---@class sol.task
local task = {}

---Waits.
---@param timeout? number seconds
---@return true? ok
---@return any ... the results, or an error ("timeout")
function task:join(timeout) end

---@return "running"|"done"|"failed"
function task:status() end

---Run `fn(...)` beside the caller.
---@param fn fun(...): ...
---@param ... any
---@return sol.task
function sol.spawn(fn, ...) end

---@return number seconds of a clock that only goes forward
function sol.now() end

---@return number seconds since 1970
function sol.time() end

-- ---- tools --------------------------------------------------------------------------

---@param path string from the folder of sol.lua
---@return string? text
---@return string? err
function sol.read_file(path) end

---A file that is only added to.
---@class sol.append_file
local append_file = {}

---Does not wait.
---@param text string
---@return true?
---@return string? err "full"
function append_file:write(text) end

---While the policy is loaded only.
---@param path string from the folder of sol.lua
---@param options? {max_pending?: integer} bytes; 1 MiB
---@return sol.append_file?
---@return string? err
function sol.append_file(path, options) end

---@return string
function sol.uuid() end

---@class sol.log
---@overload fun(format: any, ...: any)
sol.log = {}

---@param format any written as it is when nothing follows
---@param ... any
function sol.log.debug(format, ...) end

---@param format any written as it is when nothing follows
---@param ... any
function sol.log.info(format, ...) end

---@param format any written as it is when nothing follows
---@param ... any
function sol.log.warn(format, ...) end

---@param format any written as it is when nothing follows
---@param ... any
function sol.log.error(format, ...) end

sol.topic = {}

---@param filter string
---@param topic string
---@return boolean
function sol.topic.match(filter, topic) end

---What the wildcards matched; nil when the filter does not match.
---@param filter string
---@param topic string
---@return string[]?
function sol.topic.capture(filter, topic) end

---Its levels.
---@param topic string
---@return string[]
function sol.topic.parse(topic) end

---Is every topic of `narrow` one of `wide`?
---@param wide string
---@param narrow string
---@return boolean
function sol.topic.covers(wide, narrow) end

---Is there a topic that both match?
---@param a string
---@param b string
---@return boolean
function sol.topic.overlaps(a, b) end

---Group and filter of a shared subscription.
---@param filter string
---@return string? group
---@return string? inner
function sol.topic.shared(filter) end

---@param name string
---@return boolean
function sol.topic.valid_name(name) end

---@param filter string
---@return boolean
function sol.topic.valid_filter(filter) end

sol.json = {}

---@class sol.json.null
---JSON's null.
---@type sol.json.null
sol.json.null = nil

---@param text string
---@return any value
---@return string? err
function sol.json.decode(text) end

---@param value any
---@return string? text
---@return string? err
function sol.json.encode(value) end

---Mark a table as an array, so that an empty one is `[]`.
---@generic T: table
---@param t? T
---@return T
function sol.json.array(t) end

sol.password = {}

---Waits.
---@param password string
---@param cost? {ops?: integer, memory?: integer}
---@return string? hash
---@return string? err
function sol.password.hash(password, cost) end

---Waits.
---@param password string
---@param hash string
---@return boolean? same
---@return string? err
function sol.password.verify(password, hash) end

---@param hash string
---@return "argon2id"|"pbkdf2-sha512"|"sha512"|"crypt"|nil kind
---@return string? err
function sol.password.kind(hash) end

---@param data string
---@return string digest 32 bytes
function sol.sha256(data) end

---@param data string
---@return string digest 64 bytes
function sol.sha512(data) end

---@param algorithm "sha256"|"sha512"
---@param key string at most 65536 bytes
---@param data string
---@return string code 32 or 64 bytes
function sol.hmac(algorithm, key, data) end

---In a time that does not tell where they differ.
---@param a string
---@param b string
---@return boolean
function sol.equal(a, b) end

---@param n integer bytes, 0 to 65536
---@return string
function sol.random(n) end

sol.base64 = {}

---@param data string
---@return string
function sol.base64.encode(data) end

---@param text string
---@return string? data
---@return string? err
function sol.base64.decode(text) end

---@param data string
---@return string
function sol.base64.encode_url(data) end

---@param text string
---@return string? data
---@return string? err
function sol.base64.decode_url(text) end

sol.hex = {}

---@param data string
---@return string
function sol.hex.encode(data) end

---@param text string
---@return string? data
---@return string? err
function sol.hex.decode(text) end

-- ---- parts that wait for one another ------------------------------------------------

---@class sol.guard
local guard = {}

---@return boolean released false: it had been
function guard:release() end

---@class sol.semaphore
local semaphore = {}

---Waits.
---@param timeout? number seconds; 0: does not wait
---@return sol.guard? guard
---@return string? err
function semaphore:acquire(timeout) end

---@return integer permits free
function semaphore:available() end

---@param n integer permits
---@return sol.semaphore
function sol.semaphore(n) end

---Waits.
---@param key any
---@param fn fun(key: any): ...
---@param timeout? number seconds, 30
---@return any ... what fn gave; or nil and an error
function sol.once(key, fn, timeout) end

-- ---- state --------------------------------------------------------------------------

---@class sol.cache_options
---@field size? integer entries, 1000
---@field ttl? number seconds; for ever
---@field negative_ttl? number seconds, 0
---@field jitter? number 0 to 1
---@field timeout? number seconds, 30

---@class sol.cache
local cache = {}

---May wait, with `fn`.
---@param key any
---@param fn? fun(key: any): any, string?, number? what there is, an error, seconds it is good for
---@return any value
---@return string? err
function cache:get(key, fn) end

---@param key any
---@param value any nil deletes
---@param ttl? number seconds
function cache:set(key, value, ttl) end

---@param key any
---@return boolean was_there
function cache:delete(key) end

function cache:clear() end

---@return integer entries
function cache:count() end

---@param options? sol.cache_options
---@return sol.cache
function sol.cache(options) end

---@class sol.breaker
local breaker = {}

---What fn(...) gives; or nil and why it is not called.
---@param fn fun(...): any, string?
---@param ... any
---@return any ...
function breaker:call(fn, ...) end

---@return boolean would_call_nobody
function breaker:is_open() end

---@param options? {failures?: integer, pause?: number} 5 in a row, 10 seconds
---@return sol.breaker
function sol.breaker(options) end

---@class sol.login
---@field clientid string
---@field username? string
---@field password? string
---@field peerhost string an address without its port
---@field listener string

---@class sol.answer
---@field password_hash? string allow only a password that fits
---@field acl? {topic: string, action?: string, permission?: string, qos?: integer, retain?: boolean|integer|string}[]
---@field username? string the client's from now on
---@field attributes? table<string, sol.plain>
---@field superuser? boolean
---@field expires? number seconds since 1970

---@class sol.authenticator_options
---@field name? string
---@field cache_ttl? number seconds, 60
---@field deny_ttl? number seconds, 5
---@field cache_size? integer 10000
---@field failures? integer in a row, 5
---@field pause? number seconds, 10
---@field on_failure? "deny"|"allow"|"ignore"

---A handler for "authenticate" that does as `ask` says.
---@param options sol.authenticator_options?
---@param ask fun(login: sol.login): boolean|"ignore"|sol.answer|nil, string?
---@return fun(client: sol.client, credentials: sol.credentials): sol.verdict?
function sol.authenticator(options, ask) end

---A text with ${placeholders}, taken apart.
---@param text string
---@param names string[] those there may be
---@return fun(values: table|fun(name: string): any, escape?: fun(text: string): string): string fill
function sol.template(text, names) end

---@class sol.rate
local rate = {}

---@param key any
---@param n? number tokens, 1
---@return boolean taken
---@return number? seconds until there are as many
function rate:take(key, n) end

---@param key any
---@return boolean was_known
function rate:reset(key) end

---@param options {rate: number, burst?: number, keys?: integer}
---@return sol.rate
function sol.rate(options) end

---A dictionary for all workers and generations.  Values are strings, numbers and booleans.
---@class sol.shared_dictionary
local dictionary = {}

---@alias sol.plain string|number|boolean

---@param key string
---@return sol.plain? value
---@return string? err "value is a list"
function dictionary:get(key) end

---@param key string
---@param value sol.plain? nil deletes
---@param ttl? number seconds; 0: for ever
---@return boolean ok
---@return string? err "no memory"
---@return boolean evicted others had to go
function dictionary:set(key, value, ttl) end

---Only where there is none.
---@param key string
---@param value sol.plain
---@param ttl? number seconds
---@return boolean ok
---@return string? err "exists", "no memory"
---@return boolean evicted
function dictionary:add(key, value, ttl) end

---Only where there is one.
---@param key string
---@param value sol.plain
---@param ttl? number seconds
---@return boolean ok
---@return string? err "not found", "no memory"
---@return boolean evicted
function dictionary:replace(key, value, ttl) end

---@param key string
---@return boolean was_there
function dictionary:delete(key) end

---@param key string
---@param by number
---@param init? number where there is none
---@param init_ttl? number seconds
---@return number? sum
---@return string? err "not found", "not a number", "integer overflow", "no memory"
---@return boolean? evicted
function dictionary:incr(key, by, init, init_ttl) end

---@param key string
---@return number? seconds 0: for ever
---@return string? err "not found"
function dictionary:ttl(key) end

---@param key string
---@param ttl number seconds; 0: for ever
---@return true? ok
---@return string? err "not found"
function dictionary:expire(key, ttl) end

---@param key string
---@param value sol.plain
---@return integer? length
---@return string? err "value not a list", "no memory"
function dictionary:lpush(key, value) end

---@param key string
---@param value sol.plain
---@return integer? length
---@return string? err
function dictionary:rpush(key, value) end

---@param key string
---@return sol.plain? value
---@return string? err
function dictionary:lpop(key) end

---@param key string
---@return sol.plain? value
---@return string? err
function dictionary:rpop(key) end

---@param key string
---@return integer? length
---@return string? err
function dictionary:llen(key) end

function dictionary:flush_all() end

---@param max? integer 0: all
---@return integer freed
function dictionary:flush_expired(max) end

---@param max? integer 1024; 0: all
---@return string[]
function dictionary:get_keys(max) end

---@return integer bytes
function dictionary:capacity() end

---@return integer bytes
function dictionary:free_space() end

---What the setting `shared` declares.
---@type table<string, sol.shared_dictionary>
sol.shared = {}

---What outlives the broker, in the file that the setting `store` names.  A change waits until it is safe.
---@class sol.kv
sol.kv = {}

---@param key string
---@return sol.plain? value
function sol.kv:get(key) end

---Waits.
---@param key string
---@param value sol.plain? nil deletes
---@param ttl? number seconds; 0: for ever
---@return true? ok
---@return string? err "no memory", "too much waits to be written"
function sol.kv:set(key, value, ttl) end

---Only where there is none.  Waits.
---@param key string
---@param value sol.plain
---@param ttl? number seconds
---@return true? ok
---@return string? err "exists", "no memory", "too much waits to be written"
function sol.kv:add(key, value, ttl) end

---Only where there is one.  Waits.
---@param key string
---@param value sol.plain
---@param ttl? number seconds
---@return true? ok
---@return string? err "not found", "no memory", "too much waits to be written"
function sol.kv:replace(key, value, ttl) end

---Waits.
---@param key string
---@return boolean? was_there
---@return string? err "too much waits to be written"
function sol.kv:delete(key) end

---Waits.
---@param key string
---@param by number
---@param init? number where there is none
---@param init_ttl? number seconds
---@return number? sum
---@return string? err "not found", "not a number", "integer overflow", "no memory", "too much waits to be written"
function sol.kv:incr(key, by, init, init_ttl) end

---Waits.
---@param key string
---@param ttl number seconds; 0: for ever
---@return true? ok
---@return string? err "not found", "too much waits to be written"
function sol.kv:expire(key, ttl) end

---@param key string
---@return number? seconds 0: for ever
---@return string? err "not found"
function sol.kv:ttl(key) end

---@param max? integer 1024; 0: all
---@return string[]
function sol.kv:get_keys(max) end

---@return integer bytes
function sol.kv:capacity() end

---@return integer bytes
function sol.kv:free_space() end

-- ---- tokens -------------------------------------------------------------------------

sol.jwt = {}

---@alias sol.jwt_algorithm "HS256"|"HS384"|"HS512"|"RS256"|"RS384"|"RS512"|"ES256"|"ES384"|"ES512"|"EdDSA"

---@class sol.jwt_verify_options
---@field algorithms sol.jwt_algorithm|sol.jwt_algorithm[]
---@field key? string a secret, or a public key as PEM text
---@field jwks? string text of a JWK Set
---@field jwks_url? string where one is: verify then waits
---@field jwks_ttl? number seconds that a fetched set is good; 300
---@field http? sol.http.options of the request for it
---@field issuer? string|string[]
---@field audience? string|string[]
---@field leeway? number seconds
---@field require? string[] claims

---@param token string
---@param options sol.jwt_verify_options
---@return table? claims
---@return string? err
function sol.jwt.verify(token, options) end

---@param claims table
---@param options {key: string, algorithm: sol.jwt_algorithm, kid?: string}
---@return string token
function sol.jwt.sign(claims, options) end

-- ---- messages for the policy --------------------------------------------------------

---@class sol.policy_subscription
local policy_subscription = {}

---@return boolean ended false: it had
function policy_subscription:unsubscribe() end

---Call `fn` for every message that matches.
---@param filter string
---@param fn fun(message: sol.message_copy)
---@param options? {each_worker?: boolean}
---@return sol.policy_subscription
function sol.subscribe(filter, fn, options) end

---The next message that matches.  Waits.
---@param filter string
---@param timeout? number seconds
---@return sol.message_copy? message
---@return string? err "timeout"
function sol.await(filter, timeout) end

---What sol.observe tells of; the other fields are those of the event.
---@class sol.event
---@field event string
---@field time number seconds since 1970
---@field clientid? string
---@field username? string
---@field [string] any

---Call `fn` with a table of its own for each of these events.
---@param events string[]
---@param fn fun(event: sol.event)
---@param options? {topics?: sol.filters, max_payload?: integer, name?: string}
function sol.observe(events, fn, options) end

---@param filter string
---@param max? integer 1 to 10000; 1000
---@return sol.message_copy[] messages
---@return boolean more
function sol.retained(filter, max) end

---Ask over MQTT 5 request and response.  Waits.
---@param topic string
---@param payload? string
---@param options? {timeout?: number, qos?: 0|1|2, properties?: sol.properties, as?: sol.client}
---@return sol.message_copy? answer
---@return string? err
---@return integer? code
function sol.request(topic, payload, options) end

-- ---- figures ------------------------------------------------------------------------

sol.metrics = {}

---@class sol.metric_options
---@field help? string
---@field labels? string[]
---@field max_series? integer 100

---@class sol.histogram_options: sol.metric_options
---@field buckets? number[]

---@alias sol.labels table<string, string|number|boolean>

---@class sol.counter
local counter = {}

---@param n? number 1
---@param labels? sol.labels
function counter:add(n, labels) end

---@class sol.gauge
local gauge = {}

---@param value number
---@param labels? sol.labels
function gauge:set(value, labels) end

---@param n number
---@param labels? sol.labels
function gauge:add(n, labels) end

---@class sol.histogram
local histogram = {}

---@param value number
---@param labels? sol.labels
function histogram:observe(value, labels) end

---@param name string
---@param options? sol.metric_options
---@return sol.counter
function sol.metrics.counter(name, options) end

---@param name string
---@param options? sol.metric_options
---@return sol.gauge
function sol.metrics.gauge(name, options) end

---@param name string
---@param options? sol.histogram_options
---@return sol.histogram
function sol.metrics.histogram(name, options) end

---@return string text in Prometheus' format
function sol.metrics.collect() end

---@class sol.hook
---@field event string
---@field name string
---@field priority integer
---@field calls integer
---@field errors integer
---@field timeouts integer
---@field waits integer
---@field timed integer calls that were timed
---@field mean number seconds
---@field counted integer calls whose instructions were counted
---@field instructions integer of Lua, on average
---@field times {below: number, count: integer}[]

---@return sol.hook[]
function sol.hooks() end

return sol
