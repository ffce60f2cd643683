/* certificates.h - a certificate authority for tests: keys and certificates made on the spot, as PEM. */
#ifndef FC_TEST_CERTIFICATES_H
#define FC_TEST_CERTIFICATES_H

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

typedef struct identity {
    EVP_PKEY *key;
    X509 *cert;
    char cert_pem[4096], key_pem[2048];
} identity;

static inline void to_pem(identity *id)
{
    BIO *out = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(out, id->cert);
    id->cert_pem[BIO_read(out, id->cert_pem, sizeof id->cert_pem - 1)] = 0;
    PEM_write_bio_PrivateKey(out, id->key, NULL, NULL, 0, NULL, NULL);
    id->key_pem[BIO_read(out, id->key_pem, sizeof id->key_pem - 1)] = 0;
    BIO_free(out);
}

/* names: as OpenSSL's subjectAltName has them, "DNS:a,IP:127.0.0.1"; NULL: an authority. signer NULL: by itself. */
static inline void make_identity(identity *id, const char *common_name, const char *names, const identity *signer,
                                 long valid_seconds)
{
    static long serial = 1;
    id->key = EVP_EC_gen("P-256");
    id->cert = X509_new();
    X509_set_version(id->cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(id->cert), serial++);
    X509_gmtime_adj(X509_getm_notBefore(id->cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(id->cert), valid_seconds);
    X509_set_pubkey(id->cert, id->key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(id->cert), "CN", MBSTRING_ASC, (const unsigned char *)common_name, -1,
                               -1, 0);
    X509_set_issuer_name(id->cert, X509_get_subject_name(signer ? signer->cert : id->cert));
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, signer ? signer->cert : id->cert, id->cert, NULL, NULL, 0);
    const char *text[][2] = {{"basicConstraints", names ? "CA:FALSE" : "critical,CA:TRUE"}, {"subjectAltName", names}};
    for (int i = 0; i < (names ? 2 : 1); i++) {
        X509_EXTENSION *e = X509V3_EXT_conf(NULL, &ctx, text[i][0], text[i][1]);
        X509_add_ext(id->cert, e, -1);
        X509_EXTENSION_free(e);
    }
    X509_sign(id->cert, signer ? signer->key : id->key, EVP_sha256());
    to_pem(id);
}

static inline void free_identity(identity *id)
{
    EVP_PKEY_free(id->key);
    X509_free(id->cert);
}

#endif
