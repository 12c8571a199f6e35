/* edit.c -- libedit, and the words that completion offers.
 *
 * SIGINT is kept out while libedit works and let in where it waits, so that none comes
 * between two characters unheard, or takes the end of what is being written with it. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/edit.h"

#include "admin/show.h"
#include "base/mem.h"

#include <errno.h>
#include <histedit.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

enum { HISTORY_LINES = 1000, LISTED_WIDTH = 78 };

struct editor {
    EditLine *line;
    History *history;
    const char *prompt; /* lent */
    char *path;         /* owned; or NULL */
    editor_complete_fn *complete;
    void *obj;                        /* borrowed */
    volatile sig_atomic_t *interrupt; /* borrowed */
    sigset_t open;                    /* what is blocked where SIGINT is let in */
};

static struct editor *editor_of(EditLine *line) {
    void *e = NULL;
    el_get(line, EL_CLIENTDATA, &e);
    return e;
}

static char *prompt_of(EditLine *line) {
    return (char *)(uintptr_t)editor_of(line)->prompt;
}

/* ---- characters ------------------------------------------------------------ */

static void keep_out(struct editor *e) {
    sigset_t sigint;
    sigemptyset(&sigint);
    sigaddset(&sigint, SIGINT);
    sigprocmask(SIG_BLOCK, &sigint, &e->open);
}

static void let_in(struct editor *e) {
    sigprocmask(SIG_SETMASK, &e->open, NULL);
}

/* 1, 0 at the end, or -1 and errno: EINTR when a signal came, now or before. */
static int read_byte(struct editor *e, char *byte) {
    struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
    if (!*e->interrupt && ppoll(&in, 1, NULL, &e->open) < 0) return -1;
    let_in(e); /* a terminal that is interrupted forgets its input, and read() waits after all */
    ssize_t n = *e->interrupt ? -1 : read(STDIN_FILENO, byte, 1);
    int error = *e->interrupt ? EINTR : errno;
    keep_out(e);
    errno = error;
    return (int)n;
}

/* For libedit: the next character, bytes that are none passed over. */
static int read_char(EditLine *line, wchar_t *out) {
    mbstate_t state = { 0 };
    char byte;
    int r;
    while ((r = read_byte(editor_of(line), &byte)) == 1) {
        size_t len = mbrtowc(out, &byte, 1, &state);
        if (len <= 1) return 1;
        if (len == (size_t)-1) memset(&state, 0, sizeof state);
    }
    return r;
}

/* ---- completion ---------------------------------------------------------- */

/* Takes the next line of `text`; false at its end. */
static bool next_word(struct slice *text, struct slice *word) {
    if (!text->len) return false;
    const uint8_t *end = memchr(text->at, '\n', text->len);
    *word = slice_of(text->at, end ? (size_t)(end - text->at) : text->len);
    size_t used = word->len + (end != NULL);
    *text = slice_of(text->at + used, text->len - used);
    return true;
}

/* What all words begin with; *n counts them. */
static struct slice common_prefix(struct slice words, unsigned *n) {
    struct slice word, common = SLICE_NONE;
    *n = 0;
    while (next_word(&words, &word)) {
        if ((*n)++ == 0) common = word;
        size_t len = 0;
        while (len < common.len && len < word.len && common.at[len] == word.at[len]) len++;
        common.len = len;
    }
    return common;
}

static void list_words(struct slice words) {
    struct slice word;
    int column = 0;
    putchar('\n');
    while (next_word(&words, &word)) {
        if (column && column + (int)word.len + 2 > LISTED_WIDTH) {
            putchar('\n');
            column = 0;
        }
        if (column) column += printf("  ");
        show(stdout, word);
        column += (int)word.len;
    }
    putchar('\n');
    fflush(stdout);
}

static void insert(EditLine *line, struct slice text) {
    char *copy = xslicedup(text);
    el_insertstr(line, copy);
    free(copy);
}

static unsigned char on_tab(EditLine *line, int key) {
    struct editor *e = editor_of(line);
    const LineInfo *info = el_line(line);
    struct buf answer = BUF_INIT;
    struct slice word = SLICE_NONE;
    unsigned n, result = CC_ERROR;
    (void)key;
    let_in(e);
    e->complete(e->obj, slice_of(info->buffer, (size_t)(info->cursor - info->buffer)), &answer);
    keep_out(e);
    buf_add(&answer, "", 1); /* behind the number there may be nothing */
    struct slice words = slice_of(answer.at, answer.len - 1);
    if (words.len && next_word(&words, &word)) {
        size_t have = (size_t)strtoul((const char *)word.at, NULL, 10);
        struct slice common = common_prefix(words, &n);
        if (common.len > have) {
            insert(line, slice_of(common.at + have, common.len - have));
            result = CC_REFRESH;
        } else if (n > 1) {
            list_words(words);
            result = CC_REDISPLAY;
        }
    }
    buf_deinit(&answer);
    return (unsigned char)result;
}

/* ---- life ---------------------------------------------------------------- */

struct editor *editor_new(const char *history_path, volatile sig_atomic_t *interrupt,
                          editor_complete_fn *complete, void *obj) {
    struct editor *e = xcalloc(1, sizeof *e);
    HistEvent event;
    e->interrupt = interrupt;
    e->complete = complete;
    e->obj = obj;
    e->prompt = "";
    e->path = history_path ? xstrdup(history_path) : NULL;
    e->line = el_init("sol", stdin, stdout, stderr);
    e->history = history_init();
    must(e->line && e->history);
    history(e->history, &event, H_SETSIZE, HISTORY_LINES);
    history(e->history, &event, H_SETUNIQUE, 1);
    if (e->path) history(e->history, &event, H_LOAD, e->path);
    el_set(e->line, EL_CLIENTDATA, e);
    el_set(e->line, EL_GETCFN, read_char);
    el_set(e->line, EL_PROMPT, prompt_of);
    el_set(e->line, EL_EDITOR, "emacs");
    el_set(e->line, EL_HIST, history, e->history);
    /* Wide: of narrow strings el_set makes copies that nobody frees. */
    el_wset(e->line, EL_ADDFN, L"sol-complete", L"complete a name", on_tab);
    el_set(e->line, EL_BIND, "^I", "sol-complete", NULL);
    el_set(e->line, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_source(e->line, NULL);
    return e;
}

void editor_free(struct editor *e) {
    HistEvent event;
    if (e->path) {
        mode_t was = umask(077); /* what an operator types is nobody else's */
        history(e->history, &event, H_SAVE, e->path);
        umask(was);
    }
    history_end(e->history);
    el_end(e->line);
    free(e->path);
    free(e);
}

int editor_read(struct editor *e, const char *prompt, struct slice *line) {
    int n = 0;
    e->prompt = prompt;
    errno = 0;
    keep_out(e);
    const char *text = el_gets(e->line, &n);
    int error = errno;
    let_in(e);
    if (text && n > 0) {
        *line = slice_of(text, (size_t)n);
        return EDITOR_LINE;
    }
    if (n >= 0 || error != EINTR) return EDITOR_END;
    *e->interrupt = 0;
    el_reset(e->line);
    return EDITOR_INTERRUPTED;
}

void editor_remember(struct editor *e, const char *text) {
    HistEvent event;
    history(e->history, &event, H_ENTER, text);
}
