/* grants.c -- patterns, and what they decide. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/grants.h"

#include "base/buf.h"
#include "base/mem.h"
#include "core/client.h"
#include "mqtt/topic.h"
#include "mqtt/utf8.h"

#include <stdio.h>
#include <stdlib.h>

/* What a bound filter looks like: most need no walk along their levels. */
enum shape {
    SHAPE_NOTHING, /* matches nothing */
    SHAPE_EXACT,   /* no wildcard */
    SHAPE_BELOW,   /* `a/b/#` */
    SHAPE_WILD,    /* any other */
    SHAPE_ALL      /* everything, names that begin with $ too */
};

/* ---- patterns ------------------------------------------------------------- */

static bool is_name(uint8_t c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
           c == '-' || c == '.';
}

/* The length of the placeholder at the start of `s`, which begins with a percent sign; 0:
 * it is none. */
static size_t placeholder(struct slice s) {
    if (s.len < 2) return 0;
    if (s.at[1] == 'c' || s.at[1] == 'u' || s.at[1] == '%') return 2;
    if (s.at[1] != '{') return 0;
    size_t n = 2;
    while (n < s.len && is_name(s.at[n])) n++;
    return n > 2 && n < s.len && s.at[n] == '}' ? n + 1 : 0;
}

static struct slice rest(struct slice s, size_t from) {
    return slice_of(s.at + from, s.len - from);
}

const char *grant_pattern_invalid(struct slice pattern) {
    if (!topic_filter_valid(pattern) || !utf8_valid(pattern)) return "is not a topic filter";
    if (slice_starts(pattern, SLICE("$share/")))
        return "is a shared subscription: what counts is its filter, without $share/GROUP/";
    for (size_t i = 0; i < pattern.len; i++) {
        if (pattern.at[i] != '%') continue;
        size_t n = placeholder(rest(pattern, i));
        if (!n)
            return "has an unknown placeholder; there are %c, %u and %{NAME}, and %% is a percent "
                   "sign";
        i += n - 1;
    }
    return NULL;
}

static struct slice attribute(const struct client *c, struct slice name, char text[32]) {
    char key[name.len + 1];
    memcpy(key, name.at, name.len);
    key[name.len] = 0;
    const struct attr *a = client_attr_find(c, key);
    if (!a) return SLICE_NONE;
    switch (a->type) {
    case ATTR_STRING: return a->string;
    case ATTR_BOOL: return a->boolean ? SLICE("true") : SLICE("false");
    case ATTR_INT: snprintf(text, 32, "%lld", (long long)a->integer); break;
    case ATTR_REAL: snprintf(text, 32, "%.14g", a->real); break;
    }
    return slice_str(text);
}

/* What a placeholder stands for; SLICE_NONE: nothing.  `text` is room for it. */
static struct slice value_of(struct slice name, const struct client *c, char text[32]) {
    switch (name.at[1]) {
    case 'c': return c->id;
    case 'u': return c->username;
    case '%': return SLICE("%");
    default: return attribute(c, slice_of(name.at + 2, name.len - 3), text);
    }
}

/* Is it a part of one level and no more, also behind `before` bytes? */
static bool is_safe(struct slice value, size_t before) {
    if (!value.at || (before == 0 && value.len && value.at[0] == '$')) return false;
    return !topic_has_wildcard(value) && !memchr(value.at, '/', value.len);
}

/* Appends the pattern with its placeholders filled in; false: up to one that cannot be. */
static bool fill_in(struct slice pattern, const struct client *c, struct buf *out) {
    char text[32];
    for (size_t i = 0; i < pattern.len;) {
        const uint8_t *percent = memchr(pattern.at + i, '%', pattern.len - i);
        size_t plain = percent ? (size_t)(percent - pattern.at) - i : pattern.len - i;
        buf_add(out, pattern.at + i, plain);
        i += plain;
        if (!percent) break;
        size_t n = placeholder(rest(pattern, i));
        struct slice value = value_of(slice_of(percent, n), c, text);
        if (!is_safe(value, out->len)) return false;
        buf_add_slice(out, value);
        i += n;
    }
    return true;
}

/* ---- binding -------------------------------------------------------------- */

static uint8_t shape_of(struct slice filter) {
    if (!topic_filter_valid(filter)) return SHAPE_NOTHING; /* empty, or too long by now */
    if (!topic_has_wildcard(filter)) return SHAPE_EXACT;
    bool is_below = filter.len > 2 && filter.at[filter.len - 1] == '#' &&
                    !topic_has_wildcard(slice_of(filter.at, filter.len - 1));
    return is_below ? SHAPE_BELOW : SHAPE_WILD;
}

static void unbind(struct grant_entry *e) {
    if (e->is_bound) free((void *)(uintptr_t)e->filter.at);
    e->is_bound = false;
    e->filter = SLICE_NONE;
    e->shape = SHAPE_NOTHING;
}

