#include "fc/metrics.h"

#include <string.h>
#include <unistd.h>

#include "fc/pidlock.h"
#include "fc/region.h"

#define MAGIC 0x316972746d6366ffull
#define CLEANING 0x80000000u /* in a slot's pid: that process is freeing it for a dead one */

typedef struct head {
    uint64_t magic; /* stored last: zero means not prepared */
    uint32_t version;
    fc_pidlock lock;
    fc_metrics_limits limits;
    char pad0[FC_CACHE_LINE - 36];
    uint32_t families, series; /* published entries */
    uint32_t indexed;          /* series that are in their family's chain and in the index */
    uint32_t rows;             /* rows ever claimed: a reader need not touch the others */
    char pad1[FC_CACHE_LINE - 16];
} head;

typedef struct slot {
    uint32_t pid;
    char pad[FC_CACHE_LINE - 4];
} slot;

typedef struct family {
    uint32_t text; /* name, unit, help, one after the other */
    uint16_t name_len, help_len;
    uint8_t unit_len, type;
    fc_hist_layout layout;
    uint32_t scale;
    uint32_t overflow;    /* cell */
    uint32_t first, last; /* chain of series, counted from 1 */
} family;

typedef struct series {
    uint32_t hash, family, text, len, cell;
    uint32_t next; /* counted from 1 */
} series;

_Static_assert(sizeof(head) == 2 * FC_CACHE_LINE && sizeof(slot) == FC_CACHE_LINE, "documented layout");

static uint64_t align_to(uint64_t n, uint64_t to) { return (n + to - 1) & ~(to - 1); }

static fc_metrics_layout layout_of(const fc_metrics_limits *l)
{
    fc_metrics_layout o = {.index_mask = 7};
    while (o.index_mask < 2 * l->series - 1) /* at most half full, so probes stay short and always end */
        o.index_mask = o.index_mask << 1 | 1;
    o.slots = sizeof(head);
    o.families = o.slots + sizeof(slot) * (uint64_t)l->slots;
    o.series = align_to(o.families + sizeof(family) * (uint64_t)l->families, FC_CACHE_LINE);
    o.index = align_to(o.series + sizeof(series) * (uint64_t)l->series, FC_CACHE_LINE);
    o.text = o.index + sizeof(uint32_t) * ((uint64_t)o.index_mask + 1);
    o.rows = align_to(o.text + l->text, FC_METRICS_ALIGN);
    o.stride = align_to(sizeof(uint64_t) * (uint64_t)l->cells, FC_METRICS_ALIGN);
    o.size = o.rows + o.stride * l->slots;
    return o;
}

#define AT(m, field, type) ((type *)(void *)((m)->base + (m)->at.field))

static head *head_of(const fc_metrics *m) { return (head *)(void *)m->base; }

static uint64_t *row_of(const fc_metrics *m, uint32_t slot_no)
{
    return (uint64_t *)(void *)(m->base + m->at.rows + m->at.stride * slot_no);
}

fc_metrics_limits fc_metrics_limits_for(uint32_t n, uint32_t slots)
{
    return (fc_metrics_limits){.slots = slots,
                               .families = 256,
                               .series = n,
                               .cells = n > 1u << 22 ? 0 : 24 * n + 4096,
                               .text = n > 1u << 22 ? 0 : 128 * n + 65536};
}

uint64_t fc_metrics_size(const fc_metrics_limits *l)
{
    if (l->slots < 1 || l->slots > 4096 || l->families < 1 || l->families > 65536 || l->series < 1 ||
        l->series > 1u << 22 || l->cells < 1 || l->cells > 1u << 28 || l->text < 1 || l->text > 1u << 30)
        return 0;
    return layout_of(l).size;
}

