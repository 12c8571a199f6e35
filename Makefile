# Sol: build, run, test.  `make help` lists the targets.
# SPDX-License-Identifier: BSD-2-Clause

MODE    ?= release
$(if $(filter release debug asan tsan coverage,$(MODE)),,$(error MODE is $(MODE); it may be \
  release, debug, asan, tsan or coverage))
CC      := $(if $(filter default,$(origin CC)),gcc,$(CC))
PREFIX  ?= /usr/local
Q       := $(if $(V),,@)
BUILD   := build/$(MODE)
VERSION := 0.1.0

RUN_DEPS  := gcc libc6-dev lua5.4 liblua5.4-dev uuid-dev libsodium-dev libjansson-dev \
             libjemalloc-dev libcrypt-dev
TEST_DEPS := $(RUN_DEPS) libcmocka-dev lua-busted lua-check lua-socket mosquitto \
             mosquitto-clients python3 python3-paho-mqtt nodejs npm clang clang-format \
             libclang-rt-14-dev util-linux procps

LIBS    := -llua5.4 -luuid -lsodium -ljansson -lcrypt -lpthread -lm

FLAGS_release  := -O2 -g -DNDEBUG
FLAGS_debug    := -O0 -g3
FLAGS_asan     := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined \
                  -fno-omit-frame-pointer
FLAGS_tsan     := -O1 -g -fsanitize=thread -fno-omit-frame-pointer
FLAGS_coverage := -O0 -g --coverage
# jemalloc takes malloc's place at link time; sanitizers and coverage bring their own.
MALLOC_release := -ljemalloc

CFLAGS  += -std=c11 -D_GNU_SOURCE -DSOL_VERSION='"$(VERSION)"' \
           -DSOL_PLUGIN_DIR='"$(PREFIX)/share/sol/plugins"' -Wall -Wextra -Werror -Wshadow \
           -Wstrict-prototypes -Wmissing-prototypes -fno-strict-aliasing \
           -Isrc -I/usr/include/lua5.4 $(FLAGS_$(MODE))
LDFLAGS += $(FLAGS_$(MODE))

LAYERS  := base io mqtt core store cluster script admin
SRC     := $(foreach l,$(LAYERS),$(wildcard src/$(l)/*.c))
HEADERS := $(wildcard src/*/*.h)
EMBED   := $(filter-out lua/sol/meta.lua,$(wildcard lua/sol/*.lua))
OBJ     := $(SRC:src/%.c=$(BUILD)/%.o) $(BUILD)/gen/embed.o
LIB     := $(BUILD)/libsol.a
UNITS   := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/*/test_*.c))
SPECS   := tests/spec plugins
LUA_SRC := lua plugins tests src/script/embed.lua
# A sol.lua in this folder is the broker's policy; without one it runs on its defaults.
RUN_WITH = $(if $(wildcard sol.lua),-c sol.lua)
SPEC     = LUA_PATH="tests/?.lua;;" LUA_CPATH="build/?.so;;" SOL_BIN=$(BUILD)/sol \
           lua5.4 /usr/bin/busted --pattern=_spec

.PHONY: all sol run test unit spec fuzz asan tsan lint fmt layers coverage conformance bench install help \
        clean deps test-deps suite built
all: sol

sol: $(BUILD)/sol  ## build the broker (MODE=release|debug|asan|tsan)

run: deps          ## install what is missing, build, start (with ./sol.lua if there is one)
	@$(MAKE) --no-print-directory -s sol
	@exec $(BUILD)/sol $(RUN_WITH)

test: test-deps    ## everything: unit tests and specs, in release and under ASan+UBSan
	@$(MAKE) --no-print-directory layers lint
	@$(MAKE) --no-print-directory -j$$(nproc) MODE=release built
	@$(MAKE) --no-print-directory MODE=release suite
	@$(MAKE) --no-print-directory -j$$(nproc) MODE=asan built
	@SOL_TEST_SLOW=4 $(MAKE) --no-print-directory MODE=asan suite

suite: unit spec

built: $(BUILD)/sol $(UNITS) build/support/proc.so

unit: $(UNITS)     ## unit tests (cmocka)
	@for t in $(UNITS); do $$t || exit 1; done

spec: $(BUILD)/sol build/support/proc.so ## specs against a real broker (busted; SPECS=FILE for one)
	@$(SPEC) $(SPECS)

asan:              ## unit tests and specs under ASan+UBSan
	@SOL_TEST_SLOW=4 $(MAKE) --no-print-directory MODE=asan suite

tsan:              ## unit tests and specs under TSan
	@SOL_TEST_SLOW=8 $(MAKE) --no-print-directory MODE=tsan suite

# ---- building ------------------------------------------------------------------

$(BUILD)/sol: $(BUILD)/main.o $(LIB)
	@echo "  LINK  $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(MALLOC_$(MODE)) $(LIBS)

$(LIB): $(OBJ)
	@rm -f $@ && ar rcs $@ $^

$(BUILD)/%.o: src/%.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/gen/embed.c: src/script/embed.lua $(EMBED)
	@mkdir -p $(@D)
	$(Q)lua5.4 src/script/embed.lua $@ $(EMBED)

$(BUILD)/gen/embed.o: $(BUILD)/gen/embed.c
	$(Q)$(CC) $(CFLAGS) -c -o $@ $<

$(BUILD)/unit/%: tests/unit/%.c $(LIB)
	@mkdir -p $(@D)
	@echo "  TEST  $<"
	$(Q)$(CC) $(CFLAGS) -Itests/unit -MMD -MP $(LDFLAGS) -o $@ $< $(LIB) -lcmocka $(LIBS)

build/support/proc.so: tests/support/proc.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -O1 -g -Wall -Wextra -Werror -fPIC -shared \
	    -I/usr/include/lua5.4 -o $@ $<

-include $(OBJ:.o=.d) $(BUILD)/main.d $(UNITS:=.d)

# ---- checking ------------------------------------------------------------------

FUZZ_SECONDS ?= 600
fuzz: test-deps    ## feed the codec mutated packets (FUZZ_SECONDS=600 for each target)
	@mkdir -p build/fuzz
	@for t in decode topic; do \
	    clang -std=c11 -D_GNU_SOURCE -g -O1 -Isrc -fsanitize=fuzzer,address,undefined \
	        -fno-sanitize-recover=undefined \
	        -o build/fuzz/$$t tests/fuzz/fuzz_$$t.c src/mqtt/*.c src/base/*.c -luuid || exit 1; \
	    mkdir -p build/fuzz/corpus-$$t; \
	    build/fuzz/$$t -max_total_time=$(FUZZ_SECONDS) -max_len=2048 -print_final_stats=1 \
	        -verbosity=0 -dict=tests/fuzz/mqtt.dict \
	        build/fuzz/corpus-$$t tests/fuzz/corpus/$$t || exit 1; \
	done

layers:            ## check who includes whom
	@lua5.4 tests/lint/layers.lua

lint: $(BUILD)/gen/embed.c ## luacheck, formatting, and a second compiler's warnings
	@luacheck -q $(LUA_SRC) sol.lua.example
	@clang-format --dry-run -Werror $(SRC) $(HEADERS) src/main.c
	@clang $(CFLAGS) -fsyntax-only $(SRC) src/main.c && echo "lint: clean"

fmt:               ## format the C sources
	clang-format -i $(SRC) $(HEADERS) src/main.c $(wildcard tests/unit/*/*.[ch])

