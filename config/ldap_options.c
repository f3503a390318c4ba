/* SPDX-License-Identifier: ISC */
#include "config/ldap_options.h"

#include "config/config_errors.h"
#include "daemon/util/num.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USER_PLACE "$username"
#define PORT_MAX 65535

struct reader {
    struct ldap_options *o;
    bool has_url;
    bool has_base_dn;
    char *why;
};

static bool wrong(const struct reader *r, const char *text)
{
    (void)snprintf(r->why, CONFIG_WHY_SIZE, "%s", text);
    return false;
}

/* --- values --- */

static bool read_port(struct reader *r, const char *value)
{
    uint64_t port;

    if (!num_parse_u64(value, PORT_MAX, &port) || port == 0) {
        return wrong(r, "ldapport: not a port: 1 to 65535");
    }
    r->o->port = (unsigned)port;
    return true;
}

static bool read_scheme(struct reader *r, const char *value)
{
    if (strcmp(value, "ldap") != 0 && strcmp(value, "ldaps") != 0) {
        return wrong(r, "ldapscheme: not known: ldap or ldaps");
    }
    r->o->is_ldaps = strcmp(value, "ldaps") == 0;
    return true;
}

static bool read_tls(struct reader *r, const char *value)
{
    if (strcmp(value, "0") != 0 && strcmp(value, "1") != 0) {
        return wrong(r, "ldaptls: not known: 0 or 1");
    }
    r->o->starts_tls = *value == '1';
    return true;
}

static bool read_server(struct reader *r, const char *value)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  ".-_:[]% ";

    if (strspn(value, allowed) != strlen(value)) {
        return wrong(r, "ldapserver: not the name of a host: names or addresses with blanks "
                        "between them; a URL goes into ldapurl");
    }
    r->o->server = value + strspn(value, " ");
    return true;
}

/* --- ldapurl: RFC 4516, scheme://host:port/dn?attribute?scope?filter --- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool percent_decode(char *text)
{
    char *to = text;

    for (; *text != '\0'; text++) {
        char c = *text;

        if (c == '%') {
            int high = hex_value(text[1]);
            int low = high < 0 ? -1 : hex_value(text[2]);

            if (low < 0 || (high == 0 && low == 0)) {
                return false;
            }
            c = (char)(high * 16 + low);
            text += 2;
        }
        *to++ = c;
    }
    *to = '\0';
    return true;
}

/* Cuts @text at the first of @stop and returns what is behind it; "" when there is none. */
static char *cut(char *text, char stop)
{
    char *at = strchr(text, stop);

    if (at == NULL) {
        return text + strlen(text);
    }
    *at = '\0';
    return at + 1;
}

static bool read_url_host(struct reader *r, char *host)
{
    char *colon = strrchr(host, ':');
    char *bracket = strrchr(host, ']');

    if (colon != NULL && (bracket == NULL || colon > bracket)) {
        *colon = '\0';
        if (!read_port(r, colon + 1)) {
            return wrong(r, "ldapurl: not a port: 1 to 65535");
        }
    }
    if (strchr(host, ' ') != NULL || !read_server(r, host)) {
        return wrong(r, "ldapurl: not the name of a host behind the scheme: ldap://host:port/dn");
    }
    return true;
}

static bool read_url_scope(struct reader *r, const char *scope)
{
    static const struct {
        const char *word;
        enum ldap_options_scope scope;
    } scopes[] = {
        {"", LDAP_OPTIONS_BASE},
        {"base", LDAP_OPTIONS_BASE},
        {"one", LDAP_OPTIONS_ONE},
        {"sub", LDAP_OPTIONS_SUB},
    };

    for (size_t i = 0; i < ARRAY_LEN(scopes); i++) {
        if (strcmp(scopes[i].word, scope) == 0) {
            r->o->scope = scopes[i].scope;
            return true;
        }
    }
    return wrong(r, "ldapurl: unknown scope: base, one or sub");
}

