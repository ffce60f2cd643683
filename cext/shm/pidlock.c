#include "fc/pidlock.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fc/clock.h"

bool fc_pid_alive(uint32_t pid)
{
    if (pid == 0 || pid > INT32_MAX)
        return false;
    if (kill((pid_t)pid, 0) != 0)
        return errno != ESRCH;
    char path[32], stat[128];
    snprintf(path, sizeof path, "/proc/%u/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) /* gone since, unless there is no /proc to look at or no descriptor to look with */
        return errno != ENOENT || access("/proc/self", F_OK) != 0;
    ssize_t n = read(fd, stat, sizeof stat - 1);
    close(fd);
    if (n <= 0)
        return n < 0 && errno != ESRCH;
    stat[n] = 0;
    /* "pid (name) S ...": the name is at most 16 bytes and may itself contain ')'. */
    const char *state = strrchr(stat, ')');
    return !state || state[1] == 0 || (state[2] != 'Z' && state[2] != 'X');
}

uint32_t fc_pidlock_acquire(fc_pidlock *lock, uint64_t wait_ns)
{
    uint32_t me = (uint32_t)getpid();
    uint64_t deadline = 0;
    for (unsigned spins = 0;; spins++) {
        uint32_t owner = 0;
        if (__atomic_compare_exchange_n(&lock->owner, &owner, me, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED) ||
            owner == me)
            return 0;
        if (spins % 64 == 63) {
            if (!fc_pid_alive(owner) &&
                __atomic_compare_exchange_n(&lock->owner, &owner, me, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
                return 0;
            uint64_t now = fc_monotonic_ns();
            if (deadline == 0)
                deadline = now + wait_ns;
            else if (now >= deadline)
                return owner;
        }
        sched_yield();
    }
}

void fc_pidlock_release(fc_pidlock *lock) { __atomic_store_n(&lock->owner, 0, __ATOMIC_RELEASE); }

bool fc_pidlock_release_dead(fc_pidlock *lock, uint32_t pid)
{
    return pid != 0 && __atomic_compare_exchange_n(&lock->owner, &pid, 0, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}
