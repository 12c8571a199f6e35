/* test_uuid.c -- shape and freshness of names. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/uuid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

static void a_uuid_is_version_4_in_lower_case(void **state) {
    (void)state;
    char id[UUID_TEXT];
    uuid_make(id);
    assert_int_equal(strlen(id), 36);
    assert_int_equal(strspn(id, "0123456789abcdef-"), 36);
    for (int i = 0; i < 4; i++) assert_int_equal(id[8 + 5 * i], '-');
    assert_int_equal(id[14], '4');
    assert_non_null(strchr("89ab", id[19]));
}

static void no_two_are_the_same(void **state) {
    (void)state;
    char ids[100][UUID_TEXT];
    for (int i = 0; i < 100; i++) {
        uuid_make(ids[i]);
        for (int k = 0; k < i; k++) assert_string_not_equal(ids[i], ids[k]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_uuid_is_version_4_in_lower_case),
        cmocka_unit_test(no_two_are_the_same),
    };
    return cmocka_run_group_tests_name("base/uuid", tests, NULL, NULL);
}
