/* SPDX-License-Identifier: ISC */
/* Values of a DataRow, in text or in binary (which drivers like asyncpg ask for). PG15 protocol, "DataRow"; the binary
 * forms are those of int4send, int8send, textsend and numeric_send. */
#include "daemon/admin_show.h"

#include "daemon/util/fatal.h"
#include "daemon/util/log.h"
#include "daemon/util/num.h"
#include "protocol/wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NULL_LENGTH UINT32_MAX
#define NAME_MAX_BYTES 256 /* of a peer's text in a column; longer ones are cut */

static const struct admin_column *next_column(struct admin_row *row)
{
    fatal_unless(row->n < row->n_columns);
    return &row->columns[row->n++];
}

static bool is_binary(const struct admin_row *row)
{
    return (row->binary >> (row->n - 1) & 1) != 0;
}

static void put_value(struct admin_row *row, const void *data, size_t len)
{
    wire_put_u32(row->out, num_u32(len));
    wire_put_bytes(row->out, data, len);
}

void admin_put_null(struct admin_row *row)
{
    (void)next_column(row);
    wire_put_u32(row->out, NULL_LENGTH);
}

void admin_put_text(struct admin_row *row, const char *text)
{
    if (text == NULL) {
        admin_put_null(row);
        return;
    }
    fatal_unless(next_column(row)->type == ADMIN_TEXT);
    put_value(row, text, strlen(text));
}

void admin_put_name(struct admin_row *row, const char *text)
{
    char clean[NAME_MAX_BYTES];

    admin_put_text(row, text == NULL ? NULL : log_escape(clean, sizeof(clean), text));
}

void admin_put_fmt(struct admin_row *row, const char *fmt, ...)
{
    char text[1024];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args); /* cut is meant */
    va_end(args);
    admin_put_text(row, text);
}

/* numeric_send: digits to the base of 10000, the exponent of the first, sign, digits behind the point. */
static void put_numeric(struct admin_row *row, bool is_negative, uint64_t value)
{
    uint16_t digits[5];
    unsigned n = 0;

    for (; value > 0; value /= 10000) {
        digits[n++] = (uint16_t)(value % 10000);
    }
    wire_put_u32(row->out, 8 + 2 * n);
    wire_put_u16(row->out, (uint16_t)n);
    wire_put_u16(row->out, n > 0 ? (uint16_t)(n - 1) : 0);
    wire_put_u16(row->out, is_negative ? 0x4000 : 0);
    wire_put_u16(row->out, 0);
    while (n > 0) {
        wire_put_u16(row->out, digits[--n]);
    }
}

static void put_binary(struct admin_row *row, enum admin_type type, bool is_negative,
                       uint64_t magnitude)
{
    uint64_t value = is_negative ? -magnitude : magnitude;

    switch (type) {
    case ADMIN_INT4:
        wire_put_u32(row->out, 4);
        wire_put_u32(row->out, (uint32_t)value);
        return;
    case ADMIN_INT8:
        wire_put_u32(row->out, 8);
        wire_put_u32(row->out, (uint32_t)(value >> 32));
        wire_put_u32(row->out, (uint32_t)value);
        return;
    case ADMIN_NUMERIC:
        put_numeric(row, is_negative, magnitude);
        return;
    case ADMIN_TEXT:
    case ADMIN_TYPES:
        break;
    }
    unreachable();
}

static uint64_t largest(enum admin_type type)
{
    switch (type) {
    case ADMIN_INT4:
        return INT32_MAX;
    case ADMIN_INT8:
        return INT64_MAX;
    case ADMIN_TEXT:
    case ADMIN_NUMERIC:
        return UINT64_MAX;
    case ADMIN_TYPES:
        break;
    }
    unreachable();
}

static void put_number(struct admin_row *row, bool is_negative, uint64_t magnitude)
{
    enum admin_type type = next_column(row)->type;
    char text[32];
    int len;

    magnitude = MIN(magnitude, largest(type));
    if (is_binary(row) && type != ADMIN_TEXT) {
        put_binary(row, type, is_negative, magnitude);
        return;
    }
    len = snprintf(text, sizeof(text), "%s%" PRIu64, is_negative ? "-" : "", magnitude);
    put_value(row, text, (size_t)len);
}

void admin_put_int(struct admin_row *row, int64_t value)
{
    put_number(row, value < 0, value < 0 ? -(uint64_t)value : (uint64_t)value);
}

void admin_put_uint(struct admin_row *row, uint64_t value)
{
    put_number(row, false, value);
}

void admin_put_time(struct admin_row *row, usec_t at_us)
{
    char text[64];
    struct tm tm;
    time_t wall;

    if (at_us == 0) {
        admin_put_null(row);
        return;
    }
    wall = (time_t)(clock_wall_of_us(at_us) / USEC_PER_SEC);
    (void)localtime_r(&wall, &tm);
    (void)strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S %Z", &tm);
    admin_put_text(row, text);
}

void admin_put_wait(struct admin_row *row, usec_t wait_us)
{
    admin_put_uint(row, wait_us / USEC_PER_SEC);
    admin_put_uint(row, wait_us % USEC_PER_SEC);
}

void admin_put_ptr(struct admin_row *row, const void *ptr)
{
    if (ptr == NULL) {
        admin_put_text(row, "");
        return;
    }
    admin_put_fmt(row, "%p", ptr);
}
