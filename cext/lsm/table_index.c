#include "table_format.h"

static uint64_t word_of(fc_slice key, size_t from)
{
    char padded[8] = {0};
    if (key.n > from)
        memcpy(padded, key.p + from, key.n - from < 8 ? key.n - from : 8);
    return __builtin_bswap64(fc_get64(padded));
}

static size_t common_bytes(fc_slice a, fc_slice b)
{
    size_t n = a.n < b.n ? a.n : b.n, i = 0;
    while (i < n && a.p[i] == b.p[i])
        i++;
    return i;
}

/* Entry: shared, brought, tag, bytes of the block without trailer, then the bytes brought. */
static bool decode(table_index *x, fc_slice in, uint64_t data_bytes, bool *memory)
{
    const char *p = in.p, *end = in.p + in.n;
    for (uint32_t i = 0; i < x->n; i++) {
        uint32_t shared, brought, size;
        fc_slice last = i ? table_separator(x, i - 1) : (fc_slice){NULL, 0};
        if (!(p = fc_get_varint32(p, end, &shared)) || !(p = fc_get_varint32(p, end, &brought)) ||
            !(p = fc_get_varint(p, end, &x->tags[i])) || !(p = fc_get_varint32(p, end, &size)))
            return false;
        if (shared > last.n || brought > (uint64_t)(end - p) || shared + (uint64_t)brought > FC_KEY_MAX || size == 0 ||
            (uint64_t)size + TABLE_TRAILER > data_bytes - x->offsets[i] ||
            x->keys.n + shared + (uint64_t)brought > UINT32_MAX)
            return false;
        if (!bytes_reserve(&x->keys, shared + (size_t)brought))
            return *memory = false;
        if (i)
            bytes_put(&x->keys, table_separator(x, i - 1).p, shared); /* it may have moved */
        bytes_put(&x->keys, p, brought);
        x->key_ends[i] = (uint32_t)x->keys.n;
        x->offsets[i + 1] = x->offsets[i] + size + TABLE_TRAILER;
        if (i && fc_ikey_compare(table_separator(x, i - 1), x->tags[i - 1], table_separator(x, i), x->tags[i]) >= 0)
            return false;
        p += brought;
    }
    return p == end && x->offsets[x->n] == data_bytes;
}

bool table_index_open(table_index *x, fc_slice in, uint64_t blocks, uint64_t data_bytes, bool *memory)
{
    *x = (table_index){0};
    *memory = true;
    if (blocks > in.n / 4 || blocks >= UINT32_MAX) /* an entry is four bytes at least */
        return false;
    x->n = (uint32_t)blocks;
    x->words = malloc((blocks + 1) * sizeof *x->words);
    x->tags = malloc((blocks + 1) * sizeof *x->tags);
    x->offsets = calloc(blocks + 1, sizeof *x->offsets);
    x->key_ends = malloc((blocks + 1) * sizeof *x->key_ends);
    if (!x->words || !x->tags || !x->offsets || !x->key_ends)
        return *memory = false;
    if (!decode(x, in, data_bytes, memory))
        return false;
    if (x->n)
        x->common = common_bytes(table_separator(x, 0), table_separator(x, x->n - 1));
    for (uint32_t i = 0; i < x->n; i++)
        x->words[i] = word_of(table_separator(x, i), x->common);
    return true;
}

void table_index_close(table_index *x)
{
    free(x->words);
    free(x->tags);
    free(x->offsets);
    free(x->key_ends);
    bytes_free(&x->keys);
}

/* Number of words below; halving without branches that could be guessed wrong. */
static uint32_t lower_bound(const table_index *x, uint64_t word)
{
    uint32_t from = 0;
    for (uint32_t left = x->n; left > 1;) {
        uint32_t half = left / 2;
        from = x->words[from + half - 1] < word ? from + half : from;
        left -= half;
    }
    return from + (x->words[from] < word);
}

uint32_t table_index_find(const table_index *x, fc_slice user, uint64_t tag)
{
    if (x->n == 0)
        return 0;
    size_t n = user.n < x->common ? user.n : x->common;
    int c = n ? memcmp(user.p, x->keys.p, n) : 0;
    if (c || user.n < x->common)
        return c > 0 ? x->n : 0;
    uint64_t word = word_of(user, x->common);
    uint32_t below = lower_bound(x, word);
    uint32_t to = word == UINT64_MAX ? x->n : lower_bound(x, word + 1);
    while (below < to) {
        uint32_t middle = below + (to - below) / 2;
        if (fc_ikey_compare(table_separator(x, middle), x->tags[middle], user, tag) < 0)
            below = middle + 1;
        else
            to = middle;
    }
    return below;
}
