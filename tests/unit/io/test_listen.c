/* test_listen.c -- addresses, binding, and accepting under want. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/listen.h"

#include "io/rig.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

/* ---- names and ports of our own ------------------------------------------ */

/* "many.test" has these addresses: one twice, one this machine has not. */
static const char *const many[] = { "127.0.0.1", "127.0.0.2", "127.0.0.1", "192.0.2.1" };

static int binds, bind_fails_at; /* the n-th bind finds its port in use; 0: none does */
static in_port_t port_in_use;    /* that port, from then on */

/* These three stand before libc's. */
int bind(int fd, const struct sockaddr *at, socklen_t len) {
    in_port_t port = ((const struct sockaddr_in *)at)->sin_port;
    if (++binds == bind_fails_at) port_in_use = port;
    if (!bind_fails_at || port != port_in_use) return (int)syscall(SYS_bind, fd, at, len);
    errno = EADDRINUSE;
    return -1;
}

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **out) {
    if (strcmp(host, "many.test") != 0) {
        int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
            dlsym(RTLD_NEXT, "getaddrinfo");
        return real(host, service, hints, out);
    }
    *out = NULL;
    for (size_t i = ARRAY_LEN(many); i > 0; i--) {
        struct sockaddr_in *a = xcalloc(1, sizeof *a);
        struct addrinfo *ai = xcalloc(1, sizeof *ai);
        a->sin_family = AF_INET;
        inet_pton(AF_INET, many[i - 1], &a->sin_addr);
        *ai = (struct addrinfo){ .ai_family = AF_INET,
                                 .ai_addr = (struct sockaddr *)a,
                                 .ai_addrlen = sizeof *a,
                                 .ai_next = *out,
                                 .ai_canonname = (char *)many };
        *out = ai;
    }
    return 0;
}

void freeaddrinfo(struct addrinfo *list) {
    if (list->ai_canonname != (char *)many) {
        void (*real)(struct addrinfo *) = dlsym(RTLD_NEXT, "freeaddrinfo");
        real(list);
        return;
    }
    for (struct addrinfo *next; list; list = next) {
        next = list->ai_next;
        free(list->ai_addr);
        free(list);
    }
}

/* ---- URLs ---------------------------------------------------------------- */

static void check_text(const char *got, const char *wanted) {
    if (!wanted) assert_null(got);
    if (wanted) assert_string_equal(got, wanted);
}

