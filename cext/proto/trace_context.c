/* The W3C Trace Context field; the form is in fc/trace.h. */
#include "fc/trace.h"

#include <string.h>

static const char DIGITS[] = "0123456789abcdef";

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; /* upper case is none: 3.2.2.3 */
}

/* `n` bytes from 2n digits; false for anything else, and for zeros alone. */
static bool bytes(const char *p, uint8_t *out, size_t n)
{
    uint8_t any = 0;
    for (size_t i = 0; i < n; i++) {
        int high = digit(p[2 * i]), low = digit(p[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
        any |= out[i];
    }
    return any != 0;
}

bool fc_traceparent_read(fc_trace *trace, fc_slice value)
{
    uint8_t id[16], parent[8], version[1], flags[1] = {0};
    const char *p = value.p;
    if (value.n < FC_TRACEPARENT_LEN || p[2] != '-' || p[35] != '-' || p[52] != '-')
        return false;
    bool later = bytes(p, version, 1); /* 00 is zeros alone */
    if (!later && memcmp(p, "00", 2) != 0)
        return false;
    if (later && version[0] == 0xFF)
        return false;
    /* What a later version has behind this begins with a dash; version 00 has nothing. */
    if (value.n > FC_TRACEPARENT_LEN && (!later || p[FC_TRACEPARENT_LEN] != '-'))
        return false;
    if (!bytes(p + 3, id, 16) || !bytes(p + 36, parent, 8) || (!bytes(p + 53, flags, 1) && memcmp(p + 53, "00", 2) != 0))
        return false;
    memcpy(trace->id, id, sizeof id);
    trace->parent = 0;
    for (int i = 0; i < 8; i++)
        trace->parent = trace->parent << 8 | parent[i];
    trace->sampled = flags[0] & 1;
    return true;
}

void fc_trace_id_write(const uint8_t id[16], char *out)
{
    for (int i = 0; i < 16; i++) {
        out[2 * i] = DIGITS[id[i] >> 4];
        out[2 * i + 1] = DIGITS[id[i] & 15];
    }
}

void fc_traceparent_write(const fc_trace *trace, uint64_t span, char *out)
{
    memcpy(out, "00-", 3);
    fc_trace_id_write(trace->id, out + 3);
    out[35] = '-';
    for (int i = 0; i < 16; i++)
        out[36 + i] = DIGITS[span >> (60 - 4 * i) & 15];
    memcpy(out + 52, trace->sampled ? "-01" : "-00", 3);
}
