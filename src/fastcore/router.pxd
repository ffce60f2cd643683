from libc.stddef cimport size_t
from libc.stdint cimport int32_t, uint32_t, uint64_t

from fastcore.hashing cimport fc_hash_key
from fastcore.pikevm cimport fc_slice


cdef extern from "fc/path.h" nogil:
    enum:
        FC_PATH_MERGE_SLASHES
        FC_PATH_REFUSE_ENCODED_SLASH
    ctypedef enum fc_path_result:
        FC_PATH_SAME
        FC_PATH_TOO_LONG
    const char *fc_path_error_text(fc_path_result result)


cdef extern from "fc/http1.h" nogil:
    ctypedef enum fc_http_method:
        FC_METHOD_OTHER
        FC_METHOD_GET
        FC_METHOD_HEAD
        FC_METHOD_POST
        FC_METHOD_PUT
        FC_METHOD_DELETE
        FC_METHOD_CONNECT
        FC_METHOD_OPTIONS
        FC_METHOD_TRACE
        FC_METHOD_PATCH
        FC_METHOD_QUERY
        FC_METHOD_COUNT
    ctypedef struct fc_span:
        uint32_t off
        uint32_t len
    ctypedef struct fc_http1_field:
        fc_span name
        fc_span value
        uint32_t id


cdef extern from "fc/router.h" nogil:
    enum:
        FC_ROUTER_PARAMS_MAX
        FC_ROUTER_METHODS_MAX
        FC_ROUTER_UNSET
    ctypedef enum fc_router_kind:
        FC_ROUTER_EXACT
        FC_ROUTER_TEMPLATE
        FC_ROUTER_REGEX
        FC_ROUTER_PREFIX
    ctypedef enum fc_cond_place:
        FC_COND_HEADER
        FC_COND_QUERY
    ctypedef enum fc_cond_test:
        FC_COND_PRESENT
        FC_COND_ABSENT
        FC_COND_EQUALS
        FC_COND_REGEX
    ctypedef struct fc_router_cond:
        fc_cond_place place
        fc_cond_test test
        fc_slice name
        fc_slice value
        fc_slice program
    ctypedef struct fc_router_rule:
        uint32_t index
        int32_t priority
        fc_router_kind kind
        fc_slice path
        fc_slice program
        const fc_slice *hosts
        uint32_t hosts_len
        uint32_t methods
        const fc_slice *other_methods
        uint32_t other_methods_len
        const fc_router_cond *conds
        uint32_t conds_len
    ctypedef struct fc_router_limits:
        uint32_t path_flags
        uint32_t path_max
        uint32_t segments_max
        uint32_t visits_max
        size_t bytes_max
        fc_hash_key key
    const fc_router_limits FC_ROUTER_LIMITS
    ctypedef struct fc_router_error:
        char *text
        bint pair
        uint32_t first
        uint32_t second
    ctypedef struct fc_router_builder:
        pass
    ctypedef struct fc_router:
        pass
    ctypedef struct fc_router_stats:
        uint32_t rules
        uint32_t entries
        uint32_t hosts
        uint32_t nodes
        uint32_t literals
        uint32_t visits_worst
        size_t bytes
    ctypedef struct fc_router_request:
        fc_http_method method_id
        fc_slice method
        fc_slice host
        fc_slice path
        fc_slice query
        const fc_http1_field *fields
        uint32_t fields_len
        const char *buf
    ctypedef struct fc_router_param:
        fc_slice name
        fc_span value
    ctypedef enum fc_router_answer:
        FC_ROUTER_FOUND
        FC_ROUTER_NONE
        FC_ROUTER_METHOD
        FC_ROUTER_BAD_PATH
    ctypedef struct fc_router_match:
        uint32_t index
        fc_slice path
        uint32_t params_len
        fc_router_param *params
        uint32_t allowed
        uint32_t other_methods_len
        fc_slice *other_methods
        fc_path_result path_error
        size_t error_at
    ctypedef struct fc_router_scratch:
        pass
    fc_router_builder *fc_router_builder_new(const fc_router_limits *limits)
    int fc_router_builder_add(fc_router_builder *b, const fc_router_rule *rule, fc_router_error *error)
    fc_router *fc_router_build(fc_router_builder *b, fc_router_error *error)
    void fc_router_builder_free(fc_router_builder *b)
    fc_router *fc_router_ref(fc_router *r)
    void fc_router_unref(fc_router *r)
    fc_router_stats fc_router_get_stats(const fc_router *r)
    fc_router_scratch *fc_router_scratch_new()
    int fc_router_scratch_fit(fc_router_scratch *s, const fc_router *r)
    void fc_router_scratch_free(fc_router_scratch *s)
    fc_router_answer fc_router_find(const fc_router *r, const fc_router_request *q, fc_router_match *out,
                                    fc_router_scratch *s)


cdef class Router:
    cdef fc_router *table  # take a reference of your own with fc_router_ref
    cdef fc_router_scratch *scratch


cdef class RouterBuilder:
    cdef fc_router_builder *builder
    cdef dict names
