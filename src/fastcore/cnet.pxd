# Floor 1's network headers (cext/include/fc/) as Cython sees them; the headers themselves are the manual.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "fc/base.h" nogil:
    ctypedef struct fc_slice:
        const char *p
        size_t n

    ctypedef struct fc_span:
        uint32_t off, len


cdef extern from "fc/buf.h" nogil:
    ctypedef struct fc_bufpool:
        pass

    ctypedef struct fc_buf:
        uint32_t refs, cap, used
        char *data

    size_t FC_BUF_SMALL, FC_BUF_MEDIUM, FC_BUF_LARGE
    fc_buf *fc_buf_get(fc_bufpool *pool, size_t n)
    void fc_buf_unref(fc_buf *buf)
    size_t fc_buf_room(const fc_buf *buf)
    size_t fc_bufpool_mapped(const fc_bufpool *pool)
    size_t fc_bufpool_in_use(const fc_bufpool *pool)


cdef extern from "fc/wheel.h" nogil:
    ctypedef struct fc_timer:
        uint64_t at
        void (*fn)(fc_timer *timer, void *ctx) noexcept

    bint fc_timer_armed(const fc_timer *t)


cdef extern from "fc/loop.h" nogil:
    ctypedef struct fc_loop_stats:
        uint64_t wakeups, batches, events, timers, budget_exhausted

    ctypedef struct fc_loop:
        bint running
        uint64_t now_ns
        fc_bufpool *bufs
        fc_loop_stats stats

    ctypedef struct fc_io:
        void (*fn)(fc_loop *loop, fc_io *io, uint32_t events) noexcept
        int fd

    fc_loop *fc_loop_new(size_t buf_bytes_max)
    void fc_loop_free(fc_loop *loop)
    int fc_loop_fd(const fc_loop *loop)
    uint64_t fc_loop_now_ms(const fc_loop *loop)
    int fc_loop_run(fc_loop *loop, int timeout_ms, uint64_t budget_ns)
    void fc_loop_touch(fc_loop *loop)
    int fc_loop_watch(fc_loop *loop, fc_io *io, uint32_t events)
    int fc_loop_rewatch(fc_loop *loop, fc_io *io, uint32_t events)
    void fc_loop_unwatch(fc_loop *loop, fc_io *io)
    void fc_loop_timer(fc_loop *loop, fc_timer *t, uint64_t at_ms)
    void fc_loop_timer_cancel(fc_loop *loop, fc_timer *t)


cdef extern from "fc/outq.h" nogil:
    ctypedef struct fc_outq:
        size_t bytes
        uint32_t len


cdef extern from "fc/conn.h" nogil:
    ctypedef struct fc_securer:
        pass
    ctypedef struct fc_conn:
        fc_io io
        fc_loop *loop
        uint32_t out_high, out_low
        bint readable, peer_closed, paused, dead
        fc_outq out

    ctypedef struct fc_conn_ops:
        void (*read)(fc_conn *c) noexcept
        void (*drain)(fc_conn *c) noexcept
        void (*sent)(fc_conn *c) noexcept
        void (*connected)(fc_conn *c) noexcept
        void (*timeout)(fc_conn *c) noexcept
        void (*broken)(fc_conn *c, int err) noexcept
        void (*closed)(fc_conn *c) noexcept

    int fc_conn_open(fc_conn *c, fc_loop *loop, int fd, const fc_conn_ops *ops)
    void fc_conn_close(fc_conn *c)
    void fc_conn_abort(fc_conn *c)
    ssize_t fc_conn_recv(fc_conn *c, void *p, size_t n)
    void fc_conn_pause(fc_conn *c)
    void fc_conn_resume(fc_conn *c)
    void fc_conn_again(fc_conn *c)
    int fc_conn_write_copy(fc_conn *c, const char *p, size_t n)
    int fc_conn_flush(fc_conn *c)
    bint fc_conn_full(const fc_conn *c)
    void fc_conn_shutdown_write(fc_conn *c)
    void fc_conn_deadline(fc_conn *c, uint64_t at_ms)


cdef extern from "fc/addr.h" nogil:
    int FC_ADDR_TEXT_MAX

    ctypedef struct fc_addr:
        uint8_t ip[16]
        uint16_t port
        uint8_t is_ip, is_v4

    size_t fc_addr_text(const fc_addr *a, char *out)


