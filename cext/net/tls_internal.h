/* tls_internal.h - what tls.c, tls_ticket.c and tls_conn.c share. */
#ifndef FC_TLS_INTERNAL_H
#define FC_TLS_INTERNAL_H

#include <openssl/ssl.h>

#include "fc/tls.h"

#define SESSIONS 64u /* kept by clients to be resumed; a power of two */
#define NAME_MAX_TLS 255u

typedef struct tls_name {
    char *name;     /* lower case; of a wildcard what follows "*." */
    bool wildcard;
    SSL_CTX *ctx;
} tls_name;

typedef struct tls_ticket_key {
    uint64_t epoch; /* number of its time, plus one; 0: none */
    unsigned char name[16], cipher[32], mac[32];
} tls_ticket_key;

struct fc_tls {
    uint32_t refs;
    bool server;
    SSL_CTX *base;          /* the first certificate's; those of others are in `names` */
    SSL_CTX **more;
    uint32_t more_len;
    tls_name *names;
    uint32_t names_len;
    bool has_certificate;
    fc_tls_options options; /* without what it points at */
    unsigned char *alpn;
    char *ciphers, *authorities;
    size_t authorities_len;
    BIO_METHOD *socket;     /* reads and writes for SSL; its data is a tls_conn */
    bool has_tickets;
    unsigned char secret[FC_TLS_SECRET_BYTES];
    tls_ticket_key keys[2]; /* of this time and the one before */
    struct {
        uint64_t place;
        SSL_SESSION *session;
    } sessions[SESSIONS];   /* clients */
    fc_tls_stats stats;
};

typedef struct tls_conn {
    fc_transport base;
    fc_tls *tls;
    SSL *ssl;
    fc_conn *conn;
    uint64_t place;
    const char *trouble;
    unsigned char *certificate;
    int certificate_len;
    int error;    /* the first failure, for ever after; 0: none */
    bool drained; /* the socket had nothing more when it was last read */
    bool eof;     /* and is at its end */
    bool ended;   /* the peer said that nothing more comes */
    bool shaken;  /* the handshake has been counted */
} tls_conn;

/* tls_ticket.c */
bool tls_use_tickets(fc_tls *tls, SSL_CTX *ctx);

/* tls_conn.c */
BIO_METHOD *tls_socket_method(void);
int tls_conn_new(fc_tls *tls, fc_conn *c, const char *name, uint64_t place);

#endif
