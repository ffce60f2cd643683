"""Runs functions of the operator's own in one worker: each call in a greenlet, within its time."""

import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gevent
import gevent.event

from apps.gateway.config_hooks import Hooks, HookSettings, find
from fastcore import proxy as engine
from fastcore.hooks import Answer, Request, Response
from fastcore.metrics import Metrics
from fastcore.proxy import HookCall, Proxy, RouteHooks
from fastcore.reactor import Reactor

log = logging.getLogger("fastcore.gateway")


class TooLong(Exception):
    """A call took longer than it may."""


@dataclass(frozen=True)
class Function:
    name: str
    seconds: float
    call: Callable[[Any], Any]


class HookRunner:
    """Functions have numbers that stay for the life of the worker; routes name them by these."""

    def __init__(self, settings: HookSettings, reactor: Reactor, proxy: Proxy, metrics: Metrics, prefix: str):
        self._folder = settings.folder
        self._functions: list[Function] = []
        self._numbers: dict[tuple[str, float], int] = {}
        self._failures = {
            why: metrics.counter(f"{prefix}_hook_failures", "Calls of functions that failed", reason=why)
            for why in ("raised", "timeout")
        }
        self._line = gevent.event.Event()
        self._hooks = engine.Hooks(reactor, self._line.set, waiting=settings.waiting)
        proxy.use_hooks(self._hooks)
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        self._greenlet.kill(block=False)

    def route(self, hooks: Hooks) -> RouteHooks:
        """Raises ValueError when a function cannot be found."""
        return RouteHooks(
            request=self._number(hooks.on_request, hooks.timeout),
            response=self._number(hooks.on_response, hooks.timeout),
            request_body=hooks.request_body,
            response_body=hooks.response_body,
            passes=hooks.on_failure == "pass",
        )

    def _number(self, name: str | None, timeout: int) -> int | None:
        if name is None:
            return None
        key = name, timeout / 1000
        if key not in self._numbers:
            self._functions.append(Function(name, timeout / 1000, find(name, self._folder)))
            self._numbers[key] = len(self._functions) - 1
        return self._numbers[key]

    def _run(self) -> None:
        while True:
            self._line.wait()
            self._line.clear()
            while (call := self._hooks.take()) is not None:
                gevent.spawn(self._call, call)

    def _call(self, call: HookCall) -> None:
        function = self._functions[call.function]
        try:
            with gevent.Timeout(function.seconds, TooLong):
                self._settle(function, call)
        except TooLong:
            self._failures["timeout"].inc()
            log.warning("%s took longer than %g s", function.name, function.seconds)
            call.fail()
        except Exception as error:
            self._failures["raised"].inc()
            place = traceback.extract_tb(error.__traceback__)[-1]  # a line each, for there may be one for each request
            what = f"{type(error).__name__}: {error}"
            log.error("%s failed at %s:%s: %s", function.name, place.filename, place.lineno, what)
            call.fail()

    def _settle(self, function: Function, call: HookCall) -> None:
        make = Response if call.response else Request
        message = make(call.head, call.body, client=call.client, user=call.subject.decode("latin-1") or None)
        returned = function.call(message)
        if isinstance(returned, Answer) and not call.response:
            call.answer(returned.text(), returned.body)
        elif returned is not None:
            raise TypeError(f"{function.name} returned {type(returned).__name__}; a function changes what it is given")
        elif message.changed:
            call.change(message.text(), (call.body is not None and message.body) or b"")
        else:
            call.go_on()
