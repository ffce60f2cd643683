/* One contract, both disks; then what only the simulated one promises: to lose all that nobody has asked it to keep. */
#include "fc/disk.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <stdio.h>

#include "check.h"
#include "fc/clock.h"
#include "fc/disk_sim.h"
#include "fc/hash.h"

/* --- the contract ---------------------------------------------------------------------------------------------------- */

static fc_file *made(fc_disk *d, const char *name, const char *text)
{
    fc_file *f = NULL;
    CHECK(fc_disk_file(d, name, FC_FILE_CREATE, &f) == 0);
    CHECK(fc_file_write(f, text, strlen(text), 0) == 0);
    return f;
}

static void make(fc_disk *d, const char *name, const char *text)
{
    fc_file_close(made(d, name, text));
}

/* Is the file there, with exactly this in it? */
static bool holds(fc_disk *d, const char *name, const char *text)
{
    char got[256] = {0};
    fc_file *f;
    if (fc_disk_file(d, name, FC_FILE_READ, &f) != 0)
        return false;
    int64_t n = fc_file_size(f);
    bool same = n == (int64_t)strlen(text) && fc_file_read(f, got, (size_t)n, 0) == 0 && memcmp(got, text, (size_t)n) == 0;
    fc_file_close(f);
    return same;
}

static bool is_there(fc_disk *d, const char *name)
{
    fc_file *f;
    int error = fc_disk_file(d, name, FC_FILE_READ, &f);
    if (error == 0)
        fc_file_close(f);
    return error == 0;
}

typedef struct names {
    unsigned n, stop_at;
    uint64_t hash; /* of all names, in any order */
} names;

static uint64_t hash_name(const char *name)
{
    uint64_t h = 1;
    for (; *name; name++)
        h = h * 31 + (uint8_t)*name;
    return fc_hash_next(&h);
}

static int count_name(void *ctx, const char *name)
{
    names *seen = ctx;
    seen->hash += hash_name(name);
    return ++seen->n == seen->stop_at ? 7 : 0;
}

static void test_files(fc_disk *d)
{
    fc_file *f, *g;
    char got[64];
    CHECK(fc_disk_file(d, "a", FC_FILE_READ, &f) == -ENOENT);
    CHECK(fc_disk_file(d, "a", FC_FILE_WRITE, &f) == -ENOENT);
    CHECK(fc_disk_file(d, "none/a", FC_FILE_CREATE, &f) == -ENOENT);
    f = made(d, "a", "0123456789");
    CHECK(fc_disk_file(d, "a", FC_FILE_CREATE, &g) == -EEXIST);
    CHECK(fc_file_size(f) == 10);
    CHECK(fc_file_read(f, got, 4, 3) == 0 && memcmp(got, "3456", 4) == 0);
    memset(got, 'x', sizeof got);
    CHECK(fc_file_read(f, got, 4, 8) == FC_DISK_SHORT && memcmp(got, "89xx", 4) == 0);
    CHECK(fc_file_read(f, got, 1, 10) == FC_DISK_SHORT && fc_file_read(f, got, 1, 1000) == FC_DISK_SHORT);
    CHECK(fc_file_read(f, got, 0, 5) == 0);
    CHECK(fc_file_write(f, "ab", 2, 14) == 0 && fc_file_size(f) == 16);
    CHECK(fc_file_read(f, got, 16, 0) == 0 && memcmp(got, "0123456789\0\0\0\0ab", 16) == 0);
    CHECK(fc_file_write(f, "", 0, 100) == 0 && fc_file_size(f) == 16);
    CHECK(fc_file_write(f, "a", 1, UINT64_MAX) < 0 && fc_file_write(f, "ab", 2, INT64_MAX) < 0);
    CHECK(fc_file_truncate(f, 3) == 0 && fc_file_size(f) == 3);
    CHECK(fc_file_truncate(f, 5) == 0 && fc_file_read(f, got, 5, 0) == 0 && memcmp(got, "012\0\0", 5) == 0);
    CHECK(fc_file_allocate(f, 9000) == 0 && fc_file_size(f) == 9000);
    CHECK(fc_file_read(f, got, 5, 0) == 0 && memcmp(got, "012\0\0", 5) == 0);
    CHECK(fc_file_read(f, got, 8, 8990) == 0 && memcmp(got, "\0\0\0\0\0\0\0\0", 8) == 0);
    CHECK(fc_file_allocate(f, 100) == 0 && fc_file_size(f) == 9000);
    CHECK(fc_file_sync(f) == 0);
    CHECK(fc_disk_file(d, "a", FC_FILE_WRITE, &g) == 0);
    CHECK(fc_file_write(g, "Z", 1, 0) == 0 && fc_file_read(f, got, 1, 0) == 0 && got[0] == 'Z');
    fc_file_close(g);
    CHECK(fc_disk_remove(d, "a") == 0 && !is_there(d, "a"));
    CHECK(fc_file_read(f, got, 1, 0) == 0 && got[0] == 'Z'); /* open files outlive their names */
    fc_file_close(f);
    CHECK(fc_disk_remove(d, "a") == -ENOENT);
    CHECK(fc_disk_free_bytes(d) > 0);
}

