/* asked.h -- the operators' verbs `explain` and `trace` (core/door.h). */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_ASKED_H
#define SOL_SCRIPT_ASKED_H

/* Both take an inquiry (inquiry_write) as their body.
 *
 * explain answers with lines, and in the end with "allowed", "refused" or "impossible"; or
 * with "worker=N" alone, where the client's home is another worker than the one asked.
 * trace answers with the records of its worker's calls until it is cancelled; what the asker
 * does not read in time is left out, and the next part says how much that was. */
extern const struct door_verb asked_explain, asked_trace;

#endif
