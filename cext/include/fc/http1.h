/* fc/http1.h - HTTP/1.1 message heads: one call, spans out, nothing allocated.
 *
 * Contract (the shape of picohttpparser's): the caller keeps the bytes received so far in one contiguous buffer and calls
 * the parser again with more of them until it stops answering FC_HTTP1_PARTIAL. Results are spans (offset, length) into
 * that buffer, so the buffer may move between calls and after. `last_len` is the length at the previous call on the
 * same message (0 on the first): it makes a peer that drips one byte at a time cost one look per byte and not one parse.
 *
 * Strict by RFC 9112 and RFC 9110: what two implementations could read differently is refused, never repaired. Every
 * leniency is a flag, all off by default. Reads never go past buf + len, which the tests prove with guard pages.
 *
 * Thread and process safety: pure functions; the SIMD dispatch is decided by the compiler's ifunc-free CPU check and
 * holds no mutable state that matters.
 */
#ifndef FC_HTTP1_H
#define FC_HTTP1_H

#include <stdbool.h>

#include "fc/base.h"

/* --- leniencies ------------------------------------------------------------------------------------------------- */
#define FC_HTTP1_LENIENT_BARE_LF 0x01u        /* LF alone ends a line (RFC 9112 2.2 MAY; but errata 7633) */
#define FC_HTTP1_LENIENT_OBS_FOLD 0x02u       /* obs-fold is replaced by spaces (RFC 9112 5.2), in place:
                                               * the only case in which the buffer must be writable */
