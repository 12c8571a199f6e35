/* test_objects.c -- messages, properties, clients and timers as scripts see them. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/rig.h"

#include "base/buf.h"
#include "mqtt/props.h"

/* Runs `body` as a publish handler for `m` (taken): the rig stays open. */
static void run(struct rig *r, struct hook_call *call, const char *body, struct message *m) {
    char *lua = xmalloc(strlen(body) + 100);
    sprintf(lua, "sol.on('publish', function(client, message)\n%s\nend)", body);
    rig_open(r, lua);
    free(lua);
    *call = (struct hook_call){
        .event = HOOK_PUBLISH, .client = r->client, .message = m, .done = rig_on_done, .obj = r
    };
    r->h->run(r->h, call);
}

static void end(struct rig *r, struct hook_call *call) {
    rig_over(call);
    rig_close(r);
}

/* ---- messages ------------------------------------------------------------------ */

static void an_unchanged_message_stays_the_same(void **state) {
    struct rig r;
    struct hook_call call;
    (void)state;
    struct message *m = rig_message("a/b", "hello");
    run(&r, &call,
        "print(message.topic, message.payload, message.qos, message.retain, message.expiry)\n"
        "print(#message.properties.user_properties, message.properties.content_type)",
        m);
    assert_ptr_equal(call.message, m);
    assert_null(call.changed);
    assert_logged(&r, "a/b\\thello\\t0\\tfalse\\tnil");
    assert_logged(&r, "0\\tnil");
    end(&r, &call);
}

static void a_change_makes_one_new_message(void **state) {
    struct rig r;
    struct hook_call call;
    (void)state;
    struct message *m = rig_message("a/b", "hello");
    run(&r, &call,
        "message.topic = 'x/' .. message.topic\n"
        "message.payload = message.payload:rep(100)\n"
        "message.qos = 2 message.retain = true message.expiry = 30\n"
        "print(message.topic, #message.payload, message.qos, message.retain, message.expiry)",
        m);
    assert_int_equal(m->refs, 1);
    assert_true(slice_eq(message_topic(m), SLICE("a/b")));
    assert_true(slice_eq(message_topic(rig_left(&call)), SLICE("x/a/b")));
    assert_int_equal(rig_left(&call)->payload_len, 500);
    assert_int_equal(rig_left(&call)->qos, 2);
    assert_true(rig_left(&call)->retain);
    assert_in_range(rig_left(&call)->expires_ms - loop_now_ms(r.w->loop), 29000, 30000);
    assert_logged(&r, "x/a/b\\t500\\t2\\ttrue\\t30");
    end(&r, &call);
}

