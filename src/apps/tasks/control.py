"""The control plane of the task queue: health, figures, queues, jobs, workers."""

import time
from typing import TYPE_CHECKING, Any

import falcon

from apps import openapi, problems
from apps.control_guard import Guard
from apps.openapi import Endpoint
from apps.settings import described
from apps.tasks.config import load_settings
from apps.tasks.core.broker import Refused
from apps.tasks.core.job import BadJob, Job, failure_object, text_of
from apps.tasks.data.server import TaskServer
from apps.tasks.store import StoreFailed
from fastcore import __version__
from fastcore.metrics import OPENMETRICS

if TYPE_CHECKING:
    from apps.tasks.service import TaskService

JOBS_MAX = 1000  # listed or sent at one time
JOB = {
    "type": "object",
    "required": ["jid", "jobtype", "args"],
    "properties": {
        "jid": {"type": "string"},
        "jobtype": {"type": "string"},
        "args": {"type": "array"},
        "queue": {"type": "string"},
        "at": {"type": "string", "format": "date-time"},
        "retry": {"type": "integer"},
        "reserve_for": {"type": "integer"},
        "custom": {"type": "object"},
    },
}
SENT = {"oneOf": [JOB, {"type": "array", "items": JOB, "maxItems": JOBS_MAX}]}


def create_app(service: "TaskService") -> "falcon.App[Any, Any]":
    settings = service.settings
    control = _Control(service)
    token = settings.control_token.get_secret_value() if settings.control_token else None
    open_paths = [endpoint.path for endpoint in control.endpoints if not endpoint.needs_token]
    control.guard = Guard(token, settings.control, settings.control_hosts, open_paths)
    app: falcon.App[Any, Any] = falcon.App(middleware=[control.guard])
    problems.install(app)
    openapi.add_routes(app, control.endpoints)
    return app


