/* explain.h -- `sol explain` and `sol trace`.  Main's own. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_EXPLAIN_H
#define SOL_EXPLAIN_H

/* argv from "explain" or "trace" on; gives the exit status. */
int explain_main(int argc, char **argv);

#endif
