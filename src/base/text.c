/* text.c -- the characters that are not shown. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/text.h"

#include "base/mem.h"

bool text_is_control(uint32_t code) {
    static const struct {
        uint32_t first, last;
    } rows[] = {
        { 0x0000, 0x001F }, /* C0 */
        { 0x007F, 0x009F }, /* DEL, C1 */
        { 0x00AD, 0x00AD }, /* soft hyphen */
        { 0x061C, 0x061C }, /* Arabic letter mark */
        { 0x200B, 0x200F }, /* no width; marks of direction */
        { 0x2028, 0x202E }, /* ends of lines and paragraphs; embedding and override */
        { 0x2060, 0x206F }, /* joiners, invisible operators; isolates */
        { 0xFEFF, 0xFEFF }, /* byte order mark */
        { 0xFFF9, 0xFFFB }, /* annotations */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows) && code >= rows[i].first; i++)
        if (code <= rows[i].last) return true;
    return false;
}
