/* SPDX-License-Identifier: ISC */
/* One BIO method of our own lies under every connection: it serves the bytes that the caller had
 * already read, uses recv and send, and keeps errno and end-of-file where we can tell them apart
 * afterwards. An adopted connection gets it too: libpq's own reports failed writes as success
 * and points into the PGconn. */
#include "protocol/tls.h"

#include "daemon/util/fatal.h"
#include "protocol/tls_internal.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define READ_BUFFER_BYTES ((size_t)64 * 1024) /* one recv fetches several records */
#define EARLY_MAX_BYTES ((size_t)64 * 1024)

struct tls {
    SSL *ssl;
    int fd;
    int io_errno; /* of the last recv or send that failed for good */
    bool eof;
    bool starved; /* what is buffered is no whole record: only the socket can help */
    enum tls_accept_kind kind;
    enum tls_result dead; /* TLS_DONE while the connection is fit for use */
    uint8_t *early;       /* owned; NULL once served */
    size_t n_early;
    size_t early_at;
    char *error; /* owned; NULL: none, or no memory for it */
};

/* -- the BIO -- */

static int bio_read(BIO *bio, char *ret, int size)
{
    struct tls *tls = BIO_get_data(bio);
    ssize_t n;

    BIO_clear_retry_flags(bio);
    if (ret == NULL || size <= 0) {
        return 0;
    }
    if (tls->early != NULL) {
        size_t part = MIN((size_t)size, tls->n_early - tls->early_at);

        memcpy(ret, tls->early + tls->early_at, part);
        tls->early_at += part;
        if (tls->early_at == tls->n_early) {
            free(tls->early);
            tls->early = NULL;
        }
        return (int)part;
    }
    do {
        n = recv(tls->fd, ret, (size_t)size, 0);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        return (int)n;
    }
    if (n == 0) {
        tls->eof = true;
        return 0;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        BIO_set_retry_read(bio);
    } else {
        tls->io_errno = errno;
    }
    return -1;
}

static int bio_write(BIO *bio, const char *data, int len)
{
    struct tls *tls = BIO_get_data(bio);
    ssize_t n;

    BIO_clear_retry_flags(bio);
    do {
        n = send(tls->fd, data, (size_t)len, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
        return (int)n;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        BIO_set_retry_write(bio);
    } else {
        tls->io_errno = errno;
    }
    return -1;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    const struct tls *tls = BIO_get_data(bio);

    (void)num;
    (void)ptr;
    switch (cmd) {
    case BIO_CTRL_FLUSH:
        return 1;
    case BIO_CTRL_EOF:
        return tls->eof ? 1 : 0;
    default:
        return 0;
    }
}

/* The method table is made once and kept: OpenSSL wants a pointer that outlives every BIO. */
static const BIO_METHOD *bio_method(void)
{
    static BIO_METHOD *method;
    BIO_METHOD *m;

    if (method != NULL) {
        return method;
    }
    m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "pgpoold socket");
    if (m == NULL) {
        return NULL;
    }
    if (BIO_meth_set_read(m, bio_read) != 1 || BIO_meth_set_write(m, bio_write) != 1 ||
        BIO_meth_set_ctrl(m, bio_ctrl) != 1) {
        BIO_meth_free(m);
        return NULL;
    }
    method = m;
    return method;
}

static BIO *bio_new(struct tls *tls)
{
    const BIO_METHOD *method = bio_method();
    BIO *bio = method == NULL ? NULL : BIO_new(method);

    if (bio != NULL) {
        BIO_set_data(bio, tls);
        BIO_set_init(bio, 1);
    }
    return bio;
}

/* -- life -- */

static struct tls *tls_new(int fd)
{
    struct tls *tls = calloc(1, sizeof(*tls));

    if (tls != NULL) {
        tls->fd = fd;
        tls->dead = TLS_DONE;
    }
    return tls;
}

