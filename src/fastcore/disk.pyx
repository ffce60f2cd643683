"""What the storage engine asks of a disk, and a simulated disk that keeps its promises and nothing more.

    disk = SimDisk(seed=7, sync_fail=0.01)
    log = fastcore.wal.Log(disk)
    ...
    disk.crash()              # what was not synced may be gone
    log = fastcore.wal.Log(disk)

Names are relative to the disk's root, flat or one folder deep. The calls block the thread that makes them, with the GIL
released: they are for tests and tools; the log and the store have threads of their own for their disks.
"""

import os
from collections import namedtuple

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize

cimport cython

__all__ = ["Disk", "File", "SimDisk", "SimStats"]

SimStats = namedtuple("SimStats", ["steps", "writes", "written_bytes", "syncs", "dir_syncs", "faults"])
SimStats.__doc__ = """What a simulated disk has done: steps are since the last call of faults(), the others since it was made.

faults: errors given on purpose, without those of a lost power."""

MODES = {"r": FC_FILE_READ, "w": FC_FILE_WRITE, "x": FC_FILE_CREATE}


cdef int check(int64_t answer, object name) except -1:
    if answer < 0:
        if answer == FC_DISK_SHORT:
            raise EOFError(f"{name}: the file is shorter")
        raise OSError(-answer, os.strerror(-answer), name)
    return 0


cdef bytes encoded(object name, bint root=False):
    """A name as bytes. The disk is a directory and nothing outside it: no absolute names, no '..'."""
    if not isinstance(name, str):
        raise TypeError(f"a name on a disk is a str, not {type(name).__name__}")
    if name == "" and root:
        return b""
    parts = name.split("/")
    if len(parts) > 2 or "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{name!r} is no name on a disk: 'file' or 'folder/file'")
    return os.fsencode(name)


cdef uint64_t natural(object value, str what) except? 0:
    """A number of bytes or a place among them."""
    if not 0 <= value <= 0x7FFFFFFFFFFFFFFF:
        raise ValueError(f"{what} is {value}; it is 0 or more, below 2**63")
    return value


cdef int collect(void *ctx, const char *name) noexcept with gil:
    try:
        (<list>ctx).append(os.fsdecode(name))
    except BaseException:   # no memory: the list stays short, and the caller sees the length it has
        return -12
    return 0


cdef class Disk:
    """The directory `path` as a disk, made if it is absent and `create` is true.

    Raises OSError, of the kind the error has (FileNotFoundError, FileExistsError, ...), from here and all methods;
    ValueError once it is closed.
    """

    def __init__(self, path, *, bint create=True):
        if self.d != NULL:
            raise RuntimeError("the disk is open already")
        cdef bytes name = os.fsencode(path)
        cdef const char *text = name
        cdef int error
        if 0 in name:
            raise ValueError("a path has no null bytes")
        with nogil:
            error = fc_disk_open(text, create, &self.d)
        check(error, path)
        self.where = os.fspath(path)

    def __dealloc__(self):
        if self.d != NULL:
            fc_disk_close(self.d)

    cdef fc_disk *handle(self) except NULL:
        if self.d == NULL or self.shut:
            raise ValueError("the disk is closed")
        return self.d

    cdef void pin(self) noexcept:
        self.pins += 1

    cdef void unpin(self) noexcept:
        self.pins -= 1
        if self.pins == 0 and self.shut:
            fc_disk_close(self.d)
            self.d = NULL

    cdef File file(self, bytes name, int mode):
        cdef fc_disk *d = self.handle()
        cdef const char *text = name
        cdef File file = File.__new__(File)
        cdef int error
        self.pin()
        file.disk = self
        file.name = os.fsdecode(name)
        with nogil:
            error = fc_disk_file(d, text, mode, &file.f) if mode >= 0 else fc_disk_lock(d, text, &file.f)
        check(error, file.name)
        return file

    @property
    def path(self):
        """Where it is; None for a simulated one."""
        return self.where

    @property
    def closed(self):
        return self.d == NULL or self.shut

    def open(self, name, mode="r"):
        """A File: "r" to read, "w" to read and write what exists, "x" to make a new one."""
        if mode not in MODES:
            raise ValueError(f"mode {mode!r}: it is one of 'r', 'w', 'x'")
        return self.file(encoded(name), MODES[mode])

    def lock(self, name):
        """The file `name`, made if absent, for nobody else until it is closed. BlockingIOError when somebody has it."""
        return self.file(encoded(name), -1)

    def read(self, name):
        """All bytes of a file."""
        with self.open(name) as file:
            return file.read()

    def write(self, name, data):
        """A file with these bytes instead of what it held; made if absent. Nothing is synced."""
        try:
            file = self.open(name, "x")
        except FileExistsError:
            file = self.open(name, "w")
        with file:
            file.truncate(0)
            file.write(data)

    def list(self, folder=""):
        """The names in a folder ("": the root), sorted."""
        cdef fc_disk *d = self.handle()
        cdef bytes name = encoded(folder, True)
        cdef const char *text = name
        cdef list found = []
        cdef void *ctx = <void *>found
        cdef int error
        self.pin()
        try:
            with nogil:
                error = fc_disk_list(d, text, collect, ctx)
        finally:
            self.unpin()
        check(error, folder)
        found.sort()
        return found

    cdef int name_call(self, int which, object first, object second) except -1:
        cdef fc_disk *d = self.handle()
        cdef bytes one = encoded(first, which == 4), two = b"" if second is None else encoded(second)
        cdef const char *a = one
        cdef const char *b = two
        cdef int error
        self.pin()
        try:
            with nogil:
                if which == 0:
                    error = fc_disk_rename(d, a, b)
                elif which == 1:
                    error = fc_disk_link(d, a, b)
                elif which == 2:
                    error = fc_disk_remove(d, a)
                elif which == 3:
                    error = fc_disk_make_dir(d, a)
                else:
                    error = fc_disk_sync_dir(d, a)
        finally:
            self.unpin()
        return check(error, first)

    def rename(self, old, new):
        """`new` is the file's name from now on; what had it before goes. Atomic; durable after sync_dir."""
        self.name_call(0, old, new)

    def link(self, old, new):
        """A second name for the same bytes."""
        self.name_call(1, old, new)

    def remove(self, name):
        """The file's name goes, and its bytes with the last name."""
        self.name_call(2, name, None)

    def make_dir(self, name):
        """A folder; nothing happens if it is there."""
        self.name_call(3, name, None)

    def sync_dir(self, folder=""):
        """Names made, renamed and removed in a folder are durable when this returns."""
        self.name_call(4, folder, None)

    def free_bytes(self):
        """What may still be written."""
        cdef int64_t answer = fc_disk_free_bytes(self.handle())
        check(answer, self.where)
        return answer

    def close(self):
        """No more calls. Files, logs and stores that are open on it work on until they are closed."""
        if self.d != NULL and not self.shut:
            self.shut = True
            self.pin()
            self.unpin()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def __repr__(self):
        return f"<fastcore.disk.{type(self).__name__} {'closed' if self.closed else repr(self.where)}>"


