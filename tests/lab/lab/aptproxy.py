# SPDX-License-Identifier: GPL-3.0-or-later
"""A caching window on the package archive for hosts that have no route out: /archive and /security, read only.

Only archive paths pass, and they always go to the one archive this machine's apt uses, so a host cannot reach
anything else through it. A .deb is cached (its name holds the version: it never goes stale), an index is not.
"""

import argparse
import contextlib
import hashlib
import re
import shutil
import signal
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

from lab import archive

ALLOWED = re.compile(r"/(archive|security)(/(?:dists|pool)/[A-Za-z0-9._~%+:@/-]+)")
ASK = ("Range", "If-Modified-Since", "If-Range")
ANSWER = ("Content-Length", "Content-Type", "Last-Modified", "Content-Range", "Accept-Ranges")
TIMEOUT_S = 120


class Server(ThreadingHTTPServer):
    """The proxy's server: knows the archive it shows and where it keeps packages."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], upstream: archive.Archive, cache: Path) -> None:
        super().__init__(address, Handler)
        self.upstream, self.cache = upstream, cache
        cache.mkdir(parents=True, exist_ok=True)
        proxies = archive.http_proxies()
        self.opener = urllib.request.build_opener(*([urllib.request.ProxyHandler(proxies)] if proxies else []))


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD of archive files."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Log refusals and failures only."""
        if args and str(args[1] if len(args) > 1 else "")[:1] in "45":
            super().log_message(format, *args)

    def upstream_url(self) -> str | None:
        """Where the asked path lives, or None if it is no archive path."""
        match = ALLOWED.fullmatch(self.path)
        if not match or ".." in self.path or "%2e" in self.path.lower() or "%2f" in self.path.lower():
            return None
        base = self.server.upstream.main if match[1] == "archive" else self.server.upstream.security
        return base + match[2] if base else None

    def do_GET(self) -> None:
        """Pass one archive file on, from the cache where it is a package."""
        url = self.upstream_url()
        if url is None:
            self.send_error(403, "not an archive path")
            return
        try:
            if self.command == "GET" and url.endswith(".deb"):
                self.send_package(url)
            else:
                self.pass_on(url)
        except urllib.error.HTTPError as error:
            with error:
                self.send_answer(error.code, error.headers, error)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        except OSError as error:
            self.send_error(502, type(error).__name__)

    do_HEAD = do_GET

    def pass_on(self, url: str) -> None:
        """Fetch and forward without keeping anything."""
        headers = {name: self.headers[name] for name in ASK if name in self.headers}
        request = urllib.request.Request(url, headers=headers, method=self.command)
        with self.server.opener.open(request, timeout=TIMEOUT_S) as reply:
            self.send_answer(reply.status, reply.headers, reply)

    def send_package(self, url: str) -> None:
        """Send a .deb, fetching it into the cache first."""
        name = url.rsplit("/", 1)[1].replace("%", "_")
        cached = self.server.cache / f"{hashlib.sha256(self.path.encode()).hexdigest()[:8]}-{name}"
        if not cached.exists():
            with tempfile.NamedTemporaryFile(dir=self.server.cache, prefix=".part-", delete=False) as part:
                try:
                    with self.server.opener.open(url, timeout=TIMEOUT_S) as reply:
                        shutil.copyfileobj(reply, part)
                    part.flush()
                    expected = reply.headers.get("Content-Length")
                    if expected and Path(part.name).stat().st_size != int(expected):
                        raise ConnectionError("the archive closed the connection early")
                    Path(part.name).chmod(0o644)
                    Path(part.name).rename(cached)
                except BaseException:
                    Path(part.name).unlink()
                    raise
        headers = Message()
        headers["Content-Length"] = str(cached.stat().st_size)
        headers["Content-Type"] = "application/vnd.debian.binary-package"
        with cached.open("rb") as body:
            self.send_answer(200, headers, body)

    def send_answer(self, status: int, headers: Message, body: IO[bytes]) -> None:
        """Send a status, the headers that matter to apt, and the body."""
        self.send_response(status)
        for name in ANSWER:
            if headers.get(name):
                self.send_header(name, headers[name])
        empty = self.command == "HEAD" or status in (204, 304)
        if not headers.get("Content-Length") and not empty:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if not empty:
            shutil.copyfileobj(body, self.wfile)


@contextlib.contextmanager
def serving(upstream: archive.Archive, cache: Path) -> Iterator[archive.Archive]:
    """The proxy on a free loopback port for the time of a build; yields the archive as it shows it."""
    with Server(("127.0.0.1", 0), upstream, cache) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield upstream.served_at(f"http://127.0.0.1:{server.server_address[1]}")
        finally:
            server.shutdown()


def main() -> None:
    """Serve on ADDRESS PORT with CACHE until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("cache", type=Path)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with Server((options.address, options.port), archive.of_this_machine("Debian"), options.cache) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
