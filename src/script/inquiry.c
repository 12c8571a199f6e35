/* inquiry.c -- the rows of what can be given; written as NAME LENGTH '\n' BYTES '\n'. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/inquiry.h"

#include "base/mem.h"
#include "mqtt/packet.h"
#include "mqtt/topic.h"
#include "mqtt/utf8.h"

#include <stdlib.h>

#define FOR(action) (1u << (action))
enum {
    FOR_PUBLISH = FOR(INQUIRE_PUBLISH),
    FOR_SUBSCRIBE = FOR(INQUIRE_SUBSCRIBE),
    FOR_TRACE = FOR(INQUIRE_TRACE),
    FOR_TRIALS = FOR(INQUIRE_CONNECT) | FOR_PUBLISH | FOR_SUBSCRIBE,
    FOR_ALL = FOR_TRIALS | FOR_TRACE
};

enum kind { TEXT, BYTES, QOS, FLAG };

static const struct row {
    const char *name;
    uint8_t kind;
    uint8_t actions; /* FOR_ bits: where it may stand */
    uint16_t offset; /* in struct inquiry */
} rows[] = {
    { "client", TEXT, FOR_ALL, offsetof(struct inquiry, client) },
    { "username", TEXT, FOR_TRIALS, offsetof(struct inquiry, username) },
    { "password", BYTES, FOR_TRIALS, offsetof(struct inquiry, password) },
    { "listener", TEXT, FOR_TRIALS, offsetof(struct inquiry, listener) },
    { "topic", TEXT, FOR_PUBLISH | FOR_TRACE, offsetof(struct inquiry, topic) },
    { "filter", TEXT, FOR_SUBSCRIBE, offsetof(struct inquiry, filter) },
    { "payload", BYTES, FOR_PUBLISH, offsetof(struct inquiry, payload) },
    { "qos", QOS, FOR_PUBLISH | FOR_SUBSCRIBE, offsetof(struct inquiry, qos) },
    { "retain", FLAG, FOR_PUBLISH, offsetof(struct inquiry, retain) },
    { "as-connected", FLAG, FOR_PUBLISH | FOR_SUBSCRIBE, offsetof(struct inquiry, as_connected) },
    { "json", FLAG, FOR_ALL, offsetof(struct inquiry, is_json) },
};

static const char *const actions[] = { "connect", "publish", "subscribe", "trace" };

static void *place(const struct inquiry *q, const struct row *row) {
    return (char *)(uintptr_t)q + row->offset;
}

static bool is_slice(const struct row *row) {
    return row->kind == TEXT || row->kind == BYTES;
}

void inquiry_deinit(struct inquiry *q) {
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        if (is_slice(&rows[i])) free((void *)(uintptr_t)((struct slice *)place(q, &rows[i]))->at);
    *q = (struct inquiry){ 0 };
}

bool inquiry_set_action(struct inquiry *q, struct slice word) {
    for (unsigned i = 0; i < ARRAY_LEN(actions); i++) {
        if (!slice_eq(word, slice_str(actions[i]))) continue;
        q->action = (enum inquiry_action)i;
        return true;
    }
    return false;
}

const char *inquiry_name(unsigned i) {
    return i < ARRAY_LEN(rows) ? rows[i].name : NULL;
}

bool inquiry_is_flag(unsigned i) {
    return rows[i].kind == FLAG;
}

bool inquiry_is_bytes(unsigned i) {
    return rows[i].kind == BYTES;
}

const char *inquiry_set(struct inquiry *q, unsigned i, struct slice value) {
    void *at = place(q, &rows[i]);
    switch ((enum kind)rows[i].kind) {
    case TEXT:
        if (value.len > UINT16_MAX || !utf8_valid(value)) return "UTF-8 of at most 65535 bytes";
        /* fall through */
    case BYTES:
        free((void *)(uintptr_t)((struct slice *)at)->at);
        *(struct slice *)at = slice_of(xslicedup(value), value.len);
        return NULL;
    case QOS:
        if (value.len != 1 || value.at[0] < '0' || value.at[0] > '2') return "0, 1 or 2";
        *(uint8_t *)at = (uint8_t)(value.at[0] - '0');
        return NULL;
    case FLAG: *(bool *)at = true;
    }
    return NULL;
}