/* The same bytes at once, or none: a disk may always say that it would have to wait, and one that was told to, does not. */
static void test_read_now(fc_disk *d, bool answers)
{
    char got[16] = "";
    fc_file *f = made(d, "a", "0123456789");
    CHECK(fc_file_read(f, got, 10, 0) == 0);
    for (size_t from = 0; from < 12; from++)
        for (size_t n = 1; n < 12; n++) {
            int right = fc_file_read(f, got, n, from);
            char now[16] = "xxxxxxxxxxxxxxx";
            int answer = fc_file_read_now(f, now, n, from);
            CHECK(answer == right || (answer == -EAGAIN && !answers));
            CHECK(answer != 0 || memcmp(got, now, n) == 0);
        }
    fc_file_close(f);
    CHECK(fc_disk_remove(d, "a") == 0);
}

static void test_names(fc_disk *d)
{
    make(d, "one", "1");
    make(d, "two", "2");
    CHECK(fc_disk_rename(d, "none", "x") == -ENOENT);
    CHECK(fc_disk_rename(d, "one", "none/x") == -ENOENT && holds(d, "one", "1"));
    CHECK(fc_disk_rename(d, "one", "two") == 0 && holds(d, "two", "1") && !is_there(d, "one"));
    CHECK(fc_disk_rename(d, "two", "two") == 0 && holds(d, "two", "1"));
    CHECK(fc_disk_link(d, "two", "three") == 0 && holds(d, "three", "1"));
    CHECK(fc_disk_link(d, "two", "three") == -EEXIST && fc_disk_link(d, "none", "four") == -ENOENT);
    CHECK(fc_disk_rename(d, "two", "three") == 0 && holds(d, "two", "1") && holds(d, "three", "1"));
    CHECK(fc_disk_remove(d, "two") == 0 && holds(d, "three", "1"));

    CHECK(fc_disk_make_dir(d, "dir") == 0 && fc_disk_make_dir(d, "dir") == 0);
    CHECK(fc_disk_make_dir(d, "none/dir") == -ENOENT);
    make(d, "dir/inner", "i");
    CHECK(fc_disk_link(d, "three", "dir/three") == 0 && fc_disk_rename(d, "three", "dir/four") == 0);
    CHECK(fc_disk_rename(d, "dir/inner", "dir") < 0 && holds(d, "dir/inner", "i"));
    CHECK(fc_disk_remove(d, "dir") < 0 && holds(d, "dir/inner", "i"));
    fc_file *f;
    CHECK(fc_disk_file(d, "dir", FC_FILE_WRITE, &f) == -EISDIR);
    CHECK(fc_disk_file(d, "dir", FC_FILE_CREATE, &f) == -EEXIST);
    CHECK(fc_disk_lock(d, "dir", &f) == -EISDIR);
    names seen = {0};
    CHECK(fc_disk_list(d, "dir", count_name, &seen) == 0 && seen.n == 3);
    CHECK(seen.hash == hash_name("inner") + hash_name("three") + hash_name("four"));
    seen = (names){.stop_at = 2};
    CHECK(fc_disk_list(d, "dir", count_name, &seen) == 7 && seen.n == 2);
    seen = (names){0};
    CHECK(fc_disk_list(d, "", count_name, &seen) == 0 && seen.n == 1 && seen.hash == hash_name("dir"));
    CHECK(fc_disk_list(d, "none", count_name, &seen) == -ENOENT);
    CHECK(fc_disk_sync_dir(d, "") == 0 && fc_disk_sync_dir(d, "dir") == 0 && fc_disk_sync_dir(d, "none") == -ENOENT);
    char longer[400];
    memset(longer, 'n', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    CHECK(fc_disk_file(d, longer, FC_FILE_CREATE, &f) == -ENAMETOOLONG);
    CHECK(fc_disk_file(d, "", FC_FILE_CREATE, &f) < 0);
    CHECK(fc_disk_remove(d, "dir/inner") == 0 && fc_disk_remove(d, "dir/three") == 0 && fc_disk_remove(d, "dir/four") == 0);
}

static void test_folders(fc_disk *d)
{
    fc_disk *inner;
    fc_file *f, *g;
    CHECK(fc_disk_make_dir(d, "old") == 0 && fc_disk_make_dir(d, "old/deep") == 0 && fc_disk_make_dir(d, "full") == 0);
    make(d, "old/one", "1");
    make(d, "old/deep/two", "2");
    make(d, "full/x", "x");
    make(d, "file", "f");
    CHECK(fc_disk_remove_dir(d, "old") == -ENOTEMPTY && fc_disk_remove_dir(d, "file") == -ENOTDIR);
    CHECK(fc_disk_remove_dir(d, "none") == -ENOENT);
    CHECK(fc_disk_rename(d, "old", "file") == -ENOTDIR && fc_disk_rename(d, "file", "old") == -EISDIR);
    CHECK(fc_disk_rename(d, "old", "full") == -ENOTEMPTY && fc_disk_rename(d, "old", "old/in") == -EINVAL);
    CHECK(fc_disk_link(d, "old", "link") == -EPERM);
    CHECK(fc_disk_rename(d, "old", "new") == 0 && holds(d, "new/one", "1") && holds(d, "new/deep/two", "2"));
    CHECK(!is_there(d, "old/one") && fc_disk_sync_dir(d, "old") == -ENOENT && fc_disk_sync_dir(d, "new/deep") == 0);
    CHECK(fc_disk_make_dir(d, "empty") == 0 && fc_disk_rename(d, "new", "empty") == 0 && holds(d, "empty/one", "1"));

    CHECK(fc_disk_folder(d, "none", &inner) == -ENOENT && fc_disk_folder(d, "empty", &inner) == 0);
    names seen = {0};
    CHECK(holds(inner, "one", "1") && holds(inner, "deep/two", "2") && fc_disk_free_bytes(inner) > 0);
    CHECK(fc_disk_list(inner, "", count_name, &seen) == 0 && seen.hash == hash_name("one") + hash_name("deep"));
    make(inner, "three", "3");
    CHECK(fc_disk_link(inner, "three", "four") == 0 && fc_disk_rename(inner, "four", "five") == 0);
    CHECK(holds(d, "empty/five", "3") && fc_disk_sync_dir(inner, "") == 0 && fc_disk_sync_dir(inner, "deep") == 0);
    CHECK(fc_disk_file(inner, "", FC_FILE_READ, &f) == -ENOENT && fc_disk_file(inner, "x", FC_FILE_READ, &f) == -ENOENT);
    CHECK(fc_disk_lock(inner, "lock", &f) == 0 && fc_disk_lock(d, "empty/lock", &g) == -EAGAIN);
    fc_file_close(f);
    CHECK(fc_disk_make_dir(inner, "dir") == 0 && fc_disk_remove_dir(inner, "dir") == 0);
    CHECK(fc_disk_remove(inner, "deep/two") == 0 && fc_disk_remove_dir(inner, "deep") == 0);
    const char *const left[] = {"one", "three", "five", "lock"};
    for (size_t i = 0; i < FC_ARRAY_LEN(left); i++)
        CHECK(fc_disk_remove(inner, left[i]) == 0);
    fc_disk_close(inner);
    CHECK(fc_disk_remove(d, "full/x") == 0 && fc_disk_remove(d, "file") == 0);
    CHECK(fc_disk_remove_dir(d, "empty") == 0 && fc_disk_remove_dir(d, "full") == 0);
}

static void test_locks(fc_disk *d)
{
    fc_file *f, *g;
    CHECK(fc_disk_lock(d, "lock", &f) == 0);
    CHECK(fc_disk_lock(d, "lock", &g) == -EAGAIN);
    fc_file_close(f);
    CHECK(fc_disk_lock(d, "lock", &g) == 0);
    fc_file_close(g);
    CHECK(fc_disk_remove(d, "lock") == 0);
}

/* Any number may read beside one who writes. */
typedef struct reader {
    fc_file *file;
    bool right;
} reader;

static void *read_always(void *ctx)
{
    reader *r = ctx;
    r->right = true;
    for (int i = 0; i < 300; i++) {
        char got[64];
        r->right &= fc_file_read(r->file, got, sizeof got, 64) == 0;
        for (size_t k = 0; k < sizeof got; k++)
            r->right &= got[k] == 'r';
    }
    return NULL;
}

static void test_readers(fc_disk *d)
{
    char text[193] = {0};
    pthread_t threads[3];
    reader readers[3];
    memset(text, 'r', sizeof text - 1);
    fc_file *f = made(d, "shared", text);
    for (int i = 0; i < 3; i++) {
        readers[i] = (reader){f, false};
        pthread_create(&threads[i], NULL, read_always, &readers[i]);
    }
    for (int i = 0; i < 300; i++)
        CHECK(fc_file_write(f, "www", 3, 1000 + 3 * (uint64_t)i) == 0);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        CHECK(readers[i].right);
    }
    fc_file_close(f);
    CHECK(fc_disk_remove(d, "shared") == 0);
}

