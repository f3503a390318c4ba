/* SPDX-License-Identifier: ISC */
/* The door to libldap. Runs on the threads of auth_worker.c. What is not said here, above all where
 * the certificates of the servers' CAs are, is taken from ldap.conf(5) and its environment, as for
 * every program of the machine. */
#include "daemon/auth_worker_internal.h"

#if WITH_LDAP

#include "config/config_errors.h"
#include "config/ldap_options.h"

#include <lber.h>
#include <ldap.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>
#include <sys/time.h>
#include <time.h>

#define NAME_MAX_BYTES 65536 /* of a DN or filter: more than any server takes */

struct ask {
    struct auth_job *job;
    struct ldap_options o;
    LDAP *ldap;
    uint64_t deadline_us; /* CLOCK_MONOTONIC */
    struct ldap_conncb callbacks;
};

static uint64_t now_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* The rest of the time, never 0: that would be for ever. */
static struct timeval time_left(const struct ask *a)
{
    uint64_t now = now_us();
    uint64_t left_us = a->deadline_us > now ? a->deadline_us - now : 1000;

    return (struct timeval){.tv_sec = (time_t)(left_us / 1000000),
                            .tv_usec = (suseconds_t)(left_us % 1000000)};
}

/* What the server adds to its answer; to be freed with ldap_memfree(). NULL: nothing. */
static char *detail_of(const struct ask *a)
{
    char *text = NULL;

    if (ldap_get_option(a->ldap, LDAP_OPT_DIAGNOSTIC_MESSAGE, &text) != LDAP_OPT_SUCCESS) {
        return NULL;
    }
    if (text != NULL && *text == '\0') {
        ldap_memfree(text);
        return NULL;
    }
    return text;
}

static bool say(const struct ask *a, enum auth_verdict verdict, const char *what, int code)
{
    char *detail = detail_of(a);

    auth_job_say(a->job, verdict, "%s: %s%s%.100s", what, ldap_err2string(code),
                 detail != NULL ? ": " : "", detail != NULL ? detail : "");
    ldap_memfree(detail);
    return false;
}

/* --- connection --- */

/* libldap reads ldap.conf when it is first used, and two threads that do so at once would see each
 * other's half. Not on the loop: it looks up the name of the machine too. */
static void init_library(void)
{
    int version;

    (void)ldap_get_option(NULL, LDAP_OPT_PROTOCOL_VERSION, &version); /* the verdict tells later */
}

/* With a network timeout libldap 2.5 turns round and round in a TLS handshake with GnuTLS that does
 * not get on, past every timeout. So that is in force only until a connection is there; from then on
 * the loop watches over it. */
static int on_connected(LDAP *ldap, Sockbuf *sb, LDAPURLDesc *url, struct sockaddr *addr,
                        struct ldap_conncb *cb)
{
    static const struct timeval never = {.tv_sec = -1};
    const struct ask *a = cb->lc_arg;
    ber_socket_t fd = -1;

    (void)url;
    (void)addr;
    if (ber_sockbuf_ctrl(sb, LBER_SB_OPT_GET_FD, &fd) != 1 || fd < 0) {
        return LDAP_OTHER;
    }
    auth_job_watch(a->job, fd);
    return ldap_set_option(ldap, LDAP_OPT_NETWORK_TIMEOUT, &never) == LDAP_OPT_SUCCESS
               ? LDAP_SUCCESS
               : LDAP_OTHER;
}

static void on_disconnected(LDAP *ldap, Sockbuf *sb, struct ldap_conncb *cb)
{
    (void)ldap;
    (void)sb;
    (void)cb;
}

static bool set_options(struct ask *a)
{
    struct timeval left = time_left(a);
    int version = LDAP_VERSION3;

    a->callbacks =
        (struct ldap_conncb){.lc_add = on_connected, .lc_del = on_disconnected, .lc_arg = a};
    /* A referral would send the search, and a name, to a server that nobody has named here. */
    return ldap_set_option(a->ldap, LDAP_OPT_PROTOCOL_VERSION, &version) == LDAP_OPT_SUCCESS &&
           ldap_set_option(a->ldap, LDAP_OPT_REFERRALS, LDAP_OPT_OFF) == LDAP_OPT_SUCCESS &&
           ldap_set_option(a->ldap, LDAP_OPT_NETWORK_TIMEOUT, &left) == LDAP_OPT_SUCCESS &&
           ldap_set_option(a->ldap, LDAP_OPT_TIMEOUT, &left) == LDAP_OPT_SUCCESS &&
           ldap_set_option(a->ldap, LDAP_OPT_CONNECT_CB, &a->callbacks) == LDAP_OPT_SUCCESS;
}

