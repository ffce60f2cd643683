/* What compaction picks: a simulation of thousands of flushes in which a table is a sorted array of numbers, and small
 * cases one by one. */
#include "fc/compaction.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"

#define LEVELS 7u
#define ENTRY_BYTES 100u
#define FLUSH 1000u      /* entries of a memtable */
#define TABLE 500u       /* and of a table below level 0 */
#define FACTOR 10u
#define TABLES_MAX 20000u

/* --- a store of numbers ------------------------------------------------------------------------------------------- */

typedef struct numbers {
    uint32_t *keys; /* ascending */
    size_t n;
    char smallest[4], largest[4];
    fc_table_meta meta;
} numbers;

typedef struct sim {
    numbers *tables[LEVELS][TABLES_MAX];
    fc_pick_table picks[LEVELS][TABLES_MAX];
    fc_pick_level levels[LEVELS];
    fc_pick_options options;
    uint64_t flushed, written, picks_n, moves, largest_pick;
    size_t level0_most;
} sim;

static int by_number(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static fc_slice slice_of(uint32_t key, char out[4])
{
    key = __builtin_bswap32(key);
    memcpy(out, &key, 4);
    return (fc_slice){out, 4};
}

static numbers *table_of(const uint32_t *keys, size_t n)
{
    numbers *t = calloc(1, sizeof *t);
    t->keys = malloc(n * sizeof *keys);
    memcpy(t->keys, keys, n * sizeof *keys);
    t->n = n;
    t->meta = (fc_table_meta){.bytes = n * ENTRY_BYTES, .entries = n};
    t->meta.smallest = slice_of(keys[0], t->smallest);
    t->meta.largest = slice_of(keys[n - 1], t->largest);
    return t;
}

static void drop(numbers *t)
{
    free(t->keys);
    free(t);
}

static void look(sim *s)
{
    bool ordered = true;
    for (unsigned l = 0; l < LEVELS; l++)
        for (size_t i = 0; i < s->levels[l].n; i++) {
            s->picks[l][i] = (fc_pick_table){.meta = &s->tables[l][i]->meta};
            if (l && i)
                ordered = ordered && s->tables[l][i - 1]->keys[s->tables[l][i - 1]->n - 1] < s->tables[l][i]->keys[0];
        }
    CHECK(ordered);
}

static void insert(sim *s, unsigned level, numbers *t)
{
    fc_pick_level *l = &s->levels[level];
    size_t at = level ? fc_pick_find(l, t->meta.smallest) : 0;
    memmove(&s->tables[level][at + 1], &s->tables[level][at], (l->n - at) * sizeof t);
    s->tables[level][at] = t;
    l->n++;
    CHECK(l->n < TABLES_MAX - 1);
    look(s);
}

static numbers *take_out(sim *s, unsigned level, size_t i)
{
    numbers *t = s->tables[level][i];
    fc_pick_level *l = &s->levels[level];
    l->n--;
    memmove(&s->tables[level][i], &s->tables[level][i + 1], (l->n - i) * sizeof t);
    return t;
}

/* The union of the inputs, cut at the usual size and, nearly full, where a table of the next level begins. */
static void merge(sim *s, const fc_pick *p)
{
    static uint32_t all[20000000];
    size_t n = 0, unique = 0;
    for (size_t i = p->upper_n; i-- > 0;) {
        numbers *t = take_out(s, p->level, p->upper[i]);
        memcpy(all + n, t->keys, t->n * sizeof *all);
        n += t->n;
        drop(t);
    }
    for (size_t i = p->lower_n; i-- > 0;) {
        numbers *t = take_out(s, p->output_level, p->lower[i]);
        memcpy(all + n, t->keys, t->n * sizeof *all);
        n += t->n;
        drop(t);
    }
    look(s);
    qsort(all, n, sizeof *all, by_number);
    for (size_t i = 0; i < n; i++)
        if (unique == 0 || all[unique - 1] != all[i])
            all[unique++] = all[i];
    for (size_t from = 0, to; from < unique; from = to) {
        const fc_pick_level *next = p->output_level + 1 < LEVELS ? &s->levels[p->output_level + 1] : NULL;
        char key[4];
        size_t border = next ? fc_pick_find(next, slice_of(all[from], key)) : 0;
        to = from + TABLE < unique ? from + TABLE : unique;
        for (; next && border < next->n; border++) {
            uint32_t begin = s->tables[p->output_level + 1][border]->keys[0];
            if (to < unique && begin > all[from + TABLE * 3 / 4] && begin <= all[to])
                while (all[to - 1] >= begin)
                    to--;
            if (begin > all[to - 1])
                break;
        }
        insert(s, p->output_level, table_of(all + from, to - from));
    }
    s->written += unique * ENTRY_BYTES;
}

static void run(sim *s, const fc_pick *p)
{
    s->picks_n++;
    s->moves += p->move;
    s->largest_pick = p->bytes > s->largest_pick ? p->bytes : s->largest_pick;
    if (!p->move) {
        merge(s, p);
        return;
    }
    for (size_t i = p->upper_n; i-- > 0;)
        insert(s, p->output_level, take_out(s, p->level, p->upper[i]));
}

/* One compaction takes as long as `speed` bytes of it for each byte that is flushed. */
static void settle(sim *s, double speed, double *credit)
{
    fc_pick p;
    while (*credit > 0 && fc_compaction_pick(s->levels, &s->options, &p) == 0 && p.reason) {
        run(s, &p);
        *credit -= p.move ? 0 : (double)p.bytes;
        fc_pick_free(&p);
    }
    *credit = *credit > 0 ? 0 : *credit;
    *credit += speed * FLUSH * ENTRY_BYTES;
}

static void begin(sim *s)
{
    memset(s, 0, sizeof *s);
    for (unsigned l = 0; l < LEVELS; l++)
        s->levels[l].tables = s->picks[l];
    s->options = (fc_pick_options){.levels = LEVELS,
                                   .level0_tables = 4,
                                   .level_bytes = 4 * FLUSH * ENTRY_BYTES,
                                   .level_factor = FACTOR,
                                   .table_bytes = TABLE * ENTRY_BYTES,
                                   .oldest_snapshot = FC_SEQ_MAX};
}

static uint64_t entries_of(const sim *s, unsigned level)
{
    uint64_t n = 0;
    for (size_t i = 0; i < s->levels[level].n; i++)
        n += s->tables[level][i]->n;
    return n;
}

static void check_shape(sim *s, double live, double most)
{
    uint64_t targets[LEVELS], total = 0;
    unsigned base;
    fc_compaction_targets(s->levels, &s->options, targets, &base);
    CHECK(fc_compaction_debt(s->levels, &s->options) == 0);
    CHECK(s->levels[0].n < s->options.level0_tables);
    for (unsigned l = 1; l < LEVELS; l++) {
        CHECK(l >= base || s->levels[l].n == 0);
        CHECK(entries_of(s, l) * ENTRY_BYTES <= targets[l]);
        total += entries_of(s, l);
    }
    CHECK((double)total <= most * live);
}

static void empty(sim *s)
{
    for (unsigned l = 0; l < LEVELS; l++)
        while (s->levels[l].n)
            drop(take_out(s, l, s->levels[l].n - 1));
}

/* Random writes over a growing, then a fixed set of keys, with compaction as fast as it has to be, and slower. */
static void simulate(const char *name, uint32_t keys, unsigned flushes, double speed, double most_written)
{
    static sim s;
    uint64_t chance = 7;
    double credit = 0, live = 0;
    char *seen = calloc(1, keys);
    begin(&s);
    for (unsigned f = 0; f < flushes; f++) {
        uint32_t batch[FLUSH];
        size_t n = 0;
        for (unsigned i = 0; i < FLUSH; i++) {
            batch[i] = (uint32_t)(fc_hash_next(&chance) % keys);
            live += !seen[batch[i]];
            seen[batch[i]] = 1;
        }
        qsort(batch, FLUSH, sizeof *batch, by_number);
        for (unsigned i = 0; i < FLUSH; i++)
            if (n == 0 || batch[n - 1] != batch[i])
                batch[n++] = batch[i];
        insert(&s, 0, table_of(batch, n));
        s.flushed += n * ENTRY_BYTES;
        s.level0_most = s.levels[0].n > s.level0_most ? s.levels[0].n : s.level0_most;
        settle(&s, speed, &credit);
    }
    double written = 1 + (double)s.written / (double)s.flushed;
    credit = 1e18;
    settle(&s, 0, &credit);
    double total = 0;
    for (unsigned l = 1; l < LEVELS; l++)
        total += (double)entries_of(&s, l);
    printf("pick: %s: written %.1f times, space %.2f, level 0 up to %lu tables, a job up to %.1f MB of %.1f MB;",
           name, written, total / live, (unsigned long)s.level0_most, (double)s.largest_pick / 1e6,
           live * ENTRY_BYTES / 1e6);
    for (unsigned l = 1; l < LEVELS; l++)
        printf(" %.2f", (double)entries_of(&s, l) * ENTRY_BYTES / 1e6);
    printf(" MB\n");
    check_shape(&s, live, 1.15);
    CHECK(written < most_written);
    empty(&s);
    free(seen);
}

/* --- one case at a time ------------------------------------------------------------------------------------------- */

/* Tables of keys [from, to], written "af" for a to f. */
typedef struct small {
    fc_table_meta metas[LEVELS][16];
    fc_pick_table picks[LEVELS][16];
    fc_pick_level levels[LEVELS];
    fc_pick_options options;
} small;

static void begin_small(small *s)
{
    *s = (small){.options = {.levels = LEVELS,
                             .level0_tables = 4,
                             .level_bytes = 1000,
                             .level_factor = 10,
                             .table_bytes = 100,
                             .now_ms = 1000,
                             .oldest_snapshot = FC_SEQ_MAX}};
    for (unsigned l = 0; l < LEVELS; l++)
        s->levels[l].tables = s->picks[l];
}

static fc_table_meta *add(small *s, unsigned level, const char *span, uint64_t bytes)
{
    size_t i = s->levels[level].n++;
    s->metas[level][i] = (fc_table_meta){.bytes = bytes, .entries = 100, .first_seq = 1, .last_seq = 50};
    s->metas[level][i].smallest = (fc_slice){span, 1};
    s->metas[level][i].largest = (fc_slice){span + 1, 1};
    s->picks[level][i] = (fc_pick_table){.meta = &s->metas[level][i]};
    return &s->metas[level][i];
}

/* The pick as text: its reason, levels, tables and whether it is a move. */
static const char *text_of(const small *s, int error, fc_pick *p)
{
    static char out[160];
    size_t n = (size_t)snprintf(out, sizeof out, "%d %u>%u ", p->reason, p->level, p->output_level);
    for (size_t i = 0; i < p->upper_n; i++)
        n += (size_t)snprintf(out + n, sizeof out - n, "%.2s ", s->metas[p->level][p->upper[i]].smallest.p);
    for (size_t i = 0; i < p->lower_n; i++)
        n += (size_t)snprintf(out + n, sizeof out - n, "+%.2s ", s->metas[p->output_level][p->lower[i]].smallest.p);
    snprintf(out + n, sizeof out - n, "%s", p->move ? "move" : "");
    if (error < 0 || p->reason == FC_PICK_NOTHING)
        snprintf(out, sizeof out, "%d", error);
    fc_pick_free(p);
    return out;
}

static const char *picked(const small *s)
{
    fc_pick p;
    int error = fc_compaction_pick(s->levels, &s->options, &p);
    return text_of(s, error, &p);
}

static const char *picked_range(const small *s, unsigned level, const char *begin_at, const char *end_at)
{
    fc_pick p;
    int error = fc_compaction_pick_range(s->levels, &s->options, level, (fc_slice){begin_at, strlen(begin_at)},
                                         (fc_slice){end_at, strlen(end_at)}, &p);
    return text_of(s, error, &p);
}

#define SAME(text, expected)                                                   \
    do {                                                                       \
        const char *got = (text);                                              \
        CHECK(strcmp(got, expected) == 0);                                     \
        if (strcmp(got, expected) != 0)                                        \
            fprintf(stderr, "    got \"%s\" instead of \"%s\"\n", got, expected); \
    } while (0)

static void test_level0(void)
{
    small s;
    begin_small(&s);
    SAME(picked(&s), "0");
    add(&s, 0, "ac", 10);
    add(&s, 0, "ef", 10);
    add(&s, 0, "bd", 10);
    SAME(picked(&s), "0"); /* three are not too many */
    add(&s, 0, "gh", 10);
    SAME(picked(&s), "1 0>6 gh move"); /* the oldest, which overlaps nothing */
    SAME(picked_range(&s, 0, "d", "dz"), "4 0>6 ac bd ");
    SAME(picked_range(&s, 0, "e", ""), "4 0>6 ef gh ");
    SAME(picked_range(&s, 0, "i", ""), "0");
    add(&s, 0, "dg", 10); /* older still, and it holds all of them together */
    SAME(picked(&s), "1 0>6 ac ef bd gh dg ");
    add(&s, 6, "Aa", 10);
    add(&s, 6, "hk", 10);
    add(&s, 6, "lm", 10);
    SAME(picked(&s), "1 0>6 ac ef bd gh dg +Aa +hk ");
    s.picks[6][1].busy = true;
    SAME(picked(&s), "0");
    s.picks[6][1].busy = false;
    s.picks[0][1].busy = true; /* one job of level 0 at a time */
    SAME(picked(&s), "0");
    s.picks[0][1].busy = false;
    add(&s, 4, "xy", 10); /* nothing may go past a level that is in use, not wanted though it is */
    SAME(picked(&s), "1 4>5 xy move");
    s.picks[4][0].busy = true;
    SAME(picked(&s), "1 0>4 ac ef bd gh dg ");
}

static void test_cheapest(void)
{
    small s;
    begin_small(&s);
    add(&s, 6, "ab", 4000);
    add(&s, 6, "cd", 1000);
    add(&s, 6, "ef", 1000);
    add(&s, 5, "ab", 300);
    add(&s, 5, "cc", 100);
    add(&s, 5, "dd", 100);
    add(&s, 5, "de", 200);
    uint64_t targets[LEVELS];
    unsigned base;
    fc_compaction_targets(s.levels, &s.options, targets, &base);
    CHECK(base == 5 && targets[5] == 600 && targets[6] == 6000 && targets[4] == 0 && targets[0] == 0);
    CHECK(fc_compaction_debt(s.levels, &s.options) == 100 + 100 * 6000 / 700);
    /* "cc" and "dd" cost ten times their size each, and share what they meet; "de" as much alone. */
    SAME(picked(&s), "1 5>6 cc dd +cd ");
    s.metas[5][0].deletes = 90; /* 13 for each byte, but it gives most of it back */
    SAME(picked(&s), "1 5>6 ab +ab ");
    s.options.oldest_snapshot = 49; /* not while somebody needs it */
    SAME(picked(&s), "1 5>6 cc dd +cd ");
    s.picks[6][1].busy = true;
    SAME(picked(&s), "1 5>6 ab +ab ");
    s.picks[5][0].busy = true;
    s.picks[6][1].busy = false; /* what is left is not too much */
    SAME(picked(&s), "0");
}

static void test_waste(void)
{
    small s;
    begin_small(&s);
    fc_table_meta *m = add(&s, 6, "ab", 100);
    s.picks[6][0].keys = 100;
    m->deletes = 49;
    SAME(picked(&s), "0");
    m->deletes = 50;
    SAME(picked(&s), "2 6>6 ab ");
    s.options.oldest_snapshot = 40;
    SAME(picked(&s), "0");
    s.options.oldest_snapshot = FC_SEQ_MAX;
    m->deletes = 0;
    s.picks[6][0].keys = 50; /* two versions of each key */
    SAME(picked(&s), "2 6>6 ab ");
    s.picks[6][0].keys = 0;
    SAME(picked(&s), "0");
    m->ranges = 1;
    SAME(picked(&s), "2 6>6 ab ");
    m->ranges = 0;
    m->expiring = 100;
    m->first_expiry = 900;
    s.picks[6][0].last_expiry = 1200;
    SAME(picked(&s), "0");
    SAME(picked_range(&s, 6, "", ""), "4 6>6 ab ");
    s.picks[6][0].last_expiry = 1100;
    SAME(picked(&s), "3 6>6 ab ");
    m->expiring = 0;
    SAME(picked_range(&s, 6, "", ""), "0");
    m = add(&s, 5, "bc", 10); /* above, deletions are sent down, the few ranges not; never as they are */
    s.options.level_bytes = 30;
    m->ranges = 1;
    SAME(picked(&s), "0");
    m->deletes = 50;
    SAME(picked(&s), "2 5>6 bc +ab ");
    m->smallest = (fc_slice){"cc", 1};
    SAME(picked(&s), "2 5>6 cc ");
    SAME(picked_range(&s, 5, "", ""), "4 5>6 cc ");
    m->deletes = m->ranges = 0;
    SAME(picked_range(&s, 5, "", ""), "4 5>6 cc move");
}

/* What is asked for comes in parts, none of which leaves out a table in its midst. */
static void test_parts(void)
{
    small s;
    begin_small(&s);
    add(&s, 5, "ab", 600);
    add(&s, 5, "cd", 600);
    add(&s, 5, "ef", 600);
    add(&s, 5, "gh", 600);
    add(&s, 6, "bc", 600);
    SAME(picked_range(&s, 5, "", ""), "4 5>6 ab cd +bc ");
    SAME(picked_range(&s, 5, "e", "g"), "4 5>6 ef move");
    s.picks[5][1].busy = true;
    SAME(picked_range(&s, 5, "", ""), "4 5>6 ab +bc ");
    s.picks[6][0].busy = true;
    SAME(picked_range(&s, 5, "", ""), "4 5>6 ef gh move");
    fc_table_meta *m = add(&s, 6, "de", 100);
    add(&s, 6, "fg", 100)->deletes = 1;
    add(&s, 6, "hi", 100)->deletes = 1;
    SAME(picked_range(&s, 6, "", ""), "4 6>6 fg hi ");
    m->deletes = 1;
    s.picks[6][2].busy = true;
    SAME(picked_range(&s, 6, "", ""), "4 6>6 de ");
    SAME(picked_range(&s, 6, "h", ""), "4 6>6 hi ");
}

int main(void)
{
    simulate("a growing store", 100000, 1200, 1e9, 10);
    simulate("three levels", 800000, 3000, 30, 15);
    simulate("compaction too slow", 300000, 2000, 9, 12);
    test_level0();
    test_cheapest();
    test_waste();
    test_parts();
    return check_done("pick");
}
