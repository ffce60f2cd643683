from libc.stdint cimport uint32_t, uint64_t

from fastcore.hashing cimport fc_hash, fc_hash_key, key_of


cdef extern from "fc/balance.h" nogil:
    enum:
        FC_BALANCE_TARGETS_MAX
        FC_BALANCE_WEIGHT_MAX
        FC_BALANCE_WORDS_MAX
    ctypedef enum fc_balance_policy:
        FC_BALANCE_ROUND_ROBIN
        FC_BALANCE_LEAST_CONN
        FC_BALANCE_P2C_EWMA
        FC_BALANCE_HASH
    ctypedef struct fc_balance_target:
        uint32_t weight
        uint64_t id
    ctypedef struct fc_balance_options:
        fc_balance_policy policy
        double load_factor
        uint64_t tau_ns
        uint64_t failed_ns
        uint64_t seed
    const fc_balance_options FC_BALANCE_OPTIONS
    ctypedef struct fc_balancer:
        pass
    fc_balancer *fc_balancer_new(const fc_balance_options *options, const fc_balance_target *targets, uint32_t n)
    void fc_balancer_free(fc_balancer *b)
    int fc_balancer_pick(fc_balancer *b, uint64_t now_ns, uint64_t key_hash, const uint64_t *available)
    void fc_balancer_started(fc_balancer *b, uint32_t target)
    void fc_balancer_finished(fc_balancer *b, uint32_t target, uint64_t now_ns, uint64_t latency_ns, bint failed)
    uint32_t fc_balancer_active(const fc_balancer *b, uint32_t target)
    double fc_balancer_latency_ns(const fc_balancer *b, uint32_t target, uint64_t now_ns)


cdef class Balancer:
    cdef fc_balancer *balancer  # owned by this object
    cdef uint32_t length
    cdef int check(self, object target) except -1
