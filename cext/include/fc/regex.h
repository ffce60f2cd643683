/* fc/regex.h - regular expressions over bytes in linear time, with captures.
 *
 * A pattern from a configuration file must not let one request occupy a worker for minutes, so nothing here backtracks:
 * a Pike VM (Ken Thompson's simulation with capture slots carried along; Russ Cox, "Regular Expression Matching: the
 * Virtual Machine Approach", 2009) runs all alternatives side by side. The answer is the leftmost match a backtracking
 * engine would find first (greedy and lazy as in Perl and Python).
 *
 * This file runs programs; fastcore/regex.py makes them, from CPython's own parser, when the configuration is read. A
 * lazily built DFA would be several times faster and needs memory that grows at match time; the Pike VM's memory is
 * known when the program is.
 *
 * A program is one block of bytes, 4-byte aligned, all numbers native uint32:
 *     magic, insts, sets, groups, literal bytes, name bytes     the header, 6 words
 *     sets x 32 bytes                                           bitmaps of byte values
 *     insts x 12 bytes                                          fc_regex_inst
 *     literal                                                   what every full match begins with; may be empty
 *     names                                                     per group one length byte and its name (empty: unnamed)
 *
 * Invariants
 *   1. fc_regex_load accepts only programs that fc_regex_exec can run without reading or jumping outside of them; it
 *      never trusts its maker. What it cannot check is that the literal is right.
 *   2. One exec examines at most insts x (n + 1) instructions: each is entered once per position (`steps` counts them).
 *   3. exec does not allocate; the scratch holds all its state.
 *
 * Thread and process safety: a loaded program is read-only and may be shared; a scratch belongs to one caller at a time.
 */
#ifndef FC_REGEX_H
#define FC_REGEX_H

#include "fc/base.h"

#define FC_REGEX_MAGIC 0x31786572u /* "rex1" */
#define FC_REGEX_INSTS_MAX (1u << 20)
#define FC_REGEX_GROUPS_MAX 16u /* besides group 0 */
#define FC_REGEX_SLOTS_MAX (2 * (FC_REGEX_GROUPS_MAX + 1))
#define FC_REGEX_UNSET UINT32_MAX /* a slot of a group that took no part */

typedef enum fc_regex_op {
    FC_REGEX_BYTE = 0, /* the byte `arg`, go on */
    FC_REGEX_SET,      /* a byte of set x, go on */
    FC_REGEX_SPLIT,    /* try x, then y */
    FC_REGEX_JUMP,     /* to x */
    FC_REGEX_SAVE,     /* position into slot x, go on */
    FC_REGEX_ASSERT,   /* fc_regex_assert `arg` holds here, go on */
    FC_REGEX_MATCH,
    FC_REGEX_OP_COUNT
} fc_regex_op;

typedef enum fc_regex_assert {
    FC_REGEX_AT_START = 0,  /* \A, and ^ without MULTILINE */
    FC_REGEX_AT_END,        /* \Z */
    FC_REGEX_AT_FINAL_END,  /* $: at the end or before a newline that ends the text */
    FC_REGEX_AT_LINE_START, /* ^ with MULTILINE */
    FC_REGEX_AT_LINE_END,   /* $ with MULTILINE */
    FC_REGEX_AT_WORD,       /* \b, ASCII */
    FC_REGEX_AT_NOT_WORD,   /* \B */
    FC_REGEX_ASSERT_COUNT
} fc_regex_assert;

typedef struct fc_regex_inst {
    uint8_t op;
    uint8_t arg;
    uint16_t spare; /* 0 */
    uint32_t x;
    uint32_t y;
} fc_regex_inst;

typedef struct fc_regex_set {
    uint32_t bits[8];
} fc_regex_set;

/* A checked view of a program; the bytes must outlive it. */
typedef struct fc_regex {
    const fc_regex_inst *insts;
    const fc_regex_set *sets;
    uint32_t insts_len;
    uint32_t groups;
    uint32_t lead_insts; /* how many instructions a match from the start of the text can skip */
    uint32_t lead_bytes; /* because so many bytes of the literal have been compared */
    fc_slice literal;
    fc_slice names[FC_REGEX_GROUPS_MAX]; /* of groups 1.. */
} fc_regex;

/* NULL, or what is wrong with the program in one phrase. */
const char *fc_regex_load(fc_regex *re, const void *program, size_t n);

typedef enum fc_regex_mode {
    FC_REGEX_FULL = 0, /* the whole text */
    FC_REGEX_PREFIX,   /* from the start of the text */
    FC_REGEX_SEARCH,   /* anywhere, leftmost */
} fc_regex_mode;

typedef struct fc_regex_scratch fc_regex_scratch;

/* Room for programs of up to insts_max instructions and groups_max groups; NULL when there is no memory. */
fc_regex_scratch *fc_regex_scratch_new(uint32_t insts_max, uint32_t groups_max);
void fc_regex_scratch_free(fc_regex_scratch *s);

/* 1 match, 0 none, -1 when the scratch is too small or n is 4 GB or more. slots may be NULL (cheaper: no captures are
 * carried and the first way to match ends the search), else has room for 2 * (groups + 1) positions: the match and
 * then each group, start and end, FC_REGEX_UNSET for both when the group took no part. */
int fc_regex_exec(const fc_regex *re, fc_regex_mode mode, const char *text, size_t n, uint32_t *slots,
                  fc_regex_scratch *s);

/* Instructions entered by all execs so far on this scratch. */
uint64_t fc_regex_scratch_steps(const fc_regex_scratch *s);

#endif
