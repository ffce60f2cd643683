/* Who writes much beside the log's syncs does it in pieces, and as little as can be: tables, the log's next segments. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"
#include "fc/disk_sim.h"
#include "fc/ikey.h"
#include "fc/table.h"
#include "fc/wal.h"

static const fc_disk_ops *right;
static fc_disk_ops watching;

static fc_disk *watched_disk(void)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    watching = *(right = disk->ops);
    disk->ops = &watching;
    return disk;
}

static void done(fc_disk *disk)
{
    disk->ops = right;
    fc_disk_close(disk);
}

/* --- tables ------------------------------------------------------------------------------------------------------------ */

static uint64_t begun, calls, longest;
static int answer;

static int note_write_out(fc_file *f, uint64_t offset, uint64_t n)
{
    CHECK(offset == begun && offset + n <= (uint64_t)fc_file_size(f));
    begun += n;
    calls++;
    longest = n > longest ? n : longest;
    return answer;
}

static int write_table(fc_table_writer *w, unsigned n)
{
    static const char value[1000];
    fc_table_properties p;
    int error = 0;
    for (unsigned i = 0; i < n && error == 0; i++) {
        char key[] = {(char)(i >> 16), (char)(i >> 8), (char)i};
        error = fc_table_add(w, (fc_slice){key, 3}, fc_tag(i + 1, FC_KEY_VALUE), (fc_slice){value, sizeof value});
    }
    return error ? error : fc_table_finish(w, &p);
}

static void test_a_table_is_written_out_as_it_grows(void)
{
    fc_disk *disk = watched_disk();
    fc_table_writer *w;
    watching.write_out = note_write_out;
    CHECK(fc_table_writer_open(disk, "1.tbl", &FC_TABLE_OPTIONS, &w) == 0);
    CHECK(write_table(w, 10000) == 0);
    CHECK(calls >= 7 && longest < 2 * FC_DISK_PIECE && begun >= 9 * FC_DISK_PIECE);
    CHECK(fc_table_writer_sync(w) == 0);
    fc_table_writer_close(w);

    /* The kernel tells an error once: had it been passed over here, the sync would have been told that all is well. */
    begun = 0;
    answer = -EIO;
    CHECK(fc_table_writer_open(disk, "2.tbl", &FC_TABLE_OPTIONS, &w) == 0);
    CHECK(write_table(w, 10000) == -EIO && fc_table_writer_sync(w) == -EIO);
    fc_table_writer_close(w);
    done(disk);
}

static void test_a_real_disk_writes_out(void)
{
    char path[] = "/tmp/fc_write_out_XXXXXX", piece[4096];
    fc_disk *disk;
    fc_file *f;
    CHECK(mkdtemp(path) != NULL);
    CHECK(fc_disk_open(path, false, &disk) == 0);
    CHECK(fc_disk_file(disk, "f", FC_FILE_CREATE, &f) == 0);
    memset(piece, 7, sizeof piece);
    for (uint64_t i = 0; i < 2048; i++) { /* beyond what may be under way */
        CHECK(fc_file_write(f, piece, sizeof piece, i * sizeof piece) == 0);
        CHECK(fc_file_write_out(f, i * sizeof piece, sizeof piece) == 0);
    }
    CHECK(fc_file_sync(f) == 0 && fc_file_size(f) == 2048 * sizeof piece);
    CHECK(fc_file_read(f, piece, 1, 2048 * sizeof piece - 1) == 0 && piece[0] == 7);
    fc_file_close(f);
    CHECK(fc_disk_remove(disk, "f") == 0 && rmdir(path) == 0);
    fc_disk_close(disk);
}

/* --- the log's segments ------------------------------------------------------------------------------------------------ */

#define SEGMENT 4096u

