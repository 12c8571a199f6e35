# How Sol is tested.
# SPDX-License-Identifier: BSD-2-Clause

TEST_DEPS := $(RUN_DEPS) libcmocka-dev lua-busted lua-check lua-socket mosquitto \
             mosquitto-clients python3 python3-paho-mqtt nodejs npm clang clang-format \
             libclang-rt-14-dev util-linux procps openssl redis-server postgresql

UNITS   := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/*/test_*.c))
SPECS   := $(wildcard tests/spec/*_spec.lua tests/spec/*/*_spec.lua plugins/*/*_spec.lua)
LUA_SRC := lua plugins tests src/script/embed.lua
MODEL   := $(BUILD)/model/core
# Random sequences against the model, by mode: about ten seconds' worth.
SEQUENCES_release := 6000
SEQUENCES_asan    := 2000
SEQUENCES_tsan    := 2000
# How long tests wait, by mode: files run side by side, and sanitizers take their time.
SLOW_release := 2
SLOW_tsan    := 10
SLOW          = $(or $(SLOW_$(MODE)),6)
# One more test file than processors runs at a time: many wait most of the time.
TEST_JOBS ?= $(shell echo $$(($$(nproc) + 1)))
TEST_ENV = LUA_PATH="tests/?.lua;;" LUA_CPATH="build/?.so;;" SOL_BIN=$(BUILD)/sol \
           SOL_TEST_SLOW=$${SOL_TEST_SLOW:-$(SLOW)} SOL_SEQUENCES=$(or $(SEQUENCES_$(MODE)),500)
TESTS    = $(TEST_ENV) lua5.4 tests/run.lua $(TEST_JOBS)

.PHONY: test suite unit model soak soak-policy spec asan tsan layers lint fuzz coverage conformance test-deps built

test: test-deps    ## everything: unit tests and specs, in release and under ASan+UBSan
	@$(REMAKE) -j$$(nproc) MODE=release layers lint built
	@$(REMAKE) -j$$(nproc) MODE=asan built
	@$(REMAKE) MODE=release suite
	@$(REMAKE) MODE=asan suite

suite: built       ## unit tests and specs in one MODE
	@$(TESTS) $(SPECS) $(UNITS) $(MODEL)

unit: built        ## unit tests (cmocka)
	@$(TESTS) $(UNITS)

model: $(MODEL)    ## sequences at random, the core beside a reference model
	@$(TEST_ENV) $(MODEL)

SEQUENCES ?= 100000
WORKERS   ?= 1
soak: $(MODEL)     ## as model, for long, others every time (SEQUENCES=100000, SEED=N, WORKERS=1)
	@$(MODEL) tests/model/run.lua --count $(SEQUENCES) --seed $(or $(SEED),$$(date +%s)) \
	    --workers $(WORKERS) --faults 5

SECONDS ?= 3600
soak-policy: built ## reloads every second, faulty backends, clients that come and go (SECONDS=3600)
	@$(TEST_ENV) lua5.4 tests/soak/run.lua $(SECONDS)

spec: built        ## specs against a real broker (busted; SPECS=FILE for one)
	@$(TESTS) $(SPECS)

asan tsan:         ## unit tests and specs under ASan+UBSan; under TSan
	@$(REMAKE) -j$$(nproc) MODE=$@ built
	@$(REMAKE) MODE=$@ suite

built: $(BUILD)/sol $(UNITS) $(MODEL) build/support/proc.so

$(BUILD)/unit/%: tests/unit/%.c $(LIB)
	@mkdir -p $(@D)
	@echo "  TEST  $<"
	$(Q)$(CC) $(CFLAGS) -Itests/unit -MMD -MP $(LDFLAGS) -o $@ $< $(LIB) -lcmocka $(LIBS)

$(MODEL): tests/model/core.c $(LIB)
	@mkdir -p $(@D)
	@echo "  TEST  $<"
	$(Q)$(CC) $(CFLAGS) -Itests/unit -MMD -MP $(LDFLAGS) -o $@ $< $(LIB) -lcmocka \
	    $(MALLOC_$(MODE)) $(LIBS)

build/support/proc.so: tests/support/proc.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -O1 -g -Wall -Wextra -Werror -fPIC -shared \
	    -I/usr/include/lua5.4 -o $@ $<

-include $(UNITS:=.d) $(MODEL).d

FUZZ_SECONDS ?= 600
fuzz: test-deps    ## feed codec and broker what nobody sends (FUZZ_SECONDS=600 for each target)
	@tests/fuzz/run $(FUZZ_SECONDS)

layers:            ## check who includes whom
	@lua5.4 tests/lint/layers.lua

lint: $(BUILD)/gen/embed.c ## luacheck, formatting, and a second compiler's warnings
	@luacheck -q $(LUA_SRC) sol.lua.example
	@clang-format --dry-run -Werror $(SRC) $(HEADERS) $(MAIN)
	@clang $(CFLAGS) -fsyntax-only $(SRC) $(MAIN) && echo "lint: clean"

coverage: test-deps ## line coverage of unit tests and specs
	@$(REMAKE) -j$$(nproc) MODE=coverage built
	@$(REMAKE) MODE=coverage suite
	@tests/lint/coverage

conformance: built ## every normative statement and its tests
	@$(TEST_ENV) lua5.4 /usr/bin/busted --pattern=_spec -o json tests/spec/conformance \
	    >build/conformance.json || true
	@lua5.4 tests/spec/conformance/table.lua build/conformance.json docs/conformance.md

test-deps:
	@sh tests/support/need.sh $(TEST_DEPS)
	@cd tests/support && { npm ls mqtt >/dev/null 2>&1 || \
	    npm ci --ignore-scripts --no-audit --no-fund --silent; }
