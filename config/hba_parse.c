/* SPDX-License-Identifier: ISC */
/* From the lines of an HBA file to rules. Everything that cannot be honoured is refused here with
 * the reason. */
#include "config/hba_internal.h"

#include "daemon/util/buf.h"
#include "daemon/util/num.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define INCLUDE_DEPTH_MAX 10 /* of @file inside @file */
#define LDAP_OPTIONS_MAX 65536

/* One line on its way to a rule. */
struct rule_reader {
    struct hba_rule *rule;
    const struct auth_line *line;
    unsigned next; /* field to read next */
    const char *file;
    struct config_errors *errors;
};

#define fault(r, ...) config_errors_add((r)->errors, (r)->file, (r)->line->line, __VA_ARGS__)

/* The next field when it is one word; NULL with a fault when it is missing or a list. */
static const struct auth_token *take_word(struct rule_reader *r, const char *what,
                                          const char *allowed)
{
    const struct auth_field *f;

    if (r->next == r->line->n) {
        fault(r, "%s is missing: %s", what, allowed);
        return NULL;
    }
    f = &r->line->fields[r->next++];
    if (f->n != 1) {
        fault(r, "%s is a list: one of %s", what, allowed);
        return NULL;
    }
    return &f->tokens[0];
}

/* ---- connection type ---- */

static bool read_conn_type(struct rule_reader *r)
{
    static const char allowed[] = "local, host, hostssl, hostnossl";
    static const struct {
        const char *word;
        enum hba_conn_type type;
    } types[] = {
        {"local", HBA_LOCAL},
        {"host", HBA_HOST},
        {"hostssl", HBA_HOSTSSL},
        {"hostnossl", HBA_HOSTNOSSL},
    };
    const struct auth_token *t = take_word(r, "connection type", allowed);

    if (t == NULL) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (strcmp(t->text, types[i].word) == 0) {
            r->rule->conn_type = types[i].type;
            return true;
        }
    }
    if (strcmp(t->text, "hostgssenc") == 0 || strcmp(t->text, "hostnogssenc") == 0) {
        fault(r, "%s: this pooler does not speak GSSAPI: %s", t->text, allowed);
    } else if (strncmp(t->text, "include", 7) == 0) {
        fault(r,
              "%.60s: whole files of rules cannot be included, only @file for a list of names: %s",
              t->text, allowed);
    } else {
        fault(r, "\"%.60s\" is not a connection type: %s", t->text, allowed);
    }
    return false;
}

/* ---- lists of names ---- */

enum name_kind {
    NAME_DATABASE,
    NAME_USER,
};

static bool check_name(struct rule_reader *r, enum name_kind kind, const struct auth_token *t)
{
    if (t->quoted) {
        return true;
    }
    if (kind == NAME_USER && *t->text == '+') {
        fault(r,
              "user \"%.60s\": who belongs to a role is known to the server only: name the users, "
              "or put the name "
              "in quotes",
              t->text);
        return false;
    }
    if (kind == NAME_DATABASE &&
        (strcmp(t->text, "samerole") == 0 || strcmp(t->text, "samegroup") == 0)) {
        fault(r,
              "database %s: who belongs to a role is known to the server only: name the databases",
              t->text);
        return false;
    }
    if (*t->text == '/') {
        fault(r,
              "\"%.60s\": names cannot be given by a regular expression here: a name, or in quotes",
              t->text);
        return false;
    }
    return true;
}

/* A list on its way into a rule. */
struct name_list {
    enum name_kind kind;
    struct auth_field *to;
};

static bool add_names(struct rule_reader *r, const struct name_list *list,
                      const struct auth_field *from, const char *base, unsigned depth);

/* The path of @name seen from the file @base; the caller frees it. */
static char *path_beside(const char *base, const char *name)
{
    const char *slash = strrchr(base, '/');
    char *path;

    if (*name == '/' || slash == NULL) {
        return strdup(name);
    }
    return asprintf(&path, "%.*s/%s", (int)(slash - base), base, name) < 0 ? NULL : path;
}