int fc_metrics_open(fc_metrics *m, void *base, uint64_t size, const fc_metrics_limits *limits)
{
    head *h = base;
    if (size < sizeof(head))
        return FC_METRICS_ESIZE;
    if (__atomic_load_n(&h->magic, __ATOMIC_ACQUIRE) == 0) {
        uint64_t needed = limits ? fc_metrics_size(limits) : 0;
        if (needed == 0 || needed > size)
            return FC_METRICS_ESIZE;
        if (fc_pidlock_acquire(&h->lock, FC_PIDLOCK_WAIT_NS) != 0)
            return FC_METRICS_EBUSY;
        if (__atomic_load_n(&h->magic, __ATOMIC_RELAXED) == 0) {
            h->version = FC_METRICS_VERSION;
            h->limits = *limits;
            __atomic_store_n(&h->magic, MAGIC, __ATOMIC_RELEASE);
        }
        fc_pidlock_release(&h->lock);
    }
    if (h->magic != MAGIC || h->version != FC_METRICS_VERSION)
        return FC_METRICS_EVERSION;
    uint64_t needed = fc_metrics_size(&h->limits);
    if (needed == 0 || needed > size)
        return FC_METRICS_ESIZE;
    *m = (fc_metrics){.base = base, .limits = h->limits, .at = layout_of(&h->limits), .slot = -1};
    return 0;
}

uint32_t fc_metrics_family_count(const fc_metrics *m) { return __atomic_load_n(&head_of(m)->families, __ATOMIC_ACQUIRE); }

uint32_t fc_metrics_series_count(const fc_metrics *m) { return __atomic_load_n(&head_of(m)->series, __ATOMIC_ACQUIRE); }

static uint32_t cells_of(const family *f)
{
    return f->type == FC_METRICS_HISTOGRAM ? fc_hist_cells(f->layout) : 1;
}

/* What is handed out, read off the last entries: with no counter of its own it cannot disagree with them. */
static void used(const fc_metrics *m, uint32_t *cells, uint32_t *text)
{
    const head *h = head_of(m);
    *cells = *text = 0;
    if (h->families > 0) {
        const family *f = &AT(m, families, family)[h->families - 1];
        *cells = f->overflow + cells_of(f);
        *text = f->text + f->name_len + f->unit_len + f->help_len;
    }
    if (h->series > 0) {
        const series *s = &AT(m, series, series)[h->series - 1];
        uint32_t end = s->cell + cells_of(&AT(m, families, family)[s->family]);
        *cells = end > *cells ? end : *cells;
        *text = s->text + s->len > *text ? s->text + s->len : *text;
    }
}

static bool word_ok(fc_slice s, size_t longest, bool colons)
{
    if (s.n == 0 || s.n > longest || (s.p[0] >= '0' && s.p[0] <= '9'))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
              (c == ':' && colons)))
            return false;
    }
    return true;
}

static bool ends_with(fc_slice s, const char *tail, size_t n)
{
    return s.n >= n && memcmp(s.p + s.n - n, tail, n) == 0;
}

static int check_def(const fc_metrics_family_def *d)
{
    /* A family foo_count beside a histogram foo would expose the same sample name twice. */
    static const char *const reserved[] = {"_total", "_count", "_sum", "_bucket", "_created"};
    if (!word_ok(d->name, FC_METRICS_NAME, true))
        return FC_METRICS_ENAME;
    for (size_t i = 0; i < FC_ARRAY_LEN(reserved); i++)
        if (ends_with(d->name, reserved[i], strlen(reserved[i])))
            return FC_METRICS_ENAME;
    if (d->help.n > FC_METRICS_HELP)
        return FC_METRICS_ETEXT;
    if (d->unit.n > 0 && (!word_ok(d->unit, FC_METRICS_UNIT, false) || d->name.n < d->unit.n + 2 ||
                          !ends_with(d->name, d->unit.p, d->unit.n) || d->name.p[d->name.n - d->unit.n - 1] != '_'))
        return FC_METRICS_EUNIT;
    if (d->type != FC_METRICS_HISTOGRAM)
        return d->scale == 1 ? 0 : FC_METRICS_EUNIT;
    if (d->scale != 1 && d->scale != 1000 && d->scale != 1000000 && d->scale != 1000000000)
        return FC_METRICS_EUNIT;
    return fc_hist_valid(d->layout) ? 0 : FC_METRICS_ELAYOUT;
}

static int find_family(const fc_metrics *m, fc_slice name)
{
    const char *text = AT(m, text, char);
    const family *f = AT(m, families, family);
    for (uint32_t i = 0, n = fc_metrics_family_count(m); i < n; i++, f++)
        if (f->name_len == name.n && memcmp(text + f->text, name.p, name.n) == 0)
            return (int)i;
    return -1;
}

