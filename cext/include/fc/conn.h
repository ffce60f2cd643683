/* fc/conn.h - a non-blocking stream socket on a loop: edge-triggered reading, bounded writing, one deadline.
 *
 * Reading: `ops->read` runs when bytes may be there. It calls fc_conn_recv until `readable` is false, or pauses. A short
 * read counts as "drained" (the next byte makes a new edge), which saves the recv that would only say EAGAIN.
 * Writing: bytes are queued by reference (fc/outq.h) and sent by fc_conn_flush. When the queue grows past `out_high`
 * fc_conn_full() is true and the producer should stop; `ops->drain` runs once the queue has fallen to `out_low`.
 * Deadlines: one per connection, lazily kept. Moving it later only stores a number; the wheel entry stays where it is
 * and is moved on when it fires early. A busy keep-alive connection touches the wheel about once per timeout period.
 *
 * Invariants
 *  1. fc_conn is embedded in its owner; the owner's memory stays valid until `ops->closed` has run, which happens at the
 *     end of the batch in which fc_conn_close was called, exactly once.
 *  2. After fc_conn_close no other callback runs and nothing more is sent.
 *  3. No callback is invoked from inside fc_conn_write*; fc_conn_flush reports failure by its return value only.
 *
 * Transports: between a connection and its socket may lie one that changes the bytes (fc/tls.h), or in place of a socket
 * one that has none (a stream of fc/h2.h). Owners see no difference: the same callbacks at the same times, plain bytes in
 * and out.
 */
#ifndef FC_CONN_H
#define FC_CONN_H

#include "fc/loop.h"
#include "fc/outq.h"

typedef struct fc_conn fc_conn;
typedef struct fc_transport fc_transport;

/* What a transport does for its connection. It clears c->writable and c->readable where the socket has no room, or
 * nothing more. */
typedef struct fc_transport_ops {
    int (*connect)(fc_conn *c); /* its own greeting, on an outgoing connection that stands: 0 done, -EAGAIN, -errno */
    bool (*pull)(fc_conn *c);   /* something happened to the socket: is there anything for fc_conn_recv to answer? */
    ssize_t (*recv)(fc_conn *c, void *p, size_t n); /* as fc_conn_recv; 0 only for an end the peer has vouched for */
    int (*send)(fc_conn *c);                        /* what is queued; as fc_outq_send */
    int (*finish)(fc_conn *c);                      /* tell the peer that nothing more comes: 0, or -EAGAIN: no room yet */
    void (*free)(fc_conn *c);
    const char *(*trouble)(const fc_conn *c);       /* why it failed, for people; static text or NULL */
    fc_slice (*certificate)(fc_conn *c);            /* of the peer, verified, in DER; empty without one */
    fc_slice (*protocol)(fc_conn *c);               /* agreed on by ALPN; empty: none */
} fc_transport_ops;

struct fc_transport {
    const fc_transport_ops *ops; /* what it needs follows */
};

/* Who puts a transport under connections. */
typedef struct fc_securer fc_securer;
struct fc_securer {
    /* Under a connection that was accepted (name NULL) or is being made, to a peer that must prove to be `name`; `place`
     * tells peers apart. Before any event of the connection. 0 or -errno. */
    int (*secure)(fc_securer *self, fc_conn *c, const char *name, uint64_t place);
};

typedef struct fc_conn_ops {
    void (*read)(fc_conn *c);            /* readable, and not paused */
    void (*drain)(fc_conn *c);           /* the queue fell to out_low after having been over out_high */
    void (*sent)(fc_conn *c);            /* the queue ran empty after a flush that had been cut short */
    void (*connected)(fc_conn *c);       /* an outgoing connection is established */
    void (*timeout)(fc_conn *c);         /* the deadline passed */
    void (*broken)(fc_conn *c, int err); /* reset, or sending failed: -errno; the owner closes */
    void (*closed)(fc_conn *c);          /* the memory may go */
} fc_conn_ops;

struct fc_conn {
    fc_io io;
    fc_loop *loop;
    const fc_conn_ops *ops;
    uint64_t deadline_ms; /* 0: none */
    fc_timer timer;
    fc_task task; /* continued reading, or the final `closed` */
    uint32_t out_high, out_low;
    bool readable, writable;
    bool peer_closed; /* FIN seen by the kernel; bytes may still wait before it */
    bool reset;       /* the kernel reports an error; a paused owner hears of it through `broken` */
    bool paused, connecting, over_high, cut_short, aborting, dead;
    bool greeting;  /* connected, and the transport is not yet */
    bool finishing; /* the FIN waits until the transport has said that nothing more comes */
    fc_transport *transport; /* NULL: none */
    fc_outq out;
};

/* Take a connected socket (non-blocking). 0 or -errno; on failure the descriptor stays the caller's. */
int fc_conn_open(fc_conn *c, fc_loop *loop, int fd, const fc_conn_ops *ops);
/* Begin a connection to addr. 0 (ops->connected or ops->broken follows) or -errno. */
struct sockaddr;
int fc_conn_connect(fc_conn *c, fc_loop *loop, const struct sockaddr *addr, uint32_t addr_len, const fc_conn_ops *ops);
/* A connection over a transport that needs no socket; connecting: an outgoing one, whose transport->ops->connect says when
 * it stands. The transport belongs to it from now on, and tells what happens with fc_conn_event. */
void fc_conn_open_over(fc_conn *c, fc_loop *loop, fc_transport *transport, bool connecting, const fc_conn_ops *ops);
/* EPOLL* bits, as a socket would have them. Never from inside a function of the transport. */
void fc_conn_event(fc_conn *c, uint32_t events);
void fc_conn_close(fc_conn *c);
/* Close so that the peer sees a reset (RFC 9112 9.6 warns of what is lost: meant for peers that broke the rules). */
void fc_conn_abort(fc_conn *c);

/* recv(2) into p. > 0 bytes; 0 the peer has closed; -EAGAIN nothing there; another -errno. */
ssize_t fc_conn_recv(fc_conn *c, void *p, size_t n);
void fc_conn_pause(fc_conn *c);
void fc_conn_resume(fc_conn *c); /* ops->read runs at the end of the batch when bytes are waiting */
void fc_conn_again(fc_conn *c);  /* from ops->read: more is there, but others first */

/* Queue bytes. 0 or -ENOMEM. */
static inline int fc_conn_write(fc_conn *c, fc_buf *buf, const char *p, size_t n)
{
    return fc_outq_push(&c->out, buf, p, n);
}
/* Queue a copy of bytes that will not stay. */
int fc_conn_write_copy(fc_conn *c, const char *p, size_t n);
/* Send what is queued. 0 (sent, or waiting for the socket) or -errno: the connection is broken. */
int fc_conn_flush(fc_conn *c);
static inline bool fc_conn_full(const fc_conn *c) { return c->out.bytes >= c->out_high; }
void fc_conn_shutdown_write(fc_conn *c);
/* Why its transport failed; NULL: it did not, or nobody knows. */
static inline const char *fc_conn_trouble(const fc_conn *c)
{
    return c->transport ? c->transport->ops->trouble(c) : NULL;
}

/* Deadline at an absolute loop time; 0 clears it. */
void fc_conn_deadline(fc_conn *c, uint64_t at_ms);

#endif
