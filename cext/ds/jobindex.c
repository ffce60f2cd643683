#include "fc/jobindex.h"

#include <stdlib.h>

#include "jobindex_internal.h"

/* What one insertion takes at most beside its entry: a block on each of a few levels. */
#define BLOCKS_RESERVE 1024u

/* --- entries ---------------------------------------------------------------------------------------------------- */

void job_read_entry(const fc_jobindex *ix, uint32_t entry, fc_job *job)
{
    fc_skiplist_item item;
    fc_skiplist_entry(&ix->list, entry, &item);
    const char *k = item.key.p;
    uint64_t head = fc_load_be64(k);
    *job = (fc_job){.queue = (uint32_t)(head >> 40),
                    .priority = (uint8_t)(255 - (uint8_t)(head >> 32)),
                    .run_at = (head & UINT32_MAX) << 16 | (uint64_t)(uint8_t)k[8] << 8 | (uint8_t)k[9],
                    .entry = entry};
    if (item.value.n > 0) {
        job->id = (fc_job_id){.p = item.value.p + 1, .n = (uint32_t)item.value.n - 1, .tag = (uint8_t)item.value.p[0]};
        return;
    }
    for (size_t i = JOB_PREFIX + 1; i < item.key.n; i++)
        job->id.number = job->id.number << 8 | (uint8_t)k[i];
}

static fc_slice key_of(const fc_jobindex *ix, uint32_t entry)
{
    fc_skiplist_item item;
    fc_skiplist_entry(&ix->list, entry, &item);
    return item.key;
}

static job_key copy_key(fc_slice key)
{
    job_key k = {.n = (uint32_t)key.n};
    memcpy(k.bytes, key.p, key.n);
    return k;
}

/* --- ids -------------------------------------------------------------------------------------------------------- */

uint64_t job_hash(const fc_jobindex *ix, fc_job_id id)
{
    if (id.p == NULL)
        return fc_hash(&ix->options.key, &id.number, sizeof id.number);
    return fc_hash_mix(fc_hash(&ix->options.key, id.p, id.n) + id.tag);
}

static bool same_id(const void *owner, uint32_t entry, const void *wanted)
{
    const fc_job_id *id = wanted;
    fc_job job;
    job_read_entry(owner, entry, &job);
    if (id->p == NULL || job.id.p == NULL)
        return id->p == NULL && job.id.p == NULL && id->number == job.id.number;
    return id->n == job.id.n && id->tag == job.id.tag && memcmp(id->p, job.id.p, id->n) == 0;
}

static idtable_slot *slot_of(const fc_jobindex *ix, fc_job_id id, uint64_t hash)
{
    return idtable_find(&ix->ids, hash, same_id, ix, &id);
}

bool fc_jobindex_get(const fc_jobindex *ix, fc_job_id id, fc_job *job)
{
    const idtable_slot *slot = slot_of(ix, id, job_hash(ix, id));
    if (slot == NULL)
        return false;
    job_read_entry(ix, slot->ref, job);
    return job_queue_at(ix, job->queue) != NULL;
}

/* --- coming and going ------------------------------------------------------------------------------------------- */

void job_forget(fc_jobindex *ix, const fc_job *job)
{
    uint64_t hash = job_hash(ix, job->id);
    idtable_prefetch(&ix->ids, hash);
    job_key key = copy_key(key_of(ix, job->entry));
    fc_skiplist_remove(&ix->list, job_slice(&key), NULL);
    idtable_remove(&ix->ids, hash, idtable_find_ref(&ix->ids, hash, job->entry));
}

void fc_jobindex_remove(fc_jobindex *ix, const fc_job *job)
{
    job_key key = copy_key(key_of(ix, job->entry));
    job_forget(ix, job);
    job_leave(ix, ix->queues[job->queue], job->priority, job->entry, job_slice(&key));
    ix->count--;
    fc_jobindex_purge(ix, PURGE_STEP);
}

