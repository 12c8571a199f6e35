/* test_main.h -- `sol test`: specs of policies. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_TEST_MAIN_H
#define SOL_SCRIPT_TEST_MAIN_H

/* `sol test [OPTION]... FILE...`: argv from "test" on; gives the exit status. */
int test_main(int argc, char **argv);

#endif
