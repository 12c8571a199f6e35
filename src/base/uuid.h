/* uuid.h -- names for things, from libuuid.  Any thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_BASE_UUID_H
#define SOL_BASE_UUID_H

#define UUID_TEXT 37 /* 36 characters and a NUL */

/* Writes a random (version 4) UUID in lower case to `out`. */
void uuid_make(char out[UUID_TEXT]);

#endif
