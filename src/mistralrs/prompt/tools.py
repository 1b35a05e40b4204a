"""What a request says about tools: which are on offer, and whether one has to be called."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mistralrs.api.enums import ToolChoice
from mistralrs.api.errors import ToolError
from mistralrs.api.prompt import Calls
from mistralrs.api.requests import ChatCompletionRequest
from mistralrs.prompt.messages import parse_tools

Tool = Mapping[str, Any]


@dataclass(frozen=True)
class Offer:
    """The tools that the template shows, and those that may be called."""

    shown: Sequence[Tool] = ()
    schemas: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    calls: Calls = "auto"
    strict: frozenset[str] = frozenset()


def offer(request: ChatCompletionRequest) -> Offer:
    """Return the offer of a request; ToolError where its tools and its choice contradict each other."""
    tools = {tool["function"]["name"]: tool for tool in parse_tools(request.tool_schemas)}
    choice = request.tool_choice
    if choice == ToolChoice.NoTools:
        return Offer()
    calls, names = wanted(choice, list(tools))
    if calls != "auto":
        free(request)
    shown = (
        [tools[name] for name in names]
        if "allowed_tools" in shape(choice)
        else list(tools.values())
    )
    strict = frozenset(name for name in names if tools[name]["function"].get("strict"))
    return Offer(shown, {name: schema(tools[name]) for name in names}, calls, strict)


def shape(choice: Any) -> Mapping[str, Any]:
    """The choice as an object; empty for a word."""
    return choice if isinstance(choice, Mapping) else {}


def wanted(choice: Any, names: list[str]) -> tuple[Calls, list[str]]:
    """Whether calls are needed, and the tools that they may go to."""
    if choice == "required":
        return "some", known(names or ["required"], names)
    if "allowed_tools" in shape(choice):
        allowed = choice["allowed_tools"]
        chosen = [tool["function"]["name"] for tool in allowed.get("tools") or ()]
        if allowed.get("mode") != "required":
            return "auto", known(chosen, names)
        if not chosen:
            raise ToolError(
                "tool_choice wants a tool to be called, but allowed_tools.tools is empty; name the tools there"
            )
        return "some", known(chosen, names)
    if "function" in shape(choice):
        return "one", known([choice["function"]["name"]], names)
    return "auto", names


def known(chosen: list[str], names: list[str]) -> list[str]:
    """The chosen tools; ToolError if one was not given."""
    if not names:
        raise ToolError(
            "tool_choice wants a tool to be called, but tool_schemas is empty; give the tools"
        )
    for name in chosen:
        if name not in names:
            raise ToolError(
                f"tool_choice names the tool {name!r}; tool_schemas has {', '.join(names)}"
            )
    return chosen


def free(request: ChatCompletionRequest) -> None:
    """ToolError where a grammar leaves no room for a call."""
    if request.grammar is not None:
        raise ToolError(
            "tool_choice wants a tool to be called, and grammar or response_format another answer; leave out one"
        )


def schema(tool: Tool) -> Mapping[str, Any]:
    """The schema of a tool's parameters; any object where it has none."""
    return tool["function"].get("parameters") or {"type": "object", "properties": {}}
