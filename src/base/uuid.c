/* uuid.c -- names for things, from libuuid. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/uuid.h"

#include <uuid/uuid.h>

void uuid_make(char out[UUID_TEXT]) {
    uuid_t id;
    uuid_generate_random(id);
    uuid_unparse_lower(id, out);
}
