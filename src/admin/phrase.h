/* phrase.h -- the language of the admin socket, both ways.
 *
 *     ID VERB [WORD ...] LENGTH '\n' BYTES
 *
 * ID is the asker's number for a question, VERB what is wanted, LENGTH that of BYTES, in
 * decimal.  An answer is any number of `ID out LENGTH`, then one `ID ok LENGTH` or
 * `ID fail LENGTH`.  `ID cancel 0` gives up the question ID.  docs/operations.md lists the
 * verbs.  Pure functions. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_ADMIN_PHRASE_H
#define SOL_ADMIN_PHRASE_H

#include "base/slice.h"

#define PHRASE_HEAD_MAX 512               /* bytes, '\n' included */
#define PHRASE_BODY_MAX ((size_t)1 << 20) /* bytes */

struct phrase {
    uint32_t id;
    struct slice verb;
    struct slice words; /* between verb and length, blanks between; empty without any */
    struct slice body;
};

enum { PHRASE_WHOLE = 0, PHRASE_PART = 1 };

/* Reads the phrase at the front of `in`, whose bytes it lends, and says how many it takes.
 * PHRASE_WHOLE; PHRASE_PART: more bytes are needed; or -EPROTO. */
int phrase_read(struct slice in, struct phrase *out, size_t *used);

/* Writes the head for `len` bytes of body into `head`; gives its length, or 0 when the
 * words are too long.  NULL words: none. */
size_t phrase_head(char head[PHRASE_HEAD_MAX], uint32_t id, const char *verb, const char *words,
                   size_t len);

/* The value of the word NAME=VALUE among `words`, or SLICE_NONE. */
struct slice phrase_word(struct slice words, struct slice name);

#endif
