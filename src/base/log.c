/* log.c -- formats a line on the stack and writes it once.
 *
 * Whatever a client can put into a message leaves here as printable text.  Control
 * characters, the C1 range included (a terminal obeys those too), and bytes that are
 * not UTF-8 are escaped, in text as \n \t \r \xNN \u00NN with the backslash doubled,
 * in JSON by JSON's own rules with U+FFFD for a byte that is not UTF-8; so a JSON line
 * is valid whatever a client sent.  LOG_LINE_MAX is PIPE_BUF: a pipe takes such a line
 * whole or not at all. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log.h"

#include "base/buf.h"
#include "base/mem.h"

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

/* Length of the UTF-8 character at `s`, 0 when it is none (overlong forms, surrogates
 * and values over U+10FFFF are none). */
static size_t utf8_len(const uint8_t *s, size_t left) {
    static const struct {
        uint8_t lead_mask, lead, len, min, max;
    } rows[] = {
        { 0x80, 0x00, 1, 0, 0 },       /* ASCII */
        { 0xff, 0xe0, 3, 0xa0, 0xbf }, /* not overlong */
        { 0xff, 0xed, 3, 0x80, 0x9f }, /* no surrogate */
        { 0xff, 0xf0, 4, 0x90, 0xbf }, /* not overlong */
        { 0xff, 0xf4, 4, 0x80, 0x8f }, /* up to U+10FFFF */
        { 0xe0, 0xc0, 2, 0x80, 0xbf }, /* the others by their lead */
        { 0xf0, 0xe0, 3, 0x80, 0xbf }, /* ... of three bytes */
        { 0xfc, 0xf0, 4, 0x80, 0xbf }, /* ... of four */
    };
    if (s[0] == 0xc0 || s[0] == 0xc1) return 0;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if ((s[0] & rows[i].lead_mask) != rows[i].lead) continue;
        size_t len = rows[i].len;
        if (len > left) return 0;
        if (len > 1 && (s[1] < rows[i].min || s[1] > rows[i].max)) return 0;
        for (size_t k = 2; k < len; k++)
            if ((s[k] & 0xc0) != 0x80) return 0;
        return len;
    }
    return 0;
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

/* Writes the escape for the character at `s` to `out`, "" when it needs none.  `len` is
 * its length, 0 for a byte that is not UTF-8. */
static void escape(const struct escapes *e, const uint8_t *s, size_t len, char out[8]) {
    out[0] = '\0';
    if (len == 0) {
        (void)snprintf(out, 8, e->invalid, s[0]);
    } else if (len == 1) {
        for (const char *n = e->named; *n; n += 2)
            if ((uint8_t)n[0] == s[0]) (void)snprintf(out, 8, "\\%c", n[1]);
        if (!out[0] && (s[0] < 0x20 || s[0] == 0x7f)) (void)snprintf(out, 8, e->control, s[0]);
    } else if (s[0] == 0xc2 && s[1] < 0xa0) {
        (void)snprintf(out, 8, "\\u%04x", s[1]);
    }
}

static void line_add_escaped(struct line *line, const char *text, const struct escapes *e) {
    const uint8_t *s = (const uint8_t *)text;
    size_t left = strlen(text);
    while (left && !line->cut) {
        char escaped[8];
        size_t len = utf8_len(s, left);
        escape(e, s, len, escaped);
        if (escaped[0])
            line_add(line, escaped, strlen(escaped));
        else
            line_add(line, (const char *)s, len);
        size_t step = len ? len : 1;
        s += step;
        left -= step;
    }
}

void log_escape(struct buf *out, enum log_format format, struct slice s) {
    for (size_t at = 0, step; at < s.len; at += step) {
        char escaped[8];
        size_t len = utf8_len(s.at + at, s.len - at);
        step = len ? len : 1;
        escape(&escapes[format], s.at + at, len, escaped);
        if (escaped[0])
            buf_add(out, escaped, strlen(escaped));
        else
            buf_add(out, s.at + at, step);
    }
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
