"""Limits that machines share, in one worker: asks Redis for units for all requests that wait, in one round trip.

A key that is asked for again before its allowance is over gets twice as many units beyond those that requests wait for;
one that lasts gets half. So a busy key costs a question a lease, and a quiet one takes from Redis what it uses. While
Redis is gone nobody waits: each limit's policy decides (cext/include/fc/limit.h), and one greenlet tries.
"""

import hashlib
import logging
import ssl
import time
from typing import Any

import gevent
import gevent.event
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from apps.gateway.config_redis import Redis
from apps.gateway.quota_script import NS, forget, grant
from fastcore.cache import LRUCache
from fastcore.limiter_redis import GONE
from fastcore.metrics import Metrics
from fastcore.proxy import Proxy
from fastcore.proxylimits import CAPACITY, Question, QuotaLine
from fastcore.reactor import Reactor
from fastcore.shm import Region

log = logging.getLogger("fastcore.gateway")

KEYS_REMEMBERED = 65536
UNITS_MAX = 1 << 18  # of an allowance
REFUSAL_BELIEVED_NS = 1_000_000_000  # so long others' resets may go unnoticed


class QuotaKeeper:
    def __init__(
        self, settings: Redis, reactor: Reactor, region: Region, proxy: Proxy, metrics: Metrics, prefix: str
    ) -> None:
        self._settings = settings
        self._timeout = settings.timeout / 1000
        self._client = _client(settings)
        self._extra: LRUCache[tuple[bytes, bytes], tuple[int, int]] = LRUCache(KEYS_REMEMBERED)
        """When a key's allowance ends, and units beyond those waited for."""
        self._awake = gevent.event.Event()
        self.line = QuotaLine(
            reactor,
            region,
            self._awake.set,
            waiting=settings.waiting,
            retry=settings.retry / 1000,
            capacity=CAPACITY,
        )
        proxy.use_quotas(self.line)
        self._gone = metrics.gauge(f"{prefix}_limit_redis_gone", "Workers that cannot ask Redis for limits")
        self._asked = metrics.counter(f"{prefix}_limit_redis_questions", "Keys that Redis was asked for")
        self._failed = metrics.counter(f"{prefix}_limit_redis_failures", "Questions to Redis that failed")
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        self._greenlet.kill(block=False)

    def forget(self, name: bytes, key: bytes, span: int) -> bool:
        """Raises OSError when Redis cannot be asked."""
        try:
            return forget(self._client, self._key(name, key), span)
        except GONE as error:
            raise OSError(f"Redis: {error}") from None

    @property
    def view(self) -> dict[str, Any]:
        return {"gone": self.line.gone, "waiting": self.line.waiting}

    def _run(self) -> None:
        while True:
            self._awake.wait(self._settings.retry / 1000)  # another worker may have found that Redis is gone
            self._awake.clear()
            epoch = self.line.epoch  # before the keys' debts are looked at
            batch = self.line.take()
            try:
                if batch.questions and not epoch & 1:
                    self._ask(batch.questions, epoch)
            finally:
                batch.done()
            if self.line.gone:
                self.line.take().done()  # who has come meanwhile; from now on nobody does
                self._await_redis()

    def _ask(self, questions: list[Question], epoch: int) -> None:
        began = time.monotonic_ns()
        self._asked.inc(len(questions))
        keys = [self._key(question.name, question.key) for question in questions]
        wanted = [self._wanted(question, began) for question in questions]
        way = _pair(self._settings.timeout * 1_000_000)
        calls = [
            (
                key,
                [units, question.cost, *_pair(question.interval), *_pair(question.span), *_pair(question.debt), *way],
            )
            for key, units, question in zip(keys, wanted, questions, strict=True)
        ]
        try:
            with gevent.Timeout(self._timeout, redis.exceptions.TimeoutError(f"no answer in {self._timeout:g} s")):
                replies = grant(self._client, calls)
        except Exception as error:  # of sockets, TLS, RESP, Redis itself: whatever it is, requests wait
            self._lose(error, epoch)
            return
        if self.line.epoch != epoch:
            return  # this machine has counted alone meanwhile
        for question, reply in zip(questions, replies, strict=True):
            pass_on(question, reply, began, self._settings.timeout * 1_000_000)

    def _wanted(self, question: Question, now: int) -> int:
        least = question.waiting * question.cost
        if not question.lease:
            return least
        until, extra = self._extra.get((question.name, question.key), (0, 0))
        # Never more than a share of the burst at once: other machines want some, too.
        most = min(UNITS_MAX, question.burst // 4) // question.cost * question.cost
        extra = min(2 * extra + least, most) if now < until else extra // 2 // question.cost * question.cost
        self._extra[question.name, question.key] = (now + question.lease, extra)
        return least + extra

    def _key(self, name: bytes, key: bytes) -> bytes:
        """Values are hashed: they are as long as requests allow, and may be secrets."""
        return b"%b%b:%b" % (self._settings.prefix.encode(), name, hashlib.sha256(key).hexdigest()[:32].encode())

    def _lose(self, error: BaseException, epoch: int) -> None:
        what = f"{type(error).__name__}: {error}"
        log.warning("limits: Redis is gone: %s; each limit goes on as its when_gone says", what)
        self._failed.inc()
        self.line.lose(epoch)
        self._client.connection_pool.disconnect()

    def _await_redis(self) -> None:
        self._gone.set(1)
        while self.line.gone:
            epoch = self.line.epoch
            gevent.sleep(self._settings.retry / 1000)
            try:
                with gevent.Timeout(self._timeout, redis.exceptions.TimeoutError("no answer")):
                    self._client.ping()
            except Exception:  # as above
                self._client.connection_pool.disconnect()
                continue
            self.line.find(epoch)
        self._gone.set(0)
        log.info("limits: Redis answers again")


def pass_on(question: Question, reply: list[int], began: int, timeout: int) -> None:
    """What Redis said to a question that `began` then; all in ns. Units last from then: Redis charged later, so they
    are used within a lease of that."""
    units, debt_s, debt_n, wait_s, wait_n = reply
    debt = debt_s * NS + debt_n
    if units:
        question.grant(units, began + (question.lease or timeout), debt)
    else:
        question.refuse(began + min(wait_s * NS + wait_n, REFUSAL_BELIEVED_NS), debt)


def _client(settings: Redis) -> redis.Redis:
    timeout = settings.timeout / 1000
    url = settings.url.get_secret_value()
    options: dict[str, Any] = {}
    if url.startswith("rediss:"):
        options = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": settings.ca_file, "ssl_check_hostname": True}
    return redis.Redis.from_url(
        url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0), **options
    )


def _pair(ns: int) -> tuple[int, int]:
    return divmod(ns, NS)