cdef extern from "fc/date.h" nogil:
    int FC_DATE_LEN

    ctypedef struct fc_date:
        pass

    const char *fc_date_now(fc_date *cache)


cdef extern from "fc/http1.h" nogil:
    int FC_BODY_NONE, FC_BODY_LENGTH, FC_BODY_CHUNKED
    int FC_METHOD_OTHER, FC_METHOD_GET, FC_METHOD_HEAD, FC_METHOD_CONNECT, FC_METHOD_COUNT
    int FC_HTTP1_LENIENT_BARE_LF, FC_HTTP1_LENIENT_OBS_FOLD

    ctypedef struct fc_http1_field:
        fc_span name, value
        uint32_t id

    ctypedef struct fc_http1_limits:
        uint32_t flags, head_bytes_max, target_bytes_max

    ctypedef struct fc_http1_head:
        fc_http1_field *fields
        uint32_t fields_max, fields_len
        fc_span method, target, path, query, authority
        uint64_t content_length
        uint8_t method_id, target_form, minor, framing
        bint has_query, keep_alive, expect_continue

    const char *fc_http_method_name(int method)


cdef extern from "fc/http_server.h" nogil:
    ctypedef enum fc_http_failure:
        FC_HTTP_CLIENT_GONE, FC_HTTP_BODY_MALFORMED, FC_HTTP_BODY_TOO_LARGE, FC_HTTP_BODY_TIMEOUT
        FC_HTTP_WRITE_TIMEOUT, FC_HTTP_SHUTDOWN, FC_HTTP_NO_MEMORY

    ctypedef struct fc_http_ops:
        void (*request)(fc_http_req *req) noexcept
        void (*refuse)(fc_http_req *req, int status, const char *reason) noexcept
        void (*body)(fc_http_req *req, fc_buf *buf, const char *p, size_t n) noexcept
        void (*body_end)(fc_http_req *req, const char *base, const fc_http1_head *trailers) noexcept
        void (*drain)(fc_http_req *req) noexcept
        void (*failed)(fc_http_req *req, fc_http_failure why) noexcept

    ctypedef struct fc_http_settings:
        fc_http1_limits parse
        uint32_t fields_max, chunk_ext_max, trailer_bytes_max
        uint64_t body_bytes_max
        uint32_t body_rate_min, requests_max, connections_max
        uint32_t header_timeout_ms, idle_timeout_ms, body_timeout_ms, write_timeout_ms, drain_idle_ms
        uint32_t out_high, out_low, app_bytes

    ctypedef struct fc_http_stats:
        uint64_t accepted, requests, refused, accept_errors
        uint32_t open, idle

    ctypedef struct fc_http_server:
        fc_loop *loop
        void *app
        fc_http_settings settings
        fc_http_stats stats
        bint draining
        int accept_errno
        void (*drained)(fc_http_server *server) noexcept

    ctypedef struct fc_http_conn:
        fc_conn conn
        fc_addr peer

    ctypedef struct fc_http_req:
        fc_http_conn *conn
        fc_http_server *server
        const char *base
        fc_http1_head head
        uint64_t started_ns, bytes_out
        bint body_done, ended

    fc_http_settings fc_http_settings_default()
    void fc_http_server_init(fc_http_server *server, fc_loop *loop, const fc_http_ops *ops, void *app,
                             const fc_http_settings *settings)
    int fc_http_server_listen(fc_http_server *server, int fd, fc_securer *securer)
    void fc_http_server_drain(fc_http_server *server)
    void fc_http_server_stop(fc_http_server *server)
    void *fc_http_app(fc_http_req *req)
    bint fc_http_may_keep(const fc_http_req *req)
    void fc_http_pause(fc_http_req *req)
    void fc_http_resume(fc_http_req *req)
    void fc_http_send_continue(fc_http_req *req)
    int fc_http_send(fc_http_req *req, fc_buf *buf, const char *p, size_t n)
    int fc_http_send_copy(fc_http_req *req, const char *p, size_t n)
    int fc_http_send_file(fc_http_req *req, int fd, long off, size_t n)
    void fc_http_flush(fc_http_req *req)
    bint fc_http_full(const fc_http_req *req)
    void fc_http_end(fc_http_req *req, bint keep)
    void fc_http_abort(fc_http_req *req)
