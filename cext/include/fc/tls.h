/* fc/tls.h - TLS 1.2 and 1.3 by OpenSSL, as a transport under fc_conn.
 *
 * An fc_tls is what one side of connections has in common: certificates, whom to trust, versions. It is never changed once
 * connections use it; new certificates are a new fc_tls in the same slot, and connections that stand keep theirs.
 *
 *     slot.tls = fc_tls_new(&options, why)              a listener or an upstream holds &slot.securer
 *     fc_tls_add_certificate(slot.tls, ...)             servers: the first is the default, others by their names (SNI)
 *     fc_tls_slot_set(&slot, another)                   from now on
 *
 * Invariants
 *  1. The end of a stream counts only when the peer vouched for it (close_notify): a cut connection is an error of
 *     fc_conn_recv, never an end. We vouch only for what was sent to its end.
 *  2. What reads for the peer's alerts, tickets and key updates is not told to the owner: an idle connection becomes
 *     readable when there are bytes for its owner, or an end.
 *  3. A peer that must prove its name and does not gets no byte of ours but the handshake's.
 *  4. Neither side renegotiates, and nothing is compressed.
 * Belongs to its loop; OpenSSL itself may be used from several threads with different fc_tls.
 */
#ifndef FC_TLS_H
#define FC_TLS_H

#include "fc/conn.h"

#define FC_TLS_WHY_MAX 256u
#define FC_TLS_SECRET_BYTES 32u

typedef struct fc_tls fc_tls;

typedef enum fc_tls_verify { FC_TLS_VERIFY_NONE, FC_TLS_VERIFY_OPTIONAL, FC_TLS_VERIFY_REQUIRED } fc_tls_verify;

typedef struct fc_tls_options {
    bool server;
    bool tls13_only;            /* otherwise 1.2, too */
    const char *ciphers;        /* of TLS 1.2, OpenSSL's names; NULL: forward secrecy with AEAD only */
    const char *alpn;           /* protocols to speak, each behind a byte with its length; NULL: none is negotiated */
    uint32_t alpn_len;
    fc_tls_verify verify;       /* of clients; servers are verified unless NONE */
    const char *authorities;    /* PEM: who may have signed the peer's certificate; NULL: those the system trusts */
    size_t authorities_len;
    uint32_t depth;             /* certificates between the peer's and a trusted one; 0: 8 */
    /* Servers: sessions are resumed by tickets under keys derived from this and the time, so that workers who share it take
     * each other's. NULL: no tickets. */
    const unsigned char *ticket_secret; /* FC_TLS_SECRET_BYTES */
    uint32_t ticket_hours;      /* a key makes tickets for so long, and takes them twice so long; 0: 12 */
} fc_tls_options;

typedef struct fc_tls_stats {
    uint64_t handshakes, resumed, failed;
} fc_tls_stats;

/* NULL, and *why says why. */
fc_tls *fc_tls_new(const fc_tls_options *options, char why[FC_TLS_WHY_MAX]);
/* A certificate with its chain, and its key, in PEM. Servers: every name it is for leads to it; the first one added stands
 * for all others. Clients: what they show. 0 or -EINVAL, and *why says why. */
int fc_tls_add_certificate(fc_tls *tls, const char *chain, size_t chain_len, const char *key, size_t key_len,
                           char why[FC_TLS_WHY_MAX]);
/* When the first certificate of the text ends, in seconds since 1970; -1: it cannot be read. */
int64_t fc_tls_certificate_end(const char *pem, size_t n);
fc_tls *fc_tls_ref(fc_tls *tls);
void fc_tls_unref(fc_tls *tls);

/* Where the fc_tls in force is found. */
typedef struct fc_tls_slot {
    fc_securer securer;
    fc_tls *tls;
    const char *name; /* clients: the name every peer must prove, instead of its own; NULL: its own */
    fc_tls_stats past; /* of those that were here before */
} fc_tls_slot;

void fc_tls_slot_init(fc_tls_slot *slot);
/* Takes the caller's reference; NULL: nobody is accepted. */
void fc_tls_slot_set(fc_tls_slot *slot, fc_tls *tls);
/* Of all that were in the slot. */
fc_tls_stats fc_tls_slot_stats(const fc_tls_slot *slot);

#endif
