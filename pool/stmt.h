/* SPDX-License-Identifier: ISC */
/* Prepared statements of the extended protocol, shared between clients and server connections.
 *
 * struct stmt      a statement's text and parameter types, interned: equal ones are one object
 * struct prepared  one client's name for a statement, and the version of it that the client was told of
 * struct stmt_cache  what one server connection has prepared: (statement, version) -> the name it has there
 *
 * A version is a hash of the statement's parameter and result description. After a schema change the same text has
 * another version, so a client is never handed a copy whose shape differs from what it was told. */
#ifndef PGPOOLD_POOL_STMT_H
#define PGPOOLD_POOL_STMT_H

#include "daemon/util/list.h"
#include "daemon/util/macros.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stmt_table;

struct stmt {
    /* private, but body may be read */
    unsigned refs;
    uint32_t body_len;
    uint64_t hash;
    struct stmt_table *table;
    struct stmt *next;
    bool is_scanned;     /* the next three are known */
    bool listens;        /* its text has "listen" in it */
    bool notifies;       /* its text has "notify" in it */
    bool controls;       /* it begins or ends a transaction or a savepoint */
    uint32_t sent_as;    /* the number by which a new process knows it (-R); 0: it does not */
    const void *good_in; /* the database whose servers took it last; only compared */
    uint8_t body[]; /* of the Parse message behind the name: text, NUL, number of types, types */
};

struct stmt_table *stmt_table_new(void);
struct stmt_table *stmt_table_free(struct stmt_table *t);
size_t stmt_table_count(const struct stmt_table *t);

/* The statement with this body; a reference for the caller. NULL: out of memory. */
MUSTCHECK struct stmt *stmt_intern(struct stmt_table *t, const void *body, size_t len);
struct stmt *stmt_ref(struct stmt *s);
struct stmt *stmt_unref(struct stmt *s); /* returns NULL */

/* A client's prepared statement. Counted: the client's table and messages in flight refer to it. */
struct prepared {
    unsigned refs;
    uint32_t
        server_id; /* its name on the server connection where it was parsed last; 0: none in flight */
    struct stmt *stmt;     /* owned reference */
    uint64_t version;      /* 0: not known yet, the Parse is still in flight */
    struct prepared *next; /* in the client's table */
    char name[];           /* as the client calls it */
};

MUSTCHECK struct prepared *prepared_new(const char *name, struct stmt *stmt);
struct prepared *prepared_ref(struct prepared *p);
struct prepared *prepared_unref(struct prepared *p); /* returns NULL */

/* A client's named statements: an intrusive hash table. Empty: no memory. */
struct prepared_set {
    /* private, but n may be read */
    struct prepared **buckets;
    uint32_t n_buckets;
    uint32_t n;
};

void prepared_set_done(struct prepared_set *set);
struct prepared *prepared_set_find(const struct prepared_set *set, const char *name);
/* Takes a reference of its own. false: out of memory. The name must be free. */
MUSTCHECK bool prepared_set_add(struct prepared_set *set, struct prepared *p);
/* Removes exactly this one if it is there; gives its reference back. */
void prepared_set_remove(struct prepared_set *set, struct prepared *p);
void prepared_set_clear(struct prepared_set *set);

/* What one server connection has prepared, least recently used first out. */
struct stmt_cache_entry {
    struct list_node link; /* by use, oldest first */
    struct stmt *stmt;     /* owned reference */
    uint64_t version;
    uint32_t server_id;
};

struct stmt_cache {
    /* private */
    struct list by_use;
    struct stmt_cache_entry **buckets;
    uint32_t n_buckets;
    uint32_t next_id;
};

void stmt_cache_init(struct stmt_cache *c);
void stmt_cache_done(struct stmt_cache *c);
static inline unsigned stmt_cache_count(const struct stmt_cache *c)
{
    return c->by_use.n;
}
/* A name that was never used on this server connection: the number behind STMT_SERVER_NAME_PREFIX. */
uint32_t stmt_cache_new_id(struct stmt_cache *c);
/* The server's number of this copy, marked as used now; 0: the connection does not have it. */
uint32_t stmt_cache_use(struct stmt_cache *c, const struct stmt *stmt, uint64_t version);
/* Notes that the connection has (@stmt, @version) as @server_id. An older copy of the same is forgotten; its number is
 * returned (to be closed on the server), else 0. false in *ret_ok: out of memory, nothing noted. */
uint32_t stmt_cache_put(struct stmt_cache *c, struct stmt *stmt, uint64_t version,
                        uint32_t server_id, bool *ret_ok);
/* Forgets the least recently used one; its number, 0 when empty. */
uint32_t stmt_cache_evict(struct stmt_cache *c);
/* DISCARD ALL, DEALLOCATE ALL: the server dropped everything. */
void stmt_cache_clear(struct stmt_cache *c);

/* Statements of ours on a server are called this and a number. */
#define STMT_SERVER_NAME_PREFIX "pgpoold_"
#define STMT_SERVER_NAME_MAX_BYTES 24
void stmt_server_name(char ret[STMT_SERVER_NAME_MAX_BYTES], uint32_t server_id);

#endif
