# The store for other compiled modules: `store.core.use()` is the C interface (fc/store.h), `store.waits` how greenlets and
# threads wait for it.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastcore.disk cimport Disk, fc_disk
from fastcore.memtable cimport fc_key_type, fc_view
from fastcore.wal cimport Log, fc_slice, fc_wal, fc_wal_options, fc_wal_pos, fc_wal_report


cdef extern from "fc/pool.h" nogil:
    ctypedef struct fc_pool:
        pass
    ctypedef struct fc_pool_station:
        int event_fd
    ctypedef struct fc_pool_job:
        fc_pool_job *next
        void (*run)(fc_pool_job *job) noexcept nogil
        fc_pool_station *station
    fc_pool *fc_pool_new(unsigned int threads_max)
    void fc_pool_close(fc_pool *p)
    int fc_pool_submit(fc_pool *p, fc_pool_job *job)
    fc_pool_job *fc_pool_take(fc_pool_station *s)
    void fc_pool_leave(fc_pool *p)


cdef extern from "fc/codec.h" nogil:
    ctypedef enum fc_codec:
        FC_CODEC_NONE
        FC_CODEC_LZ4
        FC_CODEC_ZSTD


cdef extern from "fc/table.h" nogil:
    enum:
        FC_TABLE_ECORRUPT
    ctypedef struct fc_damage:
        char name[256]
        uint64_t offset
        const char *what


cdef extern from "fc/block_cache.h" nogil:
    ctypedef struct fc_block_cache_stats:
        uint64_t bytes, blocks, hits, misses, inserted, evicted, returned


