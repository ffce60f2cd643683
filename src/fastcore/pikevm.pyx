"""Runs the programs that fastcore.regex makes (cext/proxy/regex.c)."""

cimport cython
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

MAGIC = FC_REGEX_MAGIC
GROUPS_MAX = FC_REGEX_GROUPS_MAX
BYTE, SET, SPLIT, JUMP = FC_REGEX_BYTE, FC_REGEX_SET, FC_REGEX_SPLIT, FC_REGEX_JUMP
SAVE, ASSERT, MATCH = FC_REGEX_SAVE, FC_REGEX_ASSERT, FC_REGEX_MATCH
AT_START, AT_END, AT_FINAL_END = FC_REGEX_AT_START, FC_REGEX_AT_END, FC_REGEX_AT_FINAL_END
AT_LINE_START, AT_LINE_END = FC_REGEX_AT_LINE_START, FC_REGEX_AT_LINE_END
AT_WORD, AT_NOT_WORD = FC_REGEX_AT_WORD, FC_REGEX_AT_NOT_WORD
FULL, PREFIX, SEARCH = <int>FC_REGEX_FULL, <int>FC_REGEX_PREFIX, <int>FC_REGEX_SEARCH


@cython.final
cdef class Machine:
    """One checked program with the memory to run it. Raises ValueError for a program that is not sound."""

    def __cinit__(self, bytes program not None):
        cdef size_t n = len(program)
        # malloc's alignment is enough for the program; that of a bytes object's data is nobody's promise
        self.program = malloc(n + 1)
        if self.program == NULL:
            raise MemoryError
        memcpy(self.program, <const char *>program, n)
        cdef const char *bad = fc_regex_load(&self.re, self.program, n)
        if bad != NULL:
            raise ValueError(f"unsound program: {bad.decode()}")
        self.scratch = fc_regex_scratch_new(self.re.insts_len, self.re.groups)
        if self.scratch == NULL:
            raise MemoryError

    def __dealloc__(self):
        fc_regex_scratch_free(self.scratch)
        free(self.program)

    def run(self, int mode, bytes text not None):
        """Positions of the match and of each group, or None. `mode` is FULL, PREFIX or SEARCH."""
        cdef uint32_t[FC_REGEX_SLOTS_MAX] slots
        cdef uint32_t group
        if mode not in (FULL, PREFIX, SEARCH):
            raise ValueError(f"mode {mode} is not FULL, PREFIX or SEARCH")
        cdef int answer = fc_regex_exec(&self.re, <fc_regex_mode>mode, text, len(text), slots, self.scratch)
        if answer < 0:
            raise ValueError("the text is longer than 4 GB")
        if answer == 0:
            return None
        return [
            None if slots[2 * group] == FC_REGEX_UNSET else (slots[2 * group], slots[2 * group + 1])
            for group in range(self.re.groups + 1)
        ]

    @property
    def steps(self):
        """Instructions examined so far."""
        return fc_regex_scratch_steps(self.scratch)
