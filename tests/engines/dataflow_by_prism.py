"""A service that accepts jobs as Dataflow does, and has Prism run the staged graph.

Every posted job is kept unchanged. Its `pipeline.pb` is read from the staging address in the job
and passed to Prism with one change: the worker image becomes a pool of workers on this machine. The
job's state and counters are Prism's, in Dataflow's format.

    dataflow_by_prism.py PORT FOLDER PRISM_PORT WORKER_POOL
"""

import json
import sys
import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import grpc
from apache_beam.coders import VarIntCoder
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import (
    beam_job_api_pb2,
    beam_job_api_pb2_grpc,
    beam_runner_api_pb2,
    metrics_pb2,
)
from apache_beam.runners.portability.portable_runner import JobServiceHandle
from apache_beam.transforms.environments import ExternalEnvironment

STATES = {"DONE": "JOB_STATE_DONE", "FAILED": "JOB_STATE_FAILED"}
COUNTER = common_urns.monitoring_info_specs.USER_SUM_INT64.spec.urn


class Jobs:
    """The posted jobs."""

    def __init__(self, folder: Path, prism: str, pool: str):
        self.folder, self.pool = folder, pool
        channel = grpc.insecure_channel(prism)
        self.service = beam_job_api_pb2_grpc.JobServiceStub(channel)
        self.jobs: dict[str, dict[str, Any]] = {}
        self.prisms: dict[str, str] = {}

    def post(self, job: dict[str, Any]) -> dict[str, Any]:
        name = f"2026-11-25_00_00_00-{len(self.jobs)}"
        (self.folder / f"{name}.json").write_text(json.dumps(job))
        self.jobs[name] = job | {"id": name, "currentState": "JOB_STATE_RUNNING"}
        threading.Thread(target=self._run, args=(name,), daemon=True).start()
        return self.jobs[name]

    def _run(self, name: str) -> None:
        try:
            state = self._run_on_prism(name)
        except Exception as error:
            (self.folder / f"{name}.error").write_text(repr(error))
            state = "FAILED"
        self.jobs[name]["currentState"] = STATES.get(state, "JOB_STATE_FAILED")

    def _run_on_prism(self, name: str) -> str:
        told = self.jobs[name]["environment"]["sdkPipelineOptions"]["options"]
        with fsspec.open(told["pipelineUrl"], "rb", token="anon") as file:
            content = file.read()
        (self.folder / f"{name}.pb").write_bytes(content)
        graph = beam_runner_api_pb2.Pipeline.FromString(content)
        pool = ExternalEnvironment(self.pool).to_runner_api(None)
        for environment in graph.components.environments.values():
            environment.urn, environment.payload = pool.urn, pool.payload
            del environment.dependencies[:]  # a list of packages, for a log
        known = {
            key: value
            for key, value in told.items()
            if key in PipelineOptions([]).get_all_options()
        }
        prepared = self.service.Prepare(
            beam_job_api_pb2.PrepareJobRequest(
                job_name=name,
                pipeline=graph,
                pipeline_options=JobServiceHandle.encode_pipeline_options(known),
            )
        )
        started = self.service.Run(
            beam_job_api_pb2.RunJobRequest(preparation_id=prepared.preparation_id)
        )
        self.prisms[name] = started.job_id
        asked = beam_job_api_pb2.GetJobStateRequest(job_id=started.job_id)
        for event in self.service.GetStateStream(asked):
            state = beam_job_api_pb2.JobState.Enum.Name(event.state)
            if state in ("DONE", "FAILED", "CANCELLED"):
                return state
        return "FAILED"

    def metrics(self, name: str) -> dict[str, Any]:
        """Returns the counters in Dataflow's format."""
        if name not in self.prisms:
            return {"metrics": []}
        asked = beam_job_api_pb2.GetJobMetricsRequest(job_id=self.prisms[name])
        found = self.service.GetJobMetrics(asked).metrics
        committed, attempted = _counters(found.committed), _counters(found.attempted)
        return {
            "metrics": [
                _metric(key, values.get(key, 0), tentative)
                for key in committed.keys() | attempted.keys()
                for tentative, values in ((False, committed), (True, attempted))
            ]
        }


def _counters(infos: Iterable[metrics_pb2.MonitoringInfo]) -> dict[tuple[str, ...], int]:
    labels = ("NAMESPACE", "NAME", "PTRANSFORM")
    return {
        tuple(info.labels[label] for label in labels): VarIntCoder().decode(info.payload)
        for info in infos
        if info.urn == COUNTER
    }


def _metric(key: tuple[str, ...], value: int, tentative: bool) -> dict[str, Any]:
    namespace, name, step = key
    context = {"namespace": namespace, "step": step} | ({"tentative": "true"} if tentative else {})
    return {"name": {"origin": "user", "name": name, "context": context}, "scalar": value}


class Handler(BaseHTTPRequestHandler):
    jobs: Jobs

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(self.jobs.post(body))

    def do_GET(self) -> None:
        _, _, rest = self.path.partition("?")[0].partition("/jobs/")
        name, _, what = rest.partition("/")
        if what == "metrics":
            self._answer(self.jobs.metrics(name))
        else:
            self._answer({"jobMessages": []} if what else self.jobs.jobs[name])

    def _answer(self, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main(port: str, folder: str, prism_port: str, pool: str) -> None:
    Handler.jobs = Jobs(Path(folder), f"localhost:{prism_port}", pool)
    ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
