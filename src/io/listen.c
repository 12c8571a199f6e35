/* listen.c -- addresses, listening sockets and the accept loop.
 *
 * A listener has one socket per address of its host name; they share a port.  Accepting
 * is bounded a turn, the level-triggered loop comes back for the rest.  When the system
 * has no descriptor or memory left, the waiting connection stays in the backlog and the
 * socket readable: the listener drops its interest and a timer takes it up again.
 * Not here: what becomes of a connection. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/listen.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ACCEPTS_A_TURN 256
#define PAUSE_MS       100 /* without descriptors */
#define SOCKETS_MAX    16  /* addresses of one host name */
#define PORT_TRIES     8   /* kernel-chosen ports, until one is free on all addresses */
#define UNIX_MODE      0660

#define SOCKET_TYPE (SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)

struct door {
    struct watch watch;
    int fd; /* owned */
};

struct listener {
    const struct stream_type *type;
    char *name; /* owned; the address, for logs */
    uint16_t port;
    struct door doors[SOCKETS_MAX];
    unsigned doors_len;
    /* the socket file made, to know it again; path is NULL for tcp */
    char *path; /* owned */
    dev_t dev;
    ino_t ino;
    /* from listener_start on */
    struct loop *loop; /* borrowed, as are log and obj */
    struct log *log;
    listener_fn *fn;
    void *obj;
    struct timer pause;
    bool starved; /* out of descriptors, said so */
    bool *closed; /* set by listener_close while accepting */
};

/* ---- URLs ---------------------------------------------------------------- */

static const struct scheme {
    const char *prefix;
    const struct stream_type *type;
} schemes[] = {
    { "mqtt://", &stream_tcp },
    { "tcp://", &stream_tcp },
    { "unix://", &stream_unix },
};

#define MQTT_PORT 1883

static const struct scheme *scheme_find(struct slice url) {
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
        if (slice_starts(url, slice_str(schemes[i].prefix))) return &schemes[i];
    return NULL;
}

static struct slice slice_from(struct slice s, size_t n) {
    return slice_of(s.at + n, s.len - n);
}

static bool is_printable(struct slice s) {
    for (size_t i = 0; i < s.len; i++)
        if (s.at[i] <= ' ' || s.at[i] == 0x7f) return false;
    return true;
}

static const char *parse_path(struct slice s, struct listen_url *out) {
    if (s.len == 0 || s.at[0] != '/') return "a unix socket needs an absolute path: unix:///path";
    if (s.len >= sizeof((struct sockaddr_un *)0)->sun_path)
        return "the path of a unix socket has at most 107 bytes";
    if (memchr(s.at, '\0', s.len)) return "a path has no zero byte";
    out->path = xslicedup(s);
    return NULL;
}

/* ":1883" or nothing. */
static const char *parse_port(struct slice s, uint16_t *out) {
    static const char expected[] = "expected a port (0-65535) after ':'";
    uint32_t port = 0;
    if (s.len == 0) return NULL;
    if (s.at[0] != ':') return "unexpected text after the host";
    if (s.len == 1 || s.len > 6) return expected;
    for (size_t i = 1; i < s.len; i++) {
        if (s.at[i] < '0' || s.at[i] > '9') return expected;
        port = port * 10 + (s.at[i] - '0');
    }
    if (port > UINT16_MAX) return expected;
    *out = (uint16_t)port;
    return NULL;
}

static const char *parse_host(struct slice s, struct listen_url *out) {
    if (!is_printable(s)) return "an address has no blanks or control characters";
    bool v6 = s.len && s.at[0] == '[';
    const uint8_t *end = s.len ? memchr(s.at, v6 ? ']' : ':', s.len) : NULL;
    if (v6 && !end) return "missing ']' after the IPv6 address";
    struct slice host = slice_of(s.at, end ? (size_t)(end - s.at) : s.len);
    struct slice port = slice_from(s, host.len + v6);
    if (v6) host = slice_from(host, 1);
    if (v6 && !memchr(host.at, ':', host.len)) return "brackets are for IPv6 addresses";
    if (port.len > 1 && memchr(port.at + 1, ':', port.len - 1))
        return "an IPv6 address needs brackets: mqtt://[::1]:1883";
    if (memchr(s.at, '/', s.len)) return "unexpected path after the address";
    if (host.len > 0 && !slice_eq(host, SLICE("*"))) out->host = xslicedup(host);
    return parse_port(port, &out->port);
}

