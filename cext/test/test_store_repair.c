/* A store with a known history, damaged in every way a disk can: checking finds it, repair makes a store that opens,
 * and of every key that no loss covers the newest value is read. */
#include "store_repair_model.h"

typedef struct names {
    char list[256][64];
    size_t n;
} names;

static const char *ending;

static int collect(void *ctx, const char *name)
{
    names *l = ctx;
    size_t n = strlen(name), e = strlen(ending);
    if (n >= e && (strcmp(name + n - e, ending) == 0 || strncmp(name, ending, e) == 0) && l->n < 256)
        snprintf(l->list[l->n++], 64, "%s", name);
    return 0;
}

static names files(fc_disk *disk, const char *like)
{
    names l = {0};
    ending = like;
    CHECK(fc_disk_list(disk, "", collect, &l) == 0);
    for (size_t i = 0; i < l.n; i++) /* in order */
        for (size_t k = i + 1; k < l.n; k++)
            if (strcmp(l.list[k], l.list[i]) < 0) {
                char t[64];
                memcpy(t, l.list[i], 64);
                memcpy(l.list[i], l.list[k], 64);
                memcpy(l.list[k], t, 64);
            }
    return l;
}

static uint64_t size_of(fc_disk *disk, const char *name)
{
    fc_file *f;
    CHECK(fc_disk_file(disk, name, FC_FILE_READ, &f) == 0);
    int64_t n = fc_file_size(f);
    fc_file_close(f);
    return (uint64_t)n;
}

/* Some rounds flushed to tables, the last one in the log alone. */
static fc_disk *make(model *m, unsigned flushed, uint64_t seed)
{
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = seed});
    uint64_t chance = seed;
    *m = (model){0};
    fc_store *s = open_store(disk, m);
    for (unsigned i = 0; i <= flushed; i++) {
        play_round(s, m, i == 0 ? 4 : 2, &chance);
        if (i == flushed)
            break;
        CHECK(fc_store_flush(s, 0) == 0 && fc_store_flush(s, m->other) == 0);
        if (i == 1 && seed % 2) /* one run on the last level, and others above it */
            CHECK(fc_store_compact(s, 0, (fc_slice){0}, (fc_slice){0}) == 0 &&
                  fc_store_compact(s, m->other, (fc_slice){0}, (fc_slice){0}) == 0);
        while (fc_store_step(s) == 1)
            ;
    }
    CHECK(behind(s, m) == 0);
    CHECK(fc_store_close(s) == 0);
    return disk;
}

/* The store is damaged; afterwards it opens, at most so many keys are behind, and writing goes on above all there
 * was. */
static fc_store_repair_report mend(fc_disk *disk, model *m, unsigned behind_max)
{
    fc_store_repair_report report, again;
    fc_store_check_report found = check_store(disk);
    uint64_t chance = 99;
    CHECK(!is_sound(&found));
    CHECK(repair_store(disk, m, &report) == 0);
    CHECK(report.changed);
    found = check_store(disk);
    CHECK(is_sound(&found));
    CHECK(repair_store(disk, m, &again) == 0 && !again.changed);
    fc_store *s = open_store(disk, m);
    if (s == NULL)
        return report;
    unsigned n = behind(s, m);
    CHECK(n <= behind_max);
    CHECK(n == 0 || report.bytes_lost > 0 || report.log_replaced);
    play_round(s, m, 4, &chance); /* all keys anew */
    CHECK(behind(s, m) == 0);
    CHECK(fc_store_close(s) == 0);
    found = check_store(disk);
    CHECK(is_sound(&found));
    s = open_store(disk, m);
    CHECK(behind(s, m) == 0);
    fc_store_close(s);
    return report;
}

static void test_sound(void)
{
    model m;
    fc_disk *disk = make(&m, 3, 1);
    fc_store_check_report found = check_store(disk);
    fc_store_repair_report report;
    fc_store_check *c;
    CHECK(is_sound(&found) && found.manifest && found.tables > 0 && found.entries > 0 && found.keyspaces == 2);
    CHECK(repair_store(disk, &m, &report) == 0 && !report.changed && report.tables_sound == found.tables);
    fc_store *s = open_store(disk, &m);
    CHECK(fc_store_check_open(disk, &c) == FC_STORE_ELOCKED);
    CHECK(repair_store(disk, NULL, &report) == FC_STORE_ELOCKED);
    fc_store_check *live;
    CHECK(fc_store_check_live(s, &live) == 0);
    int answer;
    while ((answer = fc_store_check_step(live)) == 1)
        ;
    fc_store_check_get_report(live, &found);
    CHECK(answer == 0 && is_sound(&found) && found.tables > 0);
    fc_store_check_close(live);
    fc_store_close(s);
    fc_disk_close(disk);
    disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    CHECK(fc_store_check_open(disk, &c) == FC_STORE_EMISSING && repair_store(disk, NULL, &report) == FC_STORE_EMISSING);
    fc_disk_close(disk);
}

