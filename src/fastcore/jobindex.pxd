from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t


cdef extern from "fc/jobindex.h" nogil:
    enum:
        FC_JOB_NAME_MAX
        FC_JOB_KEY_MAX
        FC_JOB_PRIORITY_MAX
        FC_JOB_QUEUES_MAX
        FC_JOB_WEIGHT_MAX
        FC_JOBINDEX_BYTES_MIN
        FC_JOBINDEX_EEXIST
        FC_JOBINDEX_EABSENT
        FC_JOBINDEX_ERANGE
        FC_JOBINDEX_EJOBS
        FC_JOBINDEX_EQUEUES
        FC_JOBINDEX_EBYTES
        FC_JOBINDEX_ENOMEM
    const uint64_t FC_JOB_RUN_AT_MAX
    const uint64_t FC_JOB_NEVER
    ctypedef struct fc_slice:
        const char *p
        size_t n
    ctypedef struct fc_hash_key:
        uint64_t k0
        uint64_t k1
    ctypedef struct fc_job_id:
        const char *p
        uint32_t n
        uint8_t tag
        uint64_t number
    ctypedef struct fc_job:
        fc_job_id id
        uint32_t queue
        uint8_t priority
        uint64_t run_at
    ctypedef struct fc_jobindex_options:
        uint64_t max_jobs
        uint64_t max_bytes
        uint32_t max_queues
        uint32_t oldest_every
        fc_hash_key key
    const fc_jobindex_options FC_JOBINDEX_OPTIONS
    ctypedef enum fc_job_order:
        FC_JOB_FAIR
        FC_JOB_STRICT
    ctypedef struct fc_jobindex:
        pass
    fc_jobindex *fc_jobindex_new(const fc_jobindex_options *options)
    void fc_jobindex_free(fc_jobindex *ix)
    int fc_jobindex_clear(fc_jobindex *ix)
    int64_t fc_jobindex_queue(fc_jobindex *ix, fc_slice name)
    int64_t fc_jobindex_find_queue(const fc_jobindex *ix, fc_slice name)
    int64_t fc_jobindex_next_queue(const fc_jobindex *ix, uint32_t queue)
    uint64_t fc_jobindex_drop_queue(fc_jobindex *ix, uint32_t queue)
    uint64_t fc_jobindex_purge(fc_jobindex *ix, uint64_t n)
    fc_slice fc_jobindex_name(const fc_jobindex *ix, uint32_t queue)
    void fc_jobindex_pause(fc_jobindex *ix, uint32_t queue, bint paused)
    bint fc_jobindex_paused(const fc_jobindex *ix, uint32_t queue)
    int fc_jobindex_set_weight(fc_jobindex *ix, uint32_t queue, uint32_t weight)
    uint32_t fc_jobindex_weight(const fc_jobindex *ix, uint32_t queue)
    uint64_t fc_jobindex_depth(const fc_jobindex *ix, uint32_t queue)
    uint64_t fc_jobindex_ready(const fc_jobindex *ix, uint32_t queue, uint64_t now)
    uint64_t fc_jobindex_next_run_at(const fc_jobindex *ix, uint32_t queue)
    int fc_jobindex_add(fc_jobindex *ix, fc_job_id id, uint32_t queue, uint32_t priority, uint64_t run_at)
    bint fc_jobindex_get(const fc_jobindex *ix, fc_job_id id, fc_job *job)
    void fc_jobindex_remove(fc_jobindex *ix, const fc_job *job)
    int fc_jobindex_move(fc_jobindex *ix, const fc_job *job, uint32_t queue, uint32_t priority, uint64_t run_at)
    bint fc_jobindex_first(const fc_jobindex *ix, uint32_t queue, fc_job *job)
    bint fc_jobindex_after(const fc_jobindex *ix, uint32_t queue, fc_slice key, fc_job *job)
    uint32_t fc_jobindex_place(const fc_jobindex *ix, const fc_job *job, char *key)
    bint fc_jobindex_next(
        const fc_jobindex *ix, const uint32_t *queues, size_t n, fc_job_order order, uint64_t now, fc_job *job
    )
    void fc_jobindex_take(fc_jobindex *ix, const fc_job *job)
    uint64_t fc_jobindex_count(const fc_jobindex *ix)
    uint32_t fc_jobindex_queues(const fc_jobindex *ix)
    uint64_t fc_jobindex_dropped(const fc_jobindex *ix)
    uint64_t fc_jobindex_bytes(const fc_jobindex *ix)
    const char *fc_jobindex_strerror(int64_t error)
    const char *fc_jobindex_check(const fc_jobindex *ix)


cdef class JobIndex:
    """For who cimports it: the functions of fc/jobindex.h as methods, so that nothing has to be linked. Errors come back as
    the negative numbers above; nothing is raised."""

    cdef fc_jobindex *index  # owned by this object
    cdef fc_jobindex_options options
    cdef uint64_t changes  # counted, so that a call notices what a destructor did in the middle of it
    cdef list names  # of queues, by number, as they were given

    cdef int64_t queue_number(self, fc_slice name) noexcept
    cdef int add_job(self, fc_job_id id, uint32_t queue, uint32_t priority, uint64_t run_at) noexcept
    cdef bint find_job(self, fc_job_id id, fc_job *job) noexcept
    cdef void remove_job(self, const fc_job *job) noexcept
    cdef bint next_job(self, const uint32_t *queues, size_t n, fc_job_order order, uint64_t now, fc_job *job) noexcept
    cdef void take_job(self, const fc_job *job) noexcept

    cdef int fail(self, int64_t error, object what) except -1
    cdef uint32_t need_queue(self, str name) except? 0
    cdef int64_t known_queue(self, str name) except? -1
    cdef object name_of(self, uint32_t queue)
    cdef object to_python(self, const fc_job *job)
    cdef int find(self, object id, fc_job *job) except -1
