from libc.stddef cimport size_t
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastcore.hashing cimport fc_hash_key
from fastcore.pikevm cimport fc_slice
from fastcore.proxylimits cimport fc_quota_line, fc_route_limits
from fastcore.reactor cimport fc_loop
from fastcore.resilience cimport fc_health_cell, fc_health_settings, fc_health_table, fc_status_set, fc_upstream_health
from fastcore.router cimport fc_router, fc_router_scratch
from fastcore.sharedcache cimport fc_cache
from fastcore.spans cimport fc_records
from fastcore.tls cimport fc_securer


cdef extern from "<sys/socket.h>" nogil:
    ctypedef uint32_t socklen_t
    cdef struct sockaddr_storage:
        uint16_t ss_family


cdef extern from "fc/addr.h" nogil:
    ctypedef struct fc_net:
        uint8_t bits
    bint fc_net_parse(const char *p, size_t n, fc_net *out)


cdef extern from "fc/balance.h" nogil:
    ctypedef enum fc_balance_policy:
        FC_BALANCE_ROUND_ROBIN
        FC_BALANCE_LEAST_CONN
        FC_BALANCE_P2C_EWMA
        FC_BALANCE_HASH


cdef extern from "fc/upstream.h" nogil:
    ctypedef struct fc_h2_settings:
        uint32_t streams_max, stream_window, connection_window, head_bytes_max, control_burst, control_rate
    ctypedef struct fc_upstream_settings:
        fc_balance_policy balance
        double load_factor
        uint32_t keepalive, connections_max, pending_max, connect_timeout_ms, idle_timeout_ms, fail_timeout_ms
        uint32_t out_high, out_low
        fc_securer *securer
        bint h2
        fc_h2_settings streams
    ctypedef struct fc_endpoint_spec:
        sockaddr_storage addr
        socklen_t addr_len
        char *label
        char *host
        uint32_t weight
    ctypedef struct fc_endpoint:
        fc_endpoint_spec spec
        uint32_t idle_count, open, in_use
        uint64_t down_until_ms, connects, connect_failures, reuses, requests
        fc_health_cell *cell
        uint64_t ejections, opened
    ctypedef struct fc_adaptive_options:
        uint32_t initial, minimum, maximum, baseline_windows, window_samples
        double smoothing, tolerance
        uint64_t window_ns, probe_ns
    ctypedef struct fc_adaptive:
        uint32_t inflight
    uint32_t fc_adaptive_limit(const fc_adaptive *a)
    fc_adaptive_options FC_ADAPTIVE_OPTIONS
    ctypedef struct fc_upstream:
        fc_adaptive *adaptive
        uint64_t shed
        fc_endpoint **endpoints
        uint32_t endpoints_len, waiting_len
        uint64_t rejected, timed_out
        fc_upstream_health *health
    fc_upstream_settings fc_upstream_settings_default()
    fc_upstream *fc_upstream_new(fc_loop *loop, const char *name, const fc_upstream_settings *settings, uint64_t seed)
    void fc_upstream_free(fc_upstream *u)
    int fc_upstream_adapt(fc_upstream *u, const fc_adaptive_options *options)
    int fc_upstream_set_endpoints(fc_upstream *u, const fc_endpoint_spec *specs, uint32_t n)
    int fc_upstream_watch(fc_upstream *u, const fc_health_settings *settings, const fc_health_table *table, uint32_t pid)
    void fc_upstream_touch(fc_upstream *u)


cdef extern from "fc/http_server.h" nogil:
    ctypedef struct fc_http1_limits:
        uint32_t flags, head_bytes_max, target_bytes_max
    ctypedef struct fc_http_settings:
        fc_http1_limits parse
        uint32_t fields_max, chunk_ext_max, trailer_bytes_max
        uint64_t body_bytes_max
        uint32_t body_rate_min, requests_max, connections_max
        uint32_t header_timeout_ms, idle_timeout_ms, body_timeout_ms, write_timeout_ms, drain_idle_ms
        uint32_t out_high, out_low, app_bytes
        bint h2
        fc_h2_settings streams
    ctypedef struct fc_http_stats:
        uint64_t accepted, requests, refused, accept_errors
        uint64_t h2_sessions, h2_failed
        uint32_t open, idle, streams
    ctypedef struct fc_http_server:
        fc_http_settings settings
        fc_http_stats stats
        bint draining
        int accept_errno
    fc_http_settings fc_http_settings_default()
    int fc_http_server_listen(fc_http_server *server, int fd, fc_securer *securer)
    void fc_http_server_drain(fc_http_server *server)