class _Control:
    guard: Guard

    def __init__(self, service: "TaskService"):
        self._service = service
        jobs = {"state": "scheduled, retries or dead", "limit": f"at most so many (100; up to {JOBS_MAX})"}
        self.endpoints = (
            Endpoint("/livez", "This process answers.", self.livez, needs_token=False),
            Endpoint(
                "/readyz",
                "Jobs are taken; the reasons why not need the token.",
                self.readyz,
                answers={200: "ready", 503: "not ready"},
                needs_token=False,
            ),
            Endpoint("/metrics", "Figures; Accept chooses the format.", self.metrics, OPENMETRICS, {"type": "string"}),
            Endpoint("/status", "Version, uptime, how many jobs there are.", self.status),
            Endpoint("/config", "The settings, and where each comes from.", self.config),
            Endpoint("/queues", "Queues, their depth, whether they are paused.", self.queues, schema={"type": "array"}),
            Endpoint("/workers", "Workers, and what they have.", self.workers, schema={"type": "array"}),
            Endpoint("/jobs", "Jobs that wait for their time, or are dead.", self.jobs, query=jobs),
            Endpoint(
                "/jobs",
                "Takes a job, or an array of them.",
                self.push,
                answers={200: "which were taken: they are on the disk", 503: "the store is read-only"},
                method="POST",
                body=SENT,
                body_bytes=16 << 20,
            ),
            Endpoint(
                "/why",
                "Why does this job not run?",
                self.why,
                answers={200: "the answer", 404: "there is no such job"},
                query={"jid": "of the job"},
            ),
            Endpoint("/openapi.json", "This document.", self.openapi),
        )

    def livez(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = {"status": "alive"}

    def readyz(self, req: falcon.Request, resp: falcon.Response) -> None:
        reasons = self._not_ready()
        body: dict[str, Any] = {"status": "not ready" if reasons else "ready"}
        if reasons:
            resp.status = falcon.HTTP_503
            if self.guard.is_authorized(req):
                body["reasons"] = reasons
        resp.media = body

    def metrics(self, req: falcon.Request, resp: falcon.Response) -> None:
        server = self._server()
        self._service.figures.publish(server.clock(), bool(server.failed))
        resp.content_type, resp.data = self._service.metrics.exposition(req.get_header("Accept"))
        resp.append_header("Vary", "Accept")

    def status(self, req: falcon.Request, resp: falcon.Response) -> None:
        server = self._server()
        resp.media = {
            "version": __version__,
            "uptime_seconds": round(max(0.0, time.time() - self._service.started), 3),
            "ready": not self._not_ready(),
            "connections": len(server.peers),
            "jobs": server.broker.counts(server.clock()),
        }

    def config(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = described(load_settings(self._service.file, flags=self._service.flags))

    def queues(self, req: falcon.Request, resp: falcon.Response) -> None:
        server = self._server()
        paused = server.broker.paused()
        depths = server.broker.depths(server.clock())
        resp.media = [
            {"name": name, "ready": ready, "paused": name in paused} for name, ready in sorted(depths.items())
        ]

    def workers(self, req: falcon.Request, resp: falcon.Response) -> None:
        server = self._server()
        resp.media = [
            {
                "wid": worker.wid,
                "hostname": worker.hello.get("hostname"),
                "pid": worker.hello.get("pid"),
                "labels": worker.hello.get("labels"),
                "started": text_of(worker.started),
                "seen": text_of(worker.seen),
                "connections": worker.connections,
                "state": worker.state or "running",
                "rss_kb": worker.rss_kb,
                "jobs": sorted(worker.jobs),
            }
            for worker in server.broker.workers.by_wid.values()
        ]

    def jobs(self, req: falcon.Request, resp: falcon.Response) -> None:
        limit = req.get_param_as_int("limit", min_value=1, max_value=JOBS_MAX, default=100)
        state = req.get_param("state", required=True)
        server = self._server()
        broker, now = server.broker, server.clock()
        listed = {"scheduled": lambda: broker.scheduled(now), "retries": broker.retrying, "dead": broker.buried}.get(
            state
        )
        if listed is None:
            raise falcon.HTTPBadRequest(description="state is scheduled, retries or dead")
        with server.lock:
            resp.media = [_told(job) for _, job in zip(range(limit), listed(), strict=False)]

    def push(self, req: falcon.Request, resp: falcon.Response) -> None:
        sent = req.get_media()
        jobs = sent if isinstance(sent, list) else [sent]
        if len(jobs) > JOBS_MAX:
            raise falcon.HTTPBadRequest(description=f"an array has at most {JOBS_MAX} jobs")
        server = self._server()
        errors: dict[str, str] = {}
        try:
            with server.lock:
                now = server.clock()
                for place, job in enumerate(jobs):
                    try:
                        server.broker.push(job, now)
                    except (BadJob, Refused) as refused:
                        errors[str(place)] = str(refused)
            server.came()
            server.broker.store.sync()
        except StoreFailed as failure:
            server.fail(str(failure))
            raise falcon.HTTPServiceUnavailable(description=f"the store is read-only: {failure}") from None
        if errors and not isinstance(sent, list):
            raise falcon.HTTPBadRequest(description=errors["0"])
        resp.media = {"taken": len(jobs) - len(errors), "errors": errors}

    def why(self, req: falcon.Request, resp: falcon.Response) -> None:
        server = self._server()
        jid = req.get_param("jid", required=True)
        with server.lock:
            found = server.broker.why(jid, server.clock())
        if found is None:
            raise falcon.HTTPNotFound(description="there is no such job: it was done, or never came")
        resp.media = found

    def openapi(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = openapi.document("fastcore tasks: control plane", self.endpoints)

    def _server(self) -> TaskServer:
        server = self._service.server
        if server is None:
            raise falcon.HTTPServiceUnavailable(description="no broker runs in this process")
        return server

    def _not_ready(self) -> list[str]:
        server = self._service.server
        if server is None:
            return ["no broker runs in this process: its worker class is not fastcore.worker.FastcoreWorker"]
        return [
            *(["stopping"] if self._service.draining else []),
            *([f"the store is read-only: {server.failed}"] if server.failed else []),
        ]


def _told(job: Job) -> dict[str, Any]:
    told: dict[str, Any] = {
        "jid": job.jid,
        "jobtype": job.jobtype,
        "queue": job.queue,
        "priority": job.priority,
        "created_at": text_of(job.created),
        "run_at": text_of(job.run_at),
        "failures": job.failures,
        "crashes": job.crashes,
    }
    if job.failure is not None:
        told["failure"] = failure_object(job)
    return told
