"""Downloads from the Hugging Face hub into its standard cache, and what to do when it refuses."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mistralrs.api.errors import (
    AccessError,
    CheckpointError,
    ConfigError,
    MistralRsError,
    ModelNotFoundError,
)

log = logging.getLogger("mistralrs")

WORKERS = 4  # files fetched at the same time
TIMEOUT = 15.0  # seconds to wait for the list of a model's files
COMMIT = re.compile(r"[0-9a-f]{40}")

Fetch = Callable[[Sequence[str]], list[Path]]

TOKEN_SOURCES = "literal:<token>, env:<variable>, path:<file>, cache, none"


def read_token(source: str) -> str | None:
    """The hub token of a `token_source`; None, with a warning, when the source cannot be read.

    The sources are literal:<token>, env:<variable> (HUGGING_FACE_HUB_TOKEN when left empty),
    path:<file>, none, and cache: HF_TOKEN, HF_HUB_TOKEN, or the file that logging in writes.
    """
    kind, _, value = source.partition(":")
    if source == "none":
        return None
    if source == "cache":
        return _cached_token()
    if kind == "literal" and value.strip():
        return value.strip()
    if kind == "env":
        variable = value or "HUGGING_FACE_HUB_TOKEN"
        return _or_warn(_stripped(os.environ.get(variable)), f"{variable} is not set")
    if kind == "path" and value:
        return _or_warn(_token_file(Path(value).expanduser()), f"no token in '{value}'")
    raise ConfigError(f"invalid token source format: use one of {TOKEN_SOURCES}")


def _cached_token() -> str | None:
    tokens = (_stripped(os.environ.get(name)) for name in ("HF_TOKEN", "HF_HUB_TOKEN"))
    return next(filter(None, tokens), None) or _token_file(_home() / "token")


def _token_file(path: Path) -> str | None:
    try:
        return _stripped(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None


def _stripped(value: str | None) -> str | None:
    return (value or "").strip() or None


def _or_warn(token: str | None, reason: str) -> str | None:
    if token is None:
        log.warning("token source: %s; the hub is used without a token", reason)
    return token


def _home() -> Path:
    default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HOME") or default).expanduser()


def cache_directory() -> Path:
    """Where downloads go: HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub."""
    named = os.environ.get("HF_HUB_CACHE")
    return Path(named).expanduser() if named else _home() / "hub"


# --- the hub --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hub:
    """One revision of a model on the hub, or what the cache directory has of it."""

    id: str
    revision: str
    cache: Path
    token: str | None
    bars: bool
    most: int | None = None  # bytes of a file

    def open(self) -> tuple[tuple[str, ...], Fetch]:
        """The model's file names, and the function that brings some of them to the disk."""
        from huggingface_hub import HfApi
        from huggingface_hub.errors import OfflineModeIsEnabled

        try:
            if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
                raise OfflineModeIsEnabled("HF_HUB_OFFLINE is set")
            api = HfApi(endpoint=_endpoint(), token=self.token or False)
            info = api.model_info(self.id, revision=self.revision, timeout=TIMEOUT)
        except _failures() as error:
            if (found := self._cached()) is None:
                raise self._explain(error) from error
            quiet = isinstance(error, OfflineModeIsEnabled)  # the user asked for it
            level = logging.DEBUG if quiet else logging.WARNING
            log.log(level, "%s; '%s' comes from %s", _first_line(error), self.id, self.cache)
            return found
        commit = info.sha or self.revision
        files = tuple(sorted(file.rfilename for file in info.siblings or ()))
        return files, lambda names: self._download(commit, files, names)

    def _download(self, commit: str, files: Sequence[str], names: Sequence[str]) -> list[Path]:
        """Files of one commit, side by side; those in the cache need no request."""
        from huggingface_hub import hf_hub_download

        def one(name: str) -> Path:
            self._check_size(name, commit)
            return Path(
                hf_hub_download(
                    self.id,
                    name,
                    revision=commit,
                    cache_dir=self.cache,
                    token=self.token or False,
                    endpoint=_endpoint(),
                )
            )

        try:
            with _progress(self.bars), ThreadPoolExecutor(WORKERS) as pool:
                paths = list(pool.map(one, names))  # an error cancels what has not begun
        except MistralRsError:
            raise
        except _failures() as error:
            raise self._explain(error) from error
        self._remember(commit, files)
        return paths

    def _check_size(self, name: str, commit: str) -> None:
        """Raise ConfigError for a file that is larger than `most`, before it is fetched."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        if self.most is None:
            return
        url = hf_hub_url(self.id, name, revision=commit, endpoint=_endpoint())
        found = get_hf_file_metadata(url, token=self.token or False, timeout=TIMEOUT).size
        if found is None or found > self.most:
            raise ConfigError(f"{name} of '{self.id}' has more than {self.most:,} bytes")

    # The standard layout: refs/<revision> holds the commit, snapshots/<commit> the files.

    @property
    def _folder(self) -> Path:
        return self.cache / f"models--{self.id.replace('/', '--')}"

    @property
    def _listing(self) -> Path:
        return self.cache / f"{self.id.replace('/', '-')}_repo_list.json"

    def _remember(self, commit: str, files: Sequence[str]) -> None:
        """Note which commit a revision is, and all its file names, for the time without a hub."""
        ref = self._folder / "refs" / self.revision
        try:
            if self.revision != commit:
                ref.parent.mkdir(parents=True, exist_ok=True)
                ref.write_text(commit)
            self._listing.write_text(json.dumps({"files": list(files), "revision": commit}))
        except OSError as error:  # a cache that is shared read-only works, just not offline
            log.debug("cannot note the files of '%s': %s", self.id, error)

    def _cached(self) -> tuple[tuple[str, ...], Fetch] | None:
        """What the cache has of the revision; None when it has nothing."""
        ref = self._folder / "refs" / self.revision
        commit = ref.read_text().strip() if ref.is_file() else self.revision
        snapshot = self._folder / "snapshots" / commit
        if not snapshot.is_dir():
            return None
        here = [f.relative_to(snapshot).as_posix() for f in snapshot.rglob("*") if f.is_file()]
        files = tuple(sorted({*here, *self._listed(commit)}))

        def fetch(names: Sequence[str]) -> list[Path]:
            if missing := [name for name in names if not (snapshot / name).is_file()]:
                raise CheckpointError(
                    f"{', '.join(missing)} of '{self.id}' was never downloaded to {self.cache}: "
                    "load the model once with the hub in reach, and without HF_HUB_OFFLINE"
                )
            return [snapshot / name for name in names]

        return files, fetch

    def _listed(self, commit: str) -> list[str]:
        """The file names noted for a commit."""
        try:
            noted = json.loads(self._listing.read_text())
        except (OSError, ValueError):
            return []
        known = isinstance(noted, dict) and noted.get("revision") == commit
        return noted.get("files", []) if known else []

    def _explain(self, error: Exception) -> MistralRsError:
        """An error of huggingface_hub as ours, with the fix."""
        from huggingface_hub import errors as hub

        if isinstance(error, hub.LocalEntryNotFoundError) and isinstance(
            error.__cause__, Exception
        ):
            error = error.__cause__  # "not in the cache either" hides what the hub said
        status = getattr(getattr(error, "response", None), "status_code", None)
        page = f"{_endpoint() or 'https://huggingface.co'}/{self.id}"
        if isinstance(error, hub.HFValidationError):
            return ModelNotFoundError(_NO_ID.format(self.id))
        if isinstance(error, hub.GatedRepoError):
            return AccessError(_GATED.format(self.id, page, _TOKEN if self.token else _NO_TOKEN))
        if isinstance(error, hub.RevisionNotFoundError):
            return ModelNotFoundError(_NO_REVISION.format(self.id, self.revision, page))
        # The hub answers 401 to the anonymous for what does not exist as for what is private.
        if isinstance(error, hub.RepositoryNotFoundError) or (status == 401 and not self.token):
            private = _NO_READER if self.token else _ANONYMOUS
            return ModelNotFoundError(_NO_REPO.format(self.id, page, private))
        if status in _REFUSED:
            return AccessError(_REFUSED[status].format(self.id))
        return ModelNotFoundError(_NO_HUB.format(self.id, _first_line(error), self.cache))


_TOKEN = "the token in use belongs to an account without access"
_NO_TOKEN = "no token is in use: put one into HF_TOKEN, or give token_source"
_NO_READER = "use a token of an account that may read it"
_ANONYMOUS = "put a token into HF_TOKEN, or give token_source"
_NO_ID = "'{}' is neither a local directory nor a hub id such as 'owner/name'"
_GATED = "'{}' is gated: accept its terms at {} with your account; {}"
_NO_REVISION = "'{}' has no revision '{}': see {}/tree for those it has"
_NO_REPO = "no model '{}' on the hub ({}): check the spelling; if it is private, {}"
_NO_HUB = (
    "'{}' cannot be fetched ({}), and {} does not have it: connect to the hub without HF_HUB_OFFLINE, or "
    "give a local directory"
)
_REFUSED = {
    401: "the hub rejects the token that was sent for '{}': renew it, or use token_source='none'",
    403: "the hub forbids '{}' to this token: give it the permission to read gated repositories",
    429: "the hub limits requests (for '{}'): wait some minutes, or give a token",
}


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


def _endpoint() -> str | None:
    """The hub's address where it is not the usual one."""
    return (os.environ.get("HF_ENDPOINT") or "").rstrip("/") or None


def _failures() -> tuple[type[Exception], ...]:
    """What a hub call raises: OSError, ValueError (a malformed id or answer), or the transport
    errors of the HTTP library under it, which changed with the versions of huggingface_hub."""
    libraries = (sys.modules.get(name) for name in ("httpx", "httpx2"))
    return (OSError, ValueError, *(library.TransportError for library in libraries if library))


@contextmanager
def _progress(bars: bool) -> Iterator[None]:
    """Download bars on or off while files are fetched."""
    from huggingface_hub import utils

    if bars or utils.are_progress_bars_disabled():  # type: ignore[attr-defined]
        yield
        return
    utils.disable_progress_bars()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        utils.enable_progress_bars()  # type: ignore[attr-defined]
