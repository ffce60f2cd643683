# The storage engine's disks for other compiled modules: `disk.handle()` is the C interface (fc/disk.h), good while the disk
# is pinned. Closing a disk takes effect when the last pin is gone.
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef extern from "fc/disk.h" nogil:
    enum:
        FC_DISK_NAME_MAX
        FC_DISK_SHORT
        FC_FILE_READ
        FC_FILE_WRITE
        FC_FILE_CREATE
    ctypedef struct fc_disk:
        pass
    ctypedef struct fc_file:
        pass
    int fc_disk_open(const char *path, bint create, fc_disk **out)
    void fc_disk_close(fc_disk *d)
    int fc_disk_file(fc_disk *d, const char *name, int mode, fc_file **out)
    int fc_disk_rename(fc_disk *d, const char *source, const char *to)
    int fc_disk_link(fc_disk *d, const char *source, const char *to)
    int fc_disk_remove(fc_disk *d, const char *name)
    int fc_disk_make_dir(fc_disk *d, const char *name)
    int fc_disk_list(fc_disk *d, const char *dir, int (*fn)(void *ctx, const char *name) noexcept, void *ctx)
    int fc_disk_sync_dir(fc_disk *d, const char *dir)
    int fc_disk_lock(fc_disk *d, const char *name, fc_file **out)
    int64_t fc_disk_free_bytes(fc_disk *d)
    int fc_file_read(fc_file *f, void *buf, size_t n, uint64_t offset)
    int fc_file_write(fc_file *f, const void *buf, size_t n, uint64_t offset)
    int fc_file_allocate(fc_file *f, uint64_t size)
    int fc_file_truncate(fc_file *f, uint64_t size)
    int fc_file_sync(fc_file *f)
    int64_t fc_file_size(fc_file *f)
    void fc_file_close(fc_file *f)


cdef extern from "fc/disk_sim.h" nogil:
    ctypedef struct fc_disk_sim_options:
        uint64_t seed
        uint64_t capacity
        uint64_t crash_at
        uint32_t write_fail_ppm
        uint32_t sync_fail_ppm
        uint32_t sync_stall_ms
    ctypedef struct fc_disk_sim_stats:
        uint64_t steps, writes, written_bytes, syncs, dir_syncs, faults
    fc_disk *fc_disk_sim_new(const fc_disk_sim_options *options)
    void fc_disk_sim_set(fc_disk *d, const fc_disk_sim_options *options)
    int fc_disk_sim_crash(fc_disk *d)
    bint fc_disk_sim_off(const fc_disk *d)
    int fc_disk_sim_flip(fc_disk *d, const char *name, uint64_t bit)
    void fc_disk_sim_get_stats(fc_disk *d, fc_disk_sim_stats *out)


cdef class Disk:
    cdef fc_disk *d
    cdef uint32_t pins
    cdef bint shut
    cdef object where

    cdef fc_disk *handle(self) except NULL   # ValueError when closed
    cdef void pin(self) noexcept
    cdef void unpin(self) noexcept
    cdef File file(self, bytes name, int mode)   # FC_FILE_*, or -1 to lock
    cdef int name_call(self, int which, object first, object second) except -1


cdef class SimDisk(Disk):
    cdef fc_disk_sim_options options
    cdef uint64_t streams

    cdef uint64_t stream(self) noexcept      # a seed of its own for whoever asks, the same in each run


cdef class File:
    cdef Disk disk
    cdef fc_file *f
    cdef uint32_t busy
    cdef bint shut
    cdef readonly str name

    cdef fc_file *enter(self) except NULL
    cdef void leave(self) noexcept
