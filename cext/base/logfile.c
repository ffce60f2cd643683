#include "fc/logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fc/clock.h"

/* How long lines may gather before they are written: long enough that a busy service writes large blocks, short enough
 * for somebody who watches with tail -f. */
#define GATHER_MS 100

struct fc_logfile {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t ready;
    char *path;
    int fd;
    char *filling, *writing;
    size_t used, size;
    uint64_t lines_filling;
    bool closing;
    bool torn; /* a write stopped inside a line */
    fc_logfile_stats stats;
};

static int open_path(const char *path)
{
    if (strcmp(path, "-") == 0)
        return fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
}

/* Write all of it, or tell why not; *torn says whether something of it got through. */
static int write_all(int fd, const char *p, size_t n, bool *torn)
{
    size_t done = 0;
    while (done < n) {
        ssize_t w = write(fd, p + done, n - done);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0) {
            *torn = done > 0 && p[done - 1] != '\n';
            return -errno;
        }
        done += (size_t)w;
    }
    return 0;
}

/* A pipe takes up to PIPE_BUF bytes as a whole (pipe(7)); more may have others' lines in between: another worker's, or
 * the server's own log. */
static int write_lines(int fd, const char *p, size_t n, bool *torn)
{
    struct stat st;
    bool pipe = fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode);
    int rc = 0;
    while (rc == 0 && n > 0) {
        size_t piece = n;
        if (pipe && n > PIPE_BUF) {
            const char *end = memrchr(p, '\n', PIPE_BUF);
            if (!end)
                end = memchr(p, '\n', n); /* one line that is longer */
            piece = end ? (size_t)(end - p) + 1 : n;
        }
        rc = write_all(fd, p, piece, torn);
        p += piece;
        n -= piece;
    }
    return rc;
}

static void wait_for_lines(fc_logfile *log)
{
    while (!log->used && !log->closing)
        pthread_cond_wait(&log->ready, &log->lock);
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += GATHER_MS * (long)FC_NS_PER_MS;
    until.tv_sec += until.tv_nsec / (long)FC_NS_PER_S;
    until.tv_nsec %= (long)FC_NS_PER_S;
    while (log->used < log->size / 2 && !log->closing)
        if (pthread_cond_timedwait(&log->ready, &log->lock, &until) == ETIMEDOUT)
            break;
}

static void *writer(void *arg)
{
    fc_logfile *log = arg;
    pthread_mutex_lock(&log->lock);
    for (;;) {
        wait_for_lines(log);
        if (!log->used)
            break;
        char *block = log->filling;
        size_t n = log->used;
        uint64_t lines = log->lines_filling;
        int fd = log->fd;
        bool torn = log->torn;
        log->filling = log->writing;
        log->writing = block;
        log->used = 0;
        log->lines_filling = 0;
        pthread_mutex_unlock(&log->lock);
        int rc = torn ? write_all(fd, "\n", 1, &torn) : 0;
        if (rc == 0) {
            torn = false;
            rc = write_lines(fd, block, n, &torn);
        }
        pthread_mutex_lock(&log->lock);
        log->torn = torn;
        log->stats.last_errno = -rc;
        if (rc < 0)
            log->stats.dropped_error += lines;
    }
    pthread_mutex_unlock(&log->lock);
    return NULL;
}

fc_logfile *fc_logfile_open(const char *path, size_t buffer_bytes)
{
    fc_logfile *log = calloc(1, sizeof *log);
    if (!log)
        return NULL;
    log->size = buffer_bytes;
    log->path = strdup(path);
    log->filling = malloc(buffer_bytes);
    log->writing = malloc(buffer_bytes);
    log->fd = log->path ? open_path(path) : -1;
    if (!log->filling || !log->writing || log->fd < 0)
        goto fail;
    pthread_mutex_init(&log->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&log->ready, &attr);
    pthread_condattr_destroy(&attr);
    /* Signals belong to the interpreter's thread. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&log->thread, NULL, writer, log);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc == 0)
        return log;
    errno = rc;
fail:;
    int saved = errno;
    if (log->fd >= 0)
        close(log->fd);
    free(log->filling);
    free(log->writing);
    free(log->path);
    free(log);
    errno = saved;
    return NULL;
}

void fc_logfile_close(fc_logfile *log)
{
    if (!log)
        return;
    pthread_mutex_lock(&log->lock);
    log->closing = true;
    pthread_cond_signal(&log->ready);
    pthread_mutex_unlock(&log->lock);
    pthread_join(log->thread, NULL);
    pthread_cond_destroy(&log->ready);
    pthread_mutex_destroy(&log->lock);
    close(log->fd);
    free(log->filling);
    free(log->writing);
    free(log->path);
    free(log);
}

int fc_logfile_reopen(fc_logfile *log)
{
    int fd = open_path(log->path);
    if (fd < 0)
        return -errno;
    pthread_mutex_lock(&log->lock);
    /* dup3 keeps the number: the thread may be inside write() with it, and finishes that write on the old file. */
    int rc = dup3(fd, log->fd, O_CLOEXEC) < 0 ? -errno : 0;
    pthread_mutex_unlock(&log->lock);
    close(fd);
    return rc;
}

bool fc_logfile_put(fc_logfile *log, const char *line, size_t n)
{
    pthread_mutex_lock(&log->lock);
    bool fits = n <= log->size - log->used;
    if (fits) {
        bool was_empty = log->used == 0;
        bool was_low = log->used < log->size / 2;
        memcpy(log->filling + log->used, line, n);
        log->used += n;
        log->lines_filling++;
        log->stats.lines++;
        /* The thread is woken when there is something at all, and when there is much: not for every line. */
        if (was_empty || (was_low && log->used >= log->size / 2))
            pthread_cond_signal(&log->ready);
    } else {
        log->stats.dropped_full++;
    }
    pthread_mutex_unlock(&log->lock);
    return fits;
}

fc_logfile_stats fc_logfile_get_stats(fc_logfile *log)
{
    pthread_mutex_lock(&log->lock);
    fc_logfile_stats stats = log->stats;
    pthread_mutex_unlock(&log->lock);
    return stats;
}
