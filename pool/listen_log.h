/* SPDX-License-Identifier: ISC */
/* What the statements of one client will change in the set of channels it listens to, once their
 * transaction commits. A pure machine, embedded in the client: it is told what is sent to the
 * server, what the server answers, and gives the changes that have become true. Without a
 * LISTEN, UNLISTEN or DISCARD ALL under way it owns no memory and every call is a look at one
 * pointer.
 *
 *     expect ... (a text with "listen" in it, or any while listen_log_is_active())
 *        -> complete (CommandComplete) -> part of the open transaction, with its savepoints
 *        -> error (ErrorResponse)      -> void, with all that was sent up to the next ReadyForQuery
 *     ready (ReadyForQuery) -> the transaction is over or goes on; take what is committed
 *
 * A LISTEN that the pooler cannot see, in a function or in DO, is unknown here. PG15: LISTEN,
 * UNLISTEN, SAVEPOINT, ROLLBACK TO SAVEPOINT, "Multiple Statements in a Simple Query",
 * "Pipelining". */
#ifndef PGPOOLD_POOL_LISTEN_LOG_H
#define PGPOOLD_POOL_LISTEN_LOG_H

#include "daemon/util/macros.h"
#include "protocol/sql_lexer.h"

#include <stdbool.h>
#include <stdint.h>

/* Statements, savepoints and changes in one log. About 1.5 MB at the worst (names of 63 bytes). */
#define LISTEN_LOG_MAX 16384U

struct listen_log_body;

struct listen_log {
    /* private */
    struct listen_log_body *body; /* NULL: unused */
};

struct listen_change {
    enum sql_kind kind; /* SQL_LISTEN, SQL_UNLISTEN or SQL_UNLISTEN_ALL */
    char name[SQL_NAME_BYTES];
};

enum listen_log_result {
    /* LISTEN_LOG_MAX reached: nothing noted. Do not send the request. */
    LISTEN_LOG_E_FULL = 1,
    /* The server has completed what was never expected, or what has a name that only the server can
     * read (SQL_SINGLE_BYTE with U&""): nothing noted, and what the client listens to is not known
     * for sure any more. */
    LISTEN_LOG_E_UNSEEN = 2,
};

static inline void listen_log_init(struct listen_log *log)
{
    log->body = NULL;
}

/* Forgets everything; for a lost server connection too. May run twice. */
void listen_log_done(struct listen_log *log);

/* While true every statement that is sent must be lexed and expected: savepoints and rollbacks
 * decide now. */
static inline bool listen_log_is_active(const struct listen_log *log)
{
    return log->body != NULL;
}

/* A statement is about to be sent: one of a Query's text, or at Execute the one of its portal.
 * Kinds that do not matter are passed over, so the caller hands in all of them.
 * @seq: the place of the request among those sent; never smaller than the one before (modulo
 *       2^32). All statements of one Query share one. Number what fits best: requests, or
 *       ReadyForQuery's to come; see error and ready.
 * 0, LISTEN_LOG_E_FULL, or -ENOMEM. */
MUSTCHECK int listen_log_expect(struct listen_log *log, uint32_t seq,
                                const struct sql_statement *st);

/* CommandComplete with this @tag (a C string). To be called for each of them, active or not
 * (DISCARD ALL).
 * 0, LISTEN_LOG_E_UNSEEN, or -ENOMEM (only for DISCARD ALL). */
MUSTCHECK int listen_log_complete_slow(struct listen_log *log, const char *tag);

static inline int listen_log_complete(struct listen_log *log, const char *tag)
{
    /* an unused log minds only LISTEN, UNLISTEN and DISCARD ALL */
    bool is_minded = (tag[0] == 'L' && tag[1] == 'I') || (tag[0] == 'U' && tag[1] == 'N') ||
                     (tag[0] == 'D' && tag[1] == 'I');

    return LIKELY(log->body == NULL && !is_minded) ? 0 : listen_log_complete_slow(log, tag);
}

/* ErrorResponse: what was expected with @seq and before it is void, and the transaction has
 * failed. @seq: the Query that failed, or the last request before the next Sync. While the server
 * skips to a Sync that is not sent yet, nothing that goes to it is to be expected. */
void listen_log_error(struct listen_log *log, uint32_t seq);

/* ReadyForQuery with @status 'I', 'T' or 'E', that answers the Query or Sync @seq.
 * true: changes are committed, to be taken now, before this message goes to the client. */
bool listen_log_ready(struct listen_log *log, uint32_t seq, char status);

/* The next committed change, oldest first, to be applied in this order. false: no more. */
bool listen_log_take(struct listen_log *log, struct listen_change *ret);

/* Entries of all sorts. */
unsigned listen_log_count(const struct listen_log *log);

#endif
