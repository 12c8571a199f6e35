/* test_files.c -- changes of files are told once, when they are over. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/files.h"

#include "io/rig.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct rig {
    struct hand hand;
    struct loop *loop;
    struct files *files;
    char folder[64];
    int told;
};

static void on_changed(void *obj) {
    struct rig *r = obj;
    r->told++;
}

/* The path of a file in the rig's folder, until the fourth call from now. */
static char *path_of(const struct rig *r, const char *name) {
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", r->folder, name);
    return path;
}

static void put(const struct rig *r, const char *name, const char *text) {
    FILE *f = fopen(path_of(r, name), "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void watch_one(struct rig *r, const char *name) {
    char *path = path_of(r, name);
    files_watch(r->files, &path, 1);
}

/* How often it spoke, given time. */
static int told(struct rig *r) {
    r->told = 0;
    turn(r->loop);
    clock_add_ms(&r->hand, FILES_REST_MS);
    turn(r->loop);
    return r->told;
}

static int rig_setup(void **state) {
    struct rig *r = xcalloc(1, sizeof *r);
    strcpy(r->folder, "/tmp/test_files.XXXXXX");
    assert_non_null(mkdtemp(r->folder));
    r->loop = loop_on(&r->hand);
    r->files = files_new(r->loop, on_changed, r);
    assert_non_null(r->files);
    *state = r;
    return 0;
}

static int rig_teardown(void **state) {
    struct rig *r = *state;
    static const char *const names[] = { "a", "b", "link", "target/c", "target" };
    files_free(r->files);
    files_free(NULL);
    loop_free(r->loop);
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) remove(path_of(r, names[i]));
    assert_int_equal(rmdir(r->folder), 0);
    free(r);
    return 0;
}

static void what_is_written_replaced_or_removed_has_changed(void **state) {
    struct rig *r = *state;
    put(r, "a", "1");
    watch_one(r, "a");
    assert_int_equal(told(r), 0);
    put(r, "a", "2");
    assert_int_equal(told(r), 1);
    put(r, "b", "not watched");
    assert_int_equal(told(r), 0);
    rename(path_of(r, "b"), path_of(r, "a"));
    assert_int_equal(told(r), 1);
    remove(path_of(r, "a"));
    assert_int_equal(told(r), 1);
    put(r, "a", "here again");
    assert_int_equal(told(r), 1);
}

static void a_save_in_several_steps_is_one_change(void **state) {
    struct rig *r = *state;
    put(r, "a", "1");
    watch_one(r, "a");
    for (int i = 0; i < 5; i++) {
        put(r, "a", "more");
        turn(r->loop);
        clock_add_ms(&r->hand, FILES_REST_MS - 1);
        turn(r->loop);
    }
    assert_int_equal(r->told, 0);
    assert_int_equal(told(r), 1);
    assert_int_equal(told(r), 0);
}

static void a_file_still_open_has_not_changed(void **state) {
    struct rig *r = *state;
    put(r, "a", "1");
    watch_one(r, "a");
    FILE *f = fopen(path_of(r, "a"), "a");
    fputs("half", f);
    fflush(f);
    assert_int_equal(told(r), 0);
    fclose(f);
    assert_int_equal(told(r), 1);
}

static void the_target_of_a_link_counts_too(void **state) {
    struct rig *r = *state;
    mkdir(path_of(r, "target"), 0700);
    put(r, "target/c", "1");
    assert_int_equal(symlink("target/c", path_of(r, "link")), 0);
    watch_one(r, "link");
    put(r, "target/c", "2");
    assert_int_equal(told(r), 1);
    remove(path_of(r, "link"));
    assert_int_equal(told(r), 1);
}

static void a_new_list_takes_the_place_of_the_old(void **state) {
    struct rig *r = *state;
    put(r, "a", "1");
    put(r, "b", "1");
    watch_one(r, "a");
    watch_one(r, "b");
    put(r, "a", "2");
    assert_int_equal(told(r), 0);
    put(r, "b", "2");
    assert_int_equal(told(r), 1);
    files_watch(r->files, (char *[]){ "/no/such/folder/x" }, 1);
    files_watch(r->files, NULL, 0);
    put(r, "b", "3");
    assert_int_equal(told(r), 0);
}

#define RIG(test) cmocka_unit_test_setup_teardown(test, rig_setup, rig_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        RIG(what_is_written_replaced_or_removed_has_changed),
        RIG(a_save_in_several_steps_is_one_change),
        RIG(a_file_still_open_has_not_changed),
        RIG(the_target_of_a_link_counts_too),
        RIG(a_new_list_takes_the_place_of_the_old),
    };
    return cmocka_run_group_tests_name("io/files", tests, NULL, NULL);
}
