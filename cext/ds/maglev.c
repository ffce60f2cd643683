#include "fc/maglev.h"

#include <stdlib.h>

/* A node's preferences: offset, offset + skip, ... modulo a prime passes every slot once. */
typedef struct preference {
    uint32_t next;
    uint32_t skip;
    uint32_t credit;
} preference;

bool fc_maglev_size_ok(uint32_t size)
{
    if (size < 3 || size % 2 == 0 || size > FC_MAGLEV_SLOTS_MAX)
        return false;
    for (uint32_t divisor = 3; divisor * divisor <= size; divisor += 2)
        if (size % divisor == 0)
            return false;
    return true;
}

/* Nodes take turns claiming their next preferred free slot. A turn is worth `weight` credits and a slot costs the largest
 * weight, so a node of half the weight claims every second turn. */
int fc_maglev_fill(uint16_t *slots, uint32_t size, const fc_maglev_node *nodes, uint32_t n)
{
    preference *wishes = calloc(n, sizeof *wishes);
    if (wishes == NULL)
        return -1;
    uint32_t heaviest = 0;
    for (uint32_t i = 0; i < n; i++) {
        wishes[i].next = (uint32_t)(fc_hash_mix(nodes[i].id) % size);
        wishes[i].skip = (uint32_t)(fc_hash_mix(~nodes[i].id) % (size - 1)) + 1;
        if (nodes[i].weight > heaviest)
            heaviest = nodes[i].weight;
    }
    for (uint32_t i = 0; i < size; i++)
        slots[i] = FC_MAGLEV_NONE;
    for (uint32_t filled = 0, i = 0; heaviest > 0 && filled < size; i = (i + 1) % n) {
        preference *w = &wishes[i];
        w->credit += nodes[i].weight;
        if (w->credit < heaviest)
            continue;
        w->credit -= heaviest;
        while (slots[w->next] != FC_MAGLEV_NONE)
            w->next = (w->next + w->skip) % size;
        slots[w->next] = (uint16_t)i;
        filled++;
    }
    free(wishes);
    return 0;
}
