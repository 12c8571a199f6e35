-- SPDX-License-Identifier: BSD-2-Clause
--
-- sol.sqlite: values, errors, time-outs, locks, files that are replaced.

local broker = require "support.broker"
local eval = require "support.eval"
local wait = require "support.wait"

local ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"

-- What the chunks find.
local GLOBALS = [[{
    db = sol.sqlite.open("users.db", { write = true, timeout = 60 }),
    endless = "]] .. ENDLESS .. [[",
    fill = function(file)
        local made <close> = sol.sqlite.open(file, { write = true, timeout = 60 })
        assert(made:query "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, weight REAL, photo BLOB)")
        assert(made:query("INSERT INTO users (name, weight) VALUES (?, ?), (?, ?)", "ada", 61.5, "bob", nil))
    end,
}]]

local function sqlite(spec, more)
    eval.with({ globals = GLOBALS, config = more }, function(code, b)
        code "fill 'users.db'"
        spec(code, b)
    end)
end

-- A process that holds the file locked until it is told to end.
local function lock(b)
    local process = broker.spawn(b.dir, { "/usr/bin/python3", "-c", [[
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
]], b.dir .. "/users.db" })
    wait.till("the lock", function() return broker.read_file(b.dir .. "/out"):find "locked" end, 20)
    return process
end

