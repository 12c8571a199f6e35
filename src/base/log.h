/* log.h -- one event a line, as text or JSON, to a descriptor.
 *
 * A line is formatted on the stack and leaves in one write(), so lines of several
 * threads never mix.  Control characters in a message are escaped: a client cannot
 * forge a line.  A message longer than LOG_LINE_MAX is cut, marked with "...".
 * Any thread; level and format are set before threads start or by log_set_level. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_BASE_LOG_H
#define SOL_BASE_LOG_H

#include "base/slice.h"

#include <stdatomic.h>
#include <stdbool.h>

struct buf;

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF };
enum log_format { LOG_TEXT, LOG_JSON };

#define LOG_LINE_MAX 4096 /* bytes, newline included */

/* Takes a message in place of the descriptor; `text` is lent during the call. */
typedef void log_sink(void *obj, enum log_level level, const char *area, const char *text);

struct log {
    int fd; /* borrowed */
    _Atomic int level;
    _Atomic int format;
    log_sink *sink; /* NULL: lines go to fd.  Set after log_init, for a log of one thread */
    void *sink_obj; /* lent */
};

/* Before the log is shared: lines go to `fd` (borrowed). */
void log_init(struct log *log, int fd, enum log_level level, enum log_format format);
/* Any thread, at any time. */
void log_set(struct log *log, enum log_level level, enum log_format format);

/* Writes one line when `level` is enabled:
 * text  "2026-01-31T12:00:00.123Z info  connect  client d1 ..."
 * json  {"time":"...","level":"info","area":"connect","message":"client d1 ..."}
 * `area` is a word (loop, listen, connect, policy, config ...).  A write that
 * fails or would block is dropped: logging never stops the broker. */
void log_write(struct log *log, enum log_level level, const char *area, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Appends `s` as it would stand in a line of this format: printable whatever it is. */
void log_escape(struct buf *out, enum log_format format, struct slice s);

static inline bool log_enabled(const struct log *log, enum log_level level) {
    return (int)level >= atomic_load_explicit(&log->level, memory_order_relaxed);
}

/* What is written rarely, or often not at all, costs nothing then. */
#define LOG_IF_ENABLED(log, level, area, ...)                                                      \
    (log_enabled(log, level) ? log_write(log, level, area, __VA_ARGS__) : (void)0)

#define log_debug(log, area, ...) LOG_IF_ENABLED(log, LOG_DEBUG, area, __VA_ARGS__)
#define log_info(log, area, ...)  LOG_IF_ENABLED(log, LOG_INFO, area, __VA_ARGS__)
#define log_warn(log, area, ...)  log_write(log, LOG_WARN, area, __VA_ARGS__)
#define log_error(log, area, ...) log_write(log, LOG_ERROR, area, __VA_ARGS__)

#endif
