/* Input: mode and sizes, a program in a compact form that the loader has a chance to accept (or raw, by the first bit),
 * then a text. Whatever the loader accepts must run within its bound of steps and give sound positions. */
#include "fc/regex.h"

#include <stdlib.h>
#include <string.h>

typedef struct reader {
    const uint8_t *p;
    size_t n;
} reader;

static uint8_t next(reader *r)
{
    if (r->n == 0)
        return 0;
    r->n--;
    return *r->p++;
}

/* 4 bytes an instruction, targets taken modulo the program's length. */
static size_t assemble(reader *in, uint32_t *words)
{
    uint32_t insts = next(in) % 64 + 1, sets = next(in) % 4, groups = next(in) % 5;
    uint32_t header[6] = {FC_REGEX_MAGIC, insts, sets, groups, 0, groups};
    char *at = (char *)words;
    memcpy(at, header, sizeof header);
    at += sizeof header;
    for (uint32_t i = 0; i < sets * sizeof(fc_regex_set); i++)
        *at++ = (char)next(in);
    for (uint32_t i = 0; i < insts; i++) {
        fc_regex_inst inst = {.op = next(in) % FC_REGEX_OP_COUNT, .arg = next(in)};
        uint8_t x = next(in), y = next(in);
        inst.x = x % insts;
        inst.y = y % insts;
        if (inst.op == FC_REGEX_BYTE)
            inst.arg = 'a' + inst.arg % 3;
        if (inst.op == FC_REGEX_ASSERT)
            inst.arg %= FC_REGEX_ASSERT_COUNT;
        if (inst.op == FC_REGEX_SET)
            inst.x = sets > 0 ? x % sets : 0;
        if (inst.op == FC_REGEX_SAVE)
            inst.x = 2 + x % (2 * groups + (groups == 0));
        if (i + 1 == insts)
            inst.op = FC_REGEX_MATCH;
        memcpy(at, &inst, sizeof inst);
        at += sizeof inst;
    }
    memset(at, 0, groups);
    return (size_t)(at - (char *)words) + groups;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    reader in = {data, size};
    uint8_t how = next(&in);
    uint32_t *program = malloc(8192);
    size_t n;
    if (how & 1) {
        n = next(&in) | (size_t)next(&in) << 8;
        n = n < in.n ? n : in.n;
        n = n < 8192 ? n : 8192;
        memcpy(program, in.p, n);
        in.p += n;
        in.n -= n;
    } else {
        n = assemble(&in, program);
    }
    fc_regex re;
    fc_regex_scratch *s = NULL;
    if (fc_regex_load(&re, program, n) == NULL && (s = fc_regex_scratch_new(re.insts_len, re.groups)) != NULL) {
        uint32_t slots[FC_REGEX_SLOTS_MAX];
        fc_regex_mode mode = (fc_regex_mode)((how >> 1) % 3);
        int found = fc_regex_exec(&re, mode, (const char *)in.p, in.n, slots, s);
        if (fc_regex_scratch_steps(s) > (uint64_t)re.insts_len * (in.n + 1))
            abort();
        for (uint32_t g = 0; found == 1 && g <= re.groups; g++)
            if (slots[2 * g] != FC_REGEX_UNSET && (slots[2 * g] > slots[2 * g + 1] || slots[2 * g + 1] > in.n))
                abort();
        if (found == 1 && mode == FC_REGEX_FULL && (slots[0] != 0 || slots[1] != in.n))
            abort();
        if (fc_regex_exec(&re, mode, (const char *)in.p, in.n, NULL, s) != found)
            abort();
    }
    fc_regex_scratch_free(s);
    free(program);
    return 0;
}
