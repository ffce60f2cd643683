/* Appending, and the threads that write and tidy. */
#include "fc/wal.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fc/clock.h"
#include "fc/hash.h"
#include "fc/unsafe.h"
#include "wal_internal.h"

#define LOG_SLICE_NS 100000u /* the shortest there is */

/* --- the gathering buffer ------------------------------------------------------------------------------------------- */

static int buffer_reserve(wal_buffer *b, size_t n)
{
    if (b->n + n > b->room) {
        size_t room = b->room ? b->room : 65536;
        while (room < b->n + n)
            room *= 2;
        char *data = realloc(b->data, room);
        if (data == NULL)
            return -ENOMEM;
        b->data = data;
        b->room = room;
    }
    if (b->pieces_len + 2 > b->pieces_room) { /* an end mark, and a record in the next segment */
        size_t room = b->pieces_room ? 2 * b->pieces_room : 8;
        wal_piece *pieces = realloc(b->pieces, room * sizeof *pieces);
        if (pieces == NULL)
            return -ENOMEM;
        b->pieces = pieces;
        b->pieces_room = room;
    }
    return 0;
}

/* Where the next record's bytes go, which are reserved: `bytes` of them, zeroed behind the payload. */
static char *place(fc_wal *w, uint64_t bytes)
{
    wal_buffer *b = w->gathering;
    if (b->n == 0)
        b->begin = w->next;
    if (b->pieces_len == 0 || b->pieces[b->pieces_len - 1].e.base != w->e.base)
        b->pieces[b->pieces_len++] = (wal_piece){w->next, w->e, b->n, 0};
    char *p = b->data + b->n;
    memset(p + bytes - WAL_ALIGN, 0, WAL_ALIGN);
    b->pieces[b->pieces_len - 1].n += bytes;
    b->n += bytes;
    return p;
}

static void place_record(fc_wal *w, uint8_t type, const fc_slice *pieces, size_t n, uint32_t length)
{
    uint64_t bytes = wal_record_bytes(length);
    char *record = place(w, bytes), *p = record + WAL_RECORD;
    for (size_t i = 0; i < n; i++) {
        if (pieces[i].n)
            memcpy(p, pieces[i].p, pieces[i].n);
        p += pieces[i].n;
    }
    wal_seal(record, w->e.salt, w->next, (wal_head){length, (uint32_t)(w->next - w->gathering->begin), type});
    w->next += bytes;
    w->gathering->end = w->next;
}

int fc_wal_append(fc_wal *w, uint8_t type, const fc_slice *pieces, size_t n, bool urgent, fc_wal_pos *pos)
{
    uint64_t length = 0;
    for (size_t i = 0; i < n; i++)
        length += pieces[i].n;
    if (type == 0 || type == WAL_END)
        return -EINVAL;
    if (length > w->options.record_bytes_max)
        return FC_WAL_ELARGE;
    uint64_t bytes = wal_record_bytes(length);

    pthread_mutex_lock(&w->lock);
    wal_buffer *b = w->gathering;
    bool roll = w->next - w->e.base + bytes + WAL_RECORD > w->e.size; /* room for an end mark is always left */
    int error = w->error ? w->error : w->closing ? FC_WAL_ECLOSED : w->tight && !urgent ? -ENOSPC : 0;
    if (error == 0 && b->n > 0 && b->n + bytes > w->options.buffer_bytes_max)
        error = FC_WAL_EFULL;
    if (error == 0)
        error = buffer_reserve(b, bytes + WAL_RECORD);
    if (error == 0 && roll)
        error = wal_segment_claim(w, urgent);
    if (error == 0) {
        if (roll) {
            place_record(w, WAL_END, NULL, 0, 0);
            w->e = (wal_extent){w->e.base + w->e.size, w->options.segment_bytes, (uint32_t)fc_hash_next(&w->salts)};
            w->next = w->e.base + WAL_HEADER;
        }
        place_record(w, type, pieces, n, (uint32_t)length);
        b->appends++;
        w->report.appends++;
        w->report.bytes += length;
        *pos = w->next;
        if (!w->writing)
            pthread_cond_signal(&w->work);
    } else if (error == -ENOSPC) {
        pthread_cond_signal(&w->chores); /* there may be room again */
    }
    pthread_mutex_unlock(&w->lock);
    return error;
}

/* --- the threads ------------------------------------------------------------------------------------------------------ */

void wal_progress(fc_wal *w)
{
    pthread_cond_broadcast(&w->progress);
    for (fc_wal_watch *watch = w->watches; watch != NULL; watch = watch->next) {
        const uint64_t one = 1;
        if (watch->wanted == FC_WAL_NOTHING || (watch->wanted > w->durable && w->error == 0 && !w->stopped))
            continue;
        watch->wanted = FC_WAL_NOTHING;
        ssize_t put = write(watch->event_fd, &one, sizeof one); /* a full counter is as good as a new one */
        (void)put;
    }
}

