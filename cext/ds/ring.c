#include "fc/ring.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fc/md5.h"

#define KETAMA_DIGESTS 40u /* of a node of average weight, four points each */

struct fc_ring {
    fc_ring_options options;
    uint32_t nodes;
    uint32_t count;
    unsigned shift;   /* position >> shift is the entry of the index */
    size_t bytes;
    uint32_t *owner;  /* of each point */
    uint32_t *index;  /* first point at or after the beginning of each part of the circle; one more at the end */
    uint64_t point[]; /* ascending */
};

/* --- making one --------------------------------------------------------------------------------------------------- */

typedef struct placed {
    uint64_t position;
    uint32_t rank; /* of the node's name among the names: decides ties */
} placed;

typedef struct named {
    fc_slice name;
    uint32_t node;
} named;

static int by_name(const void *a, const void *b)
{
    const fc_slice *x = &((const named *)a)->name, *y = &((const named *)b)->name;
    size_t common = x->n < y->n ? x->n : y->n;
    int order = common > 0 ? memcmp(x->p, y->p, common) : 0;
    return order != 0 ? order : (x->n > y->n) - (x->n < y->n);
}

static int by_position(const void *a, const void *b)
{
    const placed *x = a, *y = b;
    if (x->position != y->position)
        return x->position < y->position ? -1 : 1;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

static uint64_t weights_of(const fc_ring_node *nodes, uint32_t n)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += nodes[i].weight;
    return sum;
}

static uint64_t points_of(const fc_ring_options *options, uint32_t weight, uint32_t n, uint64_t weights)
{
    if (options->placement == FC_RING_KETAMA)
        return weights > 0 ? (uint64_t)KETAMA_DIGESTS * n * weight / weights * 4 : 0;
    return (uint64_t)options->points * weight;
}

uint64_t fc_ring_points_for(const fc_ring_options *options, const fc_ring_node *nodes, uint32_t n)
{
    uint64_t sum = 0, weights = weights_of(nodes, n);
    for (uint32_t i = 0; i < n; i++)
        sum += points_of(options, nodes[i].weight, n, weights);
    return sum;
}

static void place(const fc_ring_options *options, fc_slice name, uint32_t rank, uint32_t count, placed *out)
{
    if (options->placement == FC_RING_SIPHASH) {
        uint64_t stream = fc_hash(&options->key, name.p, name.n);
        for (uint32_t i = 0; i < count; i++)
            out[i] = (placed){fc_hash_next(&stream), rank};
        return;
    }
    char text[FC_RING_NAME_MAX + 12]; /* '-' and ten digits */
    memcpy(text, name.p, name.n);
    for (uint32_t i = 0; i < count; i += 4) {
        uint32_t digest[4];
        int tail = snprintf(text + name.n, sizeof text - name.n, "-%u", i / 4);
        fc_md5(digest, text, name.n + (size_t)tail);
        for (uint32_t part = 0; part < 4; part++)
            out[i + part] = (placed){(uint64_t)digest[part] << 32, rank};
    }
}

static fc_ring *allocate(const fc_ring_options *options, uint32_t nodes, uint32_t count)
{
    unsigned bits = 1;
    while (bits < 31 && 1u << bits < count)
        bits++;
    size_t entries = ((size_t)1 << bits) + 1;
    size_t bytes = sizeof(fc_ring) + count * (sizeof(uint64_t) + sizeof(uint32_t)) + entries * sizeof(uint32_t);
    fc_ring *ring = malloc(bytes);
    if (ring == NULL)
        return NULL;
    *ring = (fc_ring){.options = *options, .nodes = nodes, .count = count, .shift = 64 - bits, .bytes = bytes};
    ring->owner = (uint32_t *)(void *)(ring->point + count);
    ring->index = ring->owner + count;
    return ring;
}

static void fill(fc_ring *ring, const placed *points, const named *names)
{
    uint32_t at = 0;
    for (uint64_t part = 0; part <= UINT64_MAX >> ring->shift; part++) {
        while (at < ring->count && points[at].position >> ring->shift < part)
            at++;
        ring->index[part] = at;
    }
    ring->index[(UINT64_MAX >> ring->shift) + 1] = ring->count;
    for (uint32_t i = 0; i < ring->count; i++) {
        ring->point[i] = points[i].position;
        ring->owner[i] = names[points[i].rank].node;
    }
}

