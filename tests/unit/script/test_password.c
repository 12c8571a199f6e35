/* test_password.c -- hashes of this program, of mosquitto and of crypt(3). */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/password.h"

#include "base/mem.h"
#include "script/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const struct password_cost cheap = { 1, PASSWORD_MEMORY_MIN };

static int verify(const char *password, const char *hash) {
    return password_verify(slice_str(password), slice_str(hash));
}

/* ---- hashing -------------------------------------------------------------- */

static void a_new_hash_is_argon2id_and_verifies(void **state) {
    (void)state;
    char hash[PASSWORD_TEXT_MAX];
    const char *kind = NULL;
    assert_int_equal(password_hash(SLICE("tra la"), &cheap, hash), PASSWORD_OK);
    assert_memory_equal(hash, "$argon2id$v=19$m=8,t=1,p=1$", 27);
    assert_int_equal(password_kind(slice_str(hash), &kind), PASSWORD_OK);
    assert_string_equal(kind, "argon2id");
    assert_int_equal(verify("tra la", hash), PASSWORD_OK);
    assert_int_equal(verify("tra lA", hash), PASSWORD_WRONG);
    assert_int_equal(verify("", hash), PASSWORD_WRONG);
}

static void two_hashes_of_one_password_differ(void **state) {
    (void)state;
    char a[PASSWORD_TEXT_MAX], b[PASSWORD_TEXT_MAX];
    assert_int_equal(password_hash(SLICE("x"), &cheap, a), PASSWORD_OK);
    assert_int_equal(password_hash(SLICE("x"), &cheap, b), PASSWORD_OK);
    assert_string_not_equal(a, b);
}

static void the_default_cost_is_64_mib_and_two_passes(void **state) {
    (void)state;
    char hash[PASSWORD_TEXT_MAX];
    assert_int_equal(password_hash(SLICE("x"), &PASSWORD_COST_DEFAULT, hash), PASSWORD_OK);
    assert_memory_equal(hash, "$argon2id$v=19$m=65536,t=2,p=1$", 31);
    assert_int_equal(verify("x", hash), PASSWORD_OK);
}

static void passwords_are_bytes_of_any_kind_and_length(void **state) {
    (void)state;
    char hash[PASSWORD_TEXT_MAX];
    static uint8_t longest[65535];
    memset(longest, 'x', sizeof longest);
    const struct slice rows[] = { SLICE_NONE, SLICE(""), SLICE("a\0b"), SLICE("\xff\xfe"),
                                  slice_of(longest, sizeof longest) };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(password_hash(rows[i], &cheap, hash), PASSWORD_OK);
        assert_int_equal(password_verify(rows[i], slice_str(hash)), PASSWORD_OK);
        assert_int_equal(password_verify(SLICE("a"), slice_str(hash)), PASSWORD_WRONG);
    }
}

/* ---- other programs' hashes ------------------------------------------------ */

