/* Session tickets (RFC 5077, RFC 8446 4.6.1). Their keys are functions of a secret and the number of a span of time, so
 * that processes that share the secret need not tell each other anything, and a key ends by itself. Who learns the secret
 * while it is in use can read tickets, and with them connections of TLS 1.2; TLS 1.3 adds a Diffie-Hellman exchange to
 * each resumption. */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <string.h>
#include <time.h>

#include "tls_internal.h"

#define KEY_BLOCK 32u

static bool derive(const fc_tls *tls, uint64_t epoch, unsigned char which, unsigned char out[KEY_BLOCK])
{
    unsigned char input[24] = "fastcore ticket";
    unsigned int n = 0;
    for (int i = 0; i < 8; i++)
        input[15 + i] = (unsigned char)(epoch >> (56 - 8 * i));
    input[23] = which;
    return HMAC(EVP_sha256(), tls->secret, (int)sizeof tls->secret, input, sizeof input, out, &n) && n == KEY_BLOCK;
}

static const tls_ticket_key *key_of(fc_tls *tls, uint64_t epoch)
{
    tls_ticket_key *k = &tls->keys[epoch & 1];
    unsigned char name[KEY_BLOCK];
    if (k->epoch == epoch + 1)
        return k;
    k->epoch = 0;
    if (!derive(tls, epoch, 0, name) || !derive(tls, epoch, 1, k->cipher) || !derive(tls, epoch, 2, k->mac))
        return NULL;
    memcpy(k->name, name, sizeof k->name);
    k->epoch = epoch + 1;
    return k;
}

static bool use_mac(EVP_MAC_CTX *mac, const tls_ticket_key *k)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)k->mac, sizeof k->mac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* 1: take it, or made one; 2: take it and give a new one; 0: nobody's; -1: failed. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int make)
{
    fc_tls *tls = ((tls_conn *)SSL_get_app_data(ssl))->tls;
    uint64_t span = 3600ull * (tls->options.ticket_hours ? tls->options.ticket_hours : 12);
    uint64_t now = (uint64_t)time(NULL) / span;
    if (make) {
        const tls_ticket_key *k = key_of(tls, now);
        if (!k || RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1)
            return -1;
        memcpy(name, k->name, sizeof k->name);
        return EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->cipher, iv) == 1 && use_mac(mac, k) ? 1 : -1;
    }
    for (uint64_t back = 0; back < 2; back++) {
        const tls_ticket_key *k = key_of(tls, now - back);
        if (k && memcmp(name, k->name, sizeof k->name) == 0) {
            if (!use_mac(mac, k) || EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->cipher, iv) != 1)
                return -1;
            return back || SSL_version(ssl) >= TLS1_3_VERSION ? 2 : 1; /* 1.3: each is used once (RFC 8446 C.4) */
        }
    }
    return 0;
}

bool tls_use_tickets(fc_tls *tls, SSL_CTX *ctx)
{
    long span = 3600l * (tls->options.ticket_hours ? (long)tls->options.ticket_hours : 12);
    SSL_CTX_set_timeout(ctx, span);
    return SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket) == 1;
}
