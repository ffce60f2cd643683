/* cache_put.h - what set and the insertion in pieces share. */
#ifndef FC_CACHE_PUT_H
#define FC_CACHE_PUT_H

#include "cache_internal.h"

/* 0, or how the new entry breaks the cache's bounds. */
int cache_check(const fc_cache *c, const fc_cache_new *n);
cache_entry cache_head_for(const fc_cache_new *n, uint64_t hash, uint64_t now);
/* Writes head, tags, key and metadata into the chain; where the value goes. */
cache_cursor cache_write_head(const fc_cache *c, cache_shard *s, uint32_t first, const cache_entry *head,
                              const fc_cache_new *n);
/* Whether the key has a fresh entry. */
bool cache_fresh(const fc_cache *c, const cache_shard *s, uint64_t hash, fc_slice key, uint64_t now);
/* As the public ones; 1 from begin: not to be stored (there is a fresh entry, or the stamp is from before a clear). */
int cache_put_begin(fc_cache *c, fc_cache_put *put, const fc_cache_new *n, bool absent_only, uint64_t now);
int cache_put_commit(fc_cache *c, fc_cache_put *put, bool absent_only, uint64_t now);

#endif