/* A bit of each table in turn, anywhere in it. */
static void test_tables(void)
{
    uint64_t rebuilt = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        model m;
        uint64_t chance = seed;
        fc_disk *disk = make(&m, 4, 1 + seed % 3);
        names tables = files(disk, ".tbl");
        CHECK(tables.n > 2);
        const char *name = tables.list[seed % tables.n];
        CHECK(fc_disk_sim_flip(disk, name, fc_hash_next(&chance) % (8 * size_of(disk, name))) == 0);
        fc_store_repair_report report = mend(disk, &m, 25);
        CHECK(report.tables_salvaged + report.tables_lost == 1 && !report.manifest_lost && !report.log_replaced);
        rebuilt += report.keyspaces_rebuilt;
        names moved = files(disk, "lost");
        CHECK(moved.n == 1);
        fc_disk_close(disk);
    }
    CHECK(rebuilt > 0 && rebuilt < 30); /* only where the log still has something of the table's */
}

/* What a damaged table held is in the log still: nothing is lost. */
static void test_table_and_log(void)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        model m;
        uint64_t chance = seed;
        segment_bytes = 1u << 20;
        fc_disk *disk = make(&m, 3, seed);
        segment_bytes = 8192;
        names tables = files(disk, ".tbl");
        fc_table *t;
        const char *name = tables.list[seed % tables.n];
        CHECK(fc_table_open(disk, name, NULL, NULL, NULL, &t) == 0);
        uint64_t data = fc_table_get_properties(t)->data_bytes;
        fc_table_close(t);
        if (seed == 8)
            CHECK(fc_disk_remove(disk, name) == 0);
        else
            CHECK(fc_disk_sim_flip(disk, name, fc_hash_next(&chance) % (8 * data)) == 0);
        fc_store_repair_report report = mend(disk, &m, 0);
        CHECK(report.keyspaces_rebuilt == 1 && report.log_records > 0 && !report.log_replaced);
        CHECK(report.bytes_lost == 0);
        fc_disk_close(disk);
    }
}

/* Damaged files are in lost/, under their name or one that begins with it. */
static bool is_kept(fc_disk *disk, const char *name)
{
    names l = {0};
    ending = name;
    CHECK(fc_disk_list(disk, "lost", collect, &l) == 0);
    return l.n > 0;
}

/* A table, the log and sometimes the manifest are damaged, power goes at that step of the repair (0: never), and the next
 * repair does it. Returns how many steps the first one took. */
static uint64_t crash_at(uint64_t at, uint64_t seed, bool manifest)
{
    model m;
    fc_store_repair_report report;
    fc_disk_sim_stats stats;
    fc_disk *disk = make(&m, 2, 1 + seed % 3);
    names tables = files(disk, ".tbl"), segments = files(disk, ".wal"), manifests = files(disk, "MANIFEST");
    CHECK(fc_disk_sim_flip(disk, tables.list[seed % tables.n], 8 * 700 + 3) == 0);
    CHECK(fc_disk_sim_flip(disk, segments.list[0], 8 * 300 + 1) == 0);
    if (manifest)
        CHECK(fc_disk_sim_flip(disk, manifests.list[0], 8 * 40) == 0);
    fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = seed, .crash_at = at});
    int error = repair_store(disk, &m, &report);
    CHECK(error == 0 || fc_disk_sim_off(disk));
    fc_disk_sim_get_stats(disk, &stats);
    CHECK(fc_disk_sim_crash(disk) == 0);
    fc_disk_sim_set(disk, &(fc_disk_sim_options){.seed = seed});
    CHECK(repair_store(disk, &m, &report) == 0);
    fc_store_check_report found = check_store(disk);
    CHECK(is_sound(&found));
    fc_store *s = open_store(disk, &m);
    CHECK(behind(s, &m) < 40);
    CHECK(fc_store_close(s) == 0);
    CHECK(is_kept(disk, tables.list[seed % tables.n]) && is_kept(disk, segments.list[0]));
    fc_disk_close(disk);
    return stats.steps;
}

