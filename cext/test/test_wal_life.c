/* The log beside others: who waits, who reads while it is cut short, who else opens it, a disk that is full. */
#include "fc/wal.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <stdio.h>

#include "../wal/wal_internal.h"
#include "check.h"
#include "fc/disk_sim.h"

static fc_wal_options small(void)
{
    fc_wal_options o = FC_WAL_OPTIONS;
    o.segment_bytes = 4096;
    o.record_bytes_max = 1500;
    o.buffer_bytes_max = 2048;
    o.threaded = false;
    o.salt_seed = 1;
    return o;
}

static char zeros[1500];

static int append(fc_wal *w, size_t n, bool urgent, fc_wal_pos *pos)
{
    return fc_wal_append(w, 1, &(fc_slice){zeros, n}, 1, urgent, pos);
}

static void rest(fc_wal *w)
{
    while (fc_wal_step(w) > 0)
        ;
}

/* A log of about `n` segments on a simulated disk. */
static fc_wal *filled(fc_disk *disk, int n, fc_wal_pos *last)
{
    fc_wal_options options = small();
    fc_wal *w;
    CHECK(fc_wal_open(disk, &options, &w) == 0);
    for (int i = 0; i < 3 * n; i++) {
        CHECK(append(w, 1200, false, last) == 0);
        rest(w);
    }
    return w;
}

/* Segments that are given back are used again at once: what a reader finds in its file then is not damage. */
static void test_truncation_beside_a_reader(void)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_wal_options options = small();
    fc_wal_pos last;
    fc_wal *w;
    fc_wal_reader *r, *fresh;
    fc_wal_record record;
    CHECK(fc_wal_open(disk, &options, &w) == 0);
    CHECK(append(w, 1200, false, &last) == 0 && fc_wal_wait(w, last) == 0);
    CHECK(fc_wal_reader_open(w, 0, &r) == 0);
    CHECK(fc_wal_reader_next(r, &record) == 1); /* all there is: the next one is read from the file when it is another's */
    for (int i = 0; i < 30; i++) {
        fc_wal_pos pos;
        CHECK(append(w, 1200, false, &pos) == 0);
        fc_wal_truncate_before(w, pos); /* before the spare that is used now has a successor */
        rest(w);
    }
    int answer;
    while ((answer = fc_wal_reader_next(r, &record)) == 1)
        ;
    CHECK(answer == FC_WAL_EGONE);
    CHECK(fc_wal_reader_next(r, &record) == FC_WAL_EGONE);
    fc_wal_report report;
    fc_wal_get_report(w, &report);
    CHECK(report.corrupt_name[0] == '\0');
    CHECK(fc_wal_reader_open(w, last, &fresh) == FC_WAL_EGONE);
    CHECK(fc_wal_reader_open(w, 0, &fresh) == 0);
    CHECK(fc_wal_reader_next(fresh, &record) == 1);
    fc_wal_reader_close(fresh);
    fc_wal_reader_close(r);
    fc_wal_close(w);
    fc_disk_close(disk);
}

static const fc_disk_ops *right_ops;
static unsigned refusals;

static int refuse_remove(fc_disk *d, const char *name)
{
    return refusals > 0 && refusals-- ? -EPERM : right_ops->remove(d, name);
}

/* A segment that cannot be removed keeps the younger ones, or the next opening would find a hole. */
static void test_a_segment_that_cannot_be_removed(void)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_wal_pos last;
    fc_wal *w = filled(disk, 5, &last);
    fc_disk_ops refusing = *(right_ops = disk->ops);
    refusing.remove = refuse_remove;
    disk->ops = &refusing;
    refusals = 1;
    fc_wal_truncate_before(w, last - 4096);
    fc_wal_step(w); /* refused */
    fc_wal_step(w);
    CHECK(refusals == 0 && fc_wal_error(w) == 0);
    disk->ops = right_ops;
    CHECK(fc_wal_close(w) == 0);
    fc_wal_options options = small();
    CHECK(fc_wal_open(disk, &options, &w) == 0);
    fc_wal_close(w);
    fc_disk_close(disk);
}

/* Once a folder's sync has failed nobody knows which names are durable. */
static void test_a_folder_sync_that_fails(void)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_wal_pos last;
    fc_wal *w = filled(disk, 5, &last);
    fc_wal_truncate_before(w, last);
    fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = 1, .sync_fail_ppm = 1000000});
    rest(w);
    CHECK(fc_wal_error(w) == -EIO);
    CHECK(append(w, 1, true, &last) == -EIO);
    CHECK(fc_wal_close(w) == -EIO);
    fc_disk_close(disk);
}

