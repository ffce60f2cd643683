#include "fc/quota_line.h"

static void drop(fc_quota_wait *wait)
{
    wait->line->waiting--;
    free(wait->text.p);
    free(wait);
}

static void tell(fc_loop *loop, fc_job *job)
{
    (void)loop;
    fc_quota_line *line = FC_CONTAINER_OF(job, fc_quota_line, job);
    fc_quota_wait *wait = line->settled;
    line->posted = false;
    line->settled = NULL;
    line->settled_end = &line->settled;
    while (wait) {
        fc_quota_wait *next = wait->next;
        if (wait->owner)
            wait->settled(wait);
        drop(wait);
        wait = next;
    }
}

void fc_quota_line_init(fc_quota_line *line, fc_loop *loop, uint32_t waiting_max, uint64_t *epoch)
{
    *line = (fc_quota_line){.loop = loop, .waiting_max = waiting_max, .epoch = epoch, .job = {.done = tell}};
    line->end = &line->first;
    line->settled_end = &line->settled;
}

bool fc_quota_turn(fc_quota_line *line, uint64_t epoch)
{
    return __atomic_compare_exchange_n(line->epoch, &epoch, epoch + 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

fc_quota_wait *fc_quota_wait_new(fc_quota_line *line, void *owner, void (*settled)(fc_quota_wait *wait))
{
    fc_quota_wait *wait = line->waiting < line->waiting_max ? calloc(1, sizeof *wait) : NULL;
    if (!wait)
        return NULL;
    wait->line = line;
    wait->owner = owner;
    wait->settled = settled;
    fc_grow_init(&wait->text, SIZE_MAX / 4);
    line->waiting++;
    return wait;
}

bool fc_quota_put(fc_quota_wait *wait, const void *p, size_t n)
{
    if (n == 0)
        return true;
    if (!fc_grow_room(&wait->text, n))
        return false;
    memcpy(wait->text.p + wait->text.len, p, n);
    wait->text.len += n;
    return true;
}

void fc_quota_submit(fc_quota_wait *wait)
{
    fc_quota_line *line = wait->line;
    bool was_empty = !line->first;
    *line->end = wait;
    line->end = &wait->next;
    if (was_empty)
        line->wake(line);
}

void fc_quota_leave(fc_quota_wait *wait, bool submitted)
{
    if (submitted)
        wait->owner = NULL;
    else
        drop(wait);
}

fc_quota_wait *fc_quota_take(fc_quota_line *line)
{
    fc_quota_wait *all = line->first;
    line->first = NULL;
    line->end = &line->first;
    return all;
}

void fc_quota_settle(fc_quota_wait *wait)
{
    fc_quota_line *line = wait->line;
    wait->next = NULL;
    *line->settled_end = wait;
    line->settled_end = &wait->next;
    if (!line->posted) {
        line->posted = true;
        fc_loop_post(line->loop, &line->job);
    }
}
