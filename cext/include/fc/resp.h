/* fc/resp.h - the Redis serialization protocol, versions 2 and 3: replies in, requests in, either out.
 *
 * Three parts that share nothing but the wire:
 *   fc_resp_parser   what a client reads: every type of both versions, nested and streamed. It is shown a buffer again
 *                    and again and fills a flat array of tokens that point into it; whoever builds values from them
 *                    (Python objects, a struct) needs a stack of its own containers and no counting.
 *   fc_resp_request  what a server reads: one request at a time as spans into the caller's buffer, resumed where it
 *                    stopped. It is a parser of its own because that job is ten times simpler and must cost nothing.
 *   fc_resp_out      what either writes.
 *
 * Sources: redis.io "Redis serialization protocol specification" and antirez/RESP3 spec.md; for requests, what Redis
 * 7.0 accepts (its src/networking.c). Where those leave room the stricter reading holds: CR LF and nothing else ends a
 * line, an integer and a length have one spelling (no plus, no leading zero, no "-0"), -1 is a null only after '$' and
 * '*', and names of values are lower case. Two leniencies of the field are kept: a push inside another value (Redis
 * answers so to SUBSCRIBE in a transaction) and "-nan" (printf's).
 *
 * Invariants
 *   1. Tokens, lengths and errors do not depend on how the input was cut, except that a blob may come in parts.
 *   2. No byte outside the buffer given is read; nothing is scanned twice but the 22 bytes of an unfinished length, so
 *      any number of pieces costs linear time.
 *   3. Memory: an open aggregate costs 16 bytes up to depth_max of them, an argument 8 bytes when it has come, not when
 *      it is announced. Nothing is allocated for what a length promises.
 *   4. An error stays: further calls repeat it.
 *
 * Thread and process safety: one owner for each object. None may be moved in memory once initialised.
 */
#ifndef FC_RESP_H
#define FC_RESP_H

#include "fc/base.h"

typedef enum fc_resp_error {
    FC_RESP_OK = 0,
    FC_RESP_BAD_TYPE,       /* no type has this byte, or it may not stand here */
    FC_RESP_BAD_LINE_END,   /* LF without CR, CR without LF, no CR LF behind a blob */
    FC_RESP_LINE_TOO_LONG,
    FC_RESP_BAD_INTEGER,
    FC_RESP_BAD_LENGTH,
    FC_RESP_BLOB_TOO_LONG,
    FC_RESP_TOO_MANY,       /* elements of an aggregate */
    FC_RESP_TOO_DEEP,
    FC_RESP_BAD_DOUBLE,
    FC_RESP_BAD_BOOLEAN,
    FC_RESP_BAD_NULL,
    FC_RESP_BAD_BIG_NUMBER,
    FC_RESP_BAD_VERBATIM,
    FC_RESP_BAD_STREAM,     /* '.' where none may be, something else than ';' inside a streamed string */
    FC_RESP_BAD_ARGUMENT,   /* requests: something else than '$' where an argument begins */
    FC_RESP_BAD_ARGUMENT_COUNT,  /* or more than args_max; Redis does not distinguish either */
    FC_RESP_BAD_ARGUMENT_LENGTH, /* or more than bulk_max */
    FC_RESP_REQUEST_TOO_LONG,
    FC_RESP_INLINE_TOO_LONG,
    FC_RESP_BAD_INLINE,     /* unbalanced quotes, a NUL, or inline commands are off */
    FC_RESP_NO_MEMORY,
    FC_RESP_ERROR_COUNT
} fc_resp_error;

/* In words a client may be told ("invalid bulk length", as Redis says it, where Redis says something). */
const char *fc_resp_error_text(fc_resp_error error);

/* --- replies --------------------------------------------------------------------------------------------------------
 *
 * The type of a token is its byte on the wire. A string or aggregate of unknown length (streamed) has the type of its
 * known-length kind and `streamed` set. */
#define FC_RESP_SIMPLE '+'
#define FC_RESP_ERROR '-'
#define FC_RESP_INTEGER ':'
#define FC_RESP_BLOB '$'
#define FC_RESP_NULL '_'       /* also RESP2's "$-1" and "*-1" */
#define FC_RESP_DOUBLE ','
#define FC_RESP_BOOLEAN '#'
#define FC_RESP_BIG_NUMBER '('
#define FC_RESP_BLOB_ERROR '!'
#define FC_RESP_VERBATIM '='
#define FC_RESP_ARRAY '*'
#define FC_RESP_MAP '%'
#define FC_RESP_SET '~'
#define FC_RESP_PUSH '>'
#define FC_RESP_ATTRIBUTE '|'  /* pairs like a map's, about the value that follows; not itself an element of anything */
#define FC_RESP_PART ';'       /* of the string whose token was `streamed`; an empty part ends it */
#define FC_RESP_END '.'        /* of a streamed aggregate */

