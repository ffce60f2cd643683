/* Names and keys of any bytes: the ring answers what a look at all its points answers, in any order of the nodes; slots
 * and checksums do not depend on the path or the cut. */
#include <stdlib.h>
#include <string.h>

#include "fc/crc16.h"
#include "fc/crc32c.h"
#include "fc/ring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NODES 12u

static void must(bool what)
{
    if (!what)
        abort();
}

static void sums(const char *p, size_t n, size_t cut)
{
    uint32_t crc = fc_crc32c(0, p, n);
    must(crc == fc_crc32c_portable(0, p, n) && crc == fc_crc32c(fc_crc32c_portable(0, p, cut), p + cut, n - cut));
    must(fc_crc32c_unmask(fc_crc32c_mask(crc)) == crc);
    fc_slice tag = fc_crc16_tag(p, n);
    must(tag.p >= p && tag.p + tag.n <= p + n && fc_crc16_slot(p, n) < FC_CRC16_SLOTS);
    if (tag.n != n) /* what is hashed has no hash tag in it that would be hashed instead, unless braces nest */
        must(tag.n > 0 && tag.p[-1] == '{' && tag.p[tag.n] == '}' && memchr(tag.p, '}', tag.n) == NULL);
}

static void finds(const fc_ring *ring, const uint32_t *number, const fc_ring *other, uint64_t position)
{
    uint32_t count = fc_ring_points(ring), node = FC_RING_NONE, i = 0, out[NODES + 1], n;
    while (i < count && fc_ring_point(ring, i, &node) < position)
        i++;
    if (count > 0)
        fc_ring_point(ring, i % count, &node);
    must(fc_ring_find(ring, position, NULL) == node);
    n = fc_ring_find_n(ring, position, out, NODES + 1);
    must(n <= NODES && (n == 0) == (count == 0) && (n == 0 || out[0] == node));
    for (uint32_t a = 0; a < n; a++)
        for (uint32_t b = 0; b < a; b++)
            must(out[a] != out[b]);
    must(count == 0 || number[fc_ring_find(other, position, NULL)] == node);
}

/* Byte 0: placement and points; then for each node a length, a weight and its name; what is left are keys. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 4096)
        return 0;
    fc_ring_options options = {.placement = data[0] & 1 ? FC_RING_KETAMA : FC_RING_SIPHASH, .points = 1 + data[0] / 8};
    fc_ring_node nodes[NODES], turned[NODES];
    uint32_t n = data[1] % (NODES + 1), made = 0, number[NODES];
    size_t at = 2;
    while (made < n && at + 2 <= size && at + 2 + data[at] % 32 <= size) {
        nodes[made++] = (fc_ring_node){{(const char *)data + at + 2, data[at] % 32}, data[at + 1]};
        at += 2 + data[at] % 32;
    }
    for (uint32_t i = 0; i < made; i++) {
        turned[i] = nodes[made - 1 - i];
        number[i] = made - 1 - i;
    }
    size_t left = size - at;
    char *key = malloc(left + 1);
    memcpy(key, data + at, left);
    sums(key, left, left / 3);
    fc_ring *ring = fc_ring_new(&options, nodes, made), *other = fc_ring_new(&options, turned, made);
    must((ring == NULL) == (other == NULL));
    if (ring != NULL) {
        for (size_t from = 0; from <= left; from += 5)
            finds(ring, number, other, fc_ring_position(ring, key + from, left - from));
        finds(ring, number, other, 0);
        finds(ring, number, other, UINT64_MAX);
    }
    fc_ring_free(ring);
    fc_ring_free(other);
    free(key);
    return 0;
}
