/* SPDX-License-Identifier: ISC */
/* Prepared statements while a client changes servers between transactions.
 *
 * Named ones: the server knows them under names of ours (pool/stmt.h). A client's Parse is always really sent, under a
 * new name, so errors and fresh plans are PostgreSQL's own; a Describe of ours behind it tells the statement's version.
 * A Bind or Describe is rewritten to the name that this server connection has for the same text and version. When it has
 * none the statement is prepared there first, and the client waits for that one round trip: if the result turns out to
 * have another shape than the client was told, it gets the error that it would get on a connection of its own.
 *
 * The unnamed one: its text is kept with the client and is parsed again where somebody else's has taken the place.
 *
 * In session mode, and with max_prepared_statements = 0, messages are only counted. PG15 protocol, "Extended Query". */
#include "daemon/client_echo.h"
#include "daemon/client_notify.h"
#include "daemon/client_relay.h"

#include "daemon/util/log.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* The text of an unnamed statement is kept up to this length; a longer one works in the transaction it was parsed in. */
#define UNNAMED_KEEP_BYTES ((uint32_t)64 * 1024)

static bool tracks(const struct client *c)
{
    return c->pool->limits.mode != POOL_SESSION && c->pool->limits.max_prepared > 0;
}

/* Finds the NUL that ends the string at @m + @from. 0: it is not there yet. Else where the next field begins. */
static size_t after_string(const uint8_t *m, size_t len, size_t from)
{
    const uint8_t *nul;

    if (from < len && m[from] == 0) {
        return from + 1; /* most names are empty */
    }
    nul = from < len ? memchr(m + from, 0, len - from) : NULL;
    return nul == NULL ? 0 : (size_t)(nul - m) + 1;
}

/* More bytes are needed, but no message needs more than this to show its names. */
static size_t wait_for_more(struct client *c, size_t len, const struct frame *f)
{
    if (len >= f->total || len >= MSG_GATHER_MAX_BYTES) {
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION, "malformed %s message",
                          msg_from_client[f->type].name);
    }
    return 0;
}

/* --- messages of ours --- */

static void put_header(struct relay *r, uint8_t type, size_t body_len)
{
    uint8_t header[FRAME_HEADER_BYTES] = {type};

    wire_store_u32(header + 1, num_u32(body_len + 4));
    outvec_copy(&r->out, header, sizeof(header));
}

static void put_named(struct relay *r, uint8_t type, const char *name)
{
    size_t len = strlen(name) + 1;

    put_header(r, type, 1 + len);
    outvec_copy(&r->out, "S", 1);
    outvec_copy(&r->out, name, len);
}

void relay_put_close(struct relay *r, const char *server_name)
{
    if (relay_note_statement(r, INFLIGHT_CLOSE, INFLIGHT_INJECTED, NULL, 0)) {
        put_named(r, 'C', server_name);
    }
}

static void put_parse(struct relay *r, const char *name, const struct stmt *stmt)
{
    size_t len = strlen(name) + 1;

    put_header(r, 'P', len + stmt->body_len);
    outvec_copy(&r->out, name, len);
    outvec_copy(&r->out, stmt->body, stmt->body_len);
    r->c->pool->db->stats.server_parse_count++;
}

#define NO_STATEMENT \
    STMT_SERVER_NAME_PREFIX "none" /* numbers follow the prefix else: no server has it */

/* Fails on the server, where the client's own message would: see INFLIGHT_DOOMED. */
static void put_doom(struct relay *r, enum inflight_kind kind, struct prepared *p, uint32_t why)
{
    static const char body[] =
        "\0" NO_STATEMENT "\0\0\0\0\0\0"; /* portal, statement, three counts */

    if (relay_note_statement(r, kind, INFLIGHT_DOOMED, p, why)) {
        put_header(r, 'B', sizeof(body) - 1 + 1);
        outvec_copy(&r->out, body, sizeof(body) - 1 + 1);
    }
}