typedef struct fc_resp_token {
    uint8_t type;
    bool streamed;   /* strings: parts follow; aggregates: elements until FC_RESP_END */
    uint32_t closes; /* aggregates that end with this token, innermost first; an empty aggregate closes itself */
    union {
        int64_t integer; /* FC_RESP_INTEGER; FC_RESP_BOOLEAN: 0 or 1 */
        double real;     /* FC_RESP_DOUBLE */
        uint64_t count;  /* aggregates: elements announced, pairs for maps and attributes; strings: bytes; 0 unknown */
    };
    fc_slice text; /* strings: the bytes (verbatim: "txt:" included, when streamed that alone); numbers: as written */
} fc_resp_token;

typedef struct fc_resp_limits {
    uint64_t blob_max;     /* bytes of one string */
    uint64_t elements_max; /* of one aggregate, as announced: pairs for maps */
    uint32_t line_max;     /* bytes of a simple string, simple error, big number */
    uint32_t depth_max;    /* aggregates inside each other */
    uint64_t parts_min;    /* a longer string that is not complete in the buffer comes in parts; UINT64_MAX: never */
} fc_resp_limits;

/* blob_max and the depth are Redis' and hiredis' (proto-max-bulk-len; 1,024), elements fit 32 bits as in hiredis, a
 * line is what Redis takes for an inline command. Parts from 16 KB: below it a copy is cheaper than the tokens. */
#define FC_RESP_LIMITS                                                                                     \
    ((fc_resp_limits){.blob_max = 512ull << 20, .elements_max = UINT32_MAX, .line_max = 65536u, .depth_max = 1024u, \
                      .parts_min = 16384u})

typedef enum fc_resp_status {
    FC_RESP_FAILED = -1, /* see error and error_at */
    FC_RESP_MORE = 0,    /* the rest of the buffer is incomplete */
    FC_RESP_DONE = 1,    /* the last token completes a top-level value */
    FC_RESP_FULL = 2,    /* the array of tokens is full; call again */
} fc_resp_status;

typedef struct fc_resp_level {
    uint64_t left; /* elements to come; streamed: that may come, plus one */
    uint8_t type;
    bool streamed;
    bool half; /* streamed map: a key waits for its value */
} fc_resp_level;

#define FC_RESP_LEVELS_INLINE 8u /* deeper than any reply of Redis' own commands */

typedef struct fc_resp_parser {
    fc_resp_limits limits;
    fc_resp_level *levels;
    uint32_t depth, room;
    uint64_t offset;    /* bytes consumed since fc_resp_init */
    uint64_t blob_left; /* of the string or part in progress */
    uint64_t blob_room; /* what the streamed string in progress may still get */
    size_t seen;        /* bytes of the unfinished line at the front that were searched already */
    size_t need;        /* after FC_RESP_MORE: bytes from there on without which a further call is in vain */
    uint64_t error_at;  /* offset of the offending byte */
    uint8_t error;      /* fc_resp_error */
    uint8_t state;
    bool attributed;    /* an attribute waits for its value */
    fc_resp_level few[FC_RESP_LEVELS_INLINE];
} fc_resp_parser;

void fc_resp_init(fc_resp_parser *r, const fc_resp_limits *limits);
void fc_resp_free(fc_resp_parser *r);

/* Is a value begun and not complete? (Bytes that were not consumed yet do not count.) */
static inline bool fc_resp_inside(const fc_resp_parser *r) { return r->depth > 0 || r->state > 0 || r->attributed; }

/* Look at p[0..n), which begins with the first byte not consumed so far. Fills tokens[0..*count), *used bytes are
 * consumed; keep the others and show them again with what follows. Stops at the end of a top-level value.
 * REQUIRES: room >= 1. */
fc_resp_status fc_resp_read(fc_resp_parser *r, const char *p, size_t n, size_t *used, fc_resp_token *tokens,
                            size_t room, size_t *count);

/* --- requests -------------------------------------------------------------------------------------------------------
 *
 * "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", or an inline command: a line of words as a person types it, with Redis' quoting. A
 * pipeline is one request behind the other:
 *
 *     while ((used = fc_resp_request_parse(&request, p, n)) > 0) {
 *         handle(request.base, request.args, request.argc);
 *         p += used, n -= used;
 *     }
 *     keep p[0..n), read more behind it (at least request.need bytes in all), go on
 */
typedef struct fc_resp_request_limits {
    uint32_t args_max;   /* Redis: 1,048,576; 10 before a client has authenticated (CVE-2021-32675) */
    uint32_t bulk_max;   /* proto-max-bulk-len; 16,384 before authentication */
    uint32_t bytes_max;  /* of one request with its framing (Redis: client-query-buffer-limit) */
    uint32_t inline_max; /* bytes of an inline command with its line end; 0: they are errors */
} fc_resp_request_limits;

#define FC_RESP_REQUEST_LIMITS \
    ((fc_resp_request_limits){ \
        .args_max = 1u << 20, .bulk_max = 512u << 20, .bytes_max = 1u << 30, .inline_max = 65536u})

#define FC_RESP_ARGS_INLINE 8u   /* most commands */
#define FC_RESP_ARGS_KEPT 1024u  /* an array of arguments larger than this is given back before the next request */

