/* passwd.c -- `sol passwd`: one entry of a password file, made, changed or removed.
 *
 * The file is read whole, changed in memory, written beside the old one, flushed and
 * renamed over it: a reader (or a crash) sees the old file or the new one.  Mode and owner
 * stay as they were.  The lock lies on the file itself; since a writer replaces the file,
 * whoever got the lock looks whether the name still means the same file.
 * Lines that are not this user's stay byte for byte. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/policy.h"

#include "base/buf.h"
#include "base/mem.h"
#include "script/password.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#define FILE_MAX     (UINT64_C(64) << 20) /* bytes of a password file */
#define PASSWORD_MAX 1024                 /* bytes, as read here */
#define NAME_MAX_LEN 65535                /* bytes, as MQTT has it */

/* Exit statuses. */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static const char usage[] =
    "usage: sol passwd [-c] FILE USER            ask for a password and set it\n"
    "       sol passwd [-c] -b FILE USER PASSWORD\n"
    "       sol passwd -D FILE USER              remove the user\n"
    "\n"
    "  -c  create FILE; it must not exist yet\n"
    "  -b  take the password from the command line, where others may see it\n"
    "  -D  delete the user's entry\n"
    "\n"
    "Without a terminal the password is the first line of the standard input.\n";

/* What the command line asks for. */
struct request {
    bool creates, deletes, is_batch;
    const char *file, *user;
    const char *password; /* lent by argv; NULL: to be read */
};

/* Says what is wrong and gives the exit status for it. */
__attribute__((format(printf, 1, 2))) static int complain(const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    fputs("sol passwd: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    return EXIT_FAILED;
}

static int complain_exists(const char *path) {
    return complain("%s exists already; leave -c out to change it", path);
}

static int complain_missing(const char *path) {
    return complain("%s does not exist; -c creates it", path);
}

/* ---- the password --------------------------------------------------------- */

/* The signal that came while echo was off, to be obeyed when it is on again. */
static volatile sig_atomic_t caught;

static void on_signal(int number) {
    caught = number;
}

/* Reads a line, waiting under `mask` so that a signal between two reads is not missed;
 * gives its length without the newline, or -1 when there is none. */
static int read_line(char out[PASSWORD_MAX], const sigset_t *mask) {
    struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
    int len = 0;
    for (;;) {
        char c;
        if (ppoll(&in, 1, NULL, mask) < 0 && errno != EINTR) return -1;
        if (caught) return -1;
        if (in.revents == 0) continue;
        ssize_t n = read(STDIN_FILENO, &c, 1);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0 && len == 0) return -1;
        if (n <= 0 || c == '\n') break;
        if (len == PASSWORD_MAX - 1) return -1;
        out[len++] = c;
    }
    if (len && out[len - 1] == '\r') len--;
    out[len] = '\0';
    return len;
}

/* Asks on the terminal, without echo.  As read_line. */
static int prompt(const char *text, char out[PASSWORD_MAX]) {
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP };
    struct sigaction action = { .sa_handler = on_signal }, old[ARRAY_LEN(numbers)];
    struct termios shown, hidden;
    sigset_t blocked, mask;

    sigemptyset(&action.sa_mask);
    sigemptyset(&blocked);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) sigaddset(&blocked, numbers[i]);
    sigprocmask(SIG_BLOCK, &blocked, &mask);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) sigaction(numbers[i], &action, &old[i]);
    bool is_tty = tcgetattr(STDIN_FILENO, &shown) == 0;
    hidden = shown;
    hidden.c_lflag &= ~(tcflag_t)ECHO;
    if (is_tty) tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);

    fputs(text, stderr);
    caught = 0;
    int len = read_line(out, &mask);
    fputc('\n', stderr);

    if (is_tty) tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) sigaction(numbers[i], &old[i], NULL);
    int number = caught;
    sigprocmask(SIG_SETMASK, &mask, NULL);
    if (number) raise(number);
    return len;
}

/* Fills `out` from the terminal (twice) or the first line of the input. */
static int read_password(const char *user, char out[PASSWORD_MAX]) {
    if (!isatty(STDIN_FILENO)) {
        sigset_t mask;
        sigprocmask(SIG_BLOCK, NULL, &mask);
        if (read_line(out, &mask) < 0)
            return complain("no password on the standard input (one line, at most %d bytes)",
                            PASSWORD_MAX - 1);
        return EXIT_DONE;
    }
    char text[80], again[PASSWORD_MAX] = "";
    (void)snprintf(text, sizeof text, "Password for %.40s: ", user);
    if (prompt(text, out) < 0 || prompt("The same again: ", again) < 0)
        return complain("no password");
    bool same = strcmp(out, again) == 0;
    explicit_bzero(again, sizeof again);
    return same ? EXIT_DONE : complain("the two are not the same; nothing is changed");
}

