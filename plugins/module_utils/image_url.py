# SPDX-License-Identifier: GPL-3.0-or-later
"""Which addresses a host may fetch from, and the HTTP client that keeps to it through every redirect.

A catalog names addresses that every host then opens with root's reach. So a URL may not lead to the host itself or to
its link (cloud metadata services live there), neither directly, nor through a redirect, nor through a name's address.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import urllib.request
from dataclasses import dataclass
from typing import Any, Optional, Tuple
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from ansible_collections.berth.kvm.plugins.module_utils.image_failure import REQUEST, ImageFailure

REDIRECTS_MAX = 10
LOCAL_RULE = "addresses of the host itself and of its link are refused without allow_local_source: true"


@dataclass(frozen=True)
class Policy:
    """What a URL may be. `schemes` are those of the network; `why_not` tells why others are refused."""

    schemes: Tuple[str, ...] = ("https", "http")
    allow_local: bool = False
    why_not: str = ""

    def check(self, url: str) -> SplitResult:
        """Returns the URL's parts. Raises ImageFailure when its scheme, form or host is not allowed."""
        try:
            parts = urlsplit(url)
            host, _port = parts.hostname, parts.port
        except ValueError as error:
            raise refused(f"{url}: is no URL ({error})") from error
        if parts.scheme not in self.schemes:
            reason = f": {self.why_not}" if self.why_not else ""
            raise refused(f"{url}: scheme {parts.scheme!r}; allowed here: {', '.join(self.schemes)}{reason}")
        if "@" in parts.netloc:
            raise refused(f"{parts.scheme}://...@{host}: a user or password in a URL ends up in logs; allowed is none")
        if not host or not url.isprintable() or " " in url:
            raise refused(f"{url!r}: has no host, or characters that a URL cannot have")
        self.check_host(host)
        return parts

    def check_host(self, host: str) -> None:
        """Raises ImageFailure for a name or spelled address of the host itself or its link, unless allowed."""
        name = host.rstrip(".").lower()
        address = spelled_address(name)
        local = name == "localhost" or name.endswith(".localhost") or (address is not None and is_local(address))
        if local and not self.allow_local:
            raise refused(f"{host}: {LOCAL_RULE}")


def refused(message: str) -> ImageFailure:
    """Returns the failure of an address that is not allowed."""
    return ImageFailure(REQUEST, "url_refused", message)


def has_scheme(source: str) -> bool:
    """Tells whether `source` is a URL; if not it is a path on the controller."""
    return "://" in source or source.lower().startswith("file:")


def file_path(url: str) -> str:
    """Returns the path of a file:// URL. Raises ImageFailure when it names another machine or no absolute path."""
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or not path.startswith("/") or "\0" in path:
        raise refused(f"{url}: allowed is file:/// and an absolute path on the host")
    return path


def spelled_address(host: str) -> "Optional[ipaddress.IPv4Address | ipaddress.IPv6Address]":
    """Returns the address that `host` spells, in every way that resolvers take (127.1, 0x7f000001), or None."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except (OSError, ValueError):
            return None
    return getattr(address, "ipv4_mapped", None) or address


def is_local(address: "ipaddress.IPv4Address | ipaddress.IPv6Address") -> bool:
    """Tells whether the address leads to the machine itself, to its link or to many."""
    return address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast


def opener(policy: Policy) -> urllib.request.OpenerDirector:
    """Returns a client for http and https that asks `policy` before each request and each redirect.

    Proxies come from the environment, as for every program on the host. Nothing else (file, ftp, data) can be opened.
    """
    director = urllib.request.OpenerDirector()
    handlers = (
        urllib.request.ProxyHandler(),
        _Http(policy),
        _Https(policy),
        _Redirects(policy),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    )
    for handler in handlers:
        director.add_handler(handler)
    return director


def _check_peer(connection: http.client.HTTPConnection, policy: Policy) -> None:
    """Refuses a connection whose name led to the host itself. Nothing was sent yet; without a proxy only."""
    address = spelled_address(connection.sock.getpeername()[0])
    if address is not None and is_local(address) and not policy.allow_local:
        connection.close()
        raise refused(f"{connection.host}: its address is {address}; {LOCAL_RULE}")


def _checked(base: Any, policy: Policy) -> Any:
    class Checked(base):  # type: ignore[misc]
        def connect(self) -> None:
            super().connect()
            _check_peer(self, policy)

    return Checked


class _Http(urllib.request.HTTPHandler):
    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self._policy = policy

    def http_open(self, req: urllib.request.Request) -> Any:
        # A proxy resolves the name itself, and may well be on the host.
        direct = not req.has_proxy()
        kind = _checked(http.client.HTTPConnection, self._policy) if direct else http.client.HTTPConnection
        return self.do_open(kind, req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self._policy = policy

    def https_open(self, req: urllib.request.Request) -> Any:
        direct = not getattr(req, "_tunnel_host", None)
        kind = _checked(http.client.HTTPSConnection, self._policy) if direct else http.client.HTTPSConnection
        return self.do_open(kind, req)


class _Redirects(urllib.request.BaseHandler):
    """Follows a redirect only where the policy allows a request. The redirect's own body is never read."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def http_error_302(self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any) -> Any:
        fp.close()
        followed = getattr(req, "followed", 0) + 1
        if followed > REDIRECTS_MAX:
            raise refused(f"{req.full_url}: more than {REDIRECTS_MAX} redirects")
        target = urljoin(req.full_url, headers.get("Location") or "")
        try:
            self._policy.check(target)
        except ImageFailure as failure:
            raise refused(f"{req.full_url} redirects to {failure.message}") from failure
        request = urllib.request.Request(target, headers=req.headers)  # noqa: S310  # checked just now
        request.followed = followed  # type: ignore[attr-defined]
        return self.parent.open(request, timeout=req.timeout)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302
