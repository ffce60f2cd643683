"""Runs functions of the operator's own in one worker: each call in a greenlet, within its time."""

import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gevent
import gevent.event

from apps.gateway.config_hooks import Hooks, HookSettings, find
from apps.gateway.config_json import JsonChanges
from apps.gateway.config_model import Route
from apps.gateway.json_changes import JsonEditor
from fastcore import proxy as engine
from fastcore.hooks import Answer, Request, Response
from fastcore.metrics import Metrics
from fastcore.proxy import HookCall, Proxy, RouteHooks
from fastcore.reactor import Reactor

log = logging.getLogger("fastcore.gateway")


Step = tuple[str, Callable[[Any], Any]]


class TooLong(Exception):
    """A call took longer than it may."""


@dataclass(frozen=True)
class Function:
    name: str
    seconds: float
    steps: list[Callable[[Any], Any]]


class HookRunner:
    """Functions have numbers that stay for the life of the worker; routes name them by these."""

    def __init__(self, settings: HookSettings, reactor: Reactor, proxy: Proxy, metrics: Metrics, prefix: str):
        self._folder = settings.folder
        self._functions: list[Function] = []
        self._numbers: dict[tuple[tuple[Callable[[Any], Any], ...], int], int] = {}
        self._editors: dict[str, JsonEditor] = {}
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

    def route(self, route: Route) -> RouteHooks | None:
        """None: nothing of this route is done in Python. Raises ValueError when a function cannot be found."""
        hooks, requests, responses = route.hooks or Hooks(), route.request_json, route.response_json
        first, last = self._steps(hooks.on_request), self._steps(hooks.on_response)
        if requests is not None:
            first.append(("request_json", self._editor(requests).request))
        if responses is not None:
            last.insert(0, ("response_json", self._editor(responses).response))
        if not first and not last:
            return None
        return RouteHooks(
            request=self._number(first, hooks.timeout),
            response=self._number(last, hooks.timeout),
            request_body=max(hooks.request_body, requests.max_bytes if requests else 0),
            response_body=max(hooks.response_body, responses.max_bytes if responses else 0),
            passes=hooks.on_failure == "pass",
        )

    def _steps(self, name: str | None) -> list[Step]:
        return [(name, find(name, self._folder))] if name is not None else []

    def _editor(self, changes: JsonChanges) -> JsonEditor:
        """The same for the same changes, whichever route and configuration they are of."""
        return self._editors.setdefault(changes.model_dump_json(), JsonEditor(changes))

    def _number(self, steps: list[Step], timeout: int) -> int | None:
        """Functions are few and routes may be many: the same ones have the same number."""
        if not steps:
            return None
        key = (tuple(step for _, step in steps), timeout)
        if key not in self._numbers:
            names = ", ".join(name for name, _ in steps)
            self._functions.append(Function(names, timeout / 1000, [step for _, step in steps]))
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
        for step in function.steps:
            returned = step(message)
            if isinstance(returned, Answer) and not call.response:
                call.answer(returned.text(), returned.body)
                return
            if returned is not None:
                raise TypeError(f"it returned {type(returned).__name__}; a function changes what it is given")
        if message.changed:
            call.change(message.text(), (call.body is not None and message.body) or b"")
        else:
            call.go_on()
