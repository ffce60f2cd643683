#include "fc/loadgen.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "slot.h"

/* Before the clock starts: fewer than the smallest usual listen queue (128). */
#define OPENING_MAX 128u
/* Before a connection that brought nothing is tried again. A dead target then costs each connection ten failures a second
 * instead of a storm. */
#define RETRY_MS 100u
#define LOOP_BUDGET_NS (5 * FC_NS_PER_MS)
/* Bytes of buffers a connection can keep, with the pool's rounding to slabs. */
#define CARRY_BYTES (128u * 1024u)

static slot *slot_at(const fc_load *load, uint32_t i) { return (slot *)(void *)(load->slots + i * load->stride); }
static bool is_open_loop(const fc_load *load) { return load->options.rate > 0; }

/* --- lists of slots that can take a request: first in, first out, so that every connection gets its share ---------- */

static void list_add(slot_list *list, slot *s)
{
    s->next = NULL;
    s->link = list->end;
    *list->end = s;
    list->end = &s->next;
}

void load_unlist(slot *s)
{
    if (!s->link)
        return;
    fc_load *load = s->load;
    slot_list *list = load->ready.end == &s->next ? &load->ready : load->spare.end == &s->next ? &load->spare : NULL;
    if (list)
        list->end = s->link;
    else
        s->next->link = s->link;
    *s->link = s->next;
    s->link = NULL;
}

/* --- which request comes next ------------------------------------------------------------------------------------ */

static uint64_t due_ns(const fc_load *load)
{
    return load->schedule_ns + (uint64_t)((double)load->taken * load->interval_ns);
}

/* Take the next request if there is one at this time. */
static bool take(fc_load *load, uint64_t now_ns, uint64_t *start_ns)
{
    fc_load_phase phase = load->status.phase;
    if (phase != FC_LOAD_WARM && phase != FC_LOAD_MEASURE)
        return false;
    *start_ns = is_open_loop(load) ? due_ns(load) : now_ns;
    if (*start_ns > now_ns || now_ns >= load->status.end_ns)
        return false;
    fc_load_counts *part = load_part(load, *start_ns);
    if (part == &load->parts[1] && load->options.requests_max && part->requests == load->options.requests_max)
        return false;
    part->requests++;
    load->taken++;
    load->status.in_flight++;
    return true;
}