static bool open_connection(struct ask *a)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct buf uris = BUF_INIT(NAME_MAX_BYTES);
    int code;

    (void)pthread_once(&once, init_library);
    ldap_options_put_uris(&a->o, &uris);
    code = buf_ok(&uris) ? ldap_initialize(&a->ldap, buf_cstr(&uris)) : LDAP_NO_MEMORY;
    if (code != LDAP_SUCCESS) {
        auth_job_say(a->job, AUTH_VERDICT_FAILED, "LDAP cannot be used for %.100s: %s",
                     buf_cstr(&uris), ldap_err2string(code));
        buf_done(&uris);
        return false;
    }
    buf_done(&uris);
    if (!set_options(a)) {
        auth_job_say(a->job, AUTH_VERDICT_FAILED, "LDAP does not take its options");
        return false;
    }
    if (a->o.starts_tls) {
        code = ldap_start_tls_s(a->ldap, NULL, NULL);
        if (code != LDAP_SUCCESS) {
            return say(a, AUTH_VERDICT_FAILED, "LDAP StartTLS failed", code);
        }
    }
    return true;
}

static void close_connection(struct ask *a)
{
    if (a->ldap != NULL) {
        (void)ldap_unbind_ext_s(a->ldap, NULL, NULL);
        a->ldap = NULL;
    }
}

/* --- bind --- */

static int bind_as(const struct ask *a, const char *dn, const char *password, size_t len)
{
    struct berval credentials = {.bv_len = len, .bv_val = (char *)password};

    return ldap_sasl_bind_s(a->ldap, dn, LDAP_SASL_SIMPLE, &credentials, NULL, NULL, NULL);
}

/* Is this about the server, not about the user? */
static bool is_about_server(int code)
{
    return code < 0 || code == LDAP_BUSY || code == LDAP_UNAVAILABLE || code == LDAP_OTHER ||
           code == LDAP_PROTOCOL_ERROR || code == LDAP_TIMELIMIT_EXCEEDED ||
           code == LDAP_CONFIDENTIALITY_REQUIRED || code == LDAP_STRONG_AUTH_REQUIRED ||
           code == LDAP_AUTH_METHOD_NOT_SUPPORTED;
}

static void bind_as_user(const struct ask *a, const char *dn)
{
    int code;

    if (*dn == '\0') { /* a bind without a name succeeds, whatever the password is */
        auth_job_say(a->job, AUTH_VERDICT_WRONG, "LDAP: the user's entry has no name");
        return;
    }
    code = bind_as(a, dn, a->job->password.data, a->job->password.len);
    if (code == LDAP_SUCCESS) {
        a->job->verdict = AUTH_VERDICT_RIGHT;
        return;
    }
    (void)say(a, is_about_server(code) ? AUTH_VERDICT_FAILED : AUTH_VERDICT_WRONG,
              "LDAP bind as the user failed", code);
}

static void ask_by_simple_bind(struct ask *a)
{
    struct buf name = BUF_INIT(NAME_MAX_BYTES);

    if (!ldap_options_put_bind_name(&a->o, a->job->user, &name)) {
        auth_job_say(a->job, AUTH_VERDICT_WRONG, "LDAP: the user's name cannot be one of a domain");
    } else if (!buf_ok(&name)) {
        auth_job_say(a->job, AUTH_VERDICT_FAILED, "out of memory");
    } else if (open_connection(a)) {
        bind_as_user(a, buf_cstr(&name));
    }
    buf_done(&name);
}

/* --- search, then bind --- */

