/* What the C entry points of fc/resp.h cost: `name ns` lines, the best of five runs, for bench_resp.py.
 * usage: bench_resp [thousands] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fc/resp.h"

#define RUNS 5
#define TOKENS 64

/* Of this thread: the machine may be busy with something else. */
static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static char wire[1 << 20];
static size_t wire_n;

static void make(const char *head, const char *element, int count)
{
    wire_n = (size_t)sprintf(wire, "%s", head);
    for (int i = 0; i < count; i++)
        wire_n += (size_t)sprintf(wire + wire_n, "%s", element);
}

/* Nanoseconds for each of `count` things in the wire. */
static double replies(unsigned long rounds, double count)
{
    double best = 1e18;
    for (int run = 0; run < RUNS; run++) {
        const fc_resp_limits limits = FC_RESP_LIMITS;
        fc_resp_parser r;
        fc_resp_token tokens[TOKENS];
        fc_resp_init(&r, &limits);
        uint64_t begin = cpu_ns();
        for (unsigned long i = 0; i < rounds; i++)
            for (size_t at = 0, used, filled; at < wire_n; at += used)
                if (fc_resp_read(&r, wire + at, wire_n - at, &used, tokens, TOKENS, &filled) < FC_RESP_DONE)
                    abort();
        double ns = (double)(cpu_ns() - begin) / (double)rounds / count;
        best = ns < best ? ns : best;
        fc_resp_free(&r);
    }
    return best;
}

static double requests(unsigned long rounds, double count)
{
    double best = 1e18;
    for (int run = 0; run < RUNS; run++) {
        const fc_resp_request_limits limits = FC_RESP_REQUEST_LIMITS;
        fc_resp_request r;
        fc_resp_request_init(&r, &limits);
        uint64_t begin = cpu_ns();
        for (unsigned long i = 0; i < rounds; i++) {
            int64_t used;
            for (size_t at = 0; at < wire_n; at += (size_t)used)
                if ((used = fc_resp_request_parse(&r, wire + at, wire_n - at)) <= 0)
                    abort();
        }
        double ns = (double)(cpu_ns() - begin) / (double)rounds / count;
        best = ns < best ? ns : best;
        fc_resp_request_free(&r);
    }
    return best;
}

static double writing(unsigned long rounds, double count)
{
    double best = 1e18;
    static char space[1 << 20];
    for (int run = 0; run < RUNS; run++) {
        uint64_t begin = cpu_ns();
        for (unsigned long i = 0; i < rounds; i++) {
            fc_resp_out out = fc_resp_out_fixed(space, sizeof space, 2);
            for (int j = 0; j < (int)count; j++)
                fc_resp_put_blob(&out, wire, 100);
            if (out.failed)
                abort();
            __asm__ volatile("" : : "r"(space) : "memory");
        }
        double ns = (double)(cpu_ns() - begin) / (double)rounds / count;
        best = ns < best ? ns : best;
    }
    return best;
}

int main(int argc, char **argv)
{
    unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 3;
    static char set[256];
    make("", "*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000001\r\n", 1000);
    printf("request_get %.2f\n", requests(rounds * 1000, 1000));
    sprintf(set, "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000001\r\n$100\r\n%0100d\r\n", 1);
    make("", set, 1000);
    printf("request_set %.2f\n", requests(rounds * 1000, 1000));
    make("*1000\r\n", "$10\r\nvalue-0001\r\n", 1000);
    printf("reply_element %.2f\n", replies(rounds * 1000, 1001));
    sprintf(set, "$100\r\n%0100d\r\n", 1);
    make("", set, 1000);
    printf("reply_get %.2f\n", replies(rounds * 1000, 1000));
    printf("write_blob %.2f\n", writing(rounds * 1000, 1000));
    return 0;
}
