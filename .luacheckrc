-- SPDX-License-Identifier: BSD-2-Clause
std = "lua54"
max_line_length = 120
exclude_files = { "**/node_modules/**", "build/**" }
files["**/*_spec.lua"] = { std = "lua54+busted" }
files["sol.lua.example"] = {
    -- Assignments to globals are settings; the broker itself checks their names.
    std = "lua54",
    globals = { "sol", "listen", "plugin" },
    allow_defined_top = true,
}
files["tests/soak/policy.lua"] = {
    globals = { "workers", "hook_timeout", "log_level", "allow_anonymous" },
    read_globals = { "sol", "WEB", "TALK", "REDIS", "CLOSED", "GENERATION" },
}
files["lua/sol/meta*.lua"] = { ignore = { "212", "211", "213", "111", "112", "113", "131", "241" } }
