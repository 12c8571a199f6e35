/* test_store.c -- what is filed comes back, and nobody is told before it is on the disk.
 * Run it under MODE=tsan, too. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "store/store.h"

#include "base/clock.h"
#include "base/log.h"
#include "core/rig.h"

#include <ftw.h>
#include <math.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { ROWS_MAX = 64, TEXT_MAX = 64 };

/* What a store has shown when it was opened. */
struct kept {
    struct persist_row at[ROWS_MAX];
    char key[ROWS_MAX][TEXT_MAX], text[ROWS_MAX][TEXT_MAX];
    unsigned len;
};

struct desk {
    struct rig *rig; /* for its worker's inbox */
    char folder[64], path[96];
    struct log log;
    int log_fd;
    struct store *store;
    struct kept kept;
};

/* ---- the desk ---------------------------------------------------------------------- */

static void take_row(void *obj, const struct persist_row *row) {
    struct kept *k = obj;
    assert_in_range(k->len, 0, ROWS_MAX - 1);
    k->at[k->len] = *row;
    snprintf(k->key[k->len], TEXT_MAX, "%.*s", SLICE_FMT(row->key));
    snprintf(k->text[k->len], TEXT_MAX, "%.*s", (int)(row->text.len % TEXT_MAX),
             row->text.at ? (const char *)row->text.at : "");
    k->len++;
}

/* NULL, or why not; lent until the next call. */
static const char *try_open(struct desk *d, bool waits) {
    static char why[256];
    struct store_opts opts = { .path = d->path, .log = &d->log, .waits = waits };
    char *error = NULL;
    d->kept.len = 0;
    if (store_open(&opts, take_row, &d->kept, &d->store, &error) == 0) return NULL;
    snprintf(why, sizeof why, "%s", error);
    free(error);
    return why;
}

static void open_it(struct desk *d) {
    const char *why = try_open(d, true);
    if (why) fail_msg("%s", why);
}

static void close_it(struct desk *d) {
    store_close(d->store);
    d->store = NULL;
}

