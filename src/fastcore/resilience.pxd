# What workers know together about upstreams and their targets, for fastcore.proxy.
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef extern from "fc/status_set.h" nogil:
    ctypedef struct fc_status_set:
        pass
    void fc_status_add(fc_status_set *set, uint32_t status)


cdef extern from "fc/health.h" nogil:
    enum:
        FC_HEALTH_ESIZE
        FC_HEALTH_EVERSION
        FC_HEALTH_EBUSY
    ctypedef enum fc_breaker_state:
        FC_BREAKER_CLOSED
        FC_BREAKER_OPEN
        FC_BREAKER_HALF_OPEN
    ctypedef enum fc_probe_state:
        FC_PROBE_UNKNOWN
        FC_PROBE_HEALTHY
        FC_PROBE_UNHEALTHY
    ctypedef struct fc_breaker_settings:
        uint32_t failures, percent, volume, window_ms, open_ms, trials, trial_ms
    ctypedef struct fc_outlier_settings:
        uint32_t failures, percent, volume, interval_ms, eject_ms, eject_max_ms, max_percent
    ctypedef struct fc_probe_settings:
        uint32_t healthy, unhealthy
    ctypedef struct fc_retry_budget:
        uint32_t percent, per_second, burst
    ctypedef struct fc_health_cell:
        uint64_t probe, eject, breaker, lead
    ctypedef struct fc_health_settings:
        fc_probe_settings probe
        fc_outlier_settings outlier
        fc_breaker_settings target_breaker, upstream_breaker
        fc_retry_budget budget
        fc_status_set failures
        uint32_t panic_percent, slow_start_ms
    ctypedef struct fc_health_table:
        pass
    bint fc_breaker_used(const fc_breaker_settings *s)
    bint fc_outlier_used(const fc_outlier_settings *s)
    fc_breaker_state fc_breaker_state_at(uint64_t word, uint64_t now_ms)
    uint64_t fc_outlier_until_ms(uint64_t word)
    fc_probe_state fc_probe_state_of(uint64_t word)
    uint32_t fc_lead_pid(uint64_t word)
    uint64_t fc_health_size(uint32_t cells)
    int fc_health_open(fc_health_table *t, void *base, uint64_t size, uint32_t cells)
    fc_probe_state fc_health_probed(const fc_probe_settings *s, fc_health_cell *cell, uint64_t now_ms, bint passed)
    bint fc_health_lead(fc_health_cell *cell, uint32_t pid, uint64_t now_ms)
    void fc_health_resign(fc_health_cell *cell, uint32_t pid)


cdef extern from "fc/upstream.h" nogil:
    ctypedef struct fc_upstream_health:
        fc_health_settings settings
        fc_health_cell *cell
        uint32_t pid
        uint64_t opened, stopped, denied


cdef int fill(fc_health_settings *s, object health) except -1
cdef int fill_statuses(fc_status_set *set, object statuses) except -1
cdef dict target_view(const fc_health_settings *s, const fc_health_cell *cell, uint64_t now_ms)
cdef dict upstream_view(const fc_upstream_health *h, uint64_t now_ms)
cdef str probe_name(fc_probe_state state)
