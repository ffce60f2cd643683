#include "fc/regex.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* --- loading ---------------------------------------------------------------------------------------------------- */

typedef struct header {
    uint32_t magic, insts, sets, groups, literal, names;
} header;

static const char *check_inst(const header *h, const fc_regex_inst *inst, uint32_t pc)
{
    bool goes_on = true;
    switch (inst->op) {
    case FC_REGEX_BYTE:
        break;
    case FC_REGEX_SET:
        if (inst->x >= h->sets)
            return "a set out of range";
        break;
    case FC_REGEX_SPLIT:
        if (inst->y >= h->insts)
            return "a jump out of range";
        /* fall through */
    case FC_REGEX_JUMP:
        if (inst->x >= h->insts)
            return "a jump out of range";
        goes_on = false;
        break;
    case FC_REGEX_SAVE:
        if (inst->x < 2 || inst->x >= 2 * (h->groups + 1))
            return "a capture slot out of range";
        break;
    case FC_REGEX_ASSERT:
        if (inst->arg >= FC_REGEX_ASSERT_COUNT)
            return "an unknown assertion";
        break;
    case FC_REGEX_MATCH:
        goes_on = false;
        break;
    default:
        return "an unknown instruction";
    }
    return goes_on && pc + 1 == h->insts ? "the program runs off its end" : NULL;
}

/* Most patterns of a gateway begin with a fixed path, and one memcmp is far cheaper than an instruction per byte. */
static void measure_lead(fc_regex *re)
{
    uint32_t pc = 0, n = 0;
    while (re->insts[pc].op == FC_REGEX_ASSERT && re->insts[pc].arg == FC_REGEX_AT_START)
        pc++;
    while (re->insts[pc].op == FC_REGEX_BYTE && n < re->literal.n && re->insts[pc].arg == (uint8_t)re->literal.p[n]) {
        pc++;
        n++;
    }
    re->lead_insts = pc;
    re->lead_bytes = n;
}

const char *fc_regex_load(fc_regex *re, const void *program, size_t n)
{
    header h;
    if ((uintptr_t)program % _Alignof(fc_regex_inst) != 0)
        return "the program is not aligned";
    if (n < sizeof h)
        return "the program is cut short";
    memcpy(&h, program, sizeof h);
    if (h.magic != FC_REGEX_MAGIC)
        return "this is not a program";
    if (h.insts == 0 || h.insts > FC_REGEX_INSTS_MAX || h.sets > FC_REGEX_INSTS_MAX)
        return "the program is empty or too large";
    if (h.groups > FC_REGEX_GROUPS_MAX)
        return "too many groups";
    uint64_t want = sizeof h + (uint64_t)h.sets * sizeof(fc_regex_set) + (uint64_t)h.insts * sizeof(fc_regex_inst)
                    + h.literal + h.names;
    if (n != want)
        return "the program's size is not what its header says";

    const char *at = (const char *)program + sizeof h;
    *re = (fc_regex){.sets = (const void *)at, .insts_len = h.insts, .groups = h.groups};
    at += h.sets * sizeof(fc_regex_set);
    re->insts = (const void *)at;
    at += h.insts * sizeof(fc_regex_inst);
    re->literal = (fc_slice){at, h.literal};
    at += h.literal;
    for (uint32_t pc = 0; pc < h.insts; pc++) {
        const char *bad = check_inst(&h, &re->insts[pc], pc);
        if (bad != NULL)
            return bad;
    }
    measure_lead(re);
    const char *end = at + h.names;
    for (uint32_t g = 0; g < h.groups; g++) {
        size_t len = at < end ? (unsigned char)*at++ : 0;
        if ((size_t)(end - at) < len)
            return "a group name is cut short";
        re->names[g] = (fc_slice){at, len};
        at += len;
    }
    return at == end ? NULL : "bytes after the last group name";
}

/* --- running ---------------------------------------------------------------------------------------------------- */

/* The threads alive at one position, by falling priority, each parked before an instruction that reads a byte or
 * matches. Thread i's slots are slots[i * stride ..]. */
