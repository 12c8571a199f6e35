/* log.c -- formats a line on the stack and writes it once.
 *
 * Whatever a client can put into a message leaves here as printable text.  Control
 * characters (base/text.h) and bytes that are not UTF-8 are escaped, in text as \n \t \r
 * \xNN \uNNNN with the backslash doubled, in JSON by JSON's own rules with U+FFFD for a byte
 * that is not UTF-8; so a JSON line is valid whatever a client sent.  LOG_LINE_MAX is
 * PIPE_BUF: a pipe takes such a line whole or not at all. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

_Static_assert(LOG_LINE_MAX <= PIPE_BUF, "a line must be atomic on a pipe");

static const char *const level_names[] = {
    [LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARN] = "warn",
    [LOG_ERROR] = "error", [LOG_OFF] = "off",
};

/* ---- a line being made --------------------------------------------------- */

#define TAIL_MAX 8 /* "...", quote, brace, newline */

struct line {
    char at[LOG_LINE_MAX];
    size_t len;
    bool cut;
};

/* Adds all of `text` or, at the end of the room, nothing more at all. */
static void line_add(struct line *line, const char *text, size_t len) {
    if (line->cut || line->len + len > sizeof line->at - TAIL_MAX) {
        line->cut = true;
        return;
    }
    memcpy(line->at + line->len, text, len);
    line->len += len;
}

static void line_end(struct line *line, const char *tail) {
    size_t len = strlen(tail);
    memcpy(line->at + line->len, tail, len);
    line->len += len;
}

/* What stands for a character that may not stand for itself. */
struct escapes {
    const char *named;   /* pairs: character, letter after the backslash */
    const char *control; /* printf format for the others */
    const char *invalid; /* printf format for a byte that is not UTF-8 */
};

static const struct escapes escapes[] = {
    [LOG_TEXT] = { "\nn\tt\rr\\\\", "\\x%02x", "\\x%02x" },
    [LOG_JSON] = { "\nn\tt\rr\bb\ff\\\\\"\"", "\\u%04x", "\\ufffd" },
};

/* Writes the escape for a character of `len` bytes to `out`, "" when it needs none.  len 0: a
 * byte that is not UTF-8. */
static void escape(const struct escapes *e, uint32_t code, size_t len, char out[8]) {
    out[0] = '\0';
    for (const char *n = e->named; len == 1 && *n; n += 2)
        if ((uint8_t)n[0] == code) (void)snprintf(out, 8, "\\%c", n[1]);
    if (len == 0)
        (void)snprintf(out, 8, e->invalid, code);
    else if (!out[0] && text_is_control(code))
        (void)snprintf(out, 8, len == 1 ? e->control : "\\u%04x", code);
}

/* What stands for the character at the beginning of `s` (`room` is for an escape), which goes
 * on behind it. */
static struct slice next_shown(const struct escapes *e, struct slice *s, char room[8]) {
    uint32_t code;
    size_t len = text_char(s->at, s->len, &code);
    struct slice self = slice_of(s->at, len ? len : 1);
    *s = slice_of(s->at + self.len, s->len - self.len);
    escape(e, code, len, room);
    return room[0] ? slice_str(room) : self;
}

static void line_add_escaped(struct line *line, const char *text, const struct escapes *e) {
    char room[8];
    for (struct slice s = slice_str(text); s.len && !line->cut;) {
        struct slice shown = next_shown(e, &s, room);
        line_add(line, (const char *)shown.at, shown.len);
    }
}

void log_escape(struct buf *out, enum log_format format, struct slice s) {
    char room[8];
    while (s.len) buf_add_slice(out, next_shown(&escapes[format], &s, room));
}

/* ---- the two formats ----------------------------------------------------- */

#define TIME_TEXT 32

static void time_text(char out[TIME_TEXT]) {
    struct timespec now;
    struct tm utc;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &utc);
    size_t n = strftime(out, TIME_TEXT, "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(out + n, TIME_TEXT - n, ".%03ldZ", now.tv_nsec / 1000000);
}

static void line_begin(struct line *line, enum log_format format, enum log_level level,
                       const char *area) {
    static const char *const shapes[] = {
        [LOG_TEXT] = "%s %-5s %-8.64s ",
        [LOG_JSON] = "{\"time\":\"%s\",\"level\":\"%s\",\"area\":\"%.64s\",\"message\":\"",
    };
    char time[TIME_TEXT];
    time_text(time);
    int n = snprintf(line->at, sizeof line->at / 2, shapes[format], time, level_names[level], area);
    line->len = (size_t)n;
    line->cut = false;
}

/* One write; the line is dropped where that would block. */
static void line_send(const struct line *line, int fd) {
    struct pollfd room = { .fd = fd, .events = POLLOUT };
    if (poll(&room, 1, 0) != 1) return;
    ssize_t n;
    do n = write(fd, line->at, line->len);
    while (n < 0 && errno == EINTR);
}

/* ---- operations ---------------------------------------------------------- */

void log_init(struct log *log, int fd, enum log_level level, enum log_format format) {
    log->fd = fd;
    log->sink = NULL;
    log_set(log, level, format);
}

void log_set(struct log *log, enum log_level level, enum log_format format) {
    atomic_store_explicit(&log->level, (int)level, memory_order_relaxed);
    atomic_store_explicit(&log->format, (int)format, memory_order_relaxed);
}

static void send_message(struct log *log, enum log_level level, const char *area,
                         const char *message) {
    enum log_format format = atomic_load_explicit(&log->format, memory_order_relaxed);
    struct line line;
    line_begin(&line, format, level, area);
    line_add_escaped(&line, message, &escapes[format]);
    if (line.cut) line_end(&line, "...");
    line_end(&line, format == LOG_JSON ? "\"}\n" : "\n");
    line_send(&line, log->fd);
}

void log_write(struct log *log, enum log_level level, const char *area, const char *fmt, ...) {
    if (!log_enabled(log, level)) return;
    int saved = errno;
    char message[LOG_LINE_MAX]; /* what does not fit here would not fit the line either */
    va_list args;
    va_start(args, fmt);
    if (vsnprintf(message, sizeof message, fmt, args) < 0) message[0] = '\0';
    va_end(args);
    if (log->sink)
        log->sink(log->sink_obj, level, area, message);
    else
        send_message(log, level, area, message);
    errno = saved;
}
