/* conn_read.c -- bytes in: one read a turn, its whole packets handled, the rest kept.
 *
 * The worker's landing takes what is read, and packets are handled where they lie.  Of an
 * unfinished packet the beginning is kept in the connection's tail.  A small one is put
 * back in front of the next read; a large one is completed where it is, by a read that goes
 * on in the landing, and its message keeps the bytes. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/conn.h"

#include "base/mem.h"
#include "core/ahead.h"
#include "core/auth.h"
#include "core/config.h"
#include "core/flow.h"
#include "core/packets.h"
#include "core/session.h"
#include "core/worker.h"
#include "mqtt/decode.h"

#include <errno.h>
#include <stdlib.h>

enum {
    INPUT = 65536,          /* bytes of one read */
    INPUT_LARGE = 262144,   /* likewise, behind a large packet: those come in numbers */
    PACKET_LARGE = 16384,   /* bytes from which on a packet gets a tail of its size */
    ROOM_AT_ONCE = 1048576, /* of that, before more than half of it has come */
    CONNECT_SMALL = 4096    /* bytes every CONNECT may hold, whatever the others do */
};

/* ---- packets ------------------------------------------------------------ */

/* What to tell a peer whose bytes are no packet. */
static void refuse_frame(struct conn *c, int reason_code) {
    const char *why = reason_code == RC_PACKET_TOO_LARGE ? "packet too large" : "malformed packet";
    if (c->state == CONN_OPEN)
        conn_end(c, (uint8_t)reason_code, NULL, why);
    else if (c->state == CONN_AUTHENTICATING)
        auth_refuse(c->auth, (uint8_t)reason_code, why);
    else
        conn_close(c, why);
}

/* A stranger's first packet is CONNECT: the rest of another need not be awaited, nor kept
 * [MQTT-3.1.0-1]. */
static bool is_no_connect(const struct conn *c, const struct frame *f) {
    return c->state == CONN_NEW && f->type != PKT_CONNECT;
}

static bool may_parse(const struct conn *c) {
    return !flow_is_waiting(c) && c->state <= CONN_OPEN && c->state != CONN_OPENING;
}

/* Handles the whole packets at the start of `s`; gives the bytes they took. */
static size_t parse(struct conn *c, struct slice s) {
    struct worker *w = c->worker; /* the connection may leave for another */
    size_t at = 0;
    c->packet_len = 0;
    while (at < s.len && may_parse(c)) {
        struct frame f;
        int r = frame_read(s.at + at, s.len - at, c->client->limits->max_packet_size, &f);
        if (r == FRAME_MORE && is_no_connect(c, &f)) {
            conn_close(c, "the first packet is not CONNECT");
            break;
        }
        if (r == FRAME_MORE) {
            c->packet_len = f.head_len ? f.head_len + f.body_len : 0;
            break;
        }
        if (r > 0) {
            refuse_frame(c, r);
            break;
        }
        at += f.head_len + f.body_len;
        w->behind = c->is_mounted ? SLICE_NONE : slice_of(s.at + at, s.len - at);
        packets_handle(c, &f);
    }
    ahead_clear(w);
    return at;
}

/* ---- what is not whole yet ---------------------------------------------- */

/* A stranger's grows with what has come: nobody takes memory by announcing something. */
static bool has_room_at_once(const struct conn *c) {
    return c->packet_len >= PACKET_LARGE && c->state == CONN_OPEN;
}

/* The tail is room of the packet's size, or on the way there: never more than twice what
 * has come, or ROOM_AT_ONCE, of which the system gives what is written to. */
static void make_room(struct conn *c) {
    size_t room = 2 * c->tail.len;
    if (has_room_at_once(c) && room < ROOM_AT_ONCE) room = ROOM_AT_ONCE;
    if (room > c->packet_len) room = c->packet_len;
    if (c->tail.cap >= room) return;
    c->tail.at = xrealloc(c->tail.at, room);
    c->tail.cap = room;
}

static bool wants_tail(const struct conn *c) {
    return c->state != CONN_CLOSED && c->state != CONN_ENDING;
}

/* Keeps what has come of a packet, or waits for its turn; the tail is empty. */
static void keep(struct conn *c, struct slice rest) {
    if (!rest.len || !wants_tail(c)) {
        buf_deinit(&c->tail);
        return;
    }
    if (has_room_at_once(c)) {
        buf_deinit(&c->tail);
        make_room(c);
    }
    buf_add(&c->tail, rest.at, rest.len);
}

/* Handles what has collected in the tail.  It is taken off the connection meanwhile: a
 * packet may close the connection it came by. */
static void parse_tail(struct conn *c) {
    struct worker *w = c->worker;
    struct buf tail = c->tail;
    c->tail = BUF_INIT;
    if (tail.len == c->packet_len && tail.len == tail.cap) w->whole = &tail;
    struct slice s = buf_slice(&tail);
    size_t used = parse(c, s);
    w->whole = NULL;
    if (used < s.len && wants_tail(c) && !(used && has_room_at_once(c))) {
        buf_drop(&tail, used);
        c->tail = tail;
        return;
    }
    keep(c, slice_of(s.at + used, s.len - used));
    buf_deinit(&tail);
}

