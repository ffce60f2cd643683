/* Operations as bytes: in a batch, and so in the log.
 *
 *     operation = type (1 byte) varint keyspace, slice key, then: DELETE nothing; VALUE slice value; EXPIRING slice of
 *                 expiry (8 bytes) and value; RANGE_DELETE slice end, empty for the end of all keys
 */
#include <errno.h>
#include <stdlib.h>

#include "store_internal.h"

#define BATCH_FIRST 256u

static bool reserve(char **p, size_t n, size_t *cap, size_t more)
{
    if (FC_LIKELY(more <= *cap - n))
        return true;
    size_t grown = *cap * 2 > n + more ? *cap * 2 : n + more + BATCH_FIRST;
    char *fresh = realloc(*p, grown);
    if (fresh == NULL)
        return false;
    *p = fresh;
    *cap = grown;
    return true;
}

static char *put_slice(char *p, fc_slice s)
{
    p = fc_put_varint(p, s.n);
    if (s.n)
        memcpy(p, s.p, s.n);
    return p + s.n;
}

static const char *get_slice(const char *p, const char *end, fc_slice *out)
{
    uint64_t n;
    p = fc_get_varint(p, end, &n);
    if (p == NULL || n > (uint64_t)(end - p))
        return NULL;
    *out = (fc_slice){p, (size_t)n};
    return p + n;
}

/* The largest key of all is refused: a range deletion to the end of all keys could have no end behind it. */
static bool is_key(fc_slice key)
{
    if (FC_LIKELY(key.n < FC_KEY_MAX))
        return true;
    size_t i = 0;
    while (key.n == FC_KEY_MAX && i < key.n && (uint8_t)key.p[i] == 0xFF)
        i++;
    return key.n == FC_KEY_MAX && i < key.n;
}

/* Where the value or end goes; NULL: the batch has an error. */
static char *begin(fc_batch *b, fc_key_type type, uint32_t keyspace, fc_slice key, size_t more)
{
    if (b->error == 0 && (!is_key(key) || more > FC_VALUE_MAX || b->operations == UINT32_MAX))
        b->error = FC_STORE_ESIZE;
    if (b->error == 0 && !reserve(&b->p, b->n, &b->cap, 1 + 3 * FC_VARINT64_MAX + key.n + more))
        b->error = -ENOMEM;
    if (b->error < 0)
        return NULL;
    if (b->operations++ == 0)
        b->keyspace = keyspace;
    b->several = b->several || keyspace != b->keyspace;
    b->data_bytes += key.n + more;
    char *p = b->p + b->n;
    *p++ = (char)type;
    return put_slice(fc_put_varint(p, keyspace), key);
}

static void end(fc_batch *b, const char *p) { b->n = (size_t)(p - b->p); }

void fc_batch_put(fc_batch *b, uint32_t keyspace, fc_slice key, fc_slice value, uint64_t expires_ms)
{
    size_t extra = expires_ms ? FC_EXPIRY_BYTES : 0;
    char *p = begin(b, expires_ms ? FC_KEY_EXPIRING : FC_KEY_VALUE, keyspace, key, value.n + extra);
    if (p == NULL)
        return;
    p = fc_put_varint(p, value.n + extra);
    if (extra)
        fc_put64(p, expires_ms);
    if (value.n)
        memcpy(p + extra, value.p, value.n);
    end(b, p + extra + value.n);
}

void fc_batch_delete(fc_batch *b, uint32_t keyspace, fc_slice key)
{
    char *p = begin(b, FC_KEY_DELETE, keyspace, key, 0);
    if (p)
        end(b, p);
}

void fc_batch_delete_range(fc_batch *b, uint32_t keyspace, fc_slice from, fc_slice to)
{
    if (to.n > FC_KEY_MAX && b->error == 0)
        b->error = FC_STORE_ESIZE;
    char *p = begin(b, FC_KEY_RANGE_DELETE, keyspace, from, to.n);
    if (p == NULL)
        return;
    b->ranges++;
    b->unbounded += to.n == 0;
    end(b, put_slice(p, to));
}

