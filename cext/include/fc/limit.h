/* fc/limit.h - what a route's limits are: rates (fc/limiter.h) and requests in flight (fc/inflight.h), each by a key.
 *
 * A limit counts by any combination of client address, user, route, host, header field, query parameter and cookie, or by
 * nothing, which makes it one for all. A request must be admitted by every limit of its route. One that is refused is
 * charged to none of them. Limits that need the user wait for authentication; the others come before it, so that guessing
 * passwords is limited too.
 *
 * Keys. Each part's value is hashed under the table's secret key, and so are the limit's scope and those words together:
 * a value may be as long as a request allows, and nobody can make two keys meet. A field, parameter or cookie that comes
 * several times counts as absent: which of the values the target reads is unknown, and whoever may add a random one would
 * have a fresh limit with every request. Requests without a value share one key, or leaving it out would be a way around.
 *
 * A dry-run limit is looked at after all others have admitted a request. It charges and counts, refuses nobody, and does
 * not appear in fields.
 *
 * Across machines a rate is decided by Redis, which hands out allowances (fc/allowance.h) of which the requests of this
 * machine are admitted; a request that finds none waits (fc/quota_line.h). `table` then holds what Redis was last known to
 * say: for the fields, for the policy LOCAL, and for a Redis that has forgotten. The quota's burst is the configured one
 * less what the rate brings in within the lease: units used at a lease's end and new ones then stay within the bound.
 *
 * Thread and process safety: limits are immutable and belong to one process; what they point at is shared.
 */
#ifndef FC_LIMIT_H
#define FC_LIMIT_H

#include "fc/addr.h"
#include "fc/allowance.h"
#include "fc/inflight.h"
#include "fc/limiter.h"
#include "fc/text.h"

#define FC_LIMITS_MAX 16u      /* of one route: state of all fits a small buffer; nobody has shown more than five */
#define FC_LIMIT_PARTS_MAX 8u  /* of one key */
#define FC_LIMIT_NAME_MAX 64u
#define FC_LIMIT_POLICY_MAX 192u
#define FC_LIMIT_INT_MAX 999999999999999ull /* RFC 9651 3.3.1 */

typedef enum fc_limit_by {
    FC_LIMIT_IP, /* the prefix of the client's address */
    FC_LIMIT_USER,
    FC_LIMIT_ROUTE,
    FC_LIMIT_HOST, /* lower case, without port */
    FC_LIMIT_HEADER,
    FC_LIMIT_QUERY, /* decoded */
    FC_LIMIT_COOKIE,
} fc_limit_by;

typedef struct fc_limit_part {
    fc_limit_by by;
    fc_slice name; /* HEADER, QUERY, COOKIE */
} fc_limit_part;

typedef enum fc_limit_cell { FC_LIMIT_ADMITTED, FC_LIMIT_REFUSED, FC_LIMIT_DRY, FC_LIMIT_CELLS } fc_limit_cell;

/* What becomes of requests while Redis cannot be asked. */
typedef enum fc_limit_gone { FC_LIMIT_GONE_LOCAL, FC_LIMIT_GONE_ADMIT, FC_LIMIT_GONE_REFUSE } fc_limit_gone;

typedef struct fc_limit {
    fc_slice name;   /* A-Z a-z 0-9 _ . - only: quoted as it is in fields and problems */
    fc_slice policy; /* its member of RateLimit-Policy */
    uint64_t scope;  /* of name, keys and quota: a changed limit starts anew */
    fc_limit_part parts[FC_LIMIT_PARTS_MAX];
    uint32_t parts_len;
    uint8_t ipv4_bits, ipv6_bits;
    bool needs_user, dry_run;
    bool tells;        /* admitted answers have its fields, too */
    bool full_refuses; /* when its table has no room */
    const fc_hash_key *key; /* the table's secret one */
    fc_limiter *table;      /* a rate; NULL: requests in flight */
    fc_gcra quota;
    uint64_t cost;
    fc_limiter *allowances;  /* of a rate that several machines share; NULL: `table` decides */
    fc_slice shared_name;    /* what it is called there: of name, keys and quota */
    uint64_t lease_ns;       /* how long an allowance lasts; 0: until it has been taken, and of single requests */
    fc_limit_gone when_gone;
    fc_inflight *places;
    uint32_t at_once;
    uint32_t cells[FC_LIMIT_CELLS]; /* of the metrics row */
} fc_limit;

typedef struct fc_route_limits {
    const fc_limit *const *limits;
    uint32_t len;
} fc_route_limits;

/* What a limit said to a request. */
typedef struct fc_limit_use {
    const fc_limit *limit;
    uint64_t print;
    fc_gcra_answer answer;
    int64_t place; /* held; -1: none */
    bool charged;
    bool allowance; /* from there, if charged */
    bool decided;   /* a dry run that needs no other look */
} fc_limit_use;

/* The address with all behind the limit's prefix cleared. */
void fc_limit_mask(const fc_limit *limit, fc_addr *client);
/* %XX and '+' of a query value, into `room` bytes. False: it does not fit. */
bool fc_limit_decode(fc_slice value, char *out, size_t room, size_t *len);
/* The key of the values whose hashes these are, one for each part. Never 0. */
uint64_t fc_limit_print(const fc_limit *limit, const uint64_t *hashes);

/* RateLimit-Policy and RateLimit lines with CRLF (draft-ietf-httpapi-ratelimit-headers-11) for those uses that are not
 * dry runs and, without `all`, whose limit tells; nothing when there are none. The values are those of
 * fastcore.limiter_http, whose texts say what the numbers mean. */
void fc_limit_put_fields(fc_text *out, const fc_limit_use *uses, uint32_t n, bool all);
/* Bytes that fc_limit_put_fields may need. */
size_t fc_limit_fields_room(uint32_t n);
/* Seconds until a request like this one may be admitted, at least 1. */
uint64_t fc_limit_retry_after(const fc_limit_use *uses, uint32_t n);

#endif
