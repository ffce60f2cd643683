# Python keys as bytes in their order. Part of skiplist.pyx.
#
# int     8 bytes, big-endian, sign bit turned; float: the same of its bits, all turned when negative; -0.0 is 0.0
# str     UTF-8, which orders as code points do; bytes: as they are
# tuple   its elements one after the other, those of variable length with zero bytes escaped (00 FF) and ended by 00 00,
#         so that a shorter one that begins alike comes first. Elements of the same position have the same kind.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_Check, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check
from cpython.long cimport PyLong_AsDouble, PyLong_Check
from cpython.tuple cimport PyTuple_Check
from cpython.unicode cimport PyUnicode_Check, PyUnicode_DecodeUTF8
from libc.math cimport fabs
from libc.stdint cimport int64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memchr, memcmp, memcpy


cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL


cdef extern from "fc/bytes.h":
    uint64_t fc_be64(uint64_t word) nogil


cdef enum:
    INT = 1
    FLOAT
    STR
    BYTES
    TUPLE

cdef list KINDS = [None, int, float, str, bytes, tuple]
cdef uint64_t TOP = <uint64_t>1 << 63
cdef double EXACT = 9007199254740992.0  # below 2**53 every integer is a float


cdef int kind_of(object key) except -1:
    if PyLong_Check(key):
        return INT
    if PyUnicode_Check(key):
        return STR
    if PyFloat_Check(key):
        return FLOAT
    if PyBytes_Check(key):
        return BYTES
    if PyTuple_Check(key):
        return TUPLE
    raise TypeError(f"a key is int, float, str, bytes or a tuple of these, not {type(key).__name__}")


cdef int kind_named(object kind) except -1:
    if kind in KINDS[1:]:
        return KINDS.index(kind)
    raise TypeError(f"key= is int, float, str, bytes, tuple or a tuple of the first four, not {kind!r}")


cdef uint64_t word_of_int(object key) except? 1:
    cdef int overflow = 0
    cdef int64_t number = PyLong_AsLongLongAndOverflow(key, &overflow)
    if overflow:
        raise OverflowError("an int key has 64 bits; this one does not fit")
    return fc_be64(<uint64_t>number ^ TOP)


cdef uint64_t word_of_float(object key) except? 1:
    cdef double number
    cdef uint64_t bits
    if PyFloat_Check(key):
        number = PyFloat_AS_DOUBLE(key)
        if number != number:
            raise ValueError("NaN has no place in an order")
    else:
        number = PyLong_AsDouble(key)
        if fabs(number) >= EXACT and int(number) != key:
            raise OverflowError("this int is no float key: it would be rounded")
    if number == 0:
        number = 0.0
    memcpy(&bits, &number, 8)
    return fc_be64(~bits if bits & TOP else bits ^ TOP)


cdef object float_of_word(uint64_t word):
    cdef double number
    word = fc_be64(word)
    word = word ^ TOP if word & TOP else ~word
    memcpy(&number, &word, 8)
    return number