static void test_contract(fc_disk *d)
{
    test_files(d);
    test_read_now(d, false);
    test_names(d);
    test_folders(d);
    test_locks(d);
    test_readers(d);
}

static void test_real_disk(void)
{
    char path[] = "/tmp/fc-disk-XXXXXX", inner[64], command[64];
    fc_disk *d;
    if (mkdtemp(path) == NULL) {
        CHECK(!"a folder in /tmp");
        return;
    }
    snprintf(inner, sizeof inner, "%s/made", path);
    CHECK(fc_disk_open(inner, false, &d) == -ENOENT);
    CHECK(fc_disk_open(inner, true, &d) == 0);
    test_contract(d);
    fc_disk_close(d);
    CHECK(fc_disk_open(inner, true, &d) == 0); /* what is there is taken as it is */
    make(d, "file", "text");
    fc_disk_close(d);
    snprintf(inner, sizeof inner, "%s/made/file", path);
    CHECK(fc_disk_open(inner, false, &d) == -ENOTDIR && fc_disk_open(inner, true, &d) == -ENOTDIR);
    snprintf(command, sizeof command, "rm -r %s", path);
    CHECK(system(command) == 0);
}

/* --- the simulated disk's own promises ------------------------------------------------------------------------------- */

#define RUNS 300