int listen_url_parse(struct slice url, struct listen_url *out, const char **why) {
    *out = (struct listen_url){ .port = MQTT_PORT };
    const struct scheme *scheme = scheme_find(url);
    if (!scheme) {
        *why = "expected mqtt://HOST:PORT, tcp://HOST:PORT or unix:///path";
        return -EINVAL;
    }
    struct slice rest = slice_from(url, strlen(scheme->prefix));
    out->type = scheme->type;
    if (scheme->type == &stream_unix) out->port = 0;
    *why = scheme->type == &stream_unix ? parse_path(rest, out) : parse_host(rest, out);
    if (!*why) return 0;
    listen_url_deinit(out);
    return -EINVAL;
}

void listen_url_deinit(struct listen_url *u) {
    free(u->host);
    free(u->path);
    *u = (struct listen_url){ 0 };
}

/* The address as a user would write it; free() it. */
static char *url_text(const struct listen_url *u, uint16_t port) {
    char *text = NULL;
    int n = 0;
    if (u->path)
        n = asprintf(&text, "unix://%s", u->path);
    else if (u->host && strchr(u->host, ':'))
        n = asprintf(&text, "[%s]:%u", u->host, port);
    else
        n = asprintf(&text, "%s:%u", u->host ? u->host : "*", port);
    must(n >= 0);
    return text;
}

/* ---- opening: common ----------------------------------------------------- */

/* Sets `why` to one line about `l`; gives `error` back. */
__attribute__((format(printf, 4, 5))) static int fail(const struct listener *l, int error,
                                                      char **why, const char *fmt, ...) {
    char reason[512];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(reason, sizeof reason, fmt, args);
    va_end(args);
    must(asprintf(why, "cannot listen on %s: %s", l->name, reason) >= 0);
    return error;
}

static int fail_errno(const struct listener *l, int error, char **why) {
    return fail(l, error, why, "%s", strerror(-error));
}

static void doors_close(struct listener *l) {
    for (unsigned i = 0; i < l->doors_len; i++) {
        if (l->loop) loop_unwatch(l->loop, &l->doors[i].watch);
        (void)close(l->doors[i].fd);
    }
    l->doors_len = 0;
}

static void door_add(struct listener *l, int fd) {
    must(l->doors_len < SOCKETS_MAX);
    l->doors[l->doors_len++].fd = fd;
}

/* ---- opening: tcp -------------------------------------------------------- */

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_storage room;
};

static in_port_t *port_in(union address *a) {
    return a->any.sa_family == AF_INET6 ? &a->v6.sin6_port : &a->v4.sin_port;
}

static void set_flag(int fd, int level, int option, int value) {
    (void)setsockopt(fd, level, option, &value, sizeof value);
}

/* A listening socket, or -errno. */
static int tcp_socket(const union address *a, socklen_t len, bool v6_only, int backlog) {
    int fd = socket(a->any.sa_family, SOCKET_TYPE, 0);
    if (fd < 0) return -errno;
    set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    set_flag(fd, IPPROTO_TCP, TCP_NODELAY, 1); /* accepted sockets inherit it */
    if (a->any.sa_family == AF_INET6) set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY, v6_only);
    if (bind(fd, &a->any, len) == 0 && listen(fd, backlog) == 0) return fd;
    int error = -errno;
    (void)close(fd);
    return error;
}

/* This machine lacks the address family, or the address of it. */
static bool is_family_missing(int error) {
    return error == -EAFNOSUPPORT || error == -EADDRNOTAVAIL || error == -EPROTONOSUPPORT;
}

static void learn_port(struct listener *l, int fd) {
    union address a;
    socklen_t len = sizeof a;
    must(getsockname(fd, &a.any, &len) == 0);
    l->port = ntohs(*port_in(&a));
}

/* Adds a socket on `a`, at the listener's port: 0 or -errno. */
static int tcp_add(struct listener *l, union address a, socklen_t len, bool v6_only, int backlog) {
    *port_in(&a) = htons(l->port);
    int fd = tcp_socket(&a, len, v6_only, backlog);
    if (fd < 0) return fd;
    door_add(l, fd);
    learn_port(l, fd);
    return 0;
}

