#include "fc/allowance.h"

#define LOW ((1ull << FC_ALLOWANCE_BITS) - 1)
#define REFUSED (1ull << (FC_ALLOWANCE_BITS - 1))
#define UNITS (REFUSED - 1)

struct change {
    uint64_t now_ns, units, until_ns;
    fc_allowance_answer answer;
    uint64_t left;
};

static uint64_t until(uint64_t word) { return word & ~LOW; }
static bool live(uint64_t word, uint64_t now_ns) { return until(word) > now_ns; }

static uint64_t take(uint64_t word, void *ctx)
{
    struct change *c = ctx;
    c->answer = FC_ALLOWANCE_NONE;
    c->left = 0;
    if (!live(word, c->now_ns))
        return word;
    c->until_ns = until(word);
    if (word & REFUSED)
        c->answer = FC_ALLOWANCE_REFUSED;
    if (word & REFUSED || (word & UNITS) < c->units)
        return word;
    c->answer = FC_ALLOWANCE_TAKEN;
    c->left = (word & UNITS) - c->units;
    return word - c->units;
}

fc_allowance_answer fc_allowance_take(fc_limiter *l, uint64_t print, uint64_t now_ns, uint64_t cost, uint64_t *left,
                                      uint64_t *until_ns)
{
    struct change c = {.now_ns = now_ns, .units = cost};
    fc_limiter_update(l, print, now_ns, take, &c);
    *left = c.left;
    *until_ns = c.until_ns;
    return c.answer;
}

static uint64_t give_back(uint64_t word, void *ctx)
{
    const struct change *c = ctx;
    return live(word, c->now_ns) && !(word & REFUSED) && (word & UNITS) + c->units <= UNITS ? word + c->units : word;
}

void fc_allowance_give_back(fc_limiter *l, uint64_t print, uint64_t now_ns, uint64_t cost)
{
    struct change c = {.now_ns = now_ns, .units = cost};
    fc_limiter_update(l, print, now_ns, give_back, &c);
}

static uint64_t grant(uint64_t word, void *ctx)
{
    const struct change *c = ctx;
    uint64_t end = c->until_ns & ~LOW, units = c->units;
    if (live(word, c->now_ns) && !(word & REFUSED) && word & UNITS) {
        end = until(word) < end ? until(word) : end;
        units += word & UNITS;
    }
    return end | (units < UNITS ? units : UNITS);
}

bool fc_allowance_grant(fc_limiter *l, uint64_t print, uint64_t now_ns, uint64_t units, uint64_t until_ns)
{
    struct change c = {.now_ns = now_ns, .units = units, .until_ns = until_ns};
    return fc_limiter_update(l, print, now_ns, grant, &c);
}

static uint64_t refuse(uint64_t word, void *ctx)
{
    const struct change *c = ctx;
    return live(word, c->now_ns) && word & UNITS ? word : (c->until_ns & ~LOW) | REFUSED;
}

void fc_allowance_refuse(fc_limiter *l, uint64_t print, uint64_t now_ns, uint64_t until_ns)
{
    struct change c = {.now_ns = now_ns, .until_ns = until_ns};
    fc_limiter_update(l, print, now_ns, refuse, &c);
}
