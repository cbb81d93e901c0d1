# SPDX-License-Identifier: GPL-3.0-or-later
"""A web server on the loopback interface that serves images and misbehaves as told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class Resource:
    """What one path serves. The faults apply to every answer, unless the name says `first`."""

    content: bytes = b""
    etag: str = '"v1"'
    last_modified: str = ""
    ranges: bool = True
    length: bool = True  # whether Content-Length is sent
    first_statuses: list[int] = field(default_factory=list)  # answered once each, before anything is served
    first_cuts: list[int] = field(default_factory=list)  # bytes after which the first answers break off
    redirect: str = ""
    range_shift: int = 0  # answers a range with another one
    pace_s: float = 0.0  # pause after each 64 KiB
    encoding: str = ""


@dataclass
class Answer:
    path: str
    range: str
    status: int
    bytes_sent: int = 0


class ImageServer:
    def __init__(self) -> None:
        self.resources: dict[str, Resource] = {}
        self.answers: list[Answer] = []
        self.stop_pacing = threading.Event()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"faults": self}))
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}"

    def serve(self, path: str, content: bytes = b"", **faults: Any) -> str:
        self.resources[path] = Resource(content, **faults)
        return self.url + path

    def sent(self, path: str) -> int:
        return sum(answer.bytes_sent for answer in self.answers if answer.path == path)

    def close(self) -> None:
        self.stop_pacing.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


class _Handler(BaseHTTPRequestHandler):
    faults: ImageServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        resource = self.faults.resources.get(self.path)
        answer = Answer(self.path, self.headers.get("Range", ""), 404)
        self.faults.answers.append(answer)
        self.close_connection = True
        if resource is None:
            self.refuse(404)
        elif resource.first_statuses:
            answer.status = resource.first_statuses.pop(0)
            self.refuse(answer.status)
        elif resource.redirect:
            answer.status = 302
            self.refuse(302, Location=resource.redirect)
        else:
            self.serve(resource, answer)

    def refuse(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def serve(self, resource: Resource, answer: Answer) -> None:
        start = 0
        valid = self.headers.get("If-Range", "") in ("", resource.etag, resource.last_modified)
        if answer.range and resource.ranges and valid:
            start = int(answer.range.removeprefix("bytes=").rstrip("-"))
            if start >= len(resource.content):
                answer.status = 416
                self.refuse(416)
                return
            start += resource.range_shift
        answer.status = 206 if start else 200
        self.send_response(answer.status)
        total = len(resource.content)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        for name, value in (
            ("ETag", resource.etag),
            ("Last-Modified", resource.last_modified),
            ("Content-Encoding", resource.encoding),
            ("Content-Length", str(total - start) if resource.length else ""),
        ):
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.send(resource, answer, start)

    def send(self, resource: Resource, answer: Answer, start: int) -> None:
        end = len(resource.content)
        if resource.first_cuts:
            end = min(end, start + resource.first_cuts.pop(0))
        for offset in range(start, end, 65536):
            chunk = resource.content[offset : min(offset + 65536, end)]
            try:
                self.wfile.write(chunk)
            except OSError:
                return
            answer.bytes_sent += len(chunk)
            if resource.pace_s and not self.faults.stop_pacing.is_set():
                time.sleep(resource.pace_s)

    def log_message(self, *_arguments: Any) -> None:
        return


@pytest.fixture
def image_server() -> Iterator[ImageServer]:
    server = ImageServer()
    yield server
    server.close()
