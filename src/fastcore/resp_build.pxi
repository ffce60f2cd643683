# From tokens to Python objects.
#
# Values are raw pointers here, each a reference that its holder owns: a reply of a thousand strings makes a thousand
# objects and touches no reference count besides. None of this raises: the first exception waits in reader.error until
# the reply is complete, so that the stream stays in step.


cdef inline int take_token(Reader reader, fc_resp_token *t) noexcept:
    cdef PyObject *value = NULL
    cdef uint8_t type = t.type
    if type == FC_RESP_BLOB or type == FC_RESP_SIMPLE or type == FC_RESP_BIG_NUMBER:
        if t.streamed:
            return begin_blob(reader, t)
        value = make_text(reader, t.text.p, t.text.n)
    elif type == FC_RESP_INTEGER:
        value = PyLong_FromLongLong(t.integer)
    elif (type == FC_RESP_ARRAY or type == FC_RESP_MAP or type == FC_RESP_SET or type == FC_RESP_PUSH
          or type == FC_RESP_ATTRIBUTE):
        if open_aggregate(reader, t) < 0:
            return -1
        close_aggregates(reader, t.closes)
        return 0
    elif type == FC_RESP_NULL:
        value = new_ref(Py_None)
    elif type == FC_RESP_DOUBLE:
        value = PyFloat_FromDouble(t.real)
    elif type == FC_RESP_BOOLEAN:
        value = PyBool_FromLong(t.integer)
    elif type == FC_RESP_ERROR or type == FC_RESP_BLOB_ERROR:
        if t.streamed:
            return begin_blob(reader, t)
        value = make_error(reader, t.text.p, t.text.n)
    elif type == FC_RESP_VERBATIM:
        if t.streamed:
            return begin_blob(reader, t)
        value = make_text(reader, t.text.p + 4, t.text.n - 4)
    elif type == FC_RESP_PART:
        if t.text.n:
            add_part(reader, t.text.p, t.text.n)
            return 0
        value = end_blob(reader)
    else:  # FC_RESP_END
        close_aggregates(reader, t.closes)
        return 0
    put_value(reader, value if value != NULL else keep_error(reader))
    if t.closes:
        close_aggregates(reader, t.closes)
    return 0


cdef inline void put_value(Reader reader, PyObject *value) noexcept:
    """Value, whose reference is given away, is the next element of what is open, or the reply."""
    cdef Frame *frame
    cdef int status = 0
    if reader.depth == 0:
        reader.result = value
        return
    frame = &reader.frames[reader.depth - 1]
    if frame.container == NULL:
        Py_DECREF_raw(value)
    elif frame.type == FC_RESP_ARRAY:
        status = list_append(frame.container, value)
    elif frame.type == FC_RESP_SET:
        status = PySet_Add(frame.container, value)
        Py_DECREF_raw(value)
    elif frame.key == NULL:
        frame.key = value
    else:
        status = PyDict_SetItem(frame.container, frame.key, value)
        Py_CLEAR(frame.key)
        Py_DECREF_raw(value)
    if status < 0:
        Py_DECREF_raw(keep_error(reader))


cdef inline size_t take_strings(Reader reader, fc_resp_token *t, size_t n) noexcept:
    """How many of the tokens, from the first, are strings that go into the list that is open; they are in it. Most of
    what is read is such a run, and it needs to look for its list once."""
    cdef PyObject *values
    cdef PyObject *value
    cdef size_t i = 0
    if reader.depth == 0 or reader.frames[reader.depth - 1].type != FC_RESP_ARRAY:
        return 0
    values = reader.frames[reader.depth - 1].container
    if values == NULL:
        return 0
    while i < n and t[i].type == FC_RESP_BLOB and not t[i].streamed and t[i].closes == 0:
        value = make_text(reader, t[i].text.p, t[i].text.n)
        if list_append(values, value if value != NULL else keep_error(reader)) < 0:
            Py_DECREF_raw(keep_error(reader))
        i += 1
    return i


