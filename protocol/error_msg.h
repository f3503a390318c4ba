/* SPDX-License-Identifier: ISC */
/* ErrorResponse and NoticeResponse. PG15 protocol, "Error and Notice Message Fields". */
#ifndef PGPOOLD_PROTOCOL_ERROR_MSG_H
#define PGPOOLD_PROTOCOL_ERROR_MSG_H

#include "daemon/util/buf.h"

/* SQLSTATEs that this daemon itself sends. PG15 appendix A. */
#define SQLSTATE_WARNING "01000"
#define SQLSTATE_CONNECTION_FAILURE "08006"
#define SQLSTATE_CANNOT_CONNECT "08001"
#define SQLSTATE_CONNECTION_REJECTED "08004"
#define SQLSTATE_PROTOCOL_VIOLATION "08P01"
#define SQLSTATE_FEATURE_NOT_SUPPORTED "0A000"
#define SQLSTATE_INVALID_AUTHORIZATION "28000"
#define SQLSTATE_INVALID_PASSWORD "28P01"
#define SQLSTATE_DIVISION_BY_ZERO "22012"
#define SQLSTATE_IDLE_IN_TRANSACTION_TIMEOUT "25P03"
#define SQLSTATE_TRANSACTION_TIMEOUT "25P04"
#define SQLSTATE_INVALID_STATEMENT_NAME "26000"
#define SQLSTATE_INVALID_CATALOG_NAME "3D000"
#define SQLSTATE_SYNTAX_ERROR "42601"
#define SQLSTATE_OUT_OF_MEMORY "53200"
#define SQLSTATE_TOO_MANY_CONNECTIONS "53300"
#define SQLSTATE_PROGRAM_LIMIT_EXCEEDED "54000"
#define SQLSTATE_QUERY_CANCELED "57014"
#define SQLSTATE_ADMIN_SHUTDOWN "57P01"
#define SQLSTATE_CANNOT_CONNECT_NOW "57P03"
#define SQLSTATE_IDLE_SESSION_TIMEOUT "57P05"
#define SQLSTATE_CONFIG_FILE_ERROR "F0000"

#define ERROR_TEXT_MAX_BYTES 1024

/* One error in memory of its own: what a server said, kept for those who wait for it, or what we say. */
struct pg_error {
    char severity[12]; /* ERROR, FATAL, PANIC, WARNING, NOTICE, ... */
    char sqlstate[6];
    char message[ERROR_TEXT_MAX_BYTES];
    char detail[ERROR_TEXT_MAX_BYTES]; /* "": none */
    char hint[ERROR_TEXT_MAX_BYTES];   /* "": none */
};

/* Fills @ret with a FATAL, cut to its sizes; detail and hint are empty. */
void pg_error_set(struct pg_error *ret, const char *sqlstate, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* Reads the body of an ErrorResponse or NoticeResponse; long fields are cut. false: malformed. */
MUSTCHECK bool error_msg_parse(const void *body, size_t len, struct pg_error *ret);

/* Appends an ErrorResponse ('E') or NoticeResponse ('N'). */
void error_msg_put(struct buf *b, uint8_t type, const struct pg_error *e);
/* The short form. @detail and @hint may be NULL. */
void error_msg_put_text(struct buf *b, uint8_t type, const char *severity, const char *sqlstate,
                        const char *message, const char *detail, const char *hint);

#endif
