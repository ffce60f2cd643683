/* Opening, waiting, looking, closing. */
#include "fc/wal.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "fc/clock.h"
#include "wal_internal.h"

const fc_wal_options FC_WAL_OPTIONS = FC_WAL_DEFAULTS;

/* --- waiting and looking ---------------------------------------------------------------------------------------------- */

fc_wal_pos fc_wal_durable(const fc_wal *w)
{
    return __atomic_load_n(&w->durable, __ATOMIC_ACQUIRE);
}

fc_wal_pos fc_wal_end(fc_wal *w)
{
    pthread_mutex_lock(&w->lock);
    fc_wal_pos end = w->next;
    pthread_mutex_unlock(&w->lock);
    return end;
}

int fc_wal_error(fc_wal *w)
{
    pthread_mutex_lock(&w->lock);
    int error = w->error;
    pthread_mutex_unlock(&w->lock);
    return error;
}

/* With the lock held: fc_wal_state. */
static int state(const fc_wal *w, fc_wal_pos pos)
{
    if (w->durable >= pos)
        return 0;
    if (w->error)
        return w->error;
    return pos > w->next ? -EINVAL : w->stopped ? FC_WAL_ECLOSED : -EAGAIN;
}

int fc_wal_state(fc_wal *w, fc_wal_pos pos)
{
    pthread_mutex_lock(&w->lock);
    int answer = state(w, pos);
    pthread_mutex_unlock(&w->lock);
    return answer;
}

static struct timespec deadline(uint64_t timeout_ns)
{
    uint64_t now = fc_monotonic_ns(), at = timeout_ns < INT64_MAX - now ? now + timeout_ns : INT64_MAX;
    return (struct timespec){(time_t)(at / FC_NS_PER_S), (long)(at % FC_NS_PER_S)};
}

int fc_wal_wait_for(fc_wal *w, fc_wal_pos pos, uint64_t timeout_ns)
{
    struct timespec until = deadline(timeout_ns);
    pthread_mutex_lock(&w->lock);
    int answer, late = 0;
    while ((answer = state(w, pos)) == -EAGAIN && late == 0) {
        if (w->options.threaded || w->writing)
            late = pthread_cond_timedwait(&w->progress, &w->lock, &until);
        else
            wal_commit(w); /* what is not durable and not being written has gathered */
    }
    pthread_mutex_unlock(&w->lock);
    return answer == -EAGAIN ? -ETIMEDOUT : answer;
}

int fc_wal_wait(fc_wal *w, fc_wal_pos pos)
{
    return fc_wal_wait_for(w, pos, UINT64_MAX);
}

void fc_wal_watch_add(fc_wal *w, fc_wal_watch *watch)
{
    pthread_mutex_lock(&w->lock);
    watch->wanted = FC_WAL_NOTHING;
    watch->next = w->watches;
    w->watches = watch;
    pthread_mutex_unlock(&w->lock);
}

void fc_wal_watch_remove(fc_wal *w, fc_wal_watch *watch)
{
    pthread_mutex_lock(&w->lock);
    for (fc_wal_watch **at = &w->watches; *at != NULL; at = &(*at)->next)
        if (*at == watch) {
            *at = watch->next;
            break;
        }
    pthread_mutex_unlock(&w->lock);
}

bool fc_wal_watch_for(fc_wal *w, fc_wal_watch *watch, fc_wal_pos pos)
{
    pthread_mutex_lock(&w->lock);
    bool later = state(w, pos) == -EAGAIN;
    if (later && pos < watch->wanted)
        watch->wanted = pos;
    pthread_mutex_unlock(&w->lock);
    return later;
}

void fc_wal_get_report(fc_wal *w, fc_wal_report *out)
{
    pthread_mutex_lock(&w->lock);
    *out = w->report;
    out->first = w->segments_len ? w->segments[0].e.base : w->durable;
    out->end = w->durable;
    pthread_mutex_unlock(&w->lock);
}

const char *fc_wal_strerror(int error)
{
    switch (error) {
    case 0:
        return "no error";
    case FC_WAL_ECORRUPT:
        return "the log is damaged at a place that had been durable";
    case FC_WAL_EFULL:
        return "too many bytes wait for the disk";
    case FC_WAL_ELARGE:
        return "the record is larger than record_bytes_max";
    case FC_WAL_ECLOSED:
        return "the log is closed";
    case FC_WAL_EFORMAT:
        return "the files are not a log of this version";
    case FC_WAL_EGONE:
        return "that position has been truncated";
    case FC_WAL_ELOCKED:
        return "the log is open already, here or in another process";
    case FC_DISK_SHORT:
        return "a file of the log is shorter than it says";
    default:
        return strerror(-error);
    }
}

