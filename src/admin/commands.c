/* commands.c -- one question, one answer, an exit status. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/commands.h"

#include "admin/caller.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int reload_main(int argc, char **argv) {
    struct caller c;
    struct buf answer = BUF_INIT;
    char *why;
    if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
        bool is_help = strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0;
        fputs("usage: sol reload [SOCKET]\n", is_help ? stdout : stderr);
        return is_help ? EXIT_SUCCESS : 2;
    }
    if (!caller_open(&c, argv[1], &why)) {
        fprintf(stderr, "sol: %s\n", why);
        free(why);
        return EXIT_FAILURE;
    }
    int r = caller_ask(&c, &(struct question){ .verb = "reload" }, &answer);
    if (r < 0)
        fputs("sol: the broker ended before it answered\n", stderr);
    else
        fprintf(r == CALLER_OK ? stdout : stderr, "%.*s\n", SLICE_FMT(buf_slice(&answer)));
    buf_deinit(&answer);
    caller_close(&c);
    return r == CALLER_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
