"""How families of models write tool calls, after their model cards and templates; nothing of ours."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

Arguments = dict[str, object]
Write = Callable[[str, Arguments], str]


@dataclass(frozen=True)
class Style:
    """How a family writes calls, and what its template tells."""

    template: str
    one: Write
    first: str = ""
    between: str = "\n"
    last: str = ""
    alone: bool = False  # calls stand at the beginning of an answer, without text around them
    tail: bool = True  # text may follow

    def write(self, calls: list[tuple[str, Arguments]]) -> str:
        return self.first + self.between.join(self.one(*call) for call in calls) + self.last


def dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def keyed(first: str, second: str) -> Write:
    return lambda name, arguments: dumps({first: name, second: arguments})


def plain(value: object) -> str:
    return value if isinstance(value, str) else dumps(value)


def tagged(
    head: str, key: str, tail: str, end: str, value: Callable[[object], str] = plain
) -> Write:
    """`head` has NAME, `key` has KEY, and KIND where it tells of strings."""

    def write(name: str, arguments: Arguments) -> str:
        pairs = (
            key.replace("KEY", k).replace("KIND", "true" if isinstance(v, str) else "false")
            + value(v)
            + tail
            for k, v in arguments.items()
        )
        return head.replace("NAME", name) + "".join(pairs) + end

    return write


def invoked(mark: str, declared: str = "") -> Write:
    key = f'<{mark}parameter name="KEY"{declared}>'
    return tagged(f'<{mark}invoke name="NAME">\n', key, f"</{mark}parameter>\n", f"</{mark}invoke>")


def glm(suffix: str = "", after: str = "", lines: str = "\n") -> Write:
    return tagged(
        f"<tool_call{suffix}>NAME{after}{lines}",
        f"<arg_key{suffix}>KEY</arg_key{suffix}>{lines}<arg_value{suffix}>",
        f"</arg_value{suffix}>{lines}",
        f"</tool_call{suffix}>",
    )


def python(name: str, arguments: Arguments) -> str:
    return f"{name}({', '.join(f'{k}={v!r}' for k, v in arguments.items())})"


def gemma(quote: str, begin: str, end: str) -> Write:
    def value(x: object) -> str:
        if isinstance(x, str):
            return f"{quote}{x}{quote}"
        if isinstance(x, dict):
            return "{" + ",".join(f"{k}:{value(v)}" for k, v in x.items()) + "}"
        return f"[{','.join(map(value, x))}]" if isinstance(x, list) else dumps(x)

    return lambda name, arguments: f"{begin}call:{name}{value(arguments)}{end}"


M = "]<]minimax[>["


def tree(name: str, arguments: Arguments) -> str:
    def inner(x: object) -> str:
        if isinstance(x, dict):
            return "".join(f"{M}<{k}>{inner(v)}{M}</{k}>" for k, v in x.items())
        if isinstance(x, list):
            return "".join(f"{M}<item>{inner(v)}{M}</item>" for v in x)
        return plain(x)

    return f'{M}<invoke name="{name}">{inner(arguments)}{M}</invoke>'


def deepseek_r1(name: str, arguments: Arguments) -> str:
    return f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{dumps(arguments)}\n```<｜tool▁call▁end｜>"


def deepseek_31(name: str, arguments: Arguments) -> str:
    return f"<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{dumps(arguments)}<｜tool▁call▁end｜>"


def kimi(name: str, arguments: Arguments) -> str:
    middle = "<|tool_call_argument_begin|>"
    return f"<|tool_call_begin|>functions.{name}:0{middle}{dumps(arguments)}<|tool_call_end|>"


def openai(name: str, arguments: Arguments) -> str:
    return dumps({"type": "function", "function": {"name": name, "arguments": dumps(arguments)}})


def glimmer(name: str, arguments: Arguments) -> str:
    body = invoked("atem:")(name, arguments)
    return f" to={name}<|message|><atem:function_calls>\n{body}\n</atem:function_calls>"


LLAMA = keyed("name", "parameters")
USUAL = keyed("name", "arguments")
COHERE = keyed("tool_name", "parameters")
CODER = tagged("<function=NAME>\n", "<parameter=KEY>\n", "\n</parameter>\n", "</function>")
DEEPSEEK = dict(first="<｜tool▁calls▁begin｜>", last="<｜tool▁calls▁end｜>")
DSML = invoked("｜DSML｜", ' string="KIND"')
HY = ":opensource"
STYLES = {
    "hermes": Style("<tool_call>", lambda n, a: f"<tool_call>\n{USUAL(n, a)}\n</tool_call>"),
    "glm 4.5": Style("<tool_call> <arg_key>", glm()),
    "glm 4.7": Style("<tool_call> <arg_key>", glm(lines=""), between=""),
    "hunyuan": Style(
        f"<tool_calls{{}}> {HY}", glm(HY, f"<tool_sep{HY}>"),
        f"<tool_calls{HY}>\n", "\n", f"\n</tool_calls{HY}>",
    ),
    "qwen 3 coder": Style(
        "<tool_call> <function= <parameter=", lambda n, a: f"<tool_call>\n{CODER(n, a)}\n</tool_call>"
    ),
    "seed": Style(
        "<seed:tool_call> <function= <parameter=",
        lambda n, a: f"<seed:tool_call>\n{CODER(n, a)}\n</seed:tool_call>",
    ),
    "functionary 3.1": Style(
        "<function= </function>", lambda n, a: f"<function={n}>{dumps(a)}</function>", between=""
    ),
    "functionary 3.2": Style(">>>${recipient}", lambda n, a: f"{n}\n{dumps(a)}", between=">>>", alone=True),
    "functionary 3.2 text": Style(
        ">>>${recipient}", lambda n, a: f"{n}\n{dumps(a)}", ">>>", ">>>", tail=False
    ),
    "minicpm 5": Style(
        '<function name=" <param name="',
        tagged('<function name="NAME">', '<param name="KEY">', "</param>", "</function>"), between="",
    ),
    "minicpm 5 cdata": Style(
        '<function name=" <param name="',
        tagged('<function name="NAME">', '<param name="KEY">', "</param>", "</function>",
               lambda v: f"<![CDATA[{v}]]>" if isinstance(v, str) else dumps(v)), between="",
    ),
    "minimax 2": Style("<minimax:tool_call>", invoked(""), "<minimax:tool_call>\n", "\n", "\n</minimax:tool_call>"),
    "minimax 3": Style(M, tree, f"{M}<tool_call>\n", "\n", f"\n{M}</tool_call>"),
    "deepseek 3.2": Style(
        "｜DSML｜ function_calls>", DSML, "<｜DSML｜function_calls>\n", "\n", "\n</｜DSML｜function_calls>"
    ),
    "deepseek 4": Style("｜DSML｜ tool_calls>", DSML, "<｜DSML｜tool_calls>\n", "\n", "\n</｜DSML｜tool_calls>"),
    "muse glimmer": Style(
        "<atem:function_calls> to=self <|eom|>", glimmer, between="<|eom|><|start|>assistant", tail=False
    ),
    "lfm 2": Style(
        "<|tool_call_start|>", python, "<|tool_call_start|>[", ", ", "]<|tool_call_end|>"
    ),
    "olmo 3": Style("<function_calls>", python, "<function_calls>", "\n", "</function_calls>"),
    "gemma": Style("```tool_code", python, "```tool_code\n", "\n", "\n```"),
    "gemma printed": Style(
        "```tool_code", lambda n, a: f"print({python(n, a)})", "```tool_code\n", "\n", "\n```"
    ),
    "gemma 4": Style("<|tool_call>", gemma('<|"|>', "<|tool_call>", "<tool_call|>"), between=""),
    "function gemma": Style(
        "<start_function_call>", gemma("<escape>", "<start_function_call>", "<end_function_call>"), between=""
    ),
    "apertus": Style(
        "<|tools_prefix|>", lambda n, a: dumps({n: a}), "<|tools_prefix|>[", ", ", "]<|tools_suffix|>"
    ),
    "mistral 3": Style("[TOOL_CALLS]", USUAL, "[TOOL_CALLS][", ", ", "]"),
    "mistral 11": Style("[TOOL_CALLS] [ARGS]", lambda n, a: f"[TOOL_CALLS]{n}[ARGS]{dumps(a)}", between=""),
    "mistral 13": Style(
        "[TOOL_CALLS] [ARGS]", lambda n, a: f"[TOOL_CALLS]{n}[CALL_ID]abcdefghi[ARGS]{dumps(a)}", between=""
    ),
    "deepseek r1": Style("<｜tool▁calls▁begin｜> ```json", deepseek_r1, **DEEPSEEK),
    "deepseek r1 bare": Style("<｜tool▁calls▁begin｜> ```json", deepseek_r1),
    "deepseek 3.1": Style("<｜tool▁calls▁begin｜>", deepseek_31, between="", **DEEPSEEK),
    "kimi": Style(
        "<|tool_calls_section_begin|>", kimi, "<|tool_calls_section_begin|>", "", "<|tool_calls_section_end|>"
    ),
    "granite": Style("<|tool_call|>", USUAL, "<|tool_call|>[", ", ", "]"),
    "phi 4": Style("<|tool_call|>", USUAL, "<|tool_call|>[", ", ", "]<|/tool_call|>"),
    "gigachat": Style("<|function_call|>", lambda n, a: f"<|function_call|>{USUAL(n, a)}"),
    "apriel": Style("<tool_calls> </tool_calls>", USUAL, "<tool_calls>[", ", ", "]</tool_calls>"),
    "nemotron": Style("<TOOLCALL>", USUAL, "<TOOLCALL>[", ", ", "]</TOOLCALL>"),
    "command r": Style(
        "<|START_ACTION|>", COHERE, "<|START_ACTION|>[\n", ",\n", "\n]<|END_ACTION|>"
    ),
    "command r plus": Style(
        "Action: tool_name directly-answer", COHERE, "Action:\n```json\n[\n", ",\n", "\n]```"
    ),
    "firefunction": Style("functools", USUAL, " functools[", ", ", "]"),
    "llama": Style("<|python_tag|>", LLAMA, between="; "),
    "llama tagged": Style("<|python_tag|>", LLAMA, "<|python_tag|>", "; "),
    "json": Style("", USUAL),
    "json of hermes": Style("<tool_call>", USUAL),
    "openai json": Style("", openai, "[", ", ", "]"),
    "glm 4": Style("<|observation|>", lambda n, a: f"{n}\n{dumps(a)}", alone=True),
}  # fmt: skip
FORCED = {
    style: one
    for style, one in STYLES.items()
    if not style.endswith((" text", " cdata", " bare", "of hermes"))
}
THINKING = {
    style: replace(one, template=one.template + " <think> </think>")
    for style, one in STYLES.items()
}
