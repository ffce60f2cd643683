/* jobindex_model.h - the job index as an array that is searched from end to end, and a driver that does the same to both.
 * For test_jobindex.c (random bytes) and fuzz_jobindex.c (chosen ones). */
#ifndef FC_JOBINDEX_MODEL_H
#define FC_JOBINDEX_MODEL_H

#include <stdio.h>
#include <string.h>

#include "fc/jobindex.h"

#define MODEL_IDS 64
#define MODEL_QUEUES 6
#define MODEL_STRIDE 720720u /* written again: the model does not share what it checks */

typedef struct model_job {
    bool here;
    int queue;
    uint8_t priority;
    uint64_t run_at, order;
} model_job;

typedef struct model_queue {
    bool here, paused;
    uint32_t weight, turns;
    uint64_t pass;
} model_queue;

typedef struct model {
    model_job jobs[MODEL_IDS];
    model_queue queues[MODEL_QUEUES];
    uint32_t oldest_every;
    uint64_t arrivals, max_jobs;
} model;

/* Numbers of all magnitudes (even), names of several lengths and tags (odd); the order of the numbers is not that of i. */
static inline fc_job_id model_id(int i, char buf[32])
{
    if (i % 2 == 0)
        return (fc_job_id){.number = i % 4 == 0 ? ((uint64_t)(MODEL_IDS - i) << 8 | (uint64_t)i | 1) << (i % 48) : (uint64_t)i};
    int n = snprintf(buf, 32, "%.*s%d", i % 23, "job-0123456789abcdefghijk", i / 3 * 3);
    return (fc_job_id){.p = buf, .n = (uint32_t)n, .tag = (uint8_t)(i % 3)};
}

static inline fc_slice model_name(int q)
{
    static const char *const NAMES[MODEL_QUEUES] = {"default", "mail", "", "critical", "m", "a queue with a long name"};
    return (fc_slice){NAMES[q], strlen(NAMES[q])};
}

static inline int model_which(const fc_job *job)
{
    char buf[32];
    for (int i = 0; i < MODEL_IDS; i++) {
        fc_job_id id = model_id(i, buf);
        if ((id.p == NULL) != (job->id.p == NULL))
            continue;
        if (id.p == NULL ? id.number == job->id.number
                         : id.tag == job->id.tag && id.n == job->id.n && memcmp(id.p, job->id.p, id.n) == 0)
            return i;
    }
    return -1;
}

static inline bool model_before(const model *m, int a, int b)
{
    const model_job *x = &m->jobs[a], *y = &m->jobs[b];
    if (x->priority != y->priority)
        return x->priority > y->priority;
    if (x->run_at != y->run_at)
        return x->run_at < y->run_at;
    if (a % 2 != b % 2)
        return a % 2 == 0;
    return x->order < y->order;
}

/* The first job of a queue behind `after` (-1: from the start), among those due at `now`. */
static inline int model_first(const model *m, int queue, int after, uint64_t now)
{
    int best = -1;
    for (int i = 0; i < MODEL_IDS; i++) {
        const model_job *j = &m->jobs[i];
        if (!j->here || j->queue != queue || j->run_at > now || (after >= 0 && !model_before(m, after, i)))
            continue;
        if (best < 0 || model_before(m, i, best))
            best = i;
    }
    return best;
}

static inline int model_oldest(const model *m, int queue, uint64_t now)
{
    int best = -1;
    for (int i = model_first(m, queue, -1, now); i >= 0; i = model_first(m, queue, i, now))
        if (best < 0 || m->jobs[i].run_at < m->jobs[best].run_at)
            best = i;
    return best;
}

/* What is claimed from these queues; it is taken away and the turn counted. */
static inline int model_claim(model *m, const int *queues, int n, bool strict, uint64_t now)
{
    int chosen = -1;
    uint64_t foremost = 0, lowest = 0;
    bool any = false;
    for (int i = 0; i < n; i++) {
        model_queue *q = &m->queues[queues[i]];
        if (!q->here || q->paused || model_first(m, queues[i], -1, now) < 0)
            continue;
        foremost = !any || q->pass > foremost ? q->pass : foremost;
        any = true;
    }
    for (int i = 0; i < n; i++) {
        model_queue *q = &m->queues[queues[i]];
        if (!q->here || q->paused || model_first(m, queues[i], -1, now) < 0)
            continue;
        uint64_t pass = q->pass + MODEL_STRIDE < foremost ? foremost - MODEL_STRIDE : q->pass;
        if (chosen < 0 || (!strict && pass < lowest)) {
            lowest = pass;
            chosen = queues[i];
        }
    }
    if (chosen < 0)
        return -1;
    model_queue *q = &m->queues[chosen];
    int job;
    if (m->oldest_every > 0 && ++q->turns == m->oldest_every) {
        q->turns = 0;
        job = model_oldest(m, chosen, now);
    } else {
        job = model_first(m, chosen, -1, now);
    }
    if (!strict)
        q->pass = lowest + MODEL_STRIDE / q->weight;
    m->jobs[job].here = false;
    return job;
}

static inline uint64_t model_count(const model *m, int queue, uint64_t now)
{
    uint64_t n = 0;
    for (int i = 0; i < MODEL_IDS; i++)
        n += m->jobs[i].here && (queue < 0 || m->jobs[i].queue == queue) && m->jobs[i].run_at <= now;
    return n;
}

/* --- both ------------------------------------------------------------------------------------------------------- */

