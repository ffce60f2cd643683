/* fc/auth.h - who asks: credentials found in a request's head, verdicts all workers remember, requests that wait for one.
 *
 * A credential (a bearer token, an API key) is judged once, outside: whoever does the cryptography takes it from the line
 * with fc_auth_take and brings a verdict with fc_auth_settle. Verdicts lie in two tables of the shared region
 * (fc/cache.h): `verified` and `refused`. Two, because strangers can fill the second and must not push out the first.
 *
 *     key      16 bytes fc_hash128 of the credential, 16 bytes fingerprint of the provider
 *     verdict  fc_auth_verdict, then the subject, then header lines for the upstream
 *
 * Why the hash is enough. fc_hash128 is a keyed pseudo-random function (SipHash-2-4 with 128 bits of output); its key is
 * random, made with the region, and never leaves it, and neither do its values. A stranger who wants his token to be taken
 * for a remembered one has to hit one of N stored values without seeing any: N / 2^128 for each try, some 2^-108 with a
 * million tokens. SHA-256 would need no secret, but costs ten times as much on a token of 1 KB where the processor has no
 * instructions for it. The fingerprint is of all settings a verdict depends on, so that a reload which changes a key, an
 * audience or the numbering of scopes finds nothing old.
 *
 * Invariants
 *  1. A remembered credential costs two hashes and one read without locks: no allocation but one buffer, no interpreter.
 *  2. At most `pending_max` different credentials wait for a verdict; equal ones share one verdict.
 *  3. Every waiter hears exactly one verdict, or leaves with fc_auth_leave.
 *  4. A verdict counts no longer than its own expiry by the wall clock, whatever the table's clock says: CLOCK_MONOTONIC
 *     stands still while a machine sleeps.
 * Belongs to its loop, but for the tables.
 */
#ifndef FC_AUTH_H
#define FC_AUTH_H

#include <stdbool.h>

#include "fc/cache.h"
#include "fc/http1.h"
#include "fc/loop.h"

#define FC_AUTH_KEY_BYTES 32
#define FC_AUTH_CREDENTIAL_MAX 16384u /* longer than any head of default size has room for */
#define FC_AUTH_VERDICT_MAX 3072u     /* with subject and header lines; fits a small buffer */

/* --- credentials in a head ---------------------------------------------------------------------------------------- */

typedef enum fc_auth_source {
    FC_AUTH_BEARER, /* Authorization: Bearer, RFC 6750 2.1 */
    FC_AUTH_HEADER, /* the value of a field of its own */
    FC_AUTH_QUERY,  /* a query parameter; its name and value as written, without %XX */
    FC_AUTH_CERTIFICATE, /* the client's, which TLS has verified; in no head */
} fc_auth_source;

typedef enum fc_auth_found {
    FC_AUTH_ABSENT,
    FC_AUTH_FOUND,
    FC_AUTH_AMBIGUOUS, /* there twice, empty, or with characters none has: RFC 6750 3.1 invalid_request */
} fc_auth_found;

/* How one credential may be presented, and who judges it. */
typedef struct fc_auth_provider {
    uint32_t id; /* the judge's number for it */
    unsigned char fingerprint[16];
    fc_auth_source source;
    fc_slice name; /* HEADER, QUERY */
    bool forward;  /* the credential goes on to the upstream */
} fc_auth_provider;

/* Only in what the head holds: a credential in a body or a trailer is none. */
fc_auth_found fc_auth_find(const fc_auth_provider *provider, const fc_http1_head *head, const char *base,
                           fc_slice *credential);
/* Field names that CGI and WSGI cannot tell apart: any letter case, '_' for '-'. */
bool fc_auth_same_field(fc_slice a, fc_slice b);
/* Length of the parameter at the start of a query, without its '&'; *value is what follows its '='. */
size_t fc_auth_parameter(fc_slice query, fc_slice *name, fc_slice *value);

/* --- verdicts ------------------------------------------------------------------------------------------------------ */