static void take_filter(struct grant_entry *e, const struct buf *filter) {
    struct slice copy = buf_slice(filter);
    e->filter = slice_of(xslicedup(copy), copy.len);
    e->is_bound = true;
    e->shape = shape_of(e->filter);
}

/* What it denies cannot be told: everything that begins like what can. */
static void deny_below(struct grant_entry *e, struct buf *start) {
    while (start->len && start->at[start->len - 1] != '/') start->len--;
    buf_add(start, "#", 1);
    take_filter(e, start);
    if (start->len == 1) e->shape = SHAPE_ALL;
}

static void entry_bind(struct grant_entry *e, const struct client *c) {
    AUTO(buf_deinit) struct buf filter = BUF_INIT;
    unbind(e);
    if (!memchr(e->pattern.at, '%', e->pattern.len)) {
        e->filter = e->pattern;
        e->shape = shape_of(e->filter);
    } else if (fill_in(e->pattern, c, &filter)) {
        take_filter(e, &filter);
        if (e->shape == SHAPE_NOTHING && e->is_deny) e->shape = SHAPE_ALL;
    } else if (e->is_deny) {
        deny_below(e, &filter);
    }
}

void grant_bind(struct grant *g, const struct client *c) {
    for (unsigned i = 0; i < g->len; i++) entry_bind(&g->at[i], c);
}

/* ---- life ----------------------------------------------------------------- */

struct grant *grant_new(const char *name, const struct grant_entry *entries, unsigned len) {
    size_t head = sizeof(struct grant) + len * sizeof *entries, text = strlen(name) + 1;
    for (unsigned i = 0; i < len; i++) text += entries[i].pattern.len;
    struct grant *g = xmalloc(head + text);
    char *to = (char *)g + head;
    *g = (struct grant){ .name = to, .expires_ms = GRANT_NEVER, .bytes = head + text, .len = len };
    to = stpcpy(to, name) + 1;
    for (unsigned i = 0; i < len; i++) {
        size_t n = entries[i].pattern.len;
        g->at[i] = entries[i];
        memcpy(to, entries[i].pattern.at, n);
        g->at[i].pattern = slice_of(to, n);
        to += n;
        unbind(&g->at[i]);
    }
    return g;
}

void grant_free(struct grant *g) {
    if (!g) return;
    for (unsigned i = 0; i < g->len; i++) unbind(&g->at[i]);
    free(g);
}

unsigned grants_remove(struct grants *all, bool (*goes)(const struct grant *g, const void *what),
                       const void *what) {
    unsigned n = 0;
    for (struct grant **link = &all->first; *link;) {
        struct grant *g = *link;
        if (!goes(g, what)) {
            link = &g->next;
            continue;
        }
        *link = g->next;
        all->entries -= g->len;
        all->bytes -= g->bytes;
        grant_free(g);
        n++;
    }
    return n;
}

static bool has_name(const struct grant *g, const void *name) {
    return strcmp(g->name, name) == 0;
}

bool grants_add(struct grants *all, struct grant *g) {
    unsigned entries = all->entries + g->len;
    size_t bytes = all->bytes + g->bytes;
    for (const struct grant *old = all->first; old; old = old->next) {
        if (!has_name(old, g->name)) continue;
        entries -= old->len;
        bytes -= old->bytes;
    }
    if (entries > GRANT_ENTRIES_MAX || bytes > GRANT_BYTES_MAX) return false;
    grants_remove(all, has_name, g->name);
    g->next = all->first;
    all->first = g;
    all->entries = entries;
    all->bytes = bytes;
    return true;
}

uint64_t grants_next_expiry(const struct grants *all) {
    uint64_t next = GRANT_NEVER;
    for (const struct grant *g = all->first; g; g = g->next)
        if (g->expires_ms < next) next = g->expires_ms;
    return next;
}

/* ---- matching ------------------------------------------------------------- */

/* Does the topic begin with the first `len` bytes of the filter?  Names differ at their ends
 * more often than at their beginnings. */
static inline bool begins(struct slice topic, struct slice filter, size_t len) {
    return topic.len >= len && topic.at[len - 1] == filter.at[len - 1] &&
           memcmp(topic.at, filter.at, len) == 0;
}

static inline bool matches(const struct grant_entry *e, struct slice topic) {
    const struct slice filter = e->filter;
    const size_t parent = filter.len - 2; /* of `a/b/#` */
    if (e->shape == SHAPE_EXACT)
        return topic.len == filter.len && begins(topic, filter, filter.len);
    if (e->shape == SHAPE_BELOW)
        return begins(topic, filter, parent) && (topic.len == parent || topic.at[parent] == '/');
    if (e->shape == SHAPE_WILD) return topic_match(filter, topic);
    return e->shape == SHAPE_ALL;
}

