/* Verdicts and who waits for them: one judgement for equal credentials, bounds, leaving, and what the tables remember. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fc/auth.h"
#include "fc/clock.h"

#define PENDING_MAX 4

typedef struct client {
    fc_auth_wait wait;
    unsigned told;
    fc_auth_verdict verdict;
    struct client *leaves; /* when this one hears its verdict */
} client;

static fc_loop *loop;
static fc_cache verified, refused;
static fc_auth auth;
static unsigned wakes;
static const fc_hash_key secret = {1, 2};
static const fc_auth_provider one = {.id = 1, .fingerprint = "one"}, two = {.id = 2, .fingerprint = "two"};

static void on_wake(fc_auth *a) { wakes += a == &auth; }

static void on_settled(fc_auth_wait *wait, const fc_auth_verdict *verdict)
{
    client *c = FC_CONTAINER_OF(wait, client, wait);
    c->told++;
    c->verdict = *verdict;
    if (c->leaves)
        fc_auth_leave(&c->leaves->wait);
}

static void make_table(fc_cache *table)
{
    fc_cache_options o = {.capacity = 1 << 16, .item_max = 4096, .shards = 1, .block = 256, .tag_slots = 16, .key = secret};
    void *memory = aligned_alloc(FC_CACHE_ALIGN, (fc_cache_size(&o) + FC_CACHE_ALIGN - 1) & ~(uint64_t)(FC_CACHE_ALIGN - 1));
    memset(memory, 0, fc_cache_size(&o));
    CHECK(fc_cache_open(table, memory, fc_cache_size(&o), &o) == 0);
}

static int park(client *c, const fc_auth_provider *provider, const char *credential)
{
    unsigned char key[FC_AUTH_KEY_BYTES];
    fc_slice s = {credential, strlen(credential)};
    memset(c, 0, sizeof *c);
    c->wait.settled = on_settled;
    fc_auth_key(&auth, provider, s, key);
    return fc_auth_park(&auth, &c->wait, provider, key, s);
}

/* The next of the line is this; its key stays in `key`. */
static bool takes(const char *credential, uint32_t id, unsigned char *key)
{
    uint32_t provider;
    const unsigned char *at;
    fc_slice c;
    if (!fc_auth_take(&auth, &provider, &at, &c))
        return false;
    memcpy(key, at, FC_AUTH_KEY_BYTES);
    return provider == id && c.n == strlen(credential) && memcmp(c.p, credential, c.n) == 0;
}

static void test_waiting(void)
{
    client a, b, c, d, e, f;
    unsigned char key[FC_AUTH_KEY_BYTES], other[FC_AUTH_KEY_BYTES];
    uint32_t provider;
    const unsigned char *at;
    fc_slice credential;
    fc_auth_verdict yes = {.expires_s = 1, .reason = FC_AUTH_OK, .scopes = 5}, no = {.reason = FC_AUTH_SIGNATURE};
    CHECK(park(&a, &one, "x") == 0 && park(&b, &one, "x") == 0 && park(&c, &two, "x") == 0 && park(&d, &one, "y") == 0);
    CHECK(wakes == 1 && auth.pending_len == 3); /* another provider judges for itself */
    CHECK(takes("x", 1, key));
    CHECK(park(&e, &one, "x") == 0); /* while it is being judged */
    CHECK(park(&f, &one, "z") == 0 && auth.pending_len == PENDING_MAX);
    client over;
    CHECK(park(&over, &one, "w") == -EBUSY && !over.wait.pending);
    fc_auth_leave(&over.wait);
    a.leaves = &b; /* told or not depends on the order: never twice, never after leaving */
    b.leaves = &a;
    CHECK(fc_auth_settle(&auth, key, &yes, sizeof yes));
    CHECK(!fc_auth_settle(&auth, key, &yes, sizeof yes));
    CHECK(a.told + b.told == 0);
    fc_loop_run(loop, 1000, FC_NS_PER_S);
    CHECK(a.told + b.told == 1 && e.told == 1 && c.told == 0);
    CHECK(e.verdict.scopes == 5 && !e.wait.pending);
    fc_auth_leave(&d.wait); /* y: gone before anybody looked at it */
    CHECK(takes("x", 2, other));
    CHECK(takes("z", 1, key));
    CHECK(!fc_auth_take(&auth, &provider, &at, &credential));
    fc_auth_leave(&f.wait); /* z: gone while it is judged */
    CHECK(fc_auth_settle(&auth, key, &no, sizeof no));
    CHECK(!fc_auth_settle(&auth, other, &no, sizeof no - 1)); /* no verdict */
    no.subject_len = 1;
    CHECK(!fc_auth_settle(&auth, other, &no, sizeof no));
    no.subject_len = 0;
    CHECK(fc_auth_settle(&auth, other, &no, sizeof no));
    fc_loop_run(loop, 1000, FC_NS_PER_S);
    CHECK(c.told == 1 && c.verdict.reason == FC_AUTH_SIGNATURE && f.told == 0 && d.told == 0 && auth.pending_len == 0);
    CHECK(park(&a, &one, "x") == 0 && wakes == 2); /* a new one: nothing of it was kept here */
    fc_auth_leave(&a.wait);
    CHECK(!fc_auth_take(&auth, &provider, &at, &credential) && auth.pending_len == 0);
}

