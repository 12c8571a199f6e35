-- SPDX-License-Identifier: BSD-2-Clause
--
-- sol.sha256, hmac, base64, hex, random: against published vectors.

local eval = require "support.eval"

describe("digests", function()
    it("are those of FIPS 180-4 and RFC 4231", function()
        eval.with({}, function(run)
            assert.equal("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                run "return sol.hex.encode(sol.sha256(''))")
            assert.equal("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                run "return sol.hex.encode(sol.sha256('abc'))")
            assert.equal("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
                run "return sol.hex.encode(sol.sha256(('a'):rep(1000000)))")
            assert.equal("ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
                .. "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
                run "return sol.hex.encode(sol.sha512('abc'))")
            assert.equal("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
                run "return sol.hex.encode(sol.hmac('sha256', 'Jefe', 'what do ya want for nothing?'))")
            assert.equal("164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
                .. "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
                run "return sol.hex.encode(sol.hmac('sha512', 'Jefe', 'what do ya want for nothing?'))")
            assert.equal("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54", run [[
                return sol.hex.encode(sol.hmac('sha256', ('\xaa'):rep(131),
                    'Test Using Larger Than Block-Size Key - Hash Key First'))]])
        end)
    end)

    it("raise for what they cannot do", function()
        eval.with({}, function(run)
            assert.matches('error: eval:1: bad argument #1 to \'hmac\' %(expected "sha256" or "sha512"%)',
                run "sol.hmac('md5', 'k', 'd')")
            assert.matches("bad argument #1", run "sol.sha256(nil)")
            assert.matches("longer than 65536 bytes", run "sol.hmac('sha256', ('k'):rep(65537), 'd')")
        end)
    end)

    it("end within the budget", function()
        eval.with({ config = "hook_budget = 0.02 vm_memory = 1 << 30" }, function(run, b)
            b:client("other"):publish("eval", "while true do sol.sha256(('x'):rep(200 << 20)) end")
            b:log_wait "(ran past its budget)"
            assert.equal("32", run "return #sol.sha256('x')")
        end)
    end)
end)

describe("sol.base64", function()
    it("writes and reads what RFC 4648 has", function()
        eval.with({}, function(run)
            for plain, text in pairs { [""] = "", f = "Zg==", fo = "Zm8=", foo = "Zm9v", foob = "Zm9vYg==" } do
                assert.equal(text, run(("return sol.base64.encode(%q)"):format(plain)))
                assert.equal(plain, run(("return sol.base64.decode(%q)"):format(text)))
                assert.equal(plain, run(("return sol.base64.decode(%q)"):format((text:gsub("=", "")))))
            end
            assert.equal("_-8 +/8=", run "return sol.base64.encode_url('\\255\\239'), sol.base64.encode('\\251\\255')")
            assert.equal("true", run "return sol.base64.decode_url('_-8') == '\\255\\239'")
            assert.equal("true", run [[
                local all = sol.random(1000)
                return sol.base64.decode(sol.base64.encode(all)) == all
                    and sol.base64.decode_url(sol.base64.encode_url(all)) == all]])
        end)
    end)

    it("refuses what no encoder writes", function()
        eval.with({}, function(run)
            for _, text in ipairs { "Zg=", "Z", "Zg===", "Z g=", "Zh==", "Zg==Zg==", "_-8=", "Zg\n" } do
                assert.matches("^nil not base64 at byte", run(("return sol.base64.decode(%q)"):format(text)), text)
            end
            assert.matches("^nil not base64", run "return sol.base64.decode_url('+/8=')")
        end)
    end)
end)

describe("sol.hex", function()
    it("goes both ways", function()
        eval.with({}, function(run)
            assert.equal("00ff61", run "return sol.hex.encode('\\0\\255a')")
            assert.equal("true", run "return sol.hex.decode('00FFfa') == '\\0\\255\\250'")
            for _, text in ipairs { "0", "0g", "00 00", "00:00" } do
                assert.matches("^nil not hexadecimal", run(("return sol.hex.decode(%q)"):format(text)), text)
            end
        end)
    end)
end)

describe("sol.random and sol.equal", function()
    it("give bytes, and compare", function()
        eval.with({}, function(run)
            assert.equal("0 16 65536", run "return #sol.random(0), #sol.random(16), #sol.random(65536)")
            assert.equal("false", run "return sol.random(16) == sol.random(16)")
            assert.matches("expected 0 to 65536 bytes", run "sol.random(65537)")
            assert.equal("true false false",
                run "return sol.equal('a', 'a'), sol.equal('a', 'b'), sol.equal('a', 'ab')")
        end)
    end)
end)