static void known_hashes_of_every_form_verify(void **state) {
    (void)state;
    static const struct {
        const char *kind, *password, *hash;
    } rows[] = {
        /* the Argon2 reference implementation's own vectors */
        { "argon2id", "password",
          "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$"
          "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc" },
        { "argon2id", "password",
          "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc" },
        /* mosquitto_passwd 2.0.11 */
        { "pbkdf2-sha512", "secret",
          "$7$101$GJGKkqRs+wTX3ZVc$0wDSvncOTHCnaHwGA/8F9wGWOJQy2g/BPAOrvF8zygNhZ4idyhyvZyyYfCwvCR"
          "gHadySJN/7BVFV3655Ig2Lfw==" },
        /* Python's hashlib, as mosquitto-go-auth writes it */
        { "pbkdf2-sha512", "secret",
          "PBKDF2$sha512$1000$AAECAwQFBgcICQoLDA0ODw==$8ltlLe5cI6KNrWOmMFkTi2iE7fEXJKJJR9lhjd/xSn6"
          "8+xOqzv2h20C4IDv/enqlx8f6AaRHE+6XnvHKXKhAjA==" },
        { "sha512", "secret",
          "$6$bggJ5Uwz+pATvmQa$YDOsFSQTCdTttseDDXuQSHUczW+ZnjpQWRsOQ7AQ4uFfoOU+bxYQulVxf5ucv/08yqPg"
          "ivwrgpRAi2SabRMsyw==" },
        /* libcrypt */
        { "crypt", "secret",
          "$6$gyFrznEN3SiZi4fF$PlaZ7TsnQnADCX/a9HPYRXANwUB9I7VUZRjRzYQXu7KMFTYAM7dDAwgCF7JhZtSPmgm5"
          "4lU1o39Jh/T2n5KZS." },
        { "crypt", "secret", "$5$ZK/O1XgpmHBH9RRr$vwGyKxILBIz3BJvKDosx8fRgdJDFYF9v2G5hLonHvi6" },
        { "crypt", "secret",
          "$y$j9T$lw7mx2fvfdBtMqeo6cERj.$mN.i4XeMUepNfeOrkQjQxCglOWHM0nbsYgWxuUQ7e90" },
        { "crypt", "secret",
          "$gy$j9T$6rChpbRxgi3sE6YKBjMod0$mt/f9XaKmVz96hCZF7GM3B3T3RAfOAc4hhX8KKtPFg4" },
        { "crypt", "secret", "$2b$05$eUveYDFbsBlJ/W5hEEKHhu81K0WcRwL9riNSWe25OZbndTi2b32Ne" },
        { "crypt", "secret", "$2y$05$eUveYDFbsBlJ/W5hEEKHhu81K0WcRwL9riNSWe25OZbndTi2b32Ne" },
        /* with rounds of its own */
        { "crypt", "Hello world!",
          "$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *kind = "";
        if (verify(rows[i].password, rows[i].hash) != PASSWORD_OK)
            fail_msg("%s should verify", rows[i].hash);
        if (verify("other", rows[i].hash) != PASSWORD_WRONG)
            fail_msg("%s should be another's", rows[i].hash);
        assert_int_equal(password_kind(slice_str(rows[i].hash), &kind), PASSWORD_OK);
        assert_string_equal(kind, rows[i].kind);
    }
}

static void crypt_does_not_see_half_a_password(void **state) {
    (void)state;
    static const char hash[] = "$2b$05$eUveYDFbsBlJ/W5hEEKHhu81K0WcRwL9riNSWe25OZbndTi2b32Ne";
    static uint8_t longer[600];
    memset(longer, 's', sizeof longer);
    assert_int_equal(password_verify(SLICE("secret\0tail"), slice_str(hash)), PASSWORD_WRONG);
    assert_int_equal(password_verify(slice_of(longer, sizeof longer), slice_str(hash)),
                     PASSWORD_WRONG);
}

static void malformed_hashes_are_told_from_wrong_passwords(void **state) {
    (void)state;
    static const char *const rows[] = {
        "",
        "secret",
        "$",
        "$6$",
        "$7$",
        "$1$abc$def",
        "PBKDF2$sha512$",
        "PBKDF2$sha256$1000$AAECAwQFBgcICQoLDA0ODw==$8ltlLe5cI6KNrWOmMFkTi2iE7fEXJKJJR9lhjd/xSn4=",
        "PBKDF2$sha512$1000$AAECAwQFBgcICQoLDA0ODw==$8ltlLe5cI6KNrWOmMFkTi2iE7fEXJKJJR9lhjd/xSn4=",
        "$9$x$y",
        "*",
        "x:y",
        "$argon2id$",
        "$argon2id$v=19$m=8,t=1,p=1$",
        "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ",
        "$argon2id$v=16$m=8,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        "$argon2id$v=19$m=8,t=0,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        "$argon2id$v=19$m=8,t=1,p=2$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        "$argon2id$v=19$m=8,t=1,p=1$c29t$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc$",
        "$7$0$GJGKkqRs+wTX3ZVc$0wDSvncO",
        "$7$101$GJGKkqRs+wTX3ZVc$0wDSvncO",
        "$7$-1$AAAA$AAAA",
        "$7$101$GJGK!qRs$0wDSvncO",
        "$6$salt",
        "$6$salt$short",
        "$5$salt$short",
        "$y$j9T$x",
        "$2b$05$short",
        "$2b$5$eUveYDFbsBlJ/W5hEEKHhu81K0WcRwL9riNSWe25OZbndTi2b32Ne",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *kind = NULL;
        if (verify("secret", rows[i]) != PASSWORD_MALFORMED) fail_msg("%s", rows[i]);
        assert_int_equal(password_kind(slice_str(rows[i]), &kind), PASSWORD_MALFORMED);
        assert_null(kind);
    }
    assert_int_equal(password_verify(SLICE("x"), SLICE("$6$a\0b")), PASSWORD_MALFORMED);
    assert_int_equal(password_verify(SLICE("x"), SLICE_NONE), PASSWORD_MALFORMED);
    char endless[4096];
    memset(endless, '$', sizeof endless);
    assert_int_equal(password_verify(SLICE("x"), slice_of(endless, sizeof endless)),
                     PASSWORD_MALFORMED);
}

static void hashes_that_ask_for_too_much_are_refused_at_once(void **state) {
    (void)state;
    static const char *const rows[] = {
        "$argon2id$v=19$m=4294967295,t=1,p=1$c29tZXNhbHQ$"
        "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        "$argon2id$v=19$m=99999999999999999999,t=1,p=1$c29tZXNhbHQ$"
        "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8A"
        "rZWb2GRPPc",
        "$argon2id$v=19$m=8,t=100000,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        "$argon2id$v=19$m=8192,t=1,p=1024$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        "$7$4000000000$GJGKkqRs+wTX3ZVc$0wDSvncOTHCnaHwGA/8F9wGWOJQy2g/"
        "BPAOrvF8zygNhZ4idyhyvZyyYfCwv"
        "CRgHadySJN/7BVFV3655Ig2Lfw==",
        "$5$rounds=999999999$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA",
        "$2b$31$eUveYDFbsBlJ/W5hEEKHhu81K0WcRwL9riNSWe25OZbndTi2b32Ne",
        "$y$jXT$lw7mx2fvfdBtMqeo6cERj.$mN.i4XeMUepNfeOrkQjQxCglOWHM0nbsYgWxuUQ7e90",
        "$y$j9TzzT$lw7mx2fvfdBtMqeo6cERj.$mN.i4XeMUepNfeOrkQjQxCglOWHM0nbsYgWxuUQ7e90",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *kind = NULL;
        if (verify("secret", rows[i]) != PASSWORD_COSTLY) fail_msg("%s", rows[i]);
        assert_int_equal(password_kind(slice_str(rows[i]), &kind), PASSWORD_COSTLY);
    }
}

/* ---- against the programs themselves --------------------------------------- */

/* A directory of this test's own. */
static int make_dir(void **state) {
    char *dir = xstrdup("/tmp/sol-password-XXXXXX");
    *state = dir;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
    char path[256];
    static const char *const names[] = { "pw", "pw6", "link", "in" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        (void)snprintf(path, sizeof path, "%s/%s", (char *)*state, names[i]);
        (void)unlink(path);
    }
    int r = rmdir(*state); /* a left-over file of anyone's shows here */
    free(*state);
    return r;
}

static char *path_in(void **state, const char *name) {
    static char paths[4][256];
    static unsigned at;
    char *path = paths[at++ % 4];
    (void)snprintf(path, 256, "%s/%s", (char *)*state, name);
    return path;
}

static void read_all(const char *path, char *out, size_t cap) {
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    out[fread(out, 1, cap - 1, f)] = '\0';
    fclose(f);
}

/* Runs a program; gives its exit status, or 127 when it is not installed. */
static int run(const char *const argv[]) {
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 1);
        dup2(null, 2);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void files_of_mosquitto_passwd_verify(void **state) {
    const char *pw = path_in(state, "pw"), *pw6 = path_in(state, "pw6");
    int r = run(
        (const char *const[]){ "mosquitto_passwd", "-b", "-c", pw, "ada", "ünïcode $7$", NULL });
    if (r == 127) skip();
    assert_int_equal(r, 0);
    r = run((const char *const[]){ "mosquitto_passwd", "-H", "sha512", "-b", "-c", pw6, "ada",
                                   "ünïcode $7$", NULL });
    assert_int_equal(r, 0);

    const char *const files[] = { pw, pw6 }, *const prefixes[] = { "ada:$7$", "ada:$6$" };
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        char text[1024];
        read_all(files[i], text, sizeof text);
        assert_memory_equal(text, prefixes[i], 7);
        text[strcspn(text, "\n")] = '\0';
        assert_int_equal(verify("ünïcode $7$", text + 4), PASSWORD_OK);
        assert_int_equal(verify("ünïcode $7", text + 4), PASSWORD_WRONG);
    }
}