static fc_disk *sim(uint64_t seed)
{
    return fc_disk_sim_new(&(fc_disk_sim_options){.seed = seed});
}

/* A file of 16 KiB of 'o', on the platter with its name. */
static fc_file *settled(fc_disk *d)
{
    static char old[16384];
    fc_file *f;
    memset(old, 'o', sizeof old);
    CHECK(fc_disk_file(d, "f", FC_FILE_CREATE, &f) == 0);
    CHECK(fc_file_write(f, old, sizeof old, 0) == 0 && fc_file_sync(f) == 0 && fc_disk_sync_dir(d, "") == 0);
    return f;
}

static void test_synced_stays(void)
{
    for (uint64_t seed = 1; seed <= RUNS; seed++) {
        fc_disk *d = sim(seed);
        char got[16384];
        fc_file *f = settled(d);
        CHECK(fc_file_write(f, "new", 3, 5000) == 0 && fc_file_sync(f) == 0);
        CHECK(fc_disk_sim_crash(d) == 0);
        CHECK(fc_file_read(f, got, 1, 0) == -EIO && fc_file_write(f, "x", 1, 0) == -EIO && fc_file_size(f) == -EIO);
        fc_file_close(f);
        CHECK(fc_disk_file(d, "f", FC_FILE_READ, &f) == 0 && fc_file_size(f) == sizeof got);
        CHECK(fc_file_read(f, got, sizeof got, 0) == 0 && memcmp(got + 5000, "new", 3) == 0);
        bool others = true;
        for (size_t i = 0; i < sizeof got; i++)
            others &= got[i] == 'o' || (i >= 5000 && i < 5003);
        CHECK(others);
        fc_file_close(f);
        fc_disk_close(d);
    }
}