/* ---- the text of the file -------------------------------------------------- */

/* The user a line speaks of: what stands before the first colon, without blanks around
 * it; SLICE_NONE in a comment or a line without a colon. */
static struct slice line_user(struct slice line) {
    const uint8_t *colon = line.len ? memchr(line.at, ':', line.len) : NULL;
    if (!colon || line.at[0] == '#') return SLICE_NONE;
    struct slice user = slice_of(line.at, (size_t)(colon - line.at));
    while (user.len && (user.at[0] == ' ' || user.at[0] == '\t')) user.at++, user.len--;
    while (user.len && (user.at[user.len - 1] == ' ' || user.at[user.len - 1] == '\t')) user.len--;
    return user;
}

static void add_entry(struct buf *out, const char *user, const char *hash) {
    buf_printf(out, "%s:%s\n", user, hash);
}

/* Copies `in` to `out` with the user's entry in its place (or at the end) holding `hash`;
 * NULL removes it.  Further entries of the same user go.  Gives how many there were. */
static unsigned edit(struct slice in, struct buf *out, const char *user, const char *hash) {
    unsigned found = 0;
    for (size_t at = 0; at < in.len;) {
        const uint8_t *end = memchr(in.at + at, '\n', in.len - at);
        size_t len = end ? (size_t)(end - (in.at + at)) : in.len - at;
        struct slice line = slice_of(in.at + at, len), name = line_user(line);
        at += len + 1;
        if (name.at && slice_eq(name, slice_str(user))) {
            if (found++ == 0 && hash) add_entry(out, user, hash);
            continue;
        }
        buf_add_slice(out, line);
        buf_add(out, "\n", 1); /* the last line may lack it */
    }
    if (found == 0 && hash) add_entry(out, user, hash);
    return found;
}

/* ---- the file -------------------------------------------------------------- */

struct target {
    char path[PATH_MAX]; /* links followed: renaming would replace the link */
    int fd;              /* of the present file, locked; -1: none */
    bool is_new;         /* made by us, and empty still */
    struct stat st;
};

/* Opens and locks the file at t->path. EXIT_DONE or complains. */
static int target_lock(struct target *t) {
    for (;;) {
        struct stat now;
        t->fd = open(t->path, O_RDONLY | O_CLOEXEC);
        if (t->fd < 0 && errno == ENOENT) return complain_missing(t->path);
        if (t->fd < 0) return complain("%s: %s", t->path, strerror(errno));
        if (fstat(t->fd, &t->st) < 0 || !S_ISREG(t->st.st_mode))
            return complain("%s is not a file", t->path);
        if (flock(t->fd, LOCK_EX) < 0)
            return complain("%s: cannot be locked: %s", t->path, strerror(errno));
        /* another writer may have put a new file in its place while we waited */
        if (stat(t->path, &now) == 0 && now.st_ino == t->st.st_ino && now.st_dev == t->st.st_dev)
            return EXIT_DONE;
        close(t->fd);
        t->fd = -1;
    }
}

static int target_create(struct target *t, const char *path) {
    if (strlen(path) >= sizeof t->path) return complain("%s: %s", path, strerror(ENAMETOOLONG));
    strcpy(t->path, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST) return complain_exists(path);
    if (fd < 0) return complain("%s: %s", path, strerror(errno));
    close(fd);
    t->is_new = true;
    return target_lock(t);
}

static int target_open(struct target *t, const struct request *q) {
    if (q->creates) return target_create(t, q->file);
    if (!realpath(q->file, t->path)) {
        if (errno == ENOENT) return complain_missing(q->file);
        return complain("%s: %s", q->file, strerror(errno));
    }
    return target_lock(t);
}

static int target_read(const struct target *t, struct buf *out) {
    for (;;) {
        ssize_t n = read(t->fd, buf_reserve(out, 65536), 65536);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return complain("%s: %s", t->path, strerror(errno));
        if (n == 0) return EXIT_DONE;
        out->len += (size_t)n;
        if (out->len > FILE_MAX) return complain("%s: larger than 64 MiB", t->path);
    }
}

