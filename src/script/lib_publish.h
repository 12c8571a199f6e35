/* lib_publish.h -- what scripts have published in a client's name and hooks still hold. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_LIB_PUBLISH_H
#define SOL_SCRIPT_LIB_PUBLISH_H

#include <stdbool.h>

struct script;

/* The script goes.  `at_once`: core has cancelled all publishes already; otherwise they go
 * on without anybody to tell. */
void publishing_retire(struct script *s, bool at_once);

#endif
