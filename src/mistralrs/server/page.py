"""The page at /ui: its files, and the headers that keep everything else out of it."""

import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles

FOLDER = Path(__file__).parent / "ui"
POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",  # images that the user attaches
    "media-src data:",  # and videos
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",  # text can not become markup, whatever a script tries
    "trusted-types 'none'",
)
HEADERS = {
    "Content-Security-Policy": "; ".join(POLICY),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # asks whether a file is new, so that versions do not mix
}
# Told here, since Python asks the system, and some Windows systems say that a script is text.
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def add(app: FastAPI) -> None:
    """Add the page; before other routes, since it leads browsers there from the root."""
    app.mount("/ui", Page(), "ui")

    @app.get("/", include_in_schema=False)
    async def home(request: Request) -> Response:
        """Lead browsers to the page; tell others that the server runs."""
        browser = "text/html" in request.headers.get("accept", "")
        return RedirectResponse("ui/") if browser else PlainTextResponse("OK")


class Page(StaticFiles):
    """Serves the files of the page."""

    def __init__(self) -> None:
        super().__init__(directory=FOLDER, html=True)

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: MutableMapping[str, Any],
        status_code: int = 200,
    ) -> Response:
        """Return a file with its headers."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(HEADERS)
        if response.status_code == 200:
            response.headers["Content-Type"] = TYPES[Path(full_path).suffix]
        return response