/* 0 or -errno. */
static int write_whole(int fd, struct slice text) {
    while (text.len) {
        ssize_t n = write(fd, text.at, text.len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -errno;
        text = slice_of(text.at + n, text.len - (size_t)n);
    }
    return fsync(fd) < 0 ? -errno : 0;
}

/* The new file gets mode and owner of the old one before anything is in it. */
static int fill(const struct target *t, int fd, struct slice text) {
    bool is_others = t->st.st_uid != geteuid() || t->st.st_gid != getegid();
    if (is_others && fchown(fd, t->st.st_uid, t->st.st_gid) < 0) return -errno;
    if (fchmod(fd, t->st.st_mode & 07777) < 0) return -errno;
    return write_whole(fd, text);
}

/* A rename is on the disk when its directory is. */
static void sync_directory(const char *path) {
    char dir[PATH_MAX];
    strcpy(dir, path);
    char *slash = strrchr(dir, '/');
    strcpy(slash ? slash + (slash == dir) : dir, slash ? "" : ".");
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    (void)fsync(fd); /* not every file system can; the rename stands all the same */
    close(fd);
}

static int target_replace(const struct target *t, struct slice text) {
    char beside[PATH_MAX + 16];
    (void)snprintf(beside, sizeof beside, "%s.XXXXXX", t->path);
    int fd = mkostemp(beside, O_CLOEXEC);
    if (fd < 0) return complain("%s: cannot write beside it: %s", t->path, strerror(errno));
    int r = fill(t, fd, text);
    if (close(fd) < 0 && r == 0) r = -errno;
    if (r == 0 && rename(beside, t->path) < 0) r = -errno;
    if (r < 0) {
        (void)unlink(beside);
        return complain("%s: left as it was: %s", t->path, strerror(-r));
    }
    sync_directory(t->path);
    return EXIT_DONE;
}

/* ---- the command ----------------------------------------------------------- */

static int change(const struct request *q, const char *hash) {
    struct target t = { .fd = -1 };
    AUTO(buf_deinit) struct buf old = BUF_INIT, new = BUF_INIT;
    int r = target_open(&t, q);
    if (r == EXIT_DONE) r = target_read(&t, &old);
    if (r == EXIT_DONE) {
        unsigned found = edit(buf_slice(&old), &new, q->user, hash);
        if (!hash && found == 0)
            r = complain("%s has no user %s", q->file, q->user);
        else
            r = target_replace(&t, buf_slice(&new));
        if (r == EXIT_DONE)
            printf("%s: %s %s\n", q->file, q->user,
                   !hash   ? "removed"
                   : found ? "changed"
                           : "added");
    }
    if (r != EXIT_DONE && t.is_new) (void)unlink(t.path);
    if (t.fd >= 0) close(t.fd);
    return r;
}

/* Makes the hash of a new password and files it. */
static int set_password(const struct request *q) {
    char password[PASSWORD_MAX] = "", hash[PASSWORD_TEXT_MAX];
    /* before anybody types a password in vain; target_open looks again */
    bool exists = access(q->file, F_OK) == 0;
    if (exists && q->creates) return complain_exists(q->file);
    if (!exists && errno == ENOENT && !q->creates) return complain_missing(q->file);
    if (q->password && strlen(q->password) >= sizeof password)
        return complain("the password is longer than %d bytes", PASSWORD_MAX - 1);
    if (q->password)
        strcpy(password, q->password);
    else if (read_password(q->user, password) != EXIT_DONE)
        return EXIT_FAILED;

    if (password[0] == '\0') return complain("an empty password is none");
    int r = password_hash(slice_str(password), &PASSWORD_COST_DEFAULT, hash);
    explicit_bzero(password, sizeof password);
    if (r < 0) return complain("cannot hash the password: %s", strerror(-r));
    return change(q, hash);
}

/* Can a line of the file hold this name, and be read back? */
static bool user_valid(const char *user) {
    size_t len = strlen(user);
    if (len == 0 || len > NAME_MAX_LEN) return false;
    if (user[0] == '#' || user[0] == ' ' || user[len - 1] == ' ') return false;
    for (const char *at = user; *at; at++)
        if (*at == ':' || (unsigned char)*at < 0x20 || *at == 0x7f) return false;
    return true;
}

/* False when the command line makes no sense. */
static bool request_parse(struct request *q, int argc, char **argv) {
    optind = 1;
    for (int c; (c = getopt(argc, argv, "+cDb")) != -1;) {
        if (c == 'c')
            q->creates = true;
        else if (c == 'D')
            q->deletes = true;
        else if (c == 'b')
            q->is_batch = true;
        else
            return false;
    }
    if (q->deletes && (q->creates || q->is_batch)) return false;
    if (argc - optind != (q->is_batch ? 3 : 2)) return false;
    q->file = argv[optind];
    q->user = argv[optind + 1];
    q->password = argv[optind + 2]; /* NULL at the end of argv */
    return true;
}

int passwd_main(int argc, char **argv) {
    struct request q = { 0 };
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return EXIT_DONE;
    }
    if (!request_parse(&q, argc, argv)) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    if (!user_valid(q.user)) {
        complain("a user name cannot be empty, hold ':' or control characters, "
                 "begin with '#' or a blank or end with a blank");
        return EXIT_USAGE;
    }
    return q.deletes ? change(&q, NULL) : set_password(&q);
}
