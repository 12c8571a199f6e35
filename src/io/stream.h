/* stream.h -- bytes in and out, whatever carries them.
 *
 * The one seam between MQTT and its transports: each transport is a table of
 * functions.  Non-blocking throughout.  Every call belongs to the loop's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_IO_STREAM_H
#define SOL_IO_STREAM_H

#include "base/slice.h"

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

struct stream;

struct stream_type {
    const char *name; /* "tcp", "unix" ... */
    /* A peer that has sent its last needs no goodbye: close alone will do. */
    bool ends_by_close;
    /* > 0 bytes read, 0 end of input, -EAGAIN, or another fatal -errno. */
    ssize_t (*read)(struct stream *s, void *at, size_t len);
    /* Likewise, into several pieces in order; NULL: it cannot. */
    ssize_t (*readv)(struct stream *s, const struct iovec *iov, int n);
    /* > 0 bytes written, -EAGAIN, or another fatal -errno. */
    ssize_t (*writev)(struct stream *s, const struct iovec *iov, int n);
    /* Send no more (FIN); reading goes on. */
    void (*finish)(struct stream *s);
    /* Close the descriptor and free the stream's own state. */
    void (*close)(struct stream *s);
};

struct stream {
    const struct stream_type *type;
    int fd;      /* owned; -1 once closed */
    void *state; /* owned by the type; NULL: it needs none */
};

extern const struct stream_type stream_tcp, stream_unix;

/* System calls that tests replace to inject short and failing reads and writes. */
struct stream_sys {
    ssize_t (*recv)(int fd, void *at, size_t len, int flags);
    ssize_t (*recvmsg_iov)(int fd, const struct iovec *iov, int n);
    ssize_t (*sendmsg_iov)(int fd, const struct iovec *iov, int n);
    int (*accept4)(int fd, void *addr, void *addr_len, int flags);
};
/* The table in use; tests set it before any stream exists. */
extern const struct stream_sys *stream_sys;

static inline ssize_t stream_read(struct stream *s, void *at, size_t len) {
    return s->type->read(s, at, len);
}
/* Fills the pieces in order; a stream that cannot scatter fills no more than the first. */
static inline ssize_t stream_readv(struct stream *s, const struct iovec *iov, int n) {
    if (s->type->readv && n > 1) return s->type->readv(s, iov, n);
    return s->type->read(s, iov->iov_base, iov->iov_len);
}
static inline ssize_t stream_writev(struct stream *s, const struct iovec *iov, int n) {
    return s->type->writev(s, iov, n);
}
/* Harmless when closed. */
static inline void stream_close(struct stream *s) {
    if (s->fd >= 0) s->type->close(s);
}

#endif
