/* slot.h - one connection of a load generator and the requests that are on it; shared by loadgen.c and slot.c. */
#ifndef FC_LOADGEN_SLOT_H
#define FC_LOADGEN_SLOT_H

#include "fc/conn.h"
#include "fc/loadgen.h"
#include "reply.h"

#define IN_BYTES 65536u /* read at once; an incomplete head or trailer section may stand before it */

typedef enum slot_state {
    SLOT_DOWN,       /* no connection */
    SLOT_CONNECTING,
    SLOT_OPEN,
    SLOT_DYING,      /* closed by us; its memory is in use until the loop's batch ends */
} slot_state;

typedef struct slot slot;

struct slot {
    fc_conn conn;
    fc_load *load;
    slot *next, **link; /* open loop: in one of the two lists below while it can take a request */
    fc_timer retry;
    fc_reply reply;
    fc_buf *carry;      /* an incomplete head or trailer section */
    slot_state state;
    bool answered;      /* this connection has brought a whole answer */
    bool hold;          /* the last one brought nothing: wait before the next attempt */
    uint32_t head;      /* ring of requests, oldest first */
    uint32_t len;       /* requests on this slot */
    uint32_t queued;    /* the first of them, given to the connection */
    uint64_t start_ns[]; /* when each was taken or due; options.pipeline entries */
};

typedef struct slot_list {
    slot *first, **end;
} slot_list;

struct fc_load {
    fc_load_options options;
    char *block;         /* options.pipeline copies of the request, so that several are one segment */
    fc_loop *loop;
    fc_io due_io;        /* a timerfd: the wheel's millisecond is too coarse for 1/rate */
    char *slots;
    size_t stride;
    slot_list ready;     /* open, with room */
    slot_list spare;     /* not open, without a request */
    double interval_ns;
    uint64_t schedule_ns; /* request k is due at schedule_ns + k * interval_ns */
    uint64_t taken, last_done_ns;
    uint32_t prime_next, opening;
    bool pumping, exhausted;
    fc_load_status status;
    fc_load_counts parts[2]; /* warm-up, measured */
    char in[FC_REPLY_HEAD_MAX + IN_BYTES];
};

/* slot.c */
void slot_connect(slot *s);           /* REQUIRES: SLOT_DOWN */
void slot_push(slot *s, uint64_t start_ns);
void slot_write(slot *s, bool fresh); /* what is not queued yet; fresh: the connection was established just now */
void slot_lose(slot *s);              /* close; requests left on the slot go to its next connection */

/* loadgen.c: what to do next is decided there. */
void load_connected(slot *s);         /* SLOT_OPEN, nothing written yet */
void load_down(slot *s);              /* SLOT_DOWN: closed, or the attempt failed at once */
void load_free(slot *s);              /* SLOT_OPEN, and requests were completed */
void load_unlist(slot *s);

static inline fc_load_counts *load_part(fc_load *load, uint64_t start_ns)
{
    return &load->parts[start_ns >= load->status.begin_ns];
}
static inline bool load_in_window(const fc_load *load, uint64_t now_ns)
{
    return now_ns >= load->status.begin_ns && now_ns < load->status.end_ns;
}
static inline bool slot_has_room(const slot *s) { return s->len < s->load->options.pipeline; }

#endif