/* All addresses: one IPv6 socket that takes IPv4 too, or IPv4 where there is no IPv6. */
static int tcp_add_any(struct listener *l, int backlog) {
    union address v6 = { .v6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT } };
    union address v4 = { .v4 = { .sin_family = AF_INET, .sin_addr.s_addr = INADDR_ANY } };
    int r = tcp_add(l, v6, sizeof v6.v6, false, backlog);
    return is_family_missing(r) ? tcp_add(l, v4, sizeof v4.v4, false, backlog) : r;
}

static bool is_repeated(const struct addrinfo *list, const struct addrinfo *ai) {
    for (; list != ai; list = list->ai_next)
        if (list->ai_addrlen == ai->ai_addrlen &&
            memcmp(list->ai_addr, ai->ai_addr, ai->ai_addrlen) == 0)
            return true;
    return false;
}

/* A socket on each address there is; an address this machine lacks is passed over
 * while another one serves ("localhost" where IPv6 is off). */
static int tcp_add_list(struct listener *l, const struct addrinfo *list, int backlog) {
    int missing = 0;
    for (const struct addrinfo *ai = list; ai; ai = ai->ai_next) {
        if (is_repeated(list, ai) || l->doors_len == SOCKETS_MAX) continue;
        union address a;
        memcpy(&a, ai->ai_addr, ai->ai_addrlen);
        int r = tcp_add(l, a, ai->ai_addrlen, true, backlog);
        if (r < 0 && !is_family_missing(r)) return r;
        if (r < 0) missing = r;
    }
    return l->doors_len ? 0 : missing;
}

/* Port 0 means one port for all addresses: the kernel chooses for the first, which may
 * be taken on the second; then all starts anew. */
static int tcp_add_all(struct listener *l, const struct addrinfo *list, int backlog) {
    uint16_t wanted = l->port;
    int r = tcp_add_list(l, list, backlog);
    for (int i = 1; i < PORT_TRIES && r == -EADDRINUSE && wanted == 0; i++) {
        doors_close(l);
        l->port = 0;
        r = tcp_add_list(l, list, backlog);
    }
    return r;
}

static int tcp_open(struct listener *l, const struct listen_opts *opts, int backlog, char **why) {
    int r;
    if (!opts->url.host) {
        r = tcp_add_any(l, backlog);
    } else {
        struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
        struct addrinfo *list = NULL;
        int e = getaddrinfo(opts->url.host, NULL, &hints, &list);
        if (e == EAI_SYSTEM) return fail_errno(l, -errno, why);
        if (e) return fail(l, -EADDRNOTAVAIL, why, "%s", gai_strerror(e));
        r = tcp_add_all(l, list, backlog);
        freeaddrinfo(list);
    }
    return r < 0 ? fail_errno(l, r, why) : 0;
}

/* ---- opening: unix ------------------------------------------------------- */

static struct sockaddr_un unix_address(const char *path) {
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    must(strlen(path) < sizeof a.sun_path);
    memcpy(a.sun_path, path, strlen(path) + 1);
    return a;
}

/* 0 when the socket file answers, or -errno. */
static int unix_probe(const char *path) {
    struct sockaddr_un a = unix_address(path);
    int fd = socket(AF_UNIX, SOCKET_TYPE, 0);
    if (fd < 0) return -errno;
    int r = connect(fd, (struct sockaddr *)&a, sizeof a) < 0 ? -errno : 0;
    (void)close(fd);
    return r == -EAGAIN ? 0 : r; /* its backlog is full: alive */
}

/* Takes a stale socket file out of the way: 0 or -errno. */
static int unix_clear(const struct listener *l, const char *path, char **why) {
    struct stat st;
    if (lstat(path, &st) < 0) return 0; /* bind will say what is wrong */
    if (!S_ISSOCK(st.st_mode))
        return fail(l, -EEXIST, why, "a file that is no socket is in the way");
    int r = unix_probe(path);
    if (r == 0) return fail(l, -EADDRINUSE, why, "another process is listening there");
    if (r == -ENOENT) return 0;
    if (r != -ECONNREFUSED)
        return fail(l, r, why, "cannot tell whether the socket is in use: %s", strerror(-r));
    if (unlink(path) == 0 || errno == ENOENT) return 0;
    r = -errno;
    return fail(l, r, why, "cannot remove the stale socket: %s", strerror(-r));
}