/* In every way: all of it, nothing, pages, sectors; each piece whole, in one of the versions it had. */
static void test_unsynced_may_go(void)
{
    unsigned all = 0, none = 0, sectors = 0, pages = 0, middle = 0;
    for (uint64_t seed = 1; seed <= RUNS; seed++) {
        fc_disk *d = sim(seed);
        static char change[16384], got[16384];
        fc_file *f = settled(d);
        for (char version = 'a'; version <= 'b'; version++) {
            memset(change, version, sizeof change);
            CHECK(fc_file_write(f, change, sizeof change, 0) == 0);
        }
        CHECK(fc_file_read(f, got, sizeof got, 0) == 0 && got[0] == 'b'); /* the cache has it */
        fc_file_close(f);
        CHECK(fc_disk_sim_crash(d) == 0);
        CHECK(fc_disk_file(d, "f", FC_FILE_READ, &f) == 0 && fc_file_read(f, got, sizeof got, 0) == 0);
        unsigned last = 0, old = 0;
        bool whole = true, by_page = true;
        for (size_t i = 0; i < sizeof got; i++) {
            whole &= got[i] == got[i / 512 * 512] && (got[i] == 'o' || got[i] == 'a' || got[i] == 'b');
            by_page &= got[i] == got[i / 4096 * 4096];
            last += got[i] == 'b';
            old += got[i] == 'o';
            middle += got[i] == 'a';
        }
        CHECK(whole);
        all += last == sizeof got;
        none += old == sizeof got;
        pages += by_page && last > 0 && last < sizeof got;
        sectors += !by_page;
        fc_file_close(f);
        fc_disk_close(d);
    }
    CHECK(all > RUNS / 20 && none > RUNS / 50 && pages > RUNS / 50 && sectors > RUNS / 10 && middle > 0);
}

/* Names made and not synced: each may be there or not. Synced ones are. */
static void test_names_after_a_crash(void)
{
    unsigned there = 0, renamed = 0, both = 0, removed = 0, folder = 0;
    for (uint64_t seed = 1; seed <= RUNS; seed++) {
        fc_disk *d = sim(seed);
        make(d, "kept", "");
        make(d, "from", "");
        make(d, "gone", "");
        make(d, "linked", "");
        CHECK(fc_disk_make_dir(d, "old") == 0);
        CHECK(fc_disk_sync_dir(d, "") == 0);
        make(d, "made", "");
        CHECK(fc_disk_rename(d, "from", "to") == 0 && fc_disk_remove(d, "gone") == 0);
        CHECK(fc_disk_link(d, "linked", "link") == 0 && fc_disk_make_dir(d, "new") == 0);
        make(d, "old/x", "");
        make(d, "new/x", "");
        CHECK(fc_disk_sync_dir(d, "new") == 0 && fc_disk_sync_dir(d, "old") == 0);
        CHECK(fc_disk_sim_crash(d) == 0);
        CHECK(is_there(d, "kept") && is_there(d, "linked") && is_there(d, "old/x"));
        CHECK(is_there(d, "from") != is_there(d, "to")); /* a rename is atomic */
        names seen = {0};
        int listed = fc_disk_list(d, "new", count_name, &seen);
        CHECK((listed == 0) == is_there(d, "new/x")); /* a folder that is lost takes its files along */
        there += is_there(d, "made");
        renamed += is_there(d, "to");
        removed += !is_there(d, "gone");
        both += is_there(d, "link");
        folder += listed == 0;
        fc_disk_close(d);
    }
    const unsigned counts[] = {there, renamed, removed, both, folder};
    for (size_t i = 0; i < FC_ARRAY_LEN(counts); i++)
        CHECK(counts[i] > RUNS / 4 && counts[i] < RUNS * 3 / 4);
}

