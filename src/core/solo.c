/* solo.c -- turning a worker by hand; the far ends of its connections. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/solo.h"

#include "base/buf.h"
#include "base/mem.h"
#include "core/client.h"
#include "core/conn.h"
#include "core/gate.h"
#include "core/helpers.h"
#include "core/worker.h"
#include "mqtt/decode.h"
#include "mqtt/encode.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    TURNS_MAX = 20000, /* of one settling: more is no rest */
    HELPED_MS = 100,   /* one wait for a helper */
    READ_BYTES = 65536
};

struct solo {
    struct hand_clock *clock; /* lent */
    struct broker *broker;
    struct solo_peer *peers;
    bool is_turning;
};

struct solo_peer {
    struct solo *solo;              /* lent */
    struct solo_peer *next, **link; /* solo->peers */
    int fd;                         /* -1: it has gone, or the broker has */
    uint8_t version;                /* of its CONNECT; 0: none yet */
    struct handle client;
    struct buf out;       /* not sent yet */
    struct buf in;        /* not taken yet, and the packet lent */
    size_t taken;         /* bytes of `in` */
    struct packet packet; /* lent */
};

struct worker *solo_worker(const struct solo *s) {
    return &s->broker->workers[0];
}

/* ---- bytes ---------------------------------------------------------------------- */

void solo_drop(struct solo_peer *p) {
    if (p->fd >= 0) close(p->fd);
    p->fd = -1;
}

/* True: something went out. */
static bool peer_write(struct solo_peer *p) {
    ssize_t n = p->fd < 0 || !p->out.len ? 0 : send(p->fd, p->out.at, p->out.len, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) p->out.len = 0; /* nobody will ever read it */
    if (n > 0) buf_drop(&p->out, (size_t)n);
    return n > 0;
}

/* True: something came. */
static bool peer_read(struct solo_peer *p) {
    ssize_t n = p->fd < 0 ? -1 : recv(p->fd, buf_reserve(&p->in, READ_BYTES), READ_BYTES, 0);
    if (n > 0) p->in.len += (size_t)n;
    if (p->fd >= 0 && (n == 0 || (n < 0 && errno != EAGAIN))) solo_drop(p);
    return n > 0;
}

/* True: bytes were on their way to or from a peer. */
static bool peers_move(struct solo *s) {
    bool moved = false;
    for (struct solo_peer *p = s->peers; p; p = p->next) {
        moved |= peer_write(p);
        moved |= peer_read(p);
    }
    return moved;
}

/* ---- time ------------------------------------------------------------------------- */

static void turn(struct solo *s, int wait_ms) {
    s->is_turning = true;
    must(loop_turn(solo_worker(s)->loop, wait_ms) == 0);
    s->is_turning = false;
}

bool solo_is_busy(const struct solo *s) {
    return s->is_turning;
}

bool solo_settle(struct solo *s) {
    struct loop *loop = solo_worker(s)->loop;
    must(!s->is_turning);
    for (int i = 0; i < TURNS_MAX; i++) {
        uint64_t before = loop_runs(loop);
        bool moved = peers_move(s);
        turn(s, 0);
        if (moved || loop_runs(loop) != before) continue;
        if (!helpers_busy(s->broker->helpers)) return true;
        turn(s, HELPED_MS);
    }
    return false;
}

bool solo_pass_ms(struct solo *s, uint64_t ms) {
    struct loop *loop = solo_worker(s)->loop;
    uint64_t now = loop_clock_refresh(loop) / 1000000, end = now + ms;
    bool rests = solo_settle(s);
    while (now < end && rests) {
        uint64_t next = loop_next_ms(loop);
        if (next <= now) next = now + 1;
        if (next > end) next = end;
        hand_clock_pass_ms(s->clock, next - now);
        now = next;
        rests = solo_settle(s);
    }
    return rests;
}

/* ---- life ------------------------------------------------------------------------- */

struct solo *solo_new(struct hand_clock *clock, struct log *log, struct config *config,
                      struct hooks *hooks) {
    struct solo *s = xcalloc(1, sizeof *s);
    s->clock = clock;
    s->broker = broker_new_at(&clock->clock, log, config, hooks);
    gate_totals_init(s->broker, config);
    worker_begin(solo_worker(s));
    (void)solo_settle(s);
    return s;
}

void solo_stop(struct solo *s) {
    must(!s->is_turning);
    worker_stop(solo_worker(s));
    (void)solo_pass_ms(s, 10000);
}

void solo_free(struct solo *s) {
    if (!s) return;
    while (s->peers) solo_close(s->peers);
    broker_free(s->broker);
    free(s);
}

/* ---- clients ------------------------------------------------------------------------ */

struct solo_peer *solo_open(struct solo *s, const struct solo_origin *from) {
    struct worker *w = solo_worker(s);
    const char *listener = from->listener ? from->listener : w->config->listeners[0].url;
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0) return NULL;
    struct solo_peer *p = xcalloc(1, sizeof *p);
    p->solo = s;
    p->fd = fds[1];
    p->next = s->peers;
    p->link = &s->peers;
    if (p->next) p->next->link = &p->next;
    s->peers = p;
    conn_open(w, &stream_unix, fds[0], from->address ? from->address : "127.0.0.1:1", listener);
    p->client = w->conns->client->handle;
    return p;
}

void solo_close(struct solo_peer *p) {
    solo_drop(p);
    if (p->next) p->next->link = p->link;
    *p->link = p->next;
    buf_deinit(&p->in);
    buf_deinit(&p->out);
    free(p);
}

void solo_post_bytes(struct solo_peer *p, struct slice bytes) {
    buf_add_slice(&p->out, bytes);
}

bool solo_post(struct solo_peer *p, const struct packet *packet) {
    uint8_t version = packet->type == PKT_CONNECT ? packet->connect.version : p->version;
    p->version = version < MQTT_3_1 || version > MQTT_5 ? MQTT_5 : version; /* of the answer */
    return packet_append(packet, p->version, &p->out);
}

uint8_t solo_version(const struct solo_peer *p) {
    return p->version;
}

const struct packet *solo_take(struct solo_peer *p) {
    struct frame f;
    if (p->taken == p->in.len) p->taken = p->in.len = 0;
    int r = frame_read(p->in.at + p->taken, p->in.len - p->taken, 0, &f);
    if (r == FRAME_OK) r = packet_decode(&f, p->version, &p->packet);
    if (r == FRAME_MORE) return NULL;
    must(r == 0); /* it is our own */
    p->taken += f.head_len + f.body_len;
    return &p->packet;
}

bool solo_is_over(const struct solo_peer *p) {
    return p->fd < 0;
}

struct client *solo_client(const struct solo_peer *p) {
    return slots_find(&solo_worker(p->solo)->clients, p->client);
}