/* What a test forgets to close before it takes a crash does nothing to the log that is opened after it. */
static void test_a_log_from_before_the_crash(void)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_wal_options options = small();
    fc_wal *old, *w;
    fc_wal_pos pos;
    CHECK(fc_wal_open(disk, &options, &w) == 0);
    CHECK(append(w, 10, false, &pos) == 0 && fc_wal_close(w) == 0);
    CHECK(fc_wal_open(disk, &options, &old) == 0);
    CHECK(append(old, 100, false, &pos) == 0);
    CHECK(fc_disk_sim_crash(disk) == 0);
    CHECK(fc_wal_open(disk, &options, &w) == 0);
    fc_wal_truncate_before(old, pos);
    CHECK(fc_wal_close(old) == -EIO);
    CHECK(fc_wal_close(w) == 0);
    CHECK(fc_wal_open(disk, &options, &w) == 0);
    fc_wal_report report;
    fc_wal_get_report(w, &report);
    CHECK(report.records == 1);
    fc_wal_close(w);
    fc_disk_close(disk);
}

/* --- full disks ---------------------------------------------------------------------------------------------------------- */

static fc_wal *full(fc_disk *disk)
{
    fc_wal_options options = small();
    fc_wal *w;
    fc_wal_pos pos;
    int error = fc_wal_open(disk, &options, &w);
    CHECK(error == 0);
    for (int i = 0; i < 100 && error == 0; i++) {
        error = append(w, 1000, false, &pos);
        rest(w);
    }
    CHECK(error == -ENOSPC);
    return w;
}

static void test_others_make_room(void)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1, .capacity = 6 * 4096});
    fc_wal_pos pos;
    fc_wal *w = full(disk);
    for (int i = 0; i < 10; i++)
        CHECK(append(w, 1000, false, &pos) == -ENOSPC);
    CHECK(append(w, 10, true, &pos) == 0);
    rest(w);
    fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = 1});
    append(w, 1000, false, &pos);
    rest(w);
    CHECK(append(w, 1000, false, &pos) == 0);
    CHECK(fc_wal_close(w) == 0);
    fc_disk_close(disk);
}

static bool has_ballast(fc_wal *w)
{
    pthread_mutex_lock(&w->lock);
    bool there = w->ballast;
    pthread_mutex_unlock(&w->lock);
    return there;
}

/* With a thread: it is the refusal that makes it look. */
static void test_a_refusal_looks_for_room(void)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1, .capacity = 3 * 4096});
    fc_wal_options options = small();
    options.threaded = true;
    options.ballast = true; /* what an append is granted before anybody has found the disk full */
    fc_wal *w;
    fc_wal_pos pos;
    int error = 0;
    CHECK(fc_wal_open(disk, &options, &w) == 0);
    while (!has_ballast(w))
        usleep(100);
    for (int i = 0; i < 1000 && (error == 0 || error == FC_WAL_EFULL); i++) {
        error = append(w, 1000, false, &pos);
        fc_wal_wait(w, fc_wal_end(w));
    }
    CHECK(error == -ENOSPC && fc_wal_error(w) == 0);
    usleep(50000); /* until the log has given up by itself, of which nothing tells */
    fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = 1});
    for (int i = 0; i < 5000 && (error = append(w, 1000, false, &pos)) == -ENOSPC; i++)
        usleep(1000);
    CHECK(error == 0);
    CHECK(fc_wal_close(w) == 0);
    fc_disk_close(disk);
}

/* More deletions than the ballast has room for are refused, which does no harm. */
static void test_urgent_appends_end(void)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1, .capacity = 6 * 4096});
    fc_wal_pos pos, last = 0;
    fc_wal *w = full(disk);
    int error = 0, taken = 0;
    for (int i = 0; i < 1000 && error == 0; i++) {
        error = append(w, 100, true, &pos);
        if (error == 0) {
            last = pos;
            taken++;
        }
        if (i % 8 == 0)
            rest(w);
    }
    CHECK(error == -ENOSPC && taken >= 2000 / 116);
    CHECK(fc_wal_wait(w, last) == 0 && fc_wal_error(w) == 0);
    fc_wal_truncate_before(w, last);
    rest(w);
    CHECK(append(w, 100, true, &pos) == 0);
    CHECK(fc_wal_close(w) == 0);
    fc_wal_options options = small();
    CHECK(fc_wal_open(disk, &options, &w) == 0);
    fc_wal_close(w);
    fc_disk_close(disk);
}

