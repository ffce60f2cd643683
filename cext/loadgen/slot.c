#include "slot.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* After so many full reads of one large answer the other connections get their turn. */
#define READS_MAX 16

static slot *slot_of(fc_conn *c) { return FC_CONTAINER_OF(c, slot, conn); }

static void drop_carry(slot *s)
{
    if (s->carry)
        fc_buf_unref(s->carry);
    s->carry = NULL;
}

void slot_push(slot *s, uint64_t start_ns)
{
    s->start_ns[(s->head + s->len++) % s->load->options.pipeline] = start_ns;
}

static uint64_t pop(slot *s)
{
    uint64_t start_ns = s->start_ns[s->head];
    s->head = (s->head + 1) % s->load->options.pipeline;
    s->len--;
    if (s->queued)
        s->queued--;
    s->load->status.in_flight--;
    return start_ns;
}

/* The n oldest requests of this slot are over without an answer. detail: errno or fc_http1_error. */
static void fail(slot *s, uint32_t n, fc_load_failure kind, int detail)
{
    while (n--) {
        fc_load_counts *part = load_part(s->load, pop(s));
        part->failures[kind]++;
        if (kind == FC_LOAD_CONNECT)
            part->connect_errnos[detail < FC_LOAD_ERRNOS ? detail : 0]++;
        if (kind == FC_LOAD_BAD)
            part->bad_errors[detail]++;
    }
}

void slot_lose(slot *s)
{
    load_unlist(s);
    drop_carry(s);
    s->load->status.bytes_sent -= s->conn.out.bytes;
    s->queued = 0;
    s->state = SLOT_DYING;
    fc_conn_close(&s->conn);
}

/* --- connecting -------------------------------------------------------------------------------------------------- */

static void connect_failed(slot *s, int err)
{
    if (s->len)
        fail(s, s->len, FC_LOAD_CONNECT, err);
    else
        s->load->status.connects_failed++;
    if (s->load->status.phase == FC_LOAD_PRIME)
        s->load->opening--;
    s->hold = true;
}

static void on_connected(fc_conn *c)
{
    slot *s = slot_of(c);
    s->state = SLOT_OPEN;
    s->load->status.opened++;
    fc_conn_deadline(c, 0);
    load_connected(s);
}

