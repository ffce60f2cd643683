/* The loop: events, tasks, timers, jobs from other threads, and the loop nested in a plain epoll set. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "fc/loop.h"

#define BUDGET (10 * FC_NS_PER_MS)

typedef struct watcher {
    fc_io io;
    unsigned calls;
    uint32_t events;
    struct watcher *closes; /* unwatched by this one's callback */
} watcher;

static void on_io(fc_loop *loop, fc_io *io, uint32_t events)
{
    watcher *w = FC_CONTAINER_OF(io, watcher, io);
    char scrap[64];
    w->calls++;
    w->events |= events;
    while (read(io->fd, scrap, sizeof scrap) > 0)
        ;
    if (w->closes)
        fc_loop_unwatch(loop, &w->closes->io);
}

static watcher watch(fc_loop *loop, watcher *w, int fd)
{
    *w = (watcher){.io = {.fn = on_io, .fd = fd}};
    CHECK(fc_loop_watch(loop, &w->io, EPOLLIN | EPOLLRDHUP) == 0);
    return *w;
}

static void events_reach_their_watcher(void)
{
    fc_loop *loop = fc_loop_new(1 << 20);
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    watcher w;
    watch(loop, &w, pair[0]);
    CHECK(fc_loop_run(loop, 0, BUDGET) == 0 && w.calls == 0);
    CHECK(write(pair[1], "x", 1) == 1);
    CHECK(fc_loop_run(loop, 1000, BUDGET) == 1 && w.calls == 1 && (w.events & EPOLLIN));
    CHECK(fc_loop_rewatch(loop, &w.io, 0) == 0);
    CHECK(write(pair[1], "x", 1) == 1);
    CHECK(fc_loop_run(loop, 0, BUDGET) == 0 && w.calls == 1);
    CHECK(fc_loop_rewatch(loop, &w.io, EPOLLIN) == 0);
    CHECK(fc_loop_run(loop, 1000, BUDGET) == 1 && w.calls == 2);
    fc_loop_unwatch(loop, &w.io);
    fc_loop_unwatch(loop, &w.io);
    CHECK(write(pair[1], "x", 1) == 1);
    CHECK(fc_loop_run(loop, 0, BUDGET) == 0 && w.calls == 2);
    watcher bad = {.io = {.fn = on_io, .fd = -1}};
    CHECK(fc_loop_watch(loop, &bad.io, EPOLLIN) == -EBADF);
    close(pair[0]);
    close(pair[1]);
    fc_loop_free(loop);
}

static void unwatched_in_the_same_batch_is_not_called(void)
{
    fc_loop *loop = fc_loop_new(1 << 20);
    int a[2], b[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, a) == 0 &&
          socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, b) == 0);
    watcher first, second;
    watch(loop, &first, a[0]);
    watch(loop, &second, b[0]);
    first.closes = &second;
    second.closes = &first;
    CHECK(write(a[1], "x", 1) == 1 && write(b[1], "x", 1) == 1);
    fc_loop_run(loop, 1000, BUDGET);
    CHECK(first.calls + second.calls == 1);
    fc_loop_unwatch(loop, &first.io);
    fc_loop_unwatch(loop, &second.io);
    for (int i = 0; i < 2; i++)
        close(a[i]), close(b[i]);
    fc_loop_free(loop);
}

typedef struct chore {
    fc_task task;
    unsigned runs, again;
} chore;

static void on_chore(fc_loop *loop, fc_task *task)
{
    chore *c = FC_CONTAINER_OF(task, chore, task);
    c->runs++;
    if (c->again) {
        c->again--;
        fc_loop_later(loop, task);
    }
}

