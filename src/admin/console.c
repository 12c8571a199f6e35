/* console.c -- `sol console`: lines in, values out.
 *
 * On a terminal it edits lines and keeps a history; else it reads its input to the end, one
 * complete chunk after the other; with -e it runs what it is given.  What is shown on a
 * terminal is freed of control characters first: names of clients are theirs to choose. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/caller.h"
#include "admin/commands.h"
#include "admin/edit.h"
#include "admin/show.h"
#include "base/mem.h"

#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char usage[] =
    "usage: sol console [-w N] [-e CODE] [SOCKET]\n"
    "  -w, --worker N     in the Lua VM of this worker (0)\n"
    "  -e, --eval CODE    run this and end, with status 1 when it fails\n"
    "Without a terminal it runs what it reads from standard input.  Try: help()\n";

struct console {
    struct caller caller;
    char words[32];        /* for the broker: which worker */
    struct buf chunk;      /* lines that are not a whole yet */
    struct buf answer;     /* memory for one */
    struct editor *editor; /* NULL: no terminal */
    bool has_failed, is_over;
};

/* A signal came. */
static volatile sig_atomic_t interrupt;

static void on_interrupt(int signal) {
    (void)signal;
    interrupt = 1;
}

/* ---- showing ------------------------------------------------------------- */

static void show_line(FILE *to, struct slice text) {
    if (!text.len) return;
    show(to, text);
    if (text.at[text.len - 1] != '\n') putc('\n', to);
    fflush(to);
}

static void on_out(void *obj, struct slice part) {
    (void)obj;
    show(stdout, part);
    fflush(stdout);
}

/* ---- asking -------------------------------------------------------------- */

/* Leaves the answer in c->answer. */
static int ask(struct console *c, const char *verb, struct slice body) {
    struct question q = { .verb = verb, .words = c->words, .body = body, .out = on_out };
    c->answer.len = 0;
    int r = caller_ask(&c->caller, &q, &c->answer);
    if (r >= 0) return r;
    fputs(r == -EINTR ? "sol: the broker does not answer\n" : "sol: the broker has gone\n", stderr);
    c->has_failed = c->is_over = true;
    return r;
}

static void evaluate(struct console *c, struct slice code) {
    int r = ask(c, "eval", code);
    if (r < 0) return;
    if (r == CALLER_FAILED) c->has_failed = true;
    fflush(stdout);
    show_line(r == CALLER_OK ? stdout : stderr, buf_slice(&c->answer));
}

static void complete(void *obj, struct slice before_cursor, struct buf *out) {
    struct console *c = obj;
    if (ask(c, "complete", before_cursor) == CALLER_OK) buf_add_slice(out, buf_slice(&c->answer));
}

/* Is this whole?  On a terminal it is forgotten when nobody can tell, or wants to wait. */
static bool is_whole(struct console *c, struct slice code) {
    int r = ask(c, "parse", code);
    if (r == CALLER_FAILED && c->editor) {
        show_line(stderr, buf_slice(&c->answer));
        c->chunk.len = 0;
    }
    return r == CALLER_OK && !slice_eq(buf_slice(&c->answer), SLICE("part"));
}

/* A line was read: runs what is whole by now. */
static void take_line(struct console *c, struct slice line, bool is_last) {
    buf_add_slice(&c->chunk, line);
    struct slice code = buf_slice(&c->chunk);
    if (!is_last && !is_whole(c, code)) return;
    evaluate(c, code);
    if (c->editor && code.len > 1) {
        char *text = xslicedup(code);
        editor_remember(c->editor, text);
        free(text);
    }
    c->chunk.len = 0;
}

/* ---- the three ways ------------------------------------------------------- */

static void run_input(struct console *c) {
    char *line = NULL;
    size_t cap = 0;
    for (ssize_t n; !c->is_over && (n = getline(&line, &cap, stdin)) > 0;)
        take_line(c, slice_of(line, (size_t)n), false);
    if (!c->is_over && c->chunk.len) take_line(c, SLICE(""), true);
    free(line);
}

/* Where the history is kept; free() it.  NULL: nowhere. */
static char *history_path(void) {
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    char *path = NULL;
    int n = 0;
    if (state && *state)
        n = asprintf(&path, "%s/sol_history", state);
    else if (home && *home)
        n = asprintf(&path, "%s/.sol_history", home);
    return n > 0 ? path : NULL;
}

static void run_terminal(struct console *c) {
    char *path = history_path();
    c->editor = editor_new(path, &interrupt, complete, c);
    free(path);
    while (!c->is_over) {
        struct slice line;
        int r = editor_read(c->editor, c->chunk.len ? "...> " : "sol> ", &line);
        if (r == EDITOR_END) break;
        if (r == EDITOR_LINE && (c->chunk.len || line.len > 1)) take_line(c, line, false);
        if (r != EDITOR_INTERRUPTED) continue;
        c->chunk.len = 0;
        putchar('\n');
    }
    editor_free(c->editor);
    putchar('\n');
}

static int run(struct console *c, const char *code) {
    c->caller.interrupt = &interrupt;
    sigaction(SIGINT, &(struct sigaction){ .sa_handler = on_interrupt }, NULL);
    if (code)
        evaluate(c, slice_str(code));
    else if (isatty(STDIN_FILENO))
        run_terminal(c);
    else
        run_input(c);
    bool is_quiet = !code && isatty(STDIN_FILENO);
    return c->has_failed && (!is_quiet || c->is_over) ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---- the command line ------------------------------------------------------ */

/* Puts the number of a worker into what is asked; false: it is none. */
static bool set_worker(struct console *c, const char *text) {
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 2 || text[digits]) return false;
    snprintf(c->words, sizeof c->words, "worker=%s", text);
    return true;
}

int console_main(int argc, char **argv) {
    static const struct option rows[] = { { "worker", required_argument, NULL, 'w' },
                                          { "eval", required_argument, NULL, 'e' },
                                          { "help", no_argument, NULL, 'h' },
                                          { NULL, 0, NULL, 0 } };
    struct console c = { .words = "worker=0" };
    const char *code = NULL;
    bool is_right = true;
    char *why;
    for (int o; (o = getopt_long(argc, argv, "w:e:h", rows, NULL)) != -1;) {
        if (o == 'h') {
            fputs(usage, stdout);
            return EXIT_SUCCESS;
        }
        if (o == 'e') code = optarg;
        if (o == 'w') is_right &= set_worker(&c, optarg);
        if (o == '?') is_right = false;
    }
    if (!is_right || argc - optind > 1) {
        fputs(usage, stderr);
        return 2;
    }
    setlocale(LC_CTYPE, "");
    if (!caller_open(&c.caller, argv[optind], &why)) {
        fprintf(stderr, "sol: %s\n", why);
        free(why);
        return EXIT_FAILURE;
    }
    int status = run(&c, code);
    caller_close(&c.caller);
    buf_deinit(&c.chunk);
    buf_deinit(&c.answer);
    return status;
}
