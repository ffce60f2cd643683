/* Who does the work that nobody waits for: two threads, or fc_store_step. And what stops it: errors. */
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fc/clock.h"
#include "store_internal.h"

#define AGAIN_NS FC_NS_PER_S /* after a flush or compaction that found no room, or no memory */
#define LOOK_WAIT_NS (10 * FC_NS_PER_S) /* for what expires */
#define COMPACT_NICE 5 /* the program and its flushes come first where cores are few */

/* --- errors ----------------------------------------------------------------------------------------------------- */

int store_fail(fc_store *s, int error)
{
    pthread_mutex_lock(&s->lock);
    if (s->error == 0 && error != FC_STORE_ECLOSED && error != FC_WAL_ECLOSED)
        STORE(&s->error, error);
    pthread_cond_broadcast(&s->progress);
    pthread_mutex_unlock(&s->lock);
    return error;
}

int store_state(const fc_store *s) { return s->closed ? FC_STORE_ECLOSED : s->error; }

int fc_store_error(fc_store *s)
{
    int error = LOAD(&s->error);
    int log = error ? 0 : fc_wal_error(s->log);
    return error ? error : log;
}

void store_note_damage(fc_store *s, const fc_damage *damage)
{
    pthread_mutex_lock(&s->lock);
    if (!s->damaged)
        s->damage = *damage;
    s->damaged = true;
    pthread_mutex_unlock(&s->lock);
}

/* A table knows of its own damage; readers that met it did not stop to tell. */
bool fc_store_damage(fc_store *s, fc_damage *out)
{
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->keyspaces_n && !s->damaged; i++) {
        const store_version *v = s->keyspaces[i]->version;
        for (size_t k = 0; k < v->at[FC_STORE_LEVELS] && !s->damaged; k++)
            s->damaged = fc_table_damage(v->handles[k], &s->damage);
    }
    if (s->damaged)
        *out = s->damage;
    bool damaged = s->damaged;
    pthread_mutex_unlock(&s->lock);
    return damaged;
}

int store_error_of(int error)
{
    return error == FC_TABLE_ECORRUPT || error == FC_TABLE_EFORMAT ? FC_STORE_ECORRUPT : error;
}

bool store_alive(fc_store *s) { return s->lock_file && fc_file_size(s->lock_file) >= 0; }

/* With the lock held. */
void store_ask_compaction(fc_store *s)
{
    pthread_cond_signal(&s->compact_work);
}

/* --- the threads ------------------------------------------------------------------------------------------------ */

static struct timespec after(uint64_t ns)
{
    uint64_t now = fc_monotonic_ns(), at = ns < INT64_MAX - now ? now + ns : INT64_MAX;
    return (struct timespec){(time_t)(at / FC_NS_PER_S), (long)(at % FC_NS_PER_S)};
}

/* Waits for something to do, or after a flush that failed for a while. */
static void await_flush(fc_store *s)
{
    struct timespec until = after(AGAIN_NS);
    if (s->flush_waits)
        pthread_cond_timedwait(&s->flush_work, &s->lock, &until);
    else
        pthread_cond_wait(&s->flush_work, &s->lock);
}

