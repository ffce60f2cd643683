#include "fc/metrics.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "check.h"
#include "fc/region.h"
#include "step.h"

#define S(text) ((fc_slice){text, sizeof(text) - 1})

static const fc_metrics_limits small = {.slots = 3, .families = 6, .series = 8, .cells = 300, .text = 512};

static fc_metrics open_new(const fc_metrics_limits *limits)
{
    fc_metrics m = {.base = NULL};
    uint64_t size = fc_metrics_size(limits);
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(base != MAP_FAILED && fc_metrics_open(&m, base, size, limits) == 0);
    return m;
}

static void close_all(fc_metrics *m) { munmap(m->base, fc_metrics_size(&m->limits)); }

static int counter(fc_metrics *m, const char *name)
{
    fc_metrics_family_def d = {.type = FC_METRICS_COUNTER, .name = {name, strlen(name)}, .help = S("h"), .scale = 1};
    return fc_metrics_family(m, &d);
}

static int gauge(fc_metrics *m, const char *name)
{
    fc_metrics_family_def d = {.type = FC_METRICS_GAUGE, .name = {name, strlen(name)}, .scale = 1};
    return fc_metrics_family(m, &d);
}

static fc_metrics_family_def latency(void)
{
    return (fc_metrics_family_def){.type = FC_METRICS_HISTOGRAM, .name = S("wait_seconds"), .unit = S("seconds"),
                                   .help = S("a \"quoted\" \\ line\nend"), .scale = 1000000,
                                   .layout = {.sub = 1, .min_log2 = 0, .max_log2 = 4}};
}

static void test_open(void)
{
    static _Alignas(4096) char memory[1 << 16];
    fc_metrics m;
    uint64_t size = fc_metrics_size(&small);
    CHECK(size > 0 && size <= sizeof memory);
    CHECK(fc_metrics_open(&m, memory, size, NULL) == FC_METRICS_ESIZE);
    CHECK(fc_metrics_open(&m, memory, 64, &small) == FC_METRICS_ESIZE);
    CHECK(fc_metrics_open(&m, memory, size - 1, &small) == FC_METRICS_ESIZE);
    CHECK(fc_metrics_open(&m, memory, size, &small) == 0);
    fc_metrics_limits other = small;
    other.series = 2;
    CHECK(fc_metrics_open(&m, memory, size, &other) == 0 && m.limits.series == 8);
    CHECK(fc_metrics_open(&m, memory, size, NULL) == 0 && m.limits.series == 8);
    CHECK(fc_metrics_open(&m, memory, size - 1, NULL) == FC_METRICS_ESIZE);
    memory[8] ^= 1;
    CHECK(fc_metrics_open(&m, memory, size, NULL) == FC_METRICS_EVERSION);
    other.slots = 0;
    CHECK(fc_metrics_size(&other) == 0);
    fc_metrics_limits huge = fc_metrics_limits_for(UINT32_MAX, 1);
    CHECK(fc_metrics_size(&huge) == 0);
    huge = fc_metrics_limits_for(50000, 8);
    CHECK(fc_metrics_size(&huge) > 50000 * 8);
}