#define AGREE(cond)                \
    do {                           \
        if (!(cond)) {             \
            return "not: " #cond;  \
        }                          \
    } while (0)

static inline uint64_t model_time(uint8_t a, uint8_t b)
{
    return (a & 3) == 0 ? 0 : ((uint64_t)(a & 15) << (b % 44)) + b;
}

/* One step of six bytes: what, id, queue, priority, two of a time. NULL, or in what they differ. */
static inline const char *model_step(model *m, fc_jobindex *ix, const uint8_t s[6])
{
    char buf[32];
    int i = s[1] % MODEL_IDS, queue = s[2] % MODEL_QUEUES;
    model_job *j = &m->jobs[i];
    model_queue *q = &m->queues[queue];
    uint8_t priority = s[3] % 5 * 60;
    uint64_t time = model_time(s[4], s[5]);
    fc_job_id id = model_id(i, buf);
    fc_job job;
    bool found = fc_jobindex_get(ix, id, &job);
    int64_t number = fc_jobindex_find_queue(ix, model_name(queue));
    AGREE(found == j->here);
    AGREE((number >= 0) == q->here);
    AGREE(!found || (job.priority == j->priority && job.run_at == j->run_at && model_which(&job) == i));
    switch (s[0] % 12) {
    case 0:
    case 1:
    case 2: {
        number = fc_jobindex_queue(ix, model_name(queue));
        AGREE(number >= 0);
        if (!q->here)
            *q = (model_queue){.here = true, .weight = 1};
        int answer = fc_jobindex_add(ix, id, (uint32_t)number, priority, time);
        if (j->here) {
            AGREE(answer == FC_JOBINDEX_EEXIST);
        } else if (model_count(m, -1, UINT64_MAX) >= m->max_jobs) {
            AGREE(answer == FC_JOBINDEX_EJOBS);
        } else {
            AGREE(answer == 0);
            *j = (model_job){true, queue, priority, time, i % 2 ? m->arrivals++ : id.number};
        }
        break;
    }
    case 3:
        if (found)
            fc_jobindex_remove(ix, &job);
        j->here = false;
        break;
    case 4:
        if (found && number >= 0) {
            AGREE(fc_jobindex_move(ix, &job, (uint32_t)number, priority, time) == 0);
            j->queue = queue;
            j->priority = priority;
            j->run_at = time;
        }
        break;
    case 5:
        if (number >= 0 && s[3] % 4 == 0) {
            uint64_t jobs = model_count(m, queue, UINT64_MAX);
            AGREE(fc_jobindex_drop_queue(ix, (uint32_t)number) == jobs);
            q->here = false;
            for (int k = 0; k < MODEL_IDS; k++)
                m->jobs[k].here = m->jobs[k].here && m->jobs[k].queue != queue;
        } else if (s[3] % 4 == 1) {
            fc_jobindex_purge(ix, s[4]);
        }
        break;
    case 6:
        if (number >= 0) {
            q->paused = s[3] % 3 == 0;
            q->weight = 1 + s[4] % 7;
            fc_jobindex_pause(ix, (uint32_t)number, q->paused);
            AGREE(fc_jobindex_set_weight(ix, (uint32_t)number, q->weight) == 0);
        }
        break;
    case 7: {
        int at = -1;
        bool more = number >= 0 && fc_jobindex_first(ix, (uint32_t)number, &job);
        while ((at = model_first(m, queue, at, UINT64_MAX)) >= 0) {
            char key[FC_JOB_KEY_MAX];
            AGREE(more && model_which(&job) == at);
            fc_slice place = {key, fc_jobindex_place(ix, &job, key)};
            more = fc_jobindex_after(ix, (uint32_t)number, place, &job);
        }
        AGREE(!more);
        break;
    }
    default: {
        int queues[4], n = 1 + s[1] % 4;
        uint32_t numbers[4];
        bool strict = s[1] & 32;
        for (int k = 0; k < n; k++) {
            queues[k] = (s[2] >> k) % MODEL_QUEUES;
            int64_t known = fc_jobindex_find_queue(ix, model_name(queues[k]));
            numbers[k] = known >= 0 ? (uint32_t)known : UINT32_MAX;
        }
        for (int left = s[3] % 8; left >= 0; left--) {
            bool any = fc_jobindex_next(ix, numbers, (size_t)n, strict ? FC_JOB_STRICT : FC_JOB_FAIR, time, &job);
            int theirs = model_claim(m, queues, n, strict, time);
            AGREE(any == (theirs >= 0));
            if (!any)
                break;
            AGREE(model_which(&job) == theirs && job.run_at <= time);
            fc_jobindex_take(ix, &job);
        }
    }
    }
    number = fc_jobindex_find_queue(ix, model_name(queue));
    if (number >= 0) {
        uint64_t next = FC_JOB_NEVER;
        for (int k = 0; k < MODEL_IDS; k++)
            if (m->jobs[k].here && m->jobs[k].queue == queue && !q->paused && m->jobs[k].run_at < next)
                next = m->jobs[k].run_at;
        AGREE(fc_jobindex_next_run_at(ix, (uint32_t)number) == next);
        AGREE(fc_jobindex_depth(ix, (uint32_t)number) == model_count(m, queue, UINT64_MAX));
        AGREE(fc_jobindex_ready(ix, (uint32_t)number, time) == model_count(m, queue, time));
    }
    AGREE(fc_jobindex_count(ix) == model_count(m, -1, UINT64_MAX));
    return NULL;
}

#endif