static void remember(fc_cache *table, const unsigned char *key, const void *value, size_t n, uint64_t ns)
{
    fc_cache_new entry = {.key = {(const char *)key, FC_AUTH_KEY_BYTES},
                          .value = {value, n},
                          .fresh_until = loop->now_ns + ns,
                          .keep_until = loop->now_ns + ns};
    CHECK(fc_cache_set(table, &entry, false, loop->now_ns) == 1);
}

static void test_remembering(void)
{
    unsigned char key[FC_AUTH_KEY_BYTES], other[FC_AUTH_KEY_BYTES];
    struct {
        fc_auth_verdict v;
        char text[5];
    } value = {.v = {.subject_len = 2, .fields_len = 3}, .text = "me:::"};
    uint64_t room[FC_AUTH_VERDICT_MAX / 8], wall = fc_wall_ns() / FC_NS_PER_S;
    size_t n = sizeof value.v + 5;
    fc_loop_touch(loop);
    fc_auth_key(&auth, &one, (fc_slice){"token", 5}, key);
    fc_auth_key(&auth, &two, (fc_slice){"token", 5}, other);
    CHECK(!fc_auth_known(&auth, key, room));
    value.v.expires_s = wall + 100;
    remember(&verified, key, &value, n, FC_NS_PER_S);
    CHECK(fc_auth_known(&auth, key, room) && memcmp(room, &value, n) == 0);
    CHECK(!fc_auth_known(&auth, other, room)); /* another provider, other settings: another verdict */
    value.v.expires_s = wall; /* over by the wall clock, whatever the table says */
    remember(&verified, key, &value, n, FC_NS_PER_S);
    CHECK(!fc_auth_known(&auth, key, room));
    value.v.expires_s = wall + 100;
    remember(&verified, key, &value, n - 1, FC_NS_PER_S); /* a piece is missing */
    CHECK(!fc_auth_known(&auth, key, room));
    remember(&verified, key, &value, n, 1);
    loop->now_ns += 2; /* over by the table's clock */
    CHECK(!fc_auth_known(&auth, key, room));
    fc_auth_verdict no = {.reason = FC_AUTH_SIGNATURE, .expires_s = wall + 100};
    remember(&refused, key, &no, sizeof no, FC_NS_PER_S);
    CHECK(fc_auth_known(&auth, key, room) && ((fc_auth_verdict *)(void *)room)->reason == FC_AUTH_SIGNATURE);
}

int main(void)
{
    loop = fc_loop_new(1 << 20);
    make_table(&verified);
    make_table(&refused);
    CHECK(fc_auth_init(&auth, loop, &verified, &refused, &secret, PENDING_MAX) == 0);
    auth.wake = on_wake;
    test_waiting();
    test_remembering();
    fc_auth_close(&auth);
    fc_loop_free(loop);
    free(verified.base);
    free(refused.base);
    return check_done("test_auth_table");
}
