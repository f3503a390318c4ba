/* SPDX-License-Identifier: ISC */
/* The floor of the bench programs: a growing byte buffer, PostgreSQL message building, sockets, clocks
 * and the CPU time of other processes. Everything that fails here ends the program with a sentence:
 * a bench that limps measures nothing. Shared by nullserver and loadgen only; the daemon never sees it. */
#ifndef BENCH_UTIL_H
#define BENCH_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PG_PROTOCOL_3 196608u
#define PG_CANCEL_REQUEST 80877102u
#define PG_SSL_REQUEST 80877103u
#define PG_GSSENC_REQUEST 80877104u

/* data[pos, len) is what is still unread or unsent. */
struct bytes {
    unsigned char *data;
    size_t pos;
    size_t len;
    size_t cap;
};

__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);

void bytes_done(struct bytes *b);
/* Makes room for @n more bytes and returns where they go; bytes_grow() then counts them in. */
unsigned char *bytes_room(struct bytes *b, size_t n);
void bytes_grow(struct bytes *b, size_t n);
void bytes_put(struct bytes *b, const void *data, size_t len);
void bytes_put_cstr(struct bytes *b, const char *text);
void bytes_put_u8(struct bytes *b, unsigned value);
void bytes_put_u16(struct bytes *b, unsigned value);
void bytes_put_u32(struct bytes *b, uint32_t value);
/* Takes @n bytes off the front; an emptied buffer starts again at 0. */
void bytes_take(struct bytes *b, size_t n);
size_t bytes_left(const struct bytes *b);

/* A message is type byte, length, body; @type 0 leaves the type out (StartupMessage). */
size_t msg_begin(struct bytes *b, char type);
void msg_end(struct bytes *b, size_t mark);
uint32_t get_u32(const unsigned char *p);

uint64_t now_us(void);
/* CPU time of all threads of @pid so far, nanoseconds: what the scheduler charged (schedstat), or
 * utime + stime where the kernel keeps no schedstat. 0 when the process is gone. */
uint64_t process_cpu_ns(pid_t pid);
/* Raises the soft limit of descriptors to the hard one. */
void raise_fd_limit(void);

/* @host may be a dotted address, or a folder (starts with '/') for a Unix socket. All non-blocking. */
int listen_on(const char *host, unsigned port);
/* @spread picks one of 16 loopback source addresses, so that local ports last. */
int connect_to(const char *host, unsigned port, unsigned spread);

/* Whole text, within [least, most], else the program ends. */
uint64_t number_arg(const char *name, const char *text, uint64_t most);

#endif
