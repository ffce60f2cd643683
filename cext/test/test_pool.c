/* The pool: every job is run once and comes back, to the loop that sent it, for few wake-ups. */
#include "fc/pool.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "check.h"

typedef struct task {
    fc_pool_job job;
    unsigned runs, number;
    pthread_t ran_in;
    bool signals_blocked;
} task;

/* A gate that jobs wait at, so that what is queued meanwhile is known. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool open_gate;
static unsigned at_gate;

static void run(fc_pool_job *job)
{
    task *t = FC_CONTAINER_OF(job, task, job);
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    t->signals_blocked = sigismember(&blocked, SIGTERM) && sigismember(&blocked, SIGUSR1);
    t->ran_in = pthread_self();
    t->runs++;
}

static void run_at_gate(fc_pool_job *job)
{
    pthread_mutex_lock(&lock);
    at_gate++;
    pthread_cond_broadcast(&changed);
    while (!open_gate)
        pthread_cond_wait(&changed, &lock);
    at_gate--;
    pthread_mutex_unlock(&lock);
    run(job);
}

static void wait_at_gate(unsigned n)
{
    pthread_mutex_lock(&lock);
    while (at_gate < n)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static void set_gate(bool open)
{
    pthread_mutex_lock(&lock);
    open_gate = open;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static uint64_t wake_ups(int fd)
{
    uint64_t count;
    return read(fd, &count, sizeof count) == sizeof count ? count : 0;
}

static void test_a_job_that_is_waited_for(void)
{
    fc_pool *p = fc_pool_new(3);
    for (int i = 0; i < 200; i++) {
        task t = {.job.run = run};
        CHECK(fc_pool_submit(p, &t.job) == 0);
        fc_pool_wait(p, &t.job);
        CHECK(t.runs == 1 && t.job.done && t.signals_blocked);
        CHECK(!pthread_equal(t.ran_in, pthread_self()));
    }
    fc_pool_close(p);
    fc_pool_close(NULL);
    CHECK(fc_pool_new(0) == NULL);
}

/* One thread: what it does comes back in order, all of it for one wake-up. */
static void test_order_and_wake_ups(void)
{
    enum { N = 100 };
    static task tasks[N];
    fc_pool_station station = {.event_fd = eventfd(0, EFD_NONBLOCK)};
    fc_pool *p = fc_pool_new(1);
    CHECK(fc_pool_take(&station) == NULL);
    set_gate(false);
    task gate = {.job.run = run_at_gate}, last = {.job.run = run};
    CHECK(fc_pool_submit(p, &gate.job) == 0);
    wait_at_gate(1);
    for (unsigned i = 0; i < N; i++) {
        tasks[i] = (task){.job = {.run = run, .station = &station}, .number = i};
        CHECK(fc_pool_submit(p, &tasks[i].job) == 0);
    }
    CHECK(fc_pool_submit(p, &last.job) == 0);
    CHECK(wake_ups(station.event_fd) == 0);
    set_gate(true);
    fc_pool_wait(p, &last.job);
    CHECK(wake_ups(station.event_fd) == 1);
    unsigned n = 0;
    for (fc_pool_job *job = fc_pool_take(&station); job; job = job->next, n++)
        CHECK(FC_CONTAINER_OF(job, task, job)->number == n && job->done);
    CHECK(n == N && fc_pool_take(&station) == NULL);
    fc_pool_leave(p);
    close(station.event_fd);
    fc_pool_close(p);
}

/* Jobs that block do not keep others from being run while there are threads left. */
static void test_threads_are_started_as_needed(void)
{
    enum { N = 4 };
    fc_pool *p = fc_pool_new(N);
    task blocked[N - 1], free_one = {.job.run = run};
    set_gate(false);
    for (unsigned i = 0; i < N - 1; i++) {
        blocked[i] = (task){.job.run = run_at_gate};
        CHECK(fc_pool_submit(p, &blocked[i].job) == 0);
    }
    wait_at_gate(N - 1);
    CHECK(fc_pool_submit(p, &free_one.job) == 0);
    fc_pool_wait(p, &free_one.job);
    set_gate(true);
    for (unsigned i = 0; i < N - 1; i++) {
        fc_pool_wait(p, &blocked[i].job);
        for (unsigned k = 0; k < i; k++)
            CHECK(!pthread_equal(blocked[i].ran_in, blocked[k].ran_in));
    }
    fc_pool_close(p);
}

static void test_closing_runs_what_is_queued(void)
{
    enum { N = 50 };
    static task tasks[N];
    fc_pool_station station = {.event_fd = eventfd(0, EFD_NONBLOCK)};
    fc_pool *p = fc_pool_new(2);
    for (unsigned i = 0; i < N; i++) {
        tasks[i] = (task){.job = {.run = run, .station = i % 2 ? &station : NULL}};
        CHECK(fc_pool_submit(p, &tasks[i].job) == 0);
    }
    fc_pool_close(p);
    unsigned back = 0;
    for (fc_pool_job *job = fc_pool_take(&station); job; job = job->next)
        back++;
    CHECK(back == N / 2);
    for (unsigned i = 0; i < N; i++)
        CHECK(tasks[i].runs == 1);
    close(station.event_fd);
}

/* A loop: sends jobs, sleeps on its eventfd until they are back, and leaves while others go on. */
enum { LOOPS = 3, ROUNDS = 300, AT_ONCE = 16 };

static void *loop(void *arg)
{
    fc_pool *p = arg;
    fc_pool_station station = {.event_fd = eventfd(0, EFD_NONBLOCK)};
    uint64_t woken = 0;
    uintptr_t wrong = 0; /* CHECK counts without a lock */
    for (int round = 0; round < ROUNDS; round++) {
        task *tasks = calloc(AT_ONCE, sizeof *tasks);
        for (int i = 0; i < AT_ONCE; i++) {
            tasks[i].job = (fc_pool_job){.run = run, .station = &station};
            wrong += fc_pool_submit(p, &tasks[i].job) != 0;
        }
        for (int back = 0; back < AT_ONCE;) {
            wrong += poll(&(struct pollfd){station.event_fd, POLLIN, 0}, 1, 10000) != 1;
            woken += wake_ups(station.event_fd);
            for (fc_pool_job *job = fc_pool_take(&station); job; job = job->next, back++)
                wrong += FC_CONTAINER_OF(job, task, job)->runs != 1;
        }
        free(tasks);
    }
    wrong += woken < ROUNDS || woken > ROUNDS * AT_ONCE;
    fc_pool_leave(p);
    close(station.event_fd);
    return (void *)wrong;
}

static void test_many_loops(void)
{
    fc_pool *p = fc_pool_new(4);
    pthread_t threads[LOOPS];
    void *wrong;
    for (int i = 0; i < LOOPS; i++)
        CHECK(pthread_create(&threads[i], NULL, loop, p) == 0);
    for (int i = 0; i < LOOPS; i++)
        CHECK(pthread_join(threads[i], &wrong) == 0 && wrong == NULL);
    fc_pool_close(p);
}

int main(void)
{
    test_a_job_that_is_waited_for();
    test_order_and_wake_ups();
    test_threads_are_started_as_needed();
    test_closing_runs_what_is_queued();
    test_many_loops();
    return check_done("test_pool");
}
