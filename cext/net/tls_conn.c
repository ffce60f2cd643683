/* One connection's TLS: SSL over a BIO that knows the connection, so that edges of epoll are not lost in it. */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "fc/hash.h"
#include "tls_internal.h"

/* What one record holds; TLS has none longer (RFC 8446 5.1). */
#define RECORD 16384u

static tls_conn *of(const fc_conn *c) { return (tls_conn *)c->transport; }

/* --- the socket -------------------------------------------------------------------------------------------------- */

static int socket_read(BIO *bio, char *p, int n)
{
    tls_conn *t = BIO_get_data(bio);
    ssize_t got;
    BIO_clear_retry_flags(bio);
    while ((got = recv(t->conn->io.fd, p, (size_t)n, 0)) < 0 && errno == EINTR)
        ;
    /* As fc_conn_recv: less than there was room for, and the next byte makes a new edge. */
    t->drained = got < 0 || (got < n && !t->conn->peer_closed);
    t->eof = got == 0;
    if (got < 0 && errno == EAGAIN)
        BIO_set_retry_read(bio);
    return (int)got;
}

static int socket_write(BIO *bio, const char *p, int n)
{
    tls_conn *t = BIO_get_data(bio);
    ssize_t sent;
    BIO_clear_retry_flags(bio);
    while ((sent = send(t->conn->io.fd, p, (size_t)n, MSG_NOSIGNAL)) < 0 && errno == EINTR)
        ;
    if (sent < n)
        t->conn->writable = false;
    if (sent < 0 && errno == EAGAIN)
        BIO_set_retry_write(bio);
    return (int)sent;
}

static long socket_ctrl(BIO *bio, int cmd, long number, void *p)
{
    (void)number, (void)p;
    tls_conn *t = BIO_get_data(bio);
    return cmd == BIO_CTRL_FLUSH ? 1 : cmd == BIO_CTRL_EOF && t ? t->eof : 0;
}

BIO_METHOD *tls_socket_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "fastcore socket");
    if (method)
        BIO_meth_set_read(method, socket_read), BIO_meth_set_write(method, socket_write),
            BIO_meth_set_ctrl(method, socket_ctrl);
    return method;
}

/* --- what came of a call ------------------------------------------------------------------------------------------ */

static void note_handshake(tls_conn *t)
{
    if (t->shaken || !SSL_is_init_finished(t->ssl))
        return;
    t->shaken = true;
    t->tls->stats.handshakes++;
    t->tls->stats.resumed += SSL_session_reused(t->ssl) == 1;
}

/* Somebody speaks HTTP to this port: say so in a language he understands. */
static void answer_plain(const tls_conn *t)
{
    static const char answer[] = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 32\r\n"
                                 "Connection: close\r\n\r\nthis port speaks HTTPS, not HTTP";
    _Static_assert(sizeof "this port speaks HTTPS, not HTTP" - 1 == 32, "as Content-Length says");
    (void)!send(t->conn->io.fd, answer, sizeof answer - 1, MSG_NOSIGNAL);
}

static int give_up(tls_conn *t)
{
    unsigned long code = ERR_peek_error();
    long verified = SSL_get_verify_result(t->ssl);
    if (t->error)
        return t->error;
    if (!t->shaken) {
        t->tls->stats.failed++;
        if (t->tls->server && ERR_GET_REASON(code) == SSL_R_HTTP_REQUEST)
            answer_plain(t);
    }
    t->trouble = ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED && verified != X509_V_OK
                     ? X509_verify_cert_error_string(verified)
                 : code && ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_reason_error_string(code)
                                                            : NULL;
    ERR_clear_error();
    return t->error = t->eof || !code ? -ECONNRESET : -EPROTO;
}

/* After a call that did not succeed: 0 the peer has ended, -EAGAIN, or a failure that stays. */
static int outcome(tls_conn *t)
{
    switch (SSL_get_error(t->ssl, 0)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        t->ended = true;
        t->conn->peer_closed = true;
        return 0;
    default:
        return give_up(t);
    }
}

/* --- fc_transport_ops --------------------------------------------------------------------------------------------- */

static int tls_connect(fc_conn *c)
{
    tls_conn *t = of(c);
    ERR_clear_error();
    int rc = t->error ? t->error : SSL_do_handshake(t->ssl) == 1 ? 0 : outcome(t);
    if (rc == 0 && t->ended)
        rc = give_up(t);
    note_handshake(t);
    return rc;
}

static bool tls_pull(fc_conn *c)
{
    tls_conn *t = of(c);
    char one;
    size_t got;
    if (t->error || t->ended)
        return true;
    ERR_clear_error();
    bool there = SSL_peek_ex(t->ssl, &one, 1, &got) == 1 || outcome(t) != -EAGAIN;
    note_handshake(t);
    return there;
}

