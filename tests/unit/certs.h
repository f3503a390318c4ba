/* SPDX-License-Identifier: ISC */
/* Test certificates, made on the spot in a folder of their own under /tmp: a CA, a server
 * "db.test", a client "alice". Header only, so that every unit test stays one program of one
 * file. */
#ifndef PGPOOLD_TESTS_UNIT_CERTS_H
#define PGPOOLD_TESTS_UNIT_CERTS_H

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct certs {
    char dir[32];
    char ca_cert[64];
    char server_cert[64];
    char server_key[64];
    char client_cert[64];
    char client_key[64];
    char encrypted_key[64];
};

static inline void certs_check(int ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "cannot make test certificates: %s\n", what);
        abort();
    }
}

static inline void certs_write_key(const char *path, EVP_PKEY *key, const EVP_CIPHER *cipher)
{
    FILE *f = fopen(path, "w");

    certs_check(f != NULL && PEM_write_PrivateKey(f, key, cipher, (const unsigned char *)"secret",
                                                  6, NULL, NULL) == 1,
                path);
    fclose(f);
    chmod(path, 0600); /* libpq insists */
}

static inline void certs_write_cert(const char *path, X509 *cert)
{
    FILE *f = fopen(path, "w");

    certs_check(f != NULL && PEM_write_X509(f, cert) == 1, path);
    fclose(f);
}

/* A certificate of @name, signed by @ca (itself if NULL). */
/* NOLINTNEXTLINE(readability-function-size): what a certificate is made of */
static inline X509 *certs_make(const char *name, const char *org, EVP_PKEY *key, X509 *ca,
                               EVP_PKEY *ca_key, const EVP_MD *md)
{
    static long serial;
    X509 *cert = X509_new();
    X509_NAME *subject = X509_get_subject_name(cert);
    X509_EXTENSION *ext;
    X509V3_CTX v3;
    char san[64];

    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    if (org != NULL) {
        X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8, (const unsigned char *)org, -1, -1,
                                   0);
    }
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1,
                               0);
    X509_set_issuer_name(cert, ca != NULL ? X509_get_subject_name(ca) : subject);
    X509_set_pubkey(cert, key);
    X509V3_set_ctx(&v3, ca != NULL ? ca : cert, cert, NULL, NULL, 0);
    if (ca == NULL) {
        ext = X509V3_EXT_conf_nid(NULL, &v3, NID_basic_constraints, "critical,CA:TRUE");
    } else {
        (void)snprintf(san, sizeof(san), "DNS:%s", name);
        ext = X509V3_EXT_conf_nid(NULL, &v3, NID_subject_alt_name, san);
    }
    certs_check(ext != NULL && X509_add_ext(cert, ext, -1) == 1, name);
    X509_EXTENSION_free(ext);
    certs_check(X509_sign(cert, ca_key, md) > 0, name);
    return cert;
}

static inline struct certs *certs_new(void)
{
    struct certs *c = calloc(1, sizeof(*c));
    EVP_PKEY *ca_key = EVP_RSA_gen(2048);
    EVP_PKEY *server_key = EVP_RSA_gen(2048);
    EVP_PKEY *client_key = EVP_RSA_gen(2048);
    X509 *ca = certs_make("test CA", NULL, ca_key, NULL, ca_key, EVP_sha256());
    X509 *server = certs_make("db.test", NULL, server_key, ca, ca_key, EVP_sha256());
    X509 *client = certs_make("alice", "Test, Inc", client_key, ca, ca_key, EVP_sha512());

    (void)snprintf(c->dir, sizeof(c->dir), "/tmp/pgpoold-certs-XXXXXX");
    certs_check(mkdtemp(c->dir) != NULL, c->dir);
#define CERTS_PATH(field, file) (void)snprintf(c->field, sizeof(c->field), "%s/" file, c->dir)
    CERTS_PATH(ca_cert, "ca.crt");
    CERTS_PATH(server_cert, "server.crt");
    CERTS_PATH(server_key, "server.key");
    CERTS_PATH(client_cert, "client.crt");
    CERTS_PATH(client_key, "client.key");
    CERTS_PATH(encrypted_key, "encrypted.key");
#undef CERTS_PATH
    certs_write_cert(c->ca_cert, ca);
    certs_write_cert(c->server_cert, server);
    certs_write_cert(c->client_cert, client);
    certs_write_key(c->server_key, server_key, NULL);
    certs_write_key(c->client_key, client_key, NULL);
    certs_write_key(c->encrypted_key, server_key, EVP_aes_128_cbc());
    X509_free(ca);
    X509_free(server);
    X509_free(client);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(server_key);
    EVP_PKEY_free(client_key);
    return c;
}

static inline struct certs *certs_free(struct certs *c)
{
    const char *const files[] = {c->ca_cert,     c->server_cert, c->server_key,
                                 c->client_cert, c->client_key,  c->encrypted_key};

    for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        unlink(files[i]);
    }
    rmdir(c->dir);
    free(c);
    return NULL;
}

#endif
