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

#include <stdlib.h>

/* Twice the room, for what lay at `few` at first. */
static void *grow(void *at, const void *few, size_t len, size_t *cap, size_t size) {
    *cap = *cap * 2;
    if (at != few) return xrealloc(at, *cap * size);
    return memcpy(xmalloc(*cap * size), few, len * size);
}

/* A new step, with nothing in it. */
static struct step *step_add(struct search *x) {
    if (x->steps_len == x->steps_cap)
        x->steps = grow(x->steps, x->few_steps, x->steps_len, &x->steps_cap, sizeof *x->steps);
    return &x->steps[x->steps_len++];
}

static void hit_add(struct search *x, unsigned query, const struct filter_node *n) {
    if (!n) return;
    if (x->hits_len == x->hits_cap)
        x->hits = grow(x->hits, x->few_hits, x->hits_len, &x->hits_cap, sizeof *x->hits);
    x->hits[x->hits_len++] = (struct hit){ n, query };
    __builtin_prefetch(n);
}

static void look_for_filter(struct search *x, const struct map *exact, unsigned query) {
    struct step *step = step_add(x);
    step->map = exact;
    step->parent = NULL;
    step->hash = x->queries[query].hash;
    step->query = (uint16_t)query;
    step->is_exact = true;
    map_prefetch(exact, step->hash);
}

/* A child of `parent`, or a root. */
static void look_for_level(struct search *x, const struct map *levels, unsigned query,
                           const struct filter_node *parent, size_t from, size_t len) {
    if (!levels->len) return;
    struct step *step = step_add(x);
    uint8_t key[PARENT + len];
    step->map = levels;
    step->parent = parent;
    step->hash = map_hash(levels, subs_level_key(key, parent, x->queries[query].topic, from, len));
    step->from = (uint32_t)from;
    step->len = (uint32_t)len;
    step->query = (uint16_t)query;
    step->is_exact = false;
    map_prefetch(levels, step->hash);
}

/* Goes on from a node whose levels match those of the topic before `at`, and from the `+` below
 * it. */
static void visit(struct search *x, const struct map *levels, unsigned query,
                  const struct filter_node *n, size_t at) {
    struct slice topic = x->queries[query].topic, level;
    while (n) {
        struct branch below = subs_below(n);
        size_t from = at;
        hit_add(x, query, below.hash); /* also the parent level itself */
        if (!topic_next_level(topic, &at, &level)) {
            hit_add(x, query, n);
            return;
        }
        if (below.others) look_for_level(x, levels, query, n, from, level.len);
        n = below.plus;
    }
}

static void begin(struct search *x, unsigned query) {
    const struct prefixes *p = &x->prefixes[query];
    look_for_filter(x, &shard_of(x->subs, p->part[p->last])->exact, query);
    for (unsigned i = p->last; i; i--)
        look_for_level(x, &shard_of(x->subs, p->part[i])->levels, query, NULL, 0, p->len[i]);
    const struct shard *wide = shard_of(x->subs, p->part[0]);
    bool is_system = slice_starts(x->queries[query].topic, SLICE("$"));
    if (!is_system) visit(x, &wide->levels, query, wide->wide, 0); /* [MQTT-4.7.2-1] */
}

/* What the look-up finds that has been announced. */
static const struct filter_node *node_of(const struct search *x, const struct step *step) {
    struct slice topic = x->queries[step->query].topic;
    if (step->is_exact) return map_confirm(step->map, step->likely, topic, step->hash);
    uint8_t bytes[PARENT + step->len];
    struct slice key = subs_level_key(bytes, step->parent, topic, step->from, step->len);
    return map_confirm(step->map, step->likely, key, step->hash);
}

static void take(struct search *x, const struct step *step) {
    if (!step->likely) return;
    const struct filter_node *n = node_of(x, step);
    size_t at =
        (size_t)step->from + step->len + (step->parent != NULL); /* a prefix has its slash */
    if (step->is_exact)
        hit_add(x, step->query, n);
    else
        visit(x, step->map, step->query, n, at); /* the last use of `step`: it may move */
}

void subs_search(struct search *x) {
    x->hits = x->few_hits;
    x->hits_cap = HITS_FEW;
    x->steps = x->few_steps;
    x->steps_cap = STEPS_FEW;
    x->hits_len = x->steps_len = 0;
    for (unsigned i = 0; i < x->len; i++) begin(x, i);
    for (size_t done = 0, end; done < x->steps_len; done = end) {
        end = x->steps_len;
        for (size_t i = done; i < end; i++) {
            struct step *step = &x->steps[i];
            step->likely = map_peek(step->map, step->hash);
            __builtin_prefetch(step->likely);
        }
        for (size_t i = done; i < end; i++) take(x, &x->steps[i]);
    }
}

void subs_search_deinit(struct search *x) {
    if (x->hits != x->few_hits) free(x->hits);
    if (x->steps != x->few_steps) free(x->steps);
}