typedef struct threads {
    uint32_t *pc;
    uint32_t *slots;
    uint32_t len;
} threads;

/* What is left to do while following the instructions that read nothing: enter `pc`, or put `old` back into a slot
 * because everything after that SAVE has been followed. */
typedef struct pending {
    uint32_t pc; /* or RESTORE */
    uint32_t slot;
    uint32_t old;
} pending;

#define RESTORE UINT32_MAX

struct fc_regex_scratch {
    uint32_t insts_max, slots_max;
    uint32_t generation; /* a mark of this value: instruction already entered at this position */
    uint32_t *marks;
    threads lists[2];
    pending *stack; /* every instruction leaves at most one entry and is entered once: insts_max + 1 suffice */
    uint32_t now[FC_REGEX_SLOTS_MAX];
    uint64_t steps;
    uint32_t words[];
};

fc_regex_scratch *fc_regex_scratch_new(uint32_t insts_max, uint32_t groups_max)
{
    if (insts_max > FC_REGEX_INSTS_MAX || groups_max > FC_REGEX_GROUPS_MAX)
        return NULL;
    size_t n = insts_max, slots = 2 * (groups_max + 1);
    size_t words = n + 2 * n + 2 * n * slots + (n + 1) * (sizeof(pending) / sizeof(uint32_t));
    fc_regex_scratch *s = calloc(1, sizeof *s + words * sizeof(uint32_t));
    if (s == NULL)
        return NULL;
    s->insts_max = insts_max;
    s->slots_max = (uint32_t)slots;
    uint32_t *at = s->words;
    s->marks = at;
    at += n;
    for (int i = 0; i < 2; i++) {
        s->lists[i].pc = at;
        s->lists[i].slots = at + n;
        at += n + n * slots;
    }
    s->stack = (pending *)(void *)at;
    return s;
}

void fc_regex_scratch_free(fc_regex_scratch *s)
{
    free(s);
}

uint64_t fc_regex_scratch_steps(const fc_regex_scratch *s)
{
    return s->steps;
}

static void next_generation(fc_regex_scratch *s)
{
    if (++s->generation == 0) {
        memset(s->marks, 0, s->insts_max * sizeof *s->marks);
        s->generation = 1;
    }
}