cdef extern from "fc/store.h" nogil:
    enum:
        FC_STORE_ECORRUPT
        FC_STORE_EFORMAT
        FC_STORE_ELOCKED
        FC_STORE_ECLOSED
        FC_STORE_EBUSY
        FC_STORE_ECONFLICT
        FC_STORE_ESIZE
        FC_STORE_ENOKEYSPACE
        FC_STORE_EMISSING
        FC_STORE_EEXISTS
        FC_STORE_LEVELS
        FC_KEYSPACE_NAME_MAX
        FC_WRITE_URGENT
        FC_WRITE_MEMORY_ONLY
    ctypedef struct fc_store:
        pass
    ctypedef struct fc_keyspace_options:
        uint64_t memtable_bytes
        uint32_t memtables_max
        uint64_t table_bytes
        uint32_t level0_tables
        uint64_t level_bytes
        uint32_t level_factor
        uint32_t block_bytes
        uint32_t restart_interval
        uint32_t filter_bits
        fc_codec codec
    const fc_keyspace_options FC_KEYSPACE_OPTIONS
    ctypedef struct fc_store_options:
        bint create, must_create, threaded
        uint64_t cache_bytes
        uint64_t log_bytes_max
        fc_wal_options log
        fc_keyspace_options defaults
        uint64_t seed
        uint64_t (*now_ms)(void *ctx) noexcept nogil
        void *now_ctx
    const fc_store_options FC_STORE_OPTIONS
    int fc_store_open(fc_disk *disk, const fc_store_options *options, fc_damage *damage, fc_store **out)
    int fc_store_stop(fc_store *s)
    int fc_store_close(fc_store *s)
    int fc_store_error(fc_store *s)
    bint fc_store_damage(fc_store *s, fc_damage *out)
    int fc_store_step(fc_store *s)
    int fc_store_keyspace(fc_store *s, fc_slice name, const fc_keyspace_options *options, bint create, uint32_t *id)
    int fc_store_drop(fc_store *s, uint32_t id)
    ctypedef struct fc_batch:
        uint32_t operations, expectations
        uint64_t data_bytes
        int error
    void fc_batch_put(fc_batch *b, uint32_t keyspace, fc_slice key, fc_slice value, uint64_t expires_ms)
    void fc_batch_delete(fc_batch *b, uint32_t keyspace, fc_slice key)
    void fc_batch_delete_range(fc_batch *b, uint32_t keyspace, fc_slice begin, fc_slice end)
    void fc_batch_expect(fc_batch *b, uint32_t keyspace, fc_slice key, uint64_t version)
    void fc_batch_append(fc_batch *b, const fc_batch *other)
    void fc_batch_clear(fc_batch *b)
    void fc_batch_free(fc_batch *b)
    ctypedef struct fc_write_result:
        fc_wal_pos pos
        uint64_t version
        uint64_t delay_ns
        uint32_t conflict
    int fc_store_write(fc_store *s, const fc_batch *b, unsigned int flags, fc_write_result *result)
    int fc_store_wait_room(fc_store *s, uint64_t timeout_ns)
    fc_wal *fc_store_log(fc_store *s)
    ctypedef struct fc_snapshot:
        pass
    fc_snapshot *fc_store_snapshot(fc_store *s)
    void fc_snapshot_release(fc_snapshot *snapshot)
    uint64_t fc_snapshot_seq(const fc_snapshot *snapshot)
    ctypedef struct fc_read:
        fc_store *store
    ctypedef struct fc_value:
        fc_slice value
        uint64_t version
        uint64_t expires_ms
    int fc_read_begin(fc_store *s, uint32_t keyspace, const fc_snapshot *snapshot, fc_read *out)
    int fc_read_get(fc_read *r, fc_slice key, bint memory_only, fc_value *out)
    void fc_value_release(fc_value *v)
    void fc_read_end(fc_read *r)
    ctypedef struct fc_scan:
        pass
    ctypedef struct fc_scan_options:
        const fc_snapshot *snapshot
        bint bounded_below, bounded_above
        fc_slice lower, upper
        bint fill_cache
        uint32_t skip_max
    int fc_scan_open(fc_store *s, uint32_t keyspace, const fc_scan_options *options, fc_scan **out)
    void fc_scan_close(fc_scan *scan)
    void fc_scan_memory_only(fc_scan *scan, bint memory_only)
    fc_view *fc_scan_view(fc_scan *scan)
    int fc_store_flush(fc_store *s, uint32_t keyspace)
    int fc_store_compact(fc_store *s, uint32_t keyspace, fc_slice begin, fc_slice end)
    int fc_store_checkpoint(fc_store *s, const char *folder)
    ctypedef struct fc_level_stats:
        uint64_t tables, bytes, entries, deletes
    ctypedef struct fc_keyspace_stats:
        fc_level_stats levels[7]
        uint64_t memtables, memtable_bytes, memtable_entries
        uint64_t table_memory
        uint64_t debt_bytes
        uint64_t flushes, flushed_bytes, compactions, compacted_read_bytes, compacted_written_bytes, moved_tables
    ctypedef struct fc_store_stats:
        uint64_t last_seq, snapshots, oldest_snapshot
        uint64_t writes, operations, written_bytes
        uint64_t gets, delayed_ns, busy
        uint64_t manifest_bytes
        fc_wal_report log
        fc_block_cache_stats cache
    void fc_store_get_stats(fc_store *s, fc_store_stats *out)
    int fc_store_get_keyspace_stats(fc_store *s, uint32_t keyspace, fc_keyspace_stats *out)
    uint64_t fc_store_bytes_between(fc_store *s, uint32_t keyspace, fc_slice begin, fc_slice end)
    const char *fc_store_strerror(int error)


# Called with the GIL, and calls back with it.
cdef extern from "fc/store.h":
    void fc_store_keyspaces(fc_store *s, void (*fn)(void *ctx, uint32_t id, fc_slice name) noexcept, void *ctx)


# The C store, as long as anybody uses it.
cdef class Core:
    cdef fc_store *s
    cdef fc_pool *pool
    cdef Disk disk
    cdef uint32_t generation     # of processes: a forked child's is another
    cdef bint threaded, closed
    cdef str place
    cdef object clock            # the user's, or None
    cdef uint64_t clock_ms       # what it last said
    cdef fc_batch scratch        # for single operations; used only while the GIL is held
    cdef uint64_t owed_ns        # delays that have not been spent
    cdef uint64_t resume_ns      # when those that have been are over

    cdef fc_store *use(self) except NULL
    cdef fc_store *use_slowly(self) except NULL
    cdef object exception(self, int error)
    cdef int fail(self, int error) except? -1
    cdef int open(self, fc_disk *d, fc_store_options *options, fc_damage *damage)
    cdef uint64_t expiry(self, object ttl) except? 0


# What a pool's thread is doing for a job: looking keys up, walking a scan one step, writing a batch, waiting for room.
cdef struct Wanted:
    fc_slice key
    fc_value value
    int found

