"""A multi-process `mswitch clean`, watched from outside while its workers work.

A worker fetches its input from a server of the test. The server looks at the job before it answers,
so the job is known to be in the middle, without waiting for a time.
"""

import gzip
import os
import subprocess
import sys
import threading
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import grpc
import psutil
from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc

from data.demo import member_of
from data.reading.page import Page

ROOT = Path(__file__).parents[2]
NAME = "crawl-data/a.warc.wet.gz"
TWO_WORKERS = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")


@dataclass
class Watched:
    """What was seen of a job.

    Attributes:
        listening: addresses on which its processes listen, without the port.
        handed_out: what strangers or workers receive from it, by where it was found.
        output: standard output and error.
        status: exit status.
    """

    listening: set[IPv4Address | IPv6Address] = field(default_factory=set)
    handed_out: dict[str, bytes] = field(default_factory=dict)
    output: bytes = b""
    status: int | None = None


def watched_clean(directory: Path, *options: str, **environment: str) -> Watched:
    """Runs the job with two workers, and returns what the server saw while they worked."""
    seen, job = Watched(), Future()
    out = directory / "out"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            look(seen, job.result(), out)
            page = Page("https://a.example/", "One line of text.\n" * 9, "2026")
            content = member_of(page._replace(declared_language="en"))
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format, *args):  # noqa: A002
            pass

    (directory / "wet.paths.gz").write_bytes(gzip.compress(NAME.encode()))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = ["clean", f"--input={directory / 'wet.paths.gz'}", "--rules=none"]
        command += [f"--out={out}", f"--crawl-base=http://127.0.0.1:{server.server_port}"]
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", *command, "--", *TWO_WORKERS, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
            cwd=directory,
        )
        job.set_result(psutil.Process(process.pid))
        seen.output, _ = process.communicate()
        seen.status = process.returncode
        server.shutdown()
    return seen


def look(seen: Watched, job: psutil.Process, out: Path) -> None:
    """Notes what the job's processes show at this moment."""
    ports, workers = set(), set()
    for process in (job, *job.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            seen.handed_out[f"command line {process.pid}"] = "\0".join(process.cmdline()).encode()
            variables = process.environ()
            options = variables.get("PIPELINE_OPTIONS", "")
            seen.handed_out[f"options {process.pid}"] = options.encode()
            workers |= {variables["WORKER_ID"]} if "WORKER_ID" in variables else set()
            sockets = [s for s in process.net_connections("inet") if s.status == psutil.CONN_LISTEN]
            seen.listening |= {ip_address(socket.laddr.ip) for socket in sockets}
            ports |= {socket.laddr.port for socket in sockets}
    for port in ports:
        for worker in workers:
            seen.handed_out[f"provision {port} {worker}"] = provision(port, worker)
    for path in out.rglob("*"):
        if path.is_file():
            seen.handed_out[str(path)] = path.read_bytes()


def provision(port: int, worker: str) -> bytes:
    """Returns what a port gives to anyone who asks for the job's settings; b"" if it has none."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, suppress(grpc.RpcError):
        service = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        request = beam_provision_api_pb2.GetProvisionInfoRequest()
        answer = service.GetProvisionInfo(request, metadata=[("worker_id", worker)], timeout=20)
        return answer.SerializeToString()
    return b""
