/* SPDX-License-Identifier: ISC */
/* The rules of the listening side, and the words of the settings. */
#include "daemon/util/buf.h"
#include "daemon/util/clock.h"
#include "daemon/util/fatal.h"
#include "daemon/util/secret.h"
#include "protocol/tls_internal.h"

#include <openssl/conf.h>
#include <openssl/core_names.h>
#include <openssl/err.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SESSION_LIFETIME_S \
    3600 /* a ticket also carries the client certificate's verdict: not for long */
#define TICKET_KEY_US (SESSION_LIFETIME_S * USEC_PER_SEC)
#define CIPHER_LIST_MAX_BYTES ((size_t)16 * 1024)
#define PROTOCOLS_SECURE ((unsigned)TLS_1_2 | TLS_1_3)
#define PROTOCOLS_ALL ((unsigned)TLS_1_0 | TLS_1_1 | TLS_1_2 | TLS_1_3)

/* The ciphers that OpenSSL's own configuration sets, kept from before tls_set_libpq_ciphers()
 * first replaced them; process-wide like the thing they save. NULL: never replaced. */
static char *system_ciphers;
static char *system_suites;

const char *tls_queued_reason(char *ret, size_t size)
{
    unsigned long code = ERR_peek_error();
    const char *text = NULL;

    if (code == 0) {
        (void)snprintf(ret, size, "unknown TLS error"); /* a cut is harmless, here and below */
        return ret;
    }
    if (ERR_SYSTEM_ERROR(code)) {
        text = strerror(ERR_GET_REASON(code));
    } else {
        text = ERR_reason_error_string(code);
    }
    if (text != NULL) {
        (void)snprintf(ret, size, "%s", text);
    } else {
        (void)snprintf(ret, size, "TLS error %lx", code);
    }
    ERR_clear_error();
    return ret;
}

static bool is_set(const char *text)
{
    return text != NULL && text[0] != '\0';
}

/* Sets @err to "WHAT "VALUE": REASON" and returns false. */
static bool refuse(struct tls_error *err, const char *what, const char *value)
{
    char reason[256];

    (void)tls_queued_reason(reason, sizeof(reason));
    (void)snprintf(err->text, sizeof(err->text), "%s \"%s\": %s", what, value, reason);
    return false;
}

static bool refuse_text(struct tls_error *err, const char *text)
{
    (void)snprintf(err->text, sizeof(err->text), "%s", text);
    return false;
}

/* -- words -- */

static const char *const sslmode_names[TLS_SSLMODES] = {
    [TLS_DISABLE] = "disable", [TLS_ALLOW] = "allow",         [TLS_PREFER] = "prefer",
    [TLS_REQUIRE] = "require", [TLS_VERIFY_CA] = "verify-ca", [TLS_VERIFY_FULL] = "verify-full",
};

const char *tls_sslmode_name(enum tls_sslmode mode)
{
    return sslmode_names[mode];
}

static const struct {
    const char *word;
    unsigned protocols;
} protocol_words[] = {
    {"default", PROTOCOLS_SECURE}, {"secure", PROTOCOLS_SECURE}, {"all", PROTOCOLS_ALL},
    {"legacy", PROTOCOLS_ALL},     {"tlsv1", PROTOCOLS_ALL},     {"tlsv1.0", TLS_1_0},
    {"tlsv1.1", TLS_1_1},          {"tlsv1.2", TLS_1_2},         {"tlsv1.3", TLS_1_3},
};

/* The set that @len bytes of @word mean; 0: no such word. */
static unsigned protocol_word(const char *word, size_t len)
{
    for (unsigned i = 0; i < ARRAY_LEN(protocol_words); i++) {
        if (strlen(protocol_words[i].word) == len &&
            strncasecmp(protocol_words[i].word, word, len) == 0) {
            return protocol_words[i].protocols;
        }
    }
    return 0;
}

bool tls_protocols_parse(const char *text, unsigned *ret)
{
    static const char blanks[] = ", :\t";
    unsigned set = 0;
    bool first = true;

    if (!is_set(text)) {
        *ret = PROTOCOLS_SECURE;
        return true;
    }
    for (const char *at = text + strspn(text, blanks); *at != '\0'; at += strspn(at, blanks)) {
        bool negate = *at == '!';
        size_t len = strcspn(at + negate, blanks);
        unsigned bits = protocol_word(at + negate, len);

        if (bits == 0) {
            return false;
        }
        if (first && negate) {
            set = PROTOCOLS_ALL;
        }
        set = negate ? set & ~bits : set | bits;
        first = false;
        at += negate + len;
    }
    if (set == 0) {
        return false;
    }
    *ret = set;
    return true;
}

