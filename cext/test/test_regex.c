/* The loader and the machine on programs written by hand; patterns are tested from Python, where they are compiled. */
#include "fc/regex.h"

#include <stdbool.h>
#include <string.h>

#include "check.h"

#define INSTS_MAX 16

typedef struct program {
    uint32_t header[6];
    fc_regex_inst insts[INSTS_MAX];
    char tail[8];
} program;

/* The bytes of a program without sets; literal and names are empty. */
static size_t write_program(program *p, uint32_t groups, const fc_regex_inst *insts, uint32_t n)
{
    *p = (program){.header = {FC_REGEX_MAGIC, n, 0, groups, 0, groups}};
    memcpy(p->insts, insts, n * sizeof *insts);
    memset((char *)p->insts + n * sizeof *insts, 0, groups);
    return sizeof p->header + n * sizeof *insts + groups;
}

static bool is_refused(uint32_t groups, fc_regex_inst inst)
{
    fc_regex_inst insts[] = {inst, {.op = FC_REGEX_MATCH}};
    program p;
    fc_regex re;
    size_t n = write_program(&p, groups, insts, 2);
    return fc_regex_load(&re, &p, n) != NULL;
}

static void test_loader(void)
{
    fc_regex re;
    program p;
    const fc_regex_inst match = {.op = FC_REGEX_MATCH}, byte = {.op = FC_REGEX_BYTE, .arg = 'a'};
    size_t n = write_program(&p, 0, &match, 1);
    CHECK(fc_regex_load(&re, &p, n) == NULL);
    for (size_t cut = 0; cut < n; cut++)
        CHECK(fc_regex_load(&re, &p, cut) != NULL);
    CHECK(fc_regex_load(&re, &p, n + 1) != NULL);
    CHECK(fc_regex_load(&re, (char *)&p + 1, n) != NULL);
    p.header[0]++;
    CHECK(fc_regex_load(&re, &p, n) != NULL);
    CHECK(fc_regex_load(&re, &p, write_program(&p, 0, &byte, 1)) != NULL); /* runs off its end */
    CHECK(fc_regex_load(&re, &p, write_program(&p, 0, &match, 0)) != NULL);
    CHECK(fc_regex_load(&re, &p, write_program(&p, FC_REGEX_GROUPS_MAX + 1, &match, 1)) != NULL);

    CHECK(!is_refused(0, byte));
    CHECK(is_refused(0, (fc_regex_inst){.op = FC_REGEX_SET, .x = 0}));
    CHECK(is_refused(0, (fc_regex_inst){.op = FC_REGEX_JUMP, .x = 2}));
    CHECK(is_refused(0, (fc_regex_inst){.op = FC_REGEX_SPLIT, .x = 2, .y = 0}));
    CHECK(is_refused(0, (fc_regex_inst){.op = FC_REGEX_SPLIT, .x = 0, .y = 2}));
    CHECK(is_refused(1, (fc_regex_inst){.op = FC_REGEX_SAVE, .x = 1}));
    CHECK(is_refused(1, (fc_regex_inst){.op = FC_REGEX_SAVE, .x = 4}));
    CHECK(!is_refused(1, (fc_regex_inst){.op = FC_REGEX_SAVE, .x = 3}));
    CHECK(is_refused(0, (fc_regex_inst){.op = FC_REGEX_ASSERT, .arg = FC_REGEX_ASSERT_COUNT}));
    CHECK(is_refused(0, (fc_regex_inst){.op = FC_REGEX_OP_COUNT}));
}

static void test_machine(void)
{
    /* (a|ab)(b?) with greedy preferences */
    const fc_regex_inst insts[] = {
        {.op = FC_REGEX_SAVE, .x = 2},        {.op = FC_REGEX_SPLIT, .x = 2, .y = 4},
        {.op = FC_REGEX_BYTE, .arg = 'a'},    {.op = FC_REGEX_JUMP, .x = 6},
        {.op = FC_REGEX_BYTE, .arg = 'a'},    {.op = FC_REGEX_BYTE, .arg = 'b'},
        {.op = FC_REGEX_SAVE, .x = 3},        {.op = FC_REGEX_SAVE, .x = 4},
        {.op = FC_REGEX_SPLIT, .x = 9, .y = 10}, {.op = FC_REGEX_BYTE, .arg = 'b'},
        {.op = FC_REGEX_SAVE, .x = 5},        {.op = FC_REGEX_MATCH},
    };
    program p;
    fc_regex re;
    uint32_t slots[6];
    CHECK(fc_regex_load(&re, &p, write_program(&p, 2, insts, FC_ARRAY_LEN(insts))) == NULL);
    fc_regex_scratch *s = fc_regex_scratch_new(re.insts_len, re.groups);
    CHECK(fc_regex_exec(&re, FC_REGEX_PREFIX, "abb", 3, slots, s) == 1);
    CHECK(slots[0] == 0 && slots[1] == 2 && slots[2] == 0 && slots[3] == 1 && slots[4] == 1 && slots[5] == 2);
    CHECK(fc_regex_exec(&re, FC_REGEX_FULL, "abb", 3, slots, s) == 1);
    CHECK(slots[3] == 2 && slots[5] == 3);
    CHECK(fc_regex_exec(&re, FC_REGEX_FULL, "abbb", 4, NULL, s) == 0);
    CHECK(fc_regex_exec(&re, FC_REGEX_SEARCH, "xxab", 4, slots, s) == 1 && slots[0] == 2 && slots[1] == 4);
    CHECK(fc_regex_exec(&re, FC_REGEX_SEARCH, "", 0, NULL, s) == 0);
    CHECK(fc_regex_scratch_steps(s) > 0);
    fc_regex_scratch_free(s);

    s = fc_regex_scratch_new(re.insts_len - 1, re.groups);
    CHECK(fc_regex_exec(&re, FC_REGEX_FULL, "a", 1, slots, s) == -1);
    fc_regex_scratch_free(s);
    s = fc_regex_scratch_new(re.insts_len, 1);
    CHECK(fc_regex_exec(&re, FC_REGEX_FULL, "a", 1, slots, s) == -1);
    CHECK(fc_regex_exec(&re, FC_REGEX_FULL, "a", 1, NULL, s) == 1);
    fc_regex_scratch_free(s);
    CHECK(fc_regex_scratch_new(1, FC_REGEX_GROUPS_MAX + 1) == NULL);
}

static void test_loops_over_nothing_end(void)
{
    const fc_regex_inst insts[] = {
        {.op = FC_REGEX_SPLIT, .x = 1, .y = 0}, {.op = FC_REGEX_JUMP, .x = 0}, {.op = FC_REGEX_MATCH}};
    program p;
    fc_regex re;
    CHECK(fc_regex_load(&re, &p, write_program(&p, 0, insts, 3)) == NULL);
    fc_regex_scratch *s = fc_regex_scratch_new(3, 0);
    CHECK(fc_regex_exec(&re, FC_REGEX_SEARCH, "aaaa", 4, NULL, s) == 0);
    CHECK(fc_regex_scratch_steps(s) == 2 * 5);
    fc_regex_scratch_free(s);
}

int main(void)
{
    test_loader();
    test_machine();
    test_loops_over_nothing_end();
    return check_done("test_regex");
}
