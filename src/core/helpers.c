/* helpers.c -- a queue, a lock, a few threads. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/helpers.h"

#include "base/mem.h"
#include "core/worker.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { HELPERS_MAX = 16 };

struct helpers {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct job *head, **tail;  /* under lock */
    unsigned threads, started; /* started: under lock */
    _Atomic bool stopping;     /* written under lock */
    _Atomic unsigned busy;     /* jobs that are not home yet */
    pthread_t thread[HELPERS_MAX];
};

static struct job *take(struct helpers *h) {
    struct job *job = h->head;
    h->head = job->next;
    if (!h->head) h->tail = &h->head;
    return job;
}

static void *helper_run(void *obj) {
    struct helpers *h = obj;
    pthread_mutex_lock(&h->lock);
    for (;;) {
        while (!h->head && !h->stopping) pthread_cond_wait(&h->work, &h->lock);
        if (h->stopping) break;
        struct job *job = take(h);
        pthread_mutex_unlock(&h->lock);
        job->run(job);
        mailbox_post(job->home, &job->mail);
        pthread_mutex_lock(&h->lock);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

struct helpers *helpers_new(unsigned threads) {
    struct helpers *h = xcalloc(1, sizeof *h);
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->work, NULL);
    h->tail = &h->head;
    h->threads = threads == 0 ? 1 : threads > HELPERS_MAX ? HELPERS_MAX : threads;
    return h;
}

bool helpers_stopping(struct helpers *h) {
    return atomic_load_explicit(&h->stopping, memory_order_relaxed);
}

void helpers_free(struct helpers *h) {
    if (!h) return;
    pthread_mutex_lock(&h->lock);
    h->stopping = true;
    pthread_cond_broadcast(&h->work);
    pthread_mutex_unlock(&h->lock);
    for (unsigned i = 0; i < h->started; i++) pthread_join(h->thread[i], NULL);
    while (h->head) {
        struct job *job = take(h);
        mailbox_post(job->home, &job->mail);
    }
    pthread_cond_destroy(&h->work);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

void helpers_submit(struct helpers *h, struct job *job) {
    job->mail.type = MAIL_HELPED;
    job->next = NULL;
    atomic_fetch_add_explicit(&h->busy, 1, memory_order_relaxed);
    pthread_mutex_lock(&h->lock);
    *h->tail = job;
    h->tail = &job->next;
    if (h->started < h->threads &&
        thread_start(&h->thread[h->started], "sol-helper", helper_run, h) == 0)
        h->started++;
    /* Not one thread to be had: the work is done here, late rather than never. */
    job = h->started ? NULL : take(h);
    pthread_cond_signal(&h->work);
    pthread_mutex_unlock(&h->lock);
    if (!job) return;
    job->run(job);
    mailbox_post(job->home, &job->mail);
}

void helpers_done(struct helpers *h, struct job *job) {
    if (h) atomic_fetch_sub_explicit(&h->busy, 1, memory_order_relaxed);
    job->done(job);
}

unsigned helpers_busy(const struct helpers *h) {
    return atomic_load_explicit(&h->busy, memory_order_relaxed);
}
