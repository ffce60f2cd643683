from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef extern from "fc/base.h" nogil:
    ctypedef struct fc_slice:
        const char *p
        size_t n


cdef extern from "fc/regex.h" nogil:
    enum:
        FC_REGEX_MAGIC
        FC_REGEX_GROUPS_MAX
        FC_REGEX_SLOTS_MAX
        FC_REGEX_UNSET
    enum:
        FC_REGEX_BYTE
        FC_REGEX_SET
        FC_REGEX_SPLIT
        FC_REGEX_JUMP
        FC_REGEX_SAVE
        FC_REGEX_ASSERT
        FC_REGEX_MATCH
    enum:
        FC_REGEX_AT_START
        FC_REGEX_AT_END
        FC_REGEX_AT_FINAL_END
        FC_REGEX_AT_LINE_START
        FC_REGEX_AT_LINE_END
        FC_REGEX_AT_WORD
        FC_REGEX_AT_NOT_WORD
    ctypedef enum fc_regex_mode:
        FC_REGEX_FULL
        FC_REGEX_PREFIX
        FC_REGEX_SEARCH
    ctypedef struct fc_regex:
        uint32_t insts_len
        uint32_t groups
    ctypedef struct fc_regex_scratch:
        pass
    const char *fc_regex_load(fc_regex *re, const void *program, size_t n)
    fc_regex_scratch *fc_regex_scratch_new(uint32_t insts_max, uint32_t groups_max)
    void fc_regex_scratch_free(fc_regex_scratch *s)
    int fc_regex_exec(const fc_regex *re, fc_regex_mode mode, const char *text, size_t n, uint32_t *slots,
                      fc_regex_scratch *s)
    uint64_t fc_regex_scratch_steps(const fc_regex_scratch *s)


cdef class Machine:
    cdef fc_regex re
    cdef fc_regex_scratch *scratch
    cdef void *program