static const struct {
    unsigned bit;
    const char *name;
    int version;
    uint64_t off; /* the option that leaves it out in the middle of a range */
} protocols[] = {
    {TLS_1_0, "TLSv1", TLS1_VERSION, SSL_OP_NO_TLSv1},
    {TLS_1_1, "TLSv1.1", TLS1_1_VERSION, SSL_OP_NO_TLSv1_1},
    {TLS_1_2, "TLSv1.2", TLS1_2_VERSION, SSL_OP_NO_TLSv1_2},
    {TLS_1_3, "TLSv1.3", TLS1_3_VERSION, SSL_OP_NO_TLSv1_3},
};

static unsigned lowest(unsigned set)
{
    unsigned i = 0;

    fatal_unless((set & PROTOCOLS_ALL) != 0);
    while ((set & protocols[i].bit) == 0) {
        i++;
    }
    return i;
}

static unsigned highest(unsigned set)
{
    unsigned i = ARRAY_LEN(protocols) - 1;

    fatal_unless((set & PROTOCOLS_ALL) != 0);
    while ((set & protocols[i].bit) == 0) {
        i--;
    }
    return i;
}

const char *tls_protocols_min(unsigned set)
{
    return protocols[lowest(set)].name;
}

const char *tls_protocols_max(unsigned set)
{
    return protocols[highest(set)].name;
}

/* OpenSSL's syntax for @text; NULL: what the system has. */
static const char *cipher_list(const char *text)
{
    static const char *const system_words[] = {"default", "secure", "fast", "normal"};

    if (!is_set(text)) {
        return system_ciphers;
    }
    for (unsigned i = 0; i < ARRAY_LEN(system_words); i++) {
        if (strcasecmp(text, system_words[i]) == 0) {
            return system_ciphers;
        }
    }
    if (strcasecmp(text, "compat") == 0) {
        return "HIGH:!aNULL:!eNULL";
    }
    if (strcasecmp(text, "all") == 0 || strcasecmp(text, "legacy") == 0) {
        return "ALL:!aNULL:!eNULL";
    }
    return text;
}

/* -- the context -- */

/* ALPN offered but without "postgresql": the handshake ends, as PostgreSQL and RFC 7301 have it. */
/* NOLINTNEXTLINE(readability-function-size): the signature is OpenSSL's */
static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                       const unsigned char *in, unsigned in_len, void *arg)
{
    static const unsigned char ours[] = TLS_ALPN_WIRE;

    (void)ssl;
    (void)arg;
    for (unsigned at = 0; at < in_len; at += 1U + in[at]) { /* OpenSSL has checked the lengths */
        if (in[at] == ours[0] && in_len - at > in[at] &&
            memcmp(&in[at + 1], &ours[1], ours[0]) == 0) {
            *out = &in[at + 1];
            *out_len = ours[0];
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* Tickets are sealed with keys of this context: a RELOAD makes another one, so nobody resumes a session that its rules on
 * certificates have not seen. A key seals for as long as a ticket lives and opens as long again, then it is gone, and with
 * it whatever could be read of old recordings. */
struct ticket_key {
    uint8_t name[16];
    uint8_t cipher_key[32];
    uint8_t mac_key[32];
    usec_t made_us; /* 0: there is none */
};

/* Hangs on the SSL_CTX, not on our struct: connections in mid-handshake keep only the former alive. */
struct ticket_keys {
    struct ticket_key now;
    struct ticket_key before;
};

/* NOLINTNEXTLINE(readability-function-size): the signature is OpenSSL's */
static void free_ticket_keys(void *parent, void *keys, CRYPTO_EX_DATA *ad, int index, long argl,
                             void *argp)
{
    (void)parent;
    (void)ad;
    (void)index;
    (void)argl;
    (void)argp;
    (void)secret_free(keys, sizeof(struct ticket_keys));
}

/* Process-wide, as OpenSSL has it; below 0: out of memory. */
static int ticket_keys_index(void)
{
    static int index = -1;

    if (index < 0) {
        index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, free_ticket_keys);
    }
    return index;
}

static void rotate_ticket_keys(struct ticket_keys *keys)
{
    struct ticket_key *now = &keys->now;

    if (now->made_us != 0 && clock_now_us() - now->made_us < TICKET_KEY_US) {
        return;
    }
    keys->before = *now;
    secret_random(now->name, sizeof(now->name));
    secret_random(now->cipher_key, sizeof(now->cipher_key));
    secret_random(now->mac_key, sizeof(now->mac_key));
    now->made_us = clock_now_us();
}

static bool begin_mac(EVP_MAC_CTX *mac, struct ticket_key *key)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac_key, sizeof(key->mac_key)),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end()};

    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* 1: sealed, or may be opened; 2: opened, and the client gets a new one; 0: not one of ours, so a full handshake; -1: error.
 * A ticket of TLS 1.3 is used once, so that nobody who watches can tell two connections of a client for the same one's
 * (RFC 8446, C.4): without a new one each second connection would be a full handshake. */