typedef enum fc_auth_reason {
    FC_AUTH_OK = 0,
    FC_AUTH_MISSING,     /* no credential at all */
    FC_AUTH_MALFORMED,   /* no JWS by RFC 7515 */
    FC_AUTH_ALGORITHM,   /* not the one of the key */
    FC_AUTH_UNKNOWN_KEY,
    FC_AUTH_SIGNATURE,
    FC_AUTH_CRITICAL,    /* an extension we must understand and do not */
    FC_AUTH_ISSUER,
    FC_AUTH_AUDIENCE,
    FC_AUTH_EXPIRED,
    FC_AUTH_EARLY,       /* nbf, or iat in the future */
    FC_AUTH_CLAIM,       /* a required claim is missing or different */
    FC_AUTH_UNKNOWN,     /* no such API key */
    FC_AUTH_INACTIVE,    /* says the authorization server (RFC 7662) */
    FC_AUTH_REVOKED,
    FC_AUTH_SCOPE,       /* known, but not allowed this */
    FC_AUTH_UNAVAILABLE, /* the provider's keys cannot be had */
    FC_AUTH_BUSY,        /* too many wait for a verdict */
    FC_AUTH_REASON_COUNT
} fc_auth_reason;

typedef struct fc_auth_verdict {
    uint64_t expires_s; /* wall clock, seconds since 1970 */
    uint64_t scopes;    /* bit by the number of each scope that routes ask for */
    uint16_t subject_len, fields_len;
    uint8_t reason;     /* fc_auth_reason; others than OK have neither subject nor fields */
    uint8_t zero[3];
} fc_auth_verdict;

/* --- waiting ------------------------------------------------------------------------------------------------------- */

typedef struct fc_auth fc_auth;
typedef struct fc_auth_pending fc_auth_pending;
typedef struct fc_auth_wait fc_auth_wait;

/* Somebody who waits; embedded in him. */
struct fc_auth_wait {
    fc_auth_pending *pending; /* NULL: does not wait */
    fc_auth_wait *next, **link;
    /* `verdict` is followed by its subject and fields, good during the call. */
    void (*settled)(fc_auth_wait *wait, const fc_auth_verdict *verdict);
};

typedef enum fc_auth_cell {
    FC_AUTH_CELL_KNOWN,     /* requests whose credential was remembered as good */
    FC_AUTH_CELL_PARKED,    /* requests that waited for a verdict */
    FC_AUTH_CELL_ANONYMOUS, /* requests without a credential where none is required */
    FC_AUTH_CELL_REFUSED,   /* and one for each further reason */
    FC_AUTH_CELL_COUNT = FC_AUTH_CELL_REFUSED + FC_AUTH_REASON_COUNT
} fc_auth_cell;

struct fc_auth {
    fc_loop *loop;
    const fc_cache *verified, *refused;
    fc_hash_key key;
    uint32_t pending_max, pending_len, mask;
    fc_auth_pending **buckets;
    fc_auth_pending *line, **line_end;       /* not taken yet */
    fc_auth_pending *settled, **settled_end; /* their waiters hear it in the loop's next round */
    bool posted;
    fc_job job;
    void (*wake)(fc_auth *auth); /* the line was empty and is not any more */
    uint32_t cell[FC_AUTH_CELL_COUNT]; /* of the proxy's metrics row */
};

/* 0 or -ENOMEM. `secret` is the same in all workers, and secret. */
int fc_auth_init(fc_auth *auth, fc_loop *loop, const fc_cache *verified, const fc_cache *refused,
                 const fc_hash_key *secret, uint32_t pending_max);
/* REQUIRES: nobody waits, and the loop has run since the last settle. */
void fc_auth_close(fc_auth *auth);

void fc_auth_key(const fc_auth *auth, const fc_auth_provider *provider, fc_slice credential,
                 unsigned char key[FC_AUTH_KEY_BYTES]);
/* What is remembered, into `room` of FC_AUTH_VERDICT_MAX bytes; false when nothing is. */
bool fc_auth_known(const fc_auth *auth, const unsigned char key[FC_AUTH_KEY_BYTES], void *room);
/* Wait for a verdict. 0; -EBUSY when pending_max wait for others, -ENOMEM. */
int fc_auth_park(fc_auth *auth, fc_auth_wait *wait, const fc_auth_provider *provider,
                 const unsigned char key[FC_AUTH_KEY_BYTES], fc_slice credential);
/* No-op for who does not wait. */
void fc_auth_leave(fc_auth_wait *wait);

/* The next credential of the line that somebody still waits for. False when there is none. *key points into memory that
 * stays until it is settled. */
bool fc_auth_take(fc_auth *auth, uint32_t *provider, const unsigned char **key, fc_slice *credential);
/* The verdict for a key that was taken; its waiters hear it in the loop's next round. False: nobody took it, or the
 * verdict is no verdict. */
bool fc_auth_settle(fc_auth *auth, const unsigned char key[FC_AUTH_KEY_BYTES], const void *verdict, size_t n);

#endif