@cython.final
cdef class Keys:
    def __cinit__(self, spec):
        self.shape = []
        if spec is None:
            return
        self.given = True
        if isinstance(spec, tuple):
            self.kind = TUPLE
            self.shape_given = True
            for element in spec:
                if element is tuple:
                    raise TypeError("a tuple in a tuple is no key")
                self.shape.append(kind_named(element))
        else:
            self.kind = kind_named(spec)

    def __dealloc__(self):
        free(self.buffer)

    cdef int encode(self, object key, bint fix, fc_slice *out) except -1:
        cdef int kind = self.kind if self.kind else kind_of(key)
        if kind == TUPLE:
            if not PyTuple_Check(key):
                raise TypeError(f"keys are tuples here, not {type(key).__name__}")
            self.encode_tuple(key, fix, out)
        else:
            self.encode_kind(key, kind, out)
        if out.n > FC_SKIPLIST_KEY_MAX:
            raise ValueError(f"a key of {out.n} bytes; there can be {FC_SKIPLIST_KEY_MAX}")
        if fix:
            self.kind = kind
        return 0

    cdef int encode_kind(self, object key, int kind, fc_slice *out) except -1:
        cdef uint64_t word
        cdef Py_ssize_t size
        if kind == INT and PyLong_Check(key):
            word = word_of_int(key)
        elif kind == FLOAT and (PyFloat_Check(key) or PyLong_Check(key)):
            word = word_of_float(key)
        elif kind == STR and PyUnicode_Check(key):
            try:
                out.p = PyUnicode_AsUTF8AndSize(key, &size)
                out.n = size
            except UnicodeEncodeError:
                self.held = str.encode(key, "utf-8", "surrogatepass")
                out.p = PyBytes_AS_STRING(self.held)
                out.n = PyBytes_GET_SIZE(self.held)
            return 0
        elif kind == BYTES and PyBytes_Check(key):
            out.p = PyBytes_AS_STRING(key)
            out.n = PyBytes_GET_SIZE(key)
            return 0
        else:
            raise TypeError(f"keys are {KINDS[kind].__name__} here, not {type(key).__name__}")
        memcpy(self.word, &word, 8)
        out.p = self.word
        out.n = 8
        return 0

    cdef int encode_tuple(self, tuple key, bint fix, fc_slice *out) except -1:
        cdef fc_slice part
        cdef int kind
        cdef Py_ssize_t i, known = len(self.shape)
        if self.shape_given and len(key) > known:
            raise TypeError(f"a key of {len(key)} elements; there can be {known}")
        more = []
        self.used = 0
        for i in range(len(key)):
            if i < known:
                kind = self.shape[i]
            else:
                kind = kind_of(key[i])
                if kind == TUPLE:
                    raise TypeError("a tuple in a tuple is no key")
                more.append(kind)
            self.encode_kind(key[i], kind, &part)
            if kind == STR or kind == BYTES:
                self.add_escaped(part.p, part.n)
            else:
                self.add(part.p, part.n)
        if fix and more:
            self.shape.extend(more)
        out.p = self.buffer
        out.n = self.used
        return 0

    cdef int add(self, const char *p, size_t n) except -1:
        cdef size_t room = self.room
        cdef char *larger
        if self.used + n > room:
            while room < self.used + n:
                room = 2 * room if room else 64
            larger = <char *>realloc(self.buffer, room)
            if larger == NULL:
                raise MemoryError
            self.buffer = larger
            self.room = room
        if n:  # an empty one may be NULL, which memcpy(3) does not allow
            memcpy(self.buffer + self.used, p, n)
        self.used += n
        return 0

    cdef int add_escaped(self, const char *p, size_t n) except -1:
        cdef const char *end = p + n
        cdef const char *zero
        while True:
            zero = <const char *>memchr(p, 0, end - p)
            if zero == NULL:
                self.add(p, end - p)
                return self.add(b"\0\0", 2)
            self.add(p, zero - p)
            self.add(b"\0\xff", 2)
            p = zero + 1

    cdef object decode(self, fc_slice encoded):
        cdef uint64_t word
        cdef const char *end = encoded.p + encoded.n
        cdef const char *p
        if self.kind == STR:
            return PyUnicode_DecodeUTF8(<char *>encoded.p, encoded.n, "surrogatepass")
        if self.kind == BYTES:
            return PyBytes_FromStringAndSize(encoded.p, encoded.n)
        if self.kind != TUPLE:
            memcpy(&word, encoded.p, 8)
            return float_of_word(word) if self.kind == FLOAT else <int64_t>(fc_be64(word) ^ TOP)
        elements = []
        for kind in self.shape:
            if encoded.p == end:
                break
            if kind == INT or kind == FLOAT:
                memcpy(&word, encoded.p, 8)
                elements.append(float_of_word(word) if kind == FLOAT else <int64_t>(fc_be64(word) ^ TOP))
                encoded.p += 8
                continue
            p = <const char *>memchr(encoded.p, 0, end - encoded.p)
            while p[1] != 0:
                p = <const char *>memchr(p + 2, 0, end - p - 2)
            text = PyBytes_FromStringAndSize(encoded.p, p - encoded.p).replace(b"\0\xff", b"\0")
            elements.append(text.decode("utf-8", "surrogatepass") if kind == STR else text)
            encoded.p = p + 2
        return tuple(elements)

    cdef void forget(self) noexcept:
        """What was found out from keys, when none is left."""
        if not self.given:
            self.kind = 0
        if not self.shape_given:
            self.shape.clear()

    cdef object spec(self):
        """What key= would say; None when it is not known yet."""
        if self.kind == TUPLE and (self.shape_given or self.shape):
            return tuple([KINDS[kind] for kind in self.shape])
        return KINDS[self.kind]

    cdef uint64_t tag(self) except? 0:
        """A number for kind and shape, that other processes must agree with."""
        cdef uint64_t tag = self.kind
        if self.kind == TUPLE:
            if not self.shape_given or not 1 <= len(self.shape) <= 16:
                raise TypeError("key= names the types of 1 to 16 elements, or is int, float, str or bytes")
            for kind in self.shape:
                tag = tag << 3 | <int>kind
        return tag
