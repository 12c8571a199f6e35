/* test_rehearsal.c -- a policy and a broker in one process, by hand. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "core/client.h"
#include "core/solo.h"
#include "mqtt/encode.h"
#include "mqtt/props.h"
#include "script/rehearsal.h"

#include <stdlib.h>

static struct rehearsal *rehearse(const char *policy) {
    char *error = NULL;
    struct rehearsal_opts opts = { .path = "sol.lua", .text = slice_str(policy) };
    struct rehearsal *r = rehearsal_new(&opts, &error);
    if (!r) fail_msg("%s", error);
    return r;
}

static const struct packet *hear(struct solo_peer *p, enum packet_type type) {
    const struct packet *packet = solo_take(p);
    assert_non_null(packet);
    assert_int_equal(packet->type, type);
    return packet;
}

/* Gives the reason code. */
static int say_connect(struct rehearsal *r, struct solo_peer *p, const char *id, int keep_alive) {
    struct packet c = { .type = PKT_CONNECT,
                        .connect = { .version = MQTT_5,
                                     .clean_start = true,
                                     .keep_alive = (uint16_t)keep_alive,
                                     .client_id = slice_str(id) } };
    props_init(&c.connect.props);
    assert_true(solo_post(p, &c));
    assert_true(solo_settle(r->solo));
    return hear(p, PKT_CONNACK)->connack.reason_code;
}

static struct solo_peer *come(struct rehearsal *r, const char *id) {
    struct solo_peer *p = solo_open(r->solo, &(struct solo_origin){ .address = "10.0.0.9:7" });
    assert_non_null(p);
    assert_int_equal(say_connect(r, p, id, 0), RC_SUCCESS);
    return p;
}

static void say_subscribe(struct rehearsal *r, struct solo_peer *p, const char *filter) {
    struct buf list = BUF_INIT;
    struct packet s = { .type = PKT_SUBSCRIBE, .filters = { .packet_id = 1, .count = 1 } };
    props_init(&s.filters.props);
    filters_add(&list, slice_str(filter), &(struct subscribe_options){ 0 }, MQTT_5);
    s.filters.filters = buf_slice(&list);
    assert_true(solo_post(p, &s));
    buf_deinit(&list);
    assert_true(solo_settle(r->solo));
    assert_int_equal(hear(p, PKT_SUBACK)->codes.codes.at[0], RC_SUCCESS);
}

static void say_publish(struct rehearsal *r, struct solo_peer *p, const char *topic,
                        struct slice payload) {
    struct packet m = { .type = PKT_PUBLISH,
                        .publish = { .topic = slice_str(topic), .payload = payload } };
    props_init(&m.publish.props);
    assert_true(solo_post(p, &m));
    assert_true(solo_settle(r->solo));
}

static void hears(struct solo_peer *p, const char *topic, const char *payload) {
    const struct pkt_publish *m = &hear(p, PKT_PUBLISH)->publish;
    assert_true(slice_eq(m->topic, slice_str(topic)));
    assert_true(slice_eq(m->payload, slice_str(payload)));
}

static void hooks_see_what_clients_do(void **state) {
    (void)state;
    struct rehearsal *r = rehearse(
        "allow_anonymous = true\n"
        "sol.on('connect', function(c) if c.id == 'evil' then return sol.deny(0x8A) end end)\n"
        "sol.on('publish', 'a', function(_, m) m.topic, m.payload = 'b', m.payload:upper() end)\n");
    struct solo_peer *evil = solo_open(r->solo, &(struct solo_origin){ 0 });
    assert_int_equal(say_connect(r, evil, "evil", 0), RC_BANNED);
    assert_true(solo_is_over(evil));
    assert_null(solo_client(evil));

    struct solo_peer *p = come(r, "good");
    assert_string_equal(solo_client(p)->peer, "10.0.0.9:7");
    say_subscribe(r, p, "#");
    say_publish(r, p, "a", slice_str("x"));
    hears(p, "b", "X");
    assert_null(solo_take(p));
    rehearsal_free(r);
}