static int same_kind(const fc_metrics *m, int i, const fc_metrics_family_def *d)
{
    const family *f = &AT(m, families, family)[i];
    const char *unit = AT(m, text, char) + f->text + f->name_len;
    bool same = f->type == d->type && f->scale == d->scale && f->unit_len == d->unit.n &&
                (d->unit.n == 0 || memcmp(unit, d->unit.p, d->unit.n) == 0) &&
                (d->type != FC_METRICS_HISTOGRAM || memcmp(&f->layout, &d->layout, sizeof f->layout) == 0);
    return same ? i : FC_METRICS_EKIND;
}

static char *put(char *to, fc_slice s)
{
    if (s.n > 0)
        memcpy(to, s.p, s.n);
    return to + s.n;
}

static int append_family(fc_metrics *m, const fc_metrics_family_def *d)
{
    head *h = head_of(m);
    uint32_t i = h->families, cell, text;
    used(m, &cell, &text);
    family new = {.text = text,
                  .name_len = (uint16_t)d->name.n,
                  .help_len = (uint16_t)d->help.n,
                  .unit_len = (uint8_t)d->unit.n,
                  .type = (uint8_t)d->type,
                  .layout = d->type == FC_METRICS_HISTOGRAM ? d->layout : (fc_hist_layout){0},
                  .scale = d->scale,
                  .overflow = cell};
    if (i == m->limits.families || cells_of(&new) > m->limits.cells - cell ||
        d->name.n + d->unit.n + d->help.n > m->limits.text - text)
        return FC_METRICS_EFULL;
    put(put(put(AT(m, text, char) + text, d->name), d->unit), d->help);
    AT(m, families, family)[i] = new;
    __atomic_store_n(&h->families, i + 1, __ATOMIC_RELEASE);
    return (int)i;
}

/* Invariant 4: brings chain and index up to the published series. Each step may be repeated. */
static void catch_up(fc_metrics *m)
{
    head *h = head_of(m);
    family *families = AT(m, families, family);
    series *all = AT(m, series, series);
    uint32_t *index = AT(m, index, uint32_t), mask = m->at.index_mask;
    while (h->indexed < h->series) {
        uint32_t no = h->indexed + 1;
        series *s = &all[no - 1];
        family *f = &families[s->family];
        if (f->last != no) {
            __atomic_store_n(f->last ? &all[f->last - 1].next : &f->first, no, __ATOMIC_RELEASE);
            __atomic_store_n(&f->last, no, __ATOMIC_RELEASE);
        }
        uint32_t at = s->hash & mask;
        while (index[at] != 0 && index[at] != no)
            at = (at + 1) & mask;
        __atomic_store_n(&index[at], no, __ATOMIC_RELEASE);
        __atomic_store_n(&h->indexed, no, __ATOMIC_RELEASE);
    }
}

int fc_metrics_family(fc_metrics *m, const fc_metrics_family_def *d)
{
    int error = check_def(d);
    if (error)
        return error;
    int i = find_family(m, d->name);
    if (i < 0) {
        if (fc_pidlock_acquire(&head_of(m)->lock, FC_PIDLOCK_WAIT_NS) != 0)
            return FC_METRICS_EBUSY;
        i = find_family(m, d->name);
        if (i < 0) {
            i = append_family(m, d);
            fc_pidlock_release(&head_of(m)->lock);
            return i;
        }
        fc_pidlock_release(&head_of(m)->lock);
    }
    return same_kind(m, i, d);
}

/* FNV-1a: label texts are short and come from configuration, so speed and flooding are no concern. */
static uint32_t hash_of(uint32_t family_no, fc_slice labels)
{
    uint32_t hash = 2166136261u ^ family_no;
    for (size_t i = 0; i < labels.n; i++)
        hash = (hash ^ (unsigned char)labels.p[i]) * 16777619u;
    return hash ^ hash >> 15;
}

