/* test_watch.c -- what watchers are told of the calls they ask for. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/rig.h"

#include "script/count.h"
#include "script/trace_text.h"
#include "script/watch.h"

/* A watcher that keeps what it is told as text. */
struct listener {
    struct watcher watcher;
    struct buf text, json;
    unsigned records;
    uint64_t instructions, ns, waited_ns; /* of the first handler of the last record */
};

static void on_record(struct watcher *w, const struct trace *t) {
    struct listener *l = w->obj;
    const struct trace_run *run = t->runs;
    l->records++;
    trace_put_text(&l->text, t);
    trace_put_json(&l->json, t);
    l->instructions = run->instructions;
    l->ns = run->ns;
    l->waited_ns = run->notes.len ? run->notes.at[0].ns : 0;
}

static void listen_to(struct listener *l, struct rig *r) {
    l->watcher.record = on_record;
    l->watcher.obj = l;
    watch_begin(r->h, &l->watcher);
}

static void listener_deinit(struct listener *l) {
    watch_end(&l->watcher);
    buf_deinit(&l->text);
    buf_deinit(&l->json);
}

static const char *text_of(struct buf *b) {
    buf_add(b, "", 1);
    b->len--;
    return (const char *)b->at;
}

static void assert_says(struct buf *b, const char *part) {
    if (!strstr(text_of(b), part)) fail_msg("\"%s\" is not in:\n%s", part, text_of(b));
}

/* With numbers followed by a unit of time, and counts of instructions, as N. */
static char *masked(struct buf *b) {
    const char *text = text_of(b);
    char *out = xcalloc(1, strlen(text) + 1), *to = out;
    while (*text) {
        size_t digits = strspn(text, "0123456789.");
        const char *unit = text + digits;
        bool counts = strncmp(unit, " us", 3) == 0 || strncmp(unit, " ms", 3) == 0 ||
                      strncmp(unit, " s ", 3) == 0 || strncmp(unit, " instr", 6) == 0;
        if (digits && counts) {
            *to++ = 'N';
            text = *unit == ' ' && unit[1] != 'i' ? unit + strcspn(unit + 1, " ,") + 1 : unit;
        } else {
            memcpy(to, text, digits ? digits : 1);
            to += digits ? digits : 1;
            text += digits ? digits : 1;
        }
    }
    return out;
}

static void publish(struct rig *r, const char *topic, const char *payload) {
    struct hook_call call;
    rig_publish(r, &call, topic, payload);
    rig_over(&call);
}

/* ---- what a record says ------------------------------------------------------ */

static void a_record_names_handlers_changes_and_who_decided(void **state) {
    struct rig r;
    struct listener l = { 0 };
    char expected[500];
    (void)state;
    rig_open(&r, "sol.on('publish', 'a/#', function(_, m) m.topic = 'b' m.qos = 1 end)\n"
                 "sol.on('publish', {'b', 'c'}, function(_, m) return sol.deny(0x99, 'no') end,\n"
                 "    { priority = -3, name = 'last' })\n"
                 "sol.on('publish', 'z', error)");
    listen_to(&l, &r);
    publish(&r, "a/1", "x");
    snprintf(expected, sizeof expected,
             "publish a/1 by c1\n"
             "  %s:1 [a/#] priority 0: no opinion, N, N instructions\n"
             "      topic: \"a/1\" -> \"b\"\n"
             "      qos: 0 -> 1\n"
             "  last (%s:2) [b, c] priority -3: deny 0x99 (payload format invalid), N, N "
             "instructions\n"
             "  => deny 0x99 (payload format invalid) \"no\", by last (%s:2)\n",
             r.path, r.path, r.path);
    char *text = masked(&l.text);
    assert_string_equal(text, expected);
    free(text);
    assert_says(&l.json, "\"event\":\"publish\",\"client\":\"c1\",\"topic\":\"a/1\"");
    assert_says(&l.json, "{\"field\":\"topic\",\"before\":\"a/1\",\"after\":\"b\"}");
    assert_says(&l.json,
                "\"verdict\":\"deny\",\"reason_code\":153,\"reason\":\"no\",\"by\":\"last");
    listener_deinit(&l);
    rig_close(&r);
}

static void what_is_assigned_again_is_no_change(void **state) {
    struct rig r;
    struct listener l = { 0 };
    (void)state;
    rig_open(&r, "sol.on('publish', function(_, m)\n"
                 "    m.topic = m.topic m.payload = m.payload .. '' m.retain = false\n"
                 "    m.properties = m.properties end)");
    listen_to(&l, &r);
    publish(&r, "t", "a payload that is longer than what Lua interns, by a few bytes");
    assert_int_equal(l.records, 1);
    assert_null(strstr(text_of(&l.text), "->"));
    listener_deinit(&l);
    rig_close(&r);
}