static void time_passes_when_told_and_in_order(void **state) {
    (void)state;
    struct rehearsal *r = rehearse(
        "allow_anonymous = true\n"
        "local start = sol.now()\n"
        "local function say() sol.publish('t', '' .. math.floor(sol.now() - start + 0.5)) end\n"
        "sol.after(5, say)\n"
        "sol.every(3, function() sol.sleep(1) say() end)\n");
    struct solo_peer *p = come(r, "c");
    say_subscribe(r, p, "t");
    assert_true(solo_pass_ms(r->solo, 3500));
    assert_null(solo_take(p));
    assert_true(solo_pass_ms(r->solo, 4000));
    hears(p, "t", "4");
    hears(p, "t", "5");
    hears(p, "t", "7");
    assert_null(solo_take(p));
    rehearsal_free(r);
}

static void a_client_that_falls_silent_is_cut_off(void **state) {
    (void)state;
    struct rehearsal *r = rehearse("allow_anonymous = true");
    struct solo_peer *p = solo_open(r->solo, &(struct solo_origin){ 0 });
    assert_int_equal(say_connect(r, p, "c", 10), RC_SUCCESS);
    assert_true(solo_pass_ms(r->solo, 14000));
    assert_non_null(solo_client(p));
    assert_true(solo_pass_ms(r->solo, 2000));
    assert_int_equal(hear(p, PKT_DISCONNECT)->reason.reason_code, RC_KEEP_ALIVE_TIMEOUT);
    assert_true(solo_is_over(p));
    rehearsal_free(r);
}

/* More than a socket holds, both ways; and a hook that waits for a helper's work. */
static void settling_is_thorough(void **state) {
    (void)state;
    struct rehearsal *r = rehearse(
        "allow_anonymous = true\n"
        "sol.on('connect', function() sol.password.verify('x', sol.password.hash('x')) end)");
    struct solo_peer *p = come(r, "c");
    size_t len = 1000000;
    uint8_t *bytes = xcalloc(1, len);
    say_subscribe(r, p, "#");
    say_publish(r, p, "large", slice_of(bytes, len));
    assert_int_equal(hear(p, PKT_PUBLISH)->publish.payload.len, len);
    free(bytes);
    rehearsal_free(r);
}

static void a_faulty_policy_says_where(void **state) {
    (void)state;
    char *error = NULL;
    struct rehearsal_opts opts = { .path = "x/sol.lua", .text = slice_str("\nfoo = 1") };
    assert_null(rehearsal_new(&opts, &error));
    assert_non_null(strstr(error, "x/sol.lua:2: unknown setting \"foo\""));
    free(error);
}

static void log_line(void *obj, enum log_level level, const char *area, const char *text) {
    buf_printf(obj, "%d %s %s\n", level, area, text);
}

static void stopping_runs_the_handlers_and_the_log_tells(void **state) {
    (void)state;
    char *error = NULL;
    struct buf log = BUF_INIT;
    struct rehearsal_opts opts = { .path = "sol.lua",
                                   .text = slice_str(
                                       "sol.on('stop', function() sol.log.warn('bye') end)"),
                                   .sink = log_line,
                                   .sink_obj = &log };
    struct rehearsal *r = rehearsal_new(&opts, &error);
    struct solo_peer *p = come(r, "c");
    solo_stop(r->solo);
    assert_int_equal(hear(p, PKT_DISCONNECT)->reason.reason_code, RC_SERVER_SHUTTING_DOWN);
    rehearsal_free(r);
    buf_add(&log, "", 1);
    assert_non_null(strstr((char *)log.at, "2 policy bye\n"));
    buf_deinit(&log);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hooks_see_what_clients_do),
        cmocka_unit_test(time_passes_when_told_and_in_order),
        cmocka_unit_test(a_client_that_falls_silent_is_cut_off),
        cmocka_unit_test(settling_is_thorough),
        cmocka_unit_test(a_faulty_policy_says_where),
        cmocka_unit_test(stopping_runs_the_handlers_and_the_log_tells),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
