#include "fc/rendezvous.h"

/* Scores of unequal weights cost a logarithm. But -ln(u) >= 1 - u, so weight / (1 - u) is at least the score: a node that
 * does not win by that does not win, and after a few nodes hardly any logarithm is left. */
static inline bool hopeless(double u, double weight, double best)
{
    return weight <= best * (1 - u);
}

uint32_t fc_rendezvous_find(const fc_rendezvous_nodes *nodes, uint64_t key_hash, const fc_bounded *bounds)
{
    uint32_t best = nodes->n;
    uint64_t highest = 0;
    double most = -1;
    for (uint32_t i = 0; i < nodes->n; i++) {
        uint64_t draw = fc_rendezvous_draw(key_hash, nodes->id[i]);
        if (nodes->equal) {
            if ((draw > highest || best == nodes->n) && (bounds == NULL || fc_bounded_has_room(bounds, i))) {
                highest = draw;
                best = i;
            }
            continue;
        }
        if (hopeless(fc_rendezvous_uniform(draw), nodes->weight[i], most) ||
            (bounds != NULL && !fc_bounded_has_room(bounds, i)))
            continue;
        double score = fc_rendezvous_score(draw, nodes->weight[i]);
        if (score > most) {
            most = score;
            best = i;
        }
    }
    return best;
}

static bool beats(const fc_rendezvous_nodes *nodes, const fc_rendezvous_pick *a, const fc_rendezvous_pick *b)
{
    return nodes->equal ? a->draw > b->draw : a->score > b->score;
}

uint32_t fc_rendezvous_find_n(const fc_rendezvous_nodes *nodes, uint64_t key_hash, uint32_t without,
                              fc_rendezvous_pick *out, uint32_t most)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < nodes->n && most > 0; i++) {
        if (i == without)
            continue;
        fc_rendezvous_pick pick = {.draw = fc_rendezvous_draw(key_hash, nodes->id[i]), .node = i};
        if (!nodes->equal) {
            if (count == most && hopeless(fc_rendezvous_uniform(pick.draw), nodes->weight[i], out[most - 1].score))
                continue;
            pick.score = fc_rendezvous_score(pick.draw, nodes->weight[i]);
        }
        if (count == most && !beats(nodes, &pick, &out[most - 1]))
            continue;
        uint32_t at = count < most ? count++ : most - 1;
        for (; at > 0 && beats(nodes, &pick, &out[at - 1]); at--)
            out[at] = out[at - 1];
        out[at] = pick;
    }
    return count;
}
