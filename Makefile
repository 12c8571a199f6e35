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
             libjemalloc-dev libcrypt-dev libjwt-dev libssl-dev libc-ares-dev \
             libcurl4-openssl-dev libpq-dev libedit-dev libsqlite3-dev

LIBS    := -llua5.4 -luuid -lsodium -ljansson -ljwt -lcrypt -lcurl -lpq -lcares -ledit -lssl -lcrypto \
           -lsqlite3 -lpthread -lm

# Without stubs between it and the libraries the way through a hook fits the processor's cache.
FLAGS_release  := -O2 -g -DNDEBUG -fno-plt
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
           -Isrc -I/usr/include/lua5.4 -I/usr/include/postgresql $(FLAGS_$(MODE))
LDFLAGS += $(FLAGS_$(MODE))

LAYERS  := base io mqtt core store cluster script admin
SRC     := $(foreach l,$(LAYERS),$(wildcard src/$(l)/*.c))
HEADERS := $(wildcard src/*.h src/*/*.h)
EMBED   := $(filter-out lua/sol/meta%.lua,$(wildcard lua/sol/*.lua))
MAIN    := $(wildcard src/*.c)
OBJ     := $(SRC:src/%.c=$(BUILD)/%.o) $(BUILD)/gen/embed.o
LIB     := $(BUILD)/libsol.a
REMAKE   = $(MAKE) --no-print-directory
# A sol.lua in this folder is the broker's policy; without one it runs on its defaults.
RUN_WITH = $(if $(wildcard sol.lua),run --watch -c sol.lua)

.PHONY: all sol run fmt install deps help clean
all: sol
sol: $(BUILD)/sol  ## build the broker (MODE=release|debug|asan|tsan)

run: deps          ## install what is missing, build, start (with ./sol.lua if there is one, and watch it)
	@$(REMAKE) -s sol
	@exec $(BUILD)/sol $(RUN_WITH)

# ---- building ------------------------------------------------------------------

$(BUILD)/sol: $(MAIN:src/%.c=$(BUILD)/%.o) $(LIB)
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

-include $(OBJ:.o=.d) $(MAIN:src/%.c=$(BUILD)/%.d)

fmt:               ## format the C sources
	clang-format -i $(SRC) $(HEADERS) $(MAIN) $(wildcard tests/unit/*/*.[ch] tests/fuzz/*.[ch]) tests/model/core.c

# ---- installing ----------------------------------------------------------------

install: sol       ## copy to PREFIX (/usr/local); DESTDIR is honoured
	install -D -m 755 $(BUILD)/sol $(DESTDIR)$(PREFIX)/bin/sol
	install -D -m 644 sol.lua.example $(DESTDIR)$(PREFIX)/share/sol/sol.lua.example
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/sol $(wildcard lua/sol/meta*.lua)
	cd plugins && find . -name '*.lua' -not -name '*_spec.lua' -exec \
	    install -D -m 644 {} $(DESTDIR)$(PREFIX)/share/sol/plugins/{} \;

deps:
	@sh tests/support/need.sh $(RUN_DEPS)

help:              ## list targets
	@sed -n 's/^\([a-z -]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

clean:             ## remove what was built
	rm -rf build

include tests/tests.mk tests/bench/bench.mk
