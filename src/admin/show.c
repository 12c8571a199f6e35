/* show.c -- a character at a time. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/show.h"

#include "base/text.h"

#include <unistd.h>

static bool may_stand(uint32_t code) {
    return code == '\n' || code == '\t' || !text_is_control(code);
}

void show(FILE *to, struct slice text) {
    if (!isatty(fileno(to))) {
        fwrite(text.at, 1, text.len, to);
        return;
    }
    for (size_t i = 0, n; i < text.len; i += n) {
        uint32_t code;
        size_t len = text_char(text.at + i, text.len - i, &code);
        n = len ? len : 1;
        if (len && may_stand(code))
            fwrite(text.at + i, 1, n, to);
        else
            for (size_t k = 0; k < n; k++) fprintf(to, "\\%03d", text.at[i + k]);
    }
}
