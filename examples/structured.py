"""Answers that always parse: `python examples/structured.py [model id or folder]`."""

import sys
from dataclasses import dataclass
from typing import Literal

from mistralrs import ChatCompletionRequest, GrammarError, Runner, Which, demo


@dataclass
class Pet:
    """The form of an answer; a pydantic model works as well."""

    kind: Literal["cat", "dog", "goldfish"]
    friendly: bool
    toys: list[Literal["ball", "mouse", "rope"]]


model = sys.argv[1] if len(sys.argv) > 1 else str(demo.model_path())

with Runner(which=Which.Plain(model_id=model)) as runner:
    request = ChatCompletionRequest(
        "Tell me about a pet.", response_format=Pet, max_tokens=100, temperature=0.0
    )
    message = runner.send_chat_completion_request(request).choices[0].message
    print("text:  ", message.content)
    print("object:", message.parsed)

    request = ChatCompletionRequest(
        "What time is it?", grammar="([01][0-9]|2[0-3]):[0-5][0-9]", grammar_type="regex"
    )
    print("regex: ", runner.send_chat_completion_request(request).choices[0].message.content)

    try:
        request = ChatCompletionRequest("Hi", grammar="[0-9", grammar_type="regex")
        runner.send_chat_completion_request(request)
    except GrammarError as error:
        print("error: ", error)
