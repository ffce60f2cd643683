/* fc/hook.h - functions of the operator's own on the way of a request: calls that wait for an answer from the interpreter.
 *
 * A route may have a function for its requests, and one for the answers of its targets. Such a call carries the head as
 * text and, if the function wants it, the whole body; the exchange is parked until it is settled. Whoever runs the functions
 * takes calls from the line (fc_hooks_take) and settles each exactly once (fc_hooks_settle), whether or not anybody waits for
 * it still. What a function makes of a head is text again, and is read by the strict parser before it is used.
 *
 * Invariants
 *  1. Routes without functions cost one comparison, and nothing here runs for them.
 *  2. At most waiting_max calls are in line or taken.
 *  3. The exchange hears of its verdict in the loop's next round, never from inside fc_hooks_settle.
 * Belongs to its loop.
 */
#ifndef FC_HOOK_H
#define FC_HOOK_H

#include "fc/addr.h"
#include "fc/grow.h"
#include "fc/loop.h"

typedef struct fc_hooks fc_hooks;
typedef struct fc_hook_call fc_hook_call;

/* What a route asks for. */
typedef struct fc_route_hooks {
    int32_t request, response; /* the functions' numbers; -1: none */
    uint32_t request_body_max, response_body_max; /* bytes they take; 0: heads only */
    bool pass; /* what a function fails to do goes on as it is; otherwise it ends the exchange */
} fc_route_hooks;

typedef enum fc_hook_verdict {
    FC_HOOK_UNCHANGED,
    FC_HOOK_CHANGED, /* another head, and another body if there was one */
    FC_HOOK_ANSWER,  /* requests: answer with this head (without its last empty line) and body */
    FC_HOOK_FAILED,
} fc_hook_verdict;

struct fc_hook_call {
    fc_hook_call *next;
    fc_hooks *hooks;
    void *owner;     /* NULL: nobody waits any more */
    void (*settled)(fc_hook_call *call); /* told once, then the call's memory goes */
    int32_t function;
    bool response, has_body, done;
    fc_grow head, body;
    fc_grow subject;
    char client[FC_ADDR_TEXT_MAX];
    uint8_t client_len;
    fc_hook_verdict verdict;
    fc_grow new_head, new_body;
};

struct fc_hooks {
    fc_loop *loop;
    fc_hook_call *line, **line_end;
    fc_hook_call *settled, **settled_end;
    uint32_t waiting, waiting_max;
    bool posted;
    fc_job job;
    void (*wake)(fc_hooks *hooks); /* the line was empty and is not any more */
    uint64_t *calls;               /* counted here; NULL: nowhere */
};

void fc_hooks_init(fc_hooks *hooks, fc_loop *loop, uint32_t waiting_max);

/* A call, not in line yet: fill head, and body as it comes, up to body_max. NULL: too many, or no memory. */
fc_hook_call *fc_hook_new(fc_hooks *hooks, void *owner, void (*settled)(fc_hook_call *call), int32_t function,
                          size_t body_max);
/* It is complete: into the line. */
void fc_hook_submit(fc_hook_call *call);
/* Its owner waits no longer. submitted: fc_hook_submit has been called. */
void fc_hook_leave(fc_hook_call *call, bool submitted);

/* NULL: the line is empty. */
fc_hook_call *fc_hooks_take(fc_hooks *hooks);
/* Head and body are copied; without memory for them it is FAILED. */
void fc_hooks_settle(fc_hook_call *call, fc_hook_verdict verdict, fc_slice head, fc_slice body);

#endif
