"""How families of models write tool calls, and the chat templates that tell which one does.

A row has the parser of calls and, for answers that have to call, the shape to write them in.
"""

from dataclasses import replace

from mistralrs.stream.calls import Dialect
from mistralrs.stream.parsers import (
    DEEPSEEK,
    KIMI,
    closed,
    deepseek,
    functions,
    glm,
    kimi,
    mistral,
    mistral_id,
    named,
    objects,
    pythonic,
    unmarked,
)
from mistralrs.stream.shapes import Shape, keywords, marked

TAG, END = "<tool_call>", "</tool_call>"
NAME_FIRST = '{"name": "NAME", "arguments": '
FENCED = Shape(
    "<｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME\n```json\n", "\n```<｜tool▁call▁end｜>",
    "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>",
)  # fmt: skip
UNFENCED = replace(
    FENCED, head="<｜tool▁call▁begin｜>NAME<｜tool▁sep｜>", tail="<｜tool▁call▁end｜>", between=""
)

ARRAY = Dialect(
    "mistral", ("[TOOL_CALLS]",), mistral, Shape(NAME_FIRST, "}", "[TOOL_CALLS][", "]", ", "),
    ("[ARGS]", "[CALL_ID]"), new_id=mistral_id,
)  # fmt: skip
FENCES = Dialect("deepseek", ("<｜tool▁calls▁begin｜>",), deepseek, FENCED, DEEPSEEK)
HERMES = Dialect("hermes", (TAG,), closed(END), Shape(f"{TAG}\n{NAME_FIRST}", "}\n" + END), (END,))
JSON = Dialect("json", (TAG,), unmarked, Shape(NAME_FIRST, "}", between="; "), (END,), bare=True)
PYTHONIC = Dialect(
    "pythonic", ("<|tool_call_start|>",), pythonic("<|tool_call_end|>"),
    Shape("NAME(", ")", "<|tool_call_start|>[", "]<|tool_call_end|>", ", ", keywords), ("<|tool_call_end|>",),
)  # fmt: skip
GRANITE = Dialect(
    "granite", ("<|tool_call|>", TAG), closed("<|/tool_call|>", END),
    Shape(NAME_FIRST, "}", "<|tool_call|>[", "]", ", "), ("<|/tool_call|>", END),
)  # fmt: skip
HARMONY = Dialect(
    "harmony", (), unmarked,
    Shape("<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>", "<|call|>", several=False),
)  # fmt: skip

# Words that a chat template has all of, and the dialect; the first row that fits counts.
DIALECTS: tuple[tuple[tuple[str, ...], Dialect], ...] = (
    (("<|tool_calls_section_begin|>",), Dialect(
        "kimi", ("<|tool_calls_section_begin|>",), kimi,
        Shape("<|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>", "<|tool_call_end|>",
              "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", several=False),
        KIMI,
    )),
    (("<｜tool▁calls▁begin｜>", "```json"), FENCES),
    (("<｜tool▁calls▁begin｜>",), replace(FENCES, shape=UNFENCED)),
    (("[TOOL_CALLS]", "[ARGS]"), replace(ARRAY, shape=Shape("[TOOL_CALLS]NAME[ARGS]", between=""))),
    (("[TOOL_CALLS]",), ARRAY),
    (("<arg_key>", TAG), Dialect(
        "glm", (TAG,), glm,
        Shape(f"{TAG}NAME\n", END,
              arguments=marked("<arg_key>KEY</arg_key>\n", "<arg_value>", "</arg_value>\n")),
        (END, "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    )),
    (("<function=", "<parameter="), Dialect(
        "functions", (TAG, "<seed:tool_call>", "<function="), functions,
        Shape(f"{TAG}\n<function=NAME>\n", f"</function>\n{END}",
              arguments=marked("<parameter=KEY>\n", "", "\n</parameter>\n")),
        (END, "</seed:tool_call>"),
    )),
    (("<|tool_call_start|>",), PYTHONIC),
    (("<|tool_list_start|>",), PYTHONIC),
    (("<|tool_call|>",), GRANITE),
    (("<|START_ACTION|>",), Dialect(
        "cohere", ("<|START_ACTION|>",), closed("<|END_ACTION|>"),
        Shape('{"tool_call_id": "0", "tool_name": "NAME", "parameters": ', "}", "<|START_ACTION|>[",
              "]<|END_ACTION|>", several=False),
        ("<|END_ACTION|>",),
    )),
    (("functools",), Dialect(
        "functools", ("functools",), objects, Shape(NAME_FIRST, "}", "functools[", "]", ", "),
    )),
    (("tool_code",), Dialect(
        "gemma", ("```tool_code",), pythonic("```"),
        Shape("NAME(", ")", "```tool_code\n", "\n```", "\n", keywords),
    )),
    ((TAG,), HERMES),
    (("<|python_tag|>",), Dialect(
        "llama", ("<|python_tag|>",), unmarked,
        Shape('{"name": "NAME", "parameters": ', "}", between="; "), bare=True,
    )),
    (("<|observation|>",), Dialect("glm4", (), named, Shape("NAME\n", several=False), bare=True)),
)  # fmt: skip


def dialect_of(template: str) -> Dialect:
    """The dialect that a chat template names; JSON calls alone where it names none."""
    return next((d for words, d in DIALECTS if all(word in template for word in words)), JSON)