static bool read_url_rest(struct reader *r, char *dn)
{
    char *attributes = cut(dn, '?');
    char *scope = cut(attributes, '?');
    char *filter = cut(scope, '?');
    char *extensions = cut(filter, '?');

    (void)cut(attributes, ','); /* one attribute holds the name: the first */
    if (*extensions != '\0') {
        return wrong(r, "ldapurl: extensions are not known: ldap://host/dn?attribute?scope?filter");
    }
    if (!percent_decode(dn) || !percent_decode(attributes) || !percent_decode(filter)) {
        return wrong(r, "ldapurl: '%' without the two hexadecimal digits of a byte other than 0");
    }
    r->o->base_dn = dn;
    r->has_base_dn = *dn != '\0';
    r->o->attribute = attributes;
    r->o->filter = filter;
    return read_url_scope(r, scope);
}

static bool read_url(struct reader *r, const char *value)
{
    char *host;

    if (r->has_url) {
        return wrong(r, "ldapurl: given twice: once");
    }
    r->has_url = true;
    r->o->url = strdup(value);
    if (r->o->url == NULL) {
        return wrong(r, "out of memory");
    }
    if (strncmp(r->o->url, "ldap://", 7) == 0) {
        r->o->is_ldaps = false;
        host = r->o->url + 7;
    } else if (strncmp(r->o->url, "ldaps://", 8) == 0) {
        r->o->is_ldaps = true;
        host = r->o->url + 8;
    } else {
        return wrong(r, "ldapurl: unknown scheme: ldap:// or ldaps://");
    }
    char *dn = cut(host, '/');

    return read_url_host(r, host) && read_url_rest(r, dn);
}

/* --- the whole --- */