/* Of long values the beginning is shown, yet a change behind it is noticed. */
static void long_values_are_cut_but_compared_whole(void **state) {
    struct rig r;
    struct listener l = { 0 };
    char payload[1001];
    (void)state;
    memset(payload, 'x', 1000);
    payload[1000] = '\0';
    rig_open(&r, "sol.on('publish', function(_, m)\n"
                 "    m.payload = m.payload:sub(1, -2) .. 'y'\n"
                 "    m.properties.user_properties = { { 'a', '\\1\\27[31m' } } end)");
    listen_to(&l, &r);
    publish(&r, "t", payload);
    assert_says(&l.text, "xxx... (1000 bytes)\" -> \"xxx");
    assert_says(&l.text, "properties.user_properties.a: nil -> \"\\u0001\\u001b[31m\"\n");
    assert_null(strchr(text_of(&l.text), '\033'));
    listener_deinit(&l);
    rig_close(&r);
}

/* Each is compared with its own counterpart. */
static void user_properties_may_share_a_name(void **state) {
    struct rig r;
    struct listener l = { 0 };
    (void)state;
    rig_open(&r,
             "local function set(last) return function(_, m) m.properties.user_properties =\n"
             "    { { 'a', '1' }, { 'b', '2' }, { 'a', last } } end end\n"
             "sol.on('publish', set '3') sol.on('publish', set '3') sol.on('publish', set '4')");
    listen_to(&l, &r);
    publish(&r, "t", "x");
    const char *second = strstr(text_of(&l.text), "a: nil -> \"3\"\n");
    assert_non_null(second);
    const char *change = strstr(second + 10, " -> "); /* behind its own */
    assert_non_null(change);
    assert_int_equal(strncmp(change - 6, "a: \"3\" -> \"4\"\n", 14), 0);
    assert_null(strstr(change + 1, " -> "));
    listener_deinit(&l);
    rig_close(&r);
}

/* A client's message may have any number of properties, a handler may ask a cache for ever. */
static void a_record_is_bounded(void **state) {
    struct rig r;
    struct listener l = { 0 };
    (void)state;
    rig_open(&r, "local cache = sol.cache { size = 10, ttl = 60 }\n"
                 "sol.on('publish', function(_, m)\n"
                 "    for i = 1, 150 do cache:get('k', function() return 1 end) end\n"
                 "    local all = {} for i = 1, 5000 do all[i] = { 'p' .. i, 'x' } end\n"
                 "    m.properties.user_properties = all end, { priority = 1 })\n"
                 "sol.on('publish', function(_, m) m.properties.user_properties = nil end)");
    listen_to(&l, &r);
    publish(&r, "t", "x");
    assert_says(&l.text, "      (50 more left out)\n");
    assert_says(&l.json, "],\"left_out\":50}");
    assert_says(&l.text, "properties.user_properties.p900: nil -> \"x\"\n");
    assert_null(strstr(text_of(&l.text), "user_properties.p1001:"));
    listener_deinit(&l);
    rig_close(&r);
}

static void attributes_are_among_what_changes(void **state) {
    struct rig r;
    struct listener l = { 0 };
    (void)state;
    rig_open(&r, "sol.on('publish', function(c)\n"
                 "    c.attributes.role = 'admin' c.attributes.n = 3\n"
                 "    c.attributes.x = 0.5 c.attributes.most = 1 / 0 end)\n");
    listen_to(&l, &r);
    publish(&r, "t", "x");
    assert_says(&l.text, "client.attributes.role: nil -> \"admin\"\n");
    assert_says(&l.text, "client.attributes.n: nil -> 3\n");
    assert_says(&l.text, "client.attributes.x: nil -> 0.5\n");
    assert_says(&l.json, "\"before\":null,\"after\":\"inf\"}"); /* JSON has no such number */
    listener_deinit(&l);
    rig_close(&r);
}

static void a_failure_is_told_with_its_place_and_what_it_means(void **state) {
    struct rig r;
    struct listener l = { 0 };
    (void)state;
    rig_open(&r, "sol.on('publish', function()\n    error 'boom' end)");
    listen_to(&l, &r);
    publish(&r, "t", "x");
    assert_says(&l.text, ".lua:2: boom; deny");
    assert_null(strstr(text_of(&l.text), "traceback"));
    assert_says(&l.text, "=> deny 0x87 (not authorized), by ");
    listener_deinit(&l);
    rig_close(&r);
}