typedef struct fc_resp_request {
    fc_resp_request_limits limits; /* may be changed between requests */
    const char *base;  /* after a complete request: what args count from. The p given, or own memory (quoted inline) */
    fc_span *args;
    uint32_t argc;     /* 0 for an empty line and for "*0": there is nothing to do and nothing to answer */
    uint32_t room;
    uint32_t left;     /* arguments to come */
    uint32_t bulk;     /* bytes of the argument whose length has been read */
    size_t at;         /* position reached in the request in progress */
    size_t need;       /* after 0: bytes of it without which a further call is in vain; a hint for the next read */
    size_t error_at;   /* from the first byte of the request */
    char *text;        /* an inline command without its quotes */
    uint8_t error;     /* fc_resp_error */
    uint8_t state;
    fc_span few[FC_RESP_ARGS_INLINE];
} fc_resp_request;

void fc_resp_request_init(fc_resp_request *request, const fc_resp_request_limits *limits);
void fc_resp_request_free(fc_resp_request *request);

/* Look at p[0..n), which begins with the first byte of a request and with all bytes of it shown before (the buffer may
 * have moved). Returns its length when it is complete, 0 when more is needed, -1 after an error. args stay valid until
 * the next call. */
int64_t fc_resp_request_parse(fc_resp_request *request, const char *p, size_t n);

/* Is part of a request read that is not complete? */
static inline bool fc_resp_request_inside(const fc_resp_request *request) { return request->state > 0; }

/* --- writing --------------------------------------------------------------------------------------------------------
 *
 * Appends to memory that grows up to a bound, or to a fixed space. What does not fit is left out whole and `failed` is
 * set, to be checked once after a whole reply. In protocol 2 the types of RESP3 become what Redis sends there: a map or
 * set or push is an array, a double, big number or verbatim string a blob, a boolean 0 or 1.
 */
typedef struct fc_resp_out {
    char *p;
    size_t n, room;
    size_t max;       /* growing: bytes it may take; fixed: 0 */
    uint8_t protocol; /* 2 or 3; may be changed at any time (HELLO) */
    bool failed;
} fc_resp_out;

fc_resp_out fc_resp_out_growing(size_t max, uint8_t protocol);
fc_resp_out fc_resp_out_fixed(char *space, size_t room, uint8_t protocol);
void fc_resp_out_free(fc_resp_out *out); /* of the growing kind */

/* Room for n more bytes at out->p + out->n, or false and `failed`. */
bool fc_resp_reserve(fc_resp_out *out, size_t n);

void fc_resp_put_raw(fc_resp_out *out, const char *p, size_t n);
/* Line feeds and carriage returns in simple strings and errors become blanks, as in Redis: they would end the line. */
void fc_resp_put_simple(fc_resp_out *out, const char *p, size_t n);
void fc_resp_put_error(fc_resp_out *out, const char *p, size_t n);
void fc_resp_put_blob_error(fc_resp_out *out, const char *p, size_t n); /* protocol 2: a simple error */
void fc_resp_put_integer(fc_resp_out *out, int64_t v);
void fc_resp_put_blob(fc_resp_out *out, const char *p, size_t n);
void fc_resp_put_null(fc_resp_out *out);       /* protocol 2: "$-1" */
void fc_resp_put_null_array(fc_resp_out *out); /* protocol 2: "*-1" */
void fc_resp_put_double(fc_resp_out *out, double v);
void fc_resp_put_boolean(fc_resp_out *out, bool v);
void fc_resp_put_big_number(fc_resp_out *out, const char *digits, size_t n);
void fc_resp_put_verbatim(fc_resp_out *out, const char format[3], const char *p, size_t n);
/* The head of an aggregate of `count` elements or pairs, which follow. FC_RESP_ATTRIBUTE only in protocol 3: in 2 there
 * is nothing it could become, so it sets `failed`. */
void fc_resp_put_aggregate(fc_resp_out *out, char type, uint64_t count);
/* Streamed, protocol 3 alone (in 2: `failed`): type is '$', '*', '%' or '~'. Parts of a string, never empty; then the
 * end. */
void fc_resp_put_stream(fc_resp_out *out, char type);
void fc_resp_put_part(fc_resp_out *out, const char *p, size_t n);
void fc_resp_put_end(fc_resp_out *out, char type);

/* One request, an array of blobs, in one go: size it, then write exactly that many bytes. */
typedef struct fc_resp_arg {
    const char *p;
    size_t n;
    char digits[24]; /* room for a number of the caller's, which p may point at */
} fc_resp_arg;

size_t fc_resp_command_size(const fc_resp_arg *args, size_t argc);
char *fc_resp_command_write(char *out, const fc_resp_arg *args, size_t argc); /* returns the end */

#define FC_RESP_INTEGER_MAX 20 /* characters of an int64_t */
size_t fc_resp_format_integer(char *out, int64_t v);
#define FC_RESP_DOUBLE_MAX 32 /* characters of a double as written here */
size_t fc_resp_format_double(char *out, double v); /* the shortest text that reads back the same */

#endif
