/* SPDX-License-Identifier: ISC */
/* What the tests of SCRAM share: a login that really happened, and its two ends. */
#ifndef PGPOOLD_TESTS_SCRAM_LOGIN_H
#define PGPOOLD_TESTS_SCRAM_LOGIN_H

#include "protocol/scram.h"
#include "protocol/scram_client.h"
#include "protocol/scram_server.h"

/* A login of psql 15 on PostgreSQL 15, password "pencil", as it went over the wire. */
#define T_SECRET                                                      \
    "SCRAM-SHA-256$4096:sYjVJrIrcJ+5uQtGuRd1Gg==$pw2PPkohLYlE+TrgUd/" \
    "fuqExXY18bJWJThRuQ6ZR+0o=:IkNN9+"                                \
    "How5NNovWsaQ+DEJFrnKEcu+7djW/F3wCa2eY="
#define T_CLIENT_NONCE "v+OZXWBiD1QtJKjTOVkmuYw7"
#define T_SERVER_NONCE "1nQ0BPrabTqDdee4Ldg8vtOb"
#define T_NONCE T_CLIENT_NONCE T_SERVER_NONCE
#define T_CLIENT_FIRST "n,,n=,r=" T_CLIENT_NONCE
#define T_SALT "sYjVJrIrcJ+5uQtGuRd1Gg=="
#define T_SERVER_FIRST "r=" T_NONCE ",s=" T_SALT ",i=4096"
#define T_PROOF "UteiddGNQsDG9LwcLtsRrGfhTFe/OkazmPXNds+g3bM="
#define T_CLIENT_FINAL "c=biws,r=" T_NONCE ",p=" T_PROOF
#define T_SERVER_FINAL "v=IDiH/umBuw/Vmasb1KXhbm2BEbCtSOrbQ/bPsqgZLkM="
#define ZERO_PROOF "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

#define SCRAM_CERTIFICATE_BYTES 32
extern const uint8_t scram_certificate[SCRAM_CERTIFICATE_BYTES];

struct fixed_nonce {
    uint8_t bytes[SCRAM_NONCE_BYTES];
};

enum offer { OFFER_PLAIN, OFFER_PLUS };

/* They fail the running test where something is wrong. */
struct fixed_nonce nonce_of(const char *text);
struct scram_keys keys_of(const char *secret);
/* Keys of @password for the salt and iterations of @like. */
struct scram_keys derive(const char *password, const struct scram_keys *like);
/* With the nonces of that login. */
struct scram_server *server_with(const struct scram_keys *keys, enum scram_mechanism mechanism,
                                 enum offer offer);
struct scram_client *client_with(enum scram_client_binding binding);

#endif