static bool read_pair(struct reader *r, const struct conninfo_pair *p)
{
    struct ldap_options *o = r->o;
    const struct {
        const char *key;
        const char **text;                                      /* either this */
        bool (*read)(struct reader *reader, const char *value); /* or that */
    } keys[] = {
        {"ldapserver", NULL, read_server},
        {"ldapport", NULL, read_port},
        {"ldapscheme", NULL, read_scheme},
        {"ldaptls", NULL, read_tls},
        {"ldapurl", NULL, read_url},
        {"ldapprefix", &o->prefix, NULL},
        {"ldapsuffix", &o->suffix, NULL},
        {"ldapbasedn", &o->base_dn, NULL},
        {"ldapbinddn", &o->bind_dn, NULL},
        {"ldapbindpasswd", &o->bind_password, NULL},
        {"ldapsearchattribute", &o->attribute, NULL},
        {"ldapsearchfilter", &o->filter, NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (strcmp(keys[i].key, p->key) != 0) {
            continue;
        }
        if (keys[i].read != NULL) {
            return keys[i].read(r, p->value);
        }
        *keys[i].text = p->value;
        r->has_base_dn = r->has_base_dn || keys[i].text == &o->base_dn;
        return true;
    }
    return wrong(r, "an option that ldap does not have");
}

static bool read_pairs(struct reader *r)
{
    struct conninfo_pair p;
    const char *bad = NULL;

    for (;;) {
        switch (conninfo_next(&r->o->pairs, &p, &bad)) {
        case CONNINFO_PAIR:
            if (!read_pair(r, &p)) {
                return false;
            }
            break;
        case CONNINFO_END:
            return true;
        case CONNINFO_BAD:
            return wrong(r, bad);
        }
    }
}

static bool check(struct reader *r)
{
    struct ldap_options *o = r->o;
    bool for_simple = *o->prefix != '\0' || *o->suffix != '\0';
    bool for_search = r->has_base_dn || *o->bind_dn != '\0' || *o->bind_password != '\0' ||
                      *o->attribute != '\0' || *o->filter != '\0';

    if (*o->server == '\0') {
        return wrong(r, "ldap without a server: ldapserver= or ldapurl=");
    }
    if (for_simple && for_search) {
        return wrong(r, "ldapprefix and ldapsuffix are for a bind without a search: either these, "
                        "or ldapbasedn, ldapbinddn, ldapbindpasswd, ldapsearchattribute, "
                        "ldapsearchfilter and what they are in ldapurl");
    }
    o->does_search = !for_simple;
    if (o->does_search && !r->has_base_dn && !r->has_url) {
        return wrong(r, "how to find a user is not told: ldapprefix=, ldapsuffix=, ldapbasedn= or "
                        "ldapurl=");
    }
    if (*o->attribute != '\0' && *o->filter != '\0') {
        return wrong(r, "ldapsearchattribute and ldapsearchfilter: one of the two");
    }
    if (*o->filter != '\0' && strstr(o->filter, USER_PLACE) == NULL) {
        return wrong(r, "ldapsearchfilter: finds the same for everybody: " USER_PLACE " in it");
    }
    if (o->is_ldaps && o->starts_tls) {
        return wrong(r, "ldaptls=1: ldaps is encrypted already: one of the two");
    }
    return true;
}

bool ldap_options_read(const char *text, struct ldap_options *ret, char *why)
{
    struct ldap_options o = {
        .server = "",
        .base_dn = "",
        .bind_dn = "",
        .bind_password = "",
        .attribute = "",
        .filter = "",
        .scope = LDAP_OPTIONS_SUB,
        .prefix = "",
        .suffix = "",
    };
    struct reader r = {.o = &o, .why = why};

    if (!conninfo_init(&o.pairs, text)) {
        return wrong(&r, "out of memory");
    }
    if (!read_pairs(&r) || !check(&r)) {
        ldap_options_done(&o);
        return false;
    }
    *ret = o;
    return true;
}

void ldap_options_done(struct ldap_options *o)
{
    conninfo_done(&o->pairs);
    free(o->url);
    o->url = NULL;
}

/* --- what follows for a user --- */

static void put_host(const struct ldap_options *o, const char *host, size_t len, struct buf *to)
{
    /* An IPv6 address needs its brackets before a port. */
    bool bare = *host != '[' && memchr(host, ':', len) != NULL &&
                memchr(host, ':', len) != memrchr(host, ':', len);

    buf_append_str(to, o->is_ldaps ? "ldaps://" : "ldap://");
    buf_append_str(to, bare ? "[" : "");
    buf_append(to, host, len);
    buf_append_str(to, bare ? "]" : "");
    if (o->port != 0) {
        buf_append_fmt(to, ":%u", o->port);
    }
}

void ldap_options_put_uris(const struct ldap_options *o, struct buf *to)
{
    const char *host = o->server;

    while (*host != '\0') {
        size_t len = strcspn(host, " ");

        if (to->len > 0) {
            buf_append_u8(to, ' ');
        }
        put_host(o, host, len, to);
        host += len;
        host += strspn(host, " ");
    }
}

static void put_hex(struct buf *to, uint8_t c)
{
    buf_append_fmt(to, "\\%02X", c);
}

static bool is_plain(uint8_t c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '-' ||
           c == '.' || c == '_' || c == '@';
}

/* Everything that means something, or might to somebody, goes as its number: both RFCs allow that
 * for any byte. */
static void put_escaped(const char *name, struct buf *to)
{
    for (; *name != '\0'; name++) {
        uint8_t c = (uint8_t)*name;

        if (is_plain(c)) {
            buf_append_u8(to, c);
        } else {
            put_hex(to, c);
        }
    }
}

bool ldap_options_put_bind_name(const struct ldap_options *o, const char *user, struct buf *to)
{
    bool is_dn = strchr(o->prefix, '=') != NULL || strchr(o->suffix, '=') != NULL;

    buf_append_str(to, o->prefix);
    if (is_dn) {
        put_escaped(user, to);
    } else {
        /* Not to become a DN by the user's own doing, nor somebody of another domain. */
        for (const char *c = user; *c != '\0'; c++) {
            if ((uint8_t)*c < 0x20 || (uint8_t)*c == 0x7f || strchr("=,;+\"<>\\/@", *c) != NULL) {
                return false;
            }
        }
        buf_append_str(to, user);
    }
    buf_append_str(to, o->suffix);
    return true;
}

void ldap_options_put_filter(const struct ldap_options *o, const char *user, struct buf *to)
{
    const char *rest = o->filter;

    if (*rest == '\0') {
        buf_append_fmt(to, "(%s=", *o->attribute != '\0' ? o->attribute : "uid");
        put_escaped(user, to);
        buf_append_u8(to, ')');
        return;
    }
    for (;;) {
        const char *place = strstr(rest, USER_PLACE);

        if (place == NULL) {
            buf_append_str(to, rest);
            return;
        }
        buf_append(to, rest, (size_t)(place - rest));
        put_escaped(user, to);
        rest = place + strlen(USER_PLACE);
    }
}