static int setup(void **state) {
    struct desk *d = xcalloc(1, sizeof *d);
    void *rig;
    rig_setup(&rig);
    rig_clock_ms = 0; /* the store's thread waits in real time */
    d->rig = rig;
    strcpy(d->folder, "/tmp/sol-store-XXXXXX");
    assert_non_null(mkdtemp(d->folder));
    snprintf(d->path, sizeof d->path, "%s/sol.db", d->folder);
    char log_path[96];
    snprintf(log_path, sizeof log_path, "%s/log", d->folder);
    d->log_fd = open(log_path, O_RDWR | O_CREAT | O_APPEND, 0600);
    log_init(&d->log, d->log_fd, LOG_INFO, LOG_TEXT);
    *state = d;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static int teardown(void **state) {
    struct desk *d = *state;
    store_close(d->store);
    rig_free(d->rig);
    close(d->log_fd);
    nftw(d->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(d);
    return 0;
}

/* ---- filing ------------------------------------------------------------------------- */

static struct persist_row row_of(const char *key, int64_t n) {
    return (struct persist_row){ .key = slice_str(key), .kind = PERSIST_INTEGER, .integer = n };
}

static void put(struct desk *d, struct persist_row row) {
    struct persist *p = store_port(d->store);
    p->put(p, &row);
}

/* A notice, counted when it has come. */
struct told {
    struct persist_notice notice;
    int times;
    bool is_safe;
};

static void on_told(struct worker *w, struct chore *chore) {
    struct told *t = CONTAINER_OF(chore, struct told, notice.chore);
    (void)w;
    t->times++;
    t->is_safe = t->notice.is_safe;
}

static void ask(struct desk *d, struct told *t) {
    struct persist *p = store_port(d->store);
    *t = (struct told){ .notice.chore.run = on_told };
    p->notify(p, d->rig->worker, &t->notice);
}

static void await(struct desk *d, const struct told *t) {
    for (int tries = 0; !t->times && tries < 20000; tries++) {
        rig_turns(d->rig, 1);
        usleep(1000);
    }
    assert_int_equal(t->times, 1);
}

static void await_log(struct desk *d, const char *says) {
    char text[4096] = "";
    for (int tries = 0; !strstr(text, says) && tries < 20000; tries++) {
        usleep(1000);
        ssize_t n = pread(d->log_fd, text, sizeof text - 1, 0);
        text[n > 0 ? n : 0] = '\0';
    }
    assert_non_null(strstr(text, says));
}

static const struct persist_row *kept(const struct desk *d, const char *key) {
    for (unsigned i = 0; i < d->kept.len; i++)
        if (strcmp(d->kept.key[i], key) == 0) return &d->kept.at[i];
    return NULL;
}

/* ---- rows ----------------------------------------------------------------------------- */

static void every_kind_of_value_comes_back(void **state) {
    struct desk *d = *state;
    open_it(d);
    assert_int_equal(d->kept.len, 0);
    put(d, row_of("least", INT64_MIN));
    put(d, (struct persist_row){ .key = SLICE("yes"), .kind = PERSIST_BOOLEAN, .integer = 1 });
    put(d, (struct persist_row){ .key = SLICE("half"), .kind = PERSIST_REAL, .real = 0.5 });
    put(d, (struct persist_row){ .key = SLICE("huge"), .kind = PERSIST_REAL, .real = HUGE_VAL });
    put(d, (struct persist_row){ .key = SLICE("nan"), .kind = PERSIST_REAL, .real = NAN });
    put(d, (struct persist_row){ .key = SLICE("text"), .kind = PERSIST_TEXT, .text = SLICE("t") });
    put(d, (struct persist_row){ .key = SLICE("empty"), .kind = PERSIST_TEXT, .text = SLICE("") });
    put(d, (struct persist_row){ .key = SLICE("n\0ul"), .kind = PERSIST_TEXT, .text = SLICE("") });
    close_it(d);
    open_it(d);
    assert_int_equal(d->kept.len, 8);
    assert_true(kept(d, "least")->integer == INT64_MIN);
    assert_int_equal(kept(d, "yes")->kind, PERSIST_BOOLEAN);
    assert_true(kept(d, "half")->real == 0.5);
    assert_true(kept(d, "huge")->real == HUGE_VAL);
    assert_true(isnan(kept(d, "nan")->real));
    assert_int_equal(kept(d, "text")->text.len, 1);
    assert_int_equal(kept(d, "empty")->kind, PERSIST_TEXT);
    assert_int_equal(kept(d, "n")->key.len, 4);
}

static void the_latest_change_counts(void **state) {
    struct desk *d = *state;
    open_it(d);
    for (int i = 0; i < 1000; i++) {
        put(d, row_of("count", i));
        put(d, row_of("gone", i));
    }
    put(d, (struct persist_row){ .key = SLICE("gone") });
    put(d, (struct persist_row){ .key = SLICE("never was") });
    close_it(d);
    open_it(d);
    assert_int_equal(d->kept.len, 1);
    assert_int_equal(kept(d, "count")->integer, 999);
}

static void what_is_over_is_forgotten(void **state) {
    struct desk *d = *state;
    struct persist_row over = row_of("over", 1), later = row_of("later", 2);
    over.expires_ms = 1000;
    later.expires_ms = UINT64_C(1) << 50;
    open_it(d);
    put(d, over);
    put(d, later);
    close_it(d);
    open_it(d);
    assert_int_equal(d->kept.len, 1);
    assert_true(kept(d, "later")->expires_ms == later.expires_ms);
}

static int rows_in_file(struct desk *d) {
    sqlite3 *db;
    sqlite3_stmt *stmt;
    assert_int_equal(sqlite3_open(d->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT count(*) FROM kv", -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    int n = sqlite3_column_int(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return n;
}

static void what_is_over_goes_while_others_come(void **state) {
    struct desk *d = *state;
    struct persist_row over = row_of("over", 1);
    struct store_opts opts = { .path = d->path, .log = &d->log, .waits = true, .sweep_s = 1 };
    char *error;
    over.expires_ms = 1000;
    assert_int_equal(store_open(&opts, take_row, &d->kept, &d->store, &error), 0);
    put(d, over);
    uint64_t start_ns = clock_monotonic_ns(&clock_system);
    do {
        struct told told;
        put(d, row_of("n", 1));
        ask(d, &told);
        await(d, &told);
    } while (clock_monotonic_ns(&clock_system) - start_ns < UINT64_C(1500000000));
    close_it(d);
    assert_int_equal(rows_in_file(d), 1);
}

static void the_file_is_its_owners(void **state) {
    struct desk *d = *state;
    struct stat st;
    open_it(d);
    assert_int_equal(stat(d->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

/* ---- notices ---------------------------------------------------------------------------- */

static void a_notice_comes_once_when_all_before_it_is_safe(void **state) {
    struct desk *d = *state;
    struct told told[100];
    open_it(d);
    for (int i = 0; i < 100; i++) {
        put(d, row_of("n", i));
        ask(d, &told[i]);
    }
    for (int i = 0; i < 100; i++) {
        await(d, &told[i]);
        assert_true(told[i].is_safe);
    }
}

/* A disk that is full: the file may not grow. */
static void let_files_grow(bool may) {
    struct rlimit limit;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = may ? limit.rlim_max : 65536;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void fill(struct desk *d) {
    static uint8_t much[200000];
    put(d, (struct persist_row){
               .key = SLICE("much"), .kind = PERSIST_TEXT, .text = slice_of(much, sizeof much) });
}

static void a_full_disk_holds_up_and_loses_nothing(void **state) {
    struct desk *d = *state;
    struct told before, told;
    open_it(d);
    put(d, row_of("before", 1));
    ask(d, &before);
    await(d, &before);
    let_files_grow(false);
    fill(d);
    ask(d, &told);
    await_log(d, "nothing more is safe");
    rig_turns(d->rig, 1);
    assert_int_equal(told.times, 0);
    let_files_grow(true);
    await(d, &told);
    assert_true(told.is_safe);
    close_it(d);
    open_it(d);
    assert_int_equal(d->kept.len, 2);
    assert_int_equal(kept(d, "much")->text.len, 200000);
}

static void what_can_never_be_written_is_said(void **state) {
    struct desk *d = *state;
    struct told told;
    open_it(d);
    let_files_grow(false);
    fill(d);
    ask(d, &told);
    close_it(d);
    let_files_grow(true);
    await_log(d, "the latest changes are lost");
    await(d, &told);
    assert_false(told.is_safe);
    open_it(d);
    assert_int_equal(d->kept.len, 0);
}

static void too_much_that_waits_is_full(void **state) {
    struct desk *d = *state;
    struct persist *p;
    struct told told;
    open_it(d);
    p = store_port(d->store);
    assert_false(p->is_full(p));
    let_files_grow(false);
    for (int i = 0; i < 400; i++) fill(d); /* 80 MB */
    ask(d, &told);
    assert_true(p->is_full(p));
    let_files_grow(true);
    await(d, &told);
    assert_false(p->is_full(p));
}

static void without_waiting_it_is_written_all_the_same(void **state) {
    struct desk *d = *state;
    assert_null(try_open(d, false));
    assert_false(store_port(d->store)->waits);
    put(d, row_of("n", 7));
    close_it(d);
    open_it(d);
    assert_int_equal(kept(d, "n")->integer, 7);
}

/* ---- files that are none of ours ------------------------------------------------------------ */

static void refuses(struct desk *d, const char *says) {
    const char *why = try_open(d, true);
    assert_non_null(why);
    assert_non_null(strstr(why, d->path));
    if (!strstr(why, says)) fail_msg("\"%s\" does not say \"%s\"", why, says);
}

static void sqlite(struct desk *d, const char *sql) {
    sqlite3 *db;
    assert_int_equal(sqlite3_open(d->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void other_files_are_refused_and_kept(void **state) {
    struct desk *d = *state;
    char read[32] = "";
    FILE *f = fopen(d->path, "w");
    fputs("this is my diary, not a database", f);
    fclose(f);
    refuses(d, "not a database");
    f = fopen(d->path, "r");
    assert_int_equal(fread(read, 1, 7, f), 7);
    fclose(f);
    assert_string_equal(read, "this is");
    remove(d->path);
    sqlite(d, "CREATE TABLE diary (text)");
    refuses(d, "not one of Sol's");
    remove(d->path);
    open_it(d);
    close_it(d);
    sqlite(d, "PRAGMA user_version = 2");
    refuses(d, "a later Sol");
    snprintf(d->path, sizeof d->path, "%s/no/such/folder", d->folder);
    refuses(d, "unable to open");
}

static void it_has_one_user(void **state) {
    struct desk *d = *state;
    open_it(d);
    struct store *first = d->store;
    refuses(d, "in use");
    store_close(first);
    d->store = NULL;
    open_it(d);
}

#define DESK(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        DESK(every_kind_of_value_comes_back),
        DESK(the_latest_change_counts),
        DESK(what_is_over_is_forgotten),
        DESK(what_is_over_goes_while_others_come),
        DESK(the_file_is_its_owners),
        DESK(a_notice_comes_once_when_all_before_it_is_safe),
        DESK(a_full_disk_holds_up_and_loses_nothing),
        DESK(what_can_never_be_written_is_said),
        DESK(too_much_that_waits_is_full),
        DESK(without_waiting_it_is_written_all_the_same),
        DESK(other_files_are_refused_and_kept),
        DESK(it_has_one_user),
    };
    return cmocka_run_group_tests_name("store/store", tests, NULL, NULL);
}