/* Fails on the server, so that a transaction is aborted as it would be. */
void relay_refuse_listen(struct relay *r, enum inflight_kind kind, enum inflight_refusal why)
{
    static const char listen[] = "LISTEN";

    if (kind != INFLIGHT_QUERY) {
        put_doom(r, kind, NULL, why);
    } else if (relay_note_statement(r, kind, INFLIGHT_DOOMED, NULL, why)) {
        r->c->unnamed = stmt_unref(r->c->unnamed); /* by a simple query, as on_query() does */
        r->b->unnamed = stmt_unref(r->b->unnamed);
        r->b->unnamed_of = 0;
        put_header(r, 'Q', sizeof(listen));
        outvec_copy(&r->out, listen, sizeof(listen));
    }
}

/* --- the unnamed statement --- */

static void set_unnamed(struct relay *r, const uint8_t *body, size_t len)
{
    struct client *c = r->c;
    struct backend *b = r->b;

    c->unnamed = stmt_unref(c->unnamed);
    b->unnamed = stmt_unref(b->unnamed);
    b->unnamed_of = c->id;
    if (body == NULL) {
        return;
    }
    c->unnamed = stmt_intern(c->server->env->stmts, body, len);
    if (c->unnamed != NULL) { /* else it works until the end of this transaction */
        b->unnamed = stmt_ref(c->unnamed);
    }
}

/* Before a message that uses the unnamed statement: the one on the server must be this client's. */
static void ensure_unnamed(struct relay *r)
{
    struct client *c = r->c;
    struct backend *b = r->b;

    if (inflight_is_skipping(&b->inflight) ||
        (b->unnamed_of == c->id && b->unnamed == c->unnamed)) {
        return;
    }
    if (c->unnamed == NULL) {
        if (b->unnamed_of == 0) {
            return; /* there is none: the server will say so */
        }
        b->unnamed = stmt_unref(b->unnamed); /* a stranger's */
        b->unnamed_of = 0;
        relay_put_close(r, "");
        return;
    }
    if (relay_note_statement(r, INFLIGHT_PARSE, INFLIGHT_INJECTED, NULL, 0)) {
        put_parse(r, "", c->unnamed);
        (void)stmt_unref(b->unnamed);
        b->unnamed = stmt_ref(c->unnamed);
        b->unnamed_of = c->id;
    }
}

/* --- named statements --- */

enum found {
    FOUND, /* *ret_name is what to call it on the server connection; *ret_p is NULL when nothing is called so */
    FOUND_NOT,   /* not a statement of the client's: the server shall say so */
    FOUND_LATER, /* the client is on hold until it is prepared */
    FOUND_STALE, /* its result has changed */
};

/* Prepares @p on the server connection ahead of the client's own message and waits. */
static void prepare_here(struct relay *r, struct prepared *p)
{
    static const uint8_t flush[FRAME_HEADER_BYTES] = {'H', 0, 0, 0, 4};
    char name[STMT_SERVER_NAME_MAX_BYTES];
    uint32_t id = stmt_cache_new_id(&r->b->stmts);

    stmt_server_name(name, id);
    if (!relay_note_statement(r, INFLIGHT_PARSE, INFLIGHT_INJECTED, p, id) ||
        !relay_note_statement(r, INFLIGHT_DESCRIBE_STATEMENT, INFLIGHT_INJECTED, p, id)) {
        return;
    }
    put_parse(r, name, p->stmt);
    put_named(r, 'D', name);
    outvec_copy(&r->out, flush, sizeof(flush));
    r->c->u.probing = prepared_ref(p);
    relay_hold(r, HOLD_STATEMENT);
}

