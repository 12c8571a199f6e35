/* test_log.c -- what arrives at the descriptor, line by line. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log.h"

#include "base/buf.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A log into a pipe, and what came out of it. */
struct rig {
    struct log log;
    int out;
    char text[2 * LOG_LINE_MAX]; /* terminated */
    size_t len;
};

static void rig_init(struct rig *r, enum log_level level, enum log_format format) {
    int fds[2];
    assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
    log_init(&r->log, fds[1], level, format);
    r->out = fds[0];
}

static void rig_deinit(struct rig *r) {
    close(r->log.fd);
    close(r->out);
}

static const char *rig_read(struct rig *r) {
    ssize_t n = read(r->out, r->text, sizeof r->text - 1);
    r->len = n < 0 ? 0 : (size_t)n;
    r->text[r->len] = '\0';
    return r->text;
}

static bool matches(const char *text, const char *pattern) {
    regex_t re;
    assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
    int r = regexec(&re, text, 0, NULL, 0);
    regfree(&re);
    return r == 0;
}

#define STAMP "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]\\.[0-9]{3}Z"

static void a_text_line_has_time_level_area_and_message(void **state) {
    (void)state;
    struct rig r;
    rig_init(&r, LOG_DEBUG, LOG_TEXT);
    log_info(&r.log, "connect", "client %s from %s:%d", "d1", "::1", 4711);
    assert_true(matches(rig_read(&r), "^" STAMP " info  connect  client d1 from ::1:4711\n$"));
    log_debug(&r.log, "loop", "x");
    assert_true(matches(rig_read(&r), "^" STAMP " debug loop     x\n$"));
    log_error(&r.log, "authenticate", "x");
    assert_true(matches(rig_read(&r), "^" STAMP " error authenticate x\n$"));
    rig_deinit(&r);
}

static void the_clock_is_utc(void **state) {
    (void)state;
    struct rig r;
    setenv("TZ", "Asia/Kathmandu", 1);
    tzset();
    rig_init(&r, LOG_INFO, LOG_TEXT);
    time_t before = time(NULL);
    log_info(&r.log, "x", "y");
    time_t after = time(NULL);
    struct tm tm = { 0 };
    assert_non_null(strptime(rig_read(&r), "%Y-%m-%dT%H:%M:%S", &tm));
    time_t logged = timegm(&tm);
    assert_true(logged >= before && logged <= after);
    unsetenv("TZ");
    tzset();
    rig_deinit(&r);
}

static void a_level_below_the_threshold_is_silent(void **state) {
    (void)state;
    struct rig r;
    rig_init(&r, LOG_WARN, LOG_TEXT);
    log_debug(&r.log, "a", "x");
    log_info(&r.log, "a", "x");
    assert_string_equal(rig_read(&r), "");
    log_warn(&r.log, "a", "x");
    assert_true(matches(rig_read(&r), " warn  a        x\n$"));
    log_set(&r.log, LOG_OFF, LOG_TEXT);
    log_error(&r.log, "a", "x");
    assert_string_equal(rig_read(&r), "");
    rig_deinit(&r);
}

