/* The exposition of metrics.h. OpenMetrics: github.com/prometheus/OpenMetrics, specification 1.0. */
#include <stdio.h>
#include <string.h>

#include "fc/metrics.h"

#define NUMBER_MAX 24 /* 20 digits, sign, point; le values are shorter */
#define MAX_BUCKETS (65 * 64)

typedef struct writer {
    char *at;
    fc_metrics_format format;
} writer;

static inline void put(writer *w, const char *p, size_t n)
{
    memcpy(w->at, p, n);
    w->at += n;
}

#define PUT(w, literal) put(w, literal, sizeof(literal) - 1)

static inline void put_slice(writer *w, fc_slice s)
{
    if (s.n > 0)
        put(w, s.p, s.n);
}

static void put_u64(writer *w, uint64_t value)
{
    char digits[20], *p = digits + sizeof digits;
    do
        *--p = (char)('0' + value % 10);
    while ((value /= 10) != 0);
    put(w, p, (size_t)(digits + sizeof digits - p));
}

static void put_i64(writer *w, int64_t value)
{
    if (value < 0)
        PUT(w, "-");
    put_u64(w, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

/* value / scale, exactly: the scale is a power of ten. */
static void put_scaled(writer *w, uint64_t value, uint32_t scale)
{
    put_u64(w, value / scale);
    PUT(w, ".");
    uint32_t rest = (uint32_t)(value % scale);
    for (uint32_t unit = scale / 10; unit > 0; unit /= 10)
        *w->at++ = (char)('0' + rest / unit % 10);
    if (scale == 1)
        PUT(w, "0");
}

/* Both formats escape backslash and newline; a quote in help text is escaped by OpenMetrics only. */
static void put_help(writer *w, fc_slice help)
{
    for (size_t i = 0; i < help.n; i++) {
        char c = help.p[i];
        if (c == '\n')
            PUT(w, "\\n");
        else {
            if (c == '\\' || (c == '"' && w->format == FC_METRICS_OPENMETRICS))
                PUT(w, "\\");
            *w->at++ = c;
        }
    }
}

static void put_meta(writer *w, const fc_metrics_family_info *f)
{
    static const char *const types[] = {"", " counter\n", " gauge\n", " histogram\n"};
    /* The classic format's family name is the sample's name, the new one's is without _total. */
    bool total = f->type == FC_METRICS_COUNTER && w->format == FC_METRICS_PROMETHEUS;
    PUT(w, "# TYPE ");
    put_slice(w, f->name);
    if (total)
        PUT(w, "_total");
    put(w, types[f->type], strlen(types[f->type]));
    if (f->unit.n > 0 && w->format == FC_METRICS_OPENMETRICS) {
        PUT(w, "# UNIT ");
        put_slice(w, f->name);
        PUT(w, " ");
        put_slice(w, f->unit);
        PUT(w, "\n");
    }
    if (f->help.n > 0) {
        PUT(w, "# HELP ");
        put_slice(w, f->name);
        if (total)
            PUT(w, "_total");
        PUT(w, " ");
        put_help(w, f->help);
        PUT(w, "\n");
    }
}

static void put_name(writer *w, const fc_metrics_family_info *f, const char *suffix, fc_slice labels)
{
    put_slice(w, f->name);
    put(w, suffix, strlen(suffix));
    if (labels.n > 0) {
        PUT(w, "{");
        put_slice(w, labels);
        PUT(w, "}");
    }
    PUT(w, " ");
}

/* What follows `le="` in a family's bucket lines, written once and copied for each series. Copied whole, since 32 bytes
 * are two moves and a length known at run time is a call; hence SLACK at the end of the output. */
#define SLACK 32
typedef struct edges {
    char text[66][SLACK];
    uint8_t len[66];
    uint32_t n; /* with the infinite one */
} edges;

static void make_edges(edges *e, const fc_metrics_family_info *f)
{
    uint32_t base = fc_hist_base(f->layout);
    e->n = f->layout.max_log2 - base + 2;
    for (uint32_t i = 0; i < e->n; i++) {
        /* 15 significant digits print the shortest form of what we have, as the canonical form asks: 3e-06, 0.001023 */
        char number[NUMBER_MAX] = "+Inf";
        if (i + 1 < e->n)
            snprintf(number, sizeof number, "%.15g", (double)((1ull << (base + i)) - 1) / f->scale);
        const char *point = strpbrk(number, ".ef") == NULL ? ".0" : "";
        e->len[i] = (uint8_t)snprintf(e->text[i], SLACK, "%s%s\"} ", number, point);
    }
}

static void put_histogram(writer *w, const fc_metrics_family_info *f, const edges *e, fc_slice labels, const uint64_t *cells)
{
    const uint64_t *bucket = cells + FC_HIST_FIRST;
    uint32_t per_octave = 1u << f->layout.sub;
    uint64_t count = 0;
    /* The first line's beginning is copied for all the others. */
    const char *start = w->at;
    put_slice(w, f->name);
    PUT(w, "_bucket{");
    put_slice(w, labels);
    if (labels.n > 0)
        PUT(w, ",");
    PUT(w, "le=\"");
    size_t prefix = (size_t)(w->at - start);
    for (uint32_t i = 0; i < e->n; i++) {
        for (uint32_t k = i + 1 < e->n ? per_octave : 1; k > 0; k--)
            count += *bucket++;
        if (i > 0)
            put(w, start, prefix);
        memcpy(w->at, e->text[i], SLACK);
        w->at += e->len[i];
        put_u64(w, count);
        PUT(w, "\n");
    }
    put_name(w, f, "_count", labels);
    put_u64(w, count);
    PUT(w, "\n");
    put_name(w, f, "_sum", labels);
    put_scaled(w, cells[FC_HIST_SUM], f->scale);
    PUT(w, "\n");
}

static void put_series(writer *w, const fc_metrics_family_info *f, const edges *e, fc_slice labels, const uint64_t *cells)
{
    if (f->type == FC_METRICS_HISTOGRAM) {
        put_histogram(w, f, e, labels, cells);
        return;
    }
    put_name(w, f, f->type == FC_METRICS_COUNTER ? "_total" : "", labels);
    if (f->type == FC_METRICS_COUNTER)
        put_u64(w, cells[0]);
    else
        put_i64(w, (int64_t)cells[0]);
    PUT(w, "\n");
}

/* Most that one series of the family can take, but for its labels, and in how many lines those are repeated. */
static size_t series_bound(const fc_metrics_family_info *f, size_t *lines)
{
    *lines = f->type == FC_METRICS_HISTOGRAM ? f->layout.max_log2 - fc_hist_base(f->layout) + 4u : 1u;
    return *lines * (f->name.n + sizeof("_bucket{,le=\"\"} \n") + 2 * NUMBER_MAX);
}

void fc_metrics_scrape_begin(const fc_metrics *m, fc_metrics_scrape *scrape)
{
    scrape->families = fc_metrics_family_count(m);
    scrape->series = fc_metrics_series_count(m);
    scrape->bound = sizeof("# EOF\n") + SLACK;
    for (uint32_t i = 0; i < scrape->families; i++) {
        fc_metrics_family_info f;
        size_t lines, each;
        fc_metrics_family_get(m, i, &f);
        each = series_bound(&f, &lines);
        scrape->bound += 3 * (f.name.n + 32) + f.unit.n + 2 * f.help.n + each + lines * sizeof(FC_METRICS_OVERFLOW);
        fc_metrics_series_info s = {.next = f.first};
        while (s.next != 0 && s.next <= scrape->series) {
            fc_metrics_series_get(m, s.next, &s);
            scrape->bound += each + lines * s.labels.n;
        }
    }
}

size_t fc_metrics_scrape_write(const fc_metrics *m, const fc_metrics_scrape *scrape, fc_metrics_format format, char *out)
{
    static const fc_slice overflow = {FC_METRICS_OVERFLOW, sizeof(FC_METRICS_OVERFLOW) - 1};
    writer w = {.at = out, .format = format};
    uint64_t cells[MAX_BUCKETS + FC_HIST_FIRST];
    edges e;
    for (uint32_t i = 0; i < scrape->families; i++) {
        fc_metrics_family_info f;
        fc_metrics_family_get(m, i, &f);
        put_meta(&w, &f);
        if (f.type == FC_METRICS_HISTOGRAM)
            make_edges(&e, &f);
        fc_metrics_series_info s = {.next = f.first};
        while (s.next != 0 && s.next <= scrape->series) {
            fc_metrics_series_get(m, s.next, &s);
            fc_metrics_sum_range(m, s.cell, f.cells, cells);
            put_series(&w, &f, &e, s.labels, cells);
        }
        fc_metrics_sum_range(m, f.overflow, f.cells, cells);
        if (cells[0] != 0)
            put_series(&w, &f, &e, overflow, cells);
    }
    if (format == FC_METRICS_OPENMETRICS)
        PUT(&w, "# EOF\n");
    return (size_t)(w.at - out);
}
