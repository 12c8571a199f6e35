/* test_client.c -- identities: names, references, attributes. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/client.h"

#include "core/rig.h"

static struct client *made(struct rig *r) {
    return client_new(r->worker, "127.0.0.1:4711", "mqtt://localhost");
}

static struct attr string(const char *text) {
    return (struct attr){ .type = ATTR_STRING, .string = slice_str(text) };
}

static struct attr integer(int64_t value) {
    return (struct attr){ .type = ATTR_INT, .integer = value };
}

static void a_handle_finds_its_client_until_the_last_reference_goes(void **state) {
    struct rig *r = *state;
    struct client *c = made(r);
    struct handle h = c->handle;
    assert_string_equal(c->peer, "127.0.0.1:4711");
    assert_ptr_equal(slots_find(&r->worker->clients, h), c);
    client_ref(c);
    assert_null(client_unref(c));
    assert_ptr_equal(slots_find(&r->worker->clients, h), c);
    assert_int_equal(r->hooks.forgotten, 0);
    assert_null(client_unref(c));
    assert_null(slots_find(&r->worker->clients, h));
    assert_int_equal(r->hooks.forgotten, 1); /* the policy has been told */
    assert_null(client_unref(NULL));
}

static void names_are_copied(void **state) {
    struct client *c = made(*state);
    char name[] = "me";
    client_set_id(c, slice_str(name));
    client_set_username(c, slice_str(name));
    name[0] = 'x';
    assert_slice(c->id, "me");
    assert_slice(c->username, "me");
    client_set_id(c, slice_of(c->id.at + 1, 1)); /* of itself */
    assert_slice(c->id, "e");
    const void *same = c->id.at;
    client_set_id(c, SLICE("e"));
    assert_ptr_equal(c->id.at, same); /* no copy of what it is */
    client_set_username(c, SLICE(""));
    assert_non_null(c->username.at); /* an empty one is one */
    client_set_username(c, SLICE_NONE);
    assert_null(c->username.at);
    client_set_username(c, SLICE(""));
    assert_non_null(c->username.at);
    client_unref(c);
}

static void attributes_are_copied_and_found(void **state) {
    struct client *c = made(*state);
    char text[] = "gold";
    struct attr a = string(text);
    assert_true(client_attr_set(c, "plan", &a));
    text[0] = 'c';
    assert_slice(client_attr_find(c, "plan")->string, "gold");
    a = (struct attr){ .type = ATTR_REAL, .real = 1.5 };
    assert_true(client_attr_set(c, "factor", &a));
    a = (struct attr){ .type = ATTR_BOOL, .boolean = true };
    assert_true(client_attr_set(c, "vip", &a));
    assert_true(client_attr_find(c, "factor")->real == 1.5);
    assert_true(client_attr_find(c, "vip")->boolean);
    assert_null(client_attr_find(c, "other"));
    client_unref(c);
}

static void an_attribute_is_replaced_also_by_one_of_another_type(void **state) {
    struct client *c = made(*state);
    struct attr a = string("x"), b = integer(INT64_MIN);
    assert_true(client_attr_set(c, "n", &a));
    assert_true(client_attr_set(c, "n", &b));
    assert_int_equal(client_attr_find(c, "n")->type, ATTR_INT);
    assert_true(client_attr_find(c, "n")->integer == INT64_MIN);
    assert_true(client_attr_set(c, "n", client_attr_find(c, "n"))); /* by itself */
    assert_true(client_attr_set(c, "n", NULL));
    assert_null(client_attr_find(c, "n"));
    assert_true(client_attr_set(c, "n", NULL));
    client_unref(c);
}

static void a_string_may_hold_anything(void **state) {
    struct client *c = made(*state);
    struct attr a = { .type = ATTR_STRING, .string = SLICE("a\0b") };
    assert_true(client_attr_set(c, "s", &a));
    assert_true(slice_eq(client_attr_find(c, "s")->string, SLICE("a\0b")));
    a.string = SLICE("");
    assert_true(client_attr_set(c, "s", &a));
    assert_int_equal(client_attr_find(c, "s")->string.len, 0);
    client_unref(c);
}

static void attributes_are_bounded(void **state) {
    struct client *c = made(*state);
    struct attr a = integer(1);
    char name[16];
    for (int i = 0; i < ATTRS_MAX; i++) {
        snprintf(name, sizeof name, "n%d", i);
        assert_true(client_attr_set(c, name, &a));
    }
    assert_false(client_attr_set(c, "more", &a));
    assert_null(client_attr_find(c, "more"));
    assert_true(client_attr_set(c, "n7", &a)); /* replacing goes on */
    assert_true(client_attr_set(c, "n8", NULL));
    assert_true(client_attr_set(c, "more", &a));
    client_unref(c);
}

/* It shares nothing with the original but what nobody changes. */
static void a_copy_stands_for_itself(void **state) {
    struct rig *r = *state;
    struct client *c = made(r);
    struct attr a = string("blue"), b = integer(7);
    client_set_id(c, SLICE("me"));
    c->is_counted = true;
    c->keep_alive = 30;
    assert_true(client_attr_set(c, "colour", &a));
    assert_true(client_attr_set(c, "n", &b));
    struct client *copy = client_copy(c);
    assert_true(handle_is_none(copy->handle));
    assert_true(copy->is_counted); /* as it was */
    assert_null(copy->username.at);
    client_set_id(c, SLICE("other"));
    client_attr_set(c, "colour", NULL);
    assert_null(client_unref(c));
    assert_int_equal(r->worker->clients.used, 0);
    assert_true(slice_eq(copy->id, SLICE("me")));
    assert_string_equal(copy->peer, "127.0.0.1:4711");
    assert_string_equal(copy->listener, "mqtt://localhost");
    assert_int_equal(copy->keep_alive, 30);
    assert_true(slice_eq(client_attr_find(copy, "colour")->string, SLICE("blue")));
    assert_int_equal(client_attr_find(copy, "n")->integer, 7);
    client_file(copy, r->worker); /* it has arrived */
    assert_ptr_equal(slots_find(&r->worker->clients, copy->handle), copy);
    assert_null(client_unref(copy));
    assert_int_equal(r->worker->clients.used, 0);
    assert_int_equal(r->hooks.forgotten, 2);
}

static void a_copy_nobody_files_goes_unnoticed(void **state) {
    struct rig *r = *state;
    struct client *c = made(r);
    client_set_username(c, SLICE("ann"));
    struct client *copy = client_copy(c);
    assert_true(slice_eq(copy->username, SLICE("ann")));
    client_unref(copy);
    assert_int_equal(r->hooks.forgotten, 0);
    client_unref(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        RIG(a_handle_finds_its_client_until_the_last_reference_goes),
        RIG(names_are_copied),
        RIG(attributes_are_copied_and_found),
        RIG(an_attribute_is_replaced_also_by_one_of_another_type),
        RIG(a_string_may_hold_anything),
        RIG(attributes_are_bounded),
        RIG(a_copy_stands_for_itself),
        RIG(a_copy_nobody_files_goes_unnoticed),
    };
    return cmocka_run_group_tests_name("core/client", tests, NULL, NULL);
}
