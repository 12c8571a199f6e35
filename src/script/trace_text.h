/* trace_text.h -- the record of a hook call for people, and for programs.
 *
 * Pure functions; whatever a client or script put into a record leaves here as printable
 * text.  docs/explain.md describes both forms. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_TRACE_TEXT_H
#define SOL_SCRIPT_TRACE_TEXT_H

#include "base/buf.h"

struct trace;

/* Appends a few lines. */
void trace_put_text(struct buf *out, const struct trace *t);
/* Appends one JSON object on a line of its own. */
void trace_put_json(struct buf *out, const struct trace *t);

/* Who decided: the name of a handler, a grant, a setting; NULL: nobody did.  Lent. */
const char *trace_decider(const struct trace *t);

/* A JSON string; null for NULL. */
void trace_put_json_string(struct buf *out, const char *text);

#endif
