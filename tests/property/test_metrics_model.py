"""fastcore.metrics against a model: a dict of numbers, and lists of observed values."""

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from fastcore.metrics import Layout, Metrics

SERIES_MAX = 12
KINDS = {
    "hits": "counter",
    "errors": "counter",
    "level": "gauge",
    "wait_seconds": "histogram",
    "body_bytes": "histogram",
}
labels = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.text(max_size=8), max_size=2)
steps = st.tuples(st.sampled_from(sorted(KINDS)), labels, st.integers(0, 1 << 34), st.booleans())


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=40))
def test_values_and_text_follow_the_model(history: list[tuple[str, dict[str, str], int, bool]]) -> None:
    metrics = Metrics(series_max=SERIES_MAX, slots_max=2)
    known: list[tuple] = []
    numbers: dict[tuple, int] = defaultdict(int)
    observed: dict[tuple, list[float]] = defaultdict(list)
    for name, given_labels, amount, flag in history:
        key = (name, tuple(sorted(given_labels.items())))
        if key not in known and len(known) < SERIES_MAX:
            known.append(key)
        if key not in known:
            key = (name, (("overflow", "true"),))
        kind = KINDS[name]
        if kind == "counter":
            counter = metrics.counter(name, **given_labels)
            counter.inc(amount)
            numbers[key] += amount
            assert counter.value == numbers[key]
        elif kind == "gauge":
            gauge = metrics.gauge(name, **given_labels)
            if flag:
                gauge.set(-amount)
                numbers[key] = -amount
            else:
                gauge.dec(amount)
                numbers[key] -= amount
            assert gauge.value == numbers[key]
        else:
            unit = name.rpartition("_")[2]
            value = amount / 1_000_000 if unit == "seconds" else float(amount)
            histogram = metrics.histogram(name, unit=unit, **given_labels)
            histogram.observe(value)
            observed[key].append(value)
            assert histogram.value.count == len(observed[key])
    overflow = (("overflow", "true"),)
    expected = {key for key in (*numbers, *observed) if key[1] != overflow or numbers.get(key, 1) != 0}
    collected = {
        (family.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in metrics.collect()
        for sample in family.samples
    }
    assert set(collected) == expected
    assert all(collected[key] == value for key, value in numbers.items() if key in expected)

    text = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.openmetrics().decode())
        for sample in family.samples
    }
    for (name, key_labels), value in numbers.items():
        if (name, key_labels) in expected:
            assert text[name + ("_total" if KINDS[name] == "counter" else ""), key_labels] == value
    for (name, key_labels), values in observed.items():
        assert text[f"{name}_count", key_labels] == len(values)
        assert abs(text[f"{name}_sum", key_labels] - sum(values)) <= 1e-9 * sum(values)
        for (sample, sample_labels), count in text.items():
            le = dict(sample_labels).get("le")
            rest = tuple(pair for pair in sample_labels if pair[0] != "le")
            if sample == f"{name}_bucket" and rest == key_labels:
                assert count == sum(value <= float(le) for value in values), le
        assert sum(count for _, count in collected[name, key_labels].buckets()) == len(values)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 1 << 40), min_size=1, max_size=60),
    st.integers(0, 6),
    st.integers(0, 20),
    st.floats(0, 1),
)
def test_quantiles_are_never_low_and_little_high(values: list[int], sub: int, min_log2: int, q: float) -> None:
    layout = Layout(sub, min_log2, 41)
    histogram = Metrics(series_max=1, slots_max=1).histogram("x", unit="", layout=layout)
    for value in values:
        histogram.observe(value)
    rank = max(1, -int(-q * len(values) // 1))
    truth, told = sorted(values)[rank - 1], histogram.value.quantile(q)
    step = 2 ** (max(min_log2, sub) - sub)
    assert truth <= told <= truth + truth / 2**sub + step