static int64_t find_series(const fc_metrics *m, uint32_t family_no, fc_slice labels, uint32_t hash)
{
    const uint32_t *index = AT(m, index, uint32_t), mask = m->at.index_mask;
    const series *all = AT(m, series, series);
    const char *text = AT(m, text, char);
    for (uint32_t at = hash & mask;; at = (at + 1) & mask) {
        uint32_t no = __atomic_load_n(&index[at], __ATOMIC_ACQUIRE);
        if (no == 0)
            return -1;
        const series *s = &all[no - 1];
        if (s->hash == hash && s->family == family_no && s->len == labels.n &&
            (labels.n == 0 || memcmp(text + s->text, labels.p, labels.n) == 0))
            return s->cell;
    }
}

static int64_t append_series(fc_metrics *m, uint32_t family_no, fc_slice labels, uint32_t hash)
{
    head *h = head_of(m);
    const family *f = &AT(m, families, family)[family_no];
    uint32_t cell, text;
    used(m, &cell, &text);
    if (h->series == m->limits.series || cells_of(f) > m->limits.cells - cell || labels.n > m->limits.text - text)
        return f->overflow;
    put(AT(m, text, char) + text, labels);
    AT(m, series, series)[h->series] =
        (series){.hash = hash, .family = family_no, .text = text, .len = (uint32_t)labels.n, .cell = cell};
    __atomic_store_n(&h->series, h->series + 1, __ATOMIC_RELEASE);
    catch_up(m);
    return cell;
}

int64_t fc_metrics_series(fc_metrics *m, int family_no, fc_slice labels)
{
    if (labels.n > FC_METRICS_LABELS)
        return FC_METRICS_ETEXT;
    uint32_t hash = hash_of((uint32_t)family_no, labels);
    int64_t cell = find_series(m, (uint32_t)family_no, labels, hash);
    if (cell >= 0)
        return cell;
    if (fc_pidlock_acquire(&head_of(m)->lock, FC_PIDLOCK_WAIT_NS) != 0)
        return FC_METRICS_EBUSY;
    catch_up(m);
    cell = find_series(m, (uint32_t)family_no, labels, hash);
    if (cell < 0)
        cell = append_series(m, (uint32_t)family_no, labels, hash);
    fc_pidlock_release(&head_of(m)->lock);
    return cell;
}

uint32_t fc_metrics_overflow(const fc_metrics *m, int family_no) { return AT(m, families, family)[family_no].overflow; }

void fc_metrics_family_get(const fc_metrics *m, uint32_t i, fc_metrics_family_info *info)
{
    const family *f = &AT(m, families, family)[i];
    const char *text = AT(m, text, char) + f->text;
    *info = (fc_metrics_family_info){.type = (fc_metrics_type)f->type,
                                     .name = {text, f->name_len},
                                     .unit = {text + f->name_len, f->unit_len},
                                     .help = {text + f->name_len + f->unit_len, f->help_len},
                                     .scale = f->scale,
                                     .layout = f->layout,
                                     .overflow = f->overflow,
                                     .cells = cells_of(f),
                                     .first = __atomic_load_n(&f->first, __ATOMIC_ACQUIRE)};
}

void fc_metrics_series_get(const fc_metrics *m, uint32_t no, fc_metrics_series_info *info)
{
    const series *s = &AT(m, series, series)[no - 1];
    *info = (fc_metrics_series_info){.labels = {AT(m, text, char) + s->text, s->len},
                                     .cell = s->cell,
                                     .next = __atomic_load_n(&s->next, __ATOMIC_ACQUIRE)};
}

static void zero_gauges(const fc_metrics *m, uint64_t *row)
{
    for (uint32_t i = 0, n = fc_metrics_family_count(m); i < n; i++) {
        fc_metrics_family_info f;
        fc_metrics_family_get(m, i, &f);
        if (f.type != FC_METRICS_GAUGE)
            continue;
        fc_metrics_set(row, f.overflow, 0);
        fc_metrics_series_info s = {.next = f.first};
        while (s.next != 0) {
            fc_metrics_series_get(m, s.next, &s);
            fc_metrics_set(row, s.cell, 0);
        }
    }
}