/* A folder that is renamed has what was in it, under the old name or the new one. */
static void test_renamed_folder(void)
{
    unsigned new = 0;
    for (uint64_t seed = 1; seed <= RUNS; seed++) {
        fc_disk *d = sim(seed);
        CHECK(fc_disk_make_dir(d, "a") == 0);
        fc_file *f = made(d, "a/x", "text");
        CHECK(fc_file_sync(f) == 0 && fc_disk_sync_dir(d, "a") == 0 && fc_disk_sync_dir(d, "") == 0);
        fc_file_close(f);
        CHECK(fc_disk_rename(d, "a", "b") == 0 && holds(d, "b/x", "text"));
        if (seed % 3 == 0)
            CHECK(fc_disk_sync_dir(d, "") == 0);
        CHECK(fc_disk_sim_crash(d) == 0);
        CHECK(holds(d, "a/x", "text") != holds(d, "b/x", "text"));
        CHECK(seed % 3 != 0 || holds(d, "b/x", "text"));
        new += seed % 3 != 0 && holds(d, "b/x", "text");
        fc_disk_close(d);
    }
    CHECK(new > RUNS / 6 && new < RUNS / 2);
}

/* An atomic replacement, as CURRENT is replaced: the old text or the new one, never neither nor a mixture. */
static void test_replacing_a_file(void)
{
    unsigned new = 0;
    for (uint64_t seed = 1; seed <= RUNS; seed++) {
        fc_disk *d = sim(seed);
        fc_file *f = made(d, "current", "old");
        CHECK(fc_file_sync(f) == 0 && fc_disk_sync_dir(d, "") == 0);
        fc_file_close(f);
        f = made(d, "temp", "new!");
        CHECK(fc_file_sync(f) == 0 && fc_disk_rename(d, "temp", "current") == 0);
        fc_file_close(f);
        CHECK(fc_disk_sim_crash(d) == 0);
        CHECK(holds(d, "current", "old") || holds(d, "current", "new!"));
        new += holds(d, "current", "new!");
        fc_disk_close(d);
    }
    CHECK(new > RUNS / 4 && new < RUNS * 3 / 4);
}

/* A failed sync loses the pages for good: they are still read, a later sync says yes, and the crash takes them. */
static void test_failed_syncs(void)
{
    for (uint64_t seed = 1; seed <= 50; seed++) {
        fc_disk *d = sim(seed);
        char got[3];
        fc_file *f = settled(d);
        CHECK(fc_file_write(f, "new", 3, 0) == 0);
        make(d, "name", "");
        fc_disk_sim_set(d, &(fc_disk_sim_options){.seed = seed, .sync_fail_ppm = 1000000});
        CHECK(fc_file_sync(f) == -EIO && fc_disk_sync_dir(d, "") == -EIO);
        fc_disk_sim_set(d, &(fc_disk_sim_options){.seed = seed});
        CHECK(fc_file_sync(f) == 0 && fc_disk_sync_dir(d, "") == 0);
        CHECK(fc_file_read(f, got, 3, 0) == 0 && memcmp(got, "new", 3) == 0 && is_there(d, "name"));
        fc_file_close(f);
        CHECK(fc_disk_sim_crash(d) == 0);
        CHECK(fc_disk_file(d, "f", FC_FILE_READ, &f) == 0);
        CHECK(fc_file_read(f, got, 3, 0) == 0 && memcmp(got, "ooo", 3) == 0 && !is_there(d, "name"));
        fc_file_close(f);
        fc_disk_sim_stats stats;
        fc_disk_sim_get_stats(d, &stats);
        CHECK(stats.faults == 2);
        fc_disk_close(d);
    }
}

static void test_failed_writes(void)
{
    unsigned partly = 0;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        fc_disk *d = sim(seed);
        char got[8];
        fc_file *f = settled(d);
        fc_disk_sim_set(d, &(fc_disk_sim_options){.seed = seed, .write_fail_ppm = 1000000});
        CHECK(fc_file_write(f, "nnnnnnnn", 8, 0) == -EIO);
        CHECK(fc_file_read(f, got, 8, 0) == 0);
        size_t n = 0;
        while (n < 8 && got[n] == 'n')
            n++;
        partly += n > 0 && n < 8;
        for (; n < 8; n++)
            CHECK(got[n] == 'o');
        fc_file_close(f);
        fc_disk_close(d);
    }
    CHECK(partly > 20);
}

