/* subs_search.c -- from topics to the nodes of the filters that match them.
 *
 * With very many filters a search is waiting for memory: for a cell of a map, for the node it
 * names, and so on, level by level.  So all that can be looked for next, below all nodes of all
 * topics, is looked for in rounds, each of whose look-ups has been announced to memory beforehand.
 */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/mem.h"
#include "core/subs_index.h"
#include "mqtt/topic.h"

enum { STEPS_MIN = 64, HITS_MIN = 16 };

/* A node to be looked for in a map of the shard. */
struct step {
    const struct shard *shard;
    const struct filter_node *parent; /* NULL: a root */
    uint64_t hash;
    size_t from, len; /* the bytes of the topic that are its level, prefix, or all */
    uint16_t query;
    bool is_exact; /* in the map of filters without wildcards */
};

static void push_step(struct search *x, const struct step *step) {
    if (x->steps_len == x->steps_cap) {
        x->steps_cap = x->steps_cap ? x->steps_cap * 2 : STEPS_MIN;
        x->steps = xrealloc(x->steps, x->steps_cap * sizeof *x->steps);
    }
    x->steps[x->steps_len++] = *step;
    map_prefetch(step->is_exact ? &step->shard->exact : &step->shard->levels, step->hash);
}

static void push_hit(struct search *x, unsigned query, const struct filter_node *n) {
    if (!n) return;
    if (x->hits_len == x->hits_cap) {
        x->hits_cap = x->hits_cap ? x->hits_cap * 2 : HITS_MIN;
        x->hits = xrealloc(x->hits, x->hits_cap * sizeof *x->hits);
    }
    x->hits[x->hits_len++] = (struct hit){ n, query };
    __builtin_prefetch(n);
}

/* A root, or a child of step->parent. */
static void look_for_level(struct search *x, struct step *step) {
    uint8_t key[PARENT + step->len];
    struct slice topic = x->queries[step->query].topic;
    step->hash = map_hash(&step->shard->levels,
                          subs_level_key(key, step->parent, topic, step->from, step->len));
    push_step(x, step);
}

/* Goes on from a node whose levels match those of the topic before `at`, and from the `+` below
 * it. */
static void visit(struct search *x, const struct step *from, const struct filter_node *n,
                  size_t at) {
    struct slice topic = x->queries[from->query].topic, level;
    while (n) {
        struct branch below = subs_below(n);
        struct step child = *from;
        push_hit(x, from->query, below.hash); /* also the parent level itself */
        child.parent = n;
        child.from = at;
        if (!topic_next_level(topic, &at, &level)) {
            push_hit(x, from->query, n);
            return;
        }
        child.len = level.len;
        if (below.others) look_for_level(x, &child);
        n = below.plus;
    }
}

static void begin(struct search *x, unsigned query) {
    const struct prefixes *p = &x->prefixes[query];
    struct slice topic = x->queries[query].topic;
    struct step step = { .query = (uint16_t)query };
    for (unsigned i = p->last; i; i--) {
        step.shard = shard_of(x->subs, p->part[i]);
        step.len = p->len[i];
        if (i == p->last) {
            struct step exact = step;
            exact.is_exact = true;
            exact.hash = x->queries[query].hash;
            push_step(x, &exact);
        }
        if (step.shard->levels.len) look_for_level(x, &step);
    }
    step.shard = shard_of(x->subs, p->part[0]);
    bool is_system = slice_starts(topic, SLICE("$")); /* no first wildcard [MQTT-4.7.2-1] */
    if (!is_system) visit(x, &step, step.shard->wide, 0);
}

static const struct map *map_of(const struct step *step) {
    return step->is_exact ? &step->shard->exact : &step->shard->levels;
}

static void take_exact(struct search *x, const struct step *step) {
    const struct subs_query *q = &x->queries[step->query];
    push_hit(x, step->query, map_find_hashed(&step->shard->exact, q->topic, step->hash));
}

static void take_level(struct search *x, const struct step *step) {
    uint8_t bytes[PARENT + step->len];
    struct slice topic = x->queries[step->query].topic;
    struct slice key = subs_level_key(bytes, step->parent, topic, step->from, step->len);
    size_t at = step->from + step->len + (step->parent != NULL); /* a prefix has its slash */
    visit(x, step, map_find_hashed(&step->shard->levels, key, step->hash), at);
}

/* What the announced look-ups find; x->steps may move meanwhile. */
static void take(struct search *x, size_t i) {
    struct step step = x->steps[i];
    if (!map_peek(map_of(&step), step.hash)) return;
    if (step.is_exact)
        take_exact(x, &step);
    else
        take_level(x, &step);
}

void subs_search(struct search *x) {
    for (unsigned i = 0; i < x->len; i++) begin(x, i);
    for (size_t done = 0, end; done < x->steps_len; done = end) {
        end = x->steps_len;
        for (size_t i = done; i < end; i++)
            __builtin_prefetch(map_peek(map_of(&x->steps[i]), x->steps[i].hash));
        for (size_t i = done; i < end; i++) take(x, i);
    }
}

void subs_search_deinit(struct search *x) {
    xfree(x->steps);
    xfree(x->hits);
}
