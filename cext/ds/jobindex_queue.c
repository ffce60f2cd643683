#include <stdlib.h>

#include "jobindex_internal.h"

/* --- bands ------------------------------------------------------------------------------------------------------ */

/* The number of bands with a higher priority. */
static uint16_t rank_of(const job_queue *q, uint8_t priority)
{
    uint16_t i = 0;
    while (i < q->bands && q->band[i].priority > priority)
        i++;
    return i;
}

static job_band *band_of(const job_queue *q, uint8_t priority)
{
    uint16_t i = rank_of(q, priority);
    return i < q->bands && q->band[i].priority == priority ? &q->band[i] : NULL;
}

bool job_reserve_band(fc_jobindex *ix, job_queue *q, uint8_t priority)
{
    if (q->bands < q->room || band_of(q, priority) != NULL)
        return true;
    uint16_t room = q->room != 0 ? q->room * 2 : 2;
    job_band *band = realloc(q->band, room * sizeof *band);
    if (band == NULL)
        return false;
    ix->queue_bytes += (room - q->room) * sizeof *band;
    q->band = band;
    q->room = room;
    return true;
}

static void find_first_run_at(job_queue *q)
{
    q->first_run_at = FC_JOB_NEVER;
    for (uint16_t i = 0; i < q->bands; i++)
        if (q->band[i].run_at < q->first_run_at)
            q->first_run_at = q->band[i].run_at;
}

static bool before(const fc_jobindex *ix, uint32_t entry, uint32_t other)
{
    fc_skiplist_item a, b;
    fc_skiplist_entry(&ix->list, entry, &a);
    fc_skiplist_entry(&ix->list, other, &b);
    int order = memcmp(a.key.p, b.key.p, a.key.n < b.key.n ? a.key.n : b.key.n);
    return order != 0 ? order < 0 : a.key.n < b.key.n;
}

void job_enter(fc_jobindex *ix, job_queue *q, const fc_job *job)
{
    uint16_t i = rank_of(q, job->priority);
    job_band *b = &q->band[i];
    if (i == q->bands || b->priority != job->priority) {
        memmove(b + 1, b, (q->bands - i) * sizeof *b);
        *b = (job_band){.run_at = job->run_at, .first = job->entry, .priority = job->priority};
        q->bands++;
    } else if (job->run_at < b->run_at || (job->run_at == b->run_at && before(ix, job->entry, b->first))) {
        b->run_at = job->run_at;
        b->first = job->entry;
    }
    b->count++;
    q->count++;
    if (job->run_at < q->first_run_at)
        q->first_run_at = job->run_at;
}

void job_leave(fc_jobindex *ix, job_queue *q, uint8_t priority, uint32_t entry, fc_slice key)
{
    job_band *b = band_of(q, priority);
    q->count--;
    b->count--;
    if (b->count == 0) {
        q->bands--;
        memmove(b, b + 1, (size_t)(q->band + q->bands - b) * sizeof *b);
        find_first_run_at(q);
    } else if (b->first == entry) {
        fc_skiplist_cursor next;
        fc_job job;
        uint64_t gone = b->run_at;
        fc_skiplist_seek(&ix->list, key, FC_SKIPLIST_GT, &next);
        b->first = fc_skiplist_ref(&ix->list, &next.item);
        job_read_entry(ix, b->first, &job);
        b->run_at = job.run_at;
        if (gone == q->first_run_at && gone != b->run_at)
            find_first_run_at(q);
    }
}

/* --- queues ----------------------------------------------------------------------------------------------------- */

static bool same_name(const void *owner, uint32_t ref, const void *wanted)
{
    const fc_slice *name = wanted;
    const job_queue *q = ((const fc_jobindex *)owner)->queues[ref - 1];
    return q->name_len == name->n && memcmp(q->name, name->p, name->n) == 0;
}

int64_t fc_jobindex_find_queue(const fc_jobindex *ix, fc_slice name)
{
    const idtable_slot *slot = idtable_find(&ix->names, fc_hash(&ix->options.key, name.p, name.n), same_name, ix, &name);
    return slot != NULL ? (int64_t)slot->ref - 1 : FC_JOBINDEX_EABSENT;
}