cdef extern from "fc/logfile.h" nogil:
    ctypedef struct fc_logfile:
        pass
    ctypedef struct fc_logfile_stats:
        uint64_t lines, dropped_full, dropped_error
        int last_errno
    fc_logfile *fc_logfile_open(const char *path, size_t buffer_bytes)
    void fc_logfile_close(fc_logfile *log) nogil
    int fc_logfile_reopen(fc_logfile *log)
    fc_logfile_stats fc_logfile_get_stats(fc_logfile *log)


cdef extern from "fc/auth.h" nogil:
    enum:
        FC_AUTH_KEY_BYTES
    size_t FC_AUTH_VERDICT_MAX
    ctypedef enum fc_auth_source:
        FC_AUTH_BEARER
        FC_AUTH_HEADER
        FC_AUTH_QUERY
        FC_AUTH_CERTIFICATE
    ctypedef enum fc_auth_cell:
        FC_AUTH_CELL_REFUSED
    ctypedef struct fc_auth_provider:
        uint32_t id
        unsigned char *fingerprint
        fc_auth_source source
        fc_slice name
        bint forward
    ctypedef struct fc_auth_verdict:
        uint64_t expires_s, scopes
        uint16_t subject_len, fields_len
        uint8_t reason
    ctypedef struct fc_auth:
        uint32_t pending_len
        bint posted
        void (*wake)(fc_auth *auth) noexcept
        uint32_t *cell
    int fc_auth_init(fc_auth *auth, fc_loop *loop, const fc_cache *verified, const fc_cache *refused,
                     const fc_hash_key *secret, uint32_t pending_max)
    void fc_auth_close(fc_auth *auth)
    bint fc_auth_take(fc_auth *auth, uint32_t *provider, const unsigned char **key, fc_slice *credential)
    bint fc_auth_settle(fc_auth *auth, const unsigned char *key, const void *verdict, size_t n)


cdef extern from "fc/edit.h" nogil:
    enum:
        FC_EDITS_MAX
        FC_FIXED_BODY_MAX
    ctypedef enum fc_value_kind:
        FC_VALUE_LITERAL
        FC_VALUE_PARAM
        FC_VALUE_CLIENT_IP
        FC_VALUE_REQUEST_ID
        FC_VALUE_SCHEME
        FC_VALUE_HOST
        FC_VALUE_METHOD
        FC_VALUE_PATH
        FC_VALUE_QUERY
        FC_VALUE_QUERY_TAIL
        FC_VALUE_PARAMETER
        FC_VALUE_FIELD
        FC_VALUE_COOKIE
        FC_VALUE_USER
        FC_VALUE_CLAIM
        FC_VALUE_ENDPOINT
        FC_VALUE_STATUS
    ctypedef struct fc_value_part:
        fc_value_kind kind
        fc_slice text
    ctypedef struct fc_value:
        const fc_value_part *parts
        uint32_t parts_len
    ctypedef enum fc_edit_kind:
        FC_EDIT_REMOVE
        FC_EDIT_RENAME
        FC_EDIT_SET
        FC_EDIT_ADD
        FC_EDIT_DEFAULT
    ctypedef struct fc_edit:
        fc_edit_kind kind
        fc_slice name
        fc_value value
        bint secure_only
    ctypedef struct fc_edits:
        const fc_edit *edits
        uint32_t len, room, dynamic
        bint exact
    ctypedef struct fc_origin:
        fc_slice text, after
        bint pattern
    ctypedef struct fc_cors:
        const fc_origin *origins
        uint32_t origins_len
        bint any, credentials
        fc_slice methods, headers, expose
        uint32_t max_age_s
    ctypedef struct fc_fixed:
        uint16_t status
        fc_slice type, body
        fc_value location


cdef extern from "fc/freshness.h" nogil:
    ctypedef struct fc_cache_policy:
        uint32_t default_ttl_s, heuristic_max_s, ttl_max_s, while_revalidate_s, if_error_s, keep_s
        bint ignore_client, store_cookies, collapse
        uint32_t wait_ms
        uint64_t item_max