static void authorize_falls_to_a_setting(void **state) {
    struct rig r;
    struct listener l = { 0 };
    (void)state;
    rig_open(&r, "default_access = 'deny' sol.on('authorize', function() end)");
    listen_to(&l, &r);
    struct hook_call call = { .event = HOOK_AUTHORIZE,
                              .client = r.client,
                              .done = rig_on_done,
                              .access = { .action = ACCESS_SUBSCRIBE, .topic = SLICE("a/+") } };
    r.h->run(r.h, &call);
    assert_says(&l.text, "authorize subscribe a/+ by c1\n");
    assert_says(&l.text, "=> nobody decided: default_access = \"deny\"\n");
    hook_call_deinit(&call);
    listener_deinit(&l);
    rig_close(&r);
}

/* ---- time ---------------------------------------------------------------------- */

static void instructions_are_counted_also_in_coroutines_and_after_waits(void **state) {
    static const char *const bodies[] = {
        "for i = 1, 1000 do end",
        "coroutine.wrap(function() for i = 1, 1000 do end end)()",
        "sol.sleep(0.001) for i = 1, 1000 do end",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct rig r;
        struct listener l = { 0 };
        struct hook_call call;
        char lua[200];
        snprintf(lua, sizeof lua, "sol.on('publish', function() %s end)", bodies[i]);
        rig_open(&r, lua);
        listen_to(&l, &r);
        rig_publish(&r, &call, "t", "x");
        if (call.verdict == VERDICT_WAIT) rig_wait(&r, 1);
        if (l.instructions < 1000 || l.instructions > 1100)
            fail_msg("%s: %llu instructions", bodies[i], (unsigned long long)l.instructions);
        rig_over(&call);
        listener_deinit(&l);
        rig_close(&r);
    }
}

/* Counting must not use the budget up. */
static void of_many_instructions_some_are_counted(void **state) {
    struct rig r;
    struct listener l = { 0 };
    (void)state;
    rig_open(&r, "sol.on('publish', 'a', function() for i = 1, 100000 do end end)\n"
                 "sol.on('publish', 'b', function() for i = 1, 5000000 do end end)");
    listen_to(&l, &r);
    publish(&r, "a", "x");
    assert_in_range(l.instructions, 99000, 101000);
    publish(&r, "b", "x");
    assert_int_equal(l.instructions, COUNT_MAX);
    assert_says(&l.text, ", over 200000 instructions\n");
    listener_deinit(&l);
    rig_close(&r);
}

static void a_budget_ends_a_watched_handler_too(void **state) {
    struct rig r;
    struct listener l = { 0 };
    (void)state;
    rig_open(&r, "hook_budget = 0.02 sol.on('publish', function() while true do end end)");
    listen_to(&l, &r);
    publish(&r, "t", "x");
    assert_says(&l.text, "failed: ran past its budget of 20 ms; deny");
    publish(&r, "t", "x");
    assert_int_equal(l.records, 2);
    listener_deinit(&l);
    rig_close(&r);
}

static void waits_are_told_with_what_for_and_apart_from_work(void **state) {
    struct rig r;
    struct listener l = { 0 };
    struct hook_call call;
    (void)state;
    rig_open(&r, "sol.on('publish', function(_, m)\n"
                 "    sol.sleep(0.03)\n"
                 "    coroutine.wrap(function()\n        sol.sleep(0.001) end)()\n"
                 "    m.topic = 'later' end)");
    listen_to(&l, &r);
    rig_publish(&r, &call, "t", "x");
    assert_int_equal(l.records, 0);
    rig_wait(&r, 1);
    assert_says(&l.text, " in sol.sleep (");
    assert_says(&l.text, ".lua:2)\n");
    assert_says(&l.text, ".lua:4)\n");
    assert_says(&l.text, "topic: \"t\" -> \"later\"");
    assert_true(l.waited_ns >= 29000000);
    assert_true(l.ns < l.waited_ns);
    rig_over(&call);
    listener_deinit(&l);
    rig_close(&r);
}

static void a_wait_that_is_cut_off_is_told_as_well(void **state) {
    struct rig r;
    struct listener l = { 0 };
    struct hook_call call;
    (void)state;
    rig_open(&r, "hook_timeout = 0.02 sol.on('publish', function() sol.sleep(60) end)");
    listen_to(&l, &r);
    rig_publish(&r, &call, "t", "x");
    rig_wait(&r, 1);
    assert_says(&l.text, "failed: it waited longer than 20 ms; deny");
    assert_says(&l.text, " in sol.sleep (");
    rig_over(&call);
    rig_publish(&r, &call, "t", "x");
    call.hooks->cancel(call.hooks, &call);
    assert_says(&l.text, "=> the client has gone\n");
    rig_over(&call);
    listener_deinit(&l);
    rig_close(&r);
}

