/* Cost of parsing one browser-shaped request head, with framing and Host rules and field identification.
 * usage: bench_http1 [millions]; prints one line per variant: name, ns per request, bytes per request.
 * Each variant is the best of five runs: the minimum is what the code costs, the rest is what the machine does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fc/clock.h"
#include "fc/http1.h"
#ifdef WITH_PICO
#include "picohttpparser.h"
#endif

#define RUNS 5
#define FIELDS_MAX 64

static const char browser[] =
    "GET /media/gallery/2024/11/northern-lights-over-the-fjord.jpg HTTP/1.1\r\n"
    "Host: pictures.example.org\r\n"
    "User-Agent: Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7; rv:128.0) Gecko/20100101 Firefox/128.0 Safari/605\r\n"
    "Accept: image/avif,image/webp,image/apng,image/svg+xml,image/*;q=0.8,text/html;q=0.5,*/*;q=0.1\r\n"
    "Accept-Language: nb-NO,nb;q=0.9,en-GB;q=0.7,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Referer: https://www.example.org/travel/norway/tromso/?season=winter\r\n"
    "Connection: keep-alive\r\n"
    "Cookie: sid=7f3c9a52e1b04d68; __utma=1.1234567890.1700000000.1700000000.1700000001.3; "
    "__utmz=1.1700000000.1.1.utmcsr=search|utmccn=(organic)|utmcmd=organic|utmctr=lights\r\n"
    "Cache-Control: max-age=0\r\n"
    "\r\n";

static const char small[] = "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

static double best_ns(const char *text, size_t len, uint32_t flags, unsigned long count)
{
    const fc_http1_limits limits = {.flags = flags, .head_bytes_max = 32768, .target_bytes_max = 8192};
    fc_http1_field fields[FIELDS_MAX];
    fc_http1_head head = {.fields = fields, .fields_max = FIELDS_MAX};
    double best = 1e9;
    for (int run = 0; run < RUNS; run++) {
        uint64_t begin = fc_monotonic_ns();
        for (unsigned long i = 0; i < count; i++) {
            if (fc_http1_parse_request(text, len, 0, &limits, &head) != (int)len)
                abort();
            __asm__ volatile("" : : "r"(&head) : "memory"); /* or the loop would be one call */
        }
        double ns = (double)(fc_monotonic_ns() - begin) / (double)count;
        best = ns < best ? ns : best;
    }
    return best;
}

#ifdef WITH_PICO
/* The peer, which finds the parts and stops there: no names known, no framing, no Host. */
static double pico_ns(const char *text, size_t len, unsigned long count)
{
    const char *method, *path;
    size_t method_len, path_len, fields_len;
    int minor;
    struct phr_header fields[FIELDS_MAX];
    double best = 1e9;
    for (int run = 0; run < RUNS; run++) {
        uint64_t begin = fc_monotonic_ns();
        for (unsigned long i = 0; i < count; i++) {
            fields_len = FIELDS_MAX;
            if (phr_parse_request(text, len, &method, &method_len, &path, &path_len, &minor, fields, &fields_len, 0) !=
                (int)len)
                abort();
            __asm__ volatile("" : : "r"(fields) : "memory");
        }
        double ns = (double)(fc_monotonic_ns() - begin) / (double)count;
        best = ns < best ? ns : best;
    }
    return best;
}
#endif

int main(int argc, char **argv)
{
    unsigned long count = (argc > 1 ? strtoul(argv[1], NULL, 10) : 1) * 1000000ul;
    printf("browser %.1f %zu\n", best_ns(browser, sizeof browser - 1, 0, count), sizeof browser - 1);
#ifdef WITH_PICO
    printf("pico %.1f %zu\n", pico_ns(browser, sizeof browser - 1, count), sizeof browser - 1);
#endif
    printf("browser-plain %.1f %zu\n", best_ns(browser, sizeof browser - 1, FC_HTTP1_NO_SIMD, count),
           sizeof browser - 1);
    printf("small %.1f %zu\n", best_ns(small, sizeof small - 1, 0, count), sizeof small - 1);
    return 0;
}