static void test_capacity(void)
{
    fc_disk *d = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1, .capacity = 1000});
    char bytes[600] = {0};
    fc_file *f = NULL, *g = NULL;
    CHECK(fc_disk_file(d, "f", FC_FILE_CREATE, &f) == 0 && fc_disk_file(d, "g", FC_FILE_CREATE, &g) == 0);
    CHECK(fc_file_write(f, bytes, 600, 0) == 0 && fc_disk_free_bytes(d) == 400);
    CHECK(fc_file_write(g, bytes, 600, 0) == -ENOSPC && fc_file_size(g) == 0);
    CHECK(fc_file_allocate(g, 401) == -ENOSPC && fc_file_truncate(g, 401) == -ENOSPC && fc_file_size(g) == 0);
    CHECK(fc_file_write(f, bytes, 600, 0) == 0); /* what is there can be written again */
    CHECK(fc_file_allocate(g, 400) == 0 && fc_disk_free_bytes(d) == 0);
    CHECK(fc_disk_remove(d, "f") == 0 && fc_disk_free_bytes(d) == 0); /* it is open yet, and so is its name on the platter */
    fc_file_close(f);
    CHECK(fc_disk_sync_dir(d, "") == 0 && fc_disk_free_bytes(d) == 600);
    fc_file_close(g);
    fc_disk_close(d);
}

/* Every operation is a step, and from the one at which the power goes nothing works any more. */
static void test_power(void)
{
    for (uint64_t at = 1; at <= 5; at++) {
        fc_disk *d = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1, .crash_at = at});
        fc_file *f = NULL, *g;
        int answers[5];
        answers[0] = fc_disk_file(d, "f", FC_FILE_CREATE, &f);
        answers[1] = f == NULL ? -EIO : fc_file_write(f, "x", 1, 0);
        answers[2] = f == NULL ? -EIO : fc_file_sync(f);
        answers[3] = fc_disk_sync_dir(d, "");
        answers[4] = fc_disk_rename(d, "f", "g");
        bool expected = true;
        for (uint64_t i = 0; i < 5; i++)
            expected &= answers[i] == (i + 1 < at ? 0 : -EIO);
        CHECK(expected && fc_disk_sim_off(d));
        CHECK(fc_disk_file(d, "h", FC_FILE_CREATE, &g) == -EIO && fc_disk_sim_off(d));
        CHECK(fc_disk_sim_crash(d) == 0 && !fc_disk_sim_off(d));
        CHECK(fc_disk_file(d, "h", FC_FILE_CREATE, &g) == 0);
        fc_file_close(g);
        if (f != NULL)
            fc_file_close(f);
        fc_disk_close(d);
    }
}

static void test_locks_end_with_the_power(void)
{
    fc_disk *d = sim(1);
    fc_file *f = NULL, *g = NULL;
    CHECK(fc_disk_lock(d, "lock", &f) == 0 && fc_disk_sim_crash(d) == 0);
    CHECK(fc_disk_lock(d, "lock", &g) == 0);
    fc_file_close(f); /* of an earlier life: frees nothing */
    CHECK(fc_disk_lock(d, "lock", &f) == -EAGAIN);
    fc_file_close(g);
    fc_disk_close(d);
}

static void test_flips(void)
{
    fc_disk *d = sim(1);
    make(d, "f", "abc");
    CHECK(fc_disk_sim_flip(d, "f", 8 + 1) == 0 && holds(d, "f", "a`c"));
    CHECK(fc_disk_sim_flip(d, "f", 24) == -EINVAL && fc_disk_sim_flip(d, "none", 0) == -ENOENT);
    fc_file *f;
    CHECK(fc_disk_file(d, "f", FC_FILE_WRITE, &f) == 0 && fc_file_sync(f) == 0 && fc_disk_sync_dir(d, "") == 0);
    fc_file_close(f);
    CHECK(fc_disk_sim_flip(d, "f", 0) == 0 && fc_disk_sim_crash(d) == 0);
    CHECK(!holds(d, "f", "abc") && is_there(d, "f")); /* flipped on the platter, too */
    fc_disk_close(d);
}