static enum found find_statement(struct relay *r, const char *client_name,
                                 char ret_name[STMT_SERVER_NAME_MAX_BYTES], struct prepared **ret_p)
{
    struct client *c = r->c;
    struct prepared *p = prepared_set_find(&c->prepared, client_name);
    bool was_probed = p != NULL && c->u.probing == p;
    uint32_t id;

    c->u.probing = prepared_unref(c->u.probing);
    *ret_p = p;
    if (p == NULL && strncmp(client_name, NO_STATEMENT, sizeof(STMT_SERVER_NAME_PREFIX) - 1) == 0) {
        (void)snprintf(ret_name, STMT_SERVER_NAME_MAX_BYTES, "%s",
                       NO_STATEMENT); /* fits; not whose it is there */
        return FOUND;
    }
    if (p == NULL || inflight_is_skipping(&r->b->inflight)) {
        return FOUND_NOT;
    }
    id = p->server_id != 0 ? p->server_id : stmt_cache_use(&r->b->stmts, p->stmt, p->version);
    if (id != 0) {
        stmt_server_name(ret_name, id);
        return FOUND;
    }
    if (was_probed) {
        return FOUND_STALE;
    }
    prepare_here(r, p);
    return FOUND_LATER;
}

/* --- SQL that means a prepared statement of the protocol --- */

static const char *skip_blanks(const char *p)
{
    while (isspace((unsigned char)*p)) {
        p++;
    }
    return p;
}

static const char *skip_word(const char *p, const char *word)
{
    size_t len = strlen(word);

    if (strncasecmp(p, word, len) != 0 || isalnum((unsigned char)p[len]) || p[len] == '_') {
        return NULL;
    }
    return skip_blanks(p + len);
}

/* Takes an identifier as PostgreSQL would read it. NULL: there is none, or it does not fit. */
static const char *take_identifier(const char *p, char *name, size_t size)
{
    size_t n = 0;

    if (*p == '"') {
        for (p++; *p != '\0' && (*p != '"' || p[1] == '"'); p++) {
            p += *p == '"';
            if (n + 1 >= size) {
                return NULL;
            }
            name[n++] = *p;
        }
        if (*p != '"') {
            return NULL;
        }
        p++;
    } else {
        for (; isalnum((unsigned char)*p) || *p == '_' || *p == '$' || (unsigned char)*p >= 0x80;
             p++) {
            if (n + 1 >= size) {
                return NULL;
            }
            name[n++] = (char)tolower((unsigned char)*p);
        }
    }
    name[n] = '\0';
    return n == 0 ? NULL : skip_blanks(p);
}

/* Is it DEALLOCATE of a statement that was prepared by protocol? Drivers do that. NULL: it is not. */
static struct prepared *find_deallocated(const struct relay *r, const char *sql)
{
    const struct client *c = r->c;
    char name[256];
    const char *p;

    if (c->prepared.n == 0 || inflight_is_skipping(&r->b->inflight) || r->b->tx_status == 'E') {
        return NULL;
    }
    p = skip_word(skip_blanks(sql), "deallocate");
    if (p == NULL) {
        return NULL;
    }
    if (skip_word(p, "prepare") != NULL) {
        p = skip_word(p, "prepare");
    }
    p = take_identifier(p, name, sizeof(name));
    if (p == NULL || (*p != '\0' && (*p != ';' || *skip_blanks(p + 1) != '\0'))) {
        return NULL;
    }
    return prepared_set_find(&c->prepared, name);
}

#define DEALLOCATE_MAX_BYTES (sizeof("DEALLOCATE ") + STMT_SERVER_NAME_MAX_BYTES)

/* The server may not have the statement, and if so then under a name of ours that others share. So it gets an empty one
 * to drop instead: the answer, and when it comes, are its own. */
