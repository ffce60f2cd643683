# What a client sends.

cdef enum:
    ARGS_INLINE = 16  # arguments whose descriptions fit the stack (40 bytes each)


cdef object refused(value):
    return TypeError(
        f"Invalid input of type: '{type(value).__name__}'. Convert to a bytes, string, int or float first."
    )


cdef int describe_number(fc_resp_arg *arg, value, list kept) except -1:
    cdef int overflow = 0
    cdef long long number
    cdef char *text
    cdef bytes digits
    if PyFloat_Check(value):
        text = PyOS_double_to_string(PyFloat_AS_DOUBLE(value), c"r", 0, Py_DTSF_ADD_DOT_0, NULL)
        digits = text
        PyMem_Free(text)
    else:
        number = PyLong_AsLongLongAndOverflow(value, &overflow)
        if not overflow:
            arg.p = arg.digits
            arg.n = fc_resp_format_integer(arg.digits, number)
            return 0
        digits = int.__repr__(value).encode()
    kept.append(digits)
    arg.p = PyBytes_AS_STRING(digits)
    arg.n = PyBytes_GET_SIZE(digits)
    return 0


cdef int describe_buffer(fc_resp_arg *arg, value, list kept) except -1:
    cdef Py_buffer view
    if isinstance(value, memoryview) and not value.c_contiguous:
        value = value.tobytes()
        kept.append(value)
    PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
    arg.p = <const char *>view.buf
    arg.n = view.len
    PyBuffer_Release(&view)  # the caller holds the object, and no other code runs before the bytes are copied
    return 0


cdef int describe(fc_resp_arg *arg, value, list kept) except -1:
    """Where the bytes of one argument are. Objects made for it go to kept."""
    cdef Py_ssize_t n
    if PyBytes_Check(value):
        arg.p = PyBytes_AS_STRING(value)
        arg.n = PyBytes_GET_SIZE(value)
    elif PyUnicode_Check(value):
        arg.p = PyUnicode_AsUTF8AndSize(value, &n)
        arg.n = n
    elif isinstance(value, bool):
        raise refused(value)
    elif PyLong_Check(value) or PyFloat_Check(value):
        describe_number(arg, value, kept)
    elif isinstance(value, (bytearray, memoryview)):
        describe_buffer(arg, value, kept)
    else:
        raise refused(value)
    return 0


cdef bytes pack_args(tuple args):
    cdef fc_resp_arg[ARGS_INLINE] few
    cdef fc_resp_arg *described = few
    cdef Py_ssize_t n = len(args), i
    cdef list kept = []
    cdef bytes out
    if n > ARGS_INLINE:
        described = <fc_resp_arg *>PyMem_Malloc(n * sizeof(fc_resp_arg))
        if described == NULL:
            raise MemoryError
    try:
        for i in range(n):
            describe(&described[i], args[i], kept)
        out = <bytes>new_bytes(NULL, fc_resp_command_size(described, n))
        fc_resp_command_write(PyBytes_AS_STRING(out), described, n)
    finally:
        if described != few:
            PyMem_Free(described)
    return out


def pack(*args):
    """One command as bytes: pack("SET", key, 1.5).

    Arguments are bytes-like, str (UTF-8), int (bool excepted) or float (as repr). TypeError for anything else, with
    redis-py's DataError text.
    """
    return pack_args(args)


def pack_command(command, /):
    """The same for a tuple or list of arguments, as hiredis.pack_command."""
    if not isinstance(command, (tuple, list)):
        raise TypeError("a command is a tuple or list of str, int, float or bytes")
    return pack_args(tuple(command))


def pack_many(commands, /):
    """A pipeline: the commands of an iterable of tuples or lists, one behind the other, as bytes."""
    return b"".join([pack_command(command) for command in commands])