static void tasks_run_once_and_may_queue_themselves(void)
{
    fc_loop *loop = fc_loop_new(1 << 20);
    chore c = {.task.fn = on_chore, .again = 5};
    fc_loop_later(loop, &c.task);
    fc_loop_later(loop, &c.task);
    struct epoll_event ev;
    CHECK(epoll_wait(fc_loop_fd(loop), &ev, 1, 0) == 1); /* the outer loop sees that there is work */
    fc_loop_run(loop, 1000, BUDGET);
    CHECK(c.runs == 6);
    c.again = UINT32_MAX; /* for ever: the budget ends it, and the descriptor stays readable */
    fc_loop_later(loop, &c.task);
    fc_loop_run(loop, 0, FC_NS_PER_MS);
    CHECK(c.runs > 6 && loop->stats.budget_exhausted == 1);
    CHECK(epoll_wait(fc_loop_fd(loop), &ev, 1, 0) == 1);
    c.again = 0;
    fc_loop_run(loop, 0, BUDGET);
    fc_loop_run(loop, 0, BUDGET);
    CHECK(!c.task.queued && epoll_wait(fc_loop_fd(loop), &ev, 1, 0) == 0);
    fc_loop_free(loop);
}

static unsigned timer_calls;
static uint64_t timer_seen_ms;

static void on_timer(fc_timer *timer, void *ctx)
{
    fc_loop *loop = ctx;
    timer_calls++;
    timer_seen_ms = fc_loop_now_ms(loop);
    CHECK(timer_seen_ms >= timer->at);
}

static void timers_make_the_descriptor_readable(void)
{
    fc_loop *loop = fc_loop_new(1 << 20);
    int outer = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = {.events = EPOLLIN};
    CHECK(epoll_ctl(outer, EPOLL_CTL_ADD, fc_loop_fd(loop), &ev) == 0);
    fc_timer late = {.fn = on_timer}, soon = {.fn = on_timer};
    uint64_t start = fc_loop_now_ms(loop);
    fc_loop_timer(loop, &late, start + 60);
    fc_loop_timer(loop, &soon, start + 20); /* nearer than what the kernel timer was set to */
    CHECK(epoll_wait(outer, &ev, 1, 0) == 0);
    while (timer_calls == 0 && epoll_wait(outer, &ev, 1, 5000) == 1)
        fc_loop_run(loop, 0, BUDGET);
    CHECK(timer_calls == 1 && timer_seen_ms < start + 60);
    while (timer_calls == 1 && epoll_wait(outer, &ev, 1, 5000) == 1)
        fc_loop_run(loop, 0, BUDGET);
    CHECK(timer_calls == 2);
    fc_loop_timer(loop, &soon, fc_loop_now_ms(loop) + 5);
    fc_loop_timer_cancel(loop, &soon);
    CHECK(fc_loop_run(loop, 30, BUDGET) <= 1 && timer_calls == 2); /* the kernel timer may still fire, for nobody */
    close(outer);
    fc_loop_free(loop);
}

#define JOBS 2000
#define POSTERS 4

typedef struct work {
    fc_job job;
    unsigned value;
} work;

static unsigned long long jobs_sum;
static unsigned jobs_done;

static void on_done(fc_loop *loop, fc_job *job)
{
    (void)loop;
    jobs_sum += FC_CONTAINER_OF(job, work, job)->value;
    jobs_done++;
}

typedef struct poster {
    fc_loop *loop;
    work jobs[JOBS];
} poster;

static void *post_all(void *arg)
{
    poster *p = arg;
    for (unsigned i = 0; i < JOBS; i++) {
        p->jobs[i] = (work){.job.done = on_done, .value = i};
        fc_loop_post(p->loop, &p->jobs[i].job);
    }
    return NULL;
}

static void jobs_from_threads_all_arrive(void)
{
    fc_loop *loop = fc_loop_new(1 << 20);
    static poster posters[POSTERS];
    pthread_t threads[POSTERS];
    for (int i = 0; i < POSTERS; i++) {
        posters[i].loop = loop;
        CHECK(pthread_create(&threads[i], NULL, post_all, &posters[i]) == 0);
    }
    for (int idle = 0; jobs_done < JOBS * POSTERS && idle < 100;)
        idle = fc_loop_run(loop, 100, BUDGET) ? 0 : idle + 1;
    for (int i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    CHECK(jobs_done == JOBS * POSTERS);
    CHECK(jobs_sum == POSTERS * (JOBS * (JOBS - 1ull) / 2));
    fc_loop_free(loop);
}

int main(void)
{
    events_reach_their_watcher();
    unwatched_in_the_same_batch_is_not_called();
    tasks_run_once_and_may_queue_themselves();
    timers_make_the_descriptor_readable();
    jobs_from_threads_all_arrive();
    return check_done("test_loop");
}