static bool replace_deallocated(struct relay *r, struct prepared *p,
                                char ret_sql[DEALLOCATE_MAX_BYTES])
{
    char name[STMT_SERVER_NAME_MAX_BYTES];

    stmt_server_name(name, stmt_cache_new_id(&r->b->stmts));
    if (!relay_note_statement(r, INFLIGHT_PARSE, INFLIGHT_INJECTED, NULL, 0)) {
        return false;
    }
    put_header(r, 'P', strlen(name) + 1 + 3);
    outvec_copy(&r->out, name, strlen(name) + 1);
    outvec_copy(&r->out, "\0\0", 3);                                      /* no text, no types */
    (void)snprintf(ret_sql, DEALLOCATE_MAX_BYTES, "DEALLOCATE %s", name); /* fits */
    prepared_set_remove(&r->c->prepared, p);
    return true;
}

size_t extended_query(struct relay *r, const uint8_t *m, size_t len, const struct frame *f)
{
    char sql[DEALLOCATE_MAX_BYTES];
    struct prepared *p;

    if (len < f->total || m[f->total - 1] != '\0') {
        return 0;
    }
    p = find_deallocated(r, (const char *)m + FRAME_HEADER_BYTES);
    if (p == NULL || !replace_deallocated(r, p, sql) || !relay_note(r, INFLIGHT_QUERY)) {
        return 0;
    }
    put_header(r, 'Q', strlen(sql) + 1);
    outvec_copy(&r->out, sql, strlen(sql) + 1);
    return f->total;
}

/* The same, prepared as the unnamed statement. */
static bool parse_deallocate(struct relay *r, const char *text)
{
    char sql[DEALLOCATE_MAX_BYTES];
    struct prepared *p = find_deallocated(r, text);

    if (p == NULL || !replace_deallocated(r, p, sql) || !relay_note(r, INFLIGHT_PARSE)) {
        return false;
    }
    set_unnamed(r, NULL, 0); /* of use in this batch only */
    put_header(r, 'P', 1 + strlen(sql) + 1 + 2);
    outvec_copy(&r->out, "", 1);
    outvec_copy(&r->out, sql, strlen(sql) + 1);
    outvec_copy(&r->out, "\0", 2);
    return true;
}

/* --- Parse --- */

static size_t parse_named(struct relay *r, const uint8_t *m, size_t len, const struct frame *f,
                          size_t body_at)
{
    static const char unsupported[] = "prepared statement is too long for a transaction pool";
    struct client *c = r->c;
    const char *client_name = (const char *)m + FRAME_HEADER_BYTES;
    char name[STMT_SERVER_NAME_MAX_BYTES];
    struct stmt *stmt;
    struct prepared *p;
    uint32_t id;

    if (f->total > MSG_GATHER_MAX_BYTES) {
        client_close_text(c, SQLSTATE_PROGRAM_LIMIT_EXCEEDED, "%s", unsupported);
        return 0;
    }
    if (len < f->total) {
        return wait_for_more(c, len, f);
    }
    p = prepared_set_find(&c->prepared, client_name);
    if (p != NULL && !inflight_is_skipping(&r->b->inflight)) {
        put_doom(r, INFLIGHT_PARSE, p, 0);
        return r->is_open ? f->total : 0;
    }
    stmt = stmt_intern(c->server->env->stmts, m + body_at, f->total - body_at);
    if (client_notify_parse(c, stmt) == NOTIFY_REFUSE && !inflight_is_skipping(&r->b->inflight)) {
        (void)stmt_unref(stmt);
        relay_refuse_listen(r, INFLIGHT_PARSE, INFLIGHT_SWITCHED_OFF);
        return f->total;
    }
    p = stmt != NULL ? prepared_new(client_name, stmt) : NULL;
    (void)stmt_unref(stmt); /* @p has its own */
    if (p == NULL ||
        (!inflight_is_skipping(&r->b->inflight) && !prepared_set_add(&c->prepared, p))) {
        (void)prepared_unref(p);
        client_close_text(c, SQLSTATE_OUT_OF_MEMORY, "out of memory");
        return 0;
    }
    id = stmt_cache_new_id(&r->b->stmts);
    p->server_id = id;
    stmt_server_name(name, id);
    if (relay_note_statement(r, INFLIGHT_PARSE, INFLIGHT_OF_CLIENT, p, id) &&
        relay_note_statement(r, INFLIGHT_DESCRIBE_STATEMENT, INFLIGHT_INJECTED, p, id)) {
        put_header(r, 'P', strlen(name) + 1 + f->total - body_at);
        outvec_copy(&r->out, name, strlen(name) + 1);
        outvec_add(&r->out, m + body_at, f->total - body_at);
        put_named(r, 'D', name);
        c->pool->db->stats.server_parse_count++;
    }
    (void)prepared_unref(p);
    return r->is_open ? f->total : 0;
}

