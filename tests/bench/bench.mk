# Building and running the benchmark; see README.md here.
# SPDX-License-Identifier: BSD-2-Clause

BENCH := $(wildcard tests/bench/*.c)
BENCH_DEPS := $(RUN_DEPS) mosquitto valgrind util-linux procps

.PHONY: bench bench-report bench-instructions bench-ready
bench: bench-ready ## compare with mosquitto (ARGS="--quick --only pair-1")
	@tests/bench/bench $(ARGS)

bench-report: bench-ready ## the same, with two workers too, then write docs/benchmarks.md and its pictures
	@tests/bench/bench --brokers sol,sol2,mosquitto,relay $(ARGS); status=$$?; \
	tests/bench/instructions >build/instructions.txt && cat build/instructions.txt && \
	tests/bench/report build/bench.tsv build/instructions.txt docs/benchmarks.md && exit $$status

bench-instructions: bench-ready ## instructions per message (ARGS="pair-1-q0 connect")
	@tests/bench/instructions $(ARGS)

bench-ready:
	@sh tests/support/need.sh $(BENCH_DEPS)
	@$(REMAKE) -s sol build/bench/load build/bench/relay build/bench/later

build/bench/load:  $(filter-out tests/bench/relay.c tests/bench/later.c,$(BENCH))
build/bench/relay: $(addprefix tests/bench/,relay.c net.c wire.c)
build/bench/later: $(addprefix tests/bench/,later.c net.c wire.c)
build/bench/load build/bench/relay build/bench/later: $(wildcard tests/bench/*.h)
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -O2 -g -Wall -Wextra -Werror -o $@ $(filter %.c,$^)
