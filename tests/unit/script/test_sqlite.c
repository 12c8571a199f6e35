/* test_sqlite.c -- a connection to an SQLite file, asked from one thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/sqlite.h"

#include "base/mem.h"
#include "core/helpers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

struct rig {
    struct helpers *helpers;
    char path[64];
    struct sqlite_conn *conn;
};

static int rig_up(void **state) {
    struct rig *r = xcalloc(1, sizeof *r);
    r->helpers = helpers_new(1); /* never given a job: no thread */
    snprintf(r->path, sizeof r->path, "/tmp/sol-test-%d.db", (int)getpid());
    unlink(r->path);
    r->conn = sqlite_conn_new(&(struct sqlite_file){ .path = r->path, .may_write = true });
    *state = r;
    return 0;
}

static int rig_down(void **state) {
    struct rig *r = *state;
    sqlite_conn_free(r->conn);
    unlink(r->path);
    helpers_free(r->helpers);
    free(r);
    return 0;
}

static void ask(struct rig *r, struct sqlite_question *q, const char *sql) {
    q->sql = xstrdup(sql);
    q->sql_len = strlen(sql);
    q->result_max = 1 << 20;
    q->helpers = r->helpers;
    sqlite_conn_ask(r->conn, q);
}

/* Asks and expects no error; gives the rows. */
static size_t run(struct rig *r, const char *sql) {
    struct sqlite_question q = { 0 };
    ask(r, &q, sql);
    if (q.error) fail_msg("%s: %s", sql, q.error);
    size_t rows = q.rows_len;
    sqlite_question_deinit(&q);
    return rows;
}

static void values_come_back_as_they_were(void **state) {
    static const struct sqlite_value values[] = {
        { .kind = SQLITE_IS_NULL },
        { .kind = SQLITE_IS_INTEGER, .integer = INT64_MIN },
        { .kind = SQLITE_IS_FLOAT, .number = 0.1 },
        { .kind = SQLITE_IS_TEXT, .text = { (const uint8_t *)"a\0b", 3 } },
        { .kind = SQLITE_IS_TEXT, .text = { (const uint8_t *)"", 0 } },
    };
    struct sqlite_question q = { .params_len = ARRAY_LEN(values) };
    struct sqlite_value v;
    size_t at = 0;
    for (size_t i = 0; i < ARRAY_LEN(values); i++) sqlite_value_add(&q.params, &values[i]);
    ask(*state, &q, "SELECT ?1 AS a, ?2 AS b, ?3 AS c, ?4 AS d, ?5 AS e");
    assert_null(q.error);
    assert_int_equal(q.rows_len, 1);
    for (int c = 0; c < q.columns_len; c++) {
        assert_true(sqlite_value_next(buf_slice(&q.values), &at, &v));
        assert_int_equal(v.text.len, 1);
        assert_int_equal(v.text.at[0], 'a' + c);
    }
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        assert_true(sqlite_value_next(buf_slice(&q.values), &at, &v));
        assert_int_equal(v.kind, values[i].kind);
        assert_int_equal(v.integer, values[i].integer);
        assert_true(v.number == values[i].number);
        assert_true(slice_eq(v.text, values[i].text));
    }
    assert_false(sqlite_value_next(buf_slice(&q.values), &at, &v));
    sqlite_question_deinit(&q);
}

static void a_void_question_is_given_up(void **state) {
    struct rig *r = *state;
    struct sqlite_question q = { 0 };
    atomic_store(&q.is_void, true);
    ask(r, &q, "CREATE TABLE never (made)");
    assert_null(q.error);
    assert_int_equal(q.rows_len, 0);
    sqlite_question_deinit(&q);
    assert_int_equal(run(r, "SELECT * FROM sqlite_schema"), 0);
}

/* Within a row as well: zeroblob is made when it is taken. */
static void a_result_is_bounded(void **state) {
    struct rig *r = *state;
    struct sqlite_question q = { 0 };
    char sql[1024] = "select zeroblob(1000000)";
    for (int i = 0; i < 40; i++) strcat(sql, ", zeroblob(1000000)");
    ask(r, &q, sql);
    assert_string_equal(q.error, "result too large");
    assert_in_range(q.values.len, 1, 4 << 20);
    sqlite_question_deinit(&q);
}

static void more_statements_than_are_kept_make_no_difference(void **state) {
    char sql[64];
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 100; i++) {
            snprintf(sql, sizeof sql, "SELECT %d WHERE %d %% 2", i, i);
            assert_int_equal(run(*state, sql), i % 2);
        }
}

static void a_transaction_left_open_is_undone(void **state) {
    struct rig *r = *state;
    struct sqlite_question q = { 0 };
    run(r, "CREATE TABLE t (a)");
    ask(r, &q, "BEGIN");
    assert_string_equal(q.error, "a transaction must not be left open");
    sqlite_question_deinit(&q);
    run(r, "INSERT INTO t VALUES (1)");
    assert_int_equal(run(r, "SELECT * FROM t"), 1);
}

static void a_file_that_has_gone_is_told(void **state) {
    struct rig *r = *state;
    struct sqlite_question q = { 0 };
    run(r, "CREATE TABLE t (a)");
    sqlite_conn_free(r->conn);
    r->conn = sqlite_conn_new(&(struct sqlite_file){ .path = r->path });
    run(r, "SELECT * FROM t");
    unlink(r->path);
    ask(r, &q, "SELECT * FROM t");
    assert_non_null(strstr(q.error, "No such file or directory"));
    sqlite_question_deinit(&q);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(values_come_back_as_they_were, rig_up, rig_down),
        cmocka_unit_test_setup_teardown(a_void_question_is_given_up, rig_up, rig_down),
        cmocka_unit_test_setup_teardown(a_result_is_bounded, rig_up, rig_down),
        cmocka_unit_test_setup_teardown(more_statements_than_are_kept_make_no_difference, rig_up,
                                        rig_down),
        cmocka_unit_test_setup_teardown(a_transaction_left_open_is_undone, rig_up, rig_down),
        cmocka_unit_test_setup_teardown(a_file_that_has_gone_is_told, rig_up, rig_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