static void arm_due(fc_load *load)
{
    uint64_t at = due_ns(load);
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(at / FC_NS_PER_S), .tv_nsec = (long)(at % FC_NS_PER_S)}};
    timerfd_settime(load->due_io.fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* Open loop: give what is due to whoever is free, connections that are open first. */
static void pump(fc_load *load)
{
    uint64_t now_ns = fc_monotonic_ns(), start_ns;
    slot *s;
    if (load->pumping)
        return;
    load->pumping = true;
    while ((s = load->ready.first ? load->ready.first : load->spare.first) && take(load, now_ns, &start_ns)) {
        load_unlist(s);
        slot_push(s, start_ns);
        if (s->state == SLOT_DOWN)
            slot_connect(s);
        else if (s->state == SLOT_OPEN)
            slot_write(s, false);
        if (s->state == SLOT_OPEN && slot_has_room(s))
            list_add(&load->ready, s);
    }
    load->pumping = false;
    if (s && due_ns(load) > now_ns) /* else whoever gets free comes here, or it is over */
        arm_due(load);
}

static void on_due(fc_loop *loop, fc_io *io, uint32_t events)
{
    (void)loop, (void)events;
    uint64_t times;
    if (read(io->fd, &times, sizeof times) > 0)
        pump(FC_CONTAINER_OF(io, fc_load, due_io));
}

/* Closed loop: as many as the slot has room for. */
static void fill(slot *s)
{
    uint64_t now_ns = fc_monotonic_ns(), start_ns;
    while (slot_has_room(s) && take(s->load, now_ns, &start_ns))
        slot_push(s, start_ns);
}

/* --- what a slot does next ---------------------------------------------------------------------------------------- */

void load_free(slot *s)
{
    fc_load *load = s->load;
    if (load->status.phase == FC_LOAD_PRIME)
        return;
    if (!is_open_loop(load)) {
        fill(s);
        slot_write(s, false);
        return;
    }
    if (!s->link)
        list_add(&load->ready, s);
    pump(load);
}

/* A slot without connection: with requests left over it connects for them; otherwise closed loop takes one first, and
 * open loop keeps its connections open whether or not something is due. */
static void restart(slot *s)
{
    fc_load *load = s->load;
    if (!s->len && !is_open_loop(load))
        fill(s);
    bool idle = !s->len;
    if (idle && !(is_open_loop(load) && load->status.phase < FC_LOAD_DRAIN))
        return;
    if (!idle || load->options.keep_alive)
        slot_connect(s);
    if (!s->len && !s->link) /* the attempt may have failed at once, and all of this been done */
        list_add(&load->spare, s);
    if (idle)
        pump(load);
}

static void on_retry(fc_timer *timer, void *ctx)
{
    (void)ctx;
    slot *s = FC_CONTAINER_OF(timer, slot, retry);
    load_unlist(s);
    s->hold = false;
    restart(s);
}

static void begin(fc_load *load)
{
    uint64_t now_ns = fc_monotonic_ns();
    const fc_load_options *o = &load->options;
    load->schedule_ns = now_ns;
    load->status.begin_ns = now_ns + o->warmup_ns;
    load->status.end_ns = o->duration_ns ? load->status.begin_ns + o->duration_ns : UINT64_MAX;
    load->status.phase = o->warmup_ns ? FC_LOAD_WARM : FC_LOAD_MEASURE;
    for (uint32_t i = 0; i < o->connections; i++) {
        slot *s = slot_at(load, i);
        if (s->state == SLOT_OPEN)
            load_free(s);
        else if (s->state == SLOT_DOWN)
            restart(s);
    }
}

/* Open the connections of a keep-alive run, some at a time; then start the clock. */
static void prime(fc_load *load)
{
    if (load->pumping)
        return;
    load->pumping = true; /* an attempt may fail at once, and would come back here */
    while (load->prime_next < load->options.connections && load->opening < OPENING_MAX) {
        load->opening++;
        slot_connect(slot_at(load, load->prime_next++));
    }
    load->pumping = false;
    if (!load->opening)
        begin(load);
}

void load_connected(slot *s)
{
    fc_load *load = s->load;
    if (load->status.phase == FC_LOAD_PRIME) {
        load->opening--;
        prime(load);
        return;
    }
    load_unlist(s);
    slot_write(s, true);
    if (s->state == SLOT_OPEN && slot_has_room(s))
        load_free(s);
}

void load_down(slot *s)
{
    fc_load *load = s->load;
    if (load->status.phase == FC_LOAD_DONE)
        return;
    if (load->status.phase == FC_LOAD_PRIME) {
        prime(load);
        return;
    }
    if (!s->hold) {
        restart(s);
        return;
    }
    fc_loop_timer(load->loop, &s->retry, fc_loop_now_ms(load->loop) + RETRY_MS);
    if (is_open_loop(load) && !s->len) {
        list_add(&load->spare, s);
        pump(load);
    }
}

/* --- running ------------------------------------------------------------------------------------------------------ */

static void close_all(fc_load *load)
{
    load->status.phase = FC_LOAD_DONE;
    for (uint32_t i = 0; i < load->options.connections; i++) {
        slot *s = slot_at(load, i);
        fc_loop_timer_cancel(load->loop, &s->retry);
        load_unlist(s);
        if (s->state == SLOT_CONNECTING || s->state == SLOT_OPEN)
            slot_lose(s);
    }
    fc_loop_run(load->loop, 0, 0); /* runs every `closed` */
}

static uint64_t backlog(const fc_load *load, uint64_t now_ns)
{
    if (!is_open_loop(load) || load->exhausted || load->status.phase == FC_LOAD_PRIME)
        return 0;
    uint64_t until = now_ns < load->status.end_ns ? now_ns : load->status.end_ns;
    double due = until > load->schedule_ns ? ceil((double)(until - load->schedule_ns) / load->interval_ns) : 0;
    return due > (double)load->taken ? (uint64_t)due - load->taken : 0;
}

static void advance(fc_load *load, uint64_t now_ns)
{
    fc_load_status *st = &load->status;
    if (st->phase == FC_LOAD_WARM && now_ns >= st->begin_ns)
        st->phase = FC_LOAD_MEASURE;
    load->exhausted = load->options.requests_max && load->parts[1].requests == load->options.requests_max;
    if (st->phase == FC_LOAD_MEASURE && (now_ns >= st->end_ns || load->exhausted)) {
        st->unsent = backlog(load, now_ns);
        st->phase = FC_LOAD_DRAIN;
    }
    if (st->phase == FC_LOAD_DRAIN && !st->in_flight) {
        if (load->exhausted && load->last_done_ns < st->end_ns)
            st->end_ns = load->last_done_ns > st->begin_ns ? load->last_done_ns : now_ns;
        close_all(load);
    }
}

bool fc_load_run(fc_load *load, uint64_t slice_ns)
{
    fc_load_status *st = &load->status;
    uint64_t now_ns = fc_monotonic_ns(), until = now_ns + slice_ns;
    if (st->phase == FC_LOAD_PRIME && !load->prime_next) {
        if (load->options.keep_alive)
            prime(load);
        else
            begin(load);
    }
    while (st->phase != FC_LOAD_DONE && now_ns < until) {
        uint64_t wake = until;
        if (st->phase == FC_LOAD_WARM && st->begin_ns < wake)
            wake = st->begin_ns;
        if (st->phase == FC_LOAD_MEASURE && st->end_ns < wake)
            wake = st->end_ns;
        uint64_t wait = wake > now_ns ? wake - now_ns : 0;
        fc_loop_run(load->loop, (int)((wait + FC_NS_PER_MS - 1) / FC_NS_PER_MS), LOOP_BUDGET_NS);
        now_ns = fc_monotonic_ns();
        advance(load, now_ns);
    }
    return st->phase == FC_LOAD_DONE;
}

void fc_load_stop(fc_load *load)
{
    fc_load_status *st = &load->status;
    uint64_t now_ns = fc_monotonic_ns();
    if (st->phase == FC_LOAD_DONE)
        return;
    if (st->phase == FC_LOAD_PRIME)
        st->begin_ns = now_ns;
    if (st->phase < FC_LOAD_DRAIN)
        st->unsent = backlog(load, now_ns);
    if (now_ns < st->end_ns)
        st->end_ns = now_ns > st->begin_ns ? now_ns : st->begin_ns;
    close_all(load);
}

fc_load_status fc_load_status_now(const fc_load *load)
{
    fc_load_status st = load->status;
    uint64_t now_ns = fc_monotonic_ns();
    if (st.phase == FC_LOAD_PRIME)
        st.begin_ns = st.end_ns = now_ns;
    if (st.phase < FC_LOAD_DRAIN)
        st.unsent = backlog(load, now_ns);
    if (st.phase != FC_LOAD_DONE && now_ns < st.end_ns)
        st.end_ns = now_ns > st.begin_ns ? now_ns : st.begin_ns;
    st.warm = &load->parts[0];
    st.measured = &load->parts[1];
    return st;
}

/* --- making and freeing ------------------------------------------------------------------------------------------- */

static bool is_valid(const fc_load_options *o)
{
    return o->addr && o->addr_len && o->addr_len <= sizeof(struct sockaddr_storage) && o->connections && o->pipeline &&
           o->pipeline <= FC_LOAD_PIPELINE_MAX && (o->keep_alive || o->pipeline == 1) && o->request && o->request_len &&
           o->request_len <= SIZE_MAX / o->pipeline && o->rate >= 0 && isfinite(o->rate) && o->timeout_ns &&
           o->connect_timeout_ns && (o->duration_ns || o->requests_max);
}

static bool make_parts(fc_load *load)
{
    for (int i = 0; i < 2; i++) {
        load->parts[i].latency = calloc(fc_hist_cells(FC_LOAD_LATENCY), sizeof(uint64_t));
        load->parts[i].latency_min = UINT64_MAX;
        if (!load->parts[i].latency)
            return false;
    }
    return true;
}

static bool make_block(fc_load *load, const fc_load_options *o)
{
    struct sockaddr *addr = malloc(o->addr_len);
    load->options.addr = addr;
    load->block = malloc(o->request_len * o->pipeline);
    if (!addr || !load->block)
        return false;
    memcpy(addr, o->addr, o->addr_len);
    for (uint32_t i = 0; i < o->pipeline; i++)
        memcpy(load->block + i * o->request_len, o->request, o->request_len);
    load->options.request = load->block;
    return true;
}

static bool make_slots(fc_load *load)
{
    load->stride = sizeof(slot) + load->options.pipeline * sizeof(uint64_t);
    load->slots = calloc(load->options.connections, load->stride);
    if (!load->slots)
        return false;
    for (uint32_t i = 0; i < load->options.connections; i++) {
        slot *s = slot_at(load, i);
        s->load = load;
        s->retry.fn = on_retry;
    }
    return true;
}

static bool make_loop(fc_load *load)
{
    load->loop = fc_loop_new((load->options.connections + 1ul) * CARRY_BYTES);
    load->due_io.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    return load->loop && load->due_io.fd >= 0 && fc_loop_watch(load->loop, &load->due_io, EPOLLIN) == 0;
}

fc_load *fc_load_new(const fc_load_options *options)
{
    if (!is_valid(options)) {
        errno = EINVAL;
        return NULL;
    }
    fc_load *load = calloc(1, sizeof *load);
    if (!load)
        return NULL;
    load->options = *options;
    load->options.addr = NULL;
    load->ready.end = &load->ready.first;
    load->spare.end = &load->spare.first;
    load->due_io = (fc_io){.fn = on_due, .fd = -1};
    load->interval_ns = options->rate > 0 ? 1e9 / options->rate : 0;
    load->status.begin_ns = load->status.end_ns = UINT64_MAX;
    if (!make_parts(load) || !make_block(load, options) || !make_slots(load) || !make_loop(load)) {
        int saved = errno;
        fc_load_free(load);
        errno = saved;
        return NULL;
    }
    return load;
}

void fc_load_free(fc_load *load)
{
    if (!load)
        return;
    if (load->loop) {
        fc_load_stop(load);
        if (load->due_io.fd >= 0)
            fc_loop_unwatch(load->loop, &load->due_io);
        fc_loop_free(load->loop);
    }
    if (load->due_io.fd >= 0)
        close(load->due_io.fd);
    for (int i = 0; i < 2; i++)
        free(load->parts[i].latency);
    free((void *)(uintptr_t)load->options.addr);
    free(load->block);
    free(load->slots);
    free(load);
}