static void a_client_cannot_forge_a_line(void **state) {
    (void)state;
    static const struct {
        const char *message, *text, *json;
    } rows[] = {
        { "a\nb", "a\\nb", "a\\nb" },
        { "a\rb\tc", "a\\rb\\tc", "a\\rb\\tc" },
        { "\x1b[31m", "\\x1b[31m", "\\u001b[31m" },
        { "\b\f\a\x7f", "\\x08\\x0c\\x07\\x7f", "\\b\\f\\u0007\\u007f" },
        { "say \"hi\"", "say \"hi\"", "say \\\"hi\\\"" },
        { "back\\slash", "back\\\\slash", "back\\\\slash" },
        { "\\n", "\\\\n", "\\\\n" },
        { "gr\u00fc\u00df \u20ac \U0001f600", "gr\u00fc\u00df \u20ac \U0001f600",
          "gr\u00fc\u00df \u20ac \U0001f600" },
        { "\xc2\x9b"
          "31m",
          "\\u009b31m", "\\u009b31m" }, /* C1: CSI */
        { "\xc2\xa0", "\xc2\xa0", "\xc2\xa0" },
        { "a\u202eb\u2069", "a\\u202eb\\u2069", "a\\u202eb\\u2069" }, /* reordering */
        { "\xff", "\\xff", "\\ufffd" },
        { "\x80", "\\x80", "\\ufffd" },
        { "\xc3", "\\xc3", "\\ufffd" },                 /* cut off */
        { "\xe2\x82", "\\xe2\\x82", "\\ufffd\\ufffd" }, /* cut off */
        { "\xc0\x8a", "\\xc0\\x8a", "\\ufffd\\ufffd" }, /* overlong newline */
        { "\xe0\x80\x8a", "\\xe0\\x80\\x8a", "\\ufffd\\ufffd\\ufffd" },
        { "\xed\xa0\x80", "\\xed\\xa0\\x80", "\\ufffd\\ufffd\\ufffd" }, /* surrogate */
        { "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80", "\\ufffd\\ufffd\\ufffd\\ufffd" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct rig r;
        char want[128];
        rig_init(&r, LOG_INFO, LOG_TEXT);
        log_info(&r.log, "x", "%s", rows[i].message);
        snprintf(want, sizeof want, " x        %s\n", rows[i].text);
        assert_non_null(strstr(rig_read(&r), want));
        log_set(&r.log, LOG_INFO, LOG_JSON);
        log_info(&r.log, "x", "%s", rows[i].message);
        snprintf(want, sizeof want, "\"message\":\"%s\"}\n", rows[i].json);
        assert_non_null(strstr(rig_read(&r), want));
        rig_deinit(&r);
    }
}

static void a_json_line_gives_the_message_back(void **state) {
    (void)state;
    struct rig r;
    const char *message = "line 1\nline \"2\" \\ \x01\x7f gr\u00fc\u00df";
    rig_init(&r, LOG_INFO, LOG_JSON);
    log_warn(&r.log, "policy", "%s", message);
    json_t *line = json_loads(rig_read(&r), JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(line);
    assert_int_equal(json_object_size(line), 4);
    assert_string_equal(json_string_value(json_object_get(line, "level")), "warn");
    assert_string_equal(json_string_value(json_object_get(line, "area")), "policy");
    assert_string_equal(json_string_value(json_object_get(line, "message")), message);
    assert_true(matches(json_string_value(json_object_get(line, "time")), "^" STAMP "$"));
    json_decref(line);
    rig_deinit(&r);
}

static void random_bytes_make_one_clean_line(void **state) {
    (void)state;
    struct rig r;
    rig_init(&r, LOG_INFO, LOG_TEXT);
    srand(3);
    for (int i = 0; i < 4000; i++) {
        char message[2000];
        size_t len = (size_t)rand() % (sizeof message - 1);
        for (size_t k = 0; k < len; k++) message[k] = (char)(1 + rand() % 255);
        message[len] = '\0';
        log_set(&r.log, LOG_INFO, i % 2 ? LOG_JSON : LOG_TEXT);
        log_info(&r.log, "x", "%s", message);
        rig_read(&r);
        assert_true(r.len > 0 && r.len <= LOG_LINE_MAX);
        assert_ptr_equal(strchr(r.text, '\n'), r.text + r.len - 1);
        for (size_t k = 0; k < r.len - 1; k++)
            assert_true((uint8_t)r.text[k] >= 0x20 && r.text[k] != 0x7f);
        if (i % 2 == 0) continue;
        json_t *line = json_loads(r.text, 0, NULL);
        assert_non_null(line);
        json_decref(line);
    }
    rig_deinit(&r);
}

static void text_is_escaped_as_in_a_line(void **state) {
    static const struct {
        struct slice in;
        const char *text, *json;
    } rows[] = {
        { { (const uint8_t *)"a\"b\\", 4 }, "a\"b\\\\", "a\\\"b\\\\" },
        { { (const uint8_t *)"\0\n\x1b\x7f", 4 },
          "\\x00\\n\\x1b\\x7f",
          "\\u0000\\n\\u001b\\u007f" },
        { { (const uint8_t *)"\xc2\x9b\xff\xc3\xa9", 5 },
          "\\u009b\\xff\xc3\xa9",
          "\\u009b\\ufffd\xc3\xa9" },
        { { (const uint8_t *)"\xe2\x82", 2 }, "\\xe2\\x82", "\\ufffd\\ufffd" },
        { { NULL, 0 }, "", "" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf text = BUF_INIT, json = BUF_INIT;
        log_escape(&text, LOG_TEXT, rows[i].in);
        log_escape(&json, LOG_JSON, rows[i].in);
        buf_add(&text, "", 1);
        buf_add(&json, "", 1);
        assert_string_equal((const char *)text.at, rows[i].text);
        assert_string_equal((const char *)json.at, rows[i].json);
        buf_deinit(&text);
        buf_deinit(&json);
    }
}

static void a_long_message_is_cut_between_characters(void **state) {
    (void)state;
    static const char *const units[] = { "x", "\u20ac", "\n", "\xff", "\"" };
    for (size_t u = 0; u < ARRAY_LEN(units); u++) {
        for (enum log_format format = LOG_TEXT; format <= LOG_JSON; format++) {
            struct rig r;
            char message[3 * LOG_LINE_MAX] = "";
            size_t unit = strlen(units[u]);
            for (size_t k = 0; k + unit < sizeof message; k += unit)
                memcpy(message + k, units[u], unit);
            rig_init(&r, LOG_INFO, format);
            log_info(&r.log, "x", "%s", message);
            rig_read(&r);
            assert_true(r.len <= LOG_LINE_MAX && r.len > LOG_LINE_MAX - 32);
            assert_non_null(strstr(r.text, format == LOG_JSON ? "...\"}\n" : "...\n"));
            json_t *line = json_loads(r.text, 0, NULL);
            assert_true((line != NULL) == (format == LOG_JSON));
            json_decref(line);
            rig_deinit(&r);
        }
    }
}

static void a_full_pipe_drops_the_line_and_does_not_block(void **state) {
    (void)state;
    struct rig r;
    rig_init(&r, LOG_INFO, LOG_TEXT);
    fcntl(r.log.fd, F_SETFL, 0); /* blocking, as stderr is */
    for (int i = 0; i < 100000; i++) log_info(&r.log, "x", "line %d", i);
    rig_read(&r);
    assert_true(matches(r.text, "line 0\n"));
    close(r.out);
    r.out = -1;
    rig_deinit(&r);
}

static void errno_survives_a_log_line(void **state) {
    (void)state;
    struct rig r;
    rig_init(&r, LOG_INFO, LOG_TEXT);
    close(r.log.fd);
    errno = 1234;
    log_info(&r.log, "x", "to a closed descriptor");
    assert_int_equal(errno, 1234);
    close(r.out);
}

static void *write_lines(void *obj) {
    struct rig *r = obj;
    for (int i = 0; i < 1000; i++)
        log_info(&r->log, "x", "%s", "0123456789012345678901234567890123456789");
    return NULL;
}

static void lines_of_threads_do_not_mix(void **state) {
    (void)state;
    struct rig r;
    pthread_t threads[4];
    FILE *file = tmpfile();
    rig_init(&r, LOG_INFO, LOG_TEXT);
    int pipe_in = r.log.fd;
    r.log.fd = fileno(file);
    fcntl(r.log.fd, F_SETFL, O_APPEND);
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, write_lines, &r);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    rewind(file);
    int lines = 0;
    for (char line[256]; fgets(line, sizeof line, file); lines++)
        assert_true(matches(line, "^" STAMP " info  x        (0123456789){4}\n$"));
    assert_int_equal(lines, 4000);
    r.log.fd = pipe_in;
    fclose(file);
    rig_deinit(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_line_has_time_level_area_and_message),
        cmocka_unit_test(the_clock_is_utc),
        cmocka_unit_test(a_level_below_the_threshold_is_silent),
        cmocka_unit_test(a_client_cannot_forge_a_line),
        cmocka_unit_test(a_json_line_gives_the_message_back),
        cmocka_unit_test(random_bytes_make_one_clean_line),
        cmocka_unit_test(text_is_escaped_as_in_a_line),
        cmocka_unit_test(a_long_message_is_cut_between_characters),
        cmocka_unit_test(a_full_pipe_drops_the_line_and_does_not_block),
        cmocka_unit_test(errno_survives_a_log_line),
        cmocka_unit_test(lines_of_threads_do_not_mix),
    };
    return cmocka_run_group_tests_name("base/log", tests, NULL, NULL);
}