cdef struct Work:
    fc_pool_job job              # first: the pool gives it back
    void *object                 # the Job
    int what, error
    fc_read read
    bint reading
    Wanted *wanted
    size_t n
    fc_scan *scan
    bint forward
    fc_store *store
    const fc_batch *batch
    unsigned int flags
    fc_write_result result


# What one user at a time may have.
cdef class Single:
    cdef bint busy, left_behind

    cdef int take(self) except -1
    cdef void give(self) noexcept


cdef class Job:
    cdef Work work
    cdef Station station
    cdef object keep             # what the work's pointers point into
    cdef Single subject          # that its user, who is gone, left taken
    cdef list waiters            # of gevent
    cdef bint done
    cdef uint32_t generation

    cdef void finish(self) noexcept


# Where the jobs of one hub come back.
cdef class Station:
    cdef Core core
    cdef fc_pool_station c
    cdef object hub              # a weak reference
    cdef object io
    cdef set jobs                # under way
    cdef Job room                # the one that waits for room, for all greenlets

    cdef int submit(self, Job job) except -1
    cdef int wait(self, object hub, Job job) except -1


# How greenlets and threads wait for the store: shared by all that reads and writes it.
cdef class Waits:
    cdef Core core
    cdef Log log
    cdef Station station         # of the hub that waited last
    cdef object stations         # hub -> Station, weakly

    cdef Station station_of(self, object hub)
    cdef int run(self, Job job) except -1
    cdef int run_for(self, Job job, Single subject) except -1
    cdef int durable(self, fc_wal_pos pos, object timeout) except -1
    cdef int room(self) except -1
    cdef int pay(self) except -1


cdef class Held:
    cdef Core core
    cdef fc_snapshot *p

    cdef fc_snapshot *use(self) except NULL


cdef class Reader:
    cdef Core core
    cdef Waits waits
    cdef uint32_t id
    cdef bytes prefix            # before every key, or None
    cdef readonly str name
    cdef Held held               # the snapshot that is read, or None

    cdef bytes full(self, object key)
    cdef int look(self, bytes key, fc_read *r, fc_value *v) except? -1
    cdef int look_on_disk(self, bytes key, fc_read *r, fc_value *v) except? -1
    cdef tuple full_bounds(self, object start, object stop, object prefix, bint include_start, bint include_stop)
    cdef Reader copy_to(self, Reader other)


cdef class Writer(Reader):
    cdef int commit(self, WriteBatch batch, unsigned int flags, fc_write_result *result) except? -1
    cdef int single(self, fc_key_type type, bytes key, bytes value, uint64_t expires_ms, bint flushed) except -1
    cdef int after(self, fc_write_result *result, bint flushed) except -1
    cdef int upkeep(self, bint flush, bytes lower, bytes upper) except? -1


cdef class Keyspace(Writer):
    pass


cdef class Snapshot(Reader):
    pass


cdef class Store(Writer):
    cdef bint own_disk


cdef class WriteBatch(Single):
    cdef Writer writer
    cdef fc_batch c
    cdef list expected           # keys of the expectations, for the error
    cdef bint transaction, flushed

    cdef fc_batch *use(self) except NULL
    cdef Writer target(self, object keyspace)
    cdef int check(self) except -1


cdef class Iterator(Single):
    cdef Reader reader
    cdef fc_scan *scan
    cdef fc_view *view
    cdef bytes lower, upper
    cdef bint reverse, include_key, include_value
    cdef Py_ssize_t left         # of the limit; -1: none
    cdef size_t strip            # bytes of the reader's prefix
    # The cursor stands between items[at - 1] and items[at], which are in ascending order; without items where `place` says.
    cdef list items
    cdef Py_ssize_t at
    cdef int place
    cdef bytes target
    cdef bytes first, last       # keys of the ends of items
    cdef int view_at             # which end of items the view stands on
    cdef bint ended              # there is nothing further on from there
    cdef Py_ssize_t chunk
    cdef char *key               # of the last entry collected
    cdef size_t key_n, key_room

    cdef int open(self, bint fill_cache) except -1
    cdef Py_ssize_t fetch(self, bint forward) except -1
    cdef Py_ssize_t collect(self, bint forward) except -1
    cdef bytes key_of(self, object item)
    cdef bytes begin(self, bint forward)
    cdef int step(self, bint forward) except -1
    cdef int remember(self) except -1
    cdef object item(self)
    cdef bint forwards(self) except -1
    cdef bint backwards(self) except -1
    cdef int go(self, int place) except -1
