/* kill -9 on a real disk: a child writes numbered batches and says through shared memory which are durable; it is killed at a
 * random moment, and what is found is what the store held after one of its batches, none that was durable missing.
 *
 * FASTCORE_KILLS=200: so many kills. They happen to one store, which grows old.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "crash_model.h"

#define KILLS 10
#define BATCHES_MAX 100000u /* of a child: it is killed long before */

/* What the child says. */
typedef struct report {
    uint64_t tried, durable; /* batches, of all lives; atomic */
    int error;
} report;

static fc_store_options options_of(model *m, bool threaded)
{
    fc_store_options o = FC_STORE_OPTIONS;
    o.threaded = threaded;
    o.cache_bytes = 65536;
    o.log_bytes_max = 524288;
    o.log.segment_bytes = 131072;
    o.log.record_bytes_max = 16384;
    o.log.buffer_bytes_max = 65536;
    o.defaults.memtable_bytes = FC_MEMTABLE_MIN_BYTES;
    o.defaults.table_bytes = 16384;
    o.defaults.level0_tables = 2;
    o.defaults.level_bytes = 32768;
    o.defaults.level_factor = 3;
    o.now_ms = model_clock;
    o.now_ctx = m;
    return o;
}

/* The n-th batch ever, 1 the first; the same in every process. Its first operation sets a key that all of them do, so that no two
 * leave the same. */
static void batch_of(model *m, uint64_t n, model_batch *b)
{
    uint64_t chance = n;
    m->writes = (uint32_t)n * (BATCH_OPS + 1);
    model_draw(m, &chance, b);
    b->ops[0] = (model_op){.type = FC_KEY_VALUE, .key = 1, .write = (uint32_t)n * (BATCH_OPS + 1), .length = 8};
}

/* The child: writes batches from `begin` on, waits for some, now and then compacts or makes a checkpoint of its own. */
static int child(const char *path, model *m, uint64_t begin, report *r)
{
    fc_disk *disk;
    fc_store *s;
    fc_store_options options = options_of(m, true);
    int error = fc_disk_open(path, false, &disk);
    if (error == 0)
        error = fc_store_open(disk, &options, NULL, &s);
    for (uint64_t n = begin, chance = begin; error == 0 && n < begin + BATCHES_MAX; n++) {
        model_batch b;
        fc_batch batch = {0};
        fc_write_result result;
        batch_of(m, n, &b);
        model_batch_to(m, &b, &batch);
        __atomic_store_n(&r->tried, n, __ATOMIC_RELEASE);
        while ((error = fc_store_write(s, &batch, 0, &result)) == FC_STORE_EBUSY)
            if ((error = fc_store_wait_room(s, 10000000000ull)) < 0)
                break;
        fc_batch_free(&batch);
        if (error == 0 && fc_hash_next(&chance) % 4 == 0 && (error = fc_wal_wait(fc_store_log(s), result.pos)) == 0)
            __atomic_store_n(&r->durable, n, __ATOMIC_RELEASE);
        if (error == 0 && fc_hash_next(&chance) % 200 == 0)
            error = fc_store_compact(s, 0, (fc_slice){"", 0}, (fc_slice){"", 0});
        if (error == 0 && fc_hash_next(&chance) % 200 == 0)
            error = fc_store_flush(s, m->spaces[1].id);
    }
    __atomic_store_n(&r->error, error ? error : -ECHILD, __ATOMIC_RELEASE);
    return 1;
}