static int unix_bind(struct listener *l, int fd, const char *path, char **why) {
    struct sockaddr_un a = unix_address(path);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) == 0) return 0;
    int error = -errno;
    if (error != -ENOENT) return fail_errno(l, error, why);
    const char *slash = strrchr(path, '/');
    int dir_len = slash == path ? 1 : (int)(slash - path);
    return fail(l, error, why, "directory %.*s does not exist", dir_len, path);
}

/* Nobody can connect before listen(), so setting the mode in between leaves no gap. */
static int unix_publish(struct listener *l, int fd, const struct listen_opts *opts, int backlog) {
    const char *path = opts->url.path;
    struct stat st;
    if (lstat(path, &st) < 0) return -errno;
    l->path = xstrdup(path);
    l->dev = st.st_dev;
    l->ino = st.st_ino;
    mode_t mode = opts->unix_mode ? (mode_t)opts->unix_mode : UNIX_MODE;
    if (opts->unix_mode >= 0 && chmod(path, mode) < 0) return -errno;
    return listen(fd, backlog) < 0 ? -errno : 0;
}

static int unix_open(struct listener *l, const struct listen_opts *opts, int backlog, char **why) {
    int r = unix_clear(l, opts->url.path, why);
    if (r < 0) return r;
    int fd = socket(AF_UNIX, SOCKET_TYPE, 0);
    if (fd < 0) return fail_errno(l, -errno, why);
    door_add(l, fd);
    r = unix_bind(l, fd, opts->url.path, why);
    if (r < 0) return r;
    r = unix_publish(l, fd, opts, backlog);
    return r < 0 ? fail_errno(l, r, why) : 0;
}

/* ---- life ---------------------------------------------------------------- */

int listener_open(const struct listen_opts *opts, struct listener **out, char **why) {
    struct listener *l = xcalloc(1, sizeof *l);
    int backlog = opts->backlog ? opts->backlog : SOMAXCONN;
    bool is_unix = opts->url.type == &stream_unix;
    *why = NULL;
    l->type = opts->url.type;
    l->port = opts->url.port;
    l->name = url_text(&opts->url, l->port);
    int r = is_unix ? unix_open(l, opts, backlog, why) : tcp_open(l, opts, backlog, why);
    if (r < 0) {
        listener_close(l);
        *out = NULL;
        return r;
    }
    free(l->name);
    l->name = url_text(&opts->url, l->port); /* with the port the kernel chose */
    *out = l;
    return 0;
}

int listener_share(const struct listener *l, struct listener **out) {
    struct listener *copy = xcalloc(1, sizeof *copy);
    copy->type = l->type;
    copy->port = l->port;
    copy->name = xstrdup(l->name);
    for (unsigned i = 0; i < l->doors_len; i++) {
        int fd = fcntl(l->doors[i].fd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0) {
            int error = -errno;
            listener_close(copy);
            return error;
        }
        door_add(copy, fd);
    }
    *out = copy;
    return 0;
}

static void unix_remove(const struct listener *l) {
    struct stat st;
    if (!l->path || lstat(l->path, &st) < 0) return;
    /* Somebody may have put another socket in its place. */
    if (st.st_dev == l->dev && st.st_ino == l->ino) (void)unlink(l->path);
}

void listener_close(struct listener *l) {
    if (!l) return;
    if (l->closed) *l->closed = true;
    if (l->loop) loop_cancel(l->loop, &l->pause);
    closure_deinit(&l->pause.closure);
    unix_remove(l);
    doors_close(l);
    free(l->path);
    free(l->name);
    free(l);
}

uint16_t listener_port(const struct listener *l) {
    return l->port;
}

/* ---- accepting ----------------------------------------------------------- */

#define PEER_TEXT (INET6_ADDRSTRLEN + sizeof "[]:65535")

static char *put_number(char *at, unsigned n) {
    if (n >= 10) at = put_number(at, n / 10);
    *at = (char)('0' + n % 10);
    return at + 1;
}

