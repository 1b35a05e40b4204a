"""Where media come from: a URL, a data URL, a file or bytes -> bytes, within limits of size and time."""

import base64
import binascii
import ipaddress
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit
from urllib.request import url2pathname

from mistralrs.api.errors import MediaError

CHUNK = 1 << 16


@dataclass(frozen=True)
class Access:
    """What may be read, and how much of it."""

    limit: int = 100 << 20  # bytes of one source
    timeout: float = 20.0  # seconds for one download
    files: bool = True  # of this machine; off for requests of strangers
    private: bool = (
        True  # addresses of this machine and its network, when a request names them itself
    )

    def read(self, source: Any) -> bytes:
        """The bytes behind a URL, a path or bytes; raises MediaError."""
        if isinstance(source, (bytes, bytearray, memoryview)):
            return self.sized(bytes(source), "bytes")
        text = str(source).strip()
        scheme = text.partition(":")[0].lower() if ":" in text else ""
        if scheme == "data":
            return self.sized(inline(text), "a data URL")
        if scheme in ("http", "https"):
            return self.download(text)
        if not self.files:
            raise MediaError(f"{short(text)}: only http(s) and data URLs are read here, no files")
        return self.file(url_path(text) if scheme == "file" else Path(text).expanduser())

    def sized(self, data: bytes, name: str) -> bytes:
        """The data, if it is not too large and not empty."""
        if not data:
            raise MediaError(f"{short(name)}: is empty")
        if len(data) > self.limit:
            raise MediaError(f"{short(name)}: is larger than the limit of {self.limit >> 20} MB")
        return data

    def file(self, path: Path) -> bytes:
        """The content of a file."""
        try:
            if not path.is_file():
                raise MediaError(
                    f"{short(str(path))}: there is no such file; name a file, an http(s) URL or a data URL"
                )
            with path.open("rb") as file:
                return self.sized(file.read(self.limit + 1), str(path))
        except (OSError, ValueError) as error:  # ValueError: a null character in the name
            if isinstance(error, MediaError):
                raise
            reason = getattr(error, "strerror", None) or error
            raise MediaError(f"{short(str(path))}: cannot be read: {reason}") from error

    def download(self, url: str) -> bytes:
        """The body of an http(s) response."""
        try:
            public = not is_private(url)
            if not public and not self.private:
                raise MediaError(f"{short(url)}: is on a private network, which is not read here")
            opener = urllib.request.build_opener(Redirects(public))
            request = urllib.request.Request(url, headers={"User-Agent": "mistralrs"})
            with opener.open(request, timeout=self.timeout) as response:
                return self.sized(b"".join(self.chunks(response, url)), url)
        except MediaError:
            raise
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            code = f"HTTP {error.code}: " if isinstance(error, urllib.error.HTTPError) else ""
            raise MediaError(f"{short(url)}: cannot be downloaded: {code}{reason}") from error

    def chunks(self, response: Any, url: str) -> Iterator[bytes]:
        """A body bit by bit, until it is too large or takes too long."""
        ends, left = time.monotonic() + self.timeout, self.limit + 1
        while left > 0 and (chunk := response.read1(min(CHUNK, left))):
            yield chunk
            left -= len(chunk)
            if time.monotonic() > ends:
                raise MediaError(f"{short(url)}: took longer than {self.timeout:g} s to download")


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but none that leads from a public address into a private network."""

    max_redirections = 5

    def __init__(self, public: bool):
        self.public = public

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        """Check where a redirect leads."""
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise MediaError(
                f"{short(req.full_url)}: redirects to {short(newurl)}, which is refused"
            )
        if self.public and is_private(newurl):
            raise MediaError(f"{short(req.full_url)}: redirects into a private network")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def is_private(url: str) -> bool:
    """Whether a URL's host has an address that the public internet does not route."""
    host = urlsplit(url).hostname
    if not host:
        raise MediaError(f"{short(url)}: names no host")
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror:
        if urllib.request.getproxies():  # the proxy knows the name
            return False
        raise
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    return any(not address.is_global for address in addresses)


def inline(url: str) -> bytes:
    """The content of a `data:` URL (RFC 2397)."""
    head, comma, body = url[5:].partition(",")
    if not comma:
        raise MediaError(f"{short(url)}: a data URL has a comma before its content")
    if not head.lower().endswith(";base64"):
        return unquote_to_bytes(body)
    try:
        clean = "".join(body.split()).replace("-", "+").replace("_", "/")
        return base64.b64decode(clean + "=" * (-len(clean) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MediaError(f"{short(url)}: its base64 is damaged: {error}") from error


def url_path(url: str) -> Path:
    """The path that a `file:` URL names."""
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise MediaError(f"{short(url)}: names another machine; write file:///path")
    return Path(url2pathname(parts.path))


def short(text: str) -> str:
    """A source as messages show it."""
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"
