"""Request paths in their one normal spelling (cext/proxy/path.c)."""

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc


cdef extern from "fc/path.h" nogil:
    enum:
        FC_PATH_MERGE_SLASHES
        FC_PATH_REFUSE_ENCODED_SLASH
    ctypedef enum fc_path_result:
        FC_PATH_SAME
        FC_PATH_CHANGED
    fc_path_result fc_path_normalise(const char *src, size_t n, uint32_t flags, char *out, size_t cap, size_t *at)
    const char *fc_path_error_text(fc_path_result result)


def normalise(bytes path not None, *, bint merge_slashes=False, bint refuse_encoded_slash=False):
    """RFC 3986 6.2.2 normal form of a path: escapes, then dot segments. The same object if it is normal already.

    ValueError, with the offset, for a bad escape, a NUL, a path that does not begin with "/", and with
    `refuse_encoded_slash` for %2F and %5C. Without it they stay as they are: never a separator.
    """
    cdef size_t n = len(path), at = 0
    cdef uint32_t flags = 0
    if merge_slashes:
        flags |= FC_PATH_MERGE_SLASHES
    if refuse_encoded_slash:
        flags |= FC_PATH_REFUSE_ENCODED_SLASH
    cdef char *out = <char *>malloc(n + 1)
    if out == NULL:
        raise MemoryError
    try:
        result = fc_path_normalise(path, n, flags, out, n, &at)
        if result == FC_PATH_SAME:
            return path
        if result == FC_PATH_CHANGED:
            return out[:at]
        raise ValueError(f"{fc_path_error_text(result).decode()} (at offset {at})")
    finally:
        free(out)