struct tls *tls_accept_new(struct tls_context *ctx, int fd, enum tls_accept_kind kind,
                           const void *early, size_t n_early)
{
    struct tls *tls = tls_new(fd);
    BIO *bio;

    if (tls == NULL) {
        return NULL;
    }
    fatal_unless(n_early <= EARLY_MAX_BYTES);
    tls->kind = kind;
    if (n_early > 0) {
        tls->early = malloc(n_early);
        if (tls->early == NULL) {
            goto fail;
        }
        memcpy(tls->early, early, n_early);
        tls->n_early = n_early;
    }
    ERR_clear_error();
    tls->ssl = SSL_new(ctx->ssl_ctx); /* holds the SSL_CTX, so a RELOAD may drop @ctx */
    bio = tls->ssl == NULL ? NULL : bio_new(tls);
    if (bio == NULL) {
        goto fail;
    }
    SSL_set_bio(tls->ssl, bio, bio);
    SSL_set_accept_state(tls->ssl);
    return tls;

fail:
    ERR_clear_error();
    return tls_free(tls);
}

/* What tls_context_new() does for connections of ours. */
static void tune_adopted(SSL *ssl)
{
    SSL_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                          SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_set_read_ahead(ssl, 1);
    SSL_set_default_read_buffer_len(ssl, READ_BUFFER_BYTES);
}

/* libpq loads the CA file for each connection anew; after the handshake nobody needs it (0.5 MB
 * for a usual bundle). */
static void drop_trust_store(SSL *ssl)
{
    X509_STORE *empty = X509_STORE_new();

    if (empty != NULL) {
        SSL_CTX_set_cert_store(SSL_get_SSL_CTX(ssl), empty);
    }
}

struct tls *tls_adopt(void *ssl, int fd)
{
    struct tls *tls = tls_new(fd);
    BIO *bio;

    if (tls == NULL) {
        return NULL;
    }
    ERR_clear_error();
    bio = bio_new(tls);
    if (bio == NULL || SSL_up_ref(ssl) != 1) {
        BIO_free(bio);
        ERR_clear_error();
        return tls_free(tls);
    }
    tls->ssl = ssl;
    SSL_set_bio(tls->ssl, bio, bio);
    (void)SSL_set_app_data(tls->ssl,
                           NULL); /* was the PGconn; clearing a slot that exists cannot fail */
    drop_trust_store(tls->ssl);
    tune_adopted(tls->ssl);
    SSL_set_quiet_shutdown(tls->ssl,
                           1); /* PQfinish calls SSL_shutdown: the server must not hear it */
    return tls;
}

void tls_adopt_finish(struct tls *tls)
{
    SSL_set_quiet_shutdown(tls->ssl, 0);
    SSL_set_shutdown(tls->ssl, 0);
}

struct tls *tls_free(struct tls *tls)
{
    if (tls == NULL) {
        return NULL;
    }
    SSL_free(tls->ssl);
    if (tls->early != NULL) {
        explicit_bzero(tls->early, tls->n_early);
        free(tls->early);
    }
    free(tls->error);
    free(tls);
    return NULL;
}

/* -- use -- */

static enum tls_result die(struct tls *tls, enum tls_result how, const char *why)
{
    tls->dead = how;
    if (how == TLS_ERROR && tls->error == NULL) {
        tls->error = strdup(why); /* NULL: tls_error() has a text for that */
    }
    return how;
}

static enum tls_result die_with_reason(struct tls *tls)
{
    long verdict = SSL_get_verify_result(tls->ssl);
    char text[256];
    char reason[200];

    if (tls->io_errno != 0 && ERR_peek_error() == 0) {
        return die(tls, TLS_ERROR, strerror(tls->io_errno));
    }
    (void)tls_queued_reason(reason, sizeof(reason));
    if (verdict != X509_V_OK) {
        (void)snprintf(text, sizeof(text), "%s: %s", reason,
                       X509_verify_cert_error_string(verdict));
        return die(tls, TLS_ERROR, text);
    }
    return die(tls, TLS_ERROR, reason);
}

/* What a call of OpenSSL that returned @ret <= 0 means. */
static enum tls_result result_of(struct tls *tls, int ret)
{
    switch (SSL_get_error(tls->ssl, ret)) {
    case SSL_ERROR_WANT_READ:
        return TLS_WANT_READ;
    case SSL_ERROR_WANT_WRITE:
        return TLS_WANT_WRITE;
    case SSL_ERROR_ZERO_RETURN:
        return die(tls, TLS_CLOSED, "");
    default:
        if (tls->eof) {
            ERR_clear_error();
            return die(tls, TLS_CLOSED, "");
        }
        return die_with_reason(tls);
    }
}