coverage: test-deps ## line coverage of unit tests and specs
	@$(MAKE) --no-print-directory MODE=coverage suite
	@cd build/coverage && gcov -n $$(find . -name '*.gcda' -not -path './unit/*') 2>/dev/null | \
	    awk "/^File '.*src/ { f = \$$2 } /^Lines/ && f { print f, \$$2, \$$4; f = \"\" }" FS="[':% ]+" | sort

conformance: $(BUILD)/sol build/support/proc.so ## every normative statement and its tests
	@mkdir -p build
	@$(SPEC) -o json tests/spec/conformance >build/conformance.json || true
	@lua5.4 tests/spec/conformance/table.lua build/conformance.json docs/conformance.md

bench: deps        ## compare with mosquitto (ARGS="--quick --only pair-1")
	@$(MAKE) --no-print-directory sol build/bench/load build/bench/relay
	@tests/bench/bench $(ARGS)

build/bench/load: $(filter-out tests/bench/relay.c,$(wildcard tests/bench/*.c)) $(wildcard tests/bench/*.h)
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -O2 -g -Wall -Wextra -Werror -o $@ $(filter %.c,$^)

build/bench/relay: tests/bench/relay.c tests/bench/net.c tests/bench/wire.c $(wildcard tests/bench/*.h)
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -O2 -g -Wall -Wextra -Werror -o $@ $(filter %.c,$^)

# ---- installing ----------------------------------------------------------------

install: sol       ## copy to PREFIX (/usr/local); DESTDIR is honoured
	install -D -m 755 $(BUILD)/sol $(DESTDIR)$(PREFIX)/bin/sol
	install -D -m 644 sol.lua.example $(DESTDIR)$(PREFIX)/share/sol/sol.lua.example
	install -D -m 644 lua/sol/meta.lua $(DESTDIR)$(PREFIX)/share/sol/meta.lua
	cd plugins && find . -name '*.lua' -not -name '*_spec.lua' -exec \
	    install -D -m 644 {} $(DESTDIR)$(PREFIX)/share/sol/plugins/{} \;

deps:
	@sh tests/support/need.sh $(RUN_DEPS)

test-deps:
	@sh tests/support/need.sh $(TEST_DEPS)
	@cd tests/support && { npm ls mqtt >/dev/null 2>&1 || { echo "installing MQTT.js"; \
	    npm ci --ignore-scripts --no-audit --no-fund --silent; }; }

help:              ## list targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

clean:             ## remove what was built
	rm -rf build