static bool is_word(const char *text, size_t n, size_t at)
{
    if (at >= n)
        return false;
    unsigned char c = (unsigned char)text[at], lower = c | 0x20;
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

static bool holds(uint8_t assertion, const char *text, size_t n, size_t at)
{
    switch (assertion) {
    case FC_REGEX_AT_START:
        return at == 0;
    case FC_REGEX_AT_END:
        return at == n;
    case FC_REGEX_AT_FINAL_END:
        return at == n || (at + 1 == n && text[at] == '\n');
    case FC_REGEX_AT_LINE_START:
        return at == 0 || text[at - 1] == '\n';
    case FC_REGEX_AT_LINE_END:
        return at == n || text[at] == '\n';
    default: {
        bool before = at > 0 && is_word(text, n, at - 1);
        bool edge = before != is_word(text, n, at);
        return assertion == FC_REGEX_AT_WORD ? edge : !edge;
    }
    }
}

typedef struct run {
    const fc_regex *re;
    const char *text;
    size_t n;
    uint32_t stride; /* slots carried per thread; 0 without captures */
    fc_regex_scratch *s;
} run;

/* Follow everything reachable from pc without reading a byte and park what reads; s->now holds the slots. Order of
 * parking is order of preference. Loops over nothing end at the mark. */
static void add_thread(run *r, threads *list, uint32_t pc, size_t at)
{
    fc_regex_scratch *s = r->s;
    uint32_t *now = s->now;
    uint32_t depth = 0;
    s->stack[depth++] = (pending){.pc = pc};
    while (depth > 0) {
        pending todo = s->stack[--depth];
        if (todo.pc == RESTORE) {
            now[todo.slot] = todo.old;
            continue;
        }
        pc = todo.pc;
        while (s->marks[pc] != s->generation) {
            const fc_regex_inst *inst = &r->re->insts[pc];
            s->marks[pc] = s->generation;
            s->steps++;
            if (inst->op == FC_REGEX_JUMP) {
                pc = inst->x;
            } else if (inst->op == FC_REGEX_SPLIT) {
                s->stack[depth++] = (pending){.pc = inst->y};
                pc = inst->x;
            } else if (inst->op == FC_REGEX_SAVE) {
                if (r->stride > 0) {
                    s->stack[depth++] = (pending){RESTORE, inst->x, now[inst->x]};
                    now[inst->x] = (uint32_t)at;
                }
                pc++;
            } else if (inst->op == FC_REGEX_ASSERT) {
                if (!holds(inst->arg, r->text, r->n, at))
                    break;
                pc++;
            } else {
                memcpy(&list->slots[(size_t)list->len * r->stride], now, r->stride * sizeof *now);
                list->pc[list->len++] = pc;
                break;
            }
        }
    }
}

static bool reads(const fc_regex *re, const fc_regex_inst *inst, unsigned char c)
{
    if (inst->op == FC_REGEX_BYTE)
        return inst->arg == c;
    return inst->op == FC_REGEX_SET && (re->sets[inst->x].bits[c >> 5] >> (c & 31) & 1);
}

int fc_regex_exec(const fc_regex *re, fc_regex_mode mode, const char *text, size_t n, uint32_t *slots,
                  fc_regex_scratch *s)
{
    uint32_t stride = slots != NULL ? 2 * (re->groups + 1) : 0;
    if (re->insts_len > s->insts_max || stride > s->slots_max || n >= FC_REGEX_UNSET)
        return -1;
    uint32_t start_pc = 0;
    size_t start = 0;
    if (mode != FC_REGEX_SEARCH) {
        if (n < re->lead_bytes || (re->lead_bytes > 0 && memcmp(text, re->literal.p, re->lead_bytes) != 0))
            return 0;
        start_pc = re->lead_insts;
        start = re->lead_bytes;
    }
    run r = {re, text, n, stride, s};
    threads *here = &s->lists[0], *next = &s->lists[1];
    bool matched = false;
    here->len = 0;
    next_generation(s);
    for (size_t at = start;; at++) {
        if (!matched && (at == start || mode == FC_REGEX_SEARCH)) {
            memset(s->now, 0xFF, stride * sizeof *s->now);
            s->now[0] = mode == FC_REGEX_SEARCH ? (uint32_t)at : 0;
            add_thread(&r, here, start_pc, at);
        }
        if (here->len == 0 && (matched || mode != FC_REGEX_SEARCH))
            break;
        next_generation(s);
        next->len = 0;
        for (uint32_t i = 0; i < here->len; i++) {
            const fc_regex_inst *inst = &re->insts[here->pc[i]];
            const uint32_t *carried = &here->slots[(size_t)i * stride];
            if (inst->op == FC_REGEX_MATCH) {
                if (mode == FC_REGEX_FULL && at != n)
                    continue;
                if (slots == NULL)
                    return 1;
                memcpy(slots, carried, stride * sizeof *slots);
                slots[1] = (uint32_t)at;
                matched = true;
                break; /* threads after this one are less preferred */
            }
            if (at < n && reads(re, inst, (unsigned char)text[at])) {
                memcpy(s->now, carried, stride * sizeof *s->now);
                add_thread(&r, next, here->pc[i] + 1, at + 1);
            }
        }
        if (at == n)
            break;
        threads *swap = here;
        here = next;
        next = swap;
    }
    if (matched) /* a program may save ends without starts; callers subtract */
        for (uint32_t g = 2; g < stride; g += 2)
            if (slots[g + 1] == FC_REGEX_UNSET || slots[g] > slots[g + 1])
                slots[g] = slots[g + 1] = FC_REGEX_UNSET;
    return matched;
}