/* The child's versions are not known here when it dies: they count operations, from where the store had come to. */
static void open_and_compare(const char *path, model *m, uint64_t done, const report *r, uint64_t version, uint64_t *there)
{
    fc_disk *disk;
    fc_store *s;
    fc_store_options options = options_of(m, false);
    fc_store_stats stats;
    int error = fc_disk_open(path, false, &disk);
    CHECK(error == 0);
    for (uint64_t n = done + 1; n <= r->tried; n++) {
        model_batch b;
        batch_of(m, n, &b);
        b.version = version + 1;
        version += b.n;
        model_written(m, &b);
    }
    m->durable = r->durable > done ? r->durable - done : 0;
    error = fc_store_open(disk, &options, NULL, &s);
    CHECK(error == 0);
    if (error < 0) {
        fprintf(stderr, "opening answers %d: %s\n", error, fc_store_strerror(error));
        fc_disk_close(disk);
        return;
    }
    CHECK(model_recover(m, s) == 0);
    *there = done + (m->recovered == SIZE_MAX ? 0 : m->recovered);
    fc_store_get_stats(s, &stats);
    m->last_version = stats.last_seq;
    CHECK(fc_store_close(s) == 0);
    fc_disk_close(disk);
}

/* Makes the store with its two keyspaces. */
static void begin(const char *path, model *m)
{
    fc_disk *disk;
    fc_store *s;
    fc_store_options options = options_of(m, false);
    fc_slice name = {SPACE_NAMES[1], strlen(SPACE_NAMES[1])};
    CHECK(fc_disk_open(path, false, &disk) == 0);
    CHECK(fc_store_open(disk, &options, NULL, &s) == 0);
    CHECK(fc_store_keyspace(s, name, NULL, true, &m->spaces[1].id) == 0);
    m->spaces[1].there = SPACE_THERE;
    CHECK(fc_store_close(s) == 0);
    fc_disk_close(disk);
}

static int remove_file(void *ctx, const char *name)
{
    fc_disk_remove(ctx, name);
    return 0;
}

static void clear(const char *path)
{
    fc_disk *disk;
    if (fc_disk_open(path, false, &disk) < 0)
        return;
    fc_disk_list(disk, "", remove_file, disk);
    fc_disk_close(disk);
    rmdir(path);
}

int main(void)
{
    const char *text = getenv("FASTCORE_KILLS"), *tmp = getenv("TMPDIR");
    unsigned long kills = text ? strtoul(text, NULL, 10) : KILLS;
    char path[256];
    snprintf(path, sizeof path, "%s/fastcore-kill-XXXXXX", tmp ? tmp : "/tmp");
    CHECK(mkdtemp(path) != NULL);
    report *r = mmap(NULL, sizeof *r, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    model m;
    uint64_t done = 0, chance = 1, tried = 0, durable = 0;
    model_init(&m);
    begin(path, &m);
    for (unsigned long i = 0; i < kills && check_failed == 0; i++) {
        *r = (report){.tried = done};
        uint64_t until = done + 1 + fc_hash_next(&chance) % 300;
        fflush(NULL);
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0)
            _exit(child(path, &m, done + 1, r));
        /* The moment is counted in batches, and then a little later: while something is written or tidied. */
        while (__atomic_load_n(&r->tried, __ATOMIC_ACQUIRE) < until && __atomic_load_n(&r->error, __ATOMIC_ACQUIRE) == 0)
            usleep(100);
        usleep(fc_hash_next(&chance) % 3000);
        kill(pid, SIGKILL);
        int status;
        CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
        if (r->error < 0)
            fprintf(stderr, "the child: %d (%s)\n", r->error, fc_store_strerror(r->error));
        CHECK(r->error == 0);
        tried += r->tried - done;
        durable += r->durable > done ? r->durable - done : 0;
        open_and_compare(path, &m, done, r, m.last_version, &done);
        CHECK(m.wrong[0] == '\0');
        if (m.wrong[0])
            fprintf(stderr, "kill %lu, %lu batches there: %s\n", i, (unsigned long)done, m.wrong);
    }
    printf("store_kill: %lu kills; of %lu batches %lu were there, and had to be: %lu\n", kills, (unsigned long)tried,
           (unsigned long)done, (unsigned long)durable);
    if (check_failed == 0)
        clear(path);
    else
        fprintf(stderr, "what is left: %s\n", path);
    model_free(&m);
    munmap(r, sizeof *r);
    return check_done("store_kill");
}
