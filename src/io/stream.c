/* stream.c -- tcp and unix sockets as streams.
 *
 * The two differ in name only.  sendmsg instead of writev, for MSG_NOSIGNAL: a peer
 * that has gone is an error of this stream, not a signal to the process.  An
 * interrupted call counts as "not now": the loop is level-triggered and asks again. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/stream.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the system's calls -------------------------------------------------- */

static ssize_t sys_recvmsg_iov(int fd, const struct iovec *iov, int n) {
    struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n };
    return recvmsg(fd, &msg, 0);
}

static ssize_t sys_sendmsg_iov(int fd, const struct iovec *iov, int n) {
    if (n == 1) return send(fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL); /* cheaper */
    struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n };
    return sendmsg(fd, &msg, MSG_NOSIGNAL);
}

static int sys_accept4(int fd, void *addr, void *addr_len, int flags) {
    return accept4(fd, addr, addr_len, flags);
}

static const struct stream_sys sys_real = {
    .recv = recv,
    .recvmsg_iov = sys_recvmsg_iov,
    .sendmsg_iov = sys_sendmsg_iov,
    .accept4 = sys_accept4,
};

const struct stream_sys *stream_sys = &sys_real;

/* ---- sockets ------------------------------------------------------------- */

static ssize_t result_of(ssize_t n) {
    if (n >= 0) return n;
    return errno == EINTR || errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

static ssize_t socket_read(struct stream *s, void *at, size_t len) {
    return result_of(stream_sys->recv(s->fd, at, len, 0));
}

static ssize_t socket_readv(struct stream *s, const struct iovec *iov, int n) {
    return result_of(stream_sys->recvmsg_iov(s->fd, iov, n));
}

static ssize_t socket_writev(struct stream *s, const struct iovec *iov, int n) {
    return result_of(stream_sys->sendmsg_iov(s->fd, iov, n));
}

static void socket_finish(struct stream *s) {
    (void)shutdown(s->fd, SHUT_WR);
}

static void socket_close(struct stream *s) {
    (void)close(s->fd);
    s->fd = -1;
}

const struct stream_type stream_tcp = {
    .name = "tcp",
    .ends_by_close = true,
    .read = socket_read,
    .readv = socket_readv,
    .writev = socket_writev,
    .finish = socket_finish,
    .close = socket_close,
};

const struct stream_type stream_unix = {
    .name = "unix",
    .ends_by_close = true,
    .read = socket_read,
    .readv = socket_readv,
    .writev = socket_writev,
    .finish = socket_finish,
    .close = socket_close,
};