/* All words of all lines of a file, as if they stood in the list. */
static bool add_names_of_file(struct rule_reader *r, const struct name_list *list, const char *name,
                              const char *base, unsigned depth)
{
    unsigned n_before = config_errors_count(r->errors);
    char *path;
    struct text_file in;
    struct auth_line line;

    if (depth == INCLUDE_DEPTH_MAX) {
        fault(r, "@%.200s: nested too deeply: at most %d files", name, INCLUDE_DEPTH_MAX);
        return false;
    }
    path = path_beside(base, name);
    if (path == NULL) {
        fault(r, "out of memory");
        return false;
    }
    if (text_file_open(&in, path, r->file, r->line->line, r->errors)) {
        while (auth_line_read(&in, &line)) {
            bool ok = true;

            for (unsigned i = 0; i < line.n && ok; i++) {
                ok = add_names(r, list, &line.fields[i], path, depth + 1);
            }
            auth_line_done(&line);
            if (!ok) {
                break;
            }
        }
        text_file_done(&in);
    }
    free(path);
    return config_errors_count(r->errors) == n_before;
}

static bool add_names(struct rule_reader *r, const struct name_list *list,
                      const struct auth_field *from, const char *base, unsigned depth)
{
    for (unsigned i = 0; i < from->n; i++) {
        const struct auth_token *t = &from->tokens[i];

        if (!t->quoted && t->text[0] == '@' && t->text[1] != '\0') {
            if (!add_names_of_file(r, list, t->text + 1, base, depth)) {
                return false;
            }
            continue;
        }
        if (!check_name(r, list->kind, t)) {
            return false;
        }
        if (!auth_field_add(list->to, t->text, t->quoted)) {
            fault(r, "out of memory");
            return false;
        }
    }
    return true;
}

static bool read_names(struct rule_reader *r, enum name_kind kind, struct auth_field *to)
{
    struct name_list list = {kind, to};

    if (r->next == r->line->n) {
        fault(r, "%s is missing: names, comma-separated, or all",
              kind == NAME_DATABASE ? "database" : "user");
        return false;
    }
    return add_names(r, &list, &r->line->fields[r->next++], r->file, 0);
}

/* ---- addresses ---- */

static bool parse_address(const char *text, struct hba_address *ret)
{
    struct hba_address a = {.family = AF_INET};

    if (inet_pton(AF_INET, text, a.bytes) != 1) {
        a.family = AF_INET6;
        if (inet_pton(AF_INET6, text, a.bytes) != 1) {
            return false;
        }
    }
    *ret = a;
    return true;
}

static void mask_of_bits(uint8_t mask[16], unsigned n_bits)
{
    memset(mask, 0, 16);
    for (unsigned i = 0; i < n_bits; i++) {
        mask[i / 8] = (uint8_t)(mask[i / 8] | (0x80 >> (i % 8)));
    }
}

static bool read_cidr(struct rule_reader *r, const char *text, const char *slash)
{
    struct hba_net *net = &r->rule->conditions->net;
    char address[INET6_ADDRSTRLEN + 1];
    size_t len = (size_t)(slash - text);
    uint64_t n_bits;

    if (len >= sizeof(address)) {
        fault(r, "\"%.60s\" is not an address: IPv4 or IPv6, with /bits", text);
        return false;
    }
    memcpy(address, text, len);
    address[len] = '\0';
    if (!parse_address(address, &net->addr)) {
        fault(r, "\"%.60s\" is not an address: IPv4 or IPv6, with /bits", text);
        return false;
    }
    if (!num_parse_u64(slash + 1, net->addr.family == AF_INET ? 32 : 128, &n_bits)) {
        fault(r, "\"%.60s\": wrong number of bits: 0 to %d", text,
              net->addr.family == AF_INET ? 32 : 128);
        return false;
    }
    mask_of_bits(net->mask, (unsigned)n_bits);
    return true;
}

/* "address mask" in two columns. */
static bool read_masked(struct rule_reader *r, const char *text)
{
    struct hba_net *net = &r->rule->conditions->net;
    const struct auth_token *t;
    struct hba_address mask;

    if (!parse_address(text, &net->addr)) {
        fault(r,
              "\"%.60s\" is not an address, and host names are not looked up here: IPv4 or IPv6 "
              "with /bits or a mask, "
              "all, samehost, samenet",
              text);
        return false;
    }
    t = take_word(r, "mask", "a mask such as 255.255.255.0, or /bits behind the address");
    if (t == NULL) {
        return false;
    }
    if (!parse_address(t->text, &mask) || mask.family != net->addr.family) {
        fault(r, "\"%.60s\" is not a mask for %s: one such as %s, or /bits behind the address",
              t->text, text, net->addr.family == AF_INET ? "255.255.255.0" : "ffff:ffff::");
        return false;
    }
    memcpy(net->mask, mask.bytes, sizeof(net->mask));
    return true;
}

