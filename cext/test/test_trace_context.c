#include <string.h>

#include "check.h"
#include "fc/trace.h"

#define GOOD "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static bool reads(const char *text)
{
    fc_trace trace = {0};
    return fc_traceparent_read(&trace, (fc_slice){text, strlen(text)});
}

static void test_there_and_back(void)
{
    fc_trace trace = {0};
    char out[FC_TRACEPARENT_LEN];
    CHECK(fc_traceparent_read(&trace, (fc_slice){GOOD, strlen(GOOD)}));
    CHECK(trace.parent == 0xb7ad6b7169203331u && trace.sampled && trace.id[0] == 0x0a && trace.id[15] == 0x9c);
    fc_traceparent_write(&trace, trace.parent, out);
    CHECK(memcmp(out, GOOD, sizeof out) == 0);
    trace.sampled = false;
    fc_traceparent_write(&trace, 0x0123456789abcdefu, out);
    CHECK(memcmp(out, "00-0af7651916cd43dd8448eb211c80319c-0123456789abcdef-00", sizeof out) == 0);
}

static void test_flags(void)
{
    fc_trace trace = {0};
    const char *text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    CHECK(fc_traceparent_read(&trace, (fc_slice){text, strlen(text)}) && !trace.sampled);
    text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-fe"; /* bits nobody knows yet */
    CHECK(fc_traceparent_read(&trace, (fc_slice){text, strlen(text)}) && !trace.sampled);
    text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff";
    CHECK(fc_traceparent_read(&trace, (fc_slice){text, strlen(text)}) && trace.sampled);
}

static void test_versions(void)
{
    CHECK(reads("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    CHECK(reads("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-may-follow"));
    CHECK(!reads("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.what-may-not"));
    CHECK(!reads("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    CHECK(!reads(GOOD "-more"));
}

static void test_what_is_none(void)
{
    static const char *const bad[] = {
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-B7AD6B7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333 -01",
        "0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x",
        "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331_01",
        (" " GOOD),
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!reads(bad[i]));
}

int main(void)
{
    test_there_and_back();
    test_flags();
    test_versions();
    test_what_is_none();
    return check_done("test_trace_context");
}
