#include "fc/ring.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fc/jump.h"
#include "fc/maglev.h"
#include "fc/rendezvous.h"

static const fc_ring_options PLAIN = {.placement = FC_RING_SIPHASH, .points = 100}, KETAMA = {.placement = FC_RING_KETAMA};

#define NODE(text, w) {.name = {text, sizeof text - 1}, .weight = w}

static uint32_t find(const fc_ring *ring, const char *key)
{
    return fc_ring_find(ring, fc_ring_position(ring, key, strlen(key)), NULL);
}

/* What libketama's own tests expect of these two servers (python_ketama/tests.py). */
static void test_libketama(void)
{
    const fc_ring_node nodes[] = {NODE("127.0.0.1:11211", 600), NODE("127.0.0.1:11212", 400)};
    fc_ring *ring = fc_ring_new(&KETAMA, nodes, 2);
    CHECK(fc_ring_points(ring) == 320);
    uint64_t position = fc_ring_position(ring, "test", 4);
    CHECK(position >> 32 == 3446378249u);
    CHECK(find(ring, "test") == 0);
    uint32_t i = 0, node;
    while (fc_ring_point(ring, i, &node) < position)
        i++;
    CHECK(fc_ring_point(ring, i, &node) >> 32 == 3454255383u && node == 0);
    fc_ring_free(ring);
}

static void test_bounds(void)
{
    static char long_name[FC_RING_NAME_MAX + 1];
    const fc_ring_node twins[] = {NODE("a", 1), NODE("b", 1), NODE("a", 2)};
    CHECK(fc_ring_new(&PLAIN, twins, 3) == NULL);
    fc_ring_node node = NODE("a", FC_RING_POINTS_MAX / 100 + 1);
    CHECK(fc_ring_new(&PLAIN, &node, 1) == NULL);
    CHECK(fc_ring_points_for(&PLAIN, &node, 1) > FC_RING_POINTS_MAX);
    node = (fc_ring_node){.name = {long_name, sizeof long_name}, .weight = 1};
    CHECK(fc_ring_new(&KETAMA, &node, 1) == NULL);
    node.name.n--;
    fc_ring *ring = fc_ring_new(&KETAMA, &node, 1);
    CHECK(ring != NULL && find(ring, "x") == 0);
    fc_ring_free(ring);
    fc_ring_options wrong = {.placement = FC_RING_PLACEMENT_COUNT};
    CHECK(fc_ring_new(&wrong, &node, 1) == NULL);
    ring = fc_ring_new(&PLAIN, NULL, 0);
    uint32_t out[1];
    CHECK(ring != NULL && find(ring, "x") == FC_RING_NONE && fc_ring_find_n(ring, 1, out, 1) == 0);
    fc_ring_shares(ring, NULL);
    fc_ring_free(ring);
    fc_ring_free(NULL);
}

/* The index and the circle's closing, against a look at every point. */
static void test_next_point(void)
{
    char names[40][4];
    fc_ring_node nodes[40];
    for (uint32_t i = 0; i < 40; i++)
        nodes[i] = (fc_ring_node){{names[i], (size_t)snprintf(names[i], 4, "n%u", i)}, 1 + i % 3};
    for (uint32_t n = 1; n <= 40; n += 3) {
        for (uint32_t points = 1; points < 40; points += 19) {
            fc_ring_options options = {.points = points, .key = {n, points}};
            fc_ring *ring = fc_ring_new(&options, nodes, n);
            uint64_t random = n;
            uint32_t count = fc_ring_points(ring), expected;
            CHECK(count == fc_ring_points_for(&options, nodes, n));
            for (uint32_t round = 0; round < 300; round++) {
                uint64_t position = round == 0 ? 0 : round == 1 ? UINT64_MAX : fc_hash_next(&random);
                if (round > 1 && round < 100) /* exactly at a point, right before, right after */
                    position = fc_ring_point(ring, round % count, &expected) + round % 3 - 1;
                uint32_t i = 0;
                while (i < count && fc_ring_point(ring, i, &expected) < position)
                    i++;
                fc_ring_point(ring, i % count, &expected);
                CHECK(fc_ring_find(ring, position, NULL) == expected);
            }
            double shares[40], sum = 0;
            fc_ring_shares(ring, shares);
            for (uint32_t i = 0; i < n; i++)
                sum += shares[i];
            CHECK(sum > 0.999999 && sum < 1.000001);
            uint32_t out[41];
            uint64_t seen = 0;
            CHECK(fc_ring_find_n(ring, random, out, 41) == n);
            for (uint32_t i = 0; i < n; i++)
                seen |= 1ull << out[i];
            CHECK(seen == (n == 64 ? UINT64_MAX : (1ull << n) - 1));
            CHECK(out[0] == fc_ring_find(ring, random, NULL));
            fc_ring_free(ring);
        }
    }
}

static void test_bounded(void)
{
    const fc_ring_node nodes[] = {NODE("a", 1), NODE("b", 2), NODE("c", 5)};
    const double weights[] = {1, 2, 5};
    const uint64_t ids[] = {11, 22, 33};
    const fc_rendezvous_nodes drawing = {ids, weights, 3, false};
    fc_ring *ring = fc_ring_new(&PLAIN, nodes, 3);
    for (int kind = 0; kind < 2; kind++) {
        uint64_t loads[3] = {0};
        fc_bounded bounds = {.factor = 1.1, .weights = 8, .weight = weights, .load = loads};
        for (uint64_t n = 1; n < 2000; n++) { /* one hot key */
            uint32_t i = kind ? fc_rendezvous_find(&drawing, 7, &bounds) : fc_ring_find(ring, 7, &bounds);
            CHECK(i < 3);
            fc_bounded_take(&bounds, i);
            CHECK((double)loads[i] <= ceil(1.1 * (double)n * weights[i] / 8) && bounds.total == n);
            if (n % 7 == 0) {
                fc_bounded_give_back(&bounds, i);
                fc_bounded_take(&bounds, i);
            }
        }
        CHECK(loads[0] + loads[1] + loads[2] == 1999);
        bounds.load[0] = 0;
        fc_bounded_give_back(&bounds, 0);
        CHECK(loads[0] == 0);
    }
    fc_ring_free(ring);
}

