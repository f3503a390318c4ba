/* SPDX-License-Identifier: ISC */
#include "pool/env.h"

#include "daemon/util/fatal.h"
#include "daemon/util/secret.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Derived SCRAM keys that are kept, about 350 bytes each. */
#define SCRAM_CACHE_ENTRIES 4096

struct pool_env *pool_env_new(struct loop *loop, struct resolver *resolver,
                              const struct pool_env_ops *ops)
{
    struct pool_env *env = calloc(1, sizeof(*env));

    if (env == NULL) {
        return NULL;
    }
    env->loop = loop;
    env->resolver = resolver;
    env->ops = ops;
    env->params = params_table_new();
    env->stmts = stmt_table_new();
    env->scram_cache = scram_cache_new(SCRAM_CACHE_ENTRIES);
    env->scratch = secret_alloc(ENV_SCRATCH_BYTES);
    conn_pipe_open(&env->pipe);
    list_init(&env->databases);
    list_init(&env->users);
    env->settings.tracked = "";
    secret_random(&env->version_seed, sizeof(env->version_seed));
    if (env->params == NULL || env->stmts == NULL || env->scram_cache == NULL ||
        env->scratch == NULL) {
        return pool_env_free(env);
    }
    return env;
}

struct pool_env *pool_env_free(struct pool_env *env)
{
    if (env == NULL) {
        return NULL;
    }
    fatal_unless(list_is_empty(&env->databases) && list_is_empty(&env->users));
    if (env->params != NULL) {
        env->params = params_table_free(env->params);
    }
    if (env->stmts != NULL) {
        env->stmts = stmt_table_free(env->stmts);
    }
    env->scram_cache = scram_cache_free(env->scram_cache);
    env->scratch = secret_free(env->scratch, ENV_SCRATCH_BYTES);
    conn_pipe_close(&env->pipe);
    free(env);
    return NULL;
}

/* Those that PgBouncer tracks always; track_extra_parameters adds to them. */
static const char *const always_tracked[] = {
    "client_encoding", "DateStyle", "TimeZone", "standard_conforming_strings", "application_name",
};

bool pool_env_is_tracked(const struct pool_env *env, const char *name)
{
    size_t len = strlen(name);
    const char *p = env->settings.tracked;

    for (size_t i = 0; i < ARRAY_LEN(always_tracked); i++) {
        if (strcasecmp(always_tracked[i], name) == 0) {
            return true;
        }
    }
    while (*p != '\0') {
        size_t n;

        p += strspn(p, ", \t");
        n = strcspn(p, ", \t");
        if (n == len && len > 0 && strncasecmp(p, name, n) == 0) {
            return true;
        }
        p += n;
    }
    return false;
}