cdef extern from "fc/proxy.h" nogil:
    ctypedef struct fc_route_auth:
        const fc_auth_provider **providers
        uint32_t providers_len
        bint required
        uint64_t scopes
        fc_slice scope_text
    ctypedef enum fc_host_mode:
        FC_HOST_PRESERVE
        FC_HOST_UPSTREAM
        FC_HOST_LITERAL
    ctypedef enum fc_hash_on:
        FC_HASH_CLIENT_IP
        FC_HASH_PATH
        FC_HASH_HEADER
        FC_HASH_COOKIE
        FC_HASH_QUERY
    ctypedef enum fc_part_kind:
        FC_PART_LITERAL
        FC_PART_PARAM
        FC_PART_TAIL
    ctypedef struct fc_path_part:
        fc_part_kind kind
        fc_slice text
        uint32_t number
    ctypedef enum fc_retry_on:
        FC_RETRY_RESET
        FC_RETRY_TIMEOUT
    enum:
        FC_STATUS_CLASSES
    ctypedef struct fc_retry_policy:
        uint32_t on
        fc_status_set statuses
        bint any_method
    ctypedef enum fc_split_on:
        FC_SPLIT_RANDOM
        FC_SPLIT_CLIENT_IP
        FC_SPLIT_USER
        FC_SPLIT_HEADER
        FC_SPLIT_COOKIE
        FC_SPLIT_QUERY
    ctypedef struct fc_share:
        uint32_t weight
        const fc_route *route
    ctypedef struct fc_split:
        fc_split_on on
        fc_slice name
        const fc_share *shares
        uint32_t total
    ctypedef struct fc_grow:
        char *p
        size_t len
    ctypedef struct fc_route_hooks:
        int32_t request, response
        uint32_t request_body_max, response_body_max
        bint passes "pass"
    ctypedef enum fc_hook_verdict:
        FC_HOOK_UNCHANGED
        FC_HOOK_CHANGED
        FC_HOOK_ANSWER
        FC_HOOK_FAILED
    ctypedef struct fc_hook_call:
        void *owner
        int32_t function
        bint response, has_body
        fc_grow head, body, subject
        char *client
        uint8_t client_len
    ctypedef struct fc_hooks:
        uint32_t waiting
        bint posted
        void (*wake)(fc_hooks *hooks) noexcept
        uint64_t *calls
    void fc_hooks_init(fc_hooks *hooks, fc_loop *loop, uint32_t waiting_max)
    fc_hook_call *fc_hooks_take(fc_hooks *hooks)
    void fc_hooks_settle(fc_hook_call *call, fc_hook_verdict verdict, fc_slice head, fc_slice body)
    ctypedef struct fc_coding_policy:
        const fc_slice *types
        uint32_t types_len
        uint64_t least_bytes
        uint8_t gzip_level
        signed char br_quality
        bint unpack_requests
        bint unpack
    ctypedef struct fc_mirror:
        const fc_route *route
        uint64_t share
        uint32_t at_once
    ctypedef struct fc_route:
        const fc_split *split
        const fc_mirror *mirror
        const fc_coding_policy *coding
        const fc_route_hooks *hooks
        fc_slice name
        fc_upstream *upstream
        const fc_path_part *parts
        uint32_t parts_len
        fc_host_mode host_mode
        fc_slice host
        fc_hash_on hash_on
        fc_slice hash_name
        uint32_t first_byte_ms, between_bytes_ms, total_ms, tunnel_idle_ms
        uint64_t body_bytes_max
        uint32_t share_percent
        uint32_t attempts
        fc_retry_policy retry
        bint log
        const fc_route_limits *limits
        const fc_route_auth *auth
        const fc_fixed *fixed
        const fc_edits *request_edits
        const fc_edits *query_edits
        const fc_edits *reply_edits
        const fc_cors *cors
        const fc_cache_policy *cache
        uint32_t *cells
        uint32_t duration_us, upstream_us
    ctypedef struct fc_route_table:
        uint32_t refs
        fc_router *router
        fc_route *routes
        uint32_t routes_len
        const fc_slice *claimed
        uint32_t claimed_len
        const fc_slice *secret_parameters
        uint32_t secret_parameters_len
        bint has_cors
        void (*release)(fc_route_table *table) noexcept
    ctypedef enum fc_proxy_cell:
        FC_CELL_BYTES_IN
        FC_CELL_HOOKS
        FC_CELL_COUNT
    ctypedef struct fc_proxy_metrics:
        uint64_t *row
        uint32_t *cell
        uint32_t duration_us
        uint32_t *unrouted
    ctypedef struct fc_proxy_settings:
        fc_http_settings http
        const char *name
        const fc_net *trusted
        uint32_t trusted_len
        bint x_forwarded, forwarded
        uint32_t hops_max
        bint log_subject
        uint32_t coders_max
        double log_sample
    ctypedef struct fc_proxy_tracing:
        bint on, trust
        uint64_t sample
        fc_records *spans
    ctypedef struct fc_proxy:
        fc_http_server server
        fc_route_table *table
        fc_logfile *log
        fc_hooks *hooks
        fc_quota_line *quotas
        fc_cache *cache
        fc_auth *auth
        fc_proxy_metrics metrics
        fc_proxy_tracing tracing
        uint32_t active
        fc_hash_key hash_key
    int fc_proxy_init(fc_proxy *proxy, fc_loop *loop, const fc_proxy_settings *settings, uint64_t seed)
    void fc_proxy_stop(fc_proxy *proxy)
    void fc_proxy_close(fc_proxy *proxy)
    int fc_proxy_set_table(fc_proxy *proxy, fc_route_table *table)
    void fc_route_table_unref(fc_route_table *table)
