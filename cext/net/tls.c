/* What connections of one side have in common: certificates by name, trust, versions. One connection is in tls_conn.c. */
#include <ctype.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tls_internal.h"

/* Forward secrecy and authenticated encryption only: what RFC 9325 4.2 recommends for TLS 1.2. */
#define CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20"
#define DEPTH 8

static void say(char why[FC_TLS_WHY_MAX], const char *what)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    snprintf(why, FC_TLS_WHY_MAX, "%s%s%s", what, reason ? ": " : "", reason ? reason : "");
    ERR_clear_error();
}

/* --- choosing by name and protocol ------------------------------------------------------------------------------ */

static SSL_CTX *by_name(const fc_tls *tls, const char *name)
{
    const char *dot = strchr(name, '.');
    for (uint32_t i = 0; i < tls->names_len; i++)
        if (!tls->names[i].wildcard && strcmp(tls->names[i].name, name) == 0)
            return tls->names[i].ctx;
    for (uint32_t i = 0; dot && dot != name && i < tls->names_len; i++) /* one label only (RFC 6125 6.4.3) */
        if (tls->names[i].wildcard && strcmp(tls->names[i].name, dot + 1) == 0)
            return tls->names[i].ctx;
    return NULL;
}

static int on_server_name(SSL *ssl, int *alert, void *arg)
{
    (void)alert;
    const fc_tls *tls = arg;
    const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    char name[NAME_MAX_TLS + 1];
    size_t n = asked ? strlen(asked) : 0;
    if (n == 0 || n > NAME_MAX_TLS)
        return SSL_TLSEXT_ERR_OK;
    for (size_t i = 0; i <= n; i++)
        name[i] = (char)tolower((unsigned char)asked[i]);
    if (name[n - 1] == '.')
        name[n - 1] = 0;
    SSL_CTX *ctx = by_name(tls, name);
    if (ctx && ctx != SSL_get_SSL_CTX(ssl))
        SSL_set_SSL_CTX(ssl, ctx);
    return SSL_TLSEXT_ERR_OK;
}

/* Ours in our order; a client that speaks none of them is told so (RFC 7301 3.2). */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned in_len,
                   void *arg)
{
    (void)ssl;
    const fc_tls *tls = arg;
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, out_len, tls->alpn, tls->options.alpn_len, in, in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* --- trust ------------------------------------------------------------------------------------------------------- */

/* Every certificate of the text; the number of them, or -1. */
static int trust(SSL_CTX *ctx, const char *pem, size_t n, bool server)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    BIO *in = BIO_new_mem_buf(pem, (int)n);
    X509 *cert;
    int count = 0;
    bool ok = in != NULL;
    while (ok && (cert = PEM_read_bio_X509(in, NULL, NULL, NULL))) {
        ok = X509_STORE_add_cert(store, cert) == 1 && (!server || SSL_CTX_add_client_CA(ctx, cert) == 1);
        X509_free(cert);
        count++;
    }
    bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    BIO_free(in);
    if (!ok || !at_end)
        return -1;
    ERR_clear_error();
    return count;
}

/* A session whose peer was verified under other rules is not resumed under these. */
static bool name_the_rules(const fc_tls *tls, SSL_CTX *ctx)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    int verify = (int)tls->options.verify;
    bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) && EVP_DigestUpdate(md, &verify, sizeof verify) &&
              EVP_DigestUpdate(md, tls->authorities ? tls->authorities : "", tls->authorities_len) &&
              EVP_DigestFinal_ex(md, digest, &n) && n >= SSL_MAX_SID_CTX_LENGTH &&
              SSL_CTX_set_session_id_context(ctx, digest, SSL_MAX_SID_CTX_LENGTH) == 1;
    EVP_MD_CTX_free(md);
    return ok;
}

static bool set_verify(const fc_tls *tls, SSL_CTX *ctx, char why[FC_TLS_WHY_MAX])
{
    fc_tls_verify verify = tls->options.verify;
    int mode = SSL_VERIFY_NONE;
    if (verify != FC_TLS_VERIFY_NONE)
        mode = SSL_VERIFY_PEER | (tls->server && verify == FC_TLS_VERIFY_REQUIRED ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);
    SSL_CTX_set_verify(ctx, mode, NULL);
    SSL_CTX_set_verify_depth(ctx, tls->options.depth ? (int)tls->options.depth : DEPTH);
    if (mode == SSL_VERIFY_NONE)
        return true;
    if (!tls->authorities) {
        if (SSL_CTX_set_default_verify_paths(ctx) == 1)
            return true;
        say(why, "the system's trusted certificates cannot be read");
        return false;
    }
    int found = trust(ctx, tls->authorities, tls->authorities_len, tls->server);
    if (found <= 0)
        say(why, found ? "the trusted certificates cannot be read" : "there is no certificate to trust");
    return found > 0;
}

/* --- sessions of clients ----------------------------------------------------------------------------------------- */

