/* SPDX-License-Identifier: BSD-2-Clause
 *
 * proc.c -- processes, sockets and the clock for the black-box specs.
 *
 * A Lua 5.4 module (`require "support.proc"`).  It knows nothing of MQTT or of
 * Sol.  Sockets never block: `recv` and `send` answer nil, "again", and
 * `wait` is the only place that sleeps for them, always with a time-out in
 * seconds.  A process spawned here dies with us (PR_SET_PDEATHSIG), and one
 * that is collected is killed and reaped, so no spec leaves a broker behind.
 * What the world does is answered with nil, message; what the caller did
 * wrong is an error.
 */
#define _GNU_SOURCE

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROCESS "support.process"
#define SOCKET  "support.socket"

enum { RECV_MAX = 256 * 1024 };

struct process {
    pid_t pid;      /* 0: never started */
    bool  reaped;
    int   status;   /* of waitpid, once reaped */
    int   stdin_fd; /* our end of its standard input, -1: none */
};

struct sock {
    int fd; /* -1: closed */
};

union address {
    struct sockaddr     any;
    struct sockaddr_in  v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un  un;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void nap(double seconds)
{
    struct timespec t = { .tv_sec = (time_t)seconds };
    t.tv_nsec = (long)((seconds - (double)t.tv_sec) * 1e9);
    while (nanosleep(&t, &t) < 0 && errno == EINTR)
        continue;
}

/* Push nil, strerror(err). [-0, +2, m] */
static int push_errno(lua_State *L, int err)
{
    lua_pushnil(L);
    lua_pushstring(L, strerror(err));
    return 2;
}

/* --- processes ---------------------------------------------------------- */

static struct process *check_process(lua_State *L)
{
    return luaL_checkudata(L, 1, PROCESS);
}

/* The strings of the array at `index` as a NULL-terminated vector, kept alive
 * by the array itself; the vector is a userdata on the stack. [-0, +1, v] */
static char **push_vector(lua_State *L, int index)
{
    lua_Integer n = luaL_len(L, index);
    char **v = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof *v, 0);
    for (lua_Integer i = 0; i < n; i++) {
        lua_geti(L, index, i + 1); /* ..., vector, string */
        if (lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "element %d is not a string", (int)i + 1);
        v[i] = (char *)lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    v[n] = NULL;
    return v;
}

static const char *opt_field(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    return luaL_optstring(L, -1, NULL); /* stays on the stack, so it lives */
}

static int open_output(const char *path)
{
    return open(path ? path : "/dev/null",
                O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

struct child {
    char      **argv, **env;
    const char *cwd;
    int         in, out, err, report; /* report: where to write errno */
    lua_Integer nofile;               /* 0: inherited */
};

_Noreturn static void run_child(const struct child *c)
{
    struct rlimit limit = { (rlim_t)c->nofile, (rlim_t)c->nofile };
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    bool ok = dup2(c->in, 0) == 0 && dup2(c->out, 1) == 1 &&
              dup2(c->err, 2) == 2 && (!c->cwd || chdir(c->cwd) == 0) &&
              (!c->nofile || setrlimit(RLIMIT_NOFILE, &limit) == 0);
    if (ok)
        execvpe(c->argv[0], c->argv, c->env);
    int err = errno;
    ssize_t ignored = write(c->report, &err, sizeof err);
    (void)ignored;
    _exit(127);
}

/* proc.spawn{argv..., env={"K=V"...}, cwd=, stdout=FILE, stderr=FILE,
 *            stdin=true, nofile=N} -> process | nil, err
 * Without `stdin` the process reads /dev/null; outputs are appended to. */
static int proc_spawn(lua_State *L)
{
    extern char **environ;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    struct child c = { .argv = push_vector(L, 1), .env = environ };
    luaL_argcheck(L, c.argv[0], 1, "argv is empty");
    c.cwd = opt_field(L, "cwd");
    const char *out = opt_field(L, "stdout"), *err = opt_field(L, "stderr");
    if (lua_getfield(L, 1, "env") == LUA_TTABLE)
        c.env = push_vector(L, lua_absindex(L, -1));
    lua_getfield(L, 1, "nofile");
    c.nofile = luaL_optinteger(L, -1, 0);
    lua_getfield(L, 1, "stdin");
    bool with_stdin = lua_toboolean(L, -1);

    struct process *p = lua_newuserdatauv(L, sizeof *p, 0);
    *p = (struct process){ .stdin_fd = -1, .reaped = true };
    luaL_setmetatable(L, PROCESS);

    int report[2], input[2];
    if (pipe2(report, O_CLOEXEC) < 0 || pipe2(input, O_CLOEXEC) < 0)
        return push_errno(L, errno);
    c.in = with_stdin ? input[0] : open("/dev/null", O_RDONLY | O_CLOEXEC);
    c.out = open_output(out);
    c.err = open_output(err);
    c.report = report[1];
    pid_t pid = c.in < 0 || c.out < 0 || c.err < 0 ? -1 : fork();
    if (pid == 0)
        run_child(&c);
    int failure = pid < 0 ? errno : 0;
    close(report[1]);
    close(c.in);
    close(c.out);
    close(c.err);
    if (with_stdin) {
        p->stdin_fd = input[1];
    } else {
        close(input[0]);
        close(input[1]);
    }
    if (pid > 0 && read(report[0], &failure, sizeof failure) > 0)
        waitpid(pid, NULL, 0);
    close(report[0]);
    if (failure)
        return push_errno(L, failure);
    p->pid = pid;
    p->reaped = false;
    return 1;
}

static bool reap(struct process *p, int flags)
{
    if (!p->reaped && waitpid(p->pid, &p->status, flags) == p->pid)
        p->reaped = true;
    return p->reaped;
}

static int process_pid(lua_State *L)
{
    lua_pushinteger(L, check_process(L)->pid);
    return 1;
}

/* process:kill(signal) -> true when it was still there to be signalled */
static int process_kill(lua_State *L)
{
    struct process *p = check_process(L);
    int signo = (int)luaL_checkinteger(L, 2);
    lua_pushboolean(L, !reap(p, WNOHANG) && kill(p->pid, signo) == 0);
    return 1;
}

/* process:wait(seconds) -> "exit", status | "signal", number | nil */
static int process_wait(lua_State *L)
{
    struct process *p = check_process(L);
    double deadline = now() + luaL_optnumber(L, 2, 0);
    while (!reap(p, WNOHANG)) {
        if (now() >= deadline)
            return 0;
        nap(0.001);
    }
    bool exited = WIFEXITED(p->status);
    lua_pushstring(L, exited ? "exit" : "signal");
    lua_pushinteger(L, exited ? WEXITSTATUS(p->status) : WTERMSIG(p->status));
    return 2;
}

static int process_write(lua_State *L)
{
    struct process *p = check_process(L);
    size_t len;
    const char *text = luaL_checklstring(L, 2, &len);
    ssize_t n = write(p->stdin_fd, text, len);
    if (n < 0)
        return push_errno(L, errno);
    lua_pushinteger(L, n);
    return 1;
}

static int process_close_stdin(lua_State *L)
{
    struct process *p = check_process(L);
    if (p->stdin_fd >= 0)
        close(p->stdin_fd);
    p->stdin_fd = -1;
    return 0;
}

static int process_gc(lua_State *L)
{
    struct process *p = check_process(L);
    process_close_stdin(L);
    if (!reap(p, WNOHANG)) {
        kill(p->pid, SIGKILL);
        reap(p, 0);
    }
    return 0;
}

/* --- sockets ------------------------------------------------------------ */

static struct sock *check_socket(lua_State *L)
{
    struct sock *s = luaL_checkudata(L, 1, SOCKET);
    luaL_argcheck(L, s->fd >= 0, 1, "socket is closed");
    return s;
}

/* The address a table {host=, port=} or {path=} at 1 names; a path that begins
 * with @ is a name without a file. */
static socklen_t read_address(lua_State *L, union address *a)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    memset(a, 0, sizeof *a);
    const char *path = opt_field(L, "path");
    if (path) {
        a->un.sun_family = AF_UNIX;
        luaL_argcheck(L, strlen(path) < sizeof a->un.sun_path, 1, "long path");
        strcpy(a->un.sun_path, path);
        if (*path == '@')
            a->un.sun_path[0] = '\0';
        return sizeof a->un;
    }
    const char *host = opt_field(L, "host");
    lua_getfield(L, 1, "port");
    in_port_t port = htons((uint16_t)luaL_optinteger(L, -1, 0));
    if (host && inet_pton(AF_INET6, host, &a->v6.sin6_addr) == 1) {
        a->v6.sin6_family = AF_INET6;
        a->v6.sin6_port = port;
        return sizeof a->v6;
    }
    a->v4.sin_family = AF_INET;
    a->v4.sin_port = port;
    if (inet_pton(AF_INET, host ? host : "127.0.0.1", &a->v4.sin_addr) != 1)
        luaL_error(L, "not a numeric address: %s", host);
    return sizeof a->v4;
}

static struct sock *push_socket(lua_State *L, int family)
{
    struct sock *s = lua_newuserdatauv(L, sizeof *s, 0);
    s->fd = -1;
    luaL_setmetatable(L, SOCKET);
    s->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return s;
}

static bool wait_fd(int fd, short events, double seconds)
{
    double deadline = now() + seconds;
    for (;;) {
        struct pollfd p = { .fd = fd, .events = events };
        double left = deadline - now();
        int r = poll(&p, 1, left > 0 ? (int)(left * 1000) + 1 : 0);
        if (r > 0)
            return true;
        if (r == 0 && left <= 0)
            return false;
    }
}

/* proc.connect{host=,port= | path=, rcvbuf=, timeout=} -> socket | nil, err */
static int proc_connect(lua_State *L)
{
    union address a;
    socklen_t len = read_address(L, &a);
    lua_getfield(L, 1, "rcvbuf");
    int rcvbuf = (int)luaL_optinteger(L, -1, 0), one = 1, err = 0;
    lua_getfield(L, 1, "timeout");
    double timeout = luaL_optnumber(L, -1, 5);

    struct sock *s = push_socket(L, a.any.sa_family);
    if (s->fd < 0)
        return push_errno(L, errno);
    if (rcvbuf)
        setsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof rcvbuf);
    if (a.any.sa_family != AF_UNIX)
        setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(s->fd, &a.any, len) == 0)
        return 1;
    if (errno != EINPROGRESS)
        return push_errno(L, errno);
    len = sizeof err;
    if (!wait_fd(s->fd, POLLOUT, timeout))
        return push_errno(L, ETIMEDOUT);
    getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &len);
    return err ? push_errno(L, err) : 1;
}

