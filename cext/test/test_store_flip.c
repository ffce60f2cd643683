/* A bit is flipped in a file of a store that was closed: opening refuses, or reading answers the error, or verifying the
 * tables does; or it was a bit that nothing is kept in, and all is as it was. Never other data.
 *
 * FASTCORE_FLIPS=2000: so many flips.
 */
#include "check.h"
#include "crash_workload.h"

#define FLIPS 150
#define FILES_MAX 256

typedef struct files {
    char names[FILES_MAX][FC_DISK_NAME_MAX + 1];
    size_t n;
} files;

static int collect(void *ctx, const char *name)
{
    files *f = ctx;
    const char *end = strlen(name) > 4 ? name + strlen(name) - 4 : name;
    if (f->n < FILES_MAX && strcmp(end, "lock") != 0 && strcmp(end, "LOCK") != 0 && strncmp(name, "cp", 2) != 0)
        snprintf(f->names[f->n++], sizeof f->names[0], "%s", name);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static unsigned long refused[WATCH_WHATS], errors[WATCH_WHATS], verified[WATCH_WHATS], unseen[WATCH_WHATS];

static bool is_damage(int error)
{
    return error == FC_STORE_ECORRUPT || error == FC_STORE_EFORMAT || error == FC_TABLE_ECORRUPT;
}

/* All of it both ways and each key: 1 when damage was met, 0 when all is right. */
static int read_all(workload *w)
{
    model *m = &w->m;
    int damage = 0;
    for (uint32_t space = 0; space < SPACES; space++) {
        const model_space *is = &m->spaces[space];
        if (is->there != SPACE_THERE)
            continue;
        const cell *want = m->now.cells[space];
        for (int back = 0; back < 2; back++) {
            cell seen[KEYS];
            int error = model_see(m, w->store, is->id, NULL, back, seen);
            damage = damage || is_damage(error);
            if (error < 0 && !is_damage(error))
                wrong(m, "a scan answers %d", error);
            for (uint32_t i = 0; i < KEYS; i++) /* what was shown before the error is right */
                if ((error == 0 || seen[i].version) && !cell_same(&want[i], &seen[i], m->clock_ms))
                    wrong(m, "a scan shows version %lu of key %u, not %lu", (unsigned long)seen[i].version, i,
                          (unsigned long)want[i].version);
        }
        for (int n = 0; n < 40; n++) {
            int error = model_get_some(m, w->store, is->id, NULL, want, &w->chance);
            damage = damage || is_damage(error);
            if (error < 0 && !is_damage(error))
                wrong(m, "a get answers %d", error);
        }
    }
    return damage;
}

static int verify(fc_disk *disk, const char *name)
{
    fc_table *t;
    fc_codecs codecs;
    fc_codecs_open(&codecs);
    int answer = fc_table_open(disk, name, NULL, &codecs, NULL, &t);
    if (answer == 0) {
        fc_table_check check = {0};
        while ((answer = fc_table_verify(t, &check)) == 1)
            ;
        fc_table_close(t);
    }
    fc_codecs_close(&codecs);
    return answer;
}

static void flip(uint64_t number)
{
    uint64_t chance = number;
    workload *w = work_new(1 + number / 8, &(fc_disk_sim_options){.seed = 1});
    work_open(w);
    work_turns(w, 200);
    work_close(w);
    CHECK(w->m.wrong[0] == '\0');
    files found = {0};
    CHECK(fc_disk_list(w->disk, "", collect, &found) == 0 && found.n > 3);
    qsort(found.names, found.n, sizeof found.names[0], by_name);
    const char *name = found.names[fc_hash_next(&chance) % found.n];
    watch_what what = watch_name(name);
    fc_file *f;
    CHECK(fc_disk_file(w->disk, name, FC_FILE_READ, &f) == 0);
    uint64_t bits = 8 * (uint64_t)fc_file_size(f), bit = bits ? fc_hash_next(&chance) % bits : 0;
    fc_file_close(f);
    CHECK(fc_disk_sim_flip(w->disk, name, bit) == 0 || bits == 0);

    fc_damage damage = {.name = ""};
    int error = fc_store_open(w->disk, &w->options, &damage, &w->store);
    if (error < 0) {
        w->store = NULL;
        refused[what]++;
        CHECK(is_damage(error) && damage.what && strcmp(damage.name, name) == 0);
    } else if (read_all(w)) {
        errors[what]++;
        CHECK(fc_store_damage(w->store, &damage) && damage.what && strcmp(damage.name, name) == 0);
    } else {
        int answer = what == WATCH_TABLE ? verify(w->disk, name) : 0;
        (answer == FC_TABLE_ECORRUPT ? verified : unseen)[what]++;
        /* Zeros behind the log's end and segments kept for later; the seal that ends a manifest (or the log); a table that
         * did not count any more, and is gone now. */
        CHECK(answer == FC_TABLE_ECORRUPT || what == WATCH_LOG || what == WATCH_MANIFEST || answer == -ENOENT);
    }
    CHECK(w->m.wrong[0] == '\0' && check_failed == 0);
    if (w->m.wrong[0] || check_failed)
        fprintf(stderr, "flip %lu, of bit %lu in %s: %s (open %d)\n", (unsigned long)number, (unsigned long)bit, name, w->m.wrong,
                error);
    w->dead = true;
    work_free(w);
}

int main(void)
{
    const char *text = getenv("FASTCORE_FLIPS"), *only = getenv("FASTCORE_FLIP");
    unsigned long flips = text ? strtoul(text, NULL, 10) : FLIPS, seen = 0;
    if (only) {
        flip(strtoul(only, NULL, 10));
        return check_done("store_flip");
    }
    for (uint64_t i = 0; i < flips && check_failed == 0; i++)
        flip(i);
    for (int what = 0; what < WATCH_WHATS; what++) {
        seen += refused[what] + errors[what] + verified[what];
        if (refused[what] + errors[what] + verified[what] + unseen[what])
            printf("  %-9s refused when opened %lu, when read %lu, when verified %lu; nothing was kept there %lu\n",
                   WATCH_WHAT_NAMES[what], refused[what], errors[what], verified[what], unseen[what]);
    }
    CHECK(seen > flips / 2);
    return check_done("store_flip");
}
