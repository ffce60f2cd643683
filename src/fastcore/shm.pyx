"""One piece of memory for all workers, cut into named sections (see docs/shared-memory.md)."""

import os
from collections import namedtuple
from libc.errno cimport errno

cimport cython
from cpython.buffer cimport PyBUF_FORMAT

__all__ = ["DEFAULT_SIZE", "Region", "RegionError", "SectionInfo"]

# Address space, not memory: pages are committed when first touched.
DEFAULT_SIZE = 64 << 20

SectionInfo = namedtuple("SectionInfo", ["offset", "size"])
SectionInfo.__doc__ = "Where a section lies: offset from the region's start and size, both in bytes."


class RegionError(RuntimeError):
    """The region is full, holds a conflicting section, or is none of ours."""


cdef int fail(int64_t error, str subject) except -1:
    cdef int number = errno
    if error == FC_REGION_ESYS:
        raise OSError(number, f"{subject}: {os.strerror(number)}")
    message = f"{subject}: {fc_region_strerror(error).decode()}"
    if error == FC_REGION_EBUSY:
        raise TimeoutError(message)
    if error == FC_REGION_ENONE:
        raise KeyError(message)
    if error in (FC_REGION_ENAME, FC_REGION_EALIGN, FC_REGION_ESIZE):
        raise ValueError(message)
    raise RegionError(message)


cdef class _View:
    """What a section's memoryview holds on to."""

    cdef Region region
    cdef char *start
    cdef Py_ssize_t size
    cdef Py_ssize_t stride

    def __cinit__(self):
        self.stride = 1

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        # Field by field: Cython has put a None into buffer.obj, which PyBuffer_FillInfo would overwrite and never let go.
        buffer.buf = self.start
        buffer.obj = self
        buffer.len = self.size
        buffer.itemsize = 1
        buffer.readonly = 0
        buffer.ndim = 1
        buffer.format = NULL
        if flags & PyBUF_FORMAT:
            buffer.format = b"B"
        buffer.shape = &self.size
        buffer.strides = &self.stride
        buffer.suboffsets = NULL
        buffer.internal = NULL
        self.region.pin()

    def __releasebuffer__(self, Py_buffer *buffer):
        self.region.unpin()


