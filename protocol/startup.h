/* SPDX-License-Identifier: ISC */
/* The first packet of a connection, which has a length but no type: StartupMessage, SSLRequest, GSSENCRequest or
 * CancelRequest. PG15 protocol, "Start-up"; 3.2 of PostgreSQL 18 adds long cancel keys. Pure: bytes in, structs out. */
#ifndef PGPOOLD_PROTOCOL_STARTUP_H
#define PGPOOLD_PROTOCOL_STARTUP_H

#include "daemon/util/buf.h"

/* PostgreSQL's own limit: MAX_STARTUP_PACKET_LENGTH does not count the length itself. */
#define STARTUP_MAX_BYTES 10004
#define STARTUP_HEADER_BYTES 8
/* Parameters in one StartupMessage, those inside "options" included. */
#define STARTUP_MAX_PARAMS 64
#define CANCEL_KEY_MAX_BYTES 256

#define PROTOCOL_3_0 0x00030000U
#define PROTOCOL_3_2 0x00030002U

enum startup_kind {
    STARTUP_MESSAGE,
    STARTUP_SSL_REQUEST,
    STARTUP_GSSENC_REQUEST,
    STARTUP_CANCEL_REQUEST,
};

enum startup_verdict {
    STARTUP_OK,
    STARTUP_PARTIAL,     /* more bytes are needed; the length so far is sane */
    STARTUP_BAD_LENGTH,  /* shorter or longer than any of the four can be */
    STARTUP_BAD_VERSION, /* a major version that we do not speak */
    STARTUP_BAD_LAYOUT,  /* missing terminators, trailing bytes */
    STARTUP_TOO_MANY,    /* more than STARTUP_MAX_PARAMS */
};

struct startup_param {
    const char *name; /* borrowed from the packet */
    const char *value;
};

struct startup {
    enum startup_kind kind;
    size_t total; /* bytes of the packet */
    /* STARTUP_MESSAGE */
    uint32_t version; /* as the client asked */
    struct startup_param params[STARTUP_MAX_PARAMS];
    unsigned n_params;
    unsigned
        n_unknown_pq; /* how many params are _pq_.* (protocol options, none of which we know) */
    /* STARTUP_CANCEL_REQUEST */
    uint32_t cancel_pid;
    const uint8_t *cancel_key; /* borrowed */
    size_t cancel_key_len;     /* 4 to CANCEL_KEY_MAX_BYTES */
};

/* @ret is filled when the verdict is STARTUP_OK; its version also with STARTUP_BAD_VERSION. */
MUSTCHECK enum startup_verdict startup_parse(const void *data, size_t len, struct startup *ret);

/* The value of @name, NULL when absent. The last one wins, as in PostgreSQL. */
const char *startup_find(const struct startup *s, const char *name);

/* Splits the "options" parameter: `-c name=value`, `-cname=value`, `--name=value`; backslash escapes the next byte.
 * Each setting is handed to @fn with its own strings; dashes of --some-name become underscores, as in PostgreSQL.
 * true: all understood and all of @fn's answers were true. */
typedef bool (*startup_option_fn)(void *arg, const char *name, const char *value);
MUSTCHECK bool startup_split_options(const char *options, startup_option_fn fn, void *arg);

/* NegotiateProtocolVersion ('v'): the newest minor version we speak and the _pq_ options that we do not. */
void startup_put_negotiate(struct buf *b, const struct startup *s, uint32_t newest);

/* BackendKeyData ('K'). */
void startup_put_key(struct buf *b, uint32_t pid, const void *key, size_t key_len);
/* ParameterStatus ('S'). */
void startup_put_parameter(struct buf *b, const char *name, const char *value);
/* ReadyForQuery ('Z'). @status: 'I', 'T' or 'E'. */
void startup_put_ready(struct buf *b, uint8_t status);
/* AuthenticationOk. */
void startup_put_auth_ok(struct buf *b);

#endif
