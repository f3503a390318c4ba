/* SPDX-License-Identifier: ISC */
/* Replication connections: a client that asks for one gets a server connection of its own, opened for it with the same
 * parameter and closed with it. Nobody else ever has it. PG15 protocol, "Streaming Replication Protocol". */
#ifndef PGPOOLD_POOL_REPLICATION_H
#define PGPOOLD_POOL_REPLICATION_H

#include "daemon/util/macros.h"

#include <stdbool.h>

enum replication {
    REPLICATION_NONE,
    REPLICATION_PHYSICAL, /* the whole cluster: the server does not look at the database's name */
    REPLICATION_LOGICAL,  /* of one database; takes SQL as well */
    REPLICATION_KINDS,
};

/* The value of the startup parameter "replication": a boolean as PostgreSQL reads them, or "database". */
MUSTCHECK bool replication_parse(const char *text, enum replication *ret);

/* As SHOW CLIENTS says it. */
const char *replication_name(enum replication kind);
/* What the server is to be told; NULL: nothing. */
const char *replication_parameter(enum replication kind);

#endif
