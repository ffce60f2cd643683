/* The log thread: nothing lost while the disk keeps up, drops counted when it does not, rotation, a full disk. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h> /* the log has a thread: this marks the test for the thread sanitizer */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "fc/logfile.h"

static char dir[] = "/tmp/fc_logfile_XXXXXX";
static char path[64], moved[64];

static size_t count_lines(const char *name, const char *form, int first)
{
    FILE *f = fopen(name, "r");
    char line[128], want[128];
    size_t n = 0;
    while (f && fgets(line, sizeof line, f)) {
        snprintf(want, sizeof want, form, first + (int)n);
        CHECK(strcmp(line, want) == 0);
        n++;
    }
    if (f)
        fclose(f);
    return n;
}

static void every_accepted_line_is_written_in_order(void)
{
    fc_logfile *log = fc_logfile_open(path, 1 << 16);
    CHECK(log);
    char line[64];
    int put = 0;
    for (int i = 0; i < 20000; i++) {
        int n = snprintf(line, sizeof line, "line %d\n", put);
        put += fc_logfile_put(log, line, (size_t)n);
    }
    fc_logfile_stats stats = fc_logfile_get_stats(log);
    CHECK(stats.lines == (uint64_t)put && stats.dropped_full == 20000u - (unsigned)put);
    CHECK(stats.dropped_error == 0 && stats.last_errno == 0);
    fc_logfile_close(log);
    CHECK(count_lines(path, "line %d\n", 0) == (size_t)put);
    unlink(path);
}

static void too_long_lines_and_full_buffers_are_dropped(void)
{
    int fifo_reader;
    CHECK(mkfifo(path, 0600) == 0);
    fifo_reader = open(path, O_RDONLY | O_NONBLOCK);
    fc_logfile *log = fc_logfile_open(path, 1 << 17); /* larger than a pipe: the writer gets stuck in it */
    CHECK(log);
    static char block[1 << 16];
    memset(block, 'x', sizeof block);
    block[sizeof block - 1] = '\n';
    CHECK(!fc_logfile_put(log, block, (1 << 17) + 1));
    unsigned kept = 0;
    while (fc_logfile_get_stats(log).dropped_full < 3)
        kept += fc_logfile_put(log, block, sizeof block);
    CHECK(kept >= 2);
    /* The reader wakes up: what was accepted arrives. */
    fcntl(fifo_reader, F_SETFL, 0);
    size_t got = 0;
    while (got < (size_t)kept * sizeof block) {
        ssize_t n = read(fifo_reader, block, sizeof block);
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    CHECK(got == (size_t)kept * sizeof block);
    fc_logfile_close(log);
    close(fifo_reader);
    unlink(path);
}

static void reopen_follows_rotation(void)
{
    fc_logfile *log = fc_logfile_open(path, 4096);
    CHECK(log && fc_logfile_put(log, "line 0\n", 7));
    /* Wait until it is on disk, then rotate. */
    struct stat st = {0};
    while (stat(path, &st) == 0 && st.st_size == 0)
        usleep(1000);
    CHECK(rename(path, moved) == 0);
    CHECK(fc_logfile_reopen(log) == 0);
    CHECK(fc_logfile_put(log, "line 1\n", 7));
    fc_logfile_close(log);
    CHECK(count_lines(moved, "line %d\n", 0) == 1);
    CHECK(count_lines(path, "line %d\n", 1) == 1);
    unlink(path);
    unlink(moved);
}

static void reopening_fails_softly(void)
{
    char sub[80], file[96];
    snprintf(sub, sizeof sub, "%s/sub", dir);
    snprintf(file, sizeof file, "%s/log", sub);
    CHECK(mkdir(sub, 0700) == 0);
    fc_logfile *log = fc_logfile_open(file, 4096);
    CHECK(log);
    unlink(file);
    rmdir(sub);
    CHECK(fc_logfile_reopen(log) == -ENOENT);
    CHECK(fc_logfile_put(log, "still here\n", 11)); /* the old file stays in use */
    fc_logfile_close(log);
    CHECK(!fc_logfile_open(file, 4096) && errno == ENOENT);
}

static void a_full_disk_is_remembered_and_got_over(void)
{
    fc_logfile *log = fc_logfile_open("/dev/full", 4096);
    CHECK(log && fc_logfile_put(log, "lost\n", 5) && fc_logfile_put(log, "lost\n", 5));
    fc_logfile_stats stats;
    while ((stats = fc_logfile_get_stats(log)).dropped_error < 2)
        usleep(1000);
    CHECK(stats.lines == 2 && stats.dropped_error == 2 && stats.last_errno == ENOSPC);
    CHECK(fc_logfile_put(log, "lost\n", 5));
    fc_logfile_close(log);
}

/* Several processes write into one pipe: no line has another's inside. */
static void lines_stay_whole_in_a_pipe(void)
{
    enum { WRITERS = 2, LINES = 4000, LENGTH = 100 };
    int fds[2];
    char name[64], line[LENGTH + 1], letters[WRITERS] = {'a', 'b'};
    fc_logfile *logs[WRITERS];
    CHECK(pipe(fds) == 0);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fds[1]);
    for (int i = 0; i < WRITERS; i++) {
        CHECK((logs[i] = fc_logfile_open(name, LINES * LENGTH)) != NULL);
        memset(line, letters[i], LENGTH);
        line[LENGTH - 1] = '\n';
        for (int k = 0; k < LINES; k++)
            CHECK(fc_logfile_put(logs[i], line, LENGTH));
    }
    close(fds[1]);
    FILE *f = fdopen(fds[0], "r");
    size_t n = 0, torn = 0;
    while (n < WRITERS * LINES && fgets(line, sizeof line, f)) {
        torn += strspn(line, (char[]){line[0], 0}) != LENGTH - 1;
        n++;
    }
    CHECK(n == WRITERS * LINES && torn == 0);
    for (int i = 0; i < WRITERS; i++)
        fc_logfile_close(logs[i]);
    fclose(f);
}

int main(void)
{
    CHECK(mkdtemp(dir) != NULL);
    snprintf(path, sizeof path, "%s/log", dir);
    snprintf(moved, sizeof moved, "%s/log.1", dir);
    every_accepted_line_is_written_in_order();
    too_long_lines_and_full_buffers_are_dropped();
    reopen_follows_rotation();
    reopening_fails_softly();
    a_full_disk_is_remembered_and_got_over();
    rmdir(dir);
    lines_stay_whole_in_a_pipe();
    return check_done("test_logfile");
}