/* proc.listen{host=,port= | path=} -> socket | nil, err.  Closing a unix
 * listener leaves its file behind, as a crashed process would. */
static int proc_listen(lua_State *L)
{
    union address a;
    socklen_t len = read_address(L, &a);
    struct sock *s = push_socket(L, a.any.sa_family);
    int one = 1;
    setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (s->fd < 0 || bind(s->fd, &a.any, len) < 0 || listen(s->fd, 16) < 0)
        return push_errno(L, errno);
    return 1;
}

/* socket:port() -> the local port */
static int socket_port(lua_State *L)
{
    struct sock *s = check_socket(L);
    union address a;
    socklen_t len = sizeof a;
    if (getsockname(s->fd, &a.any, &len) < 0)
        return push_errno(L, errno);
    lua_pushinteger(L, ntohs(a.any.sa_family == AF_INET6 ? a.v6.sin6_port
                                                         : a.v4.sin_port));
    return 1;
}

/* socket:send(bytes) -> count | nil, "again" | nil, err */
static int socket_send(lua_State *L)
{
    struct sock *s = check_socket(L);
    size_t len;
    const char *bytes = luaL_checklstring(L, 2, &len);
    ssize_t n = send(s->fd, bytes, len, MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN) {
        lua_pushnil(L);
        lua_pushliteral(L, "again");
        return 2;
    }
    if (n < 0)
        return push_errno(L, errno);
    lua_pushinteger(L, n);
    return 1;
}