/* NOLINTNEXTLINE(readability-function-size): the signature is OpenSSL's */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int seal)
{
    struct ticket_keys *keys = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), ticket_keys_index());
    struct ticket_key *key = &keys->now;

    rotate_ticket_keys(keys);
    if (seal != 0) {
        memcpy(name, key->name, sizeof(key->name));
        secret_random(iv, EVP_MAX_IV_LENGTH);
        return EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher_key, iv) == 1 &&
                       begin_mac(mac, key)
                   ? 1
                   : -1;
    }
    if (memcmp(name, key->name, sizeof(key->name)) != 0) {
        key = &keys->before;
        if (key->made_us == 0 || memcmp(name, key->name, sizeof(key->name)) != 0) {
            return 0;
        }
    }
    if (!begin_mac(mac, key) ||
        EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher_key, iv) != 1) {
        return -1;
    }
    return key == &keys->now && SSL_version(ssl) < TLS1_3_VERSION ? 1 : 2;
}

static bool set_tickets(SSL_CTX *ctx, struct tls_error *err)
{
    struct ticket_keys *keys = secret_alloc(sizeof(*keys));

    if (keys == NULL || ticket_keys_index() < 0 ||
        SSL_CTX_set_ex_data(ctx, ticket_keys_index(), keys) != 1) {
        (void)secret_free(keys, sizeof(*keys));
        return refuse_text(err, "out of memory");
    }
    return SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket) == 1 ||
           refuse(err, "session", "tickets");
}

static bool set_protocols(SSL_CTX *ctx, const struct tls_settings *s, struct tls_error *err)
{
    unsigned set;
    unsigned low;
    unsigned high;

    if (!tls_protocols_parse(s->protocols, &set)) {
        (void)snprintf(err->text, sizeof(err->text),
                       "protocols \"%s\": allowed: secure, all, legacy, or a list of tlsv1.0, "
                       "tlsv1.1, tlsv1.2, tlsv1.3",
                       s->protocols);
        return false;
    }
    low = lowest(set);
    high = highest(set);
    if (SSL_CTX_set_min_proto_version(ctx, protocols[low].version) != 1 ||
        SSL_CTX_set_max_proto_version(ctx, protocols[high].version) != 1) {
        return refuse(err, "protocols", s->protocols);
    }
    for (unsigned i = low; i <= high; i++) {
        if ((set & protocols[i].bit) == 0) {
            SSL_CTX_set_options(ctx, protocols[i].off);
        }
    }
    return true;
}

static bool set_ciphers(SSL_CTX *ctx, const struct tls_settings *s, struct tls_error *err)
{
    const char *list = cipher_list(s->ciphers);
    const char *suites = is_set(s->tls13_ciphers) ? s->tls13_ciphers : system_suites;

    if (list != NULL && SSL_CTX_set_cipher_list(ctx, list) != 1) {
        return refuse(err, "ciphers", list);
    }
    if (suites != NULL && SSL_CTX_set_ciphersuites(ctx, suites) != 1) {
        return refuse(err, "TLS 1.3 ciphers", suites);
    }
    return true;
}

/* The ciphers that @ctx has, as a list that sets them again: those of TLS 1.3, or the others. To
 * be freed. */
static char *list_ciphers(const SSL_CTX *ctx, bool tls13, const char *tail)
{
    const STACK_OF(SSL_CIPHER) *all = SSL_CTX_get_ciphers(ctx);
    struct buf list = BUF_INIT(CIPHER_LIST_MAX_BYTES);

    for (int i = 0; i < sk_SSL_CIPHER_num(all); i++) {
        const SSL_CIPHER *cipher = sk_SSL_CIPHER_value(all, i);

        if ((strcmp(SSL_CIPHER_get_version(cipher), "TLSv1.3") == 0) == tls13) {
            buf_append_fmt(&list, "%s%s", list.len > 0 ? ":" : "", SSL_CIPHER_get_name(cipher));
        }
    }
    buf_append_str(&list, tail);
    buf_append_u8(&list, '\0');
    if (!buf_ok(&list)) {
        buf_done(&list);
        return NULL;
    }
    return (char *)take_ptr(list.data);
}

