"""Results of MCP calls as text for the model."""

import json
from typing import Any

from mistralrs.api.errors import ToolError
from mistralrs.api.toolbox import Outcome


def outcome(result: Any) -> Outcome:
    """The text and images of a `CallToolResult`; raises ToolError when the tool says that it failed."""
    text = "\n".join(block_text(block) for block in result.content)
    if not result.content and result.structured_content is not None:
        text = json.dumps(result.structured_content, ensure_ascii=False)
    if result.is_error:
        raise ToolError(text or "the tool failed and gives no reason")
    return Outcome(text, tuple(b.data for b in result.content if b.type == "image"))


def block_text(block: Any) -> str:
    """One block of content; what is not text is named by its kind."""
    match block.type:
        case "text":
            return str(block.text)
        case "image":
            return f"[Image: {block.mime_type}]"
        case "audio":
            return f"[Audio: {block.mime_type}]"
        case "resource":
            return resource_text(block.resource)
        case "resource_link":
            return f"[Resource: {block.uri}]"
    return f"[{block.type}]"


def resource_text(resource: Any) -> str:
    """The text of a resource, or its address where it is binary."""
    text = getattr(resource, "text", None)
    return f"[Resource: {resource.uri}]" if text is None else str(text)