/* socket:recv([max]) -> bytes | nil, "again" | nil, "closed" | nil, err */
static int socket_recv(lua_State *L)
{
    struct sock *s = check_socket(L);
    lua_Integer max = luaL_optinteger(L, 2, RECV_MAX);
    luaL_argcheck(L, max > 0 && max <= RECV_MAX, 2, "out of range");
    luaL_Buffer b;
    char *at = luaL_buffinitsize(L, &b, (size_t)max);
    ssize_t n = recv(s->fd, at, (size_t)max, 0);
    if (n > 0) {
        luaL_pushresultsize(&b, (size_t)n);
        return 1;
    }
    int err = errno;
    lua_pushnil(L);
    if (n == 0)
        lua_pushliteral(L, "closed");
    else
        lua_pushstring(L, err == EAGAIN ? "again" : strerror(err));
    return 2;
}

/* socket:wait("r" | "w", seconds) -> ready? (an error or hang-up is ready) */
static int socket_wait(lua_State *L)
{
    struct sock *s = check_socket(L);
    short events = *luaL_checkstring(L, 2) == 'w' ? POLLOUT : POLLIN;
    lua_pushboolean(L, wait_fd(s->fd, events, luaL_optnumber(L, 3, 0)));
    return 1;
}

/* socket:shutdown(): no more bytes from us, but we still read */
static int socket_shutdown(lua_State *L)
{
    if (shutdown(check_socket(L)->fd, SHUT_WR) < 0)
        return push_errno(L, errno);
    lua_pushboolean(L, true);
    return 1;
}

static int socket_close(lua_State *L)
{
    struct sock *s = luaL_checkudata(L, 1, SOCKET);
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    return 0;
}

/* socket:reset(): close with RST instead of FIN */
static int socket_reset(lua_State *L)
{
    struct linger now_rst = { .l_onoff = 1, .l_linger = 0 };
    setsockopt(check_socket(L)->fd, SOL_SOCKET, SO_LINGER, &now_rst,
               sizeof now_rst);
    return socket_close(L);
}