static bool alpn_is_postgresql(const SSL *ssl)
{
    const unsigned char *name;
    unsigned len;

    SSL_get0_alpn_selected(ssl, &name, &len);
    return len == sizeof(TLS_ALPN_WIRE) - 2 && memcmp(name, &TLS_ALPN_WIRE[1], len) == 0;
}

void tls_expect_no_secrets(struct tls *tls)
{
    SSL_clear_options(tls->ssl, SSL_OP_CLEANSE_PLAINTEXT);
    SSL_set_default_read_buffer_len(tls->ssl, READ_BUFFER_BYTES);
}

void tls_expect_secrets(struct tls *tls)
{
    SSL_set_options(tls->ssl, SSL_OP_CLEANSE_PLAINTEXT);
}

enum tls_result tls_handshake(struct tls *tls)
{
    int ret;

    if (tls->dead != TLS_DONE) {
        return tls->dead;
    }
    ERR_clear_error();
    ret = SSL_do_handshake(tls->ssl);
    if (ret != 1) {
        return result_of(tls, ret);
    }
    if (tls->kind == TLS_DIRECT && !alpn_is_postgresql(tls->ssl)) {
        return die(tls, TLS_ERROR,
                   "direct TLS connection without the ALPN protocol \"postgresql\"");
    }
    return TLS_DONE;
}

/* SSL_get_error() wants an empty queue, and it nearly always is: asking is cheaper than clearing. */
static void forget_errors(void)
{
    if (UNLIKELY(ERR_peek_error() != 0)) {
        ERR_clear_error();
    }
}

/* SSL_read per record until @len is full or nothing more is buffered. The socket is asked only
 * when nothing was read yet or a record is incomplete, so that a small message costs one recv. */
enum tls_result tls_read(struct tls *tls, void *buf, size_t len, size_t *ret_n)
{
    uint8_t *at = buf;
    size_t total = 0;

    *ret_n = 0;
    if (tls->dead != TLS_DONE) {
        return tls->dead;
    }
    tls->starved = false;
    while (total < len) {
        enum tls_result result;
        size_t n = 0;
        int ret;

        forget_errors();
        ret = SSL_read_ex(tls->ssl, at + total, len - total, &n);
        if (ret == 1) {
            total += n;
            if (SSL_has_pending(tls->ssl) == 0) {
                break;
            }
            continue;
        }
        result = result_of(tls, ret);
        tls->starved = result == TLS_WANT_READ;
        if (total == 0) {
            return result;
        }
        break; /* a death shows in the next call */
    }
    *ret_n = total;
    return TLS_DONE;
}

enum tls_result tls_write(struct tls *tls, const void *buf, size_t len, size_t *ret_n)
{
    const uint8_t *at = buf;

    *ret_n = 0;
    if (tls->dead != TLS_DONE) {
        return tls->dead;
    }
    while (*ret_n < len) {
        size_t n = 0;
        int ret;

        forget_errors();
        ret = SSL_write_ex(tls->ssl, at + *ret_n, len - *ret_n,
                           &n); /* one record at most: partial writes are on */
        if (ret != 1) {
            return result_of(tls, ret);
        }
        *ret_n += n;
    }
    return TLS_DONE;
}

void tls_shutdown(struct tls *tls)
{
    if (tls->dead == TLS_ERROR || SSL_is_init_finished(tls->ssl) == 0) {
        return;
    }
    ERR_clear_error();
    (void)SSL_shutdown(tls->ssl); /* best effort: the peer may be gone or not reading */
    ERR_clear_error();
}

enum tls_result tls_peek_foreign(void *ssl, void *buf, size_t len, size_t *ret_n)
{
    enum tls_result result = TLS_ERROR;
    int ret;

