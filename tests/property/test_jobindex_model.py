"""JobIndex against a dict that is sorted (tests/models/jobindex.py)."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fastcore.jobindex import Duplicate, Full, JobIndex
from models.jobindex import ModelIndex

queues = st.sampled_from(["default", "mail", "", "übergrößen", "critical"])
several = st.lists(queues, max_size=6)
priorities = st.sampled_from([0, 1, 2, 9, 255])
times = st.one_of(st.integers(0, 20), st.sampled_from([10**6, 1_764_000_000_000, 2**48 - 1]))
nows = st.one_of(st.integers(0, 25), st.sampled_from([10**6, 2**48 - 2, 2**48 - 1, 2**60]))
orders = st.sampled_from(["fair", "strict"])
ids = st.one_of(
    st.integers(0, 12),
    st.sampled_from([2**32, 2**40 - 1, 2**40, 2**63, 2**64 - 1]),
    st.sampled_from(["a", "b", "job", "j" * 255, "ü", ""]),
    st.sampled_from([b"a", b"b", b"\0", b"", bytes(255)]),
)


class Indexes(RuleBasedStateMachine):
    @initialize(max_jobs=st.integers(3, 30), max_queues=st.integers(2, 5), every=st.sampled_from([0, 1, 2, 3, 16]))
    def begin(self, max_jobs, max_queues, every):
        self.ours = JobIndex(max_jobs=max_jobs, max_queues=max_queues, oldest_every=every)
        self.model = ModelIndex(max_jobs, max_queues, every)

    @rule(id=ids, queue=queues, priority=priorities, run_at=times)
    def add(self, id, queue, priority, run_at):
        answer = self.model.add(id, queue, priority, run_at)
        if answer is None:
            self.ours.add(id, queue, priority, run_at)
        else:
            with pytest.raises(Duplicate if answer == "duplicate" else Full):
                self.ours.add(id, queue, priority, run_at)

    @rule(some=st.lists(ids, max_size=8), queue=queues, priority=priorities, run_at=times)
    def add_many(self, some, queue, priority, run_at):
        before = dict(self.model.jobs)
        answers = [None if self.model.queue(queue) else "full"]
        for id in some:
            if answers[-1] is None:
                answers.append(self.model.add(id, queue, priority, run_at))
        if answers[-1] is None:
            self.ours.add_many(iter(some), queue, priority, run_at)
        else:
            self.model.jobs = before
            with pytest.raises(Duplicate if answers[-1] == "duplicate" else Full):
                self.ours.add_many(iter(some), queue, priority, run_at)

    @rule(id=ids)
    def discard(self, id):
        assert self.ours.discard(id) is (self.model.jobs.pop((type(id), id), None) is not None)

    @rule(data=st.data(), queue=st.none() | queues, priority=st.none() | priorities, run_at=st.none() | times)
    def move(self, data, queue, priority, run_at):
        id = data.draw(st.sampled_from([job.id for job in self.model.jobs.values()]) if self.model.jobs else ids)
        job = self.model.jobs.get((type(id), id))
        changes = {"queue": queue, "priority": priority, "run_at": run_at}
        if job is None:
            with pytest.raises(KeyError):
                self.ours.move(id, **changes)
        elif queue is not None and not self.model.queue(queue):
            with pytest.raises(Full):
                self.ours.move(id, **changes)
        else:
            self.ours.move(id, **changes)
            for name, value in changes.items():
                if value is not None:
                    setattr(job, name, value)

    @rule(names=several, now=nows, n=st.integers(0, 6), order=orders)
    def claim(self, names, now, n, order):
        peeked = self.model.choose(names, now, order)
        assert self.ours.peek(names, now, order) == (None if peeked is None else peeked[0].shown())
        assert self.ours.claim(names, now, n, order) == [job.shown() for job in self.model.claim(names, now, n, order)]

    @precondition(lambda self: self.model.queues)
    @rule(data=st.data(), weight=st.sampled_from([1, 2, 3, 1000]), paused=st.booleans())
    def settings(self, data, weight, paused):
        name = data.draw(st.sampled_from(sorted(self.model.queues)))
        self.ours.set_weight(name, weight)
        (self.ours.pause if paused else self.ours.resume)(name)
        self.model.queues[name].weight = weight
        self.model.queues[name].paused = paused

    @rule(queue=queues)
    def drop(self, queue):
        assert self.ours.drop(queue) == self.model.drop(queue)

    @rule(n=st.integers(0, 5))
    def purge(self, n):
        self.ours.purge(n)

    @rule(queue=queues, limit=st.integers(1, 5))
    def pages(self, queue, limit):
        shown, mark = self.ours.page(queue, limit=limit)
        while mark is not None:
            jobs, mark = self.ours.page(queue, after=mark, limit=limit)
            assert 0 < len(jobs) <= limit
            shown += jobs
        assert shown == [job.shown() for job in self.model.in_queue(queue)]

    @rule(now=nows, names=several)
    def figures(self, now, names):
        for name in names:
            jobs = self.model.in_queue(name)
            ready = sum(job.run_at <= now for job in jobs)
            assert self.ours.depth(name, now) == (ready, len(jobs) - ready)
            known = self.model.queues.get(name)
            assert self.ours.weight(name) == (known.weight if known else 1)
            assert self.ours.paused(name) is bool(known and known.paused)
        assert self.ours.next_run_at(names) == self.model.next_run_at(names)

    @rule(id=ids)
    def look(self, id):
        job = self.model.jobs.get((type(id), id))
        assert (id in self.ours) is (job is not None)
        got = self.ours.get(id)
        assert got == (job and job.shown())
        assert got is None or type(got.id) is type(id)

    @invariant()
    def is_whole(self):
        if hasattr(self, "ours"):
            assert len(self.ours) == len(self.model.jobs)
            assert sorted(self.ours.queues()) == sorted(self.model.queues)
            self.ours._check()


TestIndexes = Indexes.TestCase
TestIndexes.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