/* Is there room for so much? Memory of dropped jobs is taken back first. */
static bool has_room(fc_jobindex *ix, uint64_t bytes)
{
    while (fc_jobindex_bytes(ix) + bytes > ix->options.max_bytes) {
        if (ix->dropped == 0)
            return false;
        fc_jobindex_purge(ix, 256);
    }
    return true;
}

static int error_of(int skiplist_error)
{
    return skiplist_error == FC_SKIPLIST_ENOMEM ? FC_JOBINDEX_ENOMEM : FC_JOBINDEX_EBYTES;
}

int fc_jobindex_add(fc_jobindex *ix, fc_job_id id, uint32_t queue, uint32_t priority, uint64_t run_at)
{
    job_queue *q = job_queue_at(ix, queue);
    if (id.n > FC_JOB_NAME_MAX || priority > FC_JOB_PRIORITY_MAX || run_at > FC_JOB_RUN_AT_MAX)
        return FC_JOBINDEX_ERANGE;
    if (q == NULL)
        return FC_JOBINDEX_EABSENT;
    uint64_t hash = job_hash(ix, id);
    idtable_prefetch(&ix->ids, hash);
    fc_jobindex_purge(ix, PURGE_STEP);
    idtable_slot *slot = slot_of(ix, id, hash);
    fc_job job = {.queue = queue, .priority = (uint8_t)priority, .run_at = run_at};
    if (slot != NULL) {
        fc_job other;
        job_read_entry(ix, slot->ref, &other);
        if (job_queue_at(ix, other.queue) != NULL)
            return FC_JOBINDEX_EEXIST;
        job_forget_dropped(ix, &other);
    }
    if (ix->count >= ix->options.max_jobs)
        return FC_JOBINDEX_EJOBS;
    if (!has_room(ix, BLOCKS_RESERVE + id.n + idtable_growth(&ix->ids, hash) * sizeof(idtable_slot)))
        return FC_JOBINDEX_EBYTES;
    if (!idtable_reserve(&ix->ids, hash) || !job_reserve_band(ix, q, job.priority))
        return FC_JOBINDEX_ENOMEM;

    char value[1 + FC_JOB_NAME_MAX];
    fc_slice bytes = {value, id.p != NULL ? 1 + id.n : 0};
    if (id.p != NULL) {
        value[0] = (char)id.tag;
        memcpy(value + 1, id.p, id.n);
    }
    job_key key = id.p != NULL ? job_write_key(queue, job.priority, run_at, JOB_NAMED, ix->arrivals)
                               : job_write_key(queue, job.priority, run_at, 0, id.number);
    fc_skiplist_item item;
    int error = fc_skiplist_insert(&ix->list, job_slice(&key), bytes, &item);
    if (error < 0)
        return error_of(error);
    job.entry = fc_skiplist_ref(&ix->list, &item);
    idtable_add(&ix->ids, hash, job.entry);
    job_enter(ix, q, &job);
    ix->arrivals += id.p != NULL;
    ix->count++;
    return 0;
}

int fc_jobindex_move(fc_jobindex *ix, const fc_job *job, uint32_t queue, uint32_t priority, uint64_t run_at)
{
    job_queue *to = job_queue_at(ix, queue);
    if (priority > FC_JOB_PRIORITY_MAX || run_at > FC_JOB_RUN_AT_MAX)
        return FC_JOBINDEX_ERANGE;
    if (to == NULL)
        return FC_JOBINDEX_EABSENT;
    if (queue == job->queue && priority == job->priority && run_at == job->run_at)
        return 0;
    fc_skiplist_item old, moved;
    fc_skiplist_entry(&ix->list, job->entry, &old);
    char value[1 + FC_JOB_NAME_MAX]; /* the list's memory may move when it grows */
    memcpy(value, old.value.p, old.value.n);
    job_key from = copy_key(old.key), key = from;
    fc_job there = {.queue = queue, .priority = (uint8_t)priority, .run_at = run_at};
    job_write_prefix(key.bytes, queue, there.priority, run_at);
    if (!has_room(ix, BLOCKS_RESERVE + old.value.n))
        return FC_JOBINDEX_EBYTES;
    if (!job_reserve_band(ix, to, there.priority))
        return FC_JOBINDEX_ENOMEM;
    uint64_t hash = job_hash(ix, job->id);
    idtable_slot *slot = idtable_find_ref(&ix->ids, hash, job->entry);
    int error = fc_skiplist_insert(&ix->list, job_slice(&key), (fc_slice){value, old.value.n}, &moved);
    if (error < 0)
        return error_of(error);
    slot->ref = there.entry = fc_skiplist_ref(&ix->list, &moved);
    fc_skiplist_remove(&ix->list, job_slice(&from), NULL);
    job_leave(ix, ix->queues[job->queue], job->priority, job->entry, job_slice(&from));
    job_enter(ix, to, &there);
    return 0;
}