/* TLS 1.3 cannot do without a group, so this concerns the older ones. */
static bool drop_ecdhe(SSL_CTX *ctx)
{
    char *list = list_ciphers(ctx, false, ":!kECDHE");
    bool ok = list != NULL && SSL_CTX_set_cipher_list(ctx, list) == 1;

    free(list);
    return ok;
}

static bool set_key_exchange(SSL_CTX *ctx, const struct tls_settings *s, struct tls_error *err)
{
    const char *dhe = is_set(s->dheparams) ? s->dheparams : "auto";
    const char *curve = is_set(s->ecdhcurve) ? s->ecdhcurve : "auto";

    if (strcasecmp(dhe, "auto") == 0) {
        (void)SSL_CTX_set_dh_auto(
            ctx, 1); /* sized by the certificate's key; has no way to fail, nor below */
    } else if (strcasecmp(dhe, "legacy") == 0) {
        (void)SSL_CTX_set_dh_auto(ctx, 2); /* 1024 bits */
    } else if (strcasecmp(dhe, "none") != 0) {
        (void)snprintf(err->text, sizeof(err->text),
                       "dheparams \"%s\": allowed: auto, none, legacy", dhe);
        return false;
    }
    if (strcasecmp(curve, "none") == 0) {
        return drop_ecdhe(ctx) || refuse(err, "ecdhcurve", curve);
    }
    if (strcasecmp(curve, "auto") != 0 && SSL_CTX_set1_groups_list(ctx, curve) != 1) {
        return refuse(err, "ecdhcurve", curve);
    }
    return true;
}

static bool load_own_certificate(SSL_CTX *ctx, const struct tls_settings *s, struct tls_error *err)
{
    if (!is_set(s->key_file)) {
        return refuse_text(err, "no key file is set");
    }
    if (!is_set(s->cert_file)) {
        return refuse_text(err, "no certificate file is set");
    }
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(ctx, s->cert_file) != 1) {
        return refuse(err, "certificate file", s->cert_file);
    }
    return tls_use_key(ctx, s->key_file, err);
}

static bool load_client_ca(SSL_CTX *ctx, const struct tls_settings *s, struct tls_error *err)
{
    STACK_OF(X509_NAME) * names;

    if (!is_set(s->ca_file)) {
        return s->sslmode < TLS_VERIFY_CA ||
               refuse_text(err, "no CA file is set, but sslmode asks for verification");
    }
    ERR_clear_error();
    if (SSL_CTX_load_verify_locations(ctx, s->ca_file, NULL) != 1) {
        return refuse(err, "CA file", s->ca_file);
    }
    names = SSL_load_client_CA_file(s->ca_file);
    if (names == NULL) {
        return refuse(err, "CA file", s->ca_file);
    }
    SSL_CTX_set_client_CA_list(ctx, names);
    /* Also where nobody needs one: HBA rules with cert want to see it. */
    SSL_CTX_set_verify(
        ctx, SSL_VERIFY_PEER | (s->sslmode < TLS_VERIFY_CA ? 0 : SSL_VERIFY_FAIL_IF_NO_PEER_CERT),
        NULL);
    return true;
}

static bool configure(SSL_CTX *ctx, const struct tls_settings *s, struct tls_error *err)
{
    static const unsigned char session_context[] = "pgpoold";

    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF |
                                 SSL_OP_CLEANSE_PLAINTEXT);
    (void)SSL_CTX_set_mode(
        ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                 SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER); /* returns the new mask, not a verdict */
    SSL_CTX_set_read_ahead(ctx, 1);                    /* else each record costs two calls */
    SSL_CTX_set_alpn_select_cb(ctx, select_alpn, NULL);
    /* Resumption by ticket only: the client keeps the state, not a cache of ours that peers
     * could fill. */
    (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_timeout(ctx, SESSION_LIFETIME_S);
    if (SSL_CTX_set_session_id_context(ctx, session_context, sizeof(session_context) - 1) != 1 ||
        SSL_CTX_set_num_tickets(ctx, 1) != 1) {
        return refuse(err, "session", "tickets");
    }
    return set_tickets(ctx, err) && set_protocols(ctx, s, err) && set_ciphers(ctx, s, err) &&
           set_key_exchange(ctx, s, err) && load_own_certificate(ctx, s, err) &&
           load_client_ca(ctx, s, err);
}

