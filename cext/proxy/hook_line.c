#include "fc/hook.h"

static void drop(fc_hook_call *call)
{
    call->hooks->waiting--;
    free(call->head.p);
    free(call->body.p);
    free(call->subject.p);
    free(call->new_head.p);
    free(call->new_body.p);
    free(call);
}

static void tell(fc_loop *loop, fc_job *job)
{
    (void)loop;
    fc_hooks *hooks = FC_CONTAINER_OF(job, fc_hooks, job);
    fc_hook_call *call = hooks->settled;
    hooks->posted = false;
    hooks->settled = NULL;
    hooks->settled_end = &hooks->settled;
    while (call) {
        fc_hook_call *next = call->next;
        if (call->owner)
            call->settled(call);
        drop(call);
        call = next;
    }
}

void fc_hooks_init(fc_hooks *hooks, fc_loop *loop, uint32_t waiting_max)
{
    *hooks = (fc_hooks){.loop = loop, .waiting_max = waiting_max, .job = {.done = tell}};
    hooks->line_end = &hooks->line;
    hooks->settled_end = &hooks->settled;
}

fc_hook_call *fc_hook_new(fc_hooks *hooks, void *owner, void (*settled)(fc_hook_call *call), int32_t function,
                          size_t body_max)
{
    if (hooks->waiting >= hooks->waiting_max)
        return NULL;
    fc_hook_call *call = calloc(1, sizeof *call);
    if (!call)
        return NULL;
    call->hooks = hooks;
    call->owner = owner;
    call->settled = settled;
    call->function = function;
    fc_grow_init(&call->head, SIZE_MAX / 4);
    fc_grow_init(&call->body, body_max);
    fc_grow_init(&call->subject, SIZE_MAX / 4);
    fc_grow_init(&call->new_head, SIZE_MAX / 4);
    fc_grow_init(&call->new_body, SIZE_MAX / 4);
    hooks->waiting++;
    return call;
}

void fc_hook_submit(fc_hook_call *call)
{
    fc_hooks *hooks = call->hooks;
    bool was_empty = !hooks->line;
    *hooks->line_end = call;
    hooks->line_end = &call->next;
    if (hooks->calls)
        (*hooks->calls)++;
    if (was_empty)
        hooks->wake(hooks);
}

void fc_hook_leave(fc_hook_call *call, bool submitted)
{
    if (submitted)
        call->owner = NULL;
    else
        drop(call);
}

fc_hook_call *fc_hooks_take(fc_hooks *hooks)
{
    fc_hook_call *call;
    while ((call = hooks->line)) {
        hooks->line = call->next;
        if (!hooks->line)
            hooks->line_end = &hooks->line;
        call->next = NULL;
        if (call->owner)
            return call;
        drop(call); /* not worth the work */
    }
    return NULL;
}

static bool copy(fc_grow *to, fc_slice from)
{
    if (from.n == 0)
        return true;
    if (!fc_grow_room(to, from.n))
        return false;
    memcpy(to->p, from.p, from.n);
    to->len = from.n;
    return true;
}

void fc_hooks_settle(fc_hook_call *call, fc_hook_verdict verdict, fc_slice head, fc_slice body)
{
    fc_hooks *hooks = call->hooks;
    bool ok = copy(&call->new_head, head) && copy(&call->new_body, body);
    call->verdict = ok ? verdict : FC_HOOK_FAILED;
    call->done = true;
    *hooks->settled_end = call;
    hooks->settled_end = &call->next;
    if (!hooks->posted) {
        hooks->posted = true;
        fc_loop_post(hooks->loop, &hooks->job);
    }
}