/* --- in order --------------------------------------------------------------------------------------------------- */

uint32_t fc_jobindex_place(const fc_jobindex *ix, const fc_job *job, char key[FC_JOB_KEY_MAX])
{
    fc_slice k = key_of(ix, job->entry);
    memcpy(key, k.p, k.n);
    return (uint32_t)k.n;
}

static bool seek_in_queue(const fc_jobindex *ix, uint32_t queue, fc_slice key, fc_skiplist_op op, fc_job *job)
{
    fc_skiplist_cursor c;
    if (job_queue_at(ix, queue) == NULL || !fc_skiplist_seek(&ix->list, key, op, &c))
        return false;
    job_read_entry(ix, c.entry, job);
    return job->queue == queue;
}

bool fc_jobindex_first(const fc_jobindex *ix, uint32_t queue, fc_job *job)
{
    job_key start = {.n = JOB_PREFIX};
    job_write_prefix(start.bytes, queue, 255, 0);
    return seek_in_queue(ix, queue, job_slice(&start), FC_SKIPLIST_GE, job);
}

bool fc_jobindex_after(const fc_jobindex *ix, uint32_t queue, fc_slice key, fc_job *job)
{
    if (key.n <= JOB_PREFIX || key.n > FC_JOB_KEY_MAX || fc_load_be64(key.p) >> 40 != queue)
        return false;
    return seek_in_queue(ix, queue, key, FC_SKIPLIST_GT, job);
}

/* --- the whole -------------------------------------------------------------------------------------------------- */

/* What an index begins with; it doubles as needed. */
#define FIRST_BYTES 65536u

static uint64_t list_max(const fc_jobindex_options *o)
{
    return o->max_bytes < FC_SKIPLIST_MAX_BYTES ? o->max_bytes & ~(uint64_t)4095 : FC_SKIPLIST_MAX_BYTES;
}

fc_jobindex *fc_jobindex_new(const fc_jobindex_options *options)
{
    const fc_jobindex_options *o = options;
    if (o->max_jobs > UINT32_MAX || o->max_queues > FC_JOB_QUEUES_MAX || o->max_bytes > FC_SKIPLIST_MAX_BYTES ||
        o->max_bytes < FC_JOBINDEX_BYTES_MIN)
        return NULL;
    fc_jobindex *ix = calloc(1, sizeof *ix);
    if (ix == NULL)
        return NULL;
    ix->options = *o;
    if (fc_skiplist_open(&ix->list, FIRST_BYTES, list_max(o)) == 0)
        return ix;
    free(ix);
    return NULL;
}

void fc_jobindex_free(fc_jobindex *ix)
{
    if (ix == NULL)
        return;
    job_free_queues(ix);
    idtable_clear(&ix->ids);
    fc_skiplist_close(&ix->list);
    free(ix);
}

int fc_jobindex_clear(fc_jobindex *ix)
{
    fc_skiplist fresh;
    if (fc_skiplist_open(&fresh, FIRST_BYTES, list_max(&ix->options)) != 0)
        return FC_JOBINDEX_ENOMEM;
    job_free_queues(ix);
    idtable_clear(&ix->ids);
    fc_skiplist_close(&ix->list);
    fc_jobindex empty = {.options = ix->options, .list = fresh, .arrivals = ix->arrivals};
    *ix = empty;
    return 0;
}