static int on_session(SSL *ssl, SSL_SESSION *session)
{
    tls_conn *t = SSL_get_app_data(ssl);
    uint32_t i = (uint32_t)(t->place ^ t->place >> 32) & (SESSIONS - 1);
    SSL_SESSION_free(t->tls->sessions[i].session);
    t->tls->sessions[i].session = session; /* its reference is ours now */
    t->tls->sessions[i].place = t->place;
    return 1;
}

/* --- making ------------------------------------------------------------------------------------------------------ */

static SSL_CTX *make_ctx(fc_tls *tls, char why[FC_TLS_WHY_MAX])
{
    const fc_tls_options *o = &tls->options;
    SSL_CTX *ctx = SSL_CTX_new(tls->server ? TLS_server_method() : TLS_client_method());
    if (!ctx) {
        say(why, "no TLS");
        return NULL;
    }
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ctx, 1); /* a record in one read, not its five bytes of head first */
    bool ok = SSL_CTX_set_min_proto_version(ctx, o->tls13_only ? TLS1_3_VERSION : TLS1_2_VERSION) == 1 &&
              name_the_rules(tls, ctx);
    if (ok && SSL_CTX_set_cipher_list(ctx, tls->ciphers ? tls->ciphers : CIPHERS) != 1) {
        say(why, "ciphers");
        goto fail;
    }
    if (ok && tls->server) {
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
        SSL_CTX_set_tlsext_servername_arg(ctx, tls);
        if (tls->alpn)
            SSL_CTX_set_alpn_select_cb(ctx, on_alpn, tls);
        if (tls->has_tickets)
            ok = tls_use_tickets(tls, ctx);
        else
            SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET), ok = SSL_CTX_set_num_tickets(ctx, 0) == 1;
    } else if (ok) {
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(ctx, on_session);
        ok = !tls->alpn || SSL_CTX_set_alpn_protos(ctx, tls->alpn, o->alpn_len) == 0;
    }
    if (!ok) {
        say(why, "the settings of TLS");
        goto fail;
    }
    if (!set_verify(tls, ctx, why))
        goto fail;
    return ctx;
fail:
    SSL_CTX_free(ctx);
    return NULL;
}

static void *copy(const void *p, size_t n)
{
    void *made = malloc(n + 1);
    if (made) {
        memcpy(made, p, n);
        ((char *)made)[n] = 0;
    }
    return made;
}

fc_tls *fc_tls_new(const fc_tls_options *options, char why[FC_TLS_WHY_MAX])
{
    fc_tls *tls = calloc(1, sizeof *tls);
    snprintf(why, FC_TLS_WHY_MAX, "out of memory");
    if (!tls)
        return NULL;
    tls->refs = 1;
    tls->options = *options;
    tls->server = options->server;
    if (options->alpn)
        tls->alpn = copy(options->alpn, options->alpn_len);
    if (options->ciphers)
        tls->ciphers = copy(options->ciphers, strlen(options->ciphers));
    if (options->authorities)
        tls->authorities = copy(options->authorities, tls->authorities_len = options->authorities_len);
    if (options->ticket_secret) {
        memcpy(tls->secret, options->ticket_secret, sizeof tls->secret);
        tls->has_tickets = true;
    }
    tls->socket = tls_socket_method();
    if (!tls->socket || (options->alpn && !tls->alpn) || (options->ciphers && !tls->ciphers) ||
        (options->authorities && !tls->authorities) || !(tls->base = make_ctx(tls, why))) {
        fc_tls_unref(tls);
        return NULL;
    }
    return tls;
}

fc_tls *fc_tls_ref(fc_tls *tls)
{
    tls->refs++;
    return tls;
}

void fc_tls_unref(fc_tls *tls)
{
    if (!tls || --tls->refs)
        return;
    for (uint32_t i = 0; i < SESSIONS; i++)
        SSL_SESSION_free(tls->sessions[i].session);
    for (uint32_t i = 0; i < tls->names_len; i++)
        free(tls->names[i].name);
    for (uint32_t i = 0; i < tls->more_len; i++)
        SSL_CTX_free(tls->more[i]);
    SSL_CTX_free(tls->base);
    BIO_meth_free(tls->socket);
    OPENSSL_cleanse(tls->secret, sizeof tls->secret);
    OPENSSL_cleanse(tls->keys, sizeof tls->keys);
    free(tls->names);
    free((void *)tls->more);
    free(tls->alpn);
    free(tls->ciphers);
    free(tls->authorities);
    free(tls);
}

/* --- certificates ------------------------------------------------------------------------------------------------ */