static fc_wal_options small(bool threaded)
{
    fc_wal_options o = FC_WAL_OPTIONS;
    o.segment_bytes = SEGMENT;
    o.record_bytes_max = 1500;
    o.buffer_bytes_max = 2048;
    o.threaded = threaded;
    o.salt_seed = 1;
    return o;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned allocated, under_way, most_under_way, stopped_at, stopped;

/* The one with the number stopped_at stays under way until that is 0. */
static int note_allocate(fc_file *f, uint64_t size)
{
    pthread_mutex_lock(&lock);
    allocated++;
    if (++under_way > most_under_way)
        most_under_way = under_way;
    if (allocated == stopped_at) {
        stopped = 1;
        pthread_cond_broadcast(&changed);
        while (stopped_at)
            pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
    int error = right->allocate(f, size);
    pthread_mutex_lock(&lock);
    under_way--;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return error;
}

static int count(void *ctx, const char *name)
{
    *(unsigned *)ctx += strstr(name, ".wal") != NULL && name[0] != 'w';
    return 0;
}

static unsigned segments(fc_disk *disk)
{
    unsigned n = 0;
    CHECK(fc_disk_list(disk, "", count, &n) == 0);
    return n;
}

static fc_wal_pos append(fc_wal *w)
{
    static const char zeros[1200];
    fc_wal_pos pos = 0;
    CHECK(fc_wal_append(w, 1, &(fc_slice){zeros, sizeof zeros}, 1, false, &pos) == 0);
    return pos;
}

static void test_a_log_that_is_truncated_as_it_grows(void)
{
    fc_disk *disk = watched_disk();
    fc_wal_options options = small(false);
    fc_wal_pos pos = 0, before;
    fc_wal *w;
    watching.allocate = note_allocate;
    CHECK(fc_wal_open(disk, &options, &w) == 0);
    unsigned settled = 0;
    for (int i = 0; i < 300; i++) {
        before = pos;
        pos = append(w);
        while (fc_wal_step(w) > 0)
            ;
        if (before > 2 * SEGMENT)
            fc_wal_truncate_before(w, before - 2 * SEGMENT); /* as a store does: behind a memtable that is flushed */
        if (i == 20)
            settled = allocated;
    }
    while (fc_wal_step(w) > 0)
        ;
    CHECK(settled > 0 && allocated == settled); /* a hundred segments later */
    CHECK(segments(disk) <= 5);
    fc_wal_truncate_before(w, pos); /* one may stay, and the one that is written */
    while (fc_wal_step(w) > 0)
        ;
    CHECK(segments(disk) == 2);
    CHECK(fc_wal_close(w) == 0);
    done(disk);
}

/* A log that needs a segment while the other thread is making one waits for that, and does not make a second beside it. */
static void test_a_spare_under_way_is_waited_for(void)
{
    fc_disk *disk = watched_disk();
    fc_wal_options options = small(true);
    fc_wal_pos pos;
    fc_wal *w;
    options.ballast = false;
    watching.allocate = note_allocate;
    allocated = most_under_way = 0;
    stopped_at = 3; /* after the first segment and its spare: the spare's successor */
    CHECK(fc_wal_open(disk, &options, &w) == 0);
    pthread_mutex_lock(&lock);
    while (allocated < 2 || under_way)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < 5; i++) {
        pos = append(w);
        CHECK(fc_wal_wait(w, pos) == 0);
    }
    pthread_mutex_lock(&lock);
    while (!stopped)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < 4; i++)
        if (fc_wal_wait_for(w, pos = append(w), 50000000) < 0)
            break;
    CHECK(fc_wal_durable(w) < pos);
    pthread_mutex_lock(&lock);
    stopped_at = 0;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    CHECK(fc_wal_wait(w, pos) == 0);
    CHECK(fc_wal_close(w) == 0);
    CHECK(most_under_way == 1);
    done(disk);
}

/* --- the log's thread -------------------------------------------------------------------------------------------------- */

static uint64_t slice_ns(void)
{
    uint64_t attributes[6] = {0}; /* size, policy; flags; nice, priority; runtime */
    CHECK(syscall(SYS_sched_getattr, 0, attributes, sizeof attributes, 0) == 0);
    return attributes[3];
}

static void note_slice(void *ctx, fc_wal_pos pos, int error)
{
    (void)pos;
    (void)error;
    *(uint64_t *)ctx = slice_ns();
}

static void test_the_log_thread_has_short_slices(void)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    fc_wal_options options = small(true);
    uint64_t slice = 0;
    fc_wal *w;
    options.on_durable = note_slice;
    options.ctx = &slice;
    CHECK(fc_wal_open(disk, &options, &w) == 0);
    append(w);
    CHECK(fc_wal_close(w) == 0);
    if (slice_ns() > 0) /* else the kernel has none to give, or tells of none */
        CHECK(slice == 100000 && slice < slice_ns());
    fc_disk_close(disk);
}

int main(void)
{
    test_the_log_thread_has_short_slices();
    test_a_table_is_written_out_as_it_grows();
    test_a_real_disk_writes_out();
    test_a_log_that_is_truncated_as_it_grows();
    test_a_spare_under_way_is_waited_for();
    return check_done("write_out");
}