struct tls_context *tls_context_new(const struct tls_settings *s, struct tls_error *err)
{
    struct tls_context *ctx = calloc(1, sizeof(*ctx));

    ERR_clear_error();
    if (ctx != NULL) {
        ctx->ssl_ctx = SSL_CTX_new(TLS_server_method());
    }
    if (ctx == NULL || ctx->ssl_ctx == NULL) {
        (void)refuse_text(err, "out of memory");
        return tls_context_free(ctx);
    }
    if (!configure(ctx->ssl_ctx, s, err)) {
        ERR_clear_error();
        return tls_context_free(ctx);
    }
    ERR_clear_error();
    return ctx;
}

bool tls_check_connecting(const struct tls_settings *s, struct tls_error *err)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    bool ok = ctx != NULL || refuse_text(err, "out of memory");

    if (ctx != NULL) {
    }
    ok = ok && set_ciphers(ctx, s, err);
    if (ok && is_set(s->key_file) && is_set(s->cert_file)) {
        ok = load_own_certificate(ctx, s, err);
    }
    if (ok && is_set(s->ca_file)) {
        ok = load_client_ca(ctx, s, err);
    }
    SSL_CTX_free(ctx);
    ERR_clear_error();
    return ok;
}

struct tls_context *tls_context_free(struct tls_context *ctx)
{
    if (ctx == NULL) {
        return NULL;
    }
    SSL_CTX_free(ctx->ssl_ctx);
    free(ctx);
    return NULL;
}

/* -- libpq's contexts -- */

static bool save_system_ciphers(void)
{
    SSL_CTX *ctx;
    char level[32];

    if (system_ciphers != NULL) {
        return true;
    }
    ctx = SSL_CTX_new(TLS_client_method());
    if (ctx == NULL) {
        return false;
    }
    (void)snprintf(level, sizeof(level), ":@SECLEVEL=%d", SSL_CTX_get_security_level(ctx));
    system_suites = list_ciphers(ctx, true, "");
    system_ciphers = system_suites == NULL ? NULL : list_ciphers(ctx, false, level);
    if (system_ciphers == NULL) {
        free(system_suites);
        system_suites = NULL;
    }
    SSL_CTX_free(ctx);
    return system_ciphers != NULL;
}

/* Gives OpenSSL's configuration machinery the section from which new contexts take their
 * defaults. */
static bool load_defaults(const char *list, const char *suites)
{
    struct buf text = BUF_INIT(2 * CIPHER_LIST_MAX_BYTES);
    CONF *conf = NCONF_new(NULL);
    BIO *bio = NULL;
    bool ok = false;

    buf_append_fmt(
        &text,
        "openssl_conf=top\n[top]\nssl_conf=ssl\n[ssl]\nsystem_default=d\n[d]\nCipherString=%s\n"
        "Ciphersuites=%s\n",
        list, suites);
    if (conf != NULL && buf_ok(&text)) {
        bio = BIO_new_mem_buf(text.data, (int)text.len);
    }
    if (bio != NULL) {
        ok = NCONF_load_bio(conf, bio, NULL) > 0 && CONF_modules_load(conf, NULL, 0) > 0;
    }
    BIO_free(bio);
    NCONF_free(conf);
    buf_done(&text);
    return ok;
}

/* Nothing that means more than itself in OpenSSL's configuration syntax. */
static bool is_plain(const char *list)
{
    return list[strspn(
               list, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:+-!@=_,. ")] ==
           '\0';
}

bool tls_set_libpq_ciphers(const char *ciphers, const char *tls13_ciphers, struct tls_error *err)
{
    const char *list;
    const char *suites;
    SSL_CTX *ctx;
    bool ok;

    ERR_clear_error();
    if (!save_system_ciphers()) {
        return refuse_text(err, "out of memory");
    }
    list = cipher_list(ciphers);
    suites = is_set(tls13_ciphers) ? tls13_ciphers : system_suites;
    ctx = SSL_CTX_new(TLS_client_method());
    if (ctx == NULL) {
        return refuse_text(err, "out of memory");
    }
    if (!is_plain(list) || SSL_CTX_set_cipher_list(ctx, list) != 1) {
        ok = refuse(err, "ciphers", list);
    } else if (!is_plain(suites) || SSL_CTX_set_ciphersuites(ctx, suites) != 1) {
        ok = refuse(err, "TLS 1.3 ciphers", suites);
    } else {
        ok = load_defaults(list, suites) || refuse(err, "ciphers", list);
    }
    SSL_CTX_free(ctx);
    ERR_clear_error();
    return ok;
}
