/* fc/edit.h - what a route changes in heads: fields and query parameters set, added, removed or renamed, with values put
 * together from the request; CORS; and answers that no upstream gives.
 *
 * Everything here is made once from the settings, never changed, and lives as long as its route table. A route without it
 * pays one test of a NULL pointer for each kind.
 *
 * Values cannot make lines: literals were checked when they were made, and what comes from a message comes from parsed
 * heads, which hold neither CR, LF nor NUL.
 */
#ifndef FC_EDIT_H
#define FC_EDIT_H

#include "fc/base.h"

/* --- values ------------------------------------------------------------------------------------------------------- */

typedef enum fc_value_kind {
    FC_VALUE_LITERAL,
    FC_VALUE_PARAM,      /* of the route's template or regex; not in answers */
    FC_VALUE_CLIENT_IP,
    FC_VALUE_REQUEST_ID,
    FC_VALUE_SCHEME,
    FC_VALUE_HOST,       /* as asked for, with its port */
    FC_VALUE_METHOD,
    FC_VALUE_PATH,       /* as the client wrote it */
    FC_VALUE_QUERY,      /* all of it, without '?' */
    FC_VALUE_QUERY_TAIL, /* '?' and all of it; nothing without one */
    FC_VALUE_PARAMETER,  /* of the query, as written */
    FC_VALUE_FIELD,      /* of the request */
    FC_VALUE_COOKIE,
    FC_VALUE_USER,       /* the subject of the credential */
    FC_VALUE_CLAIM,      /* by the field that tells the upstream about it */
    FC_VALUE_ENDPOINT,   /* address of the target; in answers */
    FC_VALUE_STATUS,     /* in answers */
} fc_value_kind;

typedef struct fc_value_part {
    fc_value_kind kind;
    fc_slice text; /* the literal, or a name */
} fc_value_part;

typedef struct fc_value {
    const fc_value_part *parts;
    uint32_t parts_len;
} fc_value;

/* --- edits -------------------------------------------------------------------------------------------------------- */

#define FC_EDITS_MAX 64u

typedef enum fc_edit_kind {
    FC_EDIT_REMOVE,
    FC_EDIT_RENAME,  /* to `value`'s literal */
    FC_EDIT_SET,     /* instead of all that are there; nothing when the value comes out empty */
    FC_EDIT_ADD,     /* beside those that are there */
    FC_EDIT_DEFAULT, /* only when none is there */
} fc_edit_kind;

typedef struct fc_edit {
    fc_edit_kind kind;
    fc_slice name;
    fc_value value;
    bool secure_only; /* over TLS only: Strict-Transport-Security */
} fc_edit;

/* Of fields, or of query parameters. Removing and renaming see what came; setting, adding and defaults come after. */
typedef struct fc_edits {
    const fc_edit *edits;
    uint32_t len;     /* at most FC_EDITS_MAX */
    uint32_t room;    /* bytes that names and literals take at the most */
    uint32_t dynamic; /* parts whose length the request decides */
    bool exact;       /* names have a letter case: parameters have, fields have not */
} fc_edits;

/* --- CORS (the Fetch standard, 3.2) ------------------------------------------------------------------------------- */

typedef struct fc_origin {
    fc_slice text;  /* "https://example.com"; of a pattern what comes before its '*' */
    fc_slice after; /* of a pattern: ".example.com" and what else follows; the '*' is one or more labels */
    bool pattern;
} fc_origin;

typedef struct fc_cors {
    const fc_origin *origins;
    uint32_t origins_len;
    bool any;          /* every origin; without credentials the answer says "*" */
    bool credentials;
    fc_slice methods;  /* "GET, POST"; empty: the one asked for */
    fc_slice headers;  /* "Content-Type, X-A"; empty: those asked for */
    fc_slice expose;   /* empty: none beyond the standard's own */
    uint32_t max_age_s;
} fc_cors;

/* Is this origin, as a browser sends it, one of these? Byte for byte: browsers send them in one form. */
bool fc_cors_allows(const fc_cors *cors, fc_slice origin);

/* --- answers of ours ---------------------------------------------------------------------------------------------- */

#define FC_FIXED_BODY_MAX (256u * 1024u)

typedef struct fc_fixed {
    uint16_t status;
    fc_slice type;     /* Content-Type; empty: none */
    fc_slice body;
    fc_value location; /* of a redirect; no parts: none */
} fc_fixed;

#endif
