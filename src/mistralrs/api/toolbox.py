"""A tool that a runner runs itself: what the model is told about it, and how a call is started."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from mistralrs.api.enums import AgentToolKind, AgentToolSource


@dataclass(frozen=True)
class Outcome:
    """What a tool returned: text for the model, and images (base64) for the record of the call."""

    text: str
    images: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tool:
    """A tool and the function that starts a call of it; canceling the future gives the call up."""

    name: str
    start: Callable[[dict[str, Any]], "Future[Outcome]"]
    schema: Mapping[str, Any] | None = None  # None: a request has to bring it
    source: AgentToolSource = AgentToolSource.User
    kind: AgentToolKind = AgentToolKind.Custom
