/* SPDX-License-Identifier: ISC */
/* What a client is given to cancel its queries with, and what a CancelRequest brings back: a process number and a secret
 * that also say which process of a group of peers the client belongs to. Pure.
 *
 *     process number   0, the 11 low bits of the peer_id, 20 bits of slot (never 0)
 *     secret           4 random bytes, or 32 (protocol 3.2); with a peer_id its 3 high bits are the first three
 *
 * A request that goes from peer to peer has one byte more behind the secret: how often it was passed on. */
#ifndef PGPOOLD_PROTOCOL_CANCEL_KEY_H
#define PGPOOLD_PROTOCOL_CANCEL_KEY_H

#include "daemon/util/macros.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CANCEL_KEY_SHORT_BYTES 4
#define CANCEL_KEY_LONG_BYTES 32
#define CANCEL_KEY_SLOT_MAX ((UINT32_C(1) << 20) - 1)
/* Peers that know each other by right addresses need one; a loop ends here. */
#define CANCEL_KEY_HOPS_MAX 3

struct cancel_key {
    uint32_t pid;
    uint8_t secret[CANCEL_KEY_LONG_BYTES + 1]; /* room for the count of hops */
    uint8_t len;                               /* of the secret alone: 4 or 32 */
    uint8_t hops;
};

/* The process number of @slot (1 to CANCEL_KEY_SLOT_MAX). @peer_id: 0 to 16383. */
uint32_t cancel_key_pid(unsigned peer_id, uint32_t slot);
/* Writes the rest of @peer_id into a secret of random bytes. */
void cancel_key_mark(unsigned peer_id, uint8_t *secret);

/* Takes a CancelRequest apart. false: none of ours ever looks so. */
MUSTCHECK bool cancel_key_read(uint32_t pid, const uint8_t *secret, size_t len,
                               struct cancel_key *ret);
/* One hop more: returns how many bytes of @key->secret go into the request to a peer. */
size_t cancel_key_pass_on(struct cancel_key *key);

uint32_t cancel_key_slot(uint32_t pid);
unsigned cancel_key_peer(const struct cancel_key *key);

#endif