/* The order of rendezvous against sorting all scores; and weights that differ by nothing give the order of equal ones. */
static void test_rendezvous(void)
{
    uint64_t ids[50], random = 5;
    double weights[50], same[50];
    for (uint32_t i = 0; i < 50; i++) {
        ids[i] = fc_hash_next(&random);
        weights[i] = 1 + i % 7 * 0.75;
        same[i] = 3;
    }
    for (uint32_t round = 0; round < 300; round++) {
        uint64_t key = fc_hash_next(&random);
        uint32_t n = round % 51, most = round % 7 * 9, without = round % 2 ? n : round % 50;
        fc_rendezvous_nodes nodes = {ids, weights, n, false}, equal = {ids, same, n, true}, slow = {ids, same, n, false};
        fc_rendezvous_pick got[54], fast[54];
        uint32_t count = fc_rendezvous_find_n(&nodes, key, without, got, most), present = n - (without < n);
        CHECK(count == (most < present ? most : present));
        for (uint32_t i = 0; i < count; i++) {
            double score = fc_rendezvous_score(fc_rendezvous_draw(key, ids[got[i].node]), weights[got[i].node]);
            uint32_t above = 0;
            for (uint32_t j = 0; j < n; j++)
                above += j != without && fc_rendezvous_score(fc_rendezvous_draw(key, ids[j]), weights[j]) > score;
            CHECK(above == i && got[i].node != without);
        }
        if (without == n && count > 0)
            CHECK(got[0].node == fc_rendezvous_find(&nodes, key, NULL));
        CHECK(fc_rendezvous_find_n(&equal, key, without, fast, most) == fc_rendezvous_find_n(&slow, key, without, got, most));
        for (uint32_t i = 0; i < count; i++)
            CHECK(fast[i].node == got[i].node);
        CHECK(fc_rendezvous_find(&equal, key, NULL) == fc_rendezvous_find(&slow, key, NULL));
    }
}

/* Vectors of the Rust crates jumphash and jump-consistent-hash, made with the code printed in the paper. */
static void test_jump(void)
{
    static const struct {
        uint64_t key;
        uint32_t buckets, bucket;
    } cases[] = {
        {1, 1, 0}, {42, 57, 43}, {0xDEAD10CC, 1, 0}, {0xDEAD10CC, 666, 361}, {256, 1024, 520}, {0, 60, 0}, {1, 60, 55}, {2, 60, 46},
    };
    for (size_t i = 0; i < FC_ARRAY_LEN(cases); i++)
        CHECK(fc_jump(cases[i].key, cases[i].buckets) == cases[i].bucket);
    uint64_t random = 3;
    for (uint32_t n = 1; n < 200; n++) {
        uint64_t key = fc_hash_next(&random);
        uint32_t before = fc_jump(key, n), after = fc_jump(key, n + 1);
        CHECK(before < n && (after == before || after == n));
        uint32_t out[200];
        CHECK(fc_jump_n(key, n, out, 1000) == n && out[0] == before);
        uint64_t sum = 0;
        for (uint32_t i = 0; i < n; i++)
            sum += out[i];
        CHECK(sum == (uint64_t)n * (n - 1) / 2);
    }
}

static void test_maglev(void)
{
    static uint16_t slots[65537];
    CHECK(fc_maglev_size_ok(3) && fc_maglev_size_ok(251) && fc_maglev_size_ok(65537) && fc_maglev_size_ok(655373));
    CHECK(!fc_maglev_size_ok(0) && !fc_maglev_size_ok(1) && !fc_maglev_size_ok(2) && !fc_maglev_size_ok(65536));
    CHECK(!fc_maglev_size_ok(9) && !fc_maglev_size_ok(65535) && !fc_maglev_size_ok(251 * 251));
    CHECK(!fc_maglev_size_ok(FC_MAGLEV_SLOTS_MAX + 2));
    CHECK(fc_maglev_size_ok(FC_MAGLEV_SLOTS_MAX));
    const fc_maglev_node nodes[] = {{1, 10}, {0, 20}, {3, 30}};
    for (uint32_t size = 3; size < 70000; size = size < 1000 ? size + 2 : size + 64536) {
        if (!fc_maglev_size_ok(size))
            continue;
        CHECK(fc_maglev_fill(slots, size, nodes, 3) == 0);
        uint32_t counts[3] = {0};
        for (uint32_t i = 0; i < size; i++)
            counts[slots[i]]++;
        CHECK(counts[1] == 0 && counts[2] + 4 >= size * 3 / 4 && counts[2] <= size * 3 / 4 + 4);
    }
    CHECK(fc_maglev_fill(slots, 251, nodes + 1, 1) == 0 && slots[0] == FC_MAGLEV_NONE && slots[250] == FC_MAGLEV_NONE);
}

int main(void)
{
    test_libketama();
    test_bounds();
    test_next_point();
    test_bounded();
    test_rendezvous();
    test_jump();
    test_maglev();
    return check_done("test_ring");
}