static void test_define(void)
{
    fc_metrics m = open_new(&small);
    int a = counter(&m, "a"), g = gauge(&m, "g_info");
    fc_metrics_family_def h = latency(), bad = h;
    int w = fc_metrics_family(&m, &h);
    CHECK(a == 0 && g == 1 && w == 2);
    CHECK(counter(&m, "a") == a && fc_metrics_family(&m, &h) == w);
    CHECK(gauge(&m, "a") == FC_METRICS_EKIND);
    bad.layout.sub = 0;
    CHECK(fc_metrics_family(&m, &bad) == FC_METRICS_EKIND);
    bad.layout.sub = 7;
    CHECK(fc_metrics_family(&m, &bad) == FC_METRICS_ELAYOUT);
    static const char *const names[] = {"", "9a", "a b", "a-b", "a_total", "a_count", "a_sum", "a_bucket", "a_created",
                                        "\xc3\xa4"};
    for (size_t i = 0; i < FC_ARRAY_LEN(names); i++)
        CHECK(counter(&m, names[i]) == FC_METRICS_ENAME);
    bad = h;
    bad.name = S("seconds");
    CHECK(fc_metrics_family(&m, &bad) == FC_METRICS_EUNIT);
    bad.name = S("waitseconds");
    CHECK(fc_metrics_family(&m, &bad) == FC_METRICS_EUNIT);
    bad = h;
    bad.scale = 10;
    CHECK(fc_metrics_family(&m, &bad) == FC_METRICS_EUNIT);
    bad = h;
    bad.help.n = FC_METRICS_HELP + 1;
    CHECK(fc_metrics_family(&m, &bad) == FC_METRICS_ETEXT);

    int64_t plain = fc_metrics_series(&m, a, S("")), one = fc_metrics_series(&m, a, S("k=\"1\""));
    int64_t other = fc_metrics_series(&m, g, S("k=\"1\"")), hist = fc_metrics_series(&m, w, S("k=\"1\""));
    CHECK(plain >= 0 && one != plain && other != one && hist >= 0);
    CHECK(fc_metrics_series(&m, a, S("")) == plain && fc_metrics_series(&m, a, S("k=\"1\"")) == one);
    CHECK(fc_metrics_series(&m, w, S("k=\"1\"")) == hist);
    CHECK(fc_metrics_series(&m, a, (fc_slice){"", FC_METRICS_LABELS + 1}) == FC_METRICS_ETEXT);

    /* Full: the family's overflow, again and again, while known series stay known. */
    char text[32];
    uint32_t overflow = fc_metrics_overflow(&m, a);
    for (int i = 0; i < 20; i++) {
        int n = snprintf(text, sizeof text, "n=\"%d\"", i);
        int64_t cell = fc_metrics_series(&m, a, (fc_slice){text, (size_t)n});
        CHECK(i < 4 ? cell != overflow : cell == overflow);
    }
    CHECK(fc_metrics_series_count(&m) == small.series);
    CHECK(fc_metrics_series(&m, a, S("n=\"3\"")) != overflow && fc_metrics_series(&m, a, S("")) == plain);

    /* Cells run out before entries do. */
    h.name = S("x_seconds");
    h.layout = FC_HIST_LATENCY_US;
    CHECK(fc_metrics_family(&m, &h) == 3);
    h.name = S("y_seconds");
    CHECK(fc_metrics_family(&m, &h) == 4);
    h.name = S("z_seconds");
    CHECK(fc_metrics_family(&m, &h) == FC_METRICS_EFULL);
    CHECK(counter(&m, "last") == 5 && counter(&m, "one_more") == FC_METRICS_EFULL);
    close_all(&m);

    /* Text runs out: overflow for series, an error for families. */
    m = open_new(&small);
    a = counter(&m, "a");
    char labels[600];
    memset(labels, 'x', sizeof labels);
    CHECK(fc_metrics_series(&m, a, (fc_slice){labels, 500}) != fc_metrics_overflow(&m, a));
    CHECK(fc_metrics_series(&m, a, (fc_slice){labels, 11}) == fc_metrics_overflow(&m, a));
    CHECK(counter(&m, "long_name_for_11_bytes") == FC_METRICS_EFULL);
    CHECK(fc_metrics_series(&m, a, (fc_slice){labels, 10}) != fc_metrics_overflow(&m, a));
    close_all(&m);
    for (int e = FC_METRICS_ELAYOUT; e <= FC_METRICS_ESIZE; e++)
        CHECK(strcmp(fc_metrics_strerror(e), "unknown error") != 0);
}

static void count_and_die(fc_metrics *m, uint32_t c, uint32_t g)
{
    pid_t child = fork();
    if (child == 0) {
        m->row = NULL;
        int slot = fc_metrics_claim(m);
        if (slot >= 0) {
            fc_metrics_add(m->row, c, 10);
            fc_metrics_set(m->row, g, -3);
        }
        _exit(slot >= 0 ? slot : 100);
    }
    siginfo_t info;
    waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT);
    CHECK(info.si_status == 1); /* always the second slot: the first is ours, and the second dead or free again */
    CHECK(fc_metrics_slot_pid(m, 1) == (uint32_t)child);
    CHECK((int64_t)fc_metrics_sum(m, g) == 7 - 3);
    if (fc_metrics_sum(m, c) % 20 == 1) {
        fc_metrics_release(m, (uint32_t)child);
        CHECK((int64_t)fc_metrics_sum(m, g) == 7);
        CHECK(fc_metrics_slot_pid(m, 1) == 0);
    }
    waitpid(child, NULL, 0);
}