static bool add_name(fc_tls *tls, SSL_CTX *ctx, const char *text, size_t n)
{
    bool wildcard = n > 2 && text[0] == '*' && text[1] == '.';
    tls_name *grown = realloc(tls->names, (tls->names_len + 1) * sizeof *grown);
    if (!grown)
        return false;
    tls->names = grown;
    char *name = copy(text + 2 * wildcard, n - 2 * wildcard);
    if (!name)
        return false;
    for (char *p = name; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    tls->names[tls->names_len++] = (tls_name){name, wildcard, ctx};
    return true;
}

/* The DNS names it is for; those of other kinds are asked for by no SNI. */
static bool add_names(fc_tls *tls, SSL_CTX *ctx)
{
    X509 *cert = SSL_CTX_get0_certificate(ctx);
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    bool ok = true;
    for (int i = 0; ok && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_DNS)
            continue;
        const char *text = (const char *)ASN1_STRING_get0_data(name->d.dNSName);
        size_t n = (size_t)ASN1_STRING_length(name->d.dNSName);
        if (n && n <= NAME_MAX_TLS && memchr(text, 0, n) == NULL)
            ok = add_name(tls, ctx, text, n);
    }
    GENERAL_NAMES_free(names);
    return ok;
}

static int no_password(char *buf, int size, int writing, void *arg)
{
    (void)buf, (void)size, (void)writing, (void)arg;
    return -1; /* instead of asking on the terminal */
}

static bool use_chain(SSL_CTX *ctx, const char *pem, size_t n, char why[FC_TLS_WHY_MAX])
{
    BIO *in = BIO_new_mem_buf(pem, (int)n);
    X509 *cert = in ? PEM_read_bio_X509_AUX(in, NULL, no_password, NULL) : NULL;
    bool ok = cert && SSL_CTX_use_certificate(ctx, cert) == 1;
    X509_free(cert);
    if (!ok)
        say(why, "the certificate cannot be read");
    while (ok && (cert = PEM_read_bio_X509(in, NULL, no_password, NULL)))
        if (SSL_CTX_add0_chain_cert(ctx, cert) != 1) {
            X509_free(cert);
            ok = false;
            say(why, "the certificate's chain cannot be read");
        }
    if (ok && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
        ok = false;
        say(why, "the certificate's chain cannot be read");
    }
    ERR_clear_error();
    BIO_free(in);
    return ok;
}

static bool use_key(SSL_CTX *ctx, const char *pem, size_t n, char why[FC_TLS_WHY_MAX])
{
    BIO *in = BIO_new_mem_buf(pem, (int)n);
    EVP_PKEY *key = in ? PEM_read_bio_PrivateKey(in, NULL, no_password, NULL) : NULL;
    BIO_free(in);
    if (!key) {
        say(why, "the private key cannot be read");
        return false;
    }
    bool ok = SSL_CTX_use_PrivateKey(ctx, key) == 1 && SSL_CTX_check_private_key(ctx) == 1;
    EVP_PKEY_free(key);
    if (!ok)
        say(why, "the private key is not the certificate's");
    return ok;
}

int fc_tls_add_certificate(fc_tls *tls, const char *chain, size_t chain_len, const char *key, size_t key_len,
                           char why[FC_TLS_WHY_MAX])
{
    SSL_CTX *ctx = tls->base;
    if (tls->has_certificate) {
        SSL_CTX **grown = realloc((void *)tls->more, (tls->more_len + 1) * sizeof(SSL_CTX *));
        if (!grown || !(ctx = make_ctx(tls, why))) {
            tls->more = grown ? grown : tls->more;
            return -EINVAL;
        }
        tls->more = grown;
        tls->more[tls->more_len++] = ctx;
    }
    if (!use_chain(ctx, chain, chain_len, why) || !use_key(ctx, key, key_len, why))
        return -EINVAL;
    tls->has_certificate = true;
    if (tls->server && !add_names(tls, ctx)) {
        say(why, "out of memory");
        return -EINVAL;
    }
    return 0;
}

int64_t fc_tls_certificate_end(const char *pem, size_t n)
{
    struct tm end;
    BIO *in = BIO_new_mem_buf(pem, (int)n);
    X509 *cert = in ? PEM_read_bio_X509(in, NULL, no_password, NULL) : NULL;
    bool known = cert && ASN1_TIME_to_tm(X509_get0_notAfter(cert), &end) == 1;
    X509_free(cert);
    BIO_free(in);
    ERR_clear_error();
    return known ? (int64_t)timegm(&end) : -1;
}

/* --- the slot ---------------------------------------------------------------------------------------------------- */

static int secure(fc_securer *self, fc_conn *c, const char *name, uint64_t place)
{
    fc_tls_slot *slot = FC_CONTAINER_OF(self, fc_tls_slot, securer);
    if (!slot->tls)
        return -ENOTCONN;
    return tls_conn_new(slot->tls, c, name && slot->name ? slot->name : name, place);
}

void fc_tls_slot_init(fc_tls_slot *slot)
{
    memset(slot, 0, sizeof *slot);
    slot->securer.secure = secure;
}

void fc_tls_slot_set(fc_tls_slot *slot, fc_tls *tls)
{
    slot->past = fc_tls_slot_stats(slot);
    fc_tls_unref(slot->tls);
    slot->tls = tls;
}

fc_tls_stats fc_tls_slot_stats(const fc_tls_slot *slot)
{
    fc_tls_stats sum = slot->past;
    if (slot->tls) {
        sum.handshakes += slot->tls->stats.handshakes;
        sum.resumed += slot->tls->stats.resumed;
        sum.failed += slot->tls->stats.failed;
    }
    return sum;
}