cdef int open_aggregate(Reader reader, fc_resp_token *t) noexcept:
    cdef PyObject *container
    cdef Frame *frames
    cdef uint8_t type = t.type
    cdef size_t here = (reader.input.end - reader.input.pos) // 3 + 1  # elements the bytes here can have at most
    if type == FC_RESP_MAP or type == FC_RESP_ATTRIBUTE:
        container = PyDict_New()
    elif type == FC_RESP_PUSH:
        type = FC_RESP_ARRAY
        container = push_new(<PyObject *>PushNotification)
    elif type == FC_RESP_SET and not reader.sets_to_lists:
        container = PySet_New(NULL)
    else:
        type = FC_RESP_ARRAY
        container = list_new(min(t.count, here, <size_t>LIST_ROOM_MAX))
    if container == NULL:
        Py_DECREF_raw(keep_error(reader))
    if reader.depth == reader.room:
        frames = <Frame *>realloc(reader.frames, (reader.room * 2 or 8) * sizeof(Frame))
        if frames == NULL:
            Py_CLEAR(container)
            return -1
        reader.frames = frames
        reader.room = reader.room * 2 or 8
    reader.frames[reader.depth] = Frame(container, NULL, type)
    reader.depth += 1
    return 0


cdef inline void close_aggregates(Reader reader, uint32_t levels) noexcept:
    cdef PyObject *container
    while levels:
        levels -= 1
        reader.depth -= 1
        container = reader.frames[reader.depth].container
        if reader.frames[reader.depth].type != FC_RESP_ATTRIBUTE:
            put_value(reader, container if container != NULL else new_ref(Py_None))
        elif container != NULL:
            if reader.depth == 0:
                reader.attributes = <dict>container
            Py_DECREF_raw(container)


cdef inline PyObject *make_text(Reader reader, const char *p, size_t n) noexcept:
    if not reader.decode:
        return PyBytes_FromStringAndSize(p, n)
    if reader.codec == UTF8:
        return PyUnicode_DecodeUTF8(p, n, reader.errors_text)
    return PyUnicode_Decode(p, n, PyBytes_AS_STRING(reader.encoding), reader.errors_text)


cdef PyObject *make_error(Reader reader, const char *p, size_t n) noexcept:
    cdef PyObject *message = PyUnicode_DecodeUTF8(p, n, "replace")
    cdef PyObject *error
    if message == NULL:
        return NULL
    error = PyObject_CallOneArg(<PyObject *>reader.reply_error, message)
    Py_DECREF_raw(message)
    return error

# A string in parts is copied once, to where it stays: 500 MB in pieces of 64 KB cost 500 MB.

cdef int begin_blob(Reader reader, fc_resp_token *t) noexcept:
    reader.blob_type = t.type
    reader.blob_used = 0
    reader.blob = PyBytes_FromStringAndSize(NULL, t.count - t.text.n if t.count else 64)
    if reader.blob == NULL:
        Py_DECREF_raw(keep_error(reader))
    return 0


cdef void add_part(Reader reader, const char *p, size_t n) noexcept:
    cdef size_t size
    if reader.blob == NULL:
        return
    size = PyBytes_GET_SIZE(<object>reader.blob)
    if size - reader.blob_used < n:
        if _PyBytes_Resize(&reader.blob, max(2 * size, reader.blob_used + n)) < 0:
            Py_DECREF_raw(keep_error(reader))
            return
    memcpy(PyBytes_AS_STRING(<object>reader.blob) + reader.blob_used, p, n)
    reader.blob_used += n


cdef PyObject *end_blob(Reader reader) noexcept:
    cdef PyObject *blob = reader.blob
    cdef PyObject *value
    reader.blob = NULL
    if blob == NULL:
        return new_ref(Py_None)  # the exception is there already
    if reader.blob_type == FC_RESP_BLOB_ERROR:
        value = make_error(reader, PyBytes_AS_STRING(<object>blob), reader.blob_used)
    elif reader.decode:
        value = make_text(reader, PyBytes_AS_STRING(<object>blob), reader.blob_used)
    else:
        if reader.blob_used < <size_t>PyBytes_GET_SIZE(<object>blob):
            _PyBytes_Resize(&blob, reader.blob_used)
        return blob
    Py_DECREF_raw(blob)
    return value


cdef PyObject *keep_error(Reader reader) noexcept:
    """An exception is set: keep it if it is the first. None in place of the value."""
    cdef object error = take_exception()
    if reader.error is None:
        reader.error = error
    return new_ref(Py_None)


cdef void drop_reply(Reader reader) noexcept:
    """Forget the reply in progress."""
    while reader.depth:
        reader.depth -= 1
        Py_CLEAR(reader.frames[reader.depth].key)
        Py_CLEAR(reader.frames[reader.depth].container)
    Py_CLEAR(reader.result)
    Py_CLEAR(reader.blob)
    reader.error = None