size_t extended_parse(struct relay *r, const uint8_t *m, size_t len, const struct frame *f)
{
    struct client *c = r->c;
    size_t body_at = after_string(m, MIN(len, (size_t)f->total), FRAME_HEADER_BYTES);

    if (body_at == 0) {
        return wait_for_more(c, len, f);
    }
    if (c->prepared.n >= CLIENT_MAX_STATEMENTS) {
        client_close_text(c, SQLSTATE_PROGRAM_LIMIT_EXCEEDED, "more than %u prepared statements",
                          CLIENT_MAX_STATEMENTS);
        return 0;
    }
    if (tracks(c) && body_at > FRAME_HEADER_BYTES + 1) {
        size_t taken = parse_named(r, m, len, f, body_at);

        c->pool->db->stats.client_parse_count += taken > 0;
        return taken;
    }
    if (tracks(c) && f->total <= UNNAMED_KEEP_BYTES) {
        if (len < f->total) {
            return wait_for_more(c, len, f);
        }
        if (!inflight_is_skipping(&r->b->inflight)) {
            if (c->prepared.n > 0 && after_string(m, f->total, body_at) > 0 &&
                parse_deallocate(r, (const char *)m + body_at)) {
                c->pool->db->stats.client_parse_count++;
                return f->total;
            }
            if (!r->is_open) {
                return 0;
            }
            set_unnamed(r, m + body_at, f->total - body_at);
            if (client_notify_parse(c, c->unnamed) == NOTIFY_REFUSE) {
                relay_refuse_listen(r, INFLIGHT_PARSE, INFLIGHT_SWITCHED_OFF);
                return f->total;
            }
        }
    } else if (c->pool->limits.mode != POOL_SESSION && body_at == FRAME_HEADER_BYTES + 1) {
        set_unnamed(r, NULL, 0);
    }
    if (UNLIKELY(client_echo_is_on(c)) && c->pool->limits.mode == POOL_SESSION) {
        client_echo_note(c, m + body_at, MIN(len, (size_t)f->total) - body_at);
    }
    c->pool->db->stats.client_parse_count++;
    c->pool->db->stats.server_parse_count++;
    return relay_note(r, INFLIGHT_PARSE) ? relay_pass_on(r, m, len, f) : 0;
}

/* Nobody has a server connection to spare, but servers of this database know the statement: then it is taken as parsed,
 * and really is when it is first used. A client must not have to wait in the queue for a mere Parse: pgbench prepares in
 * the middle of its other clients' transactions, and would wait for ever. */
size_t extended_parse_alone(struct client *c, const uint8_t *m, size_t len, const struct frame *f)
{
    static const uint8_t parse_complete[FRAME_HEADER_BYTES] = {'1', 0, 0, 0, 4};
    const char *name = (const char *)m + FRAME_HEADER_BYTES;
    struct stmt *stmt;
    struct prepared *p;
    bool taken = false;
    size_t body_at;

    if (len <= FRAME_HEADER_BYTES || *name == '\0') {
        return 0;
    }
    body_at = after_string(m, MIN(len, (size_t)f->total), FRAME_HEADER_BYTES);
    if (!tracks(c) || len < f->total || body_at <= FRAME_HEADER_BYTES + 1 || body_at > f->total ||
        c->prepared.n >= CLIENT_MAX_STATEMENTS || pool_count(c->pool, BACKEND_IDLE) > 0 ||
        prepared_set_find(&c->prepared, name) != NULL) {
        return 0;
    }
    stmt = stmt_intern(c->server->env->stmts, m + body_at, f->total - body_at);
    if (stmt != NULL && stmt->good_in == c->pool->db) {
        p = prepared_new(name, stmt);
        taken = p != NULL && prepared_set_add(&c->prepared, p);
        (void)prepared_unref(p);
    }
    (void)stmt_unref(stmt);
    if (!taken) {
        return 0;
    }
    c->pool->db->stats.client_parse_count++;
    client_send(c, parse_complete, sizeof(parse_complete));
    return f->total;
}

