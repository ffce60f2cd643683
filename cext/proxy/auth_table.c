/* Verdicts that are remembered, and the line of credentials that wait for one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fc/auth.h"
#include "fc/clock.h"

struct fc_auth_pending {
    unsigned char key[FC_AUTH_KEY_BYTES];
    fc_auth_pending *in_bucket; /* next */
    fc_auth_pending *in_line;   /* next, in the line or among the settled */
    fc_auth_wait *waiting;
    uint32_t provider, credential_len;
    bool taken;
    uint64_t verdict[FC_AUTH_VERDICT_MAX / sizeof(uint64_t)]; /* here, so that settling cannot run out of memory */
    char credential[];
};

static void tell(fc_loop *loop, fc_job *job);

int fc_auth_init(fc_auth *auth, fc_loop *loop, const fc_cache *verified, const fc_cache *refused,
                 const fc_hash_key *secret, uint32_t pending_max)
{
    memset(auth, 0, sizeof *auth);
    uint32_t buckets = 16;
    while (buckets < pending_max && buckets < 1u << 20)
        buckets *= 2;
    auth->buckets = calloc(buckets, sizeof *auth->buckets);
    if (!auth->buckets)
        return -ENOMEM;
    auth->mask = buckets - 1;
    auth->loop = loop;
    auth->verified = verified;
    auth->refused = refused;
    auth->pending_max = pending_max;
    auth->line_end = &auth->line;
    auth->settled_end = &auth->settled;
    auth->job.done = tell;
    /* The tables' own key places entries by another hash; what tokens are told apart by is derived from it. */
    auth->key.k0 = fc_hash(secret, "fc_auth key, first half", 23);
    auth->key.k1 = fc_hash(secret, "fc_auth key, second half", 24);
    return 0;
}

static fc_auth_pending **bucket(const fc_auth *auth, const unsigned char *key)
{
    uint32_t place;
    memcpy(&place, key, sizeof place);
    return &auth->buckets[place & auth->mask];
}

static fc_auth_pending *find(const fc_auth *auth, const unsigned char *key)
{
    fc_auth_pending *p = *bucket(auth, key);
    while (p && memcmp(p->key, key, FC_AUTH_KEY_BYTES) != 0)
        p = p->in_bucket;
    return p;
}

/* Out of the table: from now on an equal credential is a new one. */
static void forget(fc_auth *auth, fc_auth_pending *pending)
{
    fc_auth_pending **at = bucket(auth, pending->key);
    while (*at != pending)
        at = &(*at)->in_bucket;
    *at = pending->in_bucket;
    auth->pending_len--;
}

void fc_auth_close(fc_auth *auth)
{
    for (uint32_t i = 0; auth->buckets && i <= auth->mask; i++)
        while (auth->buckets[i]) {
            fc_auth_pending *pending = auth->buckets[i];
            auth->buckets[i] = pending->in_bucket;
            free(pending);
        }
    free(auth->buckets);
    memset(auth, 0, sizeof *auth);
}

void fc_auth_key(const fc_auth *auth, const fc_auth_provider *provider, fc_slice credential,
                 unsigned char key[FC_AUTH_KEY_BYTES])
{
    uint64_t hash[2];
    fc_hash128(&auth->key, credential.p, credential.n, hash);
    memcpy(key, hash, sizeof hash);
    memcpy(key + sizeof hash, provider->fingerprint, sizeof provider->fingerprint);
}

/* Does it say what it should, in as many bytes as it has? */
static bool is_verdict(const void *p, size_t n)
{
    fc_auth_verdict v;
    if (n < sizeof v || n > FC_AUTH_VERDICT_MAX)
        return false;
    memcpy(&v, p, sizeof v);
    return v.reason < FC_AUTH_REASON_COUNT && n == sizeof v + v.subject_len + v.fields_len;
}

static bool read_from(const fc_cache *table, fc_slice key, uint64_t now_ns, void *room)
{
    fc_cache_item item;
    return fc_cache_find(table, key, now_ns, &item) == FC_CACHE_FRESH && item.value_len <= FC_AUTH_VERDICT_MAX &&
           fc_cache_read(table, &item, 0, room, item.value_len) && is_verdict(room, item.value_len);
}

