#include "../loadgen/reply.h"

#include <string.h>

#include "check.h"
#include "guard.h"

typedef struct outcome {
    int answers, last_status;
    bool keep_alive, bad, ends_by_close;
} outcome;

/* Feed text as it would come in pieces of `step` bytes: what is not used is shown again, at the end of a guarded page. */
static outcome feed(const guard *g, const char *text, fc_http_method method, size_t step)
{
    outcome out = {0};
    fc_reply r;
    size_t len = strlen(text), begin = 0;
    fc_reply_init(&r);
    for (size_t end = 0; end < len && !out.bad;) {
        end = end + step < len ? end + step : len;
        for (fc_reply_event event = FC_REPLY_DONE; event == FC_REPLY_DONE && begin < end;) {
            size_t used;
            event = fc_reply_next(&r, method, guard_put(g, text + begin, end - begin), end - begin, &used);
            CHECK(used <= end - begin);
            begin += used;
            out.bad = event == FC_REPLY_BAD;
            if (event == FC_REPLY_DONE) {
                out.answers++;
                out.last_status = r.status;
                out.keep_alive = r.keep_alive;
            }
            CHECK(event == FC_REPLY_DONE ? !r.begun : r.begun);
        }
    }
    out.ends_by_close = fc_reply_ends_by_close(&r);
    return out;
}

static void expect(const guard *g, const char *text, fc_http_method method, outcome want)
{
    for (size_t step = 1; step <= strlen(text); step++) {
        outcome got = feed(g, text, method, step);
        CHECK(got.answers == want.answers);
        CHECK(got.last_status == want.last_status);
        CHECK(got.keep_alive == want.keep_alive);
        CHECK(got.bad == want.bad);
        CHECK(got.ends_by_close == want.ends_by_close);
    }
}

int main(void)
{
    guard g = guard_make(4096);
    const fc_http_method get = FC_METHOD_GET, head = FC_METHOD_HEAD;
    expect(&g, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", get,
           (outcome){.answers = 2, .last_status = 404, .keep_alive = true});
    expect(&g, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n", get,
           (outcome){.answers = 1, .last_status = 204, .keep_alive = true});
    expect(&g, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n"
               "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nz", get,
           (outcome){.answers = 2, .last_status = 200});
    expect(&g, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", head,
           (outcome){.answers = 1, .last_status = 200, .keep_alive = true});
    expect(&g, "HTTP/1.1 200 OK\r\n\r\nuntil the end", get, (outcome){.ends_by_close = true});
    expect(&g, "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", get,
           (outcome){.answers = 1, .last_status = 101});
    expect(&g, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!oops\r\n\r\n", get,
           (outcome){.answers = 1, .last_status = 200, .keep_alive = true, .bad = true});
    expect(&g, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", get, (outcome){.bad = true});
    guard_free(&g);
    return check_done("test_reply");
}