void fc_batch_expect(fc_batch *b, uint32_t keyspace, fc_slice key, uint64_t version)
{
    if (b->error == 0 && !is_key(key))
        b->error = FC_STORE_ESIZE;
    if (b->error == 0 && !reserve(&b->expected, b->expected_n, &b->expected_cap, 3 * FC_VARINT64_MAX + key.n))
        b->error = -ENOMEM;
    if (b->error < 0)
        return;
    char *p = b->expected + b->expected_n;
    p = put_slice(fc_put_varint(fc_put_varint(p, keyspace), version), key);
    b->expected_n = (size_t)(p - b->expected);
    b->expectations++;
}

void fc_batch_append(fc_batch *b, const fc_batch *other)
{
    if (b->error == 0)
        b->error = other->error;
    if (b->error == 0 && other->operations > UINT32_MAX - b->operations)
        b->error = FC_STORE_ESIZE;
    if (b->error == 0 && (!reserve(&b->p, b->n, &b->cap, other->n) ||
                          !reserve(&b->expected, b->expected_n, &b->expected_cap, other->expected_n)))
        b->error = -ENOMEM;
    if (b->error < 0)
        return;
    if (other->n)
        memcpy(b->p + b->n, other->p, other->n);
    if (other->expected_n)
        memcpy(b->expected + b->expected_n, other->expected, other->expected_n);
    if (b->operations == 0)
        b->keyspace = other->keyspace;
    b->several = b->several || (other->operations && (other->several || other->keyspace != b->keyspace));
    b->n += other->n;
    b->operations += other->operations;
    b->ranges += other->ranges;
    b->unbounded += other->unbounded;
    b->data_bytes += other->data_bytes;
    b->expected_n += other->expected_n;
    b->expectations += other->expectations;
}

void fc_batch_clear(fc_batch *b)
{
    *b = (fc_batch){.p = b->p, .cap = b->cap, .expected = b->expected, .expected_cap = b->expected_cap};
}

void fc_batch_free(fc_batch *b)
{
    free(b->p);
    free(b->expected);
    *b = (fc_batch){0};
}

int store_batch_next(fc_slice batch, size_t *at, fc_batch_item *item)
{
    const char *p = batch.p + *at, *end = batch.p + batch.n;
    if (*at >= batch.n)
        return 0;
    *item = (fc_batch_item){.type = (fc_key_type)(uint8_t)*p};
    if (item->type < FC_KEY_DELETE || item->type > FC_KEY_RANGE_DELETE)
        return FC_STORE_EFORMAT;
    if (!(p = fc_get_varint32(p + 1, end, &item->keyspace)) || !(p = get_slice(p, end, &item->key)) ||
        (item->type != FC_KEY_DELETE && !(p = get_slice(p, end, &item->value))) || item->key.n > FC_KEY_MAX ||
        item->value.n > FC_VALUE_MAX || (item->type == FC_KEY_EXPIRING && item->value.n < FC_EXPIRY_BYTES))
        return FC_STORE_EFORMAT;
    *at = (size_t)(p - batch.p);
    return 1;
}

int fc_batch_next(fc_slice batch, size_t *at, fc_batch_item *item)
{
    int answer = store_batch_next(batch, at, item);
    if (answer == 1 && item->type == FC_KEY_EXPIRING)
        fc_value_split(fc_tag(0, FC_KEY_EXPIRING), item->value, &item->value, &item->expires_ms);
    return answer;
}

int store_expected_next(fc_slice expected, size_t *at, fc_batch_item *item)
{
    const char *p = expected.p + *at, *end = expected.p + expected.n;
    if (*at >= expected.n)
        return 0;
    *item = (fc_batch_item){0};
    p = fc_get_varint32(p, end, &item->keyspace);
    p = fc_get_varint(p, end, &item->expires_ms);
    p = get_slice(p, end, &item->key);
    *at = (size_t)(p - expected.p);
    return 1;
}
