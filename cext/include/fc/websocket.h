/* fc/websocket.h - WebSocket frames (RFC 6455 section 5), without sockets and without allocation.
 *
 * The parser is some 250 bytes of state for one direction of one connection. It is shown the bytes as they come and
 * answers with what is in them: pieces of messages, which stay where they are, and whole control frames, which it
 * keeps itself (at most 125 bytes). All bytes it is shown are used, so nothing has to be kept between reads: a frame
 * cut anywhere, in its head too, goes on with the next bytes.
 *
 *     while ((answer = fc_ws_next(&w, p, n, &used, &ev)) > 0) {
 *         if (answer == FC_WS_DATA && !fc_ws_take(&w, &ev, where))   // unmask ev.n bytes to `where`, check text
 *             break;                                                 // w.error says why
 *         ... p += used, n -= used
 *     }
 *
 * Taking is a step of its own because only the caller knows where the payload shall go: `where` may be (char *)ev.p
 * (the caller's own buffer, in place, no copy) or the object that is to hold it (one pass instead of copy and unmask).
 * Every piece must be taken before the next call, or text is not checked.
 *
 * A message is one piece when its single frame lies whole in the buffer. Otherwise it is several, each as large as what
 * has arrived, so memory is bounded by the caller's buffer whatever the length of frames. fc/ws_reader.h gathers
 * pieces into messages and expands compressed ones; who streams does not need it.
 *
 * Rules that are enforced, in the order of the bytes: reserved bits (RSV1 is for the first frame of a message, and only
 * with permessage-deflate), opcodes, masking by role, control frames (not fragmented, at most 125 bytes), lengths
 * (minimal, below 2^63, bounds of the caller), order of fragments, UTF-8 of text (at the first byte that cannot be,
 * across frames) and of close reasons, close codes, a close payload of one byte. What follows a Close frame is dropped
 * (RFC 6455 1.4).
 *
 * Invariants
 *   1. Answers, pieces joined, the error and its place do not depend on how the bytes were cut.
 *   2. An error stays: further calls repeat it and use nothing.
 *   3. No byte outside p[0..n) is read; nothing is written except by fc_ws_take.
 *
 * Thread safety: one owner.
 */
#ifndef FC_WEBSOCKET_H
#define FC_WEBSOCKET_H

#include "fc/base.h"
#include "fc/mask.h"
#include "fc/utf8.h"

typedef enum fc_ws_opcode {
    FC_WS_CONTINUATION = 0x0,
    FC_WS_TEXT = 0x1,
    FC_WS_BINARY = 0x2,
    FC_WS_CLOSE = 0x8,
    FC_WS_PING = 0x9,
    FC_WS_PONG = 0xa,
} fc_ws_opcode;

#define FC_WS_FIN 0x80u
#define FC_WS_RSV1 0x40u
#define FC_WS_HEAD_MAX 14u
#define FC_WS_CONTROL_MAX 125u /* payload of a control frame */
#define FC_WS_REASON_MAX 123u  /* of which a close code takes two */
#define FC_WS_NO_CODE 1005u    /* a Close frame without payload (RFC 6455 7.1.5); never on the wire */

typedef enum fc_ws_error {
    FC_WS_OK = 0,
    FC_WS_BAD_RSV,             /* a reserved bit without an extension that gives it a meaning */
    FC_WS_BAD_OPCODE,          /* 3-7, 11-15 */
    FC_WS_CONTROL_FRAGMENTED,
    FC_WS_CONTROL_TOO_LONG,
    FC_WS_NOT_MASKED,          /* a client must */
    FC_WS_MASKED,              /* a server must not */
    FC_WS_BAD_LENGTH,          /* not the shortest form, or 2^63 and more */
    FC_WS_NO_START,            /* a continuation of nothing */
    FC_WS_NO_END,              /* a new message inside another */
    FC_WS_BAD_CLOSE_LENGTH,    /* one byte */
    FC_WS_BAD_CLOSE_CODE,      /* RFC 6455 7.4 and the IANA registry */
    FC_WS_BAD_REASON,          /* not UTF-8 */
    FC_WS_BAD_TEXT,            /* not UTF-8 */
    FC_WS_BAD_DEFLATE,         /* by fc/ws_reader.h: not a DEFLATE stream */
    FC_WS_FRAME_TOO_BIG,
    FC_WS_MESSAGE_TOO_BIG,
    FC_WS_NO_MEMORY,           /* ours, not the peer's */
    FC_WS_ERROR_COUNT
} fc_ws_error;

/* A short name (bad_rsv ...), a sentence, and the close code to send: 1002, 1007, 1009 or 1011. */
const char *fc_ws_error_name(fc_ws_error error);
const char *fc_ws_error_text(fc_ws_error error);
uint16_t fc_ws_error_code(fc_ws_error error);