/* Rules for IPv4 mapped into IPv6 must fit what hba_address_from() makes of such clients. */
static void unmap_net(struct hba_net *net)
{
    static const uint8_t prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    static const uint8_t full[12] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                     0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

    if (net->addr.family == AF_INET6 && memcmp(net->addr.bytes, prefix, 12) == 0 &&
        memcmp(net->mask, full, 12) == 0) {
        net->addr.family = AF_INET;
        memmove(net->addr.bytes, net->addr.bytes + 12, 4);
        memset(net->addr.bytes + 4, 0, 12);
        memmove(net->mask, net->mask + 12, 4);
    }
}

static bool read_address(struct rule_reader *r)
{
    struct hba_conditions *c = r->rule->conditions;
    const struct auth_token *t =
        take_word(r, "address", "IPv4 or IPv6 with /bits or a mask, all, samehost, samenet");
    const char *slash;

    if (t == NULL) {
        return false;
    }
    if (auth_token_is(t, "all")) {
        c->address_kind = HBA_ADDRESS_ALL;
        return true;
    }
    if (auth_token_is(t, "samehost")) {
        c->address_kind = HBA_ADDRESS_SAMEHOST;
        return true;
    }
    if (auth_token_is(t, "samenet")) {
        c->address_kind = HBA_ADDRESS_SAMENET;
        return true;
    }
    c->address_kind = HBA_ADDRESS_NET;
    slash = strchr(t->text, '/');
    if (!(slash == NULL ? read_masked(r, t->text) : read_cidr(r, t->text, slash))) {
        return false;
    }
    unmap_net(&c->net);
    return true;
}

/* ---- method and options ---- */

static bool check_method_place(struct rule_reader *r)
{
    const struct hba_rule *rule = r->rule;

    if (rule->method == AUTH_TYPE_PEER && rule->conn_type != HBA_LOCAL) {
        fault(r, "peer: only a Unix socket tells who is at its other end: with local");
        return false;
    }
    if (rule->method == AUTH_TYPE_CERT && rule->conn_type != HBA_HOSTSSL) {
        fault(r, "cert: only a TLS connection has a client certificate: with hostssl");
        return false;
    }
    return true;
}

static bool read_method(struct rule_reader *r)
{
    static const char allowed[] =
        "trust, reject, md5, password, scram-sha-256, peer, cert, pam, ldap";
    static const struct {
        const char *word;
        enum auth_type method;
    } methods[] = {
        {"trust", AUTH_TYPE_TRUST},
        {"reject", AUTH_TYPE_REJECT},
        {"md5", AUTH_TYPE_MD5},
        {"password", AUTH_TYPE_PLAIN},
        {"scram-sha-256", AUTH_TYPE_SCRAM},
        {"peer", AUTH_TYPE_PEER},
        {"cert", AUTH_TYPE_CERT},
        {"pam", AUTH_TYPE_PAM},
        {"ldap", AUTH_TYPE_LDAP},
    };
    static const char *const refused[] = {"gss", "sspi",  "ident", "radius",
                                          "bsd", "oauth", "crypt", "krb5"};
    const struct auth_token *t = take_word(r, "method", allowed);

    if (t == NULL) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        if (strcmp(t->text, methods[i].word) == 0) {
            r->rule->method = methods[i].method;
            return check_method_place(r);
        }
    }
    if (r->rule->conn_type == HBA_LOCAL && strcmp(t->text, "ident") == 0) {
        r->rule->method = AUTH_TYPE_PEER; /* its old name on a Unix socket, as in PostgreSQL */
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        if (strcmp(t->text, refused[i]) == 0) {
            fault(r, "method %s is PostgreSQL's, but this pooler does not have it: %s", t->text,
                  allowed);
            return false;
        }
    }
    fault(r, "\"%.60s\" is not a method: %s", t->text, allowed);
    return false;
}

