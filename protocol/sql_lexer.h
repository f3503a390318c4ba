/* SPDX-License-Identifier: ISC */
/* A small reader of SQL texts: tokens, and above them statements, of which it names the few
 * kinds that a pooler must know and the name they carry. It borrows the text, allocates nothing,
 * and never judges whether a text is right: a statement that PostgreSQL would refuse may come
 * out as any kind, since it will not complete. Rules: PostgreSQL 15, "Lexical Structure"
 * (section 4.1) and the synopses of the commands.
 *
 * Encodings: the bytes below 128 are ASCII wherever they stand. That holds for every server
 * encoding; for those that only clients can have there are flags. */
#ifndef PGPOOLD_PROTOCOL_SQL_LEXER_H
#define PGPOOLD_PROTOCOL_SQL_LEXER_H

#include "daemon/util/macros.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* PostgreSQL's NAMEDATALEN: the longest name and its NUL. */
#define SQL_NAME_BYTES 64

enum sql_token_kind {
    SQL_TOKEN_END,
    SQL_TOKEN_WORD,   /* a key word or an identifier without quotes */
    SQL_TOKEN_QUOTED, /* "..." or U&"..." */
    SQL_TOKEN_STRING, /* '...' with any prefix and all its continuations, or $tag$...$tag$ */
    SQL_TOKEN_NUMBER,
    SQL_TOKEN_PARAM,  /* $1 */
    SQL_TOKEN_SIGN,   /* one byte of an operator or of punctuation, or one without meaning */
    SQL_TOKEN_BROKEN, /* an open string, identifier or comment, or "": the whole text is refused */
    SQL_TOKENS,
};

struct sql_token {
    size_t at; /* bytes from the start of the text */
    size_t len;
    enum sql_token_kind kind;
};

enum sql_flags {
    /* standard_conforming_strings is off: \ escapes in '...' too */
    SQL_BACKSLASHES = 1,
    /* The server encoding has one byte a character: long names are cut at any byte, not at the
     * limit of an UTF-8 character. */
    SQL_SINGLE_BYTE = 2,
    /* A byte from 128 on takes the next one along, which may look like ASCII: BIG5, GBK, UHC, and
     * GB18030, whose four bytes are two such pairs. */
    SQL_PAIRS = 4,
    /* The same for SJIS and SHIFT_JIS_2004, where some are letters by themselves. */
    SQL_SJIS = 8,
    /* Not UTF-8: what U&"" names beyond ASCII cannot be told. */
    SQL_NOT_UTF8 = 16,
};

/* Bytes of the character at @p, of which @left are there; for all encodings without such pairs: 1. */
static inline size_t sql_char_bytes(unsigned flags, const char *p, size_t left)
{
    uint8_t c = (uint8_t)*p;

    if (LIKELY((flags & (SQL_PAIRS | SQL_SJIS)) == 0) || c < 0x80 || left < 2) {
        return 1;
    }
    return (flags & SQL_SJIS) != 0 && c >= 0xa1 && c <= 0xdf ? 1 : 2;
}

struct sql_lexer {
    /* private */
    const char *text;
    size_t len;
    size_t pos;
    unsigned flags;
};

/* With a name unless said otherwise. A name is "" too when PostgreSQL would refuse it. */
enum sql_kind {
    SQL_OTHER, /* no name */
    SQL_LISTEN,
    SQL_UNLISTEN,
    SQL_UNLISTEN_ALL, /* no name */
    SQL_NOTIFY,
    SQL_SAVEPOINT,
    SQL_RELEASE,
    SQL_ROLLBACK_TO,
    SQL_BEGIN,               /* START TRANSACTION as well; no name */
    SQL_COMMIT,              /* END as well, not COMMIT PREPARED; no name */
    SQL_ROLLBACK,            /* ABORT as well, not ROLLBACK PREPARED; no name */
    SQL_PREPARE_TRANSACTION, /* no name: it is a string */
    /* The name of the parameter: timezone, role, ... for SET TIME ZONE, SET ROLE, ...; "" when it
     * sets none of the session (SET TRANSACTION, SET SESSION CHARACTERISTICS) or one whose name is
     * too long. Not SET CONSTRAINTS, which has a tag of its own. */
    SQL_SET,
    SQL_RESET,   /* as for SET; is_all: RESET ALL */
    SQL_DISCARD, /* "plans", "sequences", "temp", "temporary", or is_all */
    SQL_PREPARE,
    SQL_EXECUTE,
    SQL_DEALLOCATE, /* or is_all */
    SQL_DECLARE,    /* is_hold: WITH HOLD */
    SQL_CLOSE,      /* of a cursor, or is_all */
    SQL_KINDS,
};

struct sql_statement {
    enum sql_kind kind;
    bool is_all;
    bool is_local; /* SET LOCAL */
    bool is_hold;
    bool is_chain; /* COMMIT or ROLLBACK AND CHAIN */
    /* Of its first token in the text; comments and blanks around it are not part of it, nor is
     * its semicolon. */
    size_t at;
    size_t len;
    size_t name_at;  /* of the name as it stands in the text, with its quotes and its UESCAPE */
    size_t name_len; /* 0: none */
    /* As PostgreSQL takes it: folded, or without its quotes, and cut. */
    char name[SQL_NAME_BYTES];
};

/* @text is borrowed for as long as @lx is used; no NUL in it or behind it is needed. @flags: of
 * enum sql_flags. */
void sql_lexer_init(struct sql_lexer *lx, const char *text, size_t len, unsigned flags);

/* The next token; comments and blanks are skipped. After END and BROKEN the same again. */
struct sql_token sql_token_next(struct sql_lexer *lx);

/* Is @t the word @lower, which is written in lower case, in any case? A quoted identifier is
 * not. */
bool sql_token_is_word(const struct sql_lexer *lx, const struct sql_token *t, const char *lower);

/* The next statement that is not empty, as PostgreSQL divides a text: at each ; outside
 * parentheses and outside a function's body in BEGIN ATOMIC ... END. false: there is none. Each
 * gives one CommandComplete when it works. */
MUSTCHECK bool sql_statement_next(struct sql_lexer *lx, struct sql_statement *ret);

/* Does @text contain @word (in lower case, at least two bytes) in any letter case, wherever: in
 * a name, a comment, a string? The cheap question that goes before any lexing: about 16 bytes in
 * a few instructions. */
bool sql_might_contain(const char *text, size_t len, const char *word);

#endif