/* --- opening ---------------------------------------------------------------------------------------------------------- */

static void close_files(fc_wal *w)
{
    for (size_t i = 0; i < w->segments_len; i++)
        if (w->segments[i].file != NULL) {
            fc_file_close(w->segments[i].file);
            w->segments[i].file = NULL;
        }
    if (w->lock_file != NULL)
        fc_file_close(w->lock_file);
    w->lock_file = NULL;
}

static void release(fc_wal *w)
{
    close_files(w);
    free(w->segments);
    for (int i = 0; i < 2; i++) {
        free(w->buffers[i].data);
        free(w->buffers[i].pieces);
    }
    pthread_cond_destroy(&w->work);
    pthread_cond_destroy(&w->chores);
    pthread_cond_destroy(&w->progress);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

static bool sensible(const fc_wal_options *o)
{
    return o->segment_bytes >= WAL_SEGMENT_MIN && o->segment_bytes <= WAL_SEGMENT_MAX &&
           o->segment_bytes % WAL_ALIGN == 0 && o->record_bytes_max <= o->segment_bytes / 2 &&
           o->record_bytes_max <= o->buffer_bytes_max && o->buffer_bytes_max <= 1u << 30;
}

static fc_wal *make(fc_disk *disk, const fc_wal_options *options)
{
    fc_wal *w = calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    w->disk = disk;
    w->options = *options;
    w->gathering = &w->buffers[0];
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->work, NULL);
    pthread_cond_init(&w->chores, NULL);
    pthread_cond_init(&w->progress, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return w;
}

static void end_log_thread(fc_wal *w)
{
    pthread_mutex_lock(&w->lock);
    w->closing = true;
    pthread_cond_signal(&w->work);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->log_thread, NULL);
}

/* Signals are for the program's own threads, whose system calls they interrupt. */
static int start(fc_wal *w)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = -pthread_create(&w->log_thread, NULL, wal_log_thread, w);
    if (error == 0 && (error = -pthread_create(&w->chore_thread, NULL, wal_chore_thread, w)) < 0)
        end_log_thread(w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    w->running = error == 0;
    return error;
}

int fc_wal_open(fc_disk *disk, const fc_wal_options *options, fc_wal **out)
{
    if (!sensible(options))
        return -EINVAL;
    fc_wal *w = make(disk, options);
    if (w == NULL)
        return -ENOMEM;
    w->salts = options->salt_seed;
    int error = 0;
    if (w->salts == 0 && getrandom(&w->salts, sizeof w->salts, 0) != sizeof w->salts)
        error = -errno;
    if (error == 0 && (error = fc_disk_lock(disk, WAL_LOCK, &w->lock_file)) == -EAGAIN)
        error = FC_WAL_ELOCKED;
    if (error == 0)
        error = wal_recover(w);
    if (error == 0 && options->threaded)
        error = start(w);
    if (error == FC_WAL_ECORRUPT) {
        w->error = w->report.error = error;
        w->read_only = true;
    } else if (error < 0) {
        release(w);
        return error;
    }
    *out = w;
    return error;
}

/* --- closing ---------------------------------------------------------------------------------------------------------- */

int fc_wal_stop(fc_wal *w)
{
    pthread_mutex_lock(&w->lock);
    bool first = !w->closing;
    w->closing = true;
    pthread_cond_signal(&w->work);
    pthread_cond_signal(&w->chores);
    if (first && !w->running)
        while (w->error == 0 && !w->writing && w->gathering->n > 0)
            wal_commit(w);
    pthread_mutex_unlock(&w->lock);
    if (first && w->running) {
        pthread_join(w->log_thread, NULL);
        pthread_join(w->chore_thread, NULL);
    }
    pthread_mutex_lock(&w->lock);
    if (first) {
        w->stopped = true;
        close_files(w);
        wal_progress(w);
    }
    while (!w->stopped) /* another caller is at it */
        pthread_cond_wait(&w->progress, &w->lock);
    int error = w->error;
    pthread_mutex_unlock(&w->lock);
    return error;
}

int fc_wal_close(fc_wal *w)
{
    int error = fc_wal_stop(w);
    release(w);
    return error;
}