uint64_t fc_jobindex_count(const fc_jobindex *ix) { return ix->count; }
uint32_t fc_jobindex_queues(const fc_jobindex *ix) { return ix->queue_count; }
uint64_t fc_jobindex_dropped(const fc_jobindex *ix) { return ix->dropped; }

uint64_t fc_jobindex_bytes(const fc_jobindex *ix)
{
    return sizeof *ix + fc_skiplist_bytes_used(&ix->list) + ix->queue_bytes +
           (ix->ids.slots + ix->names.slots) * sizeof(idtable_slot);
}

const char *fc_jobindex_strerror(int64_t error)
{
    switch (error) {
    case FC_JOBINDEX_EEXIST:
        return "the id is in the index already";
    case FC_JOBINDEX_EABSENT:
        return "no such job or queue";
    case FC_JOBINDEX_ERANGE:
        return "an id, name, priority, time or weight is out of its bounds";
    case FC_JOBINDEX_EJOBS:
        return "there are as many jobs as there may be";
    case FC_JOBINDEX_EQUEUES:
        return "there are as many queues as there may be";
    case FC_JOBINDEX_EBYTES:
        return "the index takes as much memory as it may";
    case FC_JOBINDEX_ENOMEM:
        return "the system gave no memory";
    default:
        return "no error";
    }
}

/* --- for tests -------------------------------------------------------------------------------------------------- */

/* One queue's bands, walked from its first job on. */
static const char *check_queue(const fc_jobindex *ix, const job_queue *q, uint64_t *walked)
{
    uint64_t jobs = 0, first = FC_JOB_NEVER;
    fc_job job;
    bool more = fc_jobindex_first(ix, q->number, &job);
    for (uint16_t i = 0; i < q->bands; i++) {
        const job_band *b = &q->band[i];
        if (i > 0 && q->band[i - 1].priority <= b->priority)
            return "bands out of order";
        if (!more || job.entry != b->first || job.run_at != b->run_at || job.priority != b->priority)
            return "a band begins with another job";
        first = b->run_at < first ? b->run_at : first;
        for (uint32_t k = 0; k < b->count; k++) {
            fc_job same;
            if (!more || job.priority != b->priority)
                return "a band has fewer jobs than it says";
            if (!fc_jobindex_get(ix, job.id, &same) || same.entry != job.entry)
                return "an id does not lead to its job";
            fc_slice key = key_of(ix, job.entry);
            more = fc_jobindex_after(ix, q->number, key, &job);
        }
        jobs += b->count;
    }
    if (more)
        return "a job outside of the bands";
    if (jobs != q->count || first != q->first_run_at)
        return "a queue's figures are wrong";
    *walked += jobs;
    return NULL;
}

const char *fc_jobindex_check(const fc_jobindex *ix)
{
    const char *wrong = fc_skiplist_check(&ix->list);
    uint64_t jobs = 0, ids = 0, dropped = 0;
    uint32_t queues = 0;
    for (uint32_t i = 0; i < ix->numbers && wrong == NULL; i++) {
        const job_queue *q = ix->queues[i];
        if (q == NULL)
            continue;
        if (q->dropped) {
            dropped += q->count;
            continue;
        }
        queues++;
        wrong = check_queue(ix, q, &jobs);
        if (wrong == NULL && fc_jobindex_find_queue(ix, (fc_slice){q->name, q->name_len}) != i)
            wrong = "a name does not lead to its queue";
    }
    for (uint32_t i = 0; i < IDTABLE_PARTS; i++)
        ids += ix->ids.parts[i].count;
    if (wrong != NULL)
        return wrong;
    if (jobs != ix->count || queues != ix->queue_count || dropped != ix->dropped)
        return "the index's figures are wrong";
    if (ids != jobs + dropped || fc_skiplist_count(&ix->list) != ids)
        return "map and table differ";
    return NULL;
}