@cython.final
cdef class Region:
    """Memory shared by this process, its forked children, and whoever is given its descriptor.

    ``Region(size)`` makes one: ``size`` bytes of address space (default 64 MiB), rounded up to whole pages, 8 KiB to 1 TiB.
    ``Region(fd=...)`` or ``Region.attach(fd)`` maps an existing one and takes the descriptor over, as
    ``socket.socket(fileno=)`` does; on error the descriptor stays the caller's.

    Fork: make the region before forking and every child has it, under the same object. Exec: the descriptor is closed by
    default; call ``set_inheritable(True)``, pass ``str(region.fd)`` in the environment, and attach on the other side.
    The memory goes away with the last process that maps it or holds a descriptor.

    A process that dies at any moment, making a section included, leaves the region usable for the others.

    Raises OSError from the system, ValueError for arguments out of range, RegionError for a descriptor that is no region of
    this layout version.
    """

    def __cinit__(self):
        self.r.fd = -1

    def __init__(self, size: int | None = None, *, fd: int | None = None):
        cdef int error
        if self.r.base != NULL:
            raise RuntimeError("the region is open already")
        if fd is not None:
            if size is not None:
                raise ValueError("a region is made with size or attached with fd=, not both")
            error = fc_region_attach(&self.r, fd)
            if error:
                fail(error, f"descriptor {fd}")
        else:
            size = DEFAULT_SIZE if size is None else size
            if not 0 < size < 1 << 63:
                raise ValueError(f"region of {size} bytes: size out of range")
            error = fc_region_create(&self.r, size)
            if error:
                fail(error, f"region of {size} bytes")

    def __dealloc__(self):
        if self.r.base != NULL:
            fc_region_close(&self.r)

    @classmethod
    def attach(cls, fd: int):
        """The region behind the descriptor ``fd``, which then belongs to it."""
        return cls(fd=fd)

    cdef int check_open(self) except -1:
        if self.r.base == NULL:
            raise ValueError("the region is closed")
        return 0

    cdef void pin(self) noexcept:
        self.pins += 1

    cdef void unpin(self) noexcept:
        self.pins -= 1

    cdef char *address(self, str name, uint64_t size, uint64_t align) except NULL:
        self.check_open()
        cdef bytes text = name.encode()
        if 0 in text:
            fail(FC_REGION_ENAME, f"section {name!r}")
        cdef int64_t offset = fc_region_section(&self.r, text, size, align)
        if offset < 0:
            fail(offset, f"section {name!r} of {size} bytes")
        self.pin()
        return self.r.base + offset

    cdef uint64_t find(self, str name) except? 0:
        cdef uint64_t size = 0
        self.check_open()
        fc_region_find(&self.r, name.encode(), &size)
        return size

    @property
    def fd(self) -> int:
        """The memfd; -1 when closed."""
        return self.r.fd

    @property
    def size(self) -> int:
        """Bytes of address space; 0 when closed."""
        return self.r.size

    @property
    def used(self) -> int:
        """Bytes given to the directory and to sections, whether touched or not."""
        self.check_open()
        return fc_region_used(&self.r)

    @property
    def closed(self) -> bool:
        return self.r.base == NULL

    def section(self, name: str, size: int | None = None, *, align: int = 64) -> memoryview:
        """The named section as writable bytes, made (zeroed) if absent.

        The same name with the same ``size`` is the same memory in every process; another size or alignment is a RegionError.
        Without ``size`` the section must exist (KeyError). Names are 1 to 47 of ``a-z 0-9 . _ -``; ``align`` is a power of two
        from 64 (a cache line) to 2 MiB. There is room for 64 sections, none of which ever goes away.
        """
        cdef _View view = _View.__new__(_View)
        if size is None:
            size = self.find(name)
            if size == 0:
                fail(FC_REGION_ENONE, f"section {name!r}")
        if not 0 < size < 1 << 63 or not 0 < align < 1 << 63:
            raise ValueError(f"section {name!r}: size {size} or alignment {align} out of range")
        view.start = self.address(name, size, align)
        self.unpin()
        view.region = self
        view.size = size
        return memoryview(view)

    def sections(self) -> dict[str, SectionInfo]:
        """All sections by name, in the order they were made."""
        cdef fc_region_info info
        cdef uint32_t i
        self.check_open()
        found = {}
        for i in range(fc_region_count(&self.r)):
            fc_region_get(&self.r, i, &info)
            found[(<const char *>info.name).decode()] = SectionInfo(info.offset, info.size)
        return found

    def set_inheritable(self, inheritable: bool) -> None:
        """Whether the descriptor, and so the region, is handed on through exec."""
        self.check_open()
        os.set_inheritable(self.r.fd, inheritable)

    def release(self, pid: int) -> None:
        """Frees the region's lock if the dead process ``pid`` holds it: for the parent that reaped it.

        Others would find the owner dead by themselves; this spares them the look.
        """
        self.check_open()
        fc_region_release_dead(&self.r, pid)

    def close(self) -> None:
        """Unmaps and closes the descriptor. BufferError while sections are in use (memoryviews, Metrics)."""
        if self.pins > 0:
            raise BufferError(f"the region is in use: {self.pins} views of its sections exist")
        if self.r.base != NULL:
            fc_region_close(&self.r)

    def __enter__(self):
        self.check_open()
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def __repr__(self) -> str:
        if self.r.base == NULL:
            return "<fastcore.shm.Region closed>"
        return f"<fastcore.shm.Region fd={self.r.fd} size={self.r.size} used={self.used}>"
