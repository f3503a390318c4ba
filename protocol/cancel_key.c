/* SPDX-License-Identifier: ISC */
#include "protocol/cancel_key.h"

#include <string.h>

#define SLOT_BITS 20U
#define LOW_BITS 11U /* of the peer_id, above the slot */
#define LOW_MASK ((1U << LOW_BITS) - 1)
#define HIGH_SHIFT 5U /* of the first byte of the secret */
#define RANDOM_MASK ((1U << HIGH_SHIFT) - 1)

uint32_t cancel_key_pid(unsigned peer_id, uint32_t slot)
{
    return (peer_id & LOW_MASK) << SLOT_BITS | (slot & CANCEL_KEY_SLOT_MAX);
}

void cancel_key_mark(unsigned peer_id, uint8_t *secret)
{
    if (peer_id != 0) {
        secret[0] = (uint8_t)((peer_id >> LOW_BITS) << HIGH_SHIFT | (secret[0] & RANDOM_MASK));
    }
}

bool cancel_key_read(uint32_t pid, const uint8_t *secret, size_t len, struct cancel_key *ret)
{
    size_t own = len - len % CANCEL_KEY_SHORT_BYTES;

    if ((own != CANCEL_KEY_SHORT_BYTES && own != CANCEL_KEY_LONG_BYTES) || len - own > 1) {
        return false;
    }
    *ret = (struct cancel_key){.pid = pid, .len = (uint8_t)own};
    memcpy(ret->secret, secret, own);
    ret->hops = len > own ? secret[own] : 0;
    return true;
}

size_t cancel_key_pass_on(struct cancel_key *key)
{
    key->hops++;
    key->secret[key->len] = key->hops;
    return (size_t)key->len + 1;
}

uint32_t cancel_key_slot(uint32_t pid)
{
    return pid & CANCEL_KEY_SLOT_MAX;
}

unsigned cancel_key_peer(const struct cancel_key *key)
{
    return (unsigned)(key->secret[0] >> HIGH_SHIFT) << LOW_BITS |
           (key->pid >> SLOT_BITS & LOW_MASK);
}