static void test_no_room_at_all(void)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1, .capacity = 4000});
    fc_wal_options options = small();
    fc_wal *w;
    CHECK(fc_wal_open(disk, &options, &w) == -ENOSPC);
    fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = 1});
    CHECK(fc_wal_open(disk, &options, &w) == 0);
    fc_wal_close(w);
    fc_disk_close(disk);
}

/* --- waiting ------------------------------------------------------------------------------------------------------------- */

static void test_watches(void)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_wal_options options = small();
    fc_wal *w;
    fc_wal_pos one, two;
    uint64_t count;
    fc_wal_watch early = {.event_fd = eventfd(0, EFD_NONBLOCK)}, late = {.event_fd = eventfd(0, EFD_NONBLOCK)},
                 idle = {.event_fd = eventfd(0, EFD_NONBLOCK)};
    CHECK(fc_wal_open(disk, &options, &w) == 0);
    fc_wal_watch_add(w, &early);
    fc_wal_watch_add(w, &late);
    fc_wal_watch_add(w, &idle);
    CHECK(append(w, 10, false, &one) == 0);
    CHECK(fc_wal_state(w, one) == -EAGAIN && fc_wal_state(w, one + 1) == -EINVAL);
    CHECK(fc_wal_watch_for(w, &early, one));
    CHECK(!fc_wal_watch_for(w, &late, one + 1)); /* never comes */
    rest(w);
    CHECK(read(early.event_fd, &count, sizeof count) == sizeof count && count == 1);
    CHECK(read(late.event_fd, &count, sizeof count) < 0);
    CHECK(fc_wal_state(w, one) == 0 && !fc_wal_watch_for(w, &early, one));
    CHECK(append(w, 10, false, &two) == 0);
    CHECK(fc_wal_watch_for(w, &late, two));
    rest(w);
    CHECK(read(early.event_fd, &count, sizeof count) < 0); /* wants nothing */
    CHECK(read(late.event_fd, &count, sizeof count) == sizeof count);
    CHECK(append(w, 10, false, &two) == 0);
    CHECK(fc_wal_watch_for(w, &early, two) && fc_wal_watch_for(w, &late, two));
    fc_wal_watch_remove(w, &early);
    fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = 1, .write_fail_ppm = 1000000});
    fc_wal_step(w);
    CHECK(read(early.event_fd, &count, sizeof count) < 0);
    CHECK(read(late.event_fd, &count, sizeof count) == sizeof count && fc_wal_state(w, two) == -EIO);
    CHECK(read(idle.event_fd, &count, sizeof count) < 0);
    fc_wal_watch_remove(w, &late);
    fc_wal_watch_remove(w, &idle);
    fc_wal_close(w);
    close(idle.event_fd);
    close(early.event_fd);
    close(late.event_fd);
    fc_disk_close(disk);
}

typedef struct waiter {
    fc_wal *log;
    fc_wal_pos pos;
    int answer;
} waiter;

static void *wait_for(void *ctx)
{
    waiter *one = ctx;
    one->answer = fc_wal_wait(one->log, one->pos);
    return NULL;
}

static void *stop_too(void *ctx)
{
    return fc_wal_stop(ctx) == 0 ? NULL : ctx;
}

/* Whoever waits when the log is stopped gets an answer: all of them that it is durable, for that is what stopping does. */
static void test_stop_while_others_wait(void)
{
    enum { WAITERS = 8 };
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1, .sync_stall_ms = 20});
    fc_wal_options options = small();
    options.threaded = true;
    fc_wal *w;
    waiter waiters[WAITERS];
    pthread_t threads[WAITERS];
    CHECK(fc_wal_open(disk, &options, &w) == 0);
    for (int i = 0; i < WAITERS; i++) {
        waiters[i] = (waiter){w, 0, 1};
        CHECK(append(w, 10, false, &waiters[i].pos) == 0);
        pthread_create(&threads[i], NULL, wait_for, &waiters[i]);
    }
    CHECK(fc_wal_wait_for(w, waiters[WAITERS - 1].pos, 1) == -ETIMEDOUT);
    pthread_t other;
    pthread_create(&other, NULL, stop_too, w);
    CHECK(fc_wal_stop(w) == 0);
    void *failed;
    pthread_join(other, &failed);
    CHECK(failed == NULL);
    for (int i = 0; i < WAITERS; i++) {
        pthread_join(threads[i], NULL);
        CHECK(waiters[i].answer == 0);
    }
    fc_wal_pos pos = waiters[WAITERS - 1].pos;
    CHECK(append(w, 10, true, &pos) == FC_WAL_ECLOSED);
    CHECK(fc_wal_wait(w, pos) == 0 && fc_wal_wait(w, pos + 1) == -EINVAL);
    CHECK(fc_wal_stop(w) == 0);
    CHECK(fc_wal_close(w) == 0);
    fc_disk_close(disk);
}

