"""The Redis serialization protocol, versions 2 and 3, for clients and servers, without sockets.

Clients: `Reader` (a drop-in for hiredis.Reader) and `pack`, `pack_many`. Servers: `RequestReader` and `encode`. The
rules and their sources are those of cext/include/fc/resp.h; `fastcore.resp_redis` plugs both client halves into
redis-py.
"""

import codecs

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_CLEAR, Py_INCREF
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove

__all__ = [
    "BigNumber",
    "ProtocolError",
    "PushNotification",
    "Reader",
    "ReplyError",
    "RequestReader",
    "RespError",
    "SimpleString",
    "Verbatim",
    "WithAttributes",
    "encode",
    "pack",
    "pack_command",
    "pack_many",
]


cdef extern from *:
    """
    static inline PyObject *new_ref(PyObject *o) { Py_INCREF(o); return o; }

    /* The list's own growth by hand: PyList_Append would count references up and down, and PyList_New(n) with
       PyList_SET_ITEM would show a list with holes to whoever asks the collector for it. */
    static inline PyObject *list_new(size_t room)
    {
        PyObject *list = PyList_New((Py_ssize_t)room);
        if (list)
            Py_SET_SIZE((PyVarObject *)list, 0);
        return list;
    }

    /* Takes the reference to item. */
    static inline int list_append(PyObject *list, PyObject *item)
    {
        Py_ssize_t n = PyList_GET_SIZE(list);
        if (n < ((PyListObject *)list)->allocated) {
            ((PyListObject *)list)->ob_item[n] = item;
            Py_SET_SIZE((PyVarObject *)list, n + 1);
            return 0;
        }
        int status = PyList_Append(list, item);
        Py_DECREF(item);
        return status;
    }

    /* What list.__new__ does for a subclass: an empty list. Calling the class took a quarter of a push of three. */
    static inline PyObject *push_new(PyObject *type) { return PyType_GenericAlloc((PyTypeObject *)type, 0); }

    static PyObject *take_exception(void)
    {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        PyErr_NormalizeException(&type, &value, &traceback);
        if (traceback)
            PyException_SetTraceback(value, traceback);
        Py_XDECREF(type);
        Py_XDECREF(traceback);
        return value;
    }
    """
    PyObject *new_ref(PyObject *o)
    PyObject *list_new(size_t room)
    int list_append(PyObject *list, PyObject *item)
    PyObject *push_new(PyObject *type)
    object take_exception()


cdef extern from "Python.h":
    bint PyByteArray_CheckExact(object o)
    bint PyUnicode_Check(object o)
    bint PyBytes_Check(object o)
    bint PyLong_Check(object o)
    bint PyLong_CheckExact(object o)
    bint PyFloat_Check(object o)
    PyObject *Py_None
    void Py_DECREF_raw "Py_DECREF"(PyObject *o)
    PyObject *PyBytes_FromStringAndSize(const char *p, Py_ssize_t n)
    object new_bytes "PyBytes_FromStringAndSize"(const char *p, Py_ssize_t n)
    int _PyBytes_Resize(PyObject **bytes, Py_ssize_t n)
    PyObject *PyUnicode_DecodeUTF8(const char *p, Py_ssize_t n, const char *errors)
    PyObject *PyUnicode_Decode(const char *p, Py_ssize_t n, const char *encoding, const char *errors)
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *n) except NULL
    PyObject *PyLong_FromLongLong(long long v)
    long long PyLong_AsLongLongAndOverflow(object v, int *overflow) except? -1
    PyObject *PyFloat_FromDouble(double v)
    double PyFloat_AS_DOUBLE(object v)
    PyObject *PyBool_FromLong(long v)
    PyObject *PyDict_New()
    int PyDict_SetItem(PyObject *d, PyObject *key, PyObject *value)
    PyObject *PySet_New(PyObject *iterable)
    int PySet_Add(PyObject *s, PyObject *key)
    object PyList_New(Py_ssize_t n)
    void PyList_SET_ITEM_raw "PyList_SET_ITEM"(object list, Py_ssize_t i, PyObject *o)
    PyObject *PyObject_CallOneArg(PyObject *callable, PyObject *arg)
    char *PyOS_double_to_string(double v, char format, int precision, int flags, int *type) except NULL
    int Py_DTSF_ADD_DOT_0


class RespError(Exception):
    """Base of what this module raises for others' mistakes."""


class ProtocolError(RespError):
    """The peer broke the protocol. `commands`: from a RequestReader, those that were complete before."""

    def __init__(self, *args):
        super().__init__(*args)
        self.commands = []


class ReplyError(RespError):
    """An error reply: part of a reply, not raised. `encode` writes it as one."""


class PushNotification(list):
    """What the server sent unasked (RESP3's push type)."""


cdef size_t MAXBUF = 16384  # hiredis' REDIS_READER_MAX_BUF


cdef object in_range(str name, value, least, most):
    if not least <= value <= most:
        raise ValueError(f"{name} must be from {least} to {most}, not {value!r}")
    return value


cdef int check_range(Py_ssize_t size, Py_ssize_t offset, Py_ssize_t *length) except -1:
    """hiredis' rules for feed(data, offset, length)."""
    if length[0] == -1:
        length[0] = size - offset
    if offset < 0 or length[0] < 0:
        raise ValueError("negative input")
    if offset > size - length[0]:
        raise ValueError("input is larger than buffer size")
    return 0


include "resp_input.pxi"
include "resp_build.pxi"
include "resp_reader.pxi"
include "resp_request.pxi"
include "resp_pack.pxi"
include "resp_encode.pxi"
