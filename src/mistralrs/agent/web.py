"""Fetching pages of the public web; addresses of this machine and its networks are refused."""

import http.client
import ipaddress
import socket
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from mistralrs.api.errors import ToolError

SECONDS = 15.0  # for a whole page
LARGEST = 2 << 20  # bytes that are read of a page
READABLE = ("text/", "application/json", "application/xhtml", "application/xml")
AGENT = "mistralrs (local inference; web search for its user)"


@dataclass(frozen=True)
class Document:
    """What an address answered."""

    url: str  # after redirects
    kind: str  # content type
    text: str


def fetch(url: str, data: bytes | None = None, private: bool = False) -> Document:
    """GET a page, or POST to it; raises ToolError. Each redirect is checked like the first address.

    `private` also allows addresses that are not public.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise ToolError(f"'{url}' is no http or https address")
    request = urllib.request.Request(
        url, data, {"User-Agent": AGENT, "Accept": "text/html,*/*;q=0.5"}
    )
    deadline = time.monotonic() + SECONDS
    try:
        with opener(private).open(request, timeout=SECONDS) as response:
            kind = response.headers.get_content_type()
            if not kind.startswith(READABLE):
                raise ToolError(f"'{url}' is of type {kind}, which cannot be read as text")
            charset = response.headers.get_content_charset() or "utf-8"
            return Document(response.url, kind, decoded(read(response, deadline), charset))
    except urllib.error.HTTPError as error:
        raise ToolError(f"'{url}' answered HTTP {error.code}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, ToolError):
            raise
        raise ToolError(f"'{url}' cannot be read: {getattr(error, 'reason', error)}") from None


def decoded(body: bytes, charset: str) -> str:
    """Text of bytes; an unknown charset is read as UTF-8."""
    try:
        return body.decode(charset, errors="replace")
    except LookupError:
        return body.decode(errors="replace")


def read(response: Any, deadline: float) -> bytes:
    """The beginning of a page; a server that drips is cut off at the deadline."""
    body = b""
    while len(body) < LARGEST and (chunk := response.read1(1 << 16)):
        body += chunk
        if time.monotonic() > deadline:
            raise TimeoutError(f"the page did not arrive within {SECONDS:g} s")
    return body[:LARGEST]


def opener(private: bool) -> urllib.request.OpenerDirector:
    """An opener for http and https alone, without proxies, which would connect for us unchecked."""
    director = urllib.request.OpenerDirector()
    for handler in (
        Plain(private),
        Secure(private),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
    ):
        director.add_handler(handler)
    return director


class PlainConnection(http.client.HTTPConnection):
    """An http connection to a checked address."""

    private = False

    def connect(self) -> None:
        """Connect."""
        self.sock = reach(self.host, self.port, self.timeout, self.private)


class SecureConnection(http.client.HTTPSConnection):
    """An https connection to a checked address."""

    private = False

    def connect(self) -> None:
        """Connect and encrypt."""
        sock = reach(self.host, self.port, self.timeout, self.private)
        self.sock = self._context.wrap_socket(sock, server_hostname=self.host)  # type: ignore[attr-defined]


class Plain(urllib.request.HTTPHandler):
    """Opens http addresses."""

    def __init__(self, private: bool):
        super().__init__()
        self.kind: Any = type("Connection", (PlainConnection,), {"private": private})

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open one."""
        return self.do_open(self.kind, req)


class Secure(urllib.request.HTTPSHandler):
    """Opens https addresses."""

    def __init__(self, private: bool):
        super().__init__()
        self.kind: Any = type("Connection", (SecureConnection,), {"private": private})

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open one."""
        return self.do_open(self.kind, req)


def reach(host: str, port: int, timeout: Any, private: bool) -> socket.socket:
    """Connect to the very address that was checked, so that a name cannot change its meaning meanwhile."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if not private and not all(map(public, addresses)):
        raise ToolError(f"'{host}' is not on the public web and is not read")
    return socket.create_connection((addresses[0], port), timeout)


def public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, also one written as IPv6."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    inner = getattr(ip, "ipv4_mapped", None) or getattr(ip, "sixtofour", None) or ip
    nat64 = ip.version == 6 and ip in ipaddress.ip_network("64:ff9b::/96")
    return inner.is_global and not inner.is_multicast and not nat64