static bool is_given(const struct inquiry *q, const struct row *row) {
    const void *at = place(q, row);
    if (is_slice(row)) return ((const struct slice *)at)->at != NULL;
    return row->kind == QOS ? *(const uint8_t *)at != 0 : *(const bool *)at;
}

const char *inquiry_invalid(const struct inquiry *q) {
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        if (is_given(q, &rows[i]) && !(rows[i].actions & FOR(q->action)))
            return "an option does not go with what is asked";
    if (q->action == INQUIRE_TRACE)
        return q->topic.at && !topic_filter_valid(q->topic) ? "--topic is no topic filter" : NULL;
    if (!q->client.at) return "whose? (--client ID)";
    if (q->action == INQUIRE_PUBLISH && !q->topic.at) return "publish where? (--topic TOPIC)";
    if (q->action == INQUIRE_SUBSCRIBE && !q->filter.at)
        return "subscribe to what? (--filter FILTER)";
    if (q->password.at && q->password.len > UINT16_MAX) return "the password is over 65535 bytes";
    return NULL;
}

struct pkt_connect inquiry_connect(const struct inquiry *q) {
    return (struct pkt_connect){ .version = MQTT_5,
                                 .clean_start = true,
                                 .keep_alive = 60,
                                 .client_id = q->client,
                                 .has_username = q->username.at != NULL,
                                 .has_password = q->password.at != NULL,
                                 .username = q->username,
                                 .password = q->password };
}

/* ---- between processes ------------------------------------------------------------- */

static void write_one(struct buf *out, const char *name, struct slice value) {
    buf_printf(out, "%s %zu\n", name, value.len);
    buf_add_slice(out, value);
    buf_add(out, "\n", 1);
}

void inquiry_write(const struct inquiry *q, struct buf *out) {
    write_one(out, "action", slice_str(actions[q->action]));
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        const void *at = place(q, &rows[i]);
        char digit = rows[i].kind == QOS ? (char)('0' + *(const uint8_t *)at) : '1';
        if (!is_given(q, &rows[i])) continue;
        write_one(out, rows[i].name,
                  is_slice(&rows[i]) ? *(const struct slice *)at : slice_of(&digit, 1));
    }
}

static const char *const malformed = "malformed question";

/* Takes one pair off the front; false: it is none. */
static bool read_one(struct slice *in, struct slice *name, struct slice *value) {
    const uint8_t *blank = memchr(in->at, ' ', in->len);
    const uint8_t *end = blank ? memchr(blank, '\n', in->len - (size_t)(blank - in->at)) : NULL;
    size_t len = 0;
    if (!end || end == blank + 1 || end - blank > 10) return false;
    for (const uint8_t *at = blank + 1; at < end; at++) {
        if (*at < '0' || *at > '9') return false;
        len = len * 10 + (size_t)(*at - '0');
    }
    size_t left = in->len - (size_t)(end + 1 - in->at);
    if (left <= len || end[1 + len] != '\n') return false;
    *name = slice_of(in->at, (size_t)(blank - in->at));
    *value = slice_of(end + 1, len);
    *in = slice_of(end + 2 + len, left - len - 1);
    return true;
}

static const char *take_one(struct inquiry *q, struct slice name, struct slice value) {
    if (slice_eq(name, SLICE("action"))) return inquiry_set_action(q, value) ? NULL : malformed;
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        if (slice_eq(name, slice_str(rows[i].name))) return inquiry_set(q, i, value);
    return malformed;
}

const char *inquiry_read(struct inquiry *q, struct slice in) {
    struct slice name, value;
    const char *why = NULL;
    while (in.len && !why)
        why = read_one(&in, &name, &value) ? take_one(q, name, value) : malformed;
    return why ? why : inquiry_invalid(q);
}
