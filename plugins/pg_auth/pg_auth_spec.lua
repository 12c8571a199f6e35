-- SPDX-License-Identifier: BSD-2-Clause
--
-- pg_auth: who is let in, and what happens when PostgreSQL does not answer.

local broker = require "support.broker"
local eval = require "support.eval"
local servers = require "support.servers"

local HASH = "$2b$05$eUveYDFbsBlJ/W5hEEKHhu81K0WcRwL9riNSWe25OZbndTi2b32Ne" -- of "secret"

local PLUGIN = [[
    allow_anonymous = true
    workers = 1 -- each has a breaker and a cache of its own
    plugin("pg_auth", { pg = { $PG $WHERE }, pause = 1000, failures = 3 $MORE })
]]

local function config(postgres, where, more)
    return (postgres:fill(PLUGIN):gsub("%$WHERE", where or ""):gsub("%$MORE", more or ""))
end

local function login(b, username, connack, password)
    return b:client("c-" .. username, { version = 5, username = username, password = password or "secret",
        connack = connack or 0 })
end

local TABLES = [[
    db = assert(sol.pg.connect { $PG })
    assert(db:query "CREATE TABLE mqtt_user (username text, password_hash text, is_superuser boolean)")
    assert(db:query "CREATE TABLE account (name text, device text, hash text, level int, tenant text)")
    assert(db:query("INSERT INTO mqtt_user VALUES ('ada', $1, false), ('root', $1, true)", HASH))
    assert(db:query "INSERT INTO mqtt_user VALUES ('broken', 'secret', false), ('empty', NULL, false)")
    assert(db:query [=[CREATE TABLE mqtt_acl
        (id serial, username text, permission text, action text, topic text, qos int, retain int)]=])
    assert(db:query [=[INSERT INTO mqtt_acl (username, permission, action, topic, retain) VALUES
        ('ada', 'deny', 'all', 'up/secret', NULL), ('ada', 'allow', 'publish', 'up/#', 0),
        ('ada', NULL, 'subscribe', 'down/${clientid}', NULL)]=])
    assert(db:query("INSERT INTO account VALUES ('ada', 'c-ada', $1, 3, 'acme')", HASH))
]]

local OTHER_QUERY = [[, query = "SELECT hash AS password_hash, level, tenant FROM account "
    .. "WHERE name = ${username} AND device = ${clientid}", failures = 2,
    acl_query = "SELECT permission, action, topic, qos, retain FROM mqtt_acl WHERE username = ${username} ORDER BY id"]]

describe("pg_auth", function()
    it("lets in who is there, remembers, and refuses while nobody answers", function()
        servers.with_postgres(function(postgres)
            eval.with({ config = config(postgres) }, function(run, b)
                assert.equal("", run(("HASH = %q "):format(HASH) .. postgres:fill(TABLES)))
                login(b, "ada")
                login(b, "root")
                assert.equal("nil true", run [[
                    return sol.client("c-ada").attributes.superuser, sol.client("c-root").attributes.superuser ]])
                login(b, "ada", 0x86, "guess")
                login(b, "ada", 0x86, "")
                login(b, "eve", 0x86)
                login(b, "x' OR '1'='1", 0x86)
                login(b, "empty", 0x88)
                b:log_wait "(pg_auth: password of user empty: not a password hash of a known form)"
                login(b, "broken", 0x88)
                b:log_wait "(pg_auth: password of user broken: not a password hash of a known form)"
                b:client("c-none", { version = 5, password = "secret" }) -- no name: allow_anonymous

                -- remembered, until a reload
                run [[db:query "DELETE FROM mqtt_user WHERE username = 'ada'"]]
                login(b, "ada")
                b:configure(eval.policy(config(postgres, ", timeout = 0.3", OTHER_QUERY)))
                b:signal "HUP"
                b:log_wait "(generation 2 is in place)"
                login(b, "root", 0x86)
                local ada = login(b, "ada"):publish("up/1", "", { qos = 1, rc = 0x10 })
                ada:publish("up/1", "", { qos = 1, retain = true, rc = 0x87 })
                ada:publish("up/secret", "", { qos = 1, rc = 0x87 }):publish("x", "", { qos = 1, rc = 0x87 })
                ada:subscribe("down/c-ada", 0):subscribe("down/x", 0, { rc = 0x87 })
                assert.equal("acme integer nil", run [[
                    local a = sol.client("c-ada").attributes
                    return a.tenant, math.type(a.level), a.password_hash ]])

                -- slow, then wrong, then gone
                run(postgres:fill [[
                    db = assert(sol.pg.connect { $PG })
                    db:query "BEGIN"
                    assert(db:query "LOCK TABLE account IN ACCESS EXCLUSIVE MODE") ]])
                login(b, "ada", 0x88, "guess")
                b:log_wait "(pg_auth: timeout)"
                run [[db:query "DROP TABLE account" db:query "COMMIT"]]
                login(b, "ada", 0x88, "guess")
                b:log_wait '(pg_auth: relation "account" does not exist)'
                postgres:stop()
                login(b, "ada", 0x88, "guess")
                b:log_wait "(pg_auth: not asked: relation)"
                login(b, "ada") -- is remembered
                for _, word in ipairs { "secret", "guess", HASH } do
                    assert.is_nil(b:log():find(word, 1, true), word)
                end
            end)
        end)
    end)

    it("does not load with options that make no sense", function()
        for options, says in pairs {
            ["{}"] = "user is missing",
            ["{ pg = { usr = 'x' } }"] = 'unknown option "usr"; did you mean "user"?',
            ["{ pg = { user = 'x' }, query = 'SELECT ${user}' }"] = "unknown placeholder ${user}",
            ["{ pg = { user = 'x' }, query = 'SELECT ${password}' }"] = "unknown placeholder ${password}",
            ["{ pg = { user = 'x' }, failures = -1 }"] = "failures must be an integer",
        } do
            broker.refuses('plugin("pg_auth", ' .. options .. ")", says)
        end
    end)
end)