/* --- Bind --- */

/* In session mode statements are not kept: their text is in the log with the Parse, a named one's name with each Bind. */
static void echo_session_bind(struct client *c, const char *name)
{
    char text[160];

    if (*name != '\0') {
        (void)snprintf(text, sizeof(text), "execute \"%.140s\"", name); /* cut is meant */
        client_echo_note(c, text, strlen(text));
    }
}

size_t extended_bind(struct relay *r, const uint8_t *m, size_t len, const struct frame *f)
{
    struct client *c = r->c;
    size_t name_at = after_string(m, MIN(len, (size_t)f->total), FRAME_HEADER_BYTES);
    size_t rest_at = name_at == 0 ? 0 : after_string(m, MIN(len, (size_t)f->total), name_at);
    char name[STMT_SERVER_NAME_MAX_BYTES];
    struct prepared *p = NULL;
    bool renamed = false;
    struct frame rest;
    size_t taken;

    if (rest_at == 0 || rest_at > f->total) {
        return wait_for_more(c, len, f);
    }
    if (c->pool->limits.mode == POOL_SESSION) {
        c->pool->db->stats.bind_count++;
        if (UNLIKELY(client_echo_is_on(c))) {
            echo_session_bind(c, (const char *)m + name_at);
            client_echo_parameters(c, m + rest_at, MIN(len, (size_t)f->total) - rest_at);
        }
        return relay_note(r, INFLIGHT_BIND) ? relay_pass_on(r, m, len, f) : 0;
    }
    if (rest_at == name_at + 1) {
        ensure_unnamed(r);
    } else if (tracks(c)) {
        switch (find_statement(r, (const char *)m + name_at, name, &p)) {
        case FOUND_LATER:
            return 0;
        case FOUND_STALE:
            put_doom(r, INFLIGHT_BIND, p, 0);
            c->body_left = num_u32(f->total - MIN(len, (size_t)f->total));
            c->body_discarded = true;
            return MIN(len, (size_t)f->total);
        case FOUND_NOT:
            break;
        case FOUND:
            renamed = true;
            break;
        }
    }
    if (UNLIKELY(client_echo_is_on(c))) {
        const struct stmt *stmt = p != NULL ? p->stmt : c->unnamed;

        if (stmt != NULL) {
            client_echo_note(c, stmt->body, stmt->body_len);
            client_echo_parameters(c, m + rest_at, MIN(len, (size_t)f->total) - rest_at);
        }
    }
    client_notify_bind(c, (const char *)m + FRAME_HEADER_BYTES,
                       rest_at == name_at + 1 ? c->unnamed
                       : p != NULL            ? p->stmt
                                              : NULL);
    c->pool->db->stats.bind_count++;
    if (c->state == CLIENT_CLOSED || !relay_note(r, INFLIGHT_BIND)) {
        return 0;
    }
    if (!renamed) {
        return relay_pass_on(r, m, len, f);
    }
    put_header(r, 'B', name_at - FRAME_HEADER_BYTES + strlen(name) + 1 + f->total - rest_at);
    outvec_copy(&r->out, m + FRAME_HEADER_BYTES, name_at - FRAME_HEADER_BYTES);
    outvec_copy(&r->out, name, strlen(name) + 1);
    rest = (struct frame){.type = f->type, .total = num_u32(f->total - rest_at)};
    taken = relay_pass_on(r, m + rest_at, len - rest_at, &rest);
    return rest_at + taken;
}

