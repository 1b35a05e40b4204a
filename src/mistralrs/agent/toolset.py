"""The tools of one request: what is offered to the model, and what of it runs here."""

import json
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

from mistralrs.agent.dispatch import dispatched
from mistralrs.api.enums import ToolChoice
from mistralrs.api.errors import RequestError
from mistralrs.api.requests import ChatCompletionRequest
from mistralrs.api.toolbox import Tool


@dataclass(frozen=True)
class Toolset:
    """Schemas as the request will carry them; tools that run here; names that the caller runs."""

    schemas: Sequence[str]
    runs: Mapping[str, Tool]
    others: frozenset[str]


def toolset(request: ChatCompletionRequest, tools: Sequence[Tool]) -> Toolset | None:
    """The tools of a request, None when nothing would run here.

    A schema in the request counts more than that of a tool with the same name. Tools without a schema
    run only when the request brings one.
    """
    if request.tool_choice == ToolChoice.NoTools or request.max_tool_rounds == 0:
        return None
    known = {tool.name: tool for tool in tools}
    asked = [json.loads(text)["function"]["name"] for text in request.tool_schemas or ()]
    if request.tool_dispatch_url is not None:
        known |= {
            name: dispatched(name, request.tool_dispatch_url) for name in asked if name not in known
        }
    added = [tool for tool in known.values() if tool.schema and tool.name not in asked]
    runs = {name: known[name] for name in [*asked, *(t.name for t in added)] if name in known}
    if not runs:
        return None
    if request.n_choices > 1:
        raise RequestError(
            f"n_choices: is {request.n_choices}, but tools run for one continuation only; set it to 1, or "
            "tool_choice=ToolChoice.NoTools"
        )
    texts = [json.dumps(tool.schema, ensure_ascii=False) for tool in added]
    return Toolset([*(request.tool_schemas or ()), *texts], runs, frozenset(asked) - runs.keys())


def inner(request: ChatCompletionRequest) -> ChatCompletionRequest:
    """The request as the model gets it: without the arguments that only the loop reads."""
    return changed(
        request,
        web_search_options=None,
        max_tool_rounds=None,
        tool_dispatch_url=None,
        agent_permission=None,
        agent_approval_callback=None,
    )


def changed(request: ChatCompletionRequest, **fields: Any) -> ChatCompletionRequest:
    """A request with other fields; what was checked and converted when it was made is not checked again."""
    other = copy(request)
    for name, value in fields.items():
        object.__setattr__(other, name, value)
    return other