void wal_fail(fc_wal *w, int error)
{
    if (w->error == 0)
        w->error = w->report.error = error;
    wal_progress(w);
}

static void tell(fc_wal *w, fc_wal_pos durable, int error)
{
    if (w->options.on_durable != NULL)
        w->options.on_durable(w->options.ctx, durable, error);
}

static int write_batch(fc_wal *w, const wal_buffer *b)
{
    for (size_t i = 0; i < b->pieces_len; i++) {
        const wal_piece *piece = &b->pieces[i];
        fc_file *file;
        int error = wal_segment_get(w, piece->e, &file);
        if (error == 0)
            error = fc_file_write(file, b->data + piece->at, piece->n, piece->begin - piece->e.base);
        if (error < 0)
            return error;
    }
    for (size_t i = 0; i < b->pieces_len; i++) {
        fc_file *file;
        int error = wal_segment_get(w, b->pieces[i].e, &file);
        uint64_t began = fc_monotonic_ns();
        if (error == 0 && !FC_UNSAFE(FC_UNSAFE_LOG_NOT_SYNCED))
            error = fc_file_sync(file);
        if (error < 0)
            return error;
        uint64_t took = fc_monotonic_ns() - began;
        pthread_mutex_lock(&w->lock);
        w->report.syncs++;
        w->report.sync_ns_total += took;
        fc_hist_record(FC_WAL_SYNC_US, w->report.sync_us, (took + 999) / 1000);
        if (took > w->report.sync_ns_max)
            w->report.sync_ns_max = took;
        pthread_mutex_unlock(&w->lock);
    }
    return 0;
}

int wal_commit(fc_wal *w)
{
    wal_buffer *b = w->gathering;
    w->gathering = &w->buffers[b == &w->buffers[0]];
    w->writing = true;
    pthread_mutex_unlock(&w->lock);
    int error = write_batch(w, b);
    pthread_mutex_lock(&w->lock);
    w->writing = false;
    fc_wal_pos durable = b->end;
    b->n = b->pieces_len = 0;
    if (b->room > w->options.buffer_bytes_max / 4) { /* a burst's memory is not kept */
        free(b->data);
        b->data = NULL;
        b->room = 0;
    }
    if (error == 0) {
        w->report.batches++;
        __atomic_store_n(&w->durable, durable, __ATOMIC_RELEASE);
        wal_segments_passed(w);
        wal_progress(w);
    } else {
        wal_fail(w, error);
        durable = w->durable;
    }
    pthread_cond_signal(&w->chores);
    pthread_mutex_unlock(&w->lock);
    tell(w, durable, error);
    pthread_mutex_lock(&w->lock);
    return error;
}

/* Woken by the disk, the thread has little to do and many wait for it: with a short slice it need not wait for others' to
 * end (EEVDF, Linux 6.12; 4 ms at 250 ticks a second). A hint: older kernels ignore it, and anybody may give it. */
static void ask_for_short_slices(void)
{
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } hint = {.size = sizeof hint, .policy = SCHED_OTHER, .runtime = LOG_SLICE_NS}; /* not in every libc's headers */
    hint.nice = getpriority(PRIO_PROCESS, (id_t)gettid());
    if (sched_getscheduler(0) == SCHED_OTHER)
        syscall(SYS_sched_setattr, 0, &hint, 0);
}

void *wal_log_thread(void *ctx)
{
    fc_wal *w = ctx;
    ask_for_short_slices();
    pthread_mutex_lock(&w->lock);
    while (w->error == 0) {
        if (w->gathering->n > 0)
            wal_commit(w);
        else if (w->closing)
            break;
        else
            pthread_cond_wait(&w->work, &w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* Zero-filling and removing are slow and nobody waits for them. */
void *wal_chore_thread(void *ctx)
{
    fc_wal *w = ctx;
    pthread_mutex_lock(&w->lock);
    while (!w->closing) {
        bool more = w->error == 0 && wal_has_chore(w);
        if (more) {
            pthread_mutex_unlock(&w->lock);
            more = wal_chore(w) > 0;
            pthread_mutex_lock(&w->lock);
        }
        if (!more && !w->closing)
            pthread_cond_wait(&w->chores, &w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

int fc_wal_step(fc_wal *w)
{
    pthread_mutex_lock(&w->lock);
    int did = w->error;
    if (did == 0 && !w->writing && w->gathering->n > 0)
        did = (did = wal_commit(w)) < 0 ? did : 1;
    bool chore = did == 0 && wal_has_chore(w);
    pthread_mutex_unlock(&w->lock);
    if (chore)
        did = wal_chore(w) > 0;
    return did;
}

void fc_wal_truncate_before(fc_wal *w, fc_wal_pos pos)
{
    pthread_mutex_lock(&w->lock);
    if (pos > w->truncate_before)
        w->truncate_before = pos;
    pthread_cond_signal(&w->chores);
    pthread_mutex_unlock(&w->lock);
}
