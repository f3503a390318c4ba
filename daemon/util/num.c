/* SPDX-License-Identifier: ISC */
#include "daemon/util/num.h"

bool num_parse_u64(const char *text, uint64_t most, uint64_t *ret)
{
    uint64_t v = 0;

    if (*text == '\0') {
        return false;
    }
    for (const char *p = text; *p != '\0'; p++) {
        uint64_t digit;

        if (*p < '0' || *p > '9') {
            return false;
        }
        digit = (uint64_t)(*p - '0');
        if (v > (UINT64_MAX - digit) / 10) {
            return false;
        }
        v = v * 10 + digit;
    }
    if (v > most) {
        return false;
    }
    *ret = v;
    return true;
}

bool num_parse_i64(const char *text, int64_t least, int64_t most, int64_t *ret)
{
    bool negative = *text == '-';
    uint64_t magnitude;
    int64_t v;

    if (!num_parse_u64(negative ? text + 1 : text, INT64_MAX, &magnitude)) {
        return false;
    }
    v = negative ? -(int64_t)magnitude : (int64_t)magnitude;
    if (v < least || v > most) {
        return false;
    }
    *ret = v;
    return true;
}