static bool covers(const struct grant_entry *e, struct slice filter) {
    if (e->shape == SHAPE_NOTHING) return false;
    return e->shape == SHAPE_ALL || topic_filter_covers(e->filter, filter);
}

static bool overlaps(const struct grant_entry *e, struct slice filter) {
    if (e->shape == SHAPE_NOTHING) return false;
    return e->shape == SHAPE_ALL || topic_filters_overlap(e->filter, filter);
}

/* ---- decisions ------------------------------------------------------------ */

static struct grant_answer decided(const struct grant *g, const struct grant_entry *e) {
    return (struct grant_answer){ .verdict = e->is_deny ? VERDICT_DENY : VERDICT_ALLOW,
                                  .qos = e->max_qos,
                                  .grant = g,
                                  .entry = e };
}

static bool meets(const struct grant_entry *e, const struct grant_publish *what) {
    if (e->is_deny) return true;
    if (what->qos > e->max_qos || what->size > e->max_size) return false;
    return e->retain == RETAIN_EITHER || (e->retain == RETAIN_ONLY) == what->retain;
}

struct grant_answer grants_publish(const struct grants *all, const struct grant_publish *what,
                                   uint64_t now_ms) {
    for (const struct grant *g = all->first; g; g = g->next) {
        if (g->expires_ms <= now_ms) continue;
        for (const struct grant_entry *e = g->at; e < g->at + g->len; e++)
            if ((e->actions & GRANT_PUBLISH) && matches(e, what->topic) && meets(e, what))
                return decided(g, e);
    }
    return (struct grant_answer){ .verdict = VERDICT_NONE };
}

struct grant_answer grants_deliver(const struct grants *all, struct slice topic, uint64_t now_ms) {
    for (const struct grant *g = all->first; g; g = g->next) {
        if (g->expires_ms <= now_ms) continue;
        for (const struct grant_entry *e = g->at; e < g->at + g->len; e++)
            if ((e->actions & GRANT_FILTERS) && matches(e, topic)) return decided(g, e);
    }
    return (struct grant_answer){ .verdict = VERDICT_NONE };
}

/* What has been found out about a filter, entry by entry. */
struct survey {
    struct slice filter;
    struct grant_answer partly; /* ALLOW: by the first that reaches into it */
    bool is_excepted;           /* something of it is denied */
    uint8_t qos;                /* the most that any entry gives */
    uint8_t least_qos;          /* and the least */
};

/* True when nothing of the filter is left to decide: *a says how. */
static bool survey_entry(struct survey *s, const struct grant *g, const struct grant_entry *e,
                         struct grant_answer *a) {
    bool all = covers(e, s->filter);
    if (!all && (!overlaps(e, s->filter) || !(e->is_deny || (e->actions & GRANT_READ))))
        return false;
    if (!e->is_deny && e->max_qos > s->qos) s->qos = e->max_qos;
    if (!e->is_deny && e->max_qos < s->least_qos) s->least_qos = e->max_qos;
    if (!all && e->is_deny) s->is_excepted = true;
    if (!all && !e->is_deny && !s->partly.entry) s->partly = decided(g, e);
    if (!all) return false;
    *a = e->is_deny && s->partly.entry ? s->partly : decided(g, e);
    bool is_whole = !e->is_deny && !s->is_excepted && s->least_qos == s->qos;
    a->standing = is_whole ? STANDING_GRANTED : STANDING_PARTLY;
    a->qos = s->qos;
    return true;
}

struct grant_answer grants_subscribe(const struct grants *all, struct slice filter,
                                     uint64_t now_ms) {
    struct survey s = { .filter = filter, .least_qos = 2 };
    struct grant_answer a;
    for (const struct grant *g = all->first; g; g = g->next) {
        if (g->expires_ms <= now_ms) continue;
        for (const struct grant_entry *e = g->at; e < g->at + g->len; e++)
            if ((e->actions & GRANT_FILTERS) && survey_entry(&s, g, e, &a)) return a;
    }
    a = s.partly; /* what no entry decides of it is left to each delivery */
    a.standing = a.entry ? STANDING_PARTLY : s.is_excepted ? STANDING_EXCEPT : STANDING_FREE;
    a.qos = s.qos;
    return a;
}

char *grant_text(const struct grant_answer *a) {
    bool denies = a->verdict == VERDICT_DENY;
    bool is_partial = !denies && a->standing == STANDING_PARTLY;
    char *text;
    must(asprintf(&text, "grant %s (%s%.*s%s)", a->grant->name, denies ? "deny " : "",
                  SLICE_FMT(a->entry->pattern), is_partial ? ", in part" : "") >= 0);
    return text;
}
