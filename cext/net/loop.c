#include "fc/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* Events taken from the kernel at once: large enough that a busy loop amortises the call, small enough that now_ns is
 * not stale by the end of a batch (256 events x ~5 us). */
#define BATCH 256
/* Unused buffer memory is looked at this often while there is any. */
#define TRIM_MS 1000

static void drain_counter(int fd)
{
    uint64_t n;
    while (read(fd, &n, sizeof n) < 0 && errno == EINTR)
        ;
}

static void on_timer(fc_loop *loop, fc_io *io, uint32_t events)
{
    (void)events;
    drain_counter(io->fd);
    loop->armed_ms = UINT64_MAX;
}

static void on_wake(fc_loop *loop, fc_io *io, uint32_t events)
{
    (void)events;
    drain_counter(io->fd);
    pthread_mutex_lock(&loop->jobs_lock);
    loop->wake_signalled = false;
    fc_job *job = loop->jobs;
    loop->jobs = NULL;
    loop->jobs_end = &loop->jobs;
    pthread_mutex_unlock(&loop->jobs_lock);
    while (job) {
        fc_job *next = job->next;
        job->done(loop, job);
        job = next;
    }
}

/* Makes the epoll descriptor readable. Under the lock: jobs are posted from other threads. */
static void signal_wake(fc_loop *loop)
{
    if (loop->wake_signalled)
        return;
    loop->wake_signalled = true;
    uint64_t one = 1;
    while (write(loop->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static void on_trim(fc_timer *timer, void *ctx)
{
    fc_loop *loop = ctx;
    if (fc_bufpool_trim(loop->bufs))
        fc_loop_timer(loop, timer, fc_loop_now_ms(loop) + TRIM_MS);
}

fc_loop *fc_loop_new(size_t buf_bytes_max)
{
    fc_loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return NULL;
    pthread_mutex_init(&loop->jobs_lock, NULL);
    loop->jobs_end = &loop->jobs;
    loop->tasks_end = &loop->tasks;
    loop->armed_ms = UINT64_MAX;
    loop->now_ns = fc_monotonic_ns();
    fc_wheel_init(&loop->wheel, fc_loop_now_ms(loop));
    loop->bufs = fc_bufpool_new(buf_bytes_max);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    loop->trim.fn = on_trim;
    loop->timer_io = (fc_io){.fn = on_timer, .fd = loop->timer_fd};
    loop->wake_io = (fc_io){.fn = on_wake, .fd = loop->wake_fd};
    if (!loop->bufs || loop->epoll_fd < 0 || loop->timer_fd < 0 || loop->wake_fd < 0 ||
        fc_loop_watch(loop, &loop->timer_io, EPOLLIN) < 0 || fc_loop_watch(loop, &loop->wake_io, EPOLLIN) < 0) {
        int saved = errno;
        fc_loop_free(loop);
        errno = saved;
        return NULL;
    }
    return loop;
}

void fc_loop_free(fc_loop *loop)
{
    if (!loop)
        return;
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    if (loop->timer_fd >= 0)
        close(loop->timer_fd);
    if (loop->wake_fd >= 0)
        close(loop->wake_fd);
    fc_bufpool_free(loop->bufs);
    pthread_mutex_destroy(&loop->jobs_lock);
    free(loop);
}

int fc_loop_watch(fc_loop *loop, fc_io *io, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = io};
    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, io->fd, &ev) < 0 ? -errno : 0;
}

int fc_loop_rewatch(fc_loop *loop, fc_io *io, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = io};
    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, io->fd, &ev) < 0 ? -errno : 0;
}

void fc_loop_unwatch(fc_loop *loop, fc_io *io)
{
    if (!io->fn)
        return;
    io->fn = NULL;
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL);
}

void fc_loop_later(fc_loop *loop, fc_task *task)
{
    if (task->queued)
        return;
    task->queued = true;
    task->next = NULL;
    *loop->tasks_end = task;
    loop->tasks_end = &task->next;
    if (!loop->running) {
        pthread_mutex_lock(&loop->jobs_lock);
        signal_wake(loop);
        pthread_mutex_unlock(&loop->jobs_lock);
    }
}

void fc_loop_post(fc_loop *loop, fc_job *job)
{
    pthread_mutex_lock(&loop->jobs_lock);
    job->next = NULL;
    *loop->jobs_end = job;
    loop->jobs_end = &job->next;
    signal_wake(loop);
    pthread_mutex_unlock(&loop->jobs_lock);
}

/* One round over the tasks queued so far; tasks they queue wait for the next round, after the kernel was asked again, so
 * a task that re-queues itself (a connection with more to read than its share) cannot starve the others. */
static void run_tasks(fc_loop *loop)
{
    fc_task *task = loop->tasks;
    loop->tasks = NULL;
    loop->tasks_end = &loop->tasks;
    while (task) {
        fc_task *next = task->next;
        task->queued = false;
        task->fn(loop, task);
        task = next;
    }
}

void fc_loop_touch(fc_loop *loop) { loop->now_ns = fc_monotonic_ns(); }

void fc_loop_arm(fc_loop *loop)
{
    uint64_t next = fc_wheel_next(&loop->wheel);
    if (next >= loop->armed_ms)
        return;
    struct itimerspec at = {.it_value = {.tv_sec = (time_t)(next / 1000), .tv_nsec = (long)(next % 1000 * FC_NS_PER_MS)}};
    if (timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &at, NULL) == 0)
        loop->armed_ms = next;
}

int fc_loop_run(fc_loop *loop, int timeout_ms, uint64_t budget_ns)
{
    struct epoll_event events[BATCH];
    uint64_t start = 0;
    int handled = 0;
    if (loop->running)
        return 0;
    loop->running = true;
    for (;;) {
        int n = epoll_wait(loop->epoll_fd, events, BATCH, loop->tasks ? 0 : timeout_ms);
        timeout_ms = 0;
        fc_loop_touch(loop);
        if (!start)
            start = loop->now_ns;
        loop->stats.batches++;
        for (int i = 0; i < n; i++) {
            fc_io *io = events[i].data.ptr;
            if (io->fn)
                io->fn(loop, io, events[i].events);
        }
        size_t fired = fc_wheel_advance(&loop->wheel, fc_loop_now_ms(loop), loop);
        bool had_tasks = loop->tasks != NULL;
        run_tasks(loop);
        if (n > 0) {
            handled += n;
            loop->stats.events += (uint64_t)n;
        }
        handled += (int)fired;
        loop->stats.timers += fired;
        if (n <= 0 && !had_tasks)
            break;
        if (loop->now_ns - start >= budget_ns) {
            loop->stats.budget_exhausted++;
            break;
        }
    }
    loop->running = false;
    loop->stats.wakeups += handled > 0;
    if (loop->tasks) {
        pthread_mutex_lock(&loop->jobs_lock);
        signal_wake(loop);
        pthread_mutex_unlock(&loop->jobs_lock);
    }
    if (!fc_timer_armed(&loop->trim) && fc_bufpool_has_spare(loop->bufs))
        fc_wheel_set(&loop->wheel, &loop->trim, fc_loop_now_ms(loop) + TRIM_MS);
    fc_loop_arm(loop);
    return handled;
}