/* Appends key='value' with its quotes doubled. */
static void append_pair(struct buf *to, const char *key, size_t key_len, const char *value)
{
    if (to->len > 0) {
        buf_append_u8(to, ' ');
    }
    buf_append(to, key, key_len);
    buf_append_str(to, "='");
    for (; *value != '\0'; value++) {
        if (*value == '\'') {
            buf_append_u8(to, '\'');
        }
        buf_append_u8(to, (uint8_t)*value);
    }
    buf_append_u8(to, '\'');
}

static bool ldap_key_is_known(const char *key, size_t len)
{
    static const char *const keys[] = {
        "ldapserver",       "ldapport",   "ldapscheme", "ldaptls",        "ldapprefix",
        "ldapsuffix",       "ldapbasedn", "ldapbinddn", "ldapbindpasswd", "ldapsearchattribute",
        "ldapsearchfilter", "ldapurl",
    };

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (strlen(keys[i]) == len && memcmp(keys[i], key, len) == 0) {
            return true;
        }
    }
    return false;
}

/* One "key=value" of method ldap. false: @why says why. */
static bool add_ldap_option(const char *option, struct buf *to, char *why)
{
    const char *equals = strchr(option, '=');

    if (equals == NULL) {
        (void)snprintf(why, CONFIG_WHY_SIZE, "\"%.60s\" is not an option: name=value", option);
        return false;
    }
    if (!ldap_key_is_known(option, (size_t)(equals - option))) {
        (void)snprintf(why, CONFIG_WHY_SIZE,
                       "\"%.*s\" is not an option of ldap: ldapserver, ldapport, ldapscheme, "
                       "ldaptls, ldapprefix, "
                       "ldapsuffix, ldapbasedn, ldapbinddn, ldapbindpasswd, ldapsearchattribute, "
                       "ldapsearchfilter, "
                       "ldapurl",
                       (int)MIN((size_t)(equals - option), (size_t)60), option);
        return false;
    }
    append_pair(to, option, (size_t)(equals - option), equals + 1);
    return true;
}

char *hba_ldap_options(const char *text, char *why)
{
    struct buf out = BUF_INIT(LDAP_OPTIONS_MAX);
    struct auth_line line = {0};
    const char *bad = "out of memory";
    char *result = NULL;

    if (!auth_line_parse(text, &line, &bad)) {
        (void)snprintf(why, CONFIG_WHY_SIZE, "%s", bad);
        return NULL;
    }
    for (unsigned i = 0; i < line.n; i++) {
        for (unsigned j = 0; j < line.fields[i].n; j++) {
            if (!add_ldap_option(line.fields[i].tokens[j].text, &out, why)) {
                goto done;
            }
        }
    }
    result = buf_ok(&out) ? strdup(buf_cstr(&out)) : NULL;
    if (result == NULL) {
        (void)snprintf(why, CONFIG_WHY_SIZE, "too long or out of memory: at most %d bytes",
                       LDAP_OPTIONS_MAX);
    }
done:
    auth_line_done(&line);
    buf_done_secret(&out);
    return result;
}

static bool read_map(struct rule_reader *r, const char *value)
{
    if (r->rule->method != AUTH_TYPE_PEER && r->rule->method != AUTH_TYPE_CERT) {
        fault(r, "map=: this method has no outside name to map: with peer and cert");
        return false;
    }
    free(r->rule->map);
    r->rule->map = strdup(value);
    if (r->rule->map == NULL) {
        fault(r, "out of memory");
        return false;
    }
    return true;
}

static bool read_option(struct rule_reader *r, const char *option, struct buf *ldap)
{
    char why[CONFIG_WHY_SIZE];

    if (strncmp(option, "map=", 4) == 0) {
        return read_map(r, option + 4);
    }
    if (r->rule->method != AUTH_TYPE_LDAP) {
        fault(r,
              "option \"%.60s\" is not known for this method: map= with peer and cert, ldap...= "
              "with ldap",
              option);
        return false;
    }
    if (!add_ldap_option(option, ldap, why)) {
        fault(r, "%s", why);
        return false;
    }
    return true;
}

static bool read_options(struct rule_reader *r)
{
    struct buf ldap = BUF_INIT(LDAP_OPTIONS_MAX);
    bool ok = true;

    for (; ok && r->next < r->line->n; r->next++) {
        const struct auth_field *f = &r->line->fields[r->next];

        for (unsigned i = 0; ok && i < f->n; i++) {
            ok = read_option(r, f->tokens[i].text, &ldap);
        }
    }
    if (ok) {
        r->rule->ldap_options = buf_ok(&ldap) ? strdup(buf_cstr(&ldap)) : NULL;
        if (r->rule->ldap_options == NULL) {
            fault(r, "options too long, or out of memory: at most %d bytes", LDAP_OPTIONS_MAX);
            ok = false;
        }
    }
    buf_done_secret(&ldap);
    return ok;
}

