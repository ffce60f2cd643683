/* Bytes along a chain of blocks, in whole words, so that reader and writer may meet on one without tearing it. */
#include "cache_internal.h"

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

bool cache_copy_out(const fc_cache *c, const cache_shard *s, cache_cursor *from, void *out, uint32_t n)
{
    char *to = out;
    while (n > 0) {
        if (!cache_seek(c, s, from))
            return false;
        const cache_word *words = (const cache_word *)(void *)cache_block(c, s, from->block);
        uint32_t here = least(n, c->options.block - from->at), at = from->at, end = at + here;
        if (at % 8 != 0) {
            uint64_t word = cache_word_get(&words[at / 8]);
            uint32_t part = least(8 - at % 8, here);
            memcpy(to, (char *)&word + at % 8, part);
            to += part;
            at += part;
        }
        for (; at + 8 <= end; at += 8, to += 8) {
            uint64_t word = cache_word_get(&words[at / 8]);
            memcpy(to, &word, 8);
        }
        if (at < end) {
            uint64_t word = cache_word_get(&words[at / 8]);
            memcpy(to, &word, end - at);
            to += end - at;
        }
        from->at = end;
        n -= here;
    }
    return true;
}

/* Part of a word: the block is the writer's own, so nobody else changes the rest of it. */
static void put_part(cache_word *word, uint32_t at, const char *p, uint32_t n)
{
    uint64_t value = *word;
    memcpy((char *)&value + at, p, n);
    cache_word_put(word, value);
}

bool cache_copy_in(const fc_cache *c, cache_shard *s, cache_cursor *to, const void *bytes, uint32_t n)
{
    const char *p = bytes;
    while (n > 0) {
        if (!cache_seek(c, s, to))
            return false;
        cache_word *words = (cache_word *)(void *)cache_block(c, s, to->block);
        uint32_t here = least(n, c->options.block - to->at), at = to->at, end = at + here;
        if (at % 8 != 0) {
            uint32_t part = least(8 - at % 8, here);
            put_part(&words[at / 8], at % 8, p, part);
            p += part;
            at += part;
        }
        for (; at + 8 <= end; at += 8, p += 8) {
            uint64_t word;
            memcpy(&word, p, 8);
            cache_word_put(&words[at / 8], word);
        }
        if (at < end) {
            put_part(&words[at / 8], 0, p, end - at);
            p += end - at;
        }
        to->at = end;
        n -= here;
    }
    return true;
}

bool cache_equal(const fc_cache *c, const cache_shard *s, cache_cursor from, const char *p, uint32_t n)
{
    while (n > 0) {
        if (!cache_seek(c, s, &from))
            return false;
        const cache_word *words = (const cache_word *)(void *)cache_block(c, s, from.block) + from.at / 8;
        uint32_t here = least(n, c->options.block - from.at);
        n -= here;
        from.at += here;
        for (; here >= 8; here -= 8, p += 8, words++) {
            uint64_t word;
            memcpy(&word, p, 8);
            if (word != cache_word_get(words))
                return false;
        }
        if (here > 0) {
            uint64_t word = cache_word_get(words);
            if (memcmp(&word, p, here) != 0)
                return false;
            p += here;
        }
    }
    return true;
}

bool cache_equal_chains(const fc_cache *c, const cache_shard *s, cache_cursor a, cache_cursor b, uint32_t n)
{
    char piece[64];
    while (n > 0) {
        uint32_t here = least(n, sizeof piece);
        /* Pieces of b keep to a multiple of 8, which keys begin at. */
        if (!cache_copy_out(c, s, &a, piece, here) || !cache_seek(c, s, &b) || !cache_equal(c, s, b, piece, here))
            return false;
        b.at += here;
        n -= here;
    }
    return true;
}
