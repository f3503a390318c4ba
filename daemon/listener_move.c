/* SPDX-License-Identifier: ISC */
/* Listening sockets in an online restart: offered by the old process, taken by the new one. It is one socket in both.
 * And SUSPEND. */
#include "daemon/listener_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

bool listeners_inherit(struct list *list, int fd, bool is_systemd, struct config_errors *errors)
{
    struct listener *l;

    if (!listener_adopt(list, fd, "the old process", errors)) {
        (void)close(fd);
        return false;
    }
    l = list_entry(list_last(list), struct listener, link);
    l->origin[0] = '\0';
    l->is_inherited = is_systemd;
    l->is_wanted = is_systemd;
    l->offer = list->n;
    return true;
}

/* From now on the file is ours to remove. */
bool listener_own_file(struct listener *l)
{
    const struct sockaddr_un *a = (const void *)&l->addr;

    if (l->offer == 0 || l->is_inherited || !l->is_unix || a->sun_path[0] == '\0') {
        return true;
    }
    l->path = strdup(a->sun_path);
    return l->path != NULL;
}

void listeners_give_away(struct server *s, const uint8_t *kept, size_t n_kept)
{
    struct listener *l;
    size_t i = 0;

    list_for_each(&s->listeners, l, link) {
        if (l->fd < 0) {
            continue; /* was not offered */
        }
        if (i < n_kept && kept[i] != 0) {
            free(l->path);
            l->path = NULL;
            l->is_inherited = true; /* nothing is set on it any more: it is one socket */
        } else {
            listener_close_socket(l);
            if (l->path != NULL) {
                (void)unlink(l->path); /* when somebody else was faster, so much the better */
                free(l->path);
                l->path = NULL;
            }
        }
        i++;
    }
}

/* What the old process listened to, but the configuration does not say any more. Its file is the old process's. */
void listeners_drop_unwanted(struct list *list)
{
    struct listener *l;

    list_for_each(list, l, link) {
        if (l->offer > 0 && !l->is_wanted) {
            list_remove(list, &l->link);
            listener_free(l);
        }
    }
}

void listeners_suspend(struct server *s)
{
    struct listener *l;

    list_for_each(&s->listeners, l, link) {
        if (l->fd >= 0) {
            l->is_suspended = true;
            loop_io_want(s->loop, &l->io, LOOP_NONE);
        }
    }
}

void listeners_resume(struct server *s)
{
    struct listener *l;

    list_for_each(&s->listeners, l, link) {
        if (l->fd >= 0) {
            l->is_suspended = false;
            loop_io_want(s->loop, &l->io, LOOP_READ);
        }
    }
}
