"""Picking a target for a request (cext/include/fc/balance.h, which describes the policies)."""

cimport cython
from libc.stdlib cimport calloc, free

POLICIES = {
    "round_robin": FC_BALANCE_ROUND_ROBIN,
    "least_connections": FC_BALANCE_LEAST_CONN,
    "p2c_ewma": FC_BALANCE_P2C_EWMA,
    "consistent_hash": FC_BALANCE_HASH,
}
TARGETS_MAX = FC_BALANCE_TARGETS_MAX
WEIGHT_MAX = FC_BALANCE_WEIGHT_MAX


@cython.final
cdef class Balancer:
    """Picks among weighted targets, which are numbered in the order of the mapping given.

    targets: name to weight, 0 (never picked) to WEIGHT_MAX. tau, failed: seconds. load_factor: None or at least 1.
    Raises ValueError for an unknown policy and for values out of their bounds.
    """

    def __cinit__(
        self,
        str policy not None,
        targets,
        *,
        load_factor=None,
        double tau=10.0,
        double failed=1.0,
        uint64_t seed=1,
        bytes key=bytes(16),
    ):
        cdef fc_balance_options options = FC_BALANCE_OPTIONS
        cdef fc_hash_key words = key_of(key)
        cdef bytes text
        if policy not in POLICIES:
            raise ValueError(f"{policy!r} is not a policy; there are {', '.join(POLICIES)}")
        if not 1 <= len(targets) <= TARGETS_MAX:
            raise ValueError(f"{len(targets)} targets; there can be 1 to {TARGETS_MAX}")
        if load_factor is not None and not load_factor >= 1:
            raise ValueError(f"the load factor is {load_factor}; it is at least 1")
        if not (tau >= 1e-9 and failed >= 0):
            raise ValueError(f"tau ({tau} s) is above 0 and failed ({failed} s) not below it")
        options.policy = <fc_balance_policy><int>POLICIES[policy]
        options.load_factor = load_factor or 0
        options.tau_ns = <uint64_t>(tau * 1e9)
        options.failed_ns = <uint64_t>(failed * 1e9)
        options.seed = seed
        cdef fc_balance_target *items = <fc_balance_target *>calloc(len(targets), sizeof(fc_balance_target))
        if items == NULL:
            raise MemoryError
        try:
            for i, (name, weight) in enumerate(targets.items()):
                if not 0 <= weight <= WEIGHT_MAX:
                    raise ValueError(f"the weight of {name!r} is {weight}; it is 0 to {WEIGHT_MAX}")
                text = name.encode()
                items[i] = fc_balance_target(weight, fc_hash(&words, <const char *>text, len(text)))
            self.balancer = fc_balancer_new(&options, items, len(targets))
        finally:
            free(items)
        if self.balancer == NULL:
            raise MemoryError
        self.length = len(targets)

    def __dealloc__(self):
        fc_balancer_free(self.balancer)

    cdef int check(self, object target) except -1:
        if not 0 <= target < self.length:
            raise IndexError(f"target {target} of {self.length}")
        return 0

    def __len__(self):
        return self.length

    def pick(self, *, uint64_t now_ns=0, uint64_t key_hash=0, available=None):
        """Number of the target picked, or None. available: an int with bit i set if target i may be picked; None: all."""
        cdef uint64_t[FC_BALANCE_WORDS_MAX] words
        cdef int picked
        if available is None:
            picked = fc_balancer_pick(self.balancer, now_ns, key_hash, NULL)
        else:
            for i in range(FC_BALANCE_WORDS_MAX):
                words[i] = available >> (64 * i) & 0xFFFFFFFFFFFFFFFF
            picked = fc_balancer_pick(self.balancer, now_ns, key_hash, words)
        return None if picked < 0 else picked

    def started(self, target):
        """A request went to this target."""
        self.check(target)
        fc_balancer_started(self.balancer, target)

    def finished(self, target, *, uint64_t now_ns=0, uint64_t latency_ns=0, bint failed=False):
        """It is over; latency until the first byte of the answer or the failure."""
        self.check(target)
        fc_balancer_finished(self.balancer, target, now_ns, latency_ns, failed)

    def active(self, target):
        """Requests in flight to this target."""
        self.check(target)
        return fc_balancer_active(self.balancer, target)

    def latency_ns(self, target, *, uint64_t now_ns=0):
        """Its decayed peak latency, 0.0 when never measured."""
        self.check(target)
        return fc_balancer_latency_ns(self.balancer, target, now_ns)