# --- simulated -------------------------------------------------------------------------------------------------------

cdef uint32_t chance(object value, str what) except? 0:
    if not 0 <= value <= 1:
        raise ValueError(f"{what} is {value}; a chance is between 0 and 1")
    return <uint32_t>(value * 1000000 + 0.5)


cdef int sim_options(fc_disk_sim_options *o, seed, capacity, crash_at, write_fail, sync_fail, sync_stall) except -1:
    o.seed = natural(seed, "seed")
    o.capacity = 0 if capacity is None else natural(capacity, "capacity")
    o.crash_at = 0 if crash_at is None else natural(crash_at, "crash_at")
    if (capacity is not None and o.capacity == 0) or (crash_at is not None and o.crash_at == 0):
        raise ValueError("capacity and crash_at are at least 1, or None")
    o.write_fail_ppm = chance(write_fail, "write_fail")
    o.sync_fail_ppm = chance(sync_fail, "sync_fail")
    if not 0 <= sync_stall <= 3600:
        raise ValueError(f"sync_stall is {sync_stall}; it is 0 to 3600 seconds")
    o.sync_stall_ms = <uint32_t>(sync_stall * 1000 + 0.5)
    return 0


@cython.final
cdef class SimDisk(Disk):
    """A disk in memory that loses what was not synced, and fails as it is told to.

    seed: all its chances come from it, in the order of operations: one seed, one history.
    capacity: bytes of all files together, beyond which ENOSPC; None: no bound.
    crash_at: at this step (each operation is one) the power goes, and all operations fail with EIO until crash().
    write_fail, sync_fail: chances, 0 to 1, that one fails with EIO. A failed sync forgets the changes, as Linux does: they can
    be read, no later sync writes them, and a crash loses them.
    sync_stall: seconds that each sync takes.
    """

    def __init__(self, seed=0, *, capacity=None, crash_at=None, write_fail=0.0, sync_fail=0.0, sync_stall=0.0):
        if self.d != NULL:
            raise RuntimeError("the disk is open already")
        sim_options(&self.options, seed, capacity, crash_at, write_fail, sync_fail, sync_stall)
        self.d = fc_disk_sim_new(&self.options)
        if self.d == NULL:
            raise MemoryError

    cdef uint64_t stream(self) noexcept:
        self.streams += 1
        return (self.options.seed << 20) + self.streams

    def faults(self, seed=None, *, capacity=None, crash_at=None, write_fail=0.0, sync_fail=0.0, sync_stall=0.0):
        """From here on these faults and no others; the count of steps starts anew. seed: None is the one it was made with."""
        cdef fc_disk_sim_options options
        sim_options(&options, self.options.seed if seed is None else seed, capacity, crash_at, write_fail, sync_fail,
                    sync_stall)
        self.options.seed = options.seed
        fc_disk_sim_set(self.handle(), &options)

    def crash(self):
        """The power goes and comes back. Of what was not synced any part may be there. Files that were open are dead: each use
        raises OSError (EIO)."""
        check(fc_disk_sim_crash(self.handle()), None)

    @property
    def power_off(self):
        """Has the step crash_at come?"""
        return fc_disk_sim_off(self.handle())

    def flip(self, name, bit):
        """Invert one bit of a file, in the cache and on the platter. ValueError past its end."""
        cdef int error = fc_disk_sim_flip(self.handle(), encoded(name), natural(bit, "bit"))
        if error == -22:
            raise ValueError(f"{name!r} has no bit {bit}")
        check(error, name)

    def stats(self):
        """SimStats: what it has done."""
        cdef fc_disk_sim_stats s
        fc_disk_sim_get_stats(self.handle(), &s)
        return SimStats(s.steps, s.writes, s.written_bytes, s.syncs, s.dir_syncs, s.faults)

    def __repr__(self):
        return f"<fastcore.disk.SimDisk {'closed' if self.closed else f'seed {self.options.seed}'}>"


