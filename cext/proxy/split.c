/* A route's traffic, divided between upstreams by weight. */
#include "exchange.h"

/* What decides where a client belongs; empty where it has none of that. */
static fc_slice key_of(const fc_exchange *ex, const fc_split *split, fc_addr *client)
{
    switch (split->on) {
    case FC_SPLIT_RANDOM:
        break;
    case FC_SPLIT_CLIENT_IP:
        *client = exchange_client(ex->req);
        return (fc_slice){(const char *)client->ip, sizeof client->ip};
    case FC_SPLIT_USER:
        return ex->subject;
    case FC_SPLIT_HEADER:
        return exchange_field(ex->req, split->name);
    case FC_SPLIT_COOKIE:
        return exchange_cookie(ex->req, split->name);
    case FC_SPLIT_QUERY:
        return exchange_query(ex->req, split->name);
    }
    return (fc_slice){NULL, 0};
}

const fc_route *exchange_split(fc_exchange *ex)
{
    /* A key of its own: who is together on one target by consistent hashing must not be together here. */
    static const fc_hash_key split_key = {0x73706c6974206279ull, 0x2077656967687473ull};
    const fc_split *split = ex->route->split;
    fc_addr client;
    fc_slice key = key_of(ex, split, &client);
    uint64_t number = key.n ? fc_hash(&split_key, key.p, key.n) : fc_hash_next(&proxy_of(ex->req)->random);
    /* The high word of a product: a place in [0, total) without the bias of a remainder. */
    uint32_t place = (uint32_t)(((number >> 32) * split->total) >> 32), i = 0;
    while (place >= split->shares[i].weight)
        place -= split->shares[i++].weight;
    return split->shares[i].route;
}
