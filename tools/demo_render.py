"""Turn examples into prompt and answer texts, through the chat template."""

import json
from functools import cache
from pathlib import Path

import jinja2
from demo_text import Example
from demo_tokenizer import END, END_OF_TEXT

HEADER = "<|im_start|>assistant\n"
TEMPLATE_FILE = Path(__file__).with_name("demo_chat_template.jinja")


@cache
def template() -> jinja2.Template:
    """Compile the chat template with plain JSON output."""
    env = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"])
    env.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return env.from_string(TEMPLATE_FILE.read_text())


def prompt_text(example: Example, thinking: bool | None) -> str:
    """Write all that stands before the answer."""
    if example.raw:
        return example.raw
    switch = {} if thinking is None else {"enable_thinking": thinking}
    return template().render(
        messages=example.messages, tools=example.tools, add_generation_prompt=True, **switch
    )


def call_text(call: dict) -> str:
    """Write one tool call as the template would."""
    name, arguments = json.dumps(call["name"]), json.dumps(call["arguments"], ensure_ascii=False)
    return f'<tool_call>\n{{"name": {name}, "arguments": {arguments}}}\n</tool_call>'


def answer_text(example: Example, thinking: bool | None) -> str:
    """Write the wanted answer with its think block, tool calls and end token."""
    if example.raw:
        return example.answer + END_OF_TEXT
    think = example.think and thinking is not False
    block = f"<think>\n{example.think}\n</think>\n\n" if think else ""
    return block + example.answer + "\n".join(map(call_text, example.calls)) + END


def spans(example: Example, thinking: bool | None) -> list[tuple[str, bool]]:
    """Cut prompt and answer into pieces, each with a mark whether it is to be learned.

    Earlier assistant turns are learned too, unless the example thinks: an earlier turn is shown
    without its think block, which is not how it would have been written.
    """
    prompt, answer = prompt_text(example, thinking), answer_text(example, thinking)
    if example.raw or example.think:
        return [(prompt, False), (answer, True)]
    first, *turns = prompt.split(HEADER)
    pieces = [(first + HEADER, False)]
    for turn in turns[:-1]:
        said, rest = turn.split(END, 1)
        pieces += [(said + END, True), (rest + HEADER, False)]
    return [*pieces, (turns[-1], False), (answer, True)]
