-- SPDX-License-Identifier: BSD-2-Clause
--
-- sol.pg against a real PostgreSQL: values, errors, statements, pools, notifications.

local broker = require "support.broker"
local servers = require "support.servers"
local world = require "support.world"
local with_broker, run = broker.with_broker, world.run

local postgres

setup(function() postgres = servers.start_postgres() end)
teardown(function() postgres:remove() end)

-- A broker; $PG in code is where the server is and who we are.
local function pg(spec, more)
    with_broker({ config = world.RUNNER .. postgres:fill(more or "") }, function(b)
        local c = b:client "c"
        spec(function(code) return run(c, postgres:fill(code)) end, b)
    end)
end

-- How many connections of ours the server has, but for the one that asks.
local SERVED = [[
    local function served()
        return sol.pg.pool { $PG, application = "probe" }:query(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sol'")[1].count
    end
]]

describe("sol.pg", function()
    it("gives rows with values of their types", function()
        pg(function(code)
            assert.equal("1|42|-7|1.5|true|false|text|nil|\0\1|12.50|id x|1", code [[
                local c <close> = assert(sol.pg.connect { $PG })
                local r = assert(c:query("SELECT 42 AS i, -7::int8 AS b, 1.5::float8 AS f, true AS t, false AS n, "
                    .. "'text' AS s, NULL AS null, '\\x0001'::bytea AS y, 12.50::numeric AS d"))
                local row = r[1]
                local x = c:query "SELECT 1 AS id, 2 AS x"
                return #r, row.i, row.b, row.f, row.t, row.n, row.s, row.null, row.y, row.d,
                    table.concat(x.columns, " "), math.type(row.i) == "integer" and 1
            ]])
        end)
    end)

    it("takes parameters, and nothing of them is SQL", function()
        pg(function(code)
            assert.equal([[7|0.1|true|true|'; DROP TABLE x; --|true]], code [[
                local c <close> = assert(sol.pg.connect { $PG })
                local r = c:query("SELECT $1::int AS i, $2::float8 AS f, $3::bool AS b, $4::text IS NULL AS n, "
                    .. "$5::text AS s, $6::text IS NULL AS j",
                    7, 0.1, true, nil, "'; DROP TABLE x; --", sol.json.null)[1]
                return r.i, r.f, r.b, r.n, r.s, r.j
            ]])
            assert.truthy(code [[
                local c <close> = assert(sol.pg.connect { $PG })
                local r = c:query("SELECT $1::text", "a\0b") return r
            ]]:find "a zero byte")
        end)
    end)

    it("changes rows, within transactions", function()
        pg(function(code)
            assert.equal("3|2|1", code [[
                local c <close> = assert(sol.pg.connect { $PG })
                c:query "CREATE TEMP TABLE t (n int)"
                local n = c:query("INSERT INTO t VALUES (1), (2), (3)").affected
                assert(c:query "BEGIN")
                local d = c:query("DELETE FROM t WHERE n > 1").affected
                local left = c:query("SELECT count(*) FROM t")[1].count
                c:query "ROLLBACK"
                assert(c:query("SELECT count(*) FROM t")[1].count == 3)
                return n, d, left
            ]])
        end)
    end)

    it("says what went wrong, and goes on", function()
        pg(function(code)
            assert.truthy(code [[
                local c <close> = assert(sol.pg.connect { $PG })
                local _, err = c:query "SELECT nonsense"
                local _, empty = c:query ""
                local _, late = c:execute "SELECT 1/0"
                return err, empty, late, c:query("SELECT 1 AS one")[1].one
            ]]:find '^column "nonsense" does not exist.*|an empty query|division by zero|1$')
            assert.truthy(code(([[
                return sol.pg.connect { host = "127.0.0.1", port = %d, user = "sol", password = "guess" }
            ]]):format(postgres.port)):find "^nil|.*password authentication failed")
            assert.truthy(code(([[return sol.pg.connect { port = %d, user = "sol" }]]):format(broker.free_port()))
                :find "^nil|.*Connection refused")
        end)
    end)

    it("closes a connection that it cannot go on with", function()
        pg(function(code)
            for sql, says in pairs {
                ["SELECT pg_sleep(60)"] = "timeout",
                ["SELECT repeat('x', 2000) FROM generate_series(1, 100)"] = "result too large",
                ["COPY (SELECT 1) TO STDOUT"] = "COPY is not supported",
            } do
                assert.equal("nil|" .. says .. "|false|nil|closed", code(([[
                    local c <close> = assert(sol.pg.connect { $PG, timeout = 2, max_result = 100000 })
                    local r, err = c:query(%q)
                    return r, err, c.open, c:query "SELECT 1"
                ]]):format(sql)))
            end
            assert.truthy(code [[
                local c <close> = assert(sol.pg.connect { $PG })
                return c:query "SELECT pg_terminate_backend(pg_backend_pid())"
            ]]:find "^nil|terminating connection")
        end)
    end)

    it("prepares what is executed again, once a connection", function()
        pg(function(code)
            assert.equal("100|1|200", code [[
                local c <close> = assert(sol.pg.connect { $PG })
                local sum = 0
                for i = 1, 100 do sum = sum + c:execute("SELECT $1::int AS n", i)[1].n - i + 1 end
                local n = c:query("SELECT count(*) FROM pg_prepared_statements")[1].count
                for i = 1, 100 do sum = sum + c:execute("SELECT 1 AS n, " .. i)[1].n end
                return sum - 100, n, sum
            ]])
        end)
    end)

    it("carries large queries and results", function()
        pg(function(code)
            assert.equal("4194304|20000", code [[
                local c <close> = assert(sol.pg.connect { $PG, timeout = 60 })
                local long = c:query("SELECT $1::text AS s", ("x"):rep(4 << 20))[1].s
                return #long, #c:query "SELECT generate_series(1, 20000) AS n"
            ]])
        end)
    end)

    it("brings notifications", function()
        pg(function(code)
            assert.equal('ne"ws|hello|true|nil|timeout', code [[
                local c <close> = assert(sol.pg.connect { $PG })
                assert(c:listen 'ne"ws')
                sol.spawn(function() sol.pg.pool({ $PG }):query "SELECT pg_notify('ne\"ws', 'hello')" end)
                local n = assert(c:receive(10))
                local none, err = c:receive(0.1)
                return n.channel, n.payload, n.pid > 0, none, err
            ]])
        end)
    end)

    it("verifies the server's certificate", function()
        pg(function(code)
            assert.equal("true", code [[
                local c <close> = assert(sol.pg.connect { $PG, tls = true, ca = "$DIR2/ca.pem" })
                return c:query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")[1].ssl
            ]])
            assert.truthy(code [[return sol.pg.connect { $PG, tls = true, ca = "$DIR2/other.pem" }]]
                :find "^nil|.*certificate verify failed")
            assert.truthy(code [[local c = sol.pg.connect { $PG, tls = true } return c]]:find 'tls needs "ca"')
        end)
    end)

    it("raises what the caller did wrong", function()
        pg(function(code)
            for wrong, says in pairs {
                ["connect {}"] = "user is missing",
                ["connect { $PG, usr = 'x' }"] = 'unknown option "usr"',
                ["connect { $PG }:query(7, {})"] = "string expected",
                ["connect { $PG }:query 'a\\0b'"] = "SQL has no zero byte",
                ["connect { $PG }.rows"] = 'no field "rows"',
            } do
                local said = code("local x = sol.pg." .. wrong .. " return x")
                assert.truthy(said:find(says, 1, true), wrong .. ": " .. said)
            end
            assert.truthy(code [[
                local c <close> = assert(sol.pg.connect { $PG })
                sol.spawn(function() c:query "SELECT pg_sleep(5)" end)
                return c:query "SELECT 1"
            ]]:find "another coroutine is using this connection")
        end)
    end)
end)

describe("a pool of sol.pg", function()
    it("keeps connections and what is prepared on them", function()
        pg(function(code)
            assert.equal("1|1", code(SERVED .. [[
                local db = sol.pg.pool { $PG }
                for i = 1, 20 do assert(db:execute("SELECT $1::int", i)) end
                return db:query("SELECT count(*) FROM pg_prepared_statements")[1].count, served()
            ]]))
        end)
    end)

    it("keeps none with an open transaction, nor one that listens", function()
        pg(function(code)
            assert.equal("nil|a transaction is open|nil|it listens", code [[
                local a, b = sol.pg.connect { $PG }, sol.pg.connect { $PG }
                a:query "BEGIN"
                b:listen "x"
                local ok, why = a:keepalive()
                return ok, why, b:keepalive()
            ]])
        end)
    end)

    it("serves many hooks with few connections", function()
        pg(function(code, b)
            local all = {}
            for i = 1, 300 do all[i] = b:client("c" .. i) end
            for i = 1, 300 do all[i]:publish("ask", tostring(i), { qos = 1, wait = false, id = 7 }) end
            for i = 1, 300 do all[i]:await("PUBACK", nil, 60) end
            local n = tonumber(code(SERVED .. "return served()"))
            assert.is_true(n >= 1 and n <= 5, n .. " connections")
            assert.is_nil(b:log():find "failed")
        end, [[
            workers = 1 -- a pool is the worker's own
            local db = sol.pg.pool { $PG, pool_size = 5, backlog = 1000, timeout = 60 }
            sol.on("publish", "ask", function(_, m)
                assert(db:execute("SELECT $1::text AS s", m.payload)[1].s == m.payload)
            end)
        ]])
    end)
end)

describe("a hook that waits for PostgreSQL", function()
    it("is let go with its client, and by the end of the broker", function()
        pg(function(code, b)
            local c = b:client "asker"
            c:publish("ask", "x", { qos = 1, wait = false })
            b:log_wait "asking"
            b:client("other"):ping()
            c:reset()
            b:log_wait "guard closed"
            assert.equal("0", code(SERVED .. [[
                local n
                for _ = 1, 500 do
                    n = served()
                    if n == 0 then break end
                    sol.sleep(0.01)
                end
                return n
            ]]))
            b:client("last"):publish("ask", "x", { qos = 1, wait = false })
            b:log_wait "asking.*asking"
            b:stop()
        end, [[
            local db = sol.pg.pool { $PG, timeout = 60 }
            sol.on("publish", "ask", function()
                local guard <close> = setmetatable({}, { __close = function() sol.log.info "guard closed" end })
                sol.log.info "asking"
                db:query "SELECT pg_sleep(60)"
            end)
        ]])
    end)
end)