/* Some of the steps that read and write tables, and each of the last ones, where files change their names. */
static void test_crash(void)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        uint64_t steps = crash_at(0, seed, seed % 3 == 0);
        CHECK(steps > 50);
        for (uint64_t at = 1; at < steps; at += at + 60 < steps ? 1 + steps / 40 : 1)
            crash_at(at, seed, seed % 3 == 0);
    }
}

/* A whole table, but not the one that the manifest knows: from a backup, say. It is taken as it is. */
static void test_other_table(void)
{
    model m;
    fc_disk *disk = make(&m, 2, 1);
    names tables = files(disk, ".tbl");
    fc_table_options o = FC_TABLE_OPTIONS;
    fc_table_writer *w = NULL;
    fc_table *t;
    char k[24];
    CHECK(fc_table_open(disk, tables.list[0], NULL, NULL, NULL, &t) == 0);
    o.id = fc_table_get_properties(t)->id;
    o.owner = fc_table_get_properties(t)->owner;
    fc_table_close(t);
    CHECK(fc_disk_remove(disk, tables.list[0]) == 0 && fc_table_writer_open(disk, tables.list[0], &o, &w) == 0);
    CHECK(fc_table_add(w, key_of(3, k), fc_tag(1, FC_KEY_DELETE), (fc_slice){0}) == 0);
    CHECK(fc_table_finish(w, NULL) == 0 && fc_table_writer_sync(w) == 0);
    fc_table_writer_close(w);
    memset(m.covered, 1, sizeof m.covered); /* nothing of it can be told as lost */
    fc_store_check_report found = check_store(disk);
    fc_store_repair_report report;
    CHECK(found.damages == 1 && repair_store(disk, &m, &report) == 0 && report.changed);
    found = check_store(disk);
    CHECK(is_sound(&found));
    fc_store *s = open_store(disk, &m);
    behind(s, &m);
    fc_store_close(s);
    fc_disk_close(disk);
}

static int put_as_it_is(void *ctx, const fc_edit_item *item)
{
    fc_edit_add(ctx, item);
    return 0;
}

/* A manifest of an earlier state: tables that it names have been merged into ones it does not know. */
static void test_manifest_behind(void)
{
    model m;
    fc_disk *disk = make(&m, 3, 2);
    fc_edit e = {0};
    fc_manifest *manifest;
    fc_manifest_report r;
    CHECK(fc_manifest_read(disk, put_as_it_is, &e, &r) == 0);
    fc_store *s = open_store(disk, &m);
    CHECK(fc_store_compact(s, 0, (fc_slice){0}, (fc_slice){0}) == 0);
    CHECK(fc_store_close(s) == 0);
    names manifests = files(disk, "MANIFEST");
    CHECK(manifests.n == 1 && fc_disk_remove(disk, manifests.list[0]) == 0);
    CHECK(fc_manifest_create(disk, r.number + 1000, &e, &manifest) == 0);
    fc_manifest_close(manifest);
    fc_edit_free(&e);
    CHECK(mend(disk, &m, 0).manifest_lost);
    fc_disk_close(disk);
}

static int put_on_level_1(void *ctx, const fc_edit_item *item)
{
    fc_edit_item changed = *item;
    if ((item->kind == FC_EDIT_ADD_TABLE || item->kind == FC_EDIT_REMOVE_TABLE) && item->level == 0)
        changed.level = 1;
    fc_edit_add(ctx, &changed);
    return 0;
}

/* Tables that overlap on a level: which is newer cannot be told from there. */
static void test_overlap(void)
{
    model m;
    fc_disk *disk = make(&m, 3, 2);
    fc_edit e = {0};
    fc_manifest *manifest;
    fc_manifest_report r;
    CHECK(fc_manifest_read(disk, put_on_level_1, &e, &r) == 0);
    CHECK(fc_manifest_create(disk, r.number + 1000, &e, &manifest) == 0);
    fc_manifest_close(manifest);
    fc_edit_free(&e);
    fc_store_repair_report report = mend(disk, &m, 0);
    CHECK(report.keyspaces_rebuilt == 2 && !report.manifest_lost && report.bytes_lost == 0);
    fc_disk_close(disk);
}

