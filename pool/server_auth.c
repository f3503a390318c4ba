/* SPDX-License-Identifier: ISC */
#include "pool/server_auth.h"

#include <stdio.h>

static const char *what_is_asked(uint32_t kind)
{
    switch (kind) {
    case SERVER_AUTH_CLEARTEXT:
        return "server requested a cleartext password";
    case SERVER_AUTH_MD5:
        return "server requested a hashed password";
    case SERVER_AUTH_GSS:
    case SERVER_AUTH_GSS_CONTINUE:
        return "server requested GSSAPI authentication";
    case SERVER_AUTH_SSPI:
        return "server requested SSPI authentication";
    case SERVER_AUTH_SASL:
    case SERVER_AUTH_SASL_CONTINUE:
    case SERVER_AUTH_SASL_FINAL:
        return "server requested SASL authentication";
    default:
        return "server requested an unknown authentication type";
    }
}

/* NULL: it fits require_auth. */
static const char *misfit(const struct server_auth *a, uint32_t kind, struct server_auth_progress p)
{
    if (*a->text == '\0') {
        return NULL;
    }
    if (kind == SERVER_AUTH_OK) {
        return !a->must_ask || p.has_proved ? NULL : "server did not complete authentication";
    }
    return kind <= SERVER_AUTH_SASL_FINAL && (a->allowed & 1U << kind) != 0 ? NULL
                                                                            : what_is_asked(kind);
}

bool server_auth_allows(const struct server_auth *a, uint32_t kind, struct server_auth_progress p,
                        char *ret_why, size_t size)
{
    const char *why = misfit(a, kind, p);

    if (why != NULL) { /* a long list is cut, never the reason */
        (void)snprintf(ret_why, size, "authentication method requirement \"%.150s\" failed: %s",
                       a->text, why);
        return false;
    }
    if (a->binding != CHANNEL_BINDING_REQUIRE) {
        return true;
    }
    switch (kind) {
    case SERVER_AUTH_SASL:
    case SERVER_AUTH_SASL_CONTINUE:
    case SERVER_AUTH_SASL_FINAL:
        return true;
    case SERVER_AUTH_OK:
        why = "channel binding required, but server authenticated client without channel binding";
        break;
    default:
        why = "channel binding required but not supported by server's authentication request";
        break;
    }
    (void)snprintf(ret_why, size, "%s", why);
    return kind == SERVER_AUTH_OK && p.is_bound;
}