static bool reserve_number(fc_jobindex *ix)
{
    if (ix->free_count > 0 || ix->numbers < ix->numbers_room)
        return true;
    uint32_t room = ix->numbers_room != 0 ? ix->numbers_room * 2 : 16;
    job_queue **queues = realloc(ix->queues, room * sizeof *queues);
    if (queues == NULL)
        return false;
    ix->queues = queues;
    uint32_t *free_numbers = realloc(ix->free_numbers, room * sizeof *free_numbers);
    if (free_numbers == NULL)
        return false;
    ix->free_numbers = free_numbers;
    ix->queue_bytes += (room - ix->numbers_room) * (sizeof *queues + sizeof *free_numbers);
    ix->numbers_room = room;
    return true;
}

int64_t fc_jobindex_queue(fc_jobindex *ix, fc_slice name)
{
    int64_t found = fc_jobindex_find_queue(ix, name);
    if (found >= 0)
        return found;
    if (name.n > FC_JOB_NAME_MAX)
        return FC_JOBINDEX_ERANGE;
    if (ix->queue_count >= ix->options.max_queues || (ix->free_count == 0 && ix->numbers > FC_JOB_QUEUES_MAX))
        return FC_JOBINDEX_EQUEUES;
    if (fc_jobindex_bytes(ix) + sizeof(job_queue) + name.n > ix->options.max_bytes)
        return FC_JOBINDEX_EBYTES;
    uint64_t hash = fc_hash(&ix->options.key, name.p, name.n);
    job_queue *q = calloc(1, sizeof *q + name.n);
    if (q == NULL || !reserve_number(ix) || !idtable_reserve(&ix->names, hash)) {
        free(q);
        return FC_JOBINDEX_ENOMEM;
    }
    q->number = ix->free_count > 0 ? ix->free_numbers[--ix->free_count] : ix->numbers++;
    q->first_run_at = FC_JOB_NEVER;
    q->weight = 1;
    q->name_len = (uint8_t)name.n;
    memcpy(q->name, name.p, name.n);
    ix->queues[q->number] = q;
    ix->queue_bytes += sizeof *q + name.n;
    ix->queue_count++;
    idtable_add(&ix->names, hash, q->number + 1);
    return q->number;
}

static void free_queue(fc_jobindex *ix, job_queue *q)
{
    ix->queue_bytes -= sizeof *q + q->name_len;
    ix->queues[q->number] = NULL;
    ix->free_numbers[ix->free_count++] = q->number;
    free(q);
}

void job_free_queues(fc_jobindex *ix)
{
    for (uint32_t i = 0; i < ix->numbers; i++)
        if (ix->queues[i] != NULL) {
            free(ix->queues[i]->band);
            free(ix->queues[i]);
        }
    free(ix->queues);
    free(ix->free_numbers);
    idtable_clear(&ix->names);
}

int64_t fc_jobindex_next_queue(const fc_jobindex *ix, uint32_t queue)
{
    for (uint32_t i = queue; i < ix->numbers; i++)
        if (job_queue_at(ix, i) != NULL)
            return i;
    return FC_JOBINDEX_EABSENT;
}

/* --- dropping --------------------------------------------------------------------------------------------------- */

uint64_t fc_jobindex_drop_queue(fc_jobindex *ix, uint32_t queue)
{
    job_queue *q = job_queue_at(ix, queue);
    if (q == NULL)
        return 0;
    fc_slice name = {q->name, q->name_len};
    uint64_t hash = fc_hash(&ix->options.key, name.p, name.n), jobs = q->count;
    idtable_remove(&ix->names, hash, idtable_find(&ix->names, hash, same_name, ix, &name));
    ix->queue_bytes -= q->room * sizeof *q->band;
    free(q->band);
    q->band = NULL;
    q->bands = q->room = 0;
    q->dropped = true;
    ix->queue_count--;
    ix->count -= jobs;
    ix->dropped += jobs;
    if (jobs == 0) {
        free_queue(ix, q);
        return 0;
    }
    q->next_dropped = ix->first_dropped;
    ix->first_dropped = q->number + 1;
    return jobs;
}