static void on_closed(fc_conn *c)
{
    slot *s = slot_of(c);
    s->state = SLOT_DOWN;
    load_down(s);
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

static void expect_answer(slot *s, uint64_t now_ns)
{
    uint64_t at_ms = s->queued ? (now_ns + s->load->options.timeout_ns) / FC_NS_PER_MS + 1 : 0;
    fc_conn_deadline(&s->conn, at_ms);
}

/* Nothing came on this waiting connection, not even its end. */
static bool is_quiet(slot *s)
{
    char byte;
    return !s->conn.peer_closed && recv(s->conn.io.fd, &byte, 1, MSG_PEEK) < 0 && errno == EAGAIN;
}

void slot_write(slot *s, bool fresh)
{
    fc_load *load = s->load;
    uint32_t n = s->len - s->queued;
    size_t bytes = n * load->options.request_len;
    if (!n)
        return;
    if (!s->queued && !fresh && !is_quiet(s)) {
        load->status.closed_idle++;
        slot_lose(s);
        return;
    }
    bool first = !s->queued;
    s->queued = s->len;
    load->status.bytes_sent += bytes;
    if (fc_conn_write(&s->conn, NULL, load->block, bytes) < 0 || fc_conn_flush(&s->conn) < 0) {
        /* Reading finds out how it ended: an answer may have come before the reset. */
        s->conn.readable = true;
        fc_conn_again(&s->conn);
    }
    if (first)
        expect_answer(s, fc_monotonic_ns());
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

/* The oldest request has its answer; false when that was the last one on this connection. */
static bool complete(slot *s, uint64_t now_ns)
{
    fc_load *load = s->load;
    size_t unsent = s->conn.out.bytes;
    uint32_t whole = s->queued - (uint32_t)((unsent + load->options.request_len - 1) / load->options.request_len);
    uint64_t start_ns = pop(s), latency = now_ns > start_ns ? now_ns - start_ns : 0;
    fc_load_counts *part = load_part(load, start_ns);
    part->responses++;
    part->statuses[s->reply.status]++;
    if (latency < part->latency_min)
        part->latency_min = latency;
    if (latency > part->latency_max)
        part->latency_max = latency;
    fc_hist_record(FC_LOAD_LATENCY, part->latency, latency);
    if (load_in_window(load, now_ns))
        load->status.window_responses++;
    load->last_done_ns = now_ns;
    s->answered = true;
    expect_answer(s, now_ns);
    /* An answer to a request that is not written to its end leaves the connection out of step. */
    return s->reply.keep_alive && load->options.keep_alive && whole > 0;
}

/* The connection ended, err 0 for an orderly close. Only what was written counts as failed, and at least one on a
 * connection that never answered: a server that closes all of them at once must not be asked for ever. */
static void ended(slot *s, int err)
{
    fc_load *load = s->load;
    if (err == 0 && s->queued && fc_reply_ends_by_close(&s->reply)) {
        complete(s, fc_monotonic_ns());
    } else if (s->queued) {
        uint32_t written = s->queued - (uint32_t)(s->conn.out.bytes / load->options.request_len);
        if (s->reply.begun) {
            fail(s, 1, FC_LOAD_CUT, 0);
            written -= written > 0;
        } else if (!s->answered && !written) {
            written = 1;
        }
        fail(s, written, FC_LOAD_RESET, 0);
    } else {
        load->status.closed_idle++;
    }
    s->hold = !s->answered;
    slot_lose(s);
}

/* load->in[0..n) came. False: the connection is given up. */
static bool consume(slot *s, size_t n, uint64_t now_ns)
{
    fc_load *load = s->load;
    const char *p = load->in;
    while (n) {
        size_t used;
        if (!s->queued) {
            load->status.unasked++;
            s->hold = !s->answered;
            slot_lose(s);
            return false;
        }
        fc_reply_event event = fc_reply_next(&s->reply, load->options.method, p, n, &used);
        p += used;
        n -= used;
        if (event == FC_REPLY_MORE)
            break;
        if (event == FC_REPLY_BAD) {
            fail(s, s->len, FC_LOAD_BAD, s->reply.error);
            slot_lose(s);
            return false;
        }
        if (!complete(s, now_ns)) {
            slot_lose(s);
            return false;
        }
    }
    drop_carry(s);
    if (!n)
        return true;
    s->carry = fc_buf_get(load->loop->bufs, n);
    if (!s->carry) {
        fail(s, s->len, FC_LOAD_BAD, FC_HTTP1_HEAD_TOO_LARGE);
        slot_lose(s);
        return false;
    }
    memcpy(s->carry->data, p, n);
    s->carry->used = (uint32_t)n;
    return true;
}

static void on_read(fc_conn *c)
{
    slot *s = slot_of(c);
    fc_load *load = s->load;
    for (int reads = 0; c->readable && reads < READS_MAX; reads++) {
        size_t kept = s->carry ? s->carry->used : 0;
        ssize_t n = fc_conn_recv(c, load->in + kept, IN_BYTES);
        if (n == -EAGAIN)
            break;
        if (n <= 0) {
            ended(s, (int)n);
            return;
        }
        uint64_t now_ns = fc_monotonic_ns();
        load->status.bytes_received += (uint64_t)n;
        if (load_in_window(load, now_ns))
            load->status.window_bytes += (uint64_t)n;
        if (kept)
            memcpy(load->in, s->carry->data, kept);
        if (!consume(s, kept + (size_t)n, now_ns))
            return;
    }
    if (c->readable)
        fc_conn_again(c);
    if (slot_has_room(s))
        load_free(s);
}

static void on_timeout(fc_conn *c)
{
    slot *s = slot_of(c);
    if (s->state == SLOT_CONNECTING)
        connect_failed(s, ETIMEDOUT);
    else
        fail(s, s->len, FC_LOAD_TIMEOUT, 0);
    slot_lose(s);
}

static void on_broken(fc_conn *c, int err)
{
    slot *s = slot_of(c);
    if (s->state == SLOT_CONNECTING) {
        connect_failed(s, -err);
        slot_lose(s);
    } else { /* sending failed; an answer may have come before that */
        c->readable = true;
        fc_conn_again(c);
    }
}

static const fc_conn_ops ops = {.read = on_read, .connected = on_connected, .timeout = on_timeout, .broken = on_broken,
                                .closed = on_closed};

void slot_connect(slot *s)
{
    const fc_load_options *o = &s->load->options;
    fc_loop_timer_cancel(s->load->loop, &s->retry);
    fc_reply_init(&s->reply);
    s->answered = s->hold = false;
    s->conn.out_high = UINT32_MAX;
    int rc = fc_conn_connect(&s->conn, s->load->loop, o->addr, o->addr_len, &ops);
    if (rc < 0) {
        connect_failed(s, -rc);
        load_down(s);
        return;
    }
    s->state = SLOT_CONNECTING;
    fc_conn_deadline(&s->conn, (fc_monotonic_ns() + o->connect_timeout_ns) / FC_NS_PER_MS + 1);
}