/* --- who else ------------------------------------------------------------------------------------------------------------- */

static void test_one_at_a_time(void)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_wal_options options = small();
    fc_wal *w, *second;
    CHECK(fc_wal_open(disk, &options, &w) == 0);
    CHECK(fc_wal_open(disk, &options, &second) == FC_WAL_ELOCKED);
    CHECK(fc_wal_stop(w) == 0);
    CHECK(fc_wal_open(disk, &options, &second) == 0);
    fc_wal_close(second);
    fc_wal_close(w);
    fc_disk_close(disk);
}

/* A damaged log can be read up to the damage, and no further: not even to where a record checks again. */
static void test_reading_what_is_damaged(void)
{
    for (int header = 0; header < 2; header++) {
        fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
        fc_wal_pos last;
        fc_wal *w = filled(disk, 3, &last);
        fc_wal_close(w);
        CHECK(fc_disk_sim_flip(disk, "0000000000001000.wal", header ? 80 : (32 + 1216 + 100) * 8) == 0);
        fc_wal_options options = small();
        CHECK(fc_wal_open(disk, &options, &w) == FC_WAL_ECORRUPT);
        fc_wal_reader *r;
        fc_wal_record record;
        int n = 0, answer;
        CHECK(fc_wal_reader_open(w, 0, &r) == 0);
        while ((answer = fc_wal_reader_next(r, &record)) == 1)
            n++;
        CHECK(answer == FC_WAL_ECORRUPT && n == (header ? 3 : 4));
        CHECK(append(w, 1, true, &last) == FC_WAL_ECORRUPT);
        fc_wal_report report;
        fc_wal_get_report(w, &report);
        CHECK(strcmp(report.corrupt_name, "0000000000001000.wal") == 0);
        CHECK(report.corrupt_offset == (header ? 0 : 32 + 1216));
        fc_wal_reader_close(r);
        CHECK(fc_wal_close(w) == FC_WAL_ECORRUPT);
        fc_disk_close(disk);
    }
}

static unsigned open_descriptors(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir != NULL && readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

static volatile sig_atomic_t caught;

static void catch(int number)
{
    caught = number;
}

/* However many segments there are, only the last ones are open; and signals are not for the log's threads. */
static void test_on_a_real_disk(void)
{
    char path[] = "/tmp/fc-wal-XXXXXX", command[64];
    fc_disk *disk;
    fc_wal_options options = small();
    options.threaded = true;
    fc_wal *w;
    if (mkdtemp(path) == NULL || fc_disk_open(path, false, &disk) != 0) {
        CHECK(!"a folder in /tmp");
        return;
    }
    unsigned before = open_descriptors();
    CHECK(fc_wal_open(disk, &options, &w) == 0);
    fc_wal_pos pos;
    for (int i = 0; i < 60; i++)
        CHECK(append(w, 1400, false, &pos) == 0 && fc_wal_wait(w, pos) == 0);
    CHECK(open_descriptors() <= before + 5);

    sigset_t usr1, pending, old;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    signal(SIGUSR1, catch);
    pthread_sigmask(SIG_BLOCK, &usr1, &old);
    kill(getpid(), SIGUSR1);
    CHECK(append(w, 10, false, &pos) == 0 && fc_wal_wait(w, pos) == 0);
    sigpending(&pending);
    CHECK(sigismember(&pending, SIGUSR1) && caught == 0);
    pthread_sigmask(SIG_SETMASK, &old, NULL);

    CHECK(fc_wal_stop(w) == 0);
    CHECK(open_descriptors() == before);
    fc_wal_close(w);
    CHECK(fc_wal_open(disk, &options, &w) == 0);
    fc_wal_report report;
    fc_wal_get_report(w, &report);
    CHECK(report.records == 61 && report.torn_bytes == 0);
    fc_wal_close(w);
    fc_disk_close(disk);
    snprintf(command, sizeof command, "rm -r %s", path);
    CHECK(system(command) == 0);
}

int main(void)
{
    test_truncation_beside_a_reader();
    test_a_segment_that_cannot_be_removed();
    test_a_folder_sync_that_fails();
    test_a_log_from_before_the_crash();
    test_others_make_room();
    test_a_refusal_looks_for_room();
    test_urgent_appends_end();
    test_no_room_at_all();
    test_watches();
    test_stop_while_others_wait();
    test_one_at_a_time();
    test_reading_what_is_damaged();
    test_on_a_real_disk();
    return check_done("test_wal_life");
}
