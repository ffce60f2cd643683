/* step.h - stops a child after each single instruction, so that a test can ask "what if it had been killed here?".
 *
 * PTRACE_SINGLESTEP; where a sandbox forbids it the callers say so and fall back to kills at random moments.
 */
#ifndef FC_TEST_STEP_H
#define FC_TEST_STEP_H

#include <signal.h>
#include <stdbool.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

/* A child stopped just before act(arg), or -1 where tracing is forbidden. */
static inline pid_t step_start(void (*act)(void *), void *arg)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(99);
        raise(SIGSTOP);
        act(arg);
        _exit(0);
    }
    waitpid(child, &status, 0);
    return WIFSTOPPED(status) ? child : -1;
}

/* One instruction further; false when the child has ended. */
static inline bool step_once(pid_t child)
{
    int status;
    if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) != 0)
        return false;
    waitpid(child, &status, 0);
    return WIFSTOPPED(status);
}

static inline void step_kill(pid_t child)
{
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

#endif