static void *sync_once(void *ctx)
{
    return fc_file_sync(ctx) == 0 ? NULL : ctx;
}

/* Only the one that syncs is kept waiting. */
static void test_stalls(void)
{
    fc_disk *d = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1, .sync_stall_ms = 300});
    pthread_t thread;
    char got[1];
    fc_file *f = made(d, "f", "x");
    uint64_t began = fc_monotonic_ns();
    pthread_create(&thread, NULL, sync_once, f);
    fc_disk_sim_stats stats = {0};
    while (stats.syncs == 0)
        fc_disk_sim_get_stats(d, &stats);
    for (int i = 0; i < 100; i++)
        CHECK(fc_file_read(f, got, 1, 0) == 0);
    fc_disk_sim_set(d, &(fc_disk_sim_options){.seed = 1}); /* the stall that is under way goes on */
    CHECK(fc_monotonic_ns() - began < 250 * FC_NS_PER_MS);
    void *failed;
    pthread_join(thread, &failed);
    CHECK(failed == NULL && fc_monotonic_ns() - began >= 300 * FC_NS_PER_MS);
    fc_file_close(f);
    fc_disk_close(d);
}

/* What is left of a history of writes, syncs, renames and faults that a seed makes. */
static uint64_t history(uint64_t seed)
{
    fc_disk *d = fc_disk_sim_new(&(fc_disk_sim_options){.seed = seed, .write_fail_ppm = 20000, .sync_fail_ppm = 20000});
    uint64_t chance = seed, hash = 0;
    char name[8], other[8], bytes[2048];
    for (int i = 0; i < 400; i++) {
        uint64_t draw = fc_hash_next(&chance);
        fc_file *f;
        snprintf(name, sizeof name, "%u", (unsigned)(draw % 7));
        snprintf(other, sizeof other, "%u", (unsigned)(draw >> 8) % 7);
        memset(bytes, (int)i, sizeof bytes);
        if (fc_disk_file(d, name, is_there(d, name) ? FC_FILE_WRITE : FC_FILE_CREATE, &f) == 0) {
            hash = hash * 31 + (uint64_t)fc_file_write(f, bytes, draw >> 16 & 2047, draw >> 32 & 4095);
            if (draw >> 50 & 1)
                hash = hash * 31 + (uint64_t)fc_file_sync(f);
            fc_file_close(f);
        }
        if (draw >> 51 & 1)
            hash = hash * 31 + (uint64_t)fc_disk_rename(d, name, other);
        if (draw >> 52 & 1)
            fc_disk_sync_dir(d, "");
        if (i % 50 == 49)
            CHECK(fc_disk_sim_crash(d) == 0);
    }
    for (unsigned i = 0; i < 7; i++) {
        fc_file *f;
        snprintf(name, sizeof name, "%u", i);
        if (fc_disk_file(d, name, FC_FILE_READ, &f) != 0)
            continue;
        int64_t n = fc_file_size(f);
        static char all[8192];
        CHECK(n <= (int64_t)sizeof all && fc_file_read(f, all, (size_t)n, 0) == 0);
        for (int64_t k = 0; k < n; k++)
            hash = hash * 31 + (uint8_t)all[k];
        fc_file_close(f);
    }
    fc_disk_close(d);
    return hash;
}

static void test_one_seed_one_history(void)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        CHECK(history(seed) == history(seed));
        CHECK(history(seed) != history(seed + 100));
    }
}

int main(void)
{
    test_real_disk();
    fc_disk *d = sim(1);
    test_contract(d);
    fc_disk_sim_set(d, &(fc_disk_sim_options){.cached_ppm = 1000000});
    test_read_now(d, true);
    fc_disk_close(d);
    test_synced_stays();
    test_unsynced_may_go();
    test_names_after_a_crash();
    test_renamed_folder();
    test_replacing_a_file();
    test_failed_syncs();
    test_failed_writes();
    test_capacity();
    test_power();
    test_locks_end_with_the_power();
    test_flips();
    test_stalls();
    test_one_seed_one_history();
    return check_done("test_disk");
}