    *ret_n = 0;
    ERR_clear_error();
    ret = SSL_peek_ex(ssl, buf, len, ret_n);
    if (ret == 1) {
        return TLS_DONE;
    }
    switch (SSL_get_error(ssl, ret)) {
    case SSL_ERROR_WANT_READ:
        result = TLS_WANT_READ;
        break;
    case SSL_ERROR_WANT_WRITE:
        result = TLS_WANT_WRITE;
        break;
    case SSL_ERROR_ZERO_RETURN:
        result = TLS_CLOSED;
        break;
    default:
        break;
    }
    ERR_clear_error();
    return result;
}

void tls_free_foreign(void *ssl)
{
    SSL_free(ssl);
}

/* -- questions -- */

bool tls_pending(const struct tls *tls)
{
    return tls->dead != TLS_DONE || tls->early != NULL ||
           (!tls->starved && SSL_has_pending(tls->ssl) != 0);
}

const char *tls_error(const struct tls *tls)
{
    if (tls->error != NULL) {
        return tls->error;
    }
    return tls->dead == TLS_ERROR ? "out of memory" : "";
}

/* ECDH=curve, DH=bits, or nothing for a key exchange without either (RSA, plain PSK). */
static void describe_key_exchange(SSL *ssl, char *ret, size_t size)
{
    int nid = (int)SSL_get_negotiated_group(ssl);
    const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);
    const char *name;
    EVP_PKEY *key = NULL;

    ret[0] = '\0';
    if (nid != NID_undef) {
        name = (nid & TLSEXT_nid_unknown) == 0 ? OBJ_nid2sn(nid) : SSL_group_to_name(ssl, nid);
        (void)snprintf(ret, size, "/ECDH=%s", name != NULL ? name : "?"); /* a cut is harmless */
    } else if (cipher != NULL && SSL_CIPHER_get_kx_nid(cipher) == NID_kx_dhe &&
               SSL_get_tmp_key(ssl, &key) == 1 && key != NULL) {
        (void)snprintf(ret, size, "/DH=%d", EVP_PKEY_get_bits(key));
    }
    EVP_PKEY_free(key);
    ERR_clear_error();
}

const char *tls_info(const struct tls *tls, char *ret, size_t size)
{
    const char *cipher = SSL_get_cipher_name(tls->ssl);
    char kx[64];

    describe_key_exchange(tls->ssl, kx, sizeof(kx));
    (void)snprintf(ret, size, "%s/%s%s", SSL_get_version(tls->ssl), cipher != NULL ? cipher : "?",
                   kx);
    return ret;
}

char *tls_peer_common_name(const struct tls *tls)
{
    X509 *cert = SSL_get0_peer_certificate(tls->ssl);
    unsigned char *utf8 = NULL;
    char *name = NULL;
    X509_NAME *subject;
    int at;
    int len;

    if (cert == NULL) {
        return NULL;
    }
    subject = X509_get_subject_name(cert);
    at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at < 0) {
        return NULL;
    }
    len = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    if (len >= 0 && memchr(utf8, '\0', (size_t)len) == NULL) { /* "admin\0.evil": CVE-2009-4034 */
        name = strndup((const char *)utf8, (size_t)len);
    }
    OPENSSL_free(utf8);
    ERR_clear_error();
    return name;
}

bool tls_end_point(const struct tls *tls, enum tls_certificate which, uint8_t *ret, size_t *ret_len)
{
    X509 *cert = which == TLS_OWN_CERTIFICATE ? SSL_get_certificate(tls->ssl)
                                              : SSL_get0_peer_certificate(tls->ssl);
    const EVP_MD *md;
    unsigned len = TLS_END_POINT_MAX_BYTES;
    int nid;
    bool ok;

    if (cert == NULL || X509_get_signature_info(cert, &nid, NULL, NULL, NULL) != 1 ||
        nid == NID_undef) {
        ERR_clear_error();
        return false;
    }
    if (nid == NID_md5 || nid == NID_sha1) {
        nid = NID_sha256; /* RFC 5929 section 4.1 */
    }
    md = EVP_get_digestbynid(nid);
    ok = md != NULL && EVP_MD_get_size(md) <= TLS_END_POINT_MAX_BYTES &&
         X509_digest(cert, md, ret, &len) == 1;
    ERR_clear_error();
    if (ok) {
        *ret_len = len;
    }
    return ok;
}