#define FC_HTTP1_LENIENT_SPACE_BEFORE_COLON 0x04u /* responses only (RFC 9112 5.1): the space is dropped */
#define FC_HTTP1_LENIENT_TARGET_BYTES 0x08u   /* in a request target bytes over 0x7F, '"', '<', '>' and, before '?',
                                               * also \ ^ ` { }, as some old clients send */
#define FC_HTTP1_LENIENT_REPEATED_LENGTH 0x10u /* several Content-Length fields or list members that all agree */
#define FC_HTTP1_LENIENT_MISSING_HOST 0x20u   /* an HTTP/1.1 request without Host, or with an empty one */
#define FC_HTTP1_LENIENT_NO_REASON_SPACE 0x40u /* "HTTP/1.1 200" CRLF: no space after the status (RFC 9112 4) */
#define FC_HTTP1_NO_SIMD 0x80000000u          /* not a leniency: scan without vector instructions */

/* --- answers ---------------------------------------------------------------------------------------------------- */
#define FC_HTTP1_PARTIAL (-2)
#define FC_HTTP1_ERROR (-1) /* head->error says what, head->error_at where */

typedef enum fc_http1_error {
    FC_HTTP1_OK = 0,
    FC_HTTP1_BAD_METHOD,
    FC_HTTP1_BAD_TARGET,
    FC_HTTP1_BAD_VERSION,          /* not HTTP/d.d at all */
    FC_HTTP1_UNSUPPORTED_VERSION,  /* well formed, but not 1.0 or 1.1: answer 505 */
    FC_HTTP1_BAD_STATUS,           /* not 100 to 599, or a 101 that does not say to what it switches */
    FC_HTTP1_BAD_REASON,
    FC_HTTP1_BAD_LINE_END,         /* bare CR or bare LF */
    FC_HTTP1_BAD_FIELD_NAME,       /* empty, not a token, space before the colon */
    FC_HTTP1_BAD_FIELD_VALUE,      /* control character */
    FC_HTTP1_OBS_FOLD,
    FC_HTTP1_BAD_HOST,             /* missing on 1.1, repeated, or not a host[:port] */
    FC_HTTP1_BAD_LENGTH,           /* not 1*DIGIT, over 18 digits, repeated, over 0 in CONNECT, 1xx or 204 */
    FC_HTTP1_BAD_CODING,           /* malformed, repeated, in 1.0, CONNECT, 1xx or 204, chunked not last or twice */
    FC_HTTP1_UNSUPPORTED_CODING,   /* a coding other than chunked: answer 501 */
    FC_HTTP1_LENGTH_AND_CODING,    /* both framings in one message: smuggling-shaped */
    FC_HTTP1_HEAD_TOO_LARGE,       /* answer 431 */
    FC_HTTP1_TARGET_TOO_LONG,      /* answer 414 */
    FC_HTTP1_TOO_MANY_FIELDS,      /* answer 431 */
    FC_HTTP1_BAD_CHUNK,            /* used by fc/chunked.h */
    FC_HTTP1_BAD_EXPECT,           /* an expectation other than 100-continue: answer 417 */
} fc_http1_error;

/* One English phrase per error, for problem answers and exceptions. Never NULL. */
const char *fc_http1_error_text(fc_http1_error error);
/* The status a server answers this error with: 400, 414, 417, 431, 501 or 505. */
int fc_http1_error_status(fc_http1_error error);

/* --- vocabulary ------------------------------------------------------------------------------------------------- */
typedef enum fc_http_method {
    FC_METHOD_OTHER = 0, /* a token we have no name for; see the span */
    FC_METHOD_GET, FC_METHOD_HEAD, FC_METHOD_POST, FC_METHOD_PUT, FC_METHOD_DELETE, FC_METHOD_CONNECT,
    FC_METHOD_OPTIONS, FC_METHOD_TRACE, FC_METHOD_PATCH, FC_METHOD_QUERY,
    FC_METHOD_COUNT
} fc_http_method;

/* Fields that the data plane treats in some special way; everything else is FC_FIELD_OTHER. */
typedef enum fc_http_field {
    FC_FIELD_OTHER = 0,
    FC_FIELD_HOST, FC_FIELD_CONTENT_LENGTH, FC_FIELD_TRANSFER_ENCODING, FC_FIELD_CONNECTION, FC_FIELD_KEEP_ALIVE,
    FC_FIELD_PROXY_CONNECTION, FC_FIELD_TE, FC_FIELD_TRAILER, FC_FIELD_UPGRADE, FC_FIELD_EXPECT, FC_FIELD_VIA,
    FC_FIELD_FORWARDED, FC_FIELD_X_FORWARDED_FOR, FC_FIELD_X_FORWARDED_HOST, FC_FIELD_X_FORWARDED_PROTO,
    FC_FIELD_X_FORWARDED_PORT, FC_FIELD_X_REAL_IP, FC_FIELD_MAX_FORWARDS, FC_FIELD_CDN_LOOP, FC_FIELD_AUTHORIZATION,
    FC_FIELD_COOKIE, FC_FIELD_USER_AGENT, FC_FIELD_REFERER, FC_FIELD_CONTENT_TYPE, FC_FIELD_DATE, FC_FIELD_SERVER,
    FC_FIELD_PROXY_AUTHENTICATE, FC_FIELD_PROXY_AUTHORIZATION, FC_FIELD_TRACEPARENT, FC_FIELD_X_REQUEST_ID,
    FC_FIELD_COUNT
} fc_http_field;

/* The identity of a field name, any letter case. */
fc_http_field fc_http_field_id(const char *name, size_t len);
fc_http_method fc_http_method_id(const char *name, size_t len);
/* Upper-case name of a known method; "" for FC_METHOD_OTHER. */
const char *fc_http_method_name(fc_http_method method);

typedef struct fc_http1_field {
    fc_span name;
    fc_span value; /* without surrounding spaces and tabs */
    uint32_t id;   /* fc_http_field */
} fc_http1_field;

typedef enum fc_http1_framing {
    FC_BODY_NONE = 0,
    FC_BODY_LENGTH,  /* content_length bytes, > 0 */
    FC_BODY_CHUNKED,
    FC_BODY_CLOSE,   /* responses only: until the peer closes */
} fc_http1_framing;

typedef enum fc_http1_target {
    FC_TARGET_ORIGIN = 0, /* /path?query */
    FC_TARGET_ABSOLUTE,   /* http://host/path: its authority overrides Host (RFC 9112 3.2.2) */
    FC_TARGET_AUTHORITY,  /* host:port, CONNECT only */
    FC_TARGET_ASTERISK,   /* *, OPTIONS only */
} fc_http1_target;

typedef struct fc_http1_limits {
    uint32_t flags;            /* FC_HTTP1_LENIENT_*, FC_HTTP1_NO_SIMD */
    uint32_t head_bytes_max;   /* start line + fields; beyond it HEAD_TOO_LARGE even while partial */
    uint32_t target_bytes_max;
} fc_http1_limits;

typedef struct fc_http1_head {
    /* in: where fields go, and how many there is room for */
    fc_http1_field *fields;
    uint32_t fields_max;
    /* out */
    uint32_t fields_len;
    fc_span method;        /* requests */
    fc_span target;        /* requests: as sent */
    fc_span path;          /* requests: the path part. "/" for an absolute target without one, but empty for OPTIONS of
                            * such a target, which is forwarded as "*" (RFC 9112 3.2.4); empty for CONNECT */
    fc_span query;         /* requests: after '?', without it; has_query tells "" from absent */
    fc_span authority;     /* requests: host[:port] that counts: the target's if absolute or CONNECT, else Host's value.
                            * Empty only in 1.0 requests and under LENIENT_MISSING_HOST */
    fc_span reason;        /* responses */
    uint64_t content_length; /* as declared; also on HEAD and 304 responses, where framing is NONE */
    uint16_t status;       /* responses */
    uint8_t method_id;     /* fc_http_method */
    uint8_t target_form;   /* fc_http1_target */
    uint8_t minor;         /* HTTP/1.minor: 0 or 1 */
    uint8_t framing;       /* fc_http1_framing */
    bool has_query;
    bool has_length;       /* a Content-Length was present */
    bool keep_alive;       /* may the connection be used again, by version and Connection */
    bool expect_continue;  /* requests, 1.1 only */
    bool te_trailers;      /* requests: TE: trailers */
    bool has_upgrade;      /* Connection: upgrade together with an Upgrade field */
    bool connection_names; /* Connection lists something besides close, keep-alive, upgrade and TE */
    uint8_t error;         /* fc_http1_error */
    uint32_t error_at;     /* offset of the offending byte; 0 where something is missing, or no content allowed */
} fc_http1_head;

/* Parse a request head at buf[0..len). Returns its length in bytes including the empty line (> 0), FC_HTTP1_PARTIAL or
 * FC_HTTP1_ERROR. At most one empty line (CRLF) before the request line is skipped (RFC 9112 2.2).
 * Framing and Host rules are applied here: a head that comes back > 0 has exactly one reading.
 *
 * Invariants, for all three parsers
 *   1. The answer depends on the first min(len, head_bytes_max) bytes only, and errors are found in the order of the
 *      bytes: once some length gives an answer other than PARTIAL, every longer one gives the same.
 *   2. With last_len > 0 the answer may stay PARTIAL where last_len = 0 would already give an error, but only until the
 *      next line feed or until head_bytes_max is reached; a complete head is never missed.
 *   3. All spans of a complete head lie within its length. */
int fc_http1_parse_request(const char *buf, size_t len, size_t last_len, const fc_http1_limits *limits,
                           fc_http1_head *head);

/* The same for a response; `request_method` decides framing (HEAD: none, CONNECT 2xx: none). */
int fc_http1_parse_response(const char *buf, size_t len, size_t last_len, const fc_http1_limits *limits,
                            fc_http_method request_method, fc_http1_head *head);

/* The trailer section after a last chunk: field lines up to and including the empty line; no framing rules.
 * Fields that frame, route or authenticate (RFC 9110 6.5.1) come back with their id so that the caller can drop them. */
int fc_http1_parse_trailers(const char *buf, size_t len, size_t last_len, const fc_http1_limits *limits,
                            fc_http1_head *head);

/* Case-insensitive: does the comma-separated list value contain this token? */
bool fc_http_list_has(const char *value, size_t len, const char *token, size_t token_len);

#endif