/* Who does not exist costs a bind too, so that time does not tell; nobody has this password. */
static void bind_as_nobody(struct ask *a)
{
    struct buf dn = BUF_INIT(NAME_MAX_BYTES);
    uint8_t random[16];
    char password[2 * sizeof(random)];

    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
        return;
    }
    for (size_t i = 0; i < sizeof(random); i++) {
        password[2 * i] = (char)('a' + random[i] % 16);
        password[2 * i + 1] = (char)('a' + random[i] / 16);
    }
    buf_append_str(&dn, "cn=nobody");
    if (*a->o.base_dn != '\0') {
        buf_append_fmt(&dn, ",%s", a->o.base_dn);
    }
    (void)bind_as(a, buf_cstr(&dn), password, sizeof(password)); /* the answer is known */
    buf_done(&dn);
}

/* The one entry's DN, to be freed with ldap_memfree(). NULL: it is said why. */
static char *only_dn(const struct ask *a, LDAPMessage *found)
{
    int n = ldap_count_entries(a->ldap, found);
    char *dn;

    if (n != 1) {
        auth_job_say(a->job, AUTH_VERDICT_WRONG, "LDAP search found %s",
                     n == 0 ? "no such user" : "several entries for the user");
        return NULL;
    }
    dn = ldap_get_dn(a->ldap, ldap_first_entry(a->ldap, found));
    if (dn == NULL) {
        auth_job_say(a->job, AUTH_VERDICT_FAILED, "LDAP: the found entry has no DN");
    }
    return dn;
}

static char *find_dn(const struct ask *a)
{
    static const int scopes[] = {
        [LDAP_OPTIONS_BASE] = LDAP_SCOPE_BASE,
        [LDAP_OPTIONS_ONE] = LDAP_SCOPE_ONELEVEL,
        [LDAP_OPTIONS_SUB] = LDAP_SCOPE_SUBTREE,
    };
    char none[] = LDAP_NO_ATTRS;
    char *attributes[] = {none, NULL};
    struct buf filter = BUF_INIT(NAME_MAX_BYTES);
    struct timeval left = time_left(a);
    LDAPMessage *found = NULL;
    char *dn = NULL;
    int code;

    ldap_options_put_filter(&a->o, a->job->user, &filter);
    code = !buf_ok(&filter)
               ? LDAP_NO_MEMORY
               : ldap_search_ext_s(a->ldap, a->o.base_dn, scopes[a->o.scope], buf_cstr(&filter),
                                   attributes, 0, NULL, NULL, &left, 2, &found);
    if (code == LDAP_SUCCESS || code == LDAP_SIZELIMIT_EXCEEDED || code == LDAP_PARTIAL_RESULTS) {
        dn = only_dn(a, found);
    } else {
        (void)say(a, AUTH_VERDICT_FAILED, "LDAP search failed", code);
    }
    ldap_msgfree(found);
    buf_done(&filter);
    return dn;
}

static void ask_by_search(struct ask *a)
{
    int code;
    char *dn;

    if (!open_connection(a)) {
        return;
    }
    code = bind_as(a, a->o.bind_dn, a->o.bind_password, strlen(a->o.bind_password));
    if (code != LDAP_SUCCESS) {
        (void)say(a, AUTH_VERDICT_FAILED, "LDAP bind for the search failed", code);
        return;
    }
    dn = find_dn(a);
    if (dn != NULL) {
        bind_as_user(a, dn); /* on the same connection: as nobody any more, if it fails */
        ldap_memfree(dn);
    } else if (a->job->verdict == AUTH_VERDICT_WRONG) {
        bind_as_nobody(a);
    }
}

void auth_job_ask_ldap(struct auth_job *job)
{
    struct ask a = {.job = job, .deadline_us = now_us() + job->timeout_us};
    char why[CONFIG_WHY_SIZE];

    if (!ldap_options_read(job->ldap_options.data, &a.o, why)) {
        auth_job_say(job, AUTH_VERDICT_FAILED, "LDAP options: %.200s", why);
        return;
    }
    if (a.o.does_search) {
        ask_by_search(&a);
    } else {
        ask_by_simple_bind(&a);
    }
    close_connection(&a);
    ldap_options_done(&a.o);
}

#endif
