/* show.h -- what others have written, for somebody's screen. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_ADMIN_SHOW_H
#define SOL_ADMIN_SHOW_H

#include "base/slice.h"

#include <stdio.h>

/* Writes `text`.  On a terminal the bytes of control characters (base/text.h), other than '\n'
 * and '\t', and bytes that are not UTF-8 stand there as Lua writes them, \ddd. */
void show(FILE *to, struct slice text);

#endif