static void test_slots(void)
{
    fc_metrics m = open_new(&small);
    uint32_t c = (uint32_t)fc_metrics_series(&m, counter(&m, "c"), S(""));
    uint32_t g = (uint32_t)fc_metrics_series(&m, gauge(&m, "g"), S(""));
    CHECK(m.row == NULL && fc_metrics_sum(&m, c) == 0);
    CHECK(fc_metrics_claim(&m) == 0 && fc_metrics_claim(&m) == 0);
    fc_metrics_add(m.row, c, 1);
    fc_metrics_set(m.row, g, 7);
    fc_metrics_set(m.row, fc_metrics_overflow(&m, 1), 5);
    for (uint64_t i = 1; i <= 5; i++) {
        count_and_die(&m, c, g);
        CHECK(fc_metrics_sum(&m, c) == 1 + 10 * i);
    }
    /* Another view of the same process shares its row and leaves its gauges alone. */
    fc_metrics view;
    CHECK(fc_metrics_open(&view, m.base, fc_metrics_size(&m.limits), NULL) == 0);
    CHECK(fc_metrics_claim(&view) == 0 && view.row == m.row && (int64_t)fc_metrics_sum(&m, g) == 7 - 3);
    fc_metrics_release(&m, (uint32_t)getpid());
    CHECK(fc_metrics_sum(&m, fc_metrics_overflow(&m, 1)) == 0 && fc_metrics_slot_pid(&m, 0) == 0);

    /* All slots alive: an error, and one free again helps. */
    pid_t sleeping[3];
    int ready[2];
    CHECK(pipe(ready) == 0);
    for (int i = 0; i < 3; i++)
        if ((sleeping[i] = fork()) == 0)
            _exit(fc_metrics_claim(&m) >= 0 && write(ready[1], "x", 1) == 1 ? pause() : 1);
    char byte;
    for (int i = 0; i < 3; i++)
        CHECK(read(ready[0], &byte, 1) == 1);
    CHECK(fc_metrics_claim(&m) == FC_METRICS_ESLOTS);
    step_kill(sleeping[1]);
    int slot = fc_metrics_claim(&m);
    CHECK(slot >= 0 && fc_metrics_slot_pid(&m, (uint32_t)slot) == (uint32_t)getpid());
    step_kill(sleeping[0]);
    step_kill(sleeping[2]);
    close(ready[0]);
    close(ready[1]);
    close_all(&m);
}

static char *scrape(const fc_metrics *m, fc_metrics_format format)
{
    fc_metrics_scrape s;
    fc_metrics_scrape_begin(m, &s);
    char *text = malloc(s.bound + 1);
    size_t n = fc_metrics_scrape_write(m, &s, format, text);
    CHECK(n <= s.bound);
    text[n] = 0;
    return text;
}

static void test_text(void)
{
    fc_metrics m = open_new(&small);
    fc_metrics_family_def h = latency();
    int c = counter(&m, "c"), g = gauge(&m, "g"), w = fc_metrics_family(&m, &h);
    char *text = scrape(&m, FC_METRICS_OPENMETRICS);
    CHECK(strstr(text, "overflow") == NULL);
    free(text);
    fc_metrics_claim(&m);
    uint64_t *row = m.row;
    fc_metrics_add(row, (uint32_t)fc_metrics_series(&m, c, S("")), UINT64_MAX);
    fc_metrics_set(row, (uint32_t)fc_metrics_series(&m, g, S("b=\"y\"")), INT64_MIN);
    fc_metrics_add(row, (uint32_t)fc_metrics_series(&m, c, S("a=\"x\"")), 2);
    fc_metrics_add(row, fc_metrics_overflow(&m, c), 3);
    uint64_t *cells = row + fc_metrics_series(&m, w, S("a=\"x\""));
    static const uint64_t values[] = {0, 1, 2, 3, 4, 15, 16, 5000000};
    for (size_t i = 0; i < FC_ARRAY_LEN(values); i++)
        fc_hist_record(h.layout, cells, values[i]);
    text = scrape(&m, FC_METRICS_OPENMETRICS);
    CHECK(strcmp(text, "# TYPE c counter\n# HELP c h\n"
                       "c_total 18446744073709551615\nc_total{a=\"x\"} 2\nc_total{overflow=\"true\"} 3\n"
                       "# TYPE g gauge\ng{b=\"y\"} -9223372036854775808\n"
                       "# TYPE wait_seconds histogram\n# UNIT wait_seconds seconds\n"
                       "# HELP wait_seconds a \\\"quoted\\\" \\\\ line\\nend\n"
                       "wait_seconds_bucket{a=\"x\",le=\"1e-06\"} 2\nwait_seconds_bucket{a=\"x\",le=\"3e-06\"} 4\n"
                       "wait_seconds_bucket{a=\"x\",le=\"7e-06\"} 5\nwait_seconds_bucket{a=\"x\",le=\"1.5e-05\"} 6\n"
                       "wait_seconds_bucket{a=\"x\",le=\"+Inf\"} 8\n"
                       "wait_seconds_count{a=\"x\"} 8\nwait_seconds_sum{a=\"x\"} 5.000041\n# EOF\n") == 0);
    free(text);
    text = scrape(&m, FC_METRICS_PROMETHEUS);
    CHECK(strncmp(text, "# TYPE c_total counter\n# HELP c_total h\nc_total 1844", 50) == 0);
    CHECK(strstr(text, "# HELP wait_seconds a \"quoted\" \\\\ line\\nend\n") != NULL);
    CHECK(strstr(text, "EOF") == NULL && strstr(text, "UNIT") == NULL);
    free(text);
    close_all(&m);
}