/* --- clock and files ---------------------------------------------------- */

static int proc_now(lua_State *L)
{
    lua_pushnumber(L, now());
    return 1;
}

static int proc_sleep(lua_State *L)
{
    nap(luaL_checknumber(L, 1));
    return 0;
}

/* proc.list(dir) -> array of names without "." and ".." | nil, err */
static int proc_list(lua_State *L)
{
    DIR *dir = opendir(luaL_checkstring(L, 1));
    if (!dir)
        return push_errno(L, errno);
    lua_newtable(L);
    lua_Integer n = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        lua_pushstring(L, e->d_name);
        lua_rawseti(L, -2, ++n);
    }
    closedir(dir);
    return 1;
}

static int proc_tempdir(lua_State *L)
{
    char path[] = "/tmp/sol-spec-XXXXXX";
    if (!mkdtemp(path))
        return push_errno(L, errno);
    lua_pushstring(L, path);
    return 1;
}

static int proc_mkdir(lua_State *L)
{
    if (mkdir(luaL_checkstring(L, 1), 0700) < 0)
        return push_errno(L, errno);
    lua_pushboolean(L, true);
    return 1;
}

/* proc.stat(path) -> {mode=permission bits, kind="file"|"dir"|"socket"|...} */
static int proc_stat(lua_State *L)
{
    struct stat st;
    if (lstat(luaL_checkstring(L, 1), &st) < 0)
        return push_errno(L, errno);
    lua_createtable(L, 0, 2);
    lua_pushinteger(L, st.st_mode & 07777);
    lua_setfield(L, -2, "mode");
    lua_pushstring(L, S_ISREG(st.st_mode)    ? "file"
                      : S_ISDIR(st.st_mode)  ? "dir"
                      : S_ISSOCK(st.st_mode) ? "socket"
                                             : "other");
    lua_setfield(L, -2, "kind");
    return 1;
}

static int proc_cwd(lua_State *L)
{
    char path[4096];
    if (!getcwd(path, sizeof path))
        return push_errno(L, errno);
    lua_pushstring(L, path);
    return 1;
}

/* --- the module --------------------------------------------------------- */

static const luaL_Reg process_methods[] = {
    { "pid", process_pid },
    { "kill", process_kill },
    { "wait", process_wait },
    { "write", process_write },
    { "close_stdin", process_close_stdin },
    { "__gc", process_gc },
    { NULL, NULL },
};

static const luaL_Reg socket_methods[] = {
    { "port", socket_port },
    { "send", socket_send },
    { "recv", socket_recv },
    { "wait", socket_wait },
    { "shutdown", socket_shutdown },
    { "reset", socket_reset },
    { "close", socket_close },
    { "__gc", socket_close },
    { NULL, NULL },
};

static const luaL_Reg functions[] = {
    { "spawn", proc_spawn },
    { "connect", proc_connect },
    { "listen", proc_listen },
    { "now", proc_now },
    { "sleep", proc_sleep },
    { "list", proc_list },
    { "tempdir", proc_tempdir },
    { "mkdir", proc_mkdir },
    { "stat", proc_stat },
    { "cwd", proc_cwd },
    { NULL, NULL },
};

static void new_class(lua_State *L, const char *name, const luaL_Reg *methods)
{
    luaL_newmetatable(L, name);     /* class */
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);           /* class, class */
    lua_setfield(L, -2, "__index"); /* class */
    lua_pop(L, 1);
}

static bool is_for_specs(const char *variable)
{
    static const char *const rows[] = {
        "PATH=", "TMPDIR=", "LUA_", "SOL_BIN=", "SOL_TEST_SLOW=", "SOL_SEQUENCES=", "SPEC_",
        "GCOV_", "ASAN_OPTIONS=", "LSAN_OPTIONS=", "TSAN_OPTIONS=", "UBSAN_OPTIONS=",
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strncmp(variable, rows[i], strlen(rows[i])) == 0)
            return true;
    return false;
}

/* What else whoever runs the specs has in the environment is not for the programs that they
 * start: those would find plugins, servers and certificates there. */
static void clean_environment(void)
{
    extern char **environ;
    char **to = environ;

    for (char **at = environ; *at; at++)
        if (is_for_specs(*at))
            *to++ = *at;
    *to = NULL;
}

int luaopen_support_proc(lua_State *L);

int luaopen_support_proc(lua_State *L)
{
    signal(SIGPIPE, SIG_IGN);
    clean_environment();
    new_class(L, PROCESS, process_methods);
    new_class(L, SOCKET, socket_methods);
    luaL_newlib(L, functions);
    return 1;
}