static void good_urls_are_taken_apart(void **state) {
    (void)state;
    static const struct {
        const char *url;
        const struct stream_type *type;
        const char *host, *path;
        int port;
    } rows[] = {
        { "mqtt://127.0.0.1:1883", &stream_tcp, "127.0.0.1", NULL, 1883 },
        { "tcp://broker.example:8080", &stream_tcp, "broker.example", NULL, 8080 },
        { "mqtt://localhost", &stream_tcp, "localhost", NULL, 1883 },
        { "mqtt://[::1]:1884", &stream_tcp, "::1", NULL, 1884 },
        { "mqtt://[fe80::1%eth0]", &stream_tcp, "fe80::1%eth0", NULL, 1883 },
        { "mqtt://*:1883", &stream_tcp, NULL, NULL, 1883 },
        { "mqtt://:1883", &stream_tcp, NULL, NULL, 1883 },
        { "mqtt://", &stream_tcp, NULL, NULL, 1883 },
        { "mqtt://h:0", &stream_tcp, "h", NULL, 0 },
        { "mqtt://h:65535", &stream_tcp, "h", NULL, 65535 },
        { "unix:///run/sol/mqtt.sock", &stream_unix, NULL, "/run/sol/mqtt.sock", 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct listen_url u;
        const char *why = NULL;
        assert_int_equal(listen_url_parse(slice_str(rows[i].url), &u, &why), 0);
        assert_ptr_equal(u.type, rows[i].type);
        check_text(u.host, rows[i].host);
        check_text(u.path, rows[i].path);
        assert_int_equal(u.port, rows[i].port);
        listen_url_deinit(&u);
        listen_url_deinit(&u); /* harmless */
    }
}

static void bad_urls_are_refused_with_a_reason(void **state) {
    (void)state;
    static const char long_path[] =
        "unix:///123456789012345678901234567890123456789012345678901234567890123456789012345678901"
        "2345678901234567890123456789";
    static const struct {
        const char *url, *why;
    } rows[] = {
        { "", "expected mqtt://HOST:PORT" },
        { "localhost:1883", "expected mqtt://HOST:PORT" },
        { "http://localhost", "expected mqtt://HOST:PORT" },
        { "mqtt:/localhost", "expected mqtt://HOST:PORT" },
        { "mqtt://h:", "expected a port" },
        { "mqtt://h:x", "expected a port" },
        { "mqtt://h:-1", "expected a port" },
        { "mqtt://h:65536", "expected a port" },
        { "mqtt://h:99999", "expected a port" },
        { "mqtt://h:123456", "expected a port" },
        { "mqtt://h:1883/path", "unexpected path" },
        { "mqtt://h/", "unexpected path" },
        { "mqtt://::1:1883", "needs brackets" },
        { "mqtt://[::1", "missing ']'" },
        { "mqtt://[::1]1883", "unexpected text after the host" },
        { "mqtt://[host]:1883", "brackets are for IPv6" },
        { "mqtt://a b:1883", "no blanks" },
        { "mqtt://a\n:1883", "no blanks" },
        { "unix://", "absolute path" },
        { "unix://relative", "absolute path" },
        { long_path, "at most 107 bytes" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct listen_url u;
        const char *why = NULL;
        assert_int_equal(listen_url_parse(slice_str(rows[i].url), &u, &why), -EINVAL);
        assert_non_null(strstr(why, rows[i].why));
        assert_null(u.host);
        assert_null(u.path);
    }
    struct listen_url u;
    const char *why;
    assert_int_equal(listen_url_parse(slice_of("unix:///a\0b", 11), &u, &why), -EINVAL);
    assert_int_equal(listen_url_parse(slice_of("mqtt://a\0b", 10), &u, &why), -EINVAL);
}

/* ---- rig ----------------------------------------------------------------- */

struct rig {
    struct hand clock;
    struct loop *loop;
    int log_out; /* what was logged */
    struct log log;
    struct listener *listener;
    char dir[32]; /* for unix sockets */
    /* the last connection, and how many */
    int accepted, fd;
    char peer[64];
    const struct stream_type *type;
    bool close_when_called;
};

static int rig_setup(void **state) {
    struct rig *r = xcalloc(1, sizeof *r);
    int fds[2];
    r->clock.ns = 1000000000;
    r->loop = loop_on(&r->clock);
    assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
    r->log_out = fds[0];
    log_init(&r->log, fds[1], LOG_INFO, LOG_TEXT);
    strcpy(r->dir, "/tmp/sol-listen-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    r->fd = -1;
    *state = r;
    return 0;
}

static int rig_teardown(void **state) {
    struct rig *r = *state;
    listener_close(r->listener);
    listener_close(NULL);
    loop_free(r->loop);
    if (r->fd >= 0) close(r->fd);
    close(r->log_out);
    close(r->log.fd);
    assert_int_equal(rmdir(r->dir), 0); /* nothing left behind */
    free(r);
    return 0;
}

static int open_opts(struct rig *r, const char *url, struct listen_opts opts, char **why) {
    const char *reason = NULL;
    assert_int_equal(listen_url_parse(slice_str(url), &opts.url, &reason), 0);
    int result = listener_open(&opts, &r->listener, why);
    listen_url_deinit(&opts.url);
    assert_true((result == 0) == (*why == NULL));
    assert_true((result == 0) == (r->listener != NULL));
    return result;
}

static void open_good(struct rig *r, const char *url) {
    char *why;
    int result = open_opts(r, url, (struct listen_opts){ .backlog = 0 }, &why);
    if (why) print_error("%s\n", why);
    assert_int_equal(result, 0);
}

/* Opening fails with `error` and says exactly `wanted`. */
static void open_bad(struct rig *r, const char *url, int error, const char *wanted) {
    char *why;
    assert_int_equal(open_opts(r, url, (struct listen_opts){ .backlog = 0 }, &why), error);
    if (wanted) assert_string_equal(why, wanted);
    free(why);
}

static void on_accept(void *obj, const struct stream_type *type, int fd, const char *peer) {
    struct rig *r = obj;
    r->accepted++;
    if (r->fd >= 0) close(r->fd);
    r->fd = fd;
    r->type = type;
    snprintf(r->peer, sizeof r->peer, "%s", peer);
    if (!r->close_when_called) return;
    listener_close(r->listener);
    r->listener = NULL;
}

static void start(struct rig *r) {
    listener_start(r->listener, r->loop, &r->log, on_accept, r);
}

static int connect_to(const char *host, uint16_t port) {
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
    assert_int_equal(inet_pton(AF_INET, host, &to.sin_addr), 1);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static int connect_v4(uint16_t port) {
    return connect_to("127.0.0.1", port);
}

/* -1: this machine has no IPv6. */
static int connect_v6(uint16_t port) {
    struct sockaddr_in6 to = { .sin6_family = AF_INET6,
                               .sin6_port = htons(port),
                               .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0) return fd;
    if (fd >= 0) close(fd);
    return -1;
}

static int connect_unix(const char *path) {
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    strcpy(to.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0) return fd;
    close(fd);
    return -1;
}

static void no_peer(char *port_text) {
    *strrchr(port_text, ':') = '\0';
}

static const char *logged(const struct rig *r) {
    static char text[8192];
    ssize_t n = read(r->log_out, text, sizeof text - 1);
    text[n < 0 ? 0 : n] = '\0';
    return text;
}

static int lines_in(const char *text) {
    int n = 0;
    for (; *text; text++) n += *text == '\n';
    return n;
}

/* ---- tcp ----------------------------------------------------------------- */

static void a_connection_comes_with_its_address_and_flags(void **state) {
    struct rig *r = *state;
    open_good(r, "mqtt://127.0.0.1:0");
    assert_true(listener_port(r->listener) != 0);
    start(r);
    int fd = connect_v4(listener_port(r->listener));
    turn_wait(r->loop);
    assert_int_equal(r->accepted, 1);
    assert_ptr_equal(r->type, &stream_tcp);
    no_peer(r->peer);
    assert_string_equal(r->peer, "127.0.0.1");
    int flag = 0;
    socklen_t len = sizeof flag;
    assert_int_equal(getsockopt(r->fd, IPPROTO_TCP, TCP_NODELAY, &flag, &len), 0);
    assert_true(flag);
    assert_true(fcntl(r->fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(r->fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
}

static void all_addresses_means_both_families(void **state) {
    struct rig *r = *state;
    open_good(r, "mqtt://*:0");
    start(r);
    int v4 = connect_v4(listener_port(r->listener));
    turn_wait(r->loop);
    assert_int_equal(r->accepted, 1);
    no_peer(r->peer);
    assert_string_equal(r->peer, "127.0.0.1"); /* not ::ffff:127.0.0.1 */
    close(v4);
    int v6 = connect_v6(listener_port(r->listener));
    if (v6 < 0) return;
    turn_wait(r->loop);
    assert_int_equal(r->accepted, 2);
    no_peer(r->peer);
    assert_string_equal(r->peer, "[::1]");
    close(v6);
}

static void an_ipv6_address_takes_ipv6_only(void **state) {
    struct rig *r = *state;
    char *why;
    int result = open_opts(r, "mqtt://[::1]:0", (struct listen_opts){ .backlog = 5 }, &why);
    free(why);
    if (result == -EADDRNOTAVAIL || result == -EAFNOSUPPORT) skip();
    assert_int_equal(result, 0);
    start(r);
    int fd = connect_v6(listener_port(r->listener));
    assert_true(fd >= 0);
    turn_wait(r->loop);
    no_peer(r->peer);
    assert_string_equal(r->peer, "[::1]");
    close(fd);
}

static void a_host_name_listens_on_all_its_addresses_at_one_port(void **state) {
    struct rig *r = *state;
    static const int fails_at[] = { 0, 2 }; /* at the second address */
    for (size_t i = 0; i < ARRAY_LEN(fails_at); i++) {
        int before = open_descriptors();
        binds = 0;
        bind_fails_at = fails_at[i];
        port_in_use = 0xffff;
        open_good(r, "mqtt://many.test:0");
        assert_int_equal(open_descriptors(), before + 2);
        start(r);
        int first = connect_to("127.0.0.1", listener_port(r->listener));
        int second = connect_to("127.0.0.2", listener_port(r->listener));
        turn_wait(r->loop);
        assert_int_equal(r->accepted, 2);
        close(first);
        close(second);
        close(r->fd);
        r->fd = -1;
        r->accepted = 0;
        listener_close(r->listener);
        r->listener = NULL;
        assert_int_equal(open_descriptors(), before);
    }
    bind_fails_at = 0;
}

static void localhost_is_served_with_or_without_ipv6(void **state) {
    struct rig *r = *state;
    open_good(r, "mqtt://localhost:0");
    start(r);
    int fd = connect_v4(listener_port(r->listener));
    turn_wait(r->loop);
    assert_int_equal(r->accepted, 1);
    close(fd);
}

static void a_port_in_use_is_named(void **state) {
    struct rig *r = *state;
    char url[64], wanted[128];
    open_good(r, "mqtt://127.0.0.1:0");
    struct listener *first = r->listener;
    snprintf(url, sizeof url, "mqtt://127.0.0.1:%u", listener_port(first));
    snprintf(wanted, sizeof wanted, "cannot listen on 127.0.0.1:%u: Address already in use",
             listener_port(first));
    open_bad(r, url, -EADDRINUSE, wanted);
    snprintf(url, sizeof url, "mqtt://*:%u", listener_port(first));
    snprintf(wanted, sizeof wanted, "cannot listen on *:%u: Address already in use",
             listener_port(first));
    open_bad(r, url, -EADDRINUSE, wanted);
    listener_close(first);
}

static void a_port_just_left_is_free_again(void **state) {
    struct rig *r = *state;
    open_good(r, "mqtt://127.0.0.1:0");
    start(r);
    uint16_t port = listener_port(r->listener);
    int fd = connect_v4(port);
    turn_wait(r->loop);
    close(r->fd); /* we close first: our side goes to TIME_WAIT */
    r->fd = -1;
    close(fd);
    listener_close(r->listener);
    char url[64];
    snprintf(url, sizeof url, "mqtt://127.0.0.1:%u", port);
    open_good(r, url);
    assert_int_equal(listener_port(r->listener), port);
}

static void an_address_of_another_machine_is_refused(void **state) {
    struct rig *r = *state;
    open_bad(r, "mqtt://192.0.2.1:1883", -EADDRNOTAVAIL,
             "cannot listen on 192.0.2.1:1883: Cannot assign requested address");
    open_bad(r, "mqtt://no-such-host.invalid:1883", -EADDRNOTAVAIL, NULL);
    open_bad(r, "mqtt://[2001:db8::1]:1883", -EADDRNOTAVAIL, NULL);
}

static void a_failed_open_leaves_no_descriptor(void **state) {
    struct rig *r = *state;
    int before = open_descriptors();
    open_bad(r, "mqtt://192.0.2.1:1883", -EADDRNOTAVAIL, NULL);
    open_bad(r, "unix:///no/such/dir/x", -ENOENT, NULL);
    open_good(r, "mqtt://*:0");
    start(r);
    listener_close(r->listener);
    r->listener = NULL;
    assert_int_equal(open_descriptors(), before);
    turn(r->loop); /* and nothing in the loop */
}

static void the_callback_may_close_the_listener(void **state) {
    struct rig *r = *state;
    open_good(r, "mqtt://127.0.0.1:0");
    start(r);
    r->close_when_called = true;
    int a = connect_v4(listener_port(r->listener)), b = connect_v4(listener_port(r->listener));
    turn_wait(r->loop);
    assert_int_equal(r->accepted, 1);
    turn(r->loop);
    close(a);
    close(b);
}

/* ---- accepting, with injected answers ------------------------------------ */

static int accept_calls;
static int accept_error; /* 0: a descriptor of /dev/null */
static int accept_errors_left;

static int false_accept(int fd, void *addr, void *addr_len, int flags) {
    (void)flags;
    accept_calls++;
    if (accept_errors_left > 0) {
        accept_errors_left--;
        errno = accept_error;
        return -1;
    }
    return accept4(fd, addr, addr_len, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static int endless_accept(int fd, void *addr, void *addr_len, int flags) {
    (void)fd, (void)addr, (void)addr_len, (void)flags;
    accept_calls++;
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static const struct stream_sys *real_sys;
static struct stream_sys false_sys;

static int inject(void **state) {
    real_sys = stream_sys;
    false_sys = *stream_sys;
    false_sys.accept4 = false_accept;
    stream_sys = &false_sys;
    accept_calls = accept_errors_left = 0;
    return rig_setup(state);
}

static int restore(void **state) {
    stream_sys = real_sys;
    return rig_teardown(state);
}

static void a_turn_accepts_a_bounded_number(void **state) {
    struct rig *r = *state;
    false_sys.accept4 = endless_accept;
    open_good(r, "mqtt://127.0.0.1:0");
    start(r);
    int fd = connect_v4(listener_port(r->listener));
    turn_wait(r->loop);
    assert_int_equal(r->accepted, 256);
    turn(r->loop);
    assert_int_equal(r->accepted, 512);
    close(fd);
}

static void errors_of_one_connection_do_not_stop_the_rest(void **state) {
    struct rig *r = *state;
    static const int errors[] = { ECONNABORTED, EINTR, EPERM, EPROTO };
    open_good(r, "mqtt://127.0.0.1:0");
    start(r);
    for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
        int fd = connect_v4(listener_port(r->listener));
        accept_error = errors[i];
        accept_errors_left = 3;
        turn_wait(r->loop);
        assert_int_equal(r->accepted, i + 1);
        close(fd);
    }
    assert_string_equal(logged(r), "");
}

static void want_of_descriptors_pauses_and_does_not_spin(void **state) {
    struct rig *r = *state;
    static const int errors[] = { EMFILE, ENFILE, ENOBUFS, ENOMEM };
    open_good(r, "mqtt://localhost:0");
    start(r);
    for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
        int fd = connect_v4(listener_port(r->listener));
        int before = r->accepted;
        accept_calls = 0;
        accept_error = errors[i];
        accept_errors_left = 3;
        turn_wait(r->loop);
        for (int k = 0; k < 50; k++) turn(r->loop);
        assert_int_equal(accept_calls, 1);
        clock_add_ms(&r->clock, 99);
        for (int k = 0; k < 3; k++) turn(r->loop);
        assert_int_equal(accept_calls, 1);
        for (int k = 0; k < 3; k++) { /* 100 ms each, two more failures */
            clock_add_ms(&r->clock, 100);
            for (int n = 0; n < 3; n++) turn(r->loop);
        }
        assert_int_equal(r->accepted, before + 1);
        const char *log = logged(r); /* once an episode, not once a try */
        assert_int_equal(lines_in(log), 2);
        assert_non_null(strstr(log, "cannot accept on localhost:"));
        assert_non_null(strstr(log, strerror(errors[i])));
        assert_non_null(strstr(log, "again"));
        close(fd);
    }
}

static void a_listener_closed_while_pausing_leaves_no_timer(void **state) {
    struct rig *r = *state;
    open_good(r, "mqtt://127.0.0.1:0");
    start(r);
    int fd = connect_v4(listener_port(r->listener));
    accept_error = EMFILE;
    accept_errors_left = 1;
    turn_wait(r->loop);
    listener_close(r->listener);
    r->listener = NULL;
    clock_add_ms(&r->clock, 1000);
    turn(r->loop);
    assert_int_equal(r->accepted, 0);
    close(fd);
}

static void the_real_limit_of_descriptors_is_survived(void **state) {
    struct rig *r = *state;
    struct rlimit before;
    open_good(r, "mqtt://127.0.0.1:0");
    start(r);
    int client = connect_v4(listener_port(r->listener));
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit none = { (rlim_t)client + 1, before.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    /* Every number below the limit is taken, perhaps after filling some gaps. */
    int fill[64], filled = 0;
    while (filled < 64 && (fill[filled] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0) filled++;
    for (int i = 0; i < 10; i++) turn(r->loop);
    assert_int_equal(r->accepted, 0);
    setrlimit(RLIMIT_NOFILE, &before);
    while (filled) close(fill[--filled]);
    clock_add_ms(&r->clock, 100);
    turn(r->loop);
    turn_wait(r->loop);
    assert_int_equal(r->accepted, 1);
    close(client);
}

/* ---- unix ---------------------------------------------------------------- */

struct place {
    char path[64], url[80];
};

static struct place place_of(const struct rig *r, const char *name) {
    struct place p;
    snprintf(p.path, sizeof p.path, "%s/%s", r->dir, name);
    snprintf(p.url, sizeof p.url, "unix://%s", p.path);
    return p;
}

static bool exists(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0;
}

static unsigned mode_of(const char *path) {
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

static void a_unix_socket_serves_and_cleans_up(void **state) {
    struct rig *r = *state;
    struct place p = place_of(r, "sock");
    open_good(r, p.url);
    assert_int_equal(listener_port(r->listener), 0);
    assert_int_equal(mode_of(p.path), 0660);
    start(r);
    int fd = connect_unix(p.path);
    assert_true(fd >= 0);
    turn_wait(r->loop);
    assert_int_equal(r->accepted, 1);
    assert_string_equal(r->peer, "unix");
    assert_ptr_equal(r->type, &stream_unix);
    close(fd);
    listener_close(r->listener);
    r->listener = NULL;
    assert_false(exists(p.path));
}

static void the_mode_of_a_unix_socket_is_as_asked(void **state) {
    struct rig *r = *state;
    static const struct {
        int asked;
        unsigned mode;
    } rows[] = { { 0, 0660 }, { 0600, 0600 }, { 0666, 0666 }, { -1, 0751 } };
    struct place p = place_of(r, "sock");
    mode_t before = umask(026);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *why;
        assert_int_equal(
            open_opts(r, p.url, (struct listen_opts){ .unix_mode = rows[i].asked }, &why), 0);
        assert_int_equal(mode_of(p.path), rows[i].mode);
        listener_close(r->listener);
    }
    r->listener = NULL;
    umask(before);
}

static int bound_unix(const char *path, int type) {
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    strcpy(a.sun_path, path);
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void a_stale_socket_file_is_replaced(void **state) {
    struct rig *r = *state;
    struct place p = place_of(r, "sock");
    close(bound_unix(p.path, SOCK_STREAM)); /* a process that died */
    assert_true(exists(p.path));
    open_good(r, p.url);
    start(r);
    int fd = connect_unix(p.path);
    assert_true(fd >= 0);
    turn_wait(r->loop);
    assert_int_equal(r->accepted, 1);
    close(fd);
}

static void a_live_socket_is_refused_and_stays(void **state) {
    struct rig *r = *state;
    struct place p = place_of(r, "sock");
    char wanted[160];
    open_good(r, p.url);
    struct listener *first = r->listener;
    snprintf(wanted, sizeof wanted, "cannot listen on %s: another process is listening there",
             p.url);
    open_bad(r, p.url, -EADDRINUSE, wanted);
    int fd = connect_unix(p.path);
    assert_true(fd >= 0);
    close(fd);
    listener_close(first);
}

static void a_live_socket_with_a_full_backlog_is_refused_too(void **state) {
    struct rig *r = *state;
    struct place p = place_of(r, "sock");
    int busy = bound_unix(p.path, SOCK_STREAM), waiting[8], n = 0;
    assert_int_equal(listen(busy, 0), 0);
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    strcpy(to.sun_path, p.path);
    for (int r2 = 0; r2 == 0 && n < 8; n++) {
        waiting[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        r2 = connect(waiting[n], (struct sockaddr *)&to, sizeof to);
    }
    open_bad(r, p.url, -EADDRINUSE, NULL);
    assert_true(exists(p.path));
    while (n) close(waiting[--n]);
    close(busy);
    unlink(p.path);
}

static void what_is_no_stream_socket_is_left_alone(void **state) {
    struct rig *r = *state;
    struct place p = place_of(r, "file");
    char wanted[160];
    close(open(p.path, O_CREAT | O_WRONLY, 0600));
    snprintf(wanted, sizeof wanted, "cannot listen on %s: a file that is no socket is in the way",
             p.url);
    open_bad(r, p.url, -EEXIST, wanted);
    assert_true(exists(p.path));
    unlink(p.path);
    assert_int_equal(symlink("/nowhere", p.path), 0);
    open_bad(r, p.url, -EEXIST, wanted);
    unlink(p.path);
    int datagrams = bound_unix(p.path, SOCK_DGRAM);
    open_bad(r, p.url, -EPROTOTYPE, NULL);
    assert_true(exists(p.path));
    close(datagrams);
    unlink(p.path);
}

static void a_missing_directory_is_named(void **state) {
    struct rig *r = *state;
    open_bad(r, "unix:///no/such/place/mqtt.sock", -ENOENT,
             "cannot listen on unix:///no/such/place/mqtt.sock: "
             "directory /no/such/place does not exist");
}

static void a_socket_somebody_put_in_our_place_is_not_removed(void **state) {
    struct rig *r = *state;
    struct place p = place_of(r, "sock");
    open_good(r, p.url);
    assert_int_equal(unlink(p.path), 0);
    int other = bound_unix(p.path, SOCK_STREAM);
    listener_close(r->listener);
    r->listener = NULL;
    assert_true(exists(p.path));
    close(other);
    unlink(p.path);
}

/* ---- several loops --------------------------------------------------------- */

/* Opens `url` and a share of it; the share alone is started. */
static struct listener *share_alone(struct rig *r, const char *url) {
    struct listener *share;
    open_good(r, url);
    assert_int_equal(listener_share(r->listener, &share), 0);
    assert_int_equal(listener_port(share), listener_port(r->listener));
    listener_start(share, r->loop, &r->log, on_accept, r);
    return share;
}

static void a_share_accepts_on_the_same_sockets(void **state) {
    struct rig *r = *state;
    struct listener *share = share_alone(r, "mqtt://127.0.0.1:0");
    int fd = connect_v4(listener_port(share));
    turn_wait(r->loop);
    assert_int_equal(r->accepted, 1);
    close(fd);
    uint16_t port = listener_port(share);
    listener_close(r->listener); /* the share goes on */
    r->listener = NULL;
    fd = connect_v4(port);
    turn_wait(r->loop);
    assert_int_equal(r->accepted, 2);
    close(fd);
    listener_close(share);
}

static void a_socket_file_stays_the_first_ones(void **state) {
    struct rig *r = *state;
    struct place p = place_of(r, "sock");
    struct listener *share = share_alone(r, p.url);
    listener_close(share);
    assert_true(exists(p.path));
    start(r);
    int fd = connect_unix(p.path);
    turn_wait(r->loop);
    assert_int_equal(r->accepted, 1);
    close(fd);
    listener_close(r->listener);
    r->listener = NULL;
    assert_false(exists(p.path));
}

static void a_share_without_descriptors_fails_and_leaves_none(void **state) {
    struct rig *r = *state;
    struct rlimit limit, none;
    struct listener *share = NULL;
    open_good(r, "mqtt://*:0"); /* two sockets, where there is IPv6 */
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    int next = dup(0);
    none = (struct rlimit){ .rlim_cur = (rlim_t)next, .rlim_max = limit.rlim_max };
    close(next);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int result = listener_share(r->listener, &share);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(result, -EMFILE);
    assert_null(share);
    int again = dup(0);
    assert_int_equal(again, next);
    close(again);
}

#define RIG(test)       cmocka_unit_test_setup_teardown(test, rig_setup, rig_teardown)
#define FALSE_SYS(test) cmocka_unit_test_setup_teardown(test, inject, restore)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_urls_are_taken_apart),
        cmocka_unit_test(bad_urls_are_refused_with_a_reason),
        RIG(a_connection_comes_with_its_address_and_flags),
        RIG(all_addresses_means_both_families),
        RIG(an_ipv6_address_takes_ipv6_only),
        RIG(a_host_name_listens_on_all_its_addresses_at_one_port),
        RIG(localhost_is_served_with_or_without_ipv6),
        RIG(a_port_in_use_is_named),
        RIG(a_port_just_left_is_free_again),
        RIG(an_address_of_another_machine_is_refused),
        RIG(a_failed_open_leaves_no_descriptor),
        RIG(the_callback_may_close_the_listener),
        FALSE_SYS(a_turn_accepts_a_bounded_number),
        FALSE_SYS(errors_of_one_connection_do_not_stop_the_rest),
        FALSE_SYS(want_of_descriptors_pauses_and_does_not_spin),
        FALSE_SYS(a_listener_closed_while_pausing_leaves_no_timer),
        RIG(the_real_limit_of_descriptors_is_survived),
        RIG(a_unix_socket_serves_and_cleans_up),
        RIG(the_mode_of_a_unix_socket_is_as_asked),
        RIG(a_stale_socket_file_is_replaced),
        RIG(a_live_socket_is_refused_and_stays),
        RIG(a_live_socket_with_a_full_backlog_is_refused_too),
        RIG(what_is_no_stream_socket_is_left_alone),
        RIG(a_missing_directory_is_named),
        RIG(a_socket_somebody_put_in_our_place_is_not_removed),
        RIG(a_share_accepts_on_the_same_sockets),
        RIG(a_socket_file_stays_the_first_ones),
        RIG(a_share_without_descriptors_fails_and_leaves_none),
    };
    return cmocka_run_group_tests_name("io/listen", tests, NULL, NULL);
}