static void define_victim(void *arg)
{
    fc_metrics *m = arg;
    fc_metrics_series(m, counter(m, "victim"), S("v=\"1\""));
}

/* Every series is in its family's chain, once, and found under its labels; cells do not overlap. */
static void check_directory(fc_metrics *m)
{
    uint32_t seen = 0, end = 0;
    for (uint32_t i = 0; i < fc_metrics_family_count(m); i++) {
        fc_metrics_family_info f;
        fc_metrics_family_get(m, i, &f);
        CHECK(f.name.n > 0 && f.name.p[0] >= 'a' && f.cells > 0);
        fc_metrics_series_info s = {.next = f.first};
        while (s.next != 0 && seen <= m->limits.series) {
            fc_metrics_series_get(m, s.next, &s);
            CHECK(fc_metrics_series(m, (int)i, s.labels) == s.cell && s.cell != f.overflow);
            end = s.cell + f.cells > end ? s.cell + f.cells : end;
            seen++;
        }
        end = f.overflow + f.cells > end ? f.overflow + f.cells : end;
    }
    CHECK(seen == fc_metrics_series_count(m));
    CHECK(end == fc_metrics_family_count(m) + fc_metrics_series_count(m)); /* counters only */
}

static void test_killed_at_every_instruction(void)
{
    fc_metrics m = open_new(&small), copy = open_new(&small);
    fc_metrics_series(&m, counter(&m, "first"), S("v=\"0\""));
    pid_t child = step_start(define_victim, &m);
    if (child < 0) {
        puts("test_metrics: tracing is forbidden here; single steps left out");
    } else {
        long steps = 0, half = 0;
        while (step_once(child)) {
            steps++;
            memcpy(copy.base, m.base, (size_t)m.at.rows);
            fc_metrics_release(&copy, (uint32_t)child);
            half += fc_metrics_family_count(&copy) == 2 && fc_metrics_series_count(&copy) == 1;
            int f = counter(&copy, "other"), v = counter(&copy, "victim");
            int64_t a = fc_metrics_series(&copy, f, S("v=\"1\"")), b = fc_metrics_series(&copy, v, S("v=\"1\""));
            CHECK(f > 0 && v > 0 && f != v && a >= 0 && b >= 0 && a != b);
            CHECK(fc_metrics_family_count(&copy) == 3 && fc_metrics_series_count(&copy) == 3);
            check_directory(&copy);
        }
        CHECK(steps > 300 && half > 10);
    }
    close_all(&m);
    close_all(&copy);
}

/* Workers count and are killed at random; what each had counted is known from its own confirmed tally. */
static void test_killed_while_counting(void)
{
    enum { WORKERS = 3, KILLS = 60 };
    fc_metrics m = open_new(&small);
    uint32_t c = (uint32_t)fc_metrics_series(&m, counter(&m, "c"), S(""));
    uint32_t g = (uint32_t)fc_metrics_series(&m, gauge(&m, "g"), S(""));
    uint64_t *confirmed = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t workers[WORKERS] = {0};
    uint64_t before = 0;
    for (int k = 0; k < KILLS + WORKERS; k++) {
        int i = k % WORKERS;
        if (workers[i] != 0)
            step_kill(workers[i]);
        workers[i] = k < KILLS ? fork() : 0;
        if (k < KILLS && workers[i] == 0) {
            fc_metrics_claim(&m);
            fc_metrics_set(m.row, g, 1);
            for (;;) {
                fc_metrics_add(m.row, c, 1);
                fc_metrics_add(confirmed, (uint32_t)k, 1);
            }
        }
        struct timespec pause = {.tv_nsec = (k * 7919 % 13) * 200000};
        nanosleep(&pause, NULL);
        uint64_t now = fc_metrics_sum(&m, c);
        CHECK(now >= before);
        before = now;
        CHECK((int64_t)fc_metrics_sum(&m, g) <= WORKERS);
    }
    uint64_t sum = 0, total = fc_metrics_sum(&m, c);
    for (int k = 0; k < KILLS; k++)
        sum += confirmed[k];
    CHECK(sum > 0 && total >= sum && total <= sum + KILLS);
    for (int i = 0; i < WORKERS; i++)
        fc_metrics_release(&m, fc_metrics_slot_pid(&m, (uint32_t)i));
    CHECK(fc_metrics_sum(&m, g) == 0 && fc_metrics_sum(&m, c) == total);
    munmap(confirmed, 4096);
    close_all(&m);
}

int main(void)
{
    test_open();
    test_define();
    test_slots();
    test_text();
    test_killed_at_every_instruction();
    test_killed_while_counting();
    return check_done("test_metrics");
}
