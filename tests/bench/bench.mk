# Building and running the benchmark; see README.md here.
# SPDX-License-Identifier: BSD-2-Clause

BENCH := $(wildcard tests/bench/*.c)

.PHONY: bench
bench: deps        ## compare with mosquitto (ARGS="--quick --only pair-1")
	@$(REMAKE) sol build/bench/load build/bench/relay
	@tests/bench/bench $(ARGS)

build/bench/load:  $(filter-out tests/bench/relay.c,$(BENCH))
build/bench/relay: $(addprefix tests/bench/,relay.c net.c wire.c)
build/bench/load build/bench/relay: $(wildcard tests/bench/*.h)
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -O2 -g -Wall -Wextra -Werror -o $@ $(filter %.c,$^)