static void wrong_assignments_are_told_where_they_stand(void **state) {
    static const struct {
        const char *body, *error;
    } rows[] = {
        { "message.topic = 'a/#'", ":2: message.topic: \"a/#\" is not a topic name" },
        { "message.topic = ''", ":2: message.topic: \"\" is not a topic name" },
        { "message.topic = '\\xff'", ":2: message.topic: " },
        { "message.topic = 5", ":2: message.topic must be a string, not a number" },
        { "message.payload = { 1 }", ":2: message.payload must be a string, not a table" },
        { "message.qos = 3", ":2: message.qos must be an integer from 0 to 2, not 3" },
        { "message.qos = '1'", ":2: message.qos must be an integer from 0 to 2, not 1" },
        { "message.retain = 1", ":2: message.retain must be true or false, not a number" },
        { "message.expiry = -1", ":2: message.expiry must be an integer from 0 to 4294967295" },
        { "message.topik = 'x'", ":2: message has no field \"topik\"; did you mean \"topic\"?" },
        { "print(message.topik)", ":2: message has no field \"topik\"; did you mean \"topic\"?" },
        { "message.copy = 1", ":2: message.copy cannot be assigned" },
        { "print(message[1])", ":2: message has no field \"1\"" },
        { "message.properties = 5", ":2: message.properties must be a table or nil, not a number" },
        { "message.properties.contenttype = 'x'",
          ":2: a message has no property \"contenttype\"; did you mean \"content_type\"?" },
        { "message.properties.content_type = '\\xc0'", ":2: content_type is not UTF-8" },
        { "message.properties.payload_format_indicator = 2",
          ":2: payload_format_indicator must be an integer from 0 to 1" },
        { "message.properties.response_topic = 'a/+'",
          ":2: response_topic: \"a/+\" is not a topic name" },
        { "message.properties.correlation_data = ('x'):rep(65536)",
          ":2: correlation_data is longer than" },
        { "message.properties.user_properties[3] = { 'a', 'b' }",
          ":2: user_properties: no place 3" },
        { "message.properties.user_properties.a = 5",
          "the value of a user property must be a string, not a number" },
        { "message.properties.user_properties = { { 'a' } }",
          "the value of a user property must be a string, not a nil" },
        { "client.id = 'x'", ":2: client.id cannot be assigned" },
        { "client.nme = 'x'", ":2: client has no field \"nme\"" },
        { "print(client.usrname)",
          ":2: client has no field \"usrname\"; did you mean \"username\"?" },
        { "client.attributes.x = {}",
          "client.attributes.x must be a string, number or boolean, not a table" },
        { "client.attributes[1] = 'x'", "client.attributes: a name must be a string" },
        { "client:disconnect(5)", "bad argument #1 to 'disconnect' (expected 0 or 0x80 to 0xff)" },
        { "message.copy(client)", "message expected, got client" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct rig r;
        struct hook_call call;
        run(&r, &call, rows[i].body, rig_message("a", "b"));
        assert_int_equal(call.verdict, VERDICT_DENY);
        assert_logged(&r, rows[i].error);
        end(&r, &call);
    }
}

static void a_message_is_valid_only_in_its_handler(void **state) {
    struct rig r;
    struct hook_call call;
    (void)state;
    rig_open(&r, "local kept, copy, props\n"
                 "sol.on('publish', function(_, m)\n"
                 "    if kept then\n"
                 "        print(kept == m, copy.topic, copy.payload, copy.qos)\n"
                 "    else kept, copy, props = m, m:copy(), m.properties end\n"
                 "end)\n"
                 "sol.on('connected', function()\n"
                 "    print(pcall(function() return kept.topic end))\n"
                 "    print(pcall(function() kept.topic = 'x' end))\n"
                 "    print(pcall(function() return kept:copy() end))\n"
                 "    print(pcall(function() return props.content_type end))\n"
                 "end)");
    rig_publish(&r, &call, "first", "1");
    rig_over(&call);
    rig_tell(&r, HOOK_CONNECTED, &(struct fact){ 0 });
    const char *at = rig_log(&r);
    int n = 0;
    for (; (at = strstr(at, "is valid only inside its handler")); at++) n++;
    assert_int_equal(n, 4);
    assert_logged(&r, "a message is valid only inside its handler"); /* of the kept properties */
    rig_publish(&r, &call, "second", "2");
    assert_logged(&r, "true\\tfirst\\t1\\t0"); /* one userdata, used again */
    rig_over(&call);
    rig_close(&r);
}

/* Its loan may end late, but not later than the next Lua that runs. */
static void an_ended_message_is_over_for_all_others(void **state) {
    struct rig r;
    struct hook_call call;
    (void)state;
    rig_open(&r, "local kept\n"
                 "local function look(who) print(who, pcall(function() return kept.qos end)) end\n"
                 "sol.on('publish', 'a', function(_, m) kept = m end)\n"
                 "sol.on('publish', 'outer', function(c, m)\n"
                 "    kept = nil sol.publish('a', '', { as = c }) look 'outer'\n"
                 "    assert(m.topic == 'outer' and m.qos == 0)\n"
                 "end)\n"
                 "sol.on('publish', 'waits', function(_, m)\n"
                 "    sol.sleep(0.01) look 'woken' print('still', m.topic)\n"
                 "end)\n"
                 "sol.after(0.02, function() look 'timer' end)");
    rig_publish(&r, &call, "outer", "");
    assert_logged(&r, "outer\\tfalse");
    rig_over(&call);
    struct hook_call waits;
    rig_publish(&r, &waits, "waits", "");
    rig_publish(&r, &call, "a", "");
    rig_over(&call);
    rig_wait(&r, 1);
    assert_logged(&r, "woken\\tfalse");
    assert_logged(&r, "still\\twaits");
    rig_publish(&r, &call, "a", "");
    rig_over(&call);
    for (int i = 0; i < 100 && !strstr(rig_log(&r), "timer"); i++) rig_turn(&r, 10);
    assert_logged(&r, "timer\\tfalse");
    rig_over(&waits);
    rig_close(&r);
}

static struct message *with_props(void) {
    struct buf props = BUF_INIT;
    props_add_number(&props, PROP_PAYLOAD_FORMAT_INDICATOR, 1);
    props_add_user(&props, SLICE("a"), SLICE("1"));
    props_add_slice(&props, PROP_CONTENT_TYPE, SLICE("text/plain"));
    props_add_user(&props, SLICE("b"), SLICE("2"));
    props_add_user(&props, SLICE("a"), SLICE("3"));
    struct message *m = message_new(&(struct message_parts){ .topic = SLICE("t"),
                                                             .payload = SLICE("p"),
                                                             .props = buf_slice(&props),
                                                             .expires_ms = MESSAGE_NEVER });
    buf_deinit(&props);
    return m;
}

static void properties_are_read_by_name_and_user_properties_in_order(void **state) {
    struct rig r;
    struct hook_call call;
    (void)state;
    run(&r, &call,
        "local p = message.properties local u = p.user_properties\n"
        "print(p.content_type, p.payload_format_indicator, p.response_topic, p.correlation_data, "
        "p.message_expiry_interval)\n"
        "print(#u, u.a, u.b, u.c, u[1][1], u[3][2], u[4])\n"
        "local all = {} for name, value in pairs(u) do all[#all + 1] = name .. value end\n"
        "print(table.concat(all, ' '), p == message.properties, u == p.user_properties)\n"
        "local c = message:copy().properties\n"
        "print(c.content_type, #c.user_properties, c.user_properties[2][1])",
        with_props());
    assert_logged(&r, "text/plain\\t1\\tnil\\tnil\\tnil");
    assert_logged(&r, "3\\t1\\t2\\tnil\\ta\\t3\\tnil");
    assert_logged(&r, "a1 b2 a3\\ttrue\\ttrue");
    assert_logged(&r, "text/plain\\t3\\tb");
    end(&r, &call);
}

/* The properties of a message in one line: "content_type=x a:1 b:2". */
static const char *shown(const struct message *m) {
    static char text[300];
    struct prop_item item;
    text[0] = '\0';
    for (size_t at = 0, len = 0; props_next(message_props(m), &at, &item); len = strlen(text)) {
        const char *gap = len ? " " : "";
        if (item.id == PROP_USER_PROPERTY)
            snprintf(text + len, sizeof text - len, "%s%.*s:%.*s", gap, SLICE_FMT(item.key),
                     SLICE_FMT(item.value));
        else if (item.value.at)
            snprintf(text + len, sizeof text - len, "%s%d=%.*s", gap, item.id,
                     SLICE_FMT(item.value));
        else
            snprintf(text + len, sizeof text - len, "%s%d=%u", gap, item.id, item.number);
    }
    return text;
}

static void properties_are_edited_in_place(void **state) {
    static const struct {
        const char *body, *after;
    } rows[] = {
        { "p.content_type = 'x'", "1=1 a:1 b:2 a:3 3=x" },
        { "p.content_type = nil", "1=1 a:1 b:2 a:3" },
        { "p.payload_format_indicator = 0", "a:1 3=text/plain b:2 a:3 1=0" },
        { "p.response_topic = 'r' p.correlation_data = '\\0x'",
          "1=1 a:1 3=text/plain b:2 a:3 8=r 9=" },
        { "u.a = '9'", "1=1 a:9 3=text/plain b:2" },
        { "u.c = '9'", "1=1 a:1 3=text/plain b:2 a:3 c:9" },
        { "u.a = nil", "1=1 3=text/plain b:2" },
        { "u[2] = { 'z', '0' }", "1=1 a:1 3=text/plain z:0 a:3" },
        { "u[2] = nil", "1=1 a:1 3=text/plain a:3" },
        { "u[#u + 1] = { 'z', '0' }", "1=1 a:1 3=text/plain b:2 a:3 z:0" },
        { "p.user_properties = nil", "1=1 3=text/plain" },
        { "p.user_properties = { { 'x', '1' }, { 'x', '2' }, d = '4', c = '3' }",
          "1=1 3=text/plain x:1 x:2 c:3 d:4" },
        { "message.properties = nil", "" },
        { "message.properties = { content_type = 'j', user_properties = { k = 'v' } }", "3=j k:v" },
        { "p.message_expiry_interval = 5", "1=1 a:1 3=text/plain b:2 a:3" },
        { "u.a = '9' u.b = nil p.content_type = nil u.a = '8'", "1=1 a:8" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct rig r;
        struct hook_call call;
        char body[300];
        snprintf(body, sizeof body, "local p = message.properties local u = p.user_properties %s",
                 rows[i].body);
        run(&r, &call, body, with_props());
        if (call.verdict != VERDICT_NONE || strcmp(shown(rig_left(&call)), rows[i].after) != 0)
            fail_msg("%s\ngives  %s\nwanted %s\n%s", rows[i].body, shown(rig_left(&call)),
                     rows[i].after, rig_log(&r));
        end(&r, &call);
    }
}

/* ---- clients --------------------------------------------------------------------- */

static void a_client_has_fields(void **state) {
    struct rig r;
    struct hook_call call;
    (void)state;
    run(&r, &call,
        "print(client.id, client.username, client.address, client.listener, client.version)\n"
        "print(client.clean_start, client.keep_alive, client.connected, "
        "math.type(client.connected_at), tostring(client))\n"
        "print(client:disconnect())",
        rig_message("t", ""));
    assert_logged(&r, "c1\\tann\\t127.0.0.1:4711\\tmqtt://localhost:1883\\t5");
    assert_logged(&r, "false\\t0\\tfalse\\tfloat\\tclient \"c1\"");
    assert_logged(&r, "nil\\tclosed");
    end(&r, &call);
}

static void a_name_that_changes_is_seen(void **state) {
    struct rig r;
    struct hook_call call;
    (void)state;
    rig_open(&r, "sol.on('publish', function(c) print('is', c.username) end)");
    static const char *const names[] = { "bob", "eve", "bob" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char line[32];
        client_set_username(r.client, slice_str(names[i]));
        rig_publish(&r, &call, "t", "");
        rig_over(&call);
        snprintf(line, sizeof line, "is\\t%s", names[i]);
        assert_logged(&r, line);
        ftruncate(r.log_fd, 0);
        lseek(r.log_fd, 0, SEEK_SET);
    }
    client_set_username(r.client, SLICE_NONE);
    rig_publish(&r, &call, "t", "");
    assert_logged(&r, "is\\tnil");
    rig_over(&call);
    rig_close(&r);
}

static void a_client_that_has_gone_answers_nil(void **state) {
    struct rig r;
    struct hook_call call;
    (void)state;
    rig_open(&r, "local kept\n"
                 "sol.on('publish', function(c)\n"
                 "    if not kept then kept = c print(c == kept, c.attributes == kept.attributes) "
                 "return end\n"
                 "    print(c == kept, kept.id, kept.username, kept.connected, kept.attributes, "
                 "tostring(kept), kept:disconnect())\n"
                 "    print(sol.publish('a', 'b', { as = kept }))\n"
                 "end)");
    rig_publish(&r, &call, "t", "");
    rig_over(&call);
    client_unref(r.client);
    r.client = client_new(r.w, "1.2.3.4:5", "x"); /* in the same slot */
    client_set_id(r.client, SLICE("c2"));
    rig_publish(&r, &call, "t", "");
    assert_logged(&r, "true\\ttrue");
    assert_logged(&r, "false\\tnil\\tnil\\tnil\\tnil\\tclient (closed)\\tnil\\tclosed");
    assert_logged(&r, "policy   nil\\tclosed");
    rig_over(&call);
    rig_close(&r);
}

static void attributes_are_kept_with_the_client(void **state) {
    struct rig r;
    struct hook_call call;
    (void)state;
    run(&r, &call,
        "local a = client.attributes\n"
        "a.s = 'x\\0y' a.i = 1 << 40 a.r = 1.5 a.b = false a.gone = 1 a.gone = nil\n"
        "print(#a.s, a.i, math.type(a.i), a.r, a.b, a.gone)\n"
        "local n = 0 for name, value in pairs(a) do n = n + 1 assert(a[name] == value) end "
        "print(n)\n"
        "for i = 1, 100 do a['n' .. i] = i end",
        rig_message("t", ""));
    assert_logged(&r, "3\\t1099511627776\\tinteger\\t1.5\\tfalse\\tnil");
    assert_logged(&r, "policy   4");
    assert_logged(&r, "client.attributes: more than 64");
    assert_int_equal(client_attr_find(r.client, "i")->integer, INT64_C(1) << 40);
    end(&r, &call);
}

/* ---- publish -------------------------------------------------------------------- */

static void a_script_publishes(void **state) {
    struct rig r;
    (void)state;
    rig_open(&r,
             "sol.on('published', function(c, m)\n"
             "    print('published', c and c.id, m.topic, m.payload, m.qos, m.retain, m.expiry, "
             "m.properties.content_type)\n"
             "end)\n"
             "sol.on('publish', function(c, m) if m.topic == 'no' then return sol.deny(0x99, 'not "
             "this') end end)\n"
             "sol.on('publish', 'slow', function() sol.sleep(0.01) return sol.deny(0x97) end)\n"
             "sol.on('connected', function(c)\n"
             "    print('ok', sol.publish('a', 'b'))\n"
             "    print('ok', sol.publish('a', 'b', { qos = 1, retain = true, expiry = 9, as = c,\n"
             "        properties = { content_type = 't' } }))\n"
             "    print('refused', sol.publish('no', '', { as = c }))\n"
             "    print('trusted', sol.publish('no', ''))\n"
             "    print('late', sol.publish('slow', '', { as = c }))\n"
             "    print(pcall(sol.publish, 'a/#', ''))\n"
             "    print(pcall(sol.publish, 'a', '', { qso = 1 }))\n"
             "    print(pcall(sol.publish, 'a', '', { qos = 3 }))\n"
             "    print(pcall(sol.publish, 'a', '', { as = 'c1' }))\n"
             "end)");
    rig_tell(&r, HOOK_CONNECTED, &(struct fact){ 0 });
    rig_turn(&r, 30);
    static const char *const lines[] = {
        "published\\tnil\\ta\\tb\\t0\\tfalse\\tnil\\tnil",
        "ok\\ttrue",
        "published\\tc1\\ta\\tb\\t1\\ttrue\\t9\\tt",
        "refused\\tnil\\tnot this\\t153",
        "published\\tnil\\tno\\t\\t0",
        "trusted\\ttrue",
        "late\\tnil\\trefused\\t151",
        "bad argument #1 to 'sol.publish' (not a topic name)",
        "sol.publish: unknown option \"qso\"; did you mean \"qos\"?",
        "qos must be 0, 1 or 2",
        "sol.publish: as must be a client",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) assert_logged(&r, lines[i]);
    rig_close(&r);
}

static void messages_that_cause_messages_come_to_an_end(void **state) {
    struct rig r;
    struct hook_call call;
    (void)state;
    rig_open(&r,
             "sol.on('publish', function(c, m) sol.publish(m.topic, m.payload, { as = c }) end)\n"
             "sol.on('published', 'x', function(c, m) sol.publish('x', '') end)");
    rig_publish(&r, &call, "t", "");
    assert_int_equal(call.verdict, VERDICT_NONE);
    assert_logged(&r, "sol.publish: messages cause messages, 10 deep");
    rig_over(&call);
    rig_publish(&r, &call, "x", "");
    rig_over(&call);
    rig_close(&r);
}

static void a_publish_that_waits_outlives_who_asked(void **state) {
    struct rig r;
    struct policy next;
    (void)state;
    rig_open(&r, "sol.on('publish', function() sol.sleep(0.02) end)\n"
                 "sol.on('connected', function(c) sol.spawn(function()\n"
                 "    sol.publish('a', 'b', { as = c }) print 'never' end) end)\n"
                 "sol.on('published', function(c, m) print('published', m.topic) end)");
    rig_tell(&r, HOOK_CONNECTED, &(struct fact){ 0 });
    assert_null(
        rig_load(&r, "sol.on('published', function(c, m) print('published', m.topic) end)", &next));
    struct hooks *old = r.h;
    r.h = r.w->hooks = next.hooks;
    r.h->attach(r.h, r.w);
    old->retire(old, false); /* the spawned task goes, its message does not */
    rig_turn(&r, 50);
    assert_logged(&r, "published\\ta");
    assert_not_logged(&r, "never");
    config_free(next.config);
    rig_close(&r);
}

/* ---- time ------------------------------------------------------------------------- */

static void timers_fire_until_cancelled(void **state) {
    struct rig r;
    (void)state;
    rig_open(&r, "local n = 0\n"
                 "sol.after(0.01, function() print 'after' end)\n"
                 "local t t = sol.every(0.004, function()\n"
                 "    n = n + 1 print('beat', n)\n"
                 "    if n == 3 then print(t.active, t:cancel(), t.active, t:cancel()) end\n"
                 "end)\n"
                 "local dead = sol.after(0.001, function() print 'never' end) dead:cancel()\n"
                 "sol.every(0.002, function() sol.sleep(0.05) print 'once' end)\n"
                 "sol.after(0.002, function() error 'timer trouble' end)\n"
                 "sol.on('connected', function() sol.spawn(function(a, b) print('spawned', a, b) "
                 "error 'spawn trouble' end, 1, 2) end)");
    rig_tell(&r, HOOK_CONNECTED, &(struct fact){ 0 });
    rig_turn(&r, 70);
    for (int i = 0; i < 100 && !strstr(rig_log(&r), "once"); i++) rig_turn(&r, 10);
    static const char *const lines[] = {
        "after",
        "beat\\t1",
        "beat\\t3",
        "true\\ttrue\\tfalse\\tfalse",
        "once",
        "timer trouble",
        "error policy   sol.after /tmp/",
        "spawned\\t1\\t2",
        "sol.spawn failed: ",
        "spawn trouble",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) assert_logged(&r, lines[i]);
    assert_not_logged(&r, "beat\\t4");
    assert_not_logged(&r, "never");
    rig_close(&r);
}

static void sleeping_is_never_too_short(void **state) {
    struct rig r;
    struct hook_call call;
    (void)state;
    rig_open(&r, "sol.on('publish', function()\n"
                 "    for _, s in ipairs { 0, 0.001, 0.007, 0.02 } do\n"
                 "        local before = sol.now() sol.sleep(s)\n"
                 "        assert(sol.now() - before >= s, 'too short')\n"
                 "    end\n"
                 "    assert(sol.time() > 1.7e9)\n"
                 "end)");
    rig_publish(&r, &call, "t", "");
    rig_wait(&r, 1);
    assert_int_equal(call.verdict, VERDICT_NONE);
    rig_over(&call);
    rig_close(&r);
}

static void a_steady_hook_makes_no_garbage(void **state) {
    struct rig r;
    (void)state;
    rig_open(&r, "sol.on('publish', function(c, m) local t, q, u = m.topic, m.qos, c.username "
                 "return true end)\n"
                 "sol.on('authorize', function(c, q) return q.topic == 't' end)\n"
                 "sol.on('connected', function() print(collectgarbage 'count') end)");
    double kib[2] = { 0, 0 };
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 10000; i++) {
            struct hook_call call;
            rig_publish(&r, &call, "t", "x");
            rig_over(&call);
        }
        rig_tell(&r, HOOK_CONNECTED, &(struct fact){ 0 });
        const char *line = strrchr(rig_log(&r), ' ');
        kib[round] = strtod(line, NULL);
    }
    assert_true(kib[0] > 10 && kib[1] - kib[0] < 2); /* the info table of the fact itself */
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unchanged_message_stays_the_same),
        cmocka_unit_test(a_change_makes_one_new_message),
        cmocka_unit_test(wrong_assignments_are_told_where_they_stand),
        cmocka_unit_test(a_message_is_valid_only_in_its_handler),
        cmocka_unit_test(an_ended_message_is_over_for_all_others),
        cmocka_unit_test(properties_are_read_by_name_and_user_properties_in_order),
        cmocka_unit_test(properties_are_edited_in_place),
        cmocka_unit_test(a_client_has_fields),
        cmocka_unit_test(a_name_that_changes_is_seen),
        cmocka_unit_test(a_client_that_has_gone_answers_nil),
        cmocka_unit_test(attributes_are_kept_with_the_client),
        cmocka_unit_test(a_script_publishes),
        cmocka_unit_test(messages_that_cause_messages_come_to_an_end),
        cmocka_unit_test(a_publish_that_waits_outlives_who_asked),
        cmocka_unit_test(timers_fire_until_cancelled),
        cmocka_unit_test(sleeping_is_never_too_short),
        cmocka_unit_test(a_steady_hook_makes_no_garbage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