/* By hand: printf took a third of what a connection costs from CONNECT to its end. */
static void ipv4_text(const uint8_t bytes[4], in_port_t port, char *out) {
    for (int i = 0; i < 4; i++) {
        out = put_number(out, bytes[i]);
        *out++ = i < 3 ? '.' : ':';
    }
    *put_number(out, ntohs(port)) = '\0';
}

static void peer_text(const union address *a, char out[PEER_TEXT]) {
    char host[INET6_ADDRSTRLEN] = "";
    const struct in6_addr *v6 = &a->v6.sin6_addr;
    if (a->any.sa_family == AF_INET) {
        ipv4_text((const uint8_t *)&a->v4.sin_addr, a->v4.sin_port, out);
    } else if (a->any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(v6)) {
        ipv4_text(&v6->s6_addr[12], a->v6.sin6_port, out);
    } else if (a->any.sa_family == AF_INET6) {
        (void)inet_ntop(AF_INET6, v6, host, sizeof host);
        (void)snprintf(out, PEER_TEXT, "[%s]:%u", host, ntohs(a->v6.sin6_port));
    } else {
        (void)snprintf(out, PEER_TEXT, "unix");
    }
}

static void doors_want(struct listener *l, unsigned interest) {
    for (unsigned i = 0; i < l->doors_len; i++) loop_want(l->loop, &l->doors[i].watch, interest);
}

static void on_pause_over(struct closure *self, unsigned events) {
    (void)events;
    doors_want(self->obj, LOOP_READ);
}

/* The error belongs to one connection that came and went, not to the socket. */
static bool is_passing(int error) {
    static const int passing[] = {
        EINTR,     ECONNABORTED, EPERM,        EPROTO,     ENETDOWN,    ENOPROTOOPT,
        EHOSTDOWN, ENONET,       EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH,
    };
    for (size_t i = 0; i < ARRAY_LEN(passing); i++)
        if (error == passing[i]) return true;
    return false;
}

static void pause_accepting(struct listener *l, int error) {
    if (!l->starved)
        log_warn(l->log, "listen", "cannot accept on %s: %s; trying again every %d ms", l->name,
                 strerror(error), PAUSE_MS);
    l->starved = true;
    doors_want(l, 0);
    loop_arm(l->loop, &l->pause, loop_now_ms(l->loop) + PAUSE_MS);
}

/* Nothing left to accept. */
static void drained(struct listener *l) {
    if (l->starved) log_info(l->log, "listen", "accepting on %s again", l->name);
    l->starved = false;
}

/* False: enough for this turn. */
static bool accept_one(struct listener *l, int fd) {
    union address a = { .any.sa_family = AF_UNSPEC };
    socklen_t len = sizeof a;
    int peer_fd = stream_sys->accept4(fd, &a, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (peer_fd >= 0) {
        char peer[PEER_TEXT];
        peer_text(&a, peer);
        l->fn(l->obj, l->type, peer_fd, peer);
        return true;
    }
    int error = errno;
    if (is_passing(error)) return true;
    if (error == EAGAIN || error == EWOULDBLOCK)
        drained(l);
    else
        pause_accepting(l, error);
    return false;
}

static void on_connections(struct closure *self, unsigned events) {
    (void)events;
    struct listener *l = self->obj;
    const struct door *door = CONTAINER_OF(self, struct door, watch.closure);
    int fd = door->fd;
    bool closed = false; /* fn may close the listener */
    l->closed = &closed;
    for (int i = 0; i < ACCEPTS_A_TURN && !closed; i++)
        if (!accept_one(l, fd)) break;
    if (!closed) l->closed = NULL;
}

void listener_start(struct listener *l, struct loop *loop, struct log *log, listener_fn *fn,
                    void *obj) {
    l->loop = loop;
    l->log = log;
    l->fn = fn;
    l->obj = obj;
    l->pause.closure = (struct closure){ .fn = on_pause_over, .obj = l, .name = "accept again" };
    for (unsigned i = 0; i < l->doors_len; i++) {
        struct door *door = &l->doors[i];
        door->watch.closure = (struct closure){ .fn = on_connections, .obj = l, .name = "accept" };
        door->watch.is_exclusive = true; /* one worker is enough for one connection */
        loop_watch(loop, &door->watch, door->fd, LOOP_READ);
    }
}
