/* A limit's keys and its texts: pure. */
#include "fc/clock.h"
#include "fc/limit.h"

/* --- keys -------------------------------------------------------------------------------------------------------- */

void fc_limit_mask(const fc_limit *limit, fc_addr *client)
{
    unsigned bits = client->is_v4 ? 96u + limit->ipv4_bits : limit->ipv6_bits;
    for (unsigned i = 0; i < sizeof client->ip; i++) {
        unsigned kept = bits > 8 * i ? bits - 8 * i : 0;
        if (kept < 8)
            client->ip[i] &= (uint8_t)(0xFF00u >> kept);
    }
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool fc_limit_decode(fc_slice value, char *out, size_t room, size_t *len)
{
    size_t n = 0;
    for (size_t i = 0; i < value.n; i++, n++) {
        char c = value.p[i] == '+' ? ' ' : value.p[i];
        if (c == '%' && value.n - i > 2 && hex(value.p[i + 1]) >= 0 && hex(value.p[i + 2]) >= 0) {
            c = (char)(hex(value.p[i + 1]) << 4 | hex(value.p[i + 2]));
            i += 2;
        }
        if (n == room)
            return false;
        out[n] = c;
    }
    *len = n;
    return true;
}

uint64_t fc_limit_print(const fc_limit *limit, const uint64_t *hashes)
{
    uint64_t words[1 + FC_LIMIT_PARTS_MAX] = {limit->scope};
    memcpy(words + 1, hashes, sizeof *words * limit->parts_len);
    uint64_t print = fc_hash(limit->key, words, sizeof *words * (1 + limit->parts_len));
    return print ? print : 1; /* 0 is an empty entry */
}

/* --- texts ------------------------------------------------------------------------------------------------------- */

static bool is_told(const fc_limit_use *use, bool all)
{
    return !use->limit->dry_run && (all || use->limit->tells);
}

static uint64_t seconds_up(uint64_t ns) { return ns / FC_NS_PER_S + (ns % FC_NS_PER_S != 0); }

static uint64_t integer(uint64_t v) { return v < FC_LIMIT_INT_MAX ? v : FC_LIMIT_INT_MAX; }

static void put_state(fc_text *out, const fc_limit_use *use)
{
    const fc_gcra_answer *a = &use->answer;
    uint64_t until = a->allowed ? a->reset_ns : a->retry_ns;
    FC_TEXT_LIT(out, "\"");
    fc_text_slice(out, use->limit->name);
    FC_TEXT_LIT(out, "\";r=");
    fc_text_u64(out, integer(a->remaining));
    if (use->limit->table && until != FC_GCRA_NEVER) { /* when requests in flight will end nobody knows */
        FC_TEXT_LIT(out, ";t=");
        fc_text_u64(out, integer(seconds_up(until)));
    }
}

void fc_limit_put_fields(fc_text *out, const fc_limit_use *uses, uint32_t n, bool all)
{
    bool any = false;
    for (uint32_t i = 0; i < n; i++)
        if (is_told(&uses[i], all)) {
            if (any)
                FC_TEXT_LIT(out, ", ");
            else
                FC_TEXT_LIT(out, "RateLimit-Policy: ");
            fc_text_slice(out, uses[i].limit->policy);
            any = true;
        }
    if (!any)
        return;
    FC_TEXT_LIT(out, "\r\nRateLimit: ");
    any = false;
    for (uint32_t i = 0; i < n; i++)
        if (is_told(&uses[i], all)) {
            if (any)
                FC_TEXT_LIT(out, ", ");
            put_state(out, &uses[i]);
            any = true;
        }
    FC_TEXT_LIT(out, "\r\n");
}

size_t fc_limit_fields_room(uint32_t n)
{
    return 64 + n * (FC_LIMIT_POLICY_MAX + FC_LIMIT_NAME_MAX + sizeof ", \"\";r=;t=" + 2 * 16);
}

uint64_t fc_limit_retry_after(const fc_limit_use *uses, uint32_t n)
{
    uint64_t wait = 1;
    for (uint32_t i = 0; i < n; i++) {
        const fc_limit_use *use = &uses[i];
        if (use->limit->dry_run || use->answer.allowed || use->answer.retry_ns == FC_GCRA_NEVER)
            continue;
        uint64_t seconds = seconds_up(use->answer.retry_ns);
        wait = seconds > wait ? seconds : wait;
    }
    return wait;
}