static void *flush_thread(void *ctx)
{
    fc_store *s = ctx;
    pthread_mutex_lock(&s->lock);
    while (!s->closed) {
        bool flush = s->error == 0 && store_flush_wanted(s), failed = false;
        bool sweep = s->garbage != NULL;
        if (flush || sweep) {
            pthread_mutex_unlock(&s->lock);
            if (sweep)
                store_sweep(s);
            if (flush)
                failed = store_flush_step(s) < 0;
            pthread_mutex_lock(&s->lock);
        }
        if (failed || !(flush || sweep)) {
            if (!s->closed)
                await_flush(s);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* With what nobody is told to wait for, an error is the store's (store_fail) and the thread has nothing more to do. */
static void *compact_thread(void *ctx)
{
    fc_store *s = ctx;
    setpriority(PRIO_PROCESS, (id_t)gettid(), COMPACT_NICE);
    uint64_t now = store_now_ms(s);
    pthread_mutex_lock(&s->lock);
    while (!s->closed) {
        if (s->stalls && !s->flush_waits) { /* a flush is waited for: it shall have the disk alone */
            pthread_cond_wait(&s->progress, &s->lock);
        } else if (s->error == 0 && !s->compact_waits && store_compact_wanted(s, now)) {
            pthread_mutex_unlock(&s->lock);
            store_compact_step(s);
            now = store_now_ms(s);
            pthread_mutex_lock(&s->lock);
        } else {
            struct timespec until = after(s->compact_waits ? AGAIN_NS : LOOK_WAIT_NS);
            pthread_cond_timedwait(&s->compact_work, &s->lock, &until);
            s->compact_waits = false;
            pthread_mutex_unlock(&s->lock);
            now = store_now_ms(s);
            pthread_mutex_lock(&s->lock);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* With all signals blocked: they are for the program's own threads, whose system calls they interrupt. */
int store_start(fc_store *s)
{
    sigset_t all, before;
    if (!s->options.threaded)
        return 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = -pthread_create(&s->flush_thread, NULL, flush_thread, s);
    if (error == 0 && (error = -pthread_create(&s->compact_thread, NULL, compact_thread, s)) < 0) {
        pthread_mutex_lock(&s->lock);
        s->closed = true;
        pthread_cond_broadcast(&s->flush_work);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->flush_thread, NULL);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    s->threads = error == 0;
    return error;
}

/* Not with the lock held; `closed` is set. */
void store_end(fc_store *s)
{
    pthread_mutex_lock(&s->lock);
    pthread_cond_broadcast(&s->flush_work);
    pthread_cond_broadcast(&s->compact_work);
    pthread_cond_broadcast(&s->progress);
    pthread_mutex_unlock(&s->lock);
    if (s->threads) {
        pthread_join(s->flush_thread, NULL);
        pthread_join(s->compact_thread, NULL);
    }
    s->threads = false;
    store_flush_abandon(s);
    store_compact_abandon(s);
    store_sweep(s);
}

/* --- without threads -------------------------------------------------------------------------------------------- */

static int log_step(fc_store *s) { return fc_wal_step(s->log); }

static int flush_step(fc_store *s)
{
    pthread_mutex_lock(&s->lock);
    bool wanted = store_flush_wanted(s);
    pthread_mutex_unlock(&s->lock);
    return wanted ? store_flush_step(s) : 0;
}

/* Whose turn it is comes from the seed: threads would run in any order, too. */
int fc_store_step(fc_store *s)
{
    static int (*const steps[])(fc_store *) = {log_step, flush_step, store_compact_step, store_sweep};
    if (s->options.threaded)
        return 0;
    pthread_mutex_lock(&s->lock);
    int did = store_state(s);
    pthread_mutex_unlock(&s->lock);
    uint64_t turn = s->options.seed ? fc_hash_next(&s->turns) : 0, stride = turn & 8 ? 3 : 1; /* up or down */
    for (size_t i = 0; i < FC_ARRAY_LEN(steps) && did == 0; i++)
        did = steps[(turn + i * stride) % FC_ARRAY_LEN(steps)](s);
    return did;
}

int store_progress(fc_store *s, const struct timespec *until)
{
    int error = 0;
    if (s->options.threaded) {
        int late = until ? pthread_cond_timedwait(&s->progress, &s->lock, until)
                         : pthread_cond_wait(&s->progress, &s->lock);
        return -late;
    }
    pthread_mutex_unlock(&s->lock);
    error = fc_store_step(s);
    pthread_mutex_lock(&s->lock);
    return error < 0 ? error : error == 0;
}

/* --- room ------------------------------------------------------------------------------------------------------- */

/* For the log to have written what its buffer holds. */
static int await_log(fc_store *s, uint64_t timeout_ns)
{
    fc_wal_pos full = LOAD(&s->log_full);
    if (full == 0)
        return 0;
    int error = fc_wal_wait_for(s->log, full, timeout_ns);
    if (error == 0)
        __atomic_compare_exchange_n(&s->log_full, &full, 0, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    return error == FC_WAL_ECLOSED ? FC_STORE_ECLOSED : error;
}

int fc_store_wait_room(fc_store *s, uint64_t timeout_ns)
{
    struct timespec until = after(timeout_ns);
    int error = await_log(s, timeout_ns);
    pthread_mutex_lock(&s->lock);
    uint64_t failed = s->failed_flushes;
    while (error == 0) {
        error = store_state(s);
        if (error == 0 && s->failed_flushes != failed)
            error = s->flush_error;
        if (error < 0 || s->stalls == 0)
            break;
        error = store_progress(s, &until);
    }
    pthread_mutex_unlock(&s->lock);
    return error > 0 ? -ETIMEDOUT : error;
}