static bool take(slot *s, uint32_t from, uint32_t to)
{
    return __atomic_compare_exchange_n(&s->pid, &from, to, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* Frees slot i for the dead process in it. The cleaner owns it meanwhile, and may itself die and be cleaned up after. */
static void clean(fc_metrics *m, uint32_t i, uint32_t dead)
{
    slot *s = &AT(m, slots, slot)[i];
    if (take(s, dead, (uint32_t)getpid() | CLEANING)) {
        zero_gauges(m, row_of(m, i));
        __atomic_store_n(&s->pid, 0, __ATOMIC_RELEASE);
    }
}

static int settle(fc_metrics *m, uint32_t i)
{
    head *h = head_of(m);
    uint32_t rows = __atomic_load_n(&h->rows, __ATOMIC_RELAXED);
    while (rows < i + 1 &&
           !__atomic_compare_exchange_n(&h->rows, &rows, i + 1, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
    }
    m->row = row_of(m, i);
    m->slot = (int)i;
    return m->slot;
}

int fc_metrics_claim(fc_metrics *m)
{
    slot *slots = AT(m, slots, slot);
    uint32_t me = (uint32_t)getpid(), n = m->limits.slots;
    for (uint32_t i = 0; i < n; i++)
        if (fc_metrics_slot_pid(m, i) == me)
            return settle(m, i);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t pid = __atomic_load_n(&slots[i].pid, __ATOMIC_RELAXED);
        if (pid != 0 && !fc_pid_alive(pid & ~CLEANING))
            clean(m, i, pid);
    }
    for (uint32_t i = 0; i < n; i++)
        if (take(&slots[i], 0, me))
            return settle(m, i);
    return FC_METRICS_ESLOTS;
}

void fc_metrics_release(fc_metrics *m, uint32_t pid)
{
    for (uint32_t i = 0; pid != 0 && i < m->limits.slots; i++)
        if (fc_metrics_slot_pid(m, i) == pid)
            clean(m, i, pid);
    fc_pidlock_release_dead(&head_of(m)->lock, pid);
}

uint32_t fc_metrics_slot_pid(const fc_metrics *m, uint32_t i)
{
    uint32_t pid = __atomic_load_n(&AT(m, slots, slot)[i].pid, __ATOMIC_ACQUIRE);
    return pid & CLEANING ? 0 : pid;
}

bool fc_metrics_leads(const fc_metrics *m)
{
    for (int i = 0; m->row != NULL && i < m->slot; i++)
        if (fc_pid_alive(fc_metrics_slot_pid(m, (uint32_t)i)))
            return false;
    return m->row != NULL;
}

uint64_t fc_metrics_sum(const fc_metrics *m, uint32_t cell)
{
    uint64_t sum;
    fc_metrics_sum_range(m, cell, 1, &sum);
    return sum;
}

void fc_metrics_sum_range(const fc_metrics *m, uint32_t cell, uint32_t n, uint64_t *sums)
{
    const char *at = m->base + m->at.rows + sizeof(uint64_t) * (uint64_t)cell;
    memset(sums, 0, n * sizeof *sums);
    for (uint32_t rows = __atomic_load_n(&head_of(m)->rows, __ATOMIC_ACQUIRE); rows > 0; rows--, at += m->at.stride) {
        const uint64_t *row = (const uint64_t *)(const void *)at;
        for (uint32_t i = 0; i < n; i++)
            sums[i] += __atomic_load_n(&row[i], __ATOMIC_RELAXED);
    }
}

const char *fc_metrics_strerror(int64_t error)
{
    switch (error) {
    case FC_METRICS_ESIZE: return "limits out of range, or the section is smaller than they need";
    case FC_METRICS_EVERSION: return "the metrics section was prepared by another version";
    case FC_METRICS_EBUSY: return "another live process holds the metrics lock";
    case FC_METRICS_ENAME:
        return "a metric name is 1 to 128 of a-z A-Z 0-9 _ : without a digit first, and does not end with _total, "
               "_count, _sum, _bucket or _created";
    case FC_METRICS_EUNIT: return "a unit is a word, and the metric's name must end with _ and that word";
    case FC_METRICS_ETEXT: return "help text over 1024 bytes or labels over 4096 bytes";
    case FC_METRICS_EKIND: return "the metric exists with another type, unit or layout";
    case FC_METRICS_EFULL: return "no room for another metric family: raise series_max";
    case FC_METRICS_ESLOTS: return "every worker slot belongs to a live process: raise slots_max";
    case FC_METRICS_ELAYOUT: return "histogram layout: sub 0..6, max_log2 above min_log2 and sub and at most 63";
    default: return "unknown error";
    }
}