static ssize_t tls_recv(fc_conn *c, void *p, size_t n)
{
    tls_conn *t = of(c);
    size_t got;
    if (t->error || t->ended)
        return t->error;
    ERR_clear_error();
    if (SSL_read_ex(t->ssl, p, n, &got) == 1) {
        c->readable = !t->drained || SSL_has_pending(t->ssl);
        note_handshake(t);
        return (ssize_t)got;
    }
    int rc = outcome(t);
    c->readable = rc != -EAGAIN;
    note_handshake(t);
    return rc;
}

static int tls_send(fc_conn *c)
{
    tls_conn *t = of(c);
    char room[RECORD];
    const char *p;
    ssize_t n;
    size_t sent;
    while ((n = fc_outq_peek(&c->out, room, sizeof room, &p)) > 0) {
        if (t->error)
            return t->error;
        ERR_clear_error();
        if (SSL_write_ex(t->ssl, p, (size_t)n, &sent) != 1) {
            int rc = outcome(t);
            return rc ? rc : -EPIPE;
        }
        fc_outq_consume(&c->out, sent);
    }
    return (int)n;
}

static int tls_finish(fc_conn *c)
{
    tls_conn *t = of(c);
    if (t->error || !SSL_is_init_finished(t->ssl))
        return 0;
    ERR_clear_error();
    bool waits = SSL_shutdown(t->ssl) < 0 && SSL_get_error(t->ssl, -1) == SSL_ERROR_WANT_WRITE;
    ERR_clear_error();
    return waits ? -EAGAIN : 0;
}

static void tls_free(fc_conn *c)
{
    tls_conn *t = of(c);
    SSL_free(t->ssl);
    OPENSSL_free(t->certificate);
    fc_tls_unref(t->tls);
    free(t);
}

static const char *tls_trouble(const fc_conn *c) { return of(c)->trouble; }

static fc_slice tls_certificate(fc_conn *c)
{
    tls_conn *t = of(c);
    if (!t->certificate && t->shaken && SSL_get_verify_result(t->ssl) == X509_V_OK) {
        X509 *cert = SSL_get0_peer_certificate(t->ssl);
        int n = cert ? i2d_X509(cert, &t->certificate) : 0;
        t->certificate_len = n > 0 ? n : 0;
    }
    return (fc_slice){(const char *)t->certificate, (size_t)t->certificate_len};
}

static fc_slice tls_protocol(fc_conn *c)
{
    const unsigned char *name = NULL;
    unsigned n = 0;
    SSL_get0_alpn_selected(of(c)->ssl, &name, &n);
    return (fc_slice){(const char *)name, n};
}

static const fc_transport_ops transport_ops = {
    .connect = tls_connect,
    .pull = tls_pull,
    .recv = tls_recv,
    .send = tls_send,
    .finish = tls_finish,
    .free = tls_free,
    .trouble = tls_trouble,
    .certificate = tls_certificate,
    .protocol = tls_protocol,
};

/* --- beginning --------------------------------------------------------------------------------------------------- */

/* The peer must prove this name, or address (RFC 6125, RFC 9110 4.3.4); SNI carries names only (RFC 6066 3). */
static bool expect_name(SSL *ssl, const char *name)
{
    unsigned char ip[16];
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    if (inet_pton(AF_INET, name, ip) == 1 || inet_pton(AF_INET6, name, ip) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1;
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return X509_VERIFY_PARAM_set1_host(param, name, strlen(name)) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

static bool begin(tls_conn *t, const char *name)
{
    BIO *bio = BIO_new(t->tls->socket);
    if (!bio)
        return false;
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
    SSL_set_app_data(t->ssl, t);
    if (!name) {
        SSL_set_accept_state(t->ssl);
        return true;
    }
    SSL_set_connect_state(t->ssl);
    uint32_t i = (uint32_t)(t->place ^ t->place >> 32) & (SESSIONS - 1);
    SSL_SESSION *session = t->tls->sessions[i].session;
    if (session && t->tls->sessions[i].place == t->place && SSL_SESSION_is_resumable(session))
        SSL_set_session(t->ssl, session);
    return expect_name(t->ssl, name);
}

static const fc_hash_key session_key = {0x6e616d65206f6620ull, 0x612073657373696full}; /* places only; no secret */

int tls_conn_new(fc_tls *tls, fc_conn *c, const char *name, uint64_t place)
{
    tls_conn *t = calloc(1, sizeof *t);
    if (!t)
        return -ENOMEM;
    t->base.ops = &transport_ops;
    t->conn = c;
    /* A resumed session proves nothing anew: it must be one with this very name. */
    t->place = name ? place ^ fc_hash(&session_key, name, strlen(name)) : 0;
    t->tls = fc_tls_ref(tls);
    t->ssl = SSL_new(tls->base);
    if (!t->ssl || !begin(t, name)) {
        SSL_free(t->ssl);
        fc_tls_unref(tls);
        free(t);
        ERR_clear_error();
        return -ENOMEM;
    }
    c->transport = &t->base;
    return 0;
}
