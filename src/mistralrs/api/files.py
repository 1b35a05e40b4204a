"""Files that go into a request and files that tools produce."""

import base64
import builtins
from dataclasses import dataclass, field
from pathlib import Path

from mistralrs.api import check
from mistralrs.api.errors import RequestError
from mistralrs.api.record import Record
from mistralrs.api.strict import strict


@strict
@dataclass(frozen=True)
class RequestedFile:
    """A file that the tools shall produce."""

    name: str
    format: str | None = None
    description: str | None = None

    def __post_init__(self) -> None:
        check.apply(self, {"name": check.name, "format": check.name, "description": check.text})


@strict
@dataclass(frozen=True)
class InputFile:
    """A file given to the tools of a request."""

    name: str
    data: builtins.bytes = field(repr=False)
    mime_type: str | None = None

    def __post_init__(self) -> None:
        data = check.instance(builtins.bytes, bytearray, memoryview)
        check.apply(self, {"name": check.name, "data": data, "mime_type": check.name})
        object.__setattr__(self, "data", builtins.bytes(self.data))

    @classmethod
    def from_text(cls, name: str, text: str, mime_type: str | None = "text/plain") -> "InputFile":
        """Make a file from a string, as UTF-8."""
        return cls(name, check.text("text", text).encode(), mime_type)

    @classmethod
    def from_path(cls, path: "str | Path", mime_type: str | None = None) -> "InputFile":
        """Read a file; without `mime_type` the ending of its name decides."""
        import mimetypes

        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise RequestError(f"path: cannot read {str(path)!r}: {error.strerror}") from error
        return cls(Path(path).name, data, mime_type or mimetypes.guess_type(str(path))[0])

    @property
    def id(self) -> str:
        """A name made from the content: equal content, equal id."""
        import hashlib

        return f"file-{hashlib.sha256(self.data).hexdigest()[:24]}"

    @property
    def bytes(self) -> int:
        """Size of the content in bytes."""
        return len(self.data)


@strict
@dataclass(frozen=True)
class FileSource(Record):
    """The tool call that produced a file."""

    tool: str
    round: int
    turn: int


@strict
@dataclass(frozen=True)
class File(Record):
    """A file that a tool produced: text or base64 data, or neither when it was too large."""

    id: str
    name: str
    format: str | None = None
    mime_type: str | None = None
    bytes: int = 0  # size of the content
    source: FileSource | None = None
    text: str | None = field(default=None, repr=False)
    data_base64: str | None = field(default=None, repr=False)
    preview: str | None = None  # the beginning, when the content is left out
    error: str | None = None  # why the requested file does not exist

    def is_text(self) -> bool:
        """Whether the content is text."""
        return self.text is not None

    def is_binary(self) -> bool:
        """Whether the content is bytes."""
        return self.data_base64 is not None

    def is_image(self) -> bool:
        """Whether the file is an image."""
        return (self.mime_type or "").startswith("image/")

    def is_video(self) -> bool:
        """Whether the file is a video."""
        return (self.mime_type or "").startswith("video/")

    def is_error(self) -> bool:
        """Whether the file could not be produced; `error` says why."""
        return self.error is not None

    def is_truncated(self) -> bool:
        """Whether the content was left out because of its size."""
        return self.text is None and self.data_base64 is None and self.error is None

    def save(self, path: "str | Path") -> None:
        """Write the content to `path`; raises RequestError when the content is not here."""
        Path(path).write_bytes(self._content())

    def _content(self) -> builtins.bytes:
        if self.text is not None:
            return self.text.encode()
        if self.data_base64 is not None:
            return base64.b64decode(self.data_base64)
        reason = self.error or "its content was left out because of its size; fetch it by its id"
        raise RequestError(f"cannot save {self.name!r}: {reason}")