static void test_missing_table(void)
{
    model m;
    fc_disk *disk = make(&m, 3, 2);
    names tables = files(disk, ".tbl");
    CHECK(fc_disk_remove(disk, tables.list[0]) == 0);
    fc_store_repair_report report = mend(disk, &m, KEYS);
    CHECK(report.tables_lost == 1);
    fc_disk_close(disk);
}

/* Without CURRENT the newest manifest counts; without any, tables say whose they are and are merged. */
static void test_current(void)
{
    model m;
    fc_disk *disk = make(&m, 4, 3);
    CHECK(fc_disk_remove(disk, "CURRENT") == 0);
    fc_store_repair_report report = mend(disk, &m, 0);
    CHECK(!report.manifest_lost && report.keyspaces_rebuilt == 0);
    fc_disk_close(disk);
    disk = make(&m, 4, 3);
    CHECK(fc_disk_sim_flip(disk, "CURRENT", 77) == 0);
    report = mend(disk, &m, 0);
    CHECK(!report.manifest_lost);
    fc_disk_close(disk);
}

static void test_manifest(void)
{
    for (uint64_t seed = 1; seed <= 30; seed++) {
        model m;
        uint64_t chance = seed;
        fc_disk *disk = make(&m, 4, 1 + seed % 3);
        names manifests = files(disk, "MANIFEST");
        CHECK(manifests.n == 1);
        const char *name = manifests.list[0];
        CHECK(fc_disk_sim_flip(disk, name, fc_hash_next(&chance) % (8 * size_of(disk, name))) == 0);
        fc_store_check_report found = check_store(disk);
        if (!is_sound(&found)) { /* else a bit of the last seal, or of an edit that nothing followed */
            fc_store_repair_report report = mend(disk, &m, 0);
            CHECK(report.manifest_lost && report.keyspaces_rebuilt >= 2);
        }
        fc_disk_close(disk);
    }
}

/* The names of keyspaces are gone with the manifest; what was in them is not. */
static void test_no_manifest(void)
{
    model m;
    fc_disk *disk = make(&m, 4, 1);
    names manifests = files(disk, "MANIFEST");
    fc_store_repair_report report;
    fc_store_options o = small_store();
    fc_store *s;
    uint32_t id;
    CHECK(fc_disk_remove(disk, manifests.list[0]) == 0 && fc_disk_remove(disk, "CURRENT") == 0);
    CHECK(repair_store(disk, &m, &report) == 0 && report.manifest_lost && report.keyspaces_rebuilt == 2);
    CHECK(fc_store_open(disk, &o, NULL, &s) == 0);
    CHECK(fc_store_keyspace(s, (fc_slice){"recovered-1", 11}, NULL, false, &id) == 0 && id == m.other);
    CHECK(behind(s, &m) == 0);
    fc_store_close(s);
    fc_disk_close(disk);
}

/* A bit of each segment of the log; one of them missing; all of them. */
static void test_log(void)
{
    unsigned damaged = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        model m;
        uint64_t chance = seed;
        fc_disk *disk = make(&m, seed % 3, 1 + seed % 3);
        names segments = files(disk, ".wal");
        const char *name = segments.list[seed % segments.n];
        CHECK(fc_disk_sim_flip(disk, name, fc_hash_next(&chance) % (8 * size_of(disk, name))) == 0);
        fc_store_check_report found = check_store(disk);
        if (!is_sound(&found)) {
            fc_store_repair_report report = mend(disk, &m, 24); /* a segment whose head is damaged goes as a whole */
            CHECK(report.log_replaced && !report.manifest_lost);
            damaged++;
        }
        fc_disk_close(disk);
    }
    CHECK(damaged > 20);
    for (uint64_t k = 0; k < 4; k++) {
        model m;
        fc_disk *disk = make(&m, 1, 1);
        names segments = files(disk, ".wal");
        for (size_t i = 0; i < segments.n; i++)
            if (k == 3 || i == k)
                CHECK(fc_disk_remove(disk, segments.list[i]) == 0);
        fc_store_check_report found = check_store(disk);
        CHECK(k < 3 || !is_sound(&found));
        if (!is_sound(&found))
            CHECK(mend(disk, &m, SPACES * KEYS).log_replaced);
        fc_disk_close(disk);
    }
}

int main(void)
{
    test_sound();
    test_tables();
    test_missing_table();
    test_overlap();
    test_manifest_behind();
    test_other_table();
    test_table_and_log();
    test_crash();
    test_current();
    test_manifest();
    test_no_manifest();
    test_log();
    return check_done("store_repair");
}
