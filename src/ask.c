/* ask.c -- options in, a question out, its answer as it comes. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "ask.h"

#include "admin/caller.h"
#include "admin/phrase.h"
#include "base/mem.h"
#include "script/suggest.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char usage[] =
    "usage: sol explain connect|publish|subscribe --client ID [options]\n"
    "       sol trace [--client ID] [--topic FILTER] [--json] [SOCKET]\n"
    "\n"
    "explain says what the policy makes of it, handler by handler; nothing comes of it.\n"
    "  --client ID          the client\n"
    "  --username NAME      its user name\n"
    "  --password TEXT      its password; @FILE: what stands there\n"
    "  --topic TOPIC        publish: where\n"
    "  --payload TEXT       publish: what; @FILE: what stands there\n"
    "  --retain             publish: to be retained\n"
    "  --filter FILTER      subscribe: to what\n"
    "  --qos 0|1|2\n"
    "  --listener URL       the listener it comes by; otherwise the first one\n"
    "  --as-connected       do not ask about its CONNECT\n"
    "  -c, --config FILE    the policy; without it the defaults are asked\n"
    "      --live [SOCKET]  ask the running broker, by its admin socket\n"
    "      --json           an object a line\n"
    "The exit status is 0 for allowed, 1 for refused, 2 for a question that cannot be asked.\n"
    "\n"
    "trace shows live traffic until Ctrl-C: each time handlers are asked.\n";

enum { FILE_MAX = 256 << 20 }; /* bytes: no MQTT packet is larger */

/* ---- words ---------------------------------------------------------------------------- */

static int fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int fail(const char *fmt, ...) {
    va_list args;
    fputs("sol: ", stderr);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    return ASK_IMPOSSIBLE;
}

/* The command line is wrong. */
#define complain(...)                                                                              \
    (fail(__VA_ARGS__), fputs("try: sol explain --help\n", stderr), ASK_IMPOSSIBLE)

/* What stands in a file; false and errno. */
static bool read_file(const char *path, struct buf *out) {
    FILE *f = fopen(path, "rb");
    bool ok = f != NULL;
    while (ok && !feof(f) && out->len <= FILE_MAX) {
        out->len += fread(buf_reserve(out, 65536), 1, 65536, f);
        ok = !ferror(f);
    }
    int error = out->len > FILE_MAX ? EFBIG : errno;
    if (f) (void)fclose(f);
    errno = error;
    return ok && out->len <= FILE_MAX;
}

static int set(struct ask *a, unsigned i, const char *text) {
    AUTO(buf_deinit) struct buf bytes = BUF_INIT;
    struct slice value = slice_str(text);
    if (text && *text == '@' && inquiry_is_bytes(i)) {
        if (!read_file(text + 1, &bytes)) return fail("%s: %s", text + 1, strerror(errno));
        value = bytes.at ? buf_slice(&bytes) : SLICE("");
    }
    const char *expected = inquiry_set(&a->inquiry, i, value);
    if (!expected) return ASK_GO_ON;
    return complain("--%s: expected %s", inquiry_name(i), expected);
}

static int unknown(const char *arg) {
    char text[SUGGEST_MAX + 24];
    struct suggest near;
    suggest_init(&near, arg + strspn(arg, "-"));
    for (unsigned i = 0; inquiry_name(i); i++) suggest_offer(&near, inquiry_name(i));
    suggest_offer(&near, "config");
    suggest_offer(&near, "live");
    return complain("unknown option \"%s\"%s", arg, suggest_text(&near, text));
}

/* The words that are left to read. */
struct words {
    char **at, **end;
};

/* The value of an option: behind its '=', or the next word; NULL: there is none. */
static const char *value_of(struct words *w, const char *equals) {
    if (equals) return equals + 1;
    return w->at < w->end ? *w->at++ : NULL;
}

static bool is_named(const char *arg, size_t len, const char *name) {
    return strlen(name) == len && strncmp(arg, name, len) == 0;
}

static int read_option(struct ask *a, struct words *w, const char *arg) {
    const char *name = arg + 2, *equals = strchr(name, '=');
    size_t len = equals ? (size_t)(equals - name) : strlen(name);
    if (strcmp(arg, "-c") == 0 || is_named(name, len, "config")) {
        a->config = value_of(w, strcmp(arg, "-c") == 0 ? NULL : equals);
        return a->config ? ASK_GO_ON : complain("%s: which file?", arg);
    }
    if (arg[1] != '-') return unknown(arg);
    if (is_named(name, len, "live")) {
        a->is_live = true;
        if (equals) a->socket = equals + 1;
        return ASK_GO_ON;
    }
    for (unsigned i = 0; inquiry_name(i); i++) {
        if (!is_named(name, len, inquiry_name(i))) continue;
        if (inquiry_is_flag(i)) return equals ? unknown(arg) : set(a, i, NULL);
        const char *value = value_of(w, equals);
        return value ? set(a, i, value) : complain("--%s: a value is missing", inquiry_name(i));
    }
    return unknown(arg);
}