/* ---- reading ------------------------------------------------------------ */

/* The landing's room for a read.  Who has still to read what is lent there gets it now; what
 * is left then moves. */
static uint8_t *input_room(struct worker *w, size_t want) {
    _Static_assert((int)INPUT_LARGE <= (int)LANDING_BYTES, "an empty landing has it");
    struct landing *l = &w->landing;
    uint8_t *room;
    while (!(room = landing_room(l, want))) {
        struct session *s = slots_find(&w->sessions, landing_reader(l));
        unsigned before = l->lent;
        if (s && s->conn) conn_write_now(s->conn);
        if (l->lent == before) landing_move(l);
    }
    return room;
}

static void note_read(struct conn *c, size_t n) {
    c->heard_ms = loop_now_ms(c->worker->loop);
    COUNT_ADD(c->worker, bytes_in, n);
}

static void parse_input(struct conn *c, struct slice s) {
    size_t used = parse(c, s);
    keep(c, slice_of(s.at + used, s.len - used));
}

/* Is the packet under way completed where it is?  A stranger's, once much of it has come. */
static bool is_large(const struct conn *c) {
    return has_room_at_once(c) || (c->packet_len && c->tail.len >= INPUT / 2);
}

/* The read begins with the rest of the packet. */
static ssize_t read_large(struct conn *c) {
    make_room(c);
    size_t behind = c->state == CONN_OPEN ? INPUT_LARGE : INPUT;
    uint8_t *input = input_room(c->worker, behind);
    size_t missing = c->packet_len - c->tail.len, room = c->tail.cap - c->tail.len;
    struct iovec iov[2] = { { c->tail.at + c->tail.len, room }, { input, behind } };
    if (missing <= room) iov[0].iov_len = missing;
    ssize_t n = stream_readv(&c->stream, iov, missing <= room ? 2 : 1);
    if (n <= 0) return n;
    note_read(c, (size_t)n);
    size_t own = (size_t)n < iov[0].iov_len ? (size_t)n : iov[0].iov_len;
    c->tail.len += own;
    if (own < missing) return n;
    parse_tail(c);
    if ((size_t)n > own) parse_input(c, slice_of(input, (size_t)n - own));
    return n;
}

static ssize_t read_small(struct conn *c) {
    uint8_t *input = input_room(c->worker, INPUT);
    size_t had = c->tail.len;
    if (had) memcpy(input, c->tail.at, had);
    ssize_t n = stream_read(&c->stream, input + had, INPUT - had);
    if (n <= 0) return n;
    note_read(c, (size_t)n);
    c->tail.len = 0;
    parse_input(c, slice_of(input, had + (size_t)n));
    return n;
}

/* What CONNECTs that are not decided hold, over all connections, is bounded: a client that
 * has not said who it is yet must not take the memory of those who have. */
void conn_note_held(struct conn *c) {
    struct worker *w = c->worker;
    size_t held = c->state < CONN_OPEN ? c->tail.cap + c->connect_len : 0;
    if (held == c->connect_bytes) return;
    COUNT_ADD(w, connect_bytes, held - c->connect_bytes);
    c->connect_bytes = (uint32_t)held;
}

static void check_connect_bytes(struct conn *c) {
    conn_note_held(c);
    if (c->connect_bytes > CONNECT_SMALL &&
        BROKER_SUM(c->worker->broker, connect_bytes) > c->worker->config->max_connect_bytes)
        conn_close(c, "unfinished CONNECTs hold max_connect_bytes");
}

static void end_of_input(struct conn *c) {
    c->has_hung_up = true;
    if (c->state == CONN_ENDING) {
        if (!c->out.len)
            conn_close(c, NULL);
        else
            conn_update_interest(c);
        return;
    }
    conn_end(c, 0, NULL, "the client closed the connection");
}

/* One read a turn: a busy connection lets the others have theirs.  What was read before a
 * wait comes first, or the end of the input would overtake it. */
void conn_read(struct conn *c, bool has_failed) {
    ssize_t n;
    if (c->tail.len && !c->packet_len) parse_tail(c);
    if (c->state == CONN_CLOSED || !conn_is_reading(c)) return;
    if (c->state == CONN_ENDING)
        n = stream_read(&c->stream, input_room(c->worker, INPUT), INPUT);
    else if (is_large(c))
        n = read_large(c);
    else
        n = read_small(c);
    if (c->state < CONN_OPEN) check_connect_bytes(c);
    if (n == 0)
        end_of_input(c);
    else if (n < 0 && (n != -EAGAIN || has_failed))
        conn_close(c, "connection lost");
}

void conn_read_on(struct conn *c) {
    if (c->tail.len && !c->packet_len) parse_tail(c);
}
