"""What the policies promise, over drawn weights, availability and keys."""

from collections import Counter

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fastcore.balance import Balancer
from fastcore.hashing import hash64

KEYS = [hash64(b"key %d" % i) for i in range(20_000)]
weights = st.lists(st.integers(1, 12), min_size=1, max_size=12)


def named(weights):
    return {f"10.0.0.{i}:80": weight for i, weight in enumerate(weights)}


@given(weights)
def test_round_robin_shares_are_exact_and_turns_spread(weights):
    balancer, total = Balancer("round_robin", named(weights)), sum(weights)
    picks = [balancer.pick() for _ in range(2 * total)]
    for start in (0, total // 2, total):
        assert Counter(picks[start : start + total]) == dict(enumerate(weights))
    for target, weight in enumerate(weights):
        for end in range(1, total + 1):
            due = weight * end / total
            assert abs(picks[:end].count(target) - due) < 2 + len(weights) / 4, "never far from its due"


@given(st.sampled_from(["round_robin", "least_connections", "p2c_ewma", "consistent_hash"]), weights, st.data())
def test_a_pick_is_available_and_repeatable(policy, weights, data):
    first, again = (Balancer(policy, named(weights), load_factor=1.25, seed=7) for _ in range(2))
    now = 0
    for _ in range(10):
        available = data.draw(st.integers(0, 2 ** len(weights) - 1))
        now += data.draw(st.integers(0, 10**9))
        key = data.draw(st.sampled_from(KEYS[:50]))
        over = data.draw(st.booleans())
        picked = first.pick(now_ns=now, key_hash=key, available=available)
        assert picked == again.pick(now_ns=now, key_hash=key, available=available)
        assert (picked is None) == (available == 0)
        if picked is None:
            continue
        assert available >> picked & 1
        for balancer in (first, again):
            balancer.started(picked)
            if over:
                balancer.finished(picked, now_ns=now, latency_ns=key % 10**9)
        assert first.active(picked) == again.active(picked)


@given(weights, st.lists(st.integers(0, 11), max_size=40))
def test_least_connections_is_the_least(weights, finished):
    balancer = Balancer("least_connections", named(weights))
    finished = iter(finished)
    for _ in range(60):
        picked = balancer.pick()
        loads = [balancer.active(i) / weight for i, weight in enumerate(weights)]
        assert loads[picked] == min(loads)
        balancer.started(picked)
        target = next(finished, None)
        if target is not None and target < len(weights):
            balancer.finished(target)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=2, max_size=12))
def test_consistent_hash_shares(weights):
    balancer = Balancer("consistent_hash", named(weights))
    counts = Counter(balancer.pick(key_hash=key) for key in KEYS)
    for target, weight in enumerate(weights):
        due = len(KEYS) * weight / sum(weights)
        # the table's share is right within 1 % or so; the rest is the spread of 20,000 drawn keys, 5 sigma
        assert abs(counts[target] - due) <= 0.01 * due + 5 * due**0.5


@settings(max_examples=10, deadline=None)
@given(weights, st.data())
def test_an_unavailable_target_moves_only_its_own_keys(weights, data):
    assume(len(weights) > 1)
    balancer = Balancer("consistent_hash", named(weights))
    everyone = 2 ** len(weights) - 1
    lost = data.draw(st.integers(0, len(weights) - 1))
    also = data.draw(st.integers(0, len(weights) - 1))
    counts = Counter()
    for key in KEYS[:4000]:
        before = balancer.pick(key_hash=key)
        after = balancer.pick(key_hash=key, available=everyone & ~(1 << lost))
        assert (after == before) == (before != lost)
        if before == lost:
            counts[after] += 1
            if after != also != lost and len(weights) > 2:
                mask = everyone & ~(1 << lost) & ~(1 << also)
                assert balancer.pick(key_hash=key, available=mask) == after, "second choices stay too"
    rest = sum(weights) - weights[lost]
    for target, weight in enumerate(weights):
        due = sum(counts.values()) * weight / rest
        if target != lost:
            assert abs(counts[target] - due) <= 6 * due**0.5 + 3, "what it leaves is shared by weight"


def moved(before, after):
    """Share of keys whose target changed although it is there before and after."""
    old, new = list(before), list(after)
    one, two = Balancer("consistent_hash", before), Balancer("consistent_hash", after)
    pairs = [(old[one.pick(key_hash=key)], new[two.pick(key_hash=key)]) for key in KEYS]
    return sum(a != b and a in after and b in before for a, b in pairs) / len(KEYS)


@settings(max_examples=5, deadline=None)
@given(st.integers(3, 60), st.data())
def test_a_target_that_leaves_moves_few_keys_of_others(n, data):
    before = named([1] * n)
    gone = data.draw(st.sampled_from(sorted(before)))
    after = {name: weight for name, weight in before.items() if name != gone}
    assert moved(before, after) < 0.015


@settings(max_examples=30, deadline=None)
@given(weights, st.lists(st.integers(0, 3), min_size=1, max_size=200), st.sampled_from([1.0, 1.25, 2.0]))
def test_bounded_load(weights, keys, factor):
    """A few hot keys: without the bound they pile up, with it nobody holds more than its factor, rounded up."""
    balancer = Balancer("consistent_hash", named(weights), load_factor=factor)
    for n, key in enumerate(keys, 1):
        picked = balancer.pick(key_hash=KEYS[key])
        balancer.started(picked)
        assert balancer.active(picked) <= -(-factor * n * weights[picked] // sum(weights)) + 1e-9


def test_bounded_load_keeps_the_first_choice_while_it_fits():
    plain, bounded = (Balancer("consistent_hash", named([1] * 10), load_factor=f) for f in (None, 1.25))
    same = 0
    for key in KEYS[:5000]:
        picked = bounded.pick(key_hash=key)
        same += picked == plain.pick(key_hash=key)
        bounded.started(picked)
    assert same > 4500


def test_two_choices_reach_everyone_and_balance_equals():
    balancer = Balancer("p2c_ewma", named([1] * 8), seed=3)
    counts = Counter()
    now = 1
    in_flight = []
    for _ in range(8000):
        now += 1_000_000
        target = balancer.pick(now_ns=now)
        balancer.started(target)
        counts[target] += 1
        in_flight.append(target)
        if len(in_flight) > 16:
            balancer.finished(in_flight.pop(0), now_ns=now, latency_ns=16_000_000)
    assert max(counts.values()) < 1.1 * 1000
    assert min(counts.values()) > 0.9 * 1000