describe("sol.sqlite", function()
    it("gives rows with values of their types", function()
        sqlite(function(code)
            assert.equal("2 id,name,weight,photo 1 ada 61.5 nil integer float nil", code [[
                local r = assert(db:query "SELECT * FROM users ORDER BY id")
                local row = r[1]
                return #r, table.concat(r.columns, ","), row.id, row.name, row.weight, row.photo,
                    math.type(row.id), math.type(row.weight), r[2].weight
            ]])
            assert.equal("9007199254740993 -1 1.5 text 0 2 nil nil "
                .. "integer,integer,real,text,blob,text,integer,null,null", code [[
                local r = assert(db:query([=[SELECT ?1 AS a, ?2 AS b, ?3 AS c, ?4 AS d, ?5 AS e, ?6 AS f, ?7 AS g,
                    ?8 AS h, typeof(?1) || ',' || typeof(?2) || ',' || typeof(?3) || ',' || typeof(?4) || ',' ||
                    typeof(CAST(?5 AS BLOB)) || ',' || typeof(?5) || ',' || typeof(?6) || ',' || typeof(?7) || ',' ||
                    typeof(?8) AS t]=], 9007199254740993, -1, 1.5, "text", "\0\1", true, nil, sol.json.null))
                local row = r[1]
                return row.a, row.b, row.c, row.d, row.e:byte(1), #row.e, row.g, row.h, row.t
            ]])
            assert.equal("true 2 0", code [[
                local r = db:query "SELECT x'0001' AS y, '' AS z"
                return r[1].y == "\0\1", #r[1].y, #r[1].z
            ]])
            assert.equal("0 0", code [[
                local r = db:query "SELECT * FROM users WHERE name = 'nobody'"
                return #r, r.affected
            ]])
        end)
    end)

    it("changes a file only where it may", function()
        sqlite(function(code, b)
            assert.equal("2 0 3", code [[
                local a = db:query "UPDATE users SET weight = 1"
                local n = db:query "SELECT 1"
                local i = db:query("INSERT INTO users (name) VALUES ('eve') RETURNING id")
                return a.affected, n.affected, i[1].id == i.last_id and i.last_id
            ]])
            assert.matches("^nil attempt to write a readonly database$", code [[
                local reader <close> = sol.sqlite.open "users.db"
                assert(reader:query "SELECT 1")
                return reader:query "DELETE FROM users"
            ]])
            assert.matches("^nil .*none.db: No such file or directory$",
                code "return sol.sqlite.open 'none.db':query 'SELECT 1'")
            assert.matches("^nil .*: not a regular file$", code [[return sol.sqlite.open "/dev/zero":query "SELECT 1"]])
            b:write("rubbish.db", ("not a database, by far "):rep(100))
            assert.equal("nil file is not a database",
                code [[return sol.sqlite.open "rubbish.db":query "SELECT * FROM users"]])
            -- one file a database: no other may be opened from within
            assert.equal("nil not authorized", code "return db:query('ATTACH ? AS other', 'other.db')")
            assert.equal("nil not authorized", code "return db:query 'ATTACH \"other.db\" AS other'")
            assert.equal("nil authorization denied", code "return db:query 'VACUUM INTO \"other.db\"'")
            assert.equal("0", code "return #assert(db:query 'VACUUM')")
        end)
    end)

    it("tells what is wrong with a query", function()
        sqlite(function(code)
            local function fails(with, query) assert.equal("nil " .. with, code("return db:query(" .. query .. ")")) end
            fails('near "SELEKT": syntax error', "'SELEKT 1'")
            fails("no such table: nowhere", "'SELECT * FROM nowhere'")
            fails("1 parameters for a statement with 2", "'SELECT ? + ?', 1")
            fails("a query holds one statement", "'SELECT 1; SELECT 2'")
            fails("a query holds one statement", "'SELECT 1; garbage'")
            fails("an empty query", "'-- nothing'")
            fails("UNIQUE constraint failed: users.id", "'INSERT INTO users (id) VALUES (1)'")
            fails("a transaction must not be left open", "'BEGIN'")
            fails("string or blob too big", "'SELECT zeroblob(500000000)'")
            assert.equal("1", code "return db:query('SELECT 1 AS one; -- yes')[1].one")
            assert.equal("nil result too large", code [[
                local small <close> = sol.sqlite.open("users.db", { max_result = 10000 })
                return small:query "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
            ]])
            assert.matches("bad argument #2 .*expected a string, a number, a boolean, nil or sol.json.null",
                code "return db:query('SELECT ?', {})")
            assert.matches("SQL has no zero byte", code "return db:query 'SELECT 1\\0'")
            assert.matches("unknown option \"wirte\"; did you mean \"write\"%?",
                code "sol.sqlite.open('x', { wirte = true })")
            assert.equal("true nil closed nil closed false", code [[
                local d = sol.sqlite.open "users.db"
                d:query "SELECT 1"
                local a, b, c = d:close(), d:query "SELECT 1"
                return a, b, c, select(1, d:close()), select(2, d:close()), d.open
            ]])
        end)
    end)

    it("ends a query when its time is up, and goes on", function()
        sqlite(function(code)
            assert.equal("nil timeout 1", code [[
                local quick <close> = sol.sqlite.open("users.db", { timeout = 0.05 })
                local none, err = quick:query(endless)
                return none, err, db:query("SELECT 1 AS one")[1].one
            ]])
            -- of one connection the next query waits for the helper to have noticed
            assert.equal("timeout true too many queries wait for this file", code [[
                local slow = sol.sqlite.open("users.db", { timeout = 0.5, backlog = 1 })
                local first = sol.spawn(function() return select(2, slow:query(endless)) end)
                local second = sol.spawn(function() return slow:query "SELECT 1" end)
                local _, full = slow:query "SELECT 1"
                local _, err = first:join()
                second:join()
                repeat local r = slow:query "SELECT 1" until r
                return err, slow:query("SELECT 1") ~= nil, full
            ]])
        end)
    end)

    it("gives up for a client that has gone", function()
        sqlite(function(_, b)
            local gone = b:client "gone"
            gone:publish("slow", "x")
            b:log_wait "asking"
            gone:reset()
            -- the only connection is free again: nothing else could have ended the query
            b:client("other"):subscribe("counted", 0):publish("count", ""):expect_publish("counted", "2")
            assert.is_nil(b:log():find "answered")
        end, [[
            local only = sol.sqlite.open("users.db", { timeout = 3600 })
            local endless = "]] .. ENDLESS .. [["
            sol.on("publish", "slow", function()
                sol.log "asking"
                only:query(endless)
                sol.log "answered"
            end, { timeout = 3600 })
            sol.on("publish", "count", function()
                sol.publish("counted", only:query("SELECT count(*) AS n FROM users")[1].n)
            end)
        ]])
    end)

    it("waits for a lock, for a while", function()
        sqlite(function(code, b)
            local holder = lock(b)
            assert.equal("nil database is locked", code [[
                local hasty <close> = sol.sqlite.open("users.db", { busy_timeout = 0.02, timeout = 60 })
                return hasty:query "SELECT * FROM users"
            ]])
            code [[
                sol.spawn(function()
                    local patient = sol.sqlite.open("users.db", { busy_timeout = 600, timeout = 600 })
                    sol.log("patient found %d", #patient:query "SELECT * FROM users")
                end)
            ]]
            assert.is_nil(b:log():find "patient")
            holder:close_stdin()
            b:log_wait "patient found 2"
            holder:wait(wait.scaled(10))
        end)
    end)

    it("opens a file anew that took the place of the old one", function()
        sqlite(function(code, b)
            code "reader = sol.sqlite.open 'users.db'"
            assert.equal("2", code "return reader:query('SELECT count(*) AS n FROM users')[1].n")
            code "fill 'new.db'"
            code [[
                local new <close> = sol.sqlite.open("new.db", { write = true })
                assert(new:query "DELETE FROM users WHERE id = 1")
            ]]
            os.rename(b.dir .. "/new.db", b.dir .. "/users.db")
            assert.equal("1", code "return reader:query('SELECT count(*) AS n FROM users')[1].n")
        end)
    end)

    it("keeps statements ready, but not too many", function()
        sqlite(function(code)
            assert.equal("20100", code [[
                local sum = 0
                for i = 1, 200 do sum = sum + db:query("SELECT " .. i .. " AS n")[1].n end
                return sum
            ]])
            assert.equal("2", code [[
                assert(db:query "CREATE TABLE t (a)")
                assert(db:query "INSERT INTO t VALUES (1)")
                assert(db:query "SELECT * FROM t")
                assert(db:query "ALTER TABLE t ADD COLUMN b") -- a statement kept must see it
                return #db:query("SELECT * FROM t").columns
            ]])
        end)
    end)

    it("lets go at a reload and at the end", function()
        sqlite(function(code, b)
            local hang = "sol.spawn(function() sol.sqlite.open('users.db', { timeout = 3600 }):query(endless) end)"
            code(hang)
            b:signal "HUP"
            b:log_wait "generation 2"
            assert.equal("1", code "return db:query('SELECT 1 AS one')[1].one")
            code(hang)
        end) -- the broker ends in good order, although a query does not
    end)

    it("waits only where waiting is possible", function()
        broker.refuses("sol.sqlite.open('x.db'):query 'SELECT 1'",
            "sol.sqlite cannot be used while the policy is loaded")
    end)
end)