void job_forget_dropped(fc_jobindex *ix, const fc_job *job)
{
    job_forget(ix, job);
    ix->queues[job->queue]->count--;
    ix->dropped--;
}

uint64_t fc_jobindex_purge(fc_jobindex *ix, uint64_t n)
{
    while (ix->first_dropped != 0) {
        job_queue *q = ix->queues[ix->first_dropped - 1];
        job_key start = {.n = JOB_PREFIX};
        job_write_prefix(start.bytes, q->number, 255, 0);
        for (; n > 0 && q->count > 0; n--) {
            fc_skiplist_cursor c;
            fc_job job;
            fc_skiplist_seek(&ix->list, job_slice(&start), FC_SKIPLIST_GE, &c);
            job_read_entry(ix, fc_skiplist_ref(&ix->list, &c.item), &job);
            job_forget_dropped(ix, &job);
        }
        if (q->count > 0)
            break;
        ix->first_dropped = q->next_dropped;
        free_queue(ix, q);
    }
    return ix->dropped;
}

/* --- settings and figures --------------------------------------------------------------------------------------- */

fc_slice fc_jobindex_name(const fc_jobindex *ix, uint32_t queue)
{
    const job_queue *q = job_queue_at(ix, queue);
    return q != NULL ? (fc_slice){q->name, q->name_len} : (fc_slice){"", 0};
}

void fc_jobindex_pause(fc_jobindex *ix, uint32_t queue, bool paused)
{
    job_queue *q = job_queue_at(ix, queue);
    if (q != NULL)
        q->paused = paused;
}

bool fc_jobindex_paused(const fc_jobindex *ix, uint32_t queue)
{
    const job_queue *q = job_queue_at(ix, queue);
    return q != NULL && q->paused;
}

int fc_jobindex_set_weight(fc_jobindex *ix, uint32_t queue, uint32_t weight)
{
    job_queue *q = job_queue_at(ix, queue);
    if (q == NULL)
        return FC_JOBINDEX_EABSENT;
    if (weight < 1 || weight > FC_JOB_WEIGHT_MAX)
        return FC_JOBINDEX_ERANGE;
    q->weight = weight;
    return 0;
}

uint32_t fc_jobindex_weight(const fc_jobindex *ix, uint32_t queue)
{
    const job_queue *q = job_queue_at(ix, queue);
    return q != NULL ? q->weight : 0;
}

uint64_t fc_jobindex_depth(const fc_jobindex *ix, uint32_t queue)
{
    const job_queue *q = job_queue_at(ix, queue);
    return q != NULL ? q->count : 0;
}

static uint64_t rank(const fc_jobindex *ix, uint32_t queue, uint8_t priority, uint64_t run_at)
{
    job_key k = {.n = JOB_PREFIX};
    job_write_prefix(k.bytes, queue, priority, run_at);
    return fc_skiplist_rank(&ix->list, job_slice(&k));
}

uint64_t fc_jobindex_ready(const fc_jobindex *ix, uint32_t queue, uint64_t now)
{
    const job_queue *q = job_queue_at(ix, queue);
    uint64_t ready = 0;
    if (q == NULL || now >= FC_JOB_RUN_AT_MAX)
        return q != NULL ? q->count : 0;
    for (uint16_t i = 0; i < q->bands; i++) {
        uint8_t priority = q->band[i].priority;
        if (q->band[i].run_at <= now)
            ready += rank(ix, queue, priority, now + 1) - rank(ix, queue, priority, 0);
    }
    return ready;
}

uint64_t fc_jobindex_next_run_at(const fc_jobindex *ix, uint32_t queue)
{
    const job_queue *q = job_queue_at(ix, queue);
    return q != NULL && !q->paused ? q->first_run_at : FC_JOB_NEVER;
}