/* --- Describe --- */

static size_t describe_portal(struct relay *r, const uint8_t *m, size_t len, const struct frame *f)
{
    return relay_note(r, INFLIGHT_DESCRIBE_PORTAL) ? relay_pass_on(r, m, len, f) : 0;
}

size_t extended_describe(struct relay *r, const uint8_t *m, size_t len, const struct frame *f)
{
    struct client *c = r->c;
    char name[STMT_SERVER_NAME_MAX_BYTES];
    struct prepared *p;

    if (len < f->total || m[f->total - 1] != '\0') {
        return wait_for_more(c, len, f);
    }
    if (m[FRAME_HEADER_BYTES] == 'P') {
        return describe_portal(r, m, len, f);
    }
    if (c->pool->limits.mode != POOL_SESSION && f->total == FRAME_HEADER_BYTES + 2) {
        ensure_unnamed(r);
    } else if (tracks(c)) {
        switch (find_statement(r, (const char *)m + FRAME_HEADER_BYTES + 1, name, &p)) {
        case FOUND_LATER:
            return 0;
        case FOUND_STALE:
            put_doom(r, INFLIGHT_DESCRIBE_STATEMENT, p, 0);
            return f->total;
        case FOUND_NOT:
            break;
        case FOUND:
            if (relay_note(r, INFLIGHT_DESCRIBE_STATEMENT)) {
                put_named(r, 'D', name);
            }
            return r->is_open ? f->total : 0;
        }
    }
    return relay_note(r, INFLIGHT_DESCRIBE_STATEMENT) ? relay_pass_on(r, m, len, f) : 0;
}

/* --- Close --- */

static const uint8_t close_complete[FRAME_HEADER_BYTES] = {'3', 0, 0, 0, 4};

/* Forgets the client's statement. Its copies on servers stay: others may use them. */
static struct prepared *forget(struct client *c, const char *name)
{
    struct prepared *p;

    if (*name == '\0') {
        c->unnamed = stmt_unref(c->unnamed);
        return NULL;
    }
    p = prepared_set_find(&c->prepared, name);
    if (p != NULL) {
        p = prepared_ref(p);
        prepared_set_remove(&c->prepared, p);
    }
    return p;
}

static bool is_own_close(const struct client *c, const uint8_t *m)
{
    return tracks(c) && m[FRAME_HEADER_BYTES] == 'S';
}

size_t extended_close(struct relay *r, const uint8_t *m, size_t len, const struct frame *f)
{
    struct client *c = r->c;
    struct prepared *p;

    if (len < f->total || m[f->total - 1] != '\0') {
        return wait_for_more(c, len, f);
    }
    if (!is_own_close(c, m)) {
        return relay_note(r, INFLIGHT_CLOSE) ? relay_pass_on(r, m, len, f) : 0;
    }
    if (inflight_is_skipping(&r->b->inflight)) {
        return f->total; /* the server would skip it */
    }
    p = forget(c, (const char *)m + FRAME_HEADER_BYTES + 1);
    if (inflight_is_empty(&r->b->inflight)) {
        client_send(c, close_complete, sizeof(close_complete));
    } else {
        (void)!relay_note_statement(r, INFLIGHT_CLOSE, INFLIGHT_ANSWERED, p, 0); /* is_open tells */
    }
    (void)prepared_unref(p);
    return f->total;
}

size_t extended_close_alone(struct client *c, const uint8_t *m, size_t len, const struct frame *f)
{
    if (len < f->total) {
        return 0;
    }
    if (!is_own_close(c, m) || m[f->total - 1] != '\0') {
        return 0;
    }
    (void)prepared_unref(forget(c, (const char *)m + FRAME_HEADER_BYTES + 1));
    client_send(c, close_complete, sizeof(close_complete));
    return f->total;
}
