#include "fc/pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* Jobs come from event loops, a few at a time, and each is a read from a disk or longer: one lock for everything costs
 * less than it takes to notice. */
struct fc_pool {
    pthread_mutex_t lock;
    pthread_cond_t work;     /* there are jobs, or it is closing */
    pthread_cond_t finished; /* a job without a station is done */
    fc_pool_job *first, *last;
    unsigned queued, idle, threads_n, threads_max;
    bool closing;
    pthread_t threads[];
};

fc_pool *fc_pool_new(unsigned threads_max)
{
    if (threads_max == 0)
        return NULL;
    fc_pool *p = calloc(1, sizeof *p + threads_max * sizeof p->threads[0]);
    if (p == NULL)
        return NULL;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->finished, NULL);
    p->threads_max = threads_max;
    return p;
}

/* Under the lock: who takes the job may give up its station next, and fc_pool_leave waits for the lock. */
static void hand_back(fc_pool *p, fc_pool_job *job)
{
    fc_pool_station *s = job->station;
    if (s == NULL) {
        job->done = 1;
        pthread_cond_broadcast(&p->finished);
        return;
    }
    fc_pool_job *before = __atomic_load_n(&s->done, __ATOMIC_RELAXED);
    do {
        job->done = 1;
        job->next = before;
    } while (!__atomic_compare_exchange_n(&s->done, &before, job, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
    if (before == NULL) {
        ssize_t n;
        do
            n = write(s->event_fd, &(uint64_t){1}, sizeof(uint64_t));
        while (n < 0 && errno == EINTR);
    }
}

static void *work(void *arg)
{
    fc_pool *p = arg;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (p->first == NULL && !p->closing) {
            p->idle++;
            pthread_cond_wait(&p->work, &p->lock);
            p->idle--;
        }
        fc_pool_job *job = p->first;
        if (job == NULL)
            break;
        p->first = job->next;
        p->queued--;
        pthread_mutex_unlock(&p->lock);
        job->run(job);
        pthread_mutex_lock(&p->lock);
        hand_back(p, job);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* One thread more. The loop's signals are not for it. */
static void grow(fc_pool *p)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    if (pthread_create(&p->threads[p->threads_n], NULL, work, p) == 0)
        p->threads_n++;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

int fc_pool_submit(fc_pool *p, fc_pool_job *job)
{
    job->next = NULL;
    job->done = 0;
    pthread_mutex_lock(&p->lock);
    if (p->queued >= p->idle && p->threads_n < p->threads_max)
        grow(p);
    if (p->threads_n == 0) {
        pthread_mutex_unlock(&p->lock);
        return -EAGAIN;
    }
    if (p->first == NULL)
        p->first = job;
    else
        p->last->next = job;
    p->last = job;
    p->queued++;
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
    return 0;
}

fc_pool_job *fc_pool_take(fc_pool_station *s)
{
    fc_pool_job *job = __atomic_exchange_n(&s->done, NULL, __ATOMIC_ACQUIRE), *oldest = NULL;
    while (job) {
        fc_pool_job *next = job->next;
        job->next = oldest;
        oldest = job;
        job = next;
    }
    return oldest;
}

void fc_pool_wait(fc_pool *p, fc_pool_job *job)
{
    pthread_mutex_lock(&p->lock);
    while (!job->done)
        pthread_cond_wait(&p->finished, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

void fc_pool_leave(fc_pool *p)
{
    pthread_mutex_lock(&p->lock);
    pthread_mutex_unlock(&p->lock);
}

void fc_pool_close(fc_pool *p)
{
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->lock);
    p->closing = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->threads_n; i++)
        pthread_join(p->threads[i], NULL);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->finished);
    free(p);
}