bool fc_auth_known(const fc_auth *auth, const unsigned char key[FC_AUTH_KEY_BYTES], void *room)
{
    fc_slice k = {(const char *)key, FC_AUTH_KEY_BYTES};
    const fc_auth_verdict *v = room;
    if (!read_from(auth->verified, k, auth->loop->now_ns, room) && !read_from(auth->refused, k, auth->loop->now_ns, room))
        return false;
    return v->expires_s > fc_wall_ns() / FC_NS_PER_S;
}

int fc_auth_park(fc_auth *auth, fc_auth_wait *wait, const fc_auth_provider *provider,
                 const unsigned char key[FC_AUTH_KEY_BYTES], fc_slice credential)
{
    fc_auth_pending *pending = find(auth, key);
    if (!pending) {
        if (auth->pending_len >= auth->pending_max)
            return -EBUSY;
        pending = malloc(sizeof *pending + credential.n);
        if (!pending)
            return -ENOMEM;
        memset(pending, 0, sizeof *pending);
        memcpy(pending->key, key, FC_AUTH_KEY_BYTES);
        memcpy(pending->credential, credential.p, credential.n);
        pending->credential_len = (uint32_t)credential.n;
        pending->provider = provider->id;
        pending->in_bucket = *bucket(auth, key);
        *bucket(auth, key) = pending;
        auth->pending_len++;
        bool was_empty = !auth->line;
        *auth->line_end = pending;
        auth->line_end = &pending->in_line;
        if (was_empty)
            auth->wake(auth);
    }
    wait->pending = pending;
    wait->next = pending->waiting;
    wait->link = &pending->waiting;
    if (wait->next)
        wait->next->link = &wait->next;
    pending->waiting = wait;
    return 0;
}

void fc_auth_leave(fc_auth_wait *wait)
{
    if (!wait->pending)
        return;
    *wait->link = wait->next;
    if (wait->next)
        wait->next->link = wait->link;
    wait->pending = NULL;
}

bool fc_auth_take(fc_auth *auth, uint32_t *provider, const unsigned char **key, fc_slice *credential)
{
    fc_auth_pending *pending;
    while ((pending = auth->line)) {
        auth->line = pending->in_line;
        if (!auth->line)
            auth->line_end = &auth->line;
        pending->in_line = NULL;
        if (!pending->waiting) { /* its clients have gone: not worth the work */
            forget(auth, pending);
            free(pending);
            continue;
        }
        pending->taken = true;
        *provider = pending->provider;
        *key = pending->key;
        *credential = (fc_slice){pending->credential, pending->credential_len};
        return true;
    }
    return false;
}

bool fc_auth_settle(fc_auth *auth, const unsigned char key[FC_AUTH_KEY_BYTES], const void *verdict, size_t n)
{
    fc_auth_pending *pending = find(auth, key);
    if (!pending || !pending->taken || !is_verdict(verdict, n))
        return false;
    memcpy(pending->verdict, verdict, n);
    forget(auth, pending);
    *auth->settled_end = pending;
    auth->settled_end = &pending->in_line;
    if (!auth->posted) {
        auth->posted = true;
        fc_loop_post(auth->loop, &auth->job);
    }
    return true;
}

static void tell(fc_loop *loop, fc_job *job)
{
    (void)loop;
    fc_auth *auth = FC_CONTAINER_OF(job, fc_auth, job);
    auth->posted = false;
    fc_auth_pending *pending = auth->settled;
    auth->settled = NULL;
    auth->settled_end = &auth->settled;
    while (pending) {
        fc_auth_pending *next = pending->in_line;
        fc_auth_wait *wait;
        while ((wait = pending->waiting)) {
            fc_auth_leave(wait);
            wait->settled(wait, (const fc_auth_verdict *)(const void *)pending->verdict);
        }
        free(pending);
        pending = next;
    }
}