fc_ring *fc_ring_new(const fc_ring_options *options, const fc_ring_node *nodes, uint32_t n)
{
    if (n > FC_RING_NODES_MAX || options->placement >= FC_RING_PLACEMENT_COUNT)
        return NULL;
    uint64_t total = fc_ring_points_for(options, nodes, n), weights = weights_of(nodes, n);
    if (total > FC_RING_POINTS_MAX)
        return NULL;
    named *names = calloc((size_t)n + 1, sizeof *names);
    placed *points = calloc((size_t)total + 1, sizeof *points);
    bool ok = names != NULL && points != NULL;
    for (uint32_t i = 0; ok && i < n; i++) {
        names[i] = (named){nodes[i].name, i};
        ok = nodes[i].name.n <= FC_RING_NAME_MAX;
    }
    if (ok)
        qsort(names, n, sizeof *names, by_name);
    for (uint32_t rank = 0, at = 0; ok && rank < n; rank++) {
        ok = rank == 0 || by_name(&names[rank - 1], &names[rank]) != 0;
        uint32_t count = (uint32_t)points_of(options, nodes[names[rank].node].weight, n, weights);
        place(options, names[rank].name, rank, count, points + at);
        at += count;
    }
    fc_ring *ring = ok ? allocate(options, n, (uint32_t)total) : NULL;
    if (ring != NULL) {
        qsort(points, total, sizeof *points, by_position);
        fill(ring, points, names);
    }
    free(points);
    free(names);
    return ring;
}

void fc_ring_free(fc_ring *ring)
{
    free(ring);
}

/* --- asking it ---------------------------------------------------------------------------------------------------- */

uint64_t fc_ring_position(const fc_ring *ring, const char *key, size_t n)
{
    if (ring->options.placement == FC_RING_SIPHASH)
        return fc_hash(&ring->options.key, key, n);
    uint32_t digest[4];
    fc_md5(digest, key, n);
    return (uint64_t)digest[0] << 32;
}

/* The first point at or after the position; the circle closes. */
static uint32_t next_point(const fc_ring *ring, uint64_t position)
{
    uint64_t part = position >> ring->shift;
    uint32_t low = ring->index[part], high = ring->index[part + 1];
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (ring->point[middle] < position)
            low = middle + 1;
        else
            high = middle;
    }
    return low < ring->count ? low : 0;
}

uint32_t fc_ring_find(const fc_ring *ring, uint64_t position, const fc_bounded *bounds)
{
    if (ring->count == 0)
        return FC_RING_NONE;
    uint32_t at = next_point(ring, position);
    if (bounds == NULL)
        return ring->owner[at];
    for (uint32_t i = 0; i < ring->count; i++) {
        uint32_t node = ring->owner[at];
        if (fc_bounded_has_room(bounds, node))
            return node;
        at = at + 1 < ring->count ? at + 1 : 0;
    }
    return FC_RING_NONE;
}

uint32_t fc_ring_find_n(const fc_ring *ring, uint64_t position, uint32_t *out, uint32_t most)
{
    uint64_t seen[(FC_RING_NODES_MAX + 63) / 64];
    memset(seen, 0, (ring->nodes + 63) / 64 * sizeof *seen);
    uint32_t found = 0, at = ring->count > 0 ? next_point(ring, position) : 0;
    for (uint32_t i = 0; i < ring->count && found < most; i++) {
        uint32_t node = ring->owner[at];
        if (!(seen[node / 64] >> node % 64 & 1)) {
            seen[node / 64] |= 1ull << node % 64;
            out[found++] = node;
        }
        at = at + 1 < ring->count ? at + 1 : 0;
    }
    return found;
}

uint32_t fc_ring_points(const fc_ring *ring)
{
    return ring->count;
}

uint64_t fc_ring_point(const fc_ring *ring, uint32_t i, uint32_t *node)
{
    *node = ring->owner[i];
    return ring->point[i];
}

size_t fc_ring_bytes(const fc_ring *ring)
{
    return ring->bytes;
}

void fc_ring_shares(const fc_ring *ring, double *shares)
{
    for (uint32_t i = 0; i < ring->nodes; i++)
        shares[i] = 0;
    for (uint32_t i = 0; i < ring->count; i++) {
        uint64_t before = ring->point[i > 0 ? i - 1 : ring->count - 1]; /* unsigned: the arc over zero comes out right */
        uint64_t arc = ring->point[i] - before;
        shares[ring->owner[i]] += ring->count == 1 ? 1 : (double)arc * 0x1p-64;
    }
}