typedef enum fc_ws_masking {
    FC_WS_MASK_REQUIRED,  /* at a server */
    FC_WS_MASK_FORBIDDEN, /* at a client */
    FC_WS_MASK_EITHER,    /* for looking at recorded traffic */
} fc_ws_masking;

typedef struct fc_ws_options {
    fc_ws_masking masking;
    bool deflate;         /* permessage-deflate was negotiated */
    uint64_t frame_max;   /* payload bytes of a frame, as sent */
    uint64_t message_max; /* payload bytes of a message; a compressed one is bounded where it is expanded */
} fc_ws_options;

typedef struct fc_ws_parser {
    uint64_t frame_max, message_max;
    uint64_t at;            /* bytes used since the beginning of the stream */
    uint64_t frame_at;      /* where the current frame began */
    uint64_t left;          /* payload bytes of the frame not seen yet */
    uint64_t message_bytes; /* payload bytes of the message, announced so far */
    uint64_t error_at;      /* place of the offending byte in the stream; for compressed data, of its frame */
    uint32_t key;           /* turned to the next payload byte */
    uint8_t masking, level;
    uint8_t state, error;
    uint8_t opcode;         /* of the frame */
    uint8_t message;        /* opcode of the open message, or 0 */
    bool deflate, fin, fresh, compressed;
    fc_utf8 utf8;           /* of text; 0 between messages, for one that ends otherwise is an error */
    uint8_t head_len, control_len;
    uint8_t head[FC_WS_HEAD_MAX];
    char control[FC_WS_CONTROL_MAX];
} fc_ws_parser;

typedef enum fc_ws_answer {
    FC_WS_ERROR = -1,
    FC_WS_MORE = 0,    /* all n bytes are used */
    FC_WS_DATA = 1,    /* a piece of a message, to be taken; n may be 0 */
    FC_WS_CONTROL = 2, /* a whole control frame; its payload is valid until the next call */
} fc_ws_answer;

typedef struct fc_ws_event {
    const char *p; /* DATA: in the caller's bytes, as sent. CONTROL: in the parser, unmasked; behind a close code */
    size_t n;
    uint64_t at;     /* place of p[0] in the stream */
    uint64_t frame_at;
    uint32_t key;    /* DATA: mask for p[0..n), 0 without */
    uint16_t code;   /* Close: its code, or FC_WS_NO_CODE */
    uint8_t opcode;  /* DATA: TEXT or BINARY, in continuations as well */
    bool first;      /* begins a message */
    bool last;       /* ends it */
    bool frame_last; /* ends a frame */
    bool compressed; /* RSV1: take does not look at text, only its expansion is text */
} fc_ws_event;

void fc_ws_parser_init(fc_ws_parser *w, const fc_ws_options *options);

/* Look at p[0..n); *used is how many bytes were consumed. */
fc_ws_answer fc_ws_next(fc_ws_parser *w, const char *p, size_t n, size_t *used, fc_ws_event *ev);

/* Unmask the piece to dst (may be ev->p) and check it if it is text. False: the parser has failed. */
bool fc_ws_take(fc_ws_parser *w, const fc_ws_event *ev, char *dst);

/* Record an error found in what the parser delivered (expansion, memory); returns FC_WS_ERROR. */
fc_ws_answer fc_ws_fail(fc_ws_parser *w, fc_ws_error error, uint64_t at);

/* A Close frame has come: nothing more will. */
bool fc_ws_closed(const fc_ws_parser *w);
/* Has the stream ended between frames and outside a message? */
bool fc_ws_between(const fc_ws_parser *w);

/* --- building --------------------------------------------------------------------------------------------------- */

/* May this code stand in a Close frame? 1000-1003, 1007-1014, 3000-4999. */
bool fc_ws_code_valid(unsigned code);

static inline size_t fc_ws_head_size(uint64_t n, bool masked)
{
    return (n < 126 ? 2u : n < 65536 ? 4u : 10u) + (masked ? 4u : 0u);
}

/* Write a frame's head, of fc_ws_head_size bytes, to out; returns its size. byte0: opcode with FC_WS_FIN and
 * FC_WS_RSV1. mask: the key as it lies in memory, NULL for none. */
size_t fc_ws_head_write(char *out, uint8_t byte0, uint64_t n, const uint32_t *mask);

/* Head and payload, masked with *mask unless NULL; returns the size. out has room for both and does not overlap p. */
size_t fc_ws_frame_write(char *out, uint8_t byte0, const char *p, size_t n, const uint32_t *mask, fc_mask_level level);

/* Keys that nobody can predict (RFC 6455 5.3 and 10.3), from getrandom(2), 256 at a time: a call for each frame would
 * cost more than the frame. A copy that a fork made must be emptied (left = 0), or two processes send the same keys. */
typedef struct fc_ws_keys {
    uint32_t left;
    uint32_t keys[256];
} fc_ws_keys;

/* 0, or -errno: the kernel has no randomness to give. */
int fc_ws_key_next(fc_ws_keys *keys, uint32_t *key);

#endif
