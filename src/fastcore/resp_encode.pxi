# What a server answers.


class SimpleString(bytes):
    """Encoded as a simple string ("+OK"): no CR or LF inside (ValueError from `encode`)."""


class Verbatim(bytes):
    """Encoded as a verbatim string, in protocol 2 as a string; `format` is three ASCII characters ("txt", "mkd")."""

    def __new__(cls, data, format="txt"):
        self = super().__new__(cls, data)
        if len(format) != 3 or not format.isascii():
            raise ValueError(f"a verbatim string's format is three ASCII characters, not {format!r}")
        self.format = format
        return self


class BigNumber(int):
    """Encoded as a big number, whatever its size. (An int beyond 64 bits is one anyway.) A string in protocol 2."""


class WithAttributes:
    """A value with a map of attributes in front (RESP3); in protocol 2 the value alone."""

    __slots__ = ("attributes", "value")

    def __init__(self, value, attributes):
        self.value = value
        self.attributes = attributes


cdef class Encoding:
    """One call of encode."""

    cdef fc_resp_out out
    cdef int max_depth

    def __cinit__(self):
        self.out = fc_resp_out_growing(<size_t>-1 >> 1, 2)

    def __dealloc__(self):
        fc_resp_out_free(&self.out)

    cdef int put(self, value, int depth) except -1:
        cdef Py_ssize_t n
        cdef const char *p
        cdef object kind = type(value)
        if kind is bytes:
            fc_resp_put_blob(&self.out, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
        elif kind is str:
            p = PyUnicode_AsUTF8AndSize(value, &n)
            fc_resp_put_blob(&self.out, p, n)
        elif kind is int:
            self.put_int(value)
        elif kind is list or kind is tuple:
            self.put_elements(FC_RESP_ARRAY, value, depth)
        elif value is None:
            fc_resp_put_null(&self.out)
        elif kind is bool:
            fc_resp_put_boolean(&self.out, value)
        elif kind is float:
            fc_resp_put_double(&self.out, value)
        elif kind is dict:
            self.put_pairs(FC_RESP_MAP, value, depth)
        else:
            self.put_other(value, depth)
        return 0

    cdef int put_other(self, value, int depth) except -1:
        if isinstance(value, SimpleString):
            if b"\r" in value or b"\n" in value:
                raise ValueError("a simple string has no line end inside")
            fc_resp_put_simple(&self.out, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
        elif isinstance(value, Verbatim):
            text = value.format.encode()
            fc_resp_put_verbatim(&self.out, PyBytes_AS_STRING(text), PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
        elif isinstance(value, BigNumber):
            self.put_big(value)
        elif isinstance(value, Exception):
            self.put_error(str(value).encode("utf-8", "surrogateescape"))
        elif isinstance(value, PushNotification):
            self.put_elements(FC_RESP_PUSH, value, depth)
        elif isinstance(value, WithAttributes):
            if self.out.protocol >= 3:
                self.put_pairs(FC_RESP_ATTRIBUTE, value.attributes, depth)
            self.put(value.value, self.deeper(depth))
        elif isinstance(value, (set, frozenset)):
            self.put_elements(FC_RESP_SET, value, depth)
        elif isinstance(value, (list, tuple)):
            self.put_elements(FC_RESP_ARRAY, value, depth)
        elif isinstance(value, dict):
            self.put_pairs(FC_RESP_MAP, value, depth)
        elif isinstance(value, int):
            self.put_int(value)
        elif isinstance(value, float):
            fc_resp_put_double(&self.out, value)
        elif isinstance(value, str):
            self.put(str.__str__(value), depth)
        elif isinstance(value, (bytes, bytearray, memoryview)):
            self.put(bytes(value), depth)
        else:
            raise TypeError(f"RESP has no type for a {type(value).__name__}")
        return 0

    cdef int put_int(self, value) except -1:
        cdef int overflow = 0
        cdef long long number = PyLong_AsLongLongAndOverflow(value, &overflow)
        if overflow:
            return self.put_big(value)
        fc_resp_put_integer(&self.out, number)
        return 0

    cdef int put_big(self, value) except -1:
        cdef bytes digits = int.__repr__(value).encode()
        fc_resp_put_big_number(&self.out, PyBytes_AS_STRING(digits), PyBytes_GET_SIZE(digits))
        return 0

    cdef int put_error(self, bytes text) except -1:
        if b"\r" in text or b"\n" in text:
            fc_resp_put_blob_error(&self.out, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
        else:
            fc_resp_put_error(&self.out, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
        return 0

    cdef int deeper(self, int depth) except -1:
        if depth == self.max_depth:
            raise ValueError(f"a value is nested deeper than {self.max_depth}")
        return depth + 1

    cdef int put_elements(self, char kind, values, int depth) except -1:
        cdef Py_ssize_t n = len(values), written = 0
        depth = self.deeper(depth)
        fc_resp_put_aggregate(&self.out, kind, n)
        for value in values:
            self.put(value, depth)
            written += 1
        return self.same(n, written)

    cdef int put_pairs(self, char kind, values, int depth) except -1:
        cdef Py_ssize_t n = len(values), written = 0
        depth = self.deeper(depth)
        fc_resp_put_aggregate(&self.out, kind, n)
        for key, value in values.items():
            self.put(key, depth)
            self.put(value, depth)
            written += 1
        return self.same(n, written)

    cdef int same(self, Py_ssize_t announced, Py_ssize_t written) except -1:
        if announced != written:  # a list that grew, or a len() that lies: the stream would be out of step for good
            raise RuntimeError("an aggregate changed its size while it was encoded")
        return 0


def encode(value, protocol=2, *, max_depth=128):
    """A value as bytes of a reply, in protocol 2 or 3.

    None, bool, int, float, bytes-like and str (both strings), list and tuple (arrays), dict, set and frozenset have
    types of their own; an exception becomes an error with its text ("ERR unknown command"), a PushNotification a push,
    and `SimpleString`, `Verbatim`, `BigNumber` and `WithAttributes` say what Python cannot. Protocol 2 gets what Redis
    sends there: maps, sets and pushes as flat arrays, doubles, big numbers and verbatim text as strings, booleans as 0
    and 1.

    Raises TypeError for another type; ValueError for another protocol and for nesting beyond max_depth (a list inside
    itself).
    """
    cdef Encoding encoding = Encoding.__new__(Encoding)
    if protocol != 2 and protocol != 3:
        raise ValueError(f"the protocol is 2 or 3, not {protocol!r}")
    encoding.out.protocol = protocol
    encoding.max_depth = in_range("max_depth", max_depth, 1, 1000)
    encoding.put(value, 0)
    if encoding.out.failed:
        raise MemoryError
    return encoding.out.p[:encoding.out.n]