# --- files -----------------------------------------------------------------------------------------------------------

@cython.final
@cython.no_gc_clear   # the disk is needed when the file goes
cdef class File:
    """An open file; made by Disk.open and Disk.lock. There is no position: each call says where."""

    def __init__(self, *args, **kwargs):
        raise TypeError("files are made by Disk.open and Disk.lock")

    def __dealloc__(self):
        if self.f != NULL:
            fc_file_close(self.f)
        if self.disk is not None:
            self.disk.unpin()

    # A thread may close while another is reading: the file is closed when both are done.

    cdef fc_file *enter(self) except NULL:
        if self.f == NULL or self.shut:
            raise ValueError("the file is closed")
        self.busy += 1
        return self.f

    cdef void leave(self) noexcept:
        self.busy -= 1
        if self.busy == 0 and self.shut and self.f != NULL:
            fc_file_close(self.f)
            self.f = NULL

    @property
    def closed(self):
        return self.f == NULL or self.shut

    def read(self, size=None, offset=0):
        """Up to `size` bytes (None: all) from `offset`; fewer at the end of the file."""
        cdef uint64_t at = natural(offset, "offset"), want
        cdef fc_file *f = self.enter()
        cdef int64_t there
        cdef bytes data
        cdef char *p
        cdef int error = 0
        try:
            there = fc_file_size(f)
            check(there, self.name)
            want = max(there - <int64_t>at, 0)
            if size is not None:
                want = min(want, natural(size, "size"))
            data = PyBytes_FromStringAndSize(NULL, want)
            p = data
            with nogil:
                error = fc_file_read(f, p, want, at)
        finally:
            self.leave()
        check(error, self.name)
        return data

    def write(self, data, offset=0):
        """All of the data at `offset`. After an error the range holds anything."""
        cdef uint64_t at = natural(offset, "offset")
        cdef Py_buffer view
        cdef int error
        cdef fc_file *f
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            f = self.enter()
            with nogil:
                error = fc_file_write(f, view.buf, view.len, at)
            self.leave()
        finally:
            PyBuffer_Release(&view)
        check(error, self.name)

    def allocate(self, size):
        """Make it at least `size` bytes long, with zeros that are written out and synced."""
        cdef uint64_t n = natural(size, "size")
        cdef fc_file *f = self.enter()
        cdef int error
        with nogil:
            error = fc_file_allocate(f, n)
        self.leave()
        check(error, self.name)

    def truncate(self, size):
        """Make it exactly `size` bytes long."""
        cdef uint64_t n = natural(size, "size")
        cdef fc_file *f = self.enter()
        cdef int error
        with nogil:
            error = fc_file_truncate(f, n)
        self.leave()
        check(error, self.name)

    def sync(self):
        """What was written is durable when this returns (fdatasync). Never call it again after an error: it would lie."""
        cdef fc_file *f = self.enter()
        cdef int error
        with nogil:
            error = fc_file_sync(f)
        self.leave()
        check(error, self.name)

    def size(self):
        """Length in bytes."""
        cdef int64_t answer = fc_file_size(self.enter())
        self.leave()
        check(answer, self.name)
        return answer

    def close(self):
        """Give it back, and the lock if it is one."""
        if self.f != NULL and not self.shut:
            self.shut = True
            self.busy += 1
            self.leave()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def __repr__(self):
        return f"<fastcore.disk.File {self.name!r}{' closed' if self.closed else ''}>"
