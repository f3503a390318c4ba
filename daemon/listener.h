/* SPDX-License-Identifier: ISC */
/* The sockets that clients connect to: TCP by listen_addr, one Unix socket, or what systemd hands over. Owned by the
 * server, in server->listeners. Accepts and gives each connection to client_new(); knows nothing of the protocol. */
#ifndef PGPOOLD_DAEMON_LISTENER_H
#define PGPOOLD_DAEMON_LISTENER_H

#include "daemon/server.h"

#include <sys/socket.h>

struct listener {
    struct list_node link; /* in the list of its owner: server->listeners */
    struct server *server; /* NULL until listeners_start() */
    struct loop_io io;
    struct loop_timer retry; /* accepts again after a shortage of descriptors */
    int fd; /* -1: closed by a shutdown that waits; the object stays for those who came through it */
    bool is_unix;
    bool is_proxied;   /* proxy_protocol_port: each connection begins with a PROXY header */
    bool is_inherited; /* from systemd: the socket's file is not ours to remove */
    bool is_suspended;
    bool is_retiring; /* listeners_retire(): for a while it takes on who comes yet */
    bool refuses_new; /* ... and then only those whose handshake is under way */
    struct loop_timer retirement;
    unsigned n_accepts;   /* at most so many in accept_turn */
    uint64_t accept_turn; /* of the loop, the last one with a new client */
    bool is_wanted;       /* offered, and the configuration says it too */
    unsigned
        offer; /* the old process's at an online restart, in this place of its offer; 0: it is not */
    char *path; /* of the Unix socket's file; NULL: TCP, or abstract; owned */
    struct sockaddr_storage addr;
    socklen_t addr_len;
    char origin[64]; /* what systemd calls it; "": not from there, or without a name */
    char name[160];  /* "127.0.0.1:6432", "[::1]:6432", "unix:/tmp/.s.PGSQL.6432" */
};

/* -- life: before the loop exists -- */

/* Binds what @set says, into @list. false: nothing stays open, and @errors says why. */
MUSTCHECK bool listeners_open(struct list *list, const struct settings *set,
                              struct config_errors *errors);
/* Takes over @fd, that systemd opened under @name ("": none). As above. */
MUSTCHECK bool listeners_adopt(struct list *list, int fd, const char *name,
                               struct config_errors *errors);
/* Takes one that the old process offers; @is_systemd: it had it from systemd. listeners_open() keeps those that the
 * configuration wants and closes the others. As above. */
MUSTCHECK bool listeners_inherit(struct list *list, int fd, bool is_systemd,
                                 struct config_errors *errors);
/* Closes them all and removes the Unix socket's file. */
void listeners_close(struct list *list);

/* -- use -- */

/* Moves @list to the server, listens and accepts: not before all else of the start has worked. As above. */
MUSTCHECK bool listeners_start(struct server *s, struct list *list, struct config_errors *errors);
/* At the end; the Unix socket goes with the rest. */
void listeners_close_tcp(struct server *s);
/* The same, for a shutdown that waits, but whoever the kernel has connected to us already is taken on: at once, and where
 * other processes share the port within 1.5 s, in whose last 300 ms no new connection is given to us. What systemd opened
 * is closed, its Unix socket too: who connects now waits for the next process. */
void listeners_retire(struct server *s);
/* SUSPEND, RESUME: connections wait in the kernel. */
void listeners_suspend(struct server *s);
void listeners_resume(struct server *s);
/* They are a new process's now. Those that it does not want (0 in @kept) are closed; the others stay open, should it die,
 * but their files are not ours any more. */
void listeners_give_away(struct server *s, const uint8_t *kept, size_t n_kept);
/* Sets the socket options that may change at a reload; accepted connections inherit them. */
void listeners_tune(const struct server *s);

/* -- questions -- */

bool listeners_are_retiring(const struct server *s);
/* Nobody new comes through it: who has done so was there before. */
static inline bool listener_is_retired(const struct listener *l)
{
    return l->fd < 0 || l->is_retiring;
}

#endif
