# The shared region for other compiled modules: `region.address(name, size, align)` is a tenant's whole interface.
cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef extern from "fc/region.h" nogil:
    enum:
        FC_REGION_ESYS
        FC_REGION_EMAGIC
        FC_REGION_EVERSION
        FC_REGION_ESIZE
        FC_REGION_EFULL
        FC_REGION_EDIR
        FC_REGION_ECONFLICT
        FC_REGION_EBUSY
        FC_REGION_ENAME
        FC_REGION_EALIGN
        FC_REGION_ENONE
        FC_REGION_NAME

    ctypedef struct fc_region:
        char *base
        uint64_t size
        int fd

    ctypedef struct fc_region_info:
        char *name
        uint64_t offset
        uint64_t size

    int fc_region_create(fc_region *r, uint64_t size)
    int fc_region_attach(fc_region *r, int fd)
    void fc_region_close(fc_region *r)
    int64_t fc_region_section(fc_region *r, const char *name, uint64_t size, uint64_t align)
    int64_t fc_region_find(const fc_region *r, const char *name, uint64_t *size)
    uint32_t fc_region_count(const fc_region *r)
    void fc_region_get(const fc_region *r, uint32_t i, fc_region_info *info)
    uint64_t fc_region_used(const fc_region *r)
    void fc_region_release_dead(fc_region *r, uint32_t pid)
    const char *fc_region_strerror(int64_t error)


@cython.final
cdef class Region:
    cdef fc_region r
    cdef Py_ssize_t pins

    # Address of the section, made if absent. Pins the region: close() refuses until unpin() was called as often.
    cdef char *address(self, str name, uint64_t size, uint64_t align) except NULL
    # Size of an existing section, 0 when there is none.
    cdef uint64_t find(self, str name) except? 0
    cdef void pin(self) noexcept
    cdef void unpin(self) noexcept
    cdef int check_open(self) except -1