/* ---- who hears what ---------------------------------------------------------------- */

static void a_watcher_hears_of_the_calls_it_asked_for(void **state) {
    static const char trial;
    static const struct {
        struct watcher watcher;
        unsigned records;
    } rows[] = {
        { { .client = SLICE_NONE }, 1 },   { { .client = SLICE("c1") }, 1 },
        { { .client = SLICE("c2") }, 0 },  { { .filter = SLICE("a/+") }, 1 },
        { { .filter = SLICE("b/#") }, 0 }, { { .client = SLICE("c1"), .filter = SLICE("a/b") }, 1 },
        { { .trial = &trial }, 0 },
    };
    struct rig r;
    (void)state;
    rig_open(&r, "sol.on('publish', function() end)");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct listener l = { .watcher = rows[i].watcher };
        listen_to(&l, &r);
        publish(&r, "a/b", "x");
        if (l.records != rows[i].records) fail_msg("row %zu: %u records", i, l.records);
        listener_deinit(&l);
    }
    rig_close(&r);
}

static void nothing_is_recorded_when_nobody_watches_any_more(void **state) {
    struct rig r;
    struct listener one = { 0 }, two = { 0 };
    (void)state;
    rig_open(&r, "sol.on('publish', function() end)");
    listen_to(&one, &r);
    listen_to(&two, &r);
    publish(&r, "t", "x");
    watch_end(&one.watcher);
    publish(&r, "t", "x");
    watch_end(&two.watcher);
    watch_end(&two.watcher);
    publish(&r, "t", "x");
    assert_int_equal(one.records, 1);
    assert_int_equal(two.records, 2);
    listener_deinit(&one);
    listener_deinit(&two);
    rig_close(&r);
}

static void watchers_go_over_to_the_next_generation(void **state) {
    struct rig r;
    struct listener l = { 0 };
    struct policy next;
    (void)state;
    rig_open(&r, "sol.on('publish', function() end)");
    listen_to(&l, &r);
    char *error = rig_load(&r, "sol.on('publish', function(_, m) m.topic = 'new' end)", &next);
    assert_null(error);
    struct hooks *old = r.h;
    r.w->hooks = r.h = next.hooks;
    r.h->attach(r.h, r.w);
    old->retire(old, false);
    rig_turn(&r, 1); /* it goes */
    publish(&r, "t", "x");
    assert_says(&l.text, "-> \"new\"");
    watch_end(&l.watcher);
    config_free(next.config);
    listener_deinit(&l);
    rig_close(&r);
}

static void facts_are_recorded_one_by_one(void **state) {
    struct rig r;
    struct listener l = { 0 };
    (void)state;
    rig_open(&r, "sol.on('connected', function(c) c.attributes.seen = true end)\n"
                 "sol.on('connected', function() error 'x' end)");
    listen_to(&l, &r);
    rig_tell(&r, HOOK_CONNECTED, &(struct fact){ 0 });
    assert_int_equal(l.records, 2);
    assert_says(&l.text, "priority 0: told, ");
    assert_says(&l.text, "client.attributes.seen: nil -> true\n");
    assert_says(&l.text, "x; goes on, ");
    assert_null(strstr(text_of(&l.text), "=>"));
    listener_deinit(&l);
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_names_handlers_changes_and_who_decided),
        cmocka_unit_test(what_is_assigned_again_is_no_change),
        cmocka_unit_test(long_values_are_cut_but_compared_whole),
        cmocka_unit_test(user_properties_may_share_a_name),
        cmocka_unit_test(a_record_is_bounded),
        cmocka_unit_test(attributes_are_among_what_changes),
        cmocka_unit_test(a_failure_is_told_with_its_place_and_what_it_means),
        cmocka_unit_test(authorize_falls_to_a_setting),
        cmocka_unit_test(instructions_are_counted_also_in_coroutines_and_after_waits),
        cmocka_unit_test(of_many_instructions_some_are_counted),
        cmocka_unit_test(a_budget_ends_a_watched_handler_too),
        cmocka_unit_test(waits_are_told_with_what_for_and_apart_from_work),
        cmocka_unit_test(a_wait_that_is_cut_off_is_told_as_well),
        cmocka_unit_test(a_watcher_hears_of_the_calls_it_asked_for),
        cmocka_unit_test(nothing_is_recorded_when_nobody_watches_any_more),
        cmocka_unit_test(watchers_go_over_to_the_next_generation),
        cmocka_unit_test(facts_are_recorded_one_by_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