/* ---- rules and files ---- */

static bool read_rule(struct rule_reader *r)
{
    struct hba_rule *rule = r->rule;

    rule->line = r->line->line;
    rule->file = strdup(r->file);
    rule->map = strdup("");
    rule->conditions = calloc(1, sizeof(*rule->conditions));
    if (rule->file == NULL || rule->map == NULL || rule->conditions == NULL) {
        fault(r, "out of memory");
        return false;
    }
    return read_conn_type(r) && read_names(r, NAME_DATABASE, &rule->conditions->databases) &&
           read_names(r, NAME_USER, &rule->conditions->users) &&
           (rule->conn_type == HBA_LOCAL || read_address(r)) && read_method(r) && read_options(r);
}

static void add_rule(struct hba *h, const struct auth_line *line, struct text_file *in)
{
    struct hba_rule rule = {0};
    struct rule_reader r = {.rule = &rule, .line = line, .file = in->name, .errors = in->errors};
    struct hba_rule *grown;

    if (!read_rule(&r)) {
        hba_rule_done(&rule);
        return;
    }
    grown = reallocarray(h->rules, h->n_rules + 1, sizeof(*grown));
    if (grown == NULL) {
        fault(&r, "out of memory");
        hba_rule_done(&rule);
        return;
    }
    h->rules = grown;
    h->rules[h->n_rules++] = rule;
}

/* Consumes @in. */
static struct hba *read_all(struct text_file *in, struct config_errors *errors, unsigned n_before)
{
    struct hba *h = calloc(1, sizeof(*h));
    struct auth_line line;

    if (h == NULL) {
        config_errors_add(errors, in->name, 0, "out of memory");
    }
    while (h != NULL && auth_line_read(in, &line)) {
        add_rule(h, &line, in);
        auth_line_done(&line);
    }
    text_file_done(in);
    return config_errors_count(errors) == n_before ? h : hba_free(h);
}

struct hba *hba_load_stream(FILE *stream, const char *name, struct config_errors *errors)
{
    unsigned n_before = config_errors_count(errors);
    struct text_file in;

    return text_file_wrap(&in, stream, name, errors) ? read_all(&in, errors, n_before) : NULL;
}

static bool needs_interfaces(const struct hba *h)
{
    for (unsigned i = 0; i < h->n_rules; i++) {
        enum hba_address_kind kind = h->rules[i].conditions->address_kind;

        if (kind == HBA_ADDRESS_SAMEHOST || kind == HBA_ADDRESS_SAMENET) {
            return true;
        }
    }
    return false;
}

static bool load_interfaces(struct hba *h, const char *path, struct config_errors *errors)
{
    struct ifaddrs *list;
    bool ok = true;

    if (getifaddrs(&list) != 0) {
        config_errors_add(errors, path, 0,
                          "samehost, samenet: the addresses of this machine cannot be read: %s",
                          strerror(errno));
        return false;
    }
    for (const struct ifaddrs *i = list; i != NULL && ok; i = i->ifa_next) {
        const struct sockaddr *mask = i->ifa_netmask;

        if (i->ifa_addr == NULL ||
            (i->ifa_addr->sa_family != AF_INET && i->ifa_addr->sa_family != AF_INET6)) {
            continue;
        }
        if (mask != NULL && mask->sa_family != i->ifa_addr->sa_family) {
            mask = NULL;
        }
        ok = hba_add_interface(h, i->ifa_addr, mask);
    }
    freeifaddrs(list);
    if (!ok) {
        config_errors_add(errors, path, 0, "out of memory");
    }
    return ok;
}

struct hba *hba_load(const char *path, struct config_errors *errors)
{
    unsigned n_before = config_errors_count(errors);
    struct text_file in;
    struct hba *h;

    if (!text_file_open(&in, path, "", 0, errors)) {
        return NULL;
    }
    h = read_all(&in, errors, n_before);
    if (h != NULL && needs_interfaces(h) && !load_interfaces(h, path, errors)) {
        return hba_free(h);
    }
    return h;
}