static bool is_help(const char *arg) {
    return strcmp(arg, "-h") == 0 || strcmp(arg, "--help") == 0;
}

static int read_word(struct ask *a, struct words *w) {
    const char *arg = *w->at++;
    if (is_help(arg)) {
        fputs(usage, stdout);
        return EXIT_SUCCESS;
    }
    if (arg[0] == '-' && arg[1]) return read_option(a, w, arg);
    if (!a->is_live || a->socket) return complain("unexpected argument \"%s\"", arg);
    a->socket = arg;
    return ASK_GO_ON;
}

int ask_read(int argc, char **argv, struct ask *a) {
    struct words w = { argv + 1, argv + argc };
    bool traces = strcmp(argv[0], "trace") == 0;
    int r = ASK_GO_ON;
    *a = (struct ask){ .is_live = traces };
    if (traces)
        inquiry_set_action(&a->inquiry, SLICE("trace"));
    else if (w.at < w.end && **w.at != '-' && !inquiry_set_action(&a->inquiry, slice_str(*w.at++)))
        return complain("explain what, \"%s\"? connect, publish or subscribe", w.at[-1]);
    else if (w.at == argv + 1 && (w.at == w.end || !is_help(*w.at)))
        return complain("explain what? connect, publish or subscribe");
    while (r == ASK_GO_ON && w.at < w.end) r = read_word(a, &w);
    if (r != ASK_GO_ON) return r;
    const char *why = inquiry_invalid(&a->inquiry);
    if (why) return complain("%s", why);
    return a->is_live && a->config ? complain("--live asks the policy that runs: no --config")
                                   : ASK_GO_ON;
}

/* ---- a running broker ------------------------------------------------------------------- */

static volatile sig_atomic_t interrupted;

static void on_signal(int signal) {
    (void)signal;
    interrupted = 1;
}

static void print(void *obj, struct slice part) {
    (void)obj;
    fwrite(part.at, 1, part.len, stdout);
    fflush(stdout);
}

/* How many workers it has. */
static unsigned workers_of(struct caller *c) {
    AUTO(buf_deinit) struct buf answer = BUF_INIT;
    unsigned n = 1;
    if (caller_ask(c, &(struct question){ .verb = "status" }, &answer) != CALLER_OK) return 1;
    buf_add(&answer, "", 1);
    const char *at = strstr((const char *)answer.at, "\"workers\":");
    if (at) n = (unsigned)strtoul(at + 10, NULL, 10);
    return n ? n : 1;
}

/* A worker that is not the client's home says which one is. */
static int ask_home(struct caller *c, struct slice body, struct buf *answer) {
    char words[32] = "worker=0";
    for (int tries = 0; tries < 2; tries++) {
        answer->len = 0;
        int r = caller_ask(
            c, &(struct question){ .verb = "explain", .words = words, .body = body, .out = print },
            answer);
        if (r < 0 || !slice_starts(buf_slice(answer), SLICE("worker="))) return r;
        snprintf(words, sizeof words, "%.*s", SLICE_FMT(buf_slice(answer)));
    }
    return CALLER_FAILED;
}

static int ask_all(struct caller *c, struct slice body, struct buf *answer) {
    struct question q = { .verb = "trace", .body = body, .out = print };
    q.workers = workers_of(c);
    return caller_ask(c, &q, answer);
}

/* The exit status of an answer. */
static int conclude(int r, const struct ask *a, const struct buf *answer) {
    struct slice last = buf_slice(answer);
    if (r == -EPIPE) return fail("the broker ended before it answered");
    if (r == -EINTR) return fail("given up; the broker does not answer");
    if (r != CALLER_OK) return fail("%.*s", SLICE_FMT(last));
    if (a->inquiry.action == INQUIRE_TRACE || slice_eq(last, SLICE("allowed"))) return ASK_ALLOWED;
    return slice_eq(last, SLICE("refused")) ? ASK_REFUSED : ASK_IMPOSSIBLE;
}

int ask_broker(const struct ask *a) {
    AUTO(buf_deinit) struct buf body = BUF_INIT, answer = BUF_INIT;
    struct sigaction action = { .sa_handler = on_signal };
    struct caller c;
    char *why;
    inquiry_write(&a->inquiry, &body);
    if (body.len > PHRASE_BODY_MAX)
        return fail("a running broker takes questions of at most %zu bytes", PHRASE_BODY_MAX);
    if (!caller_open(&c, a->socket, &why)) {
        int status = fail("%s", why);
        free(why);
        return status;
    }
    c.interrupt = &interrupted;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    bool traces = a->inquiry.action == INQUIRE_TRACE;
    int r =
        traces ? ask_all(&c, buf_slice(&body), &answer) : ask_home(&c, buf_slice(&body), &answer);
    caller_close(&c);
    return conclude(r, a, &answer);
}