/* ---- sol passwd ------------------------------------------------------------ */

#define PASSWD(...) passwd((const char *const[]){ "passwd", __VA_ARGS__, NULL })

/* Runs `sol passwd` in a child with `input` on its stdin; gives the exit status. */
static const char *input;
static int passwd(const char *const argv[]) {
    int argc = 0, pipes[2];
    while (argv[argc]) argc++;
    assert_int_equal(pipe(pipes), 0);
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(pipes[0], 0);
        dup2(null, 1);
        dup2(null, 2);
        close(pipes[1]);
        _exit(passwd_main(argc, (char **)(uintptr_t)argv));
    }
    close(pipes[0]);
    /* a child that refuses its arguments does not read: EPIPE */
    if (input && write(pipes[1], input, strlen(input)) < 0 && errno != EPIPE) fail();
    close(pipes[1]);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void write_all(const char *path, const char *text, mode_t mode) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    fclose(f);
    assert_int_equal(chmod(path, mode), 0);
}

static mode_t mode_of(const char *path) {
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void passwd_creates_a_private_file(void **state) {
    const char *pw = path_in(state, "pw");
    char text[1024];
    input = "s3cret\n";
    assert_int_equal(PASSWD("-c", pw, "ada"), 0);
    assert_int_equal(mode_of(pw), 0600);
    read_all(pw, text, sizeof text);
    assert_memory_equal(text, "ada:$argon2id$", 14);
    assert_int_equal(text[strlen(text) - 1], '\n');
    text[strlen(text) - 1] = '\0';
    assert_int_equal(verify("s3cret", text + 4), PASSWORD_OK);
}

static void passwd_needs_c_for_a_new_file_and_refuses_it_for_an_old_one(void **state) {
    const char *pw = path_in(state, "pw");
    input = "x\n";
    assert_int_equal(PASSWD(pw, "ada"), 1);
    assert_int_equal(access(pw, F_OK), -1);
    write_all(pw, "bob:old\n", 0600);
    assert_int_equal(PASSWD("-c", pw, "ada"), 1);
    char text[64];
    read_all(pw, text, sizeof text);
    assert_string_equal(text, "bob:old\n");
}

static void passwd_changes_one_line_and_keeps_the_rest(void **state) {
    const char *pw = path_in(state, "pw");
    char text[2048];
    /* no newline at the end; a name that begins like another */
    write_all(pw, "# staff\nada:old\n\nadam:other\nada:older", 0640);
    assert_int_equal(PASSWD("-b", pw, "ada", "new"), 0);
    assert_int_equal(mode_of(pw), 0640);
    read_all(pw, text, sizeof text);
    assert_memory_equal(text, "# staff\nada:$argon2id$", 22);
    assert_string_equal(strstr(text, "\n\nadam:"), "\n\nadam:other\n");

    assert_int_equal(PASSWD("-b", pw, "eve", "new"), 0);
    read_all(pw, text, sizeof text);
    assert_non_null(strstr(text, "\nadam:other\neve:$argon2id$"));

    assert_int_equal(PASSWD("-D", pw, "ada"), 0);
    read_all(pw, text, sizeof text);
    assert_memory_equal(text, "# staff\n\nadam:other\neve:", 24);
    assert_int_equal(PASSWD("-D", pw, "ada"), 1); /* no longer there */
}

static void passwd_follows_a_link_and_replaces_what_it_names(void **state) {
    const char *pw = path_in(state, "pw"), *link = path_in(state, "link");
    struct stat st;
    write_all(pw, "", 0600);
    assert_int_equal(symlink("pw", link), 0);
    assert_int_equal(PASSWD("-b", link, "ada", "x"), 0);
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    char text[512];
    read_all(pw, text, sizeof text);
    assert_memory_equal(text, "ada:$", 5);
}

static void passwd_refuses_what_a_file_cannot_hold(void **state) {
    const char *pw = path_in(state, "pw");
    write_all(pw, "", 0600);
    static const char *const names[] = {
        "", "a:b", "a\nb", "a\tb", "\x7f", "#ada", " ada", "ada "
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (PASSWD("-b", pw, names[i], "x") != 2) fail_msg("\"%s\"", names[i]);
    assert_int_equal(PASSWD("-b", pw, "ada", ""), 1); /* an empty password */
    input = "\n";
    assert_int_equal(PASSWD(pw, "ada"), 1);
    input = NULL;
    assert_int_equal(PASSWD(pw, "ada"), 1); /* end of input */
    assert_int_equal(PASSWD(pw), 2);
    assert_int_equal(PASSWD(pw, "ada", "x"), 2); /* without -b */
    assert_int_equal(PASSWD("-b", pw, "ada"), 2);
    assert_int_equal(PASSWD("-c", "-D", pw, "ada"), 2);
    assert_int_equal(PASSWD("-x", pw, "ada"), 2);
    char text[8];
    read_all(pw, text, sizeof text);
    assert_string_equal(text, "");
}

static void passwd_writers_at_once_lose_nothing(void **state) {
    const char *pw = path_in(state, "pw");
    enum { WRITERS = 6 };
    pid_t pids[WRITERS];
    write_all(pw, "", 0600);
    for (int i = 0; i < WRITERS; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            char name[16];
            (void)snprintf(name, sizeof name, "u%d", i);
            _exit(PASSWD("-b", pw, name, "x"));
        }
    }
    for (int i = 0; i < WRITERS; i++) {
        int status = 0;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    char text[4096], name[32];
    read_all(pw, text, sizeof text);
    for (int i = 0; i < WRITERS; i++) {
        (void)snprintf(name, sizeof name, "u%d:$argon2id$", i);
        if (!strstr(text, name)) fail_msg("%s is lost", name);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_hash_is_argon2id_and_verifies),
        cmocka_unit_test(two_hashes_of_one_password_differ),
        cmocka_unit_test(the_default_cost_is_64_mib_and_two_passes),
        cmocka_unit_test(passwords_are_bytes_of_any_kind_and_length),
        cmocka_unit_test(known_hashes_of_every_form_verify),
        cmocka_unit_test(crypt_does_not_see_half_a_password),
        cmocka_unit_test(malformed_hashes_are_told_from_wrong_passwords),
        cmocka_unit_test(hashes_that_ask_for_too_much_are_refused_at_once),
        cmocka_unit_test_setup_teardown(files_of_mosquitto_passwd_verify, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(passwd_creates_a_private_file, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(passwd_needs_c_for_a_new_file_and_refuses_it_for_an_old_one,
                                        make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(passwd_changes_one_line_and_keeps_the_rest, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(passwd_follows_a_link_and_replaces_what_it_names, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(passwd_refuses_what_a_file_cannot_hold, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(passwd_writers_at_once_lose_nothing, make_dir, remove_dir),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
