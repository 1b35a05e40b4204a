"""How families of models write tool calls, and the chat templates that tell which one does.

A row has the parser of calls and, for answers that have to call, the shape to write them in.
"""

from dataclasses import replace

from mistralrs.stream.calls import Dialect, Writer
from mistralrs.stream.gemma import Quoted
from mistralrs.stream.headed import (
    DEEPSEEK,
    KIMI,
    addressed,
    bodied,
    deepseek,
    kimi,
    mistral,
    mistral_id,
    named,
)
from mistralrs.stream.markup import Tags, Tree
from mistralrs.stream.objects import Parser, closed, fenced, keyed, objects, unmarked
from mistralrs.stream.pythonic import pythonic
from mistralrs.stream.reader import Reader, Steps
from mistralrs.stream.shapes import Shape, elements, keywords, marked, quoted_in

TAG, END = "<tool_call>", "</tool_call>"
NAME_FIRST = '{"name": "NAME", "arguments": '

# --- tags -----------------------------------------------------------------------------------------

GLM = Tags(
    (TAG, "", END), ("<arg_key>", "</arg_key>", "</arg_value>"), value="<arg_value>", inner=False
)
FUNCTIONS = Tags(
    ("<function=", ">", "</function>"),
    ("<parameter=", ">", "</parameter>"),
    (END, "</seed:tool_call>"),
    lines=True,
)


def invoked(mark: str, *closes: str) -> Tags:
    """<invoke name="NAME"> and <parameter name="KEY">, with a mark before each name of a tag."""
    return Tags(
        (f'<{mark}invoke name="', '">', f"</{mark}invoke>"),
        (f'<{mark}parameter name="', '">', f"</{mark}parameter>"),
        closes,
    )


def invoking(mark: str, first: str, last: str, declared: str = "") -> Shape:
    """The shape of such calls."""
    key = f'<{mark}parameter name="KEY"{declared}>'
    return Shape(
        f'<{mark}invoke name="NAME">\n', f"</{mark}invoke>\n", first, last, "",
        marked(key, "", f"</{mark}parameter>\n"),
    )  # fmt: skip


def either(tags: Parser, *ends: str) -> Parser:
    """JSON calls or tags, whichever comes: models mix up what stands in <tool_call>."""
    inner = closed(*ends)

    def parse(r: Reader, w: Writer) -> Steps[None]:
        opening = "" if r.read.endswith("=") else (yield from r.space())
        yield from (inner if opening in ("{", "[") else tags)(r, w)

    return parse


DSML, DSML_OPENS = "｜DSML｜", ("<｜DSML｜function_calls>", "<｜DSML｜tool_calls>")
DSML_CALLS = Dialect(
    "dsml", DSML_OPENS, invoked(DSML, "</｜DSML｜function_calls>", "</｜DSML｜tool_calls>"),
    replace(
        invoking(DSML, "<｜DSML｜function_calls>\n", "</｜DSML｜function_calls>"),
        arguments=marked(f'<{DSML}parameter name="KEY" string="KIND">', "", f"</{DSML}parameter>\n"),
    ),
    (DSML,),
)  # fmt: skip
M3 = "]<]minimax[>["
HY = ":opensource"
HUNYUAN = Tags(
    (f"<tool_call{HY}>", f"<tool_sep{HY}>", f"</tool_call{HY}>"),
    (f"<arg_key{HY}>", f"</arg_key{HY}>", f"</arg_value{HY}>"),
    (f"</tool_calls{HY}>",),
    value=f"<arg_value{HY}>",
)

# --- dialects with several templates --------------------------------------------------------------

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
FENCES = Dialect(
    "deepseek", ("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>"), deepseek, FENCED, DEEPSEEK
)
HERMES = Dialect(
    "hermes", (TAG,), either(FUNCTIONS, END), Shape(f"{TAG}\n{NAME_FIRST}", "}\n" + END), (END,),
    lines=True,
)  # fmt: skip
JSON = replace(HERMES, name="json", shape=Shape(NAME_FIRST, "}", between="; "))
PYTHONIC = Dialect(
    "pythonic", ("<|tool_call_start|>",), pythonic("<|tool_call_end|>"),
    Shape("NAME(", ")", "<|tool_call_start|>[", "]<|tool_call_end|>", ", ", keywords), ("<|tool_call_end|>",),
)  # fmt: skip
HARMONY = Dialect(
    "harmony", (), unmarked,
    Shape("<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>", "<|call|>", several=False),
)  # fmt: skip


def listed(name: str, begin: str, end: str, *also: str) -> Dialect:
    """An array of JSON calls behind a mark, and perhaps one behind it."""
    shape = Shape(NAME_FIRST, "}", f"{begin}[", f"]{end}", ", ")
    ends = tuple(mark for mark in (end, *also) if mark)
    return Dialect(name, (begin,), closed(*ends) if ends else objects, shape, ends)


def gemma(name: str, begin: str, end: str, quote: str) -> Dialect:
    """A call between marks, with a quote of its own."""
    shape = Shape(f"{begin}call:NAME", end, between="", arguments=quoted_in(quote))
    return Dialect(name, (begin,), Quoted(quote, end), shape, (end, quote))


# Words that a chat template has all of, and the dialect; the first row that fits counts.
DIALECTS: tuple[tuple[tuple[str, ...], Dialect], ...] = (
    (("<|tool_calls_section_begin|>",), Dialect(
        "kimi", ("<|tool_calls_section_begin|>", "<|tool_call_begin|>"), kimi,
        Shape("<|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>", "<|tool_call_end|>",
              "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", several=False),
        KIMI,
    )),
    ((DSML, "function_calls>"), DSML_CALLS),
    ((DSML,), replace(DSML_CALLS, opens=DSML_OPENS[::-1], shape=replace(
        DSML_CALLS.shape, first="<｜DSML｜tool_calls>\n", last="</｜DSML｜tool_calls>",
    ))),
    ((M3,), Dialect(
        "minimax3", (f"{M3}{TAG}",), Tree(M3, f"{M3}{END}"),
        Shape(f'{M3}<invoke name="NAME">', f"{M3}</invoke>\n", f"{M3}{TAG}\n", f"{M3}{END}", "", elements(M3)),
        (M3, TAG, END),
    )),
    (("<minimax:tool_call>",), Dialect(
        "minimax", ("<minimax:tool_call>",), invoked("", "</minimax:tool_call>"),
        invoking("", "<minimax:tool_call>\n", "</minimax:tool_call>"), ("</minimax:tool_call>",),
    )),
    (("<atem:function_calls>",), Dialect(
        "atem", ("<atem:function_calls>",), invoked("atem:", "</atem:function_calls>"),
        replace(invoking("atem:", " to=NAME<|message|><atem:function_calls>\n", "</atem:function_calls>"),
                first="", last="", several=False,
                head=' to=NAME<|message|><atem:function_calls>\n<atem:invoke name="NAME">\n',
                tail="</atem:invoke>\n</atem:function_calls>"),
    )),
    (("<tool_calls{}>", HY), Dialect(
        "hunyuan", (f"<tool_calls{HY}>", f"<tool_call{HY}>"), HUNYUAN,
        Shape(f"<tool_call{HY}>NAME<tool_sep{HY}>\n", f"</tool_call{HY}>\n", f"<tool_calls{HY}>\n",
              f"</tool_calls{HY}>", "",
              marked(f"<arg_key{HY}>KEY</arg_key{HY}>\n", f"<arg_value{HY}>", f"</arg_value{HY}>\n")),
        tuple(part for mark in (HUNYUAN.call, HUNYUAN.argument, HUNYUAN.closes) for part in mark) + (HUNYUAN.value,),
    )),
    (("<｜tool▁calls▁begin｜>", "```json"), FENCES),
    (("<｜tool▁calls▁begin｜>",), replace(FENCES, shape=UNFENCED)),
    (("[TOOL_CALLS]", "[ARGS]"), replace(ARRAY, shape=Shape("[TOOL_CALLS]NAME[ARGS]", between=""))),
    (("[TOOL_CALLS]",), ARRAY),
    (("<arg_key>", TAG), Dialect(
        "glm", (TAG,), either(GLM, END),
        Shape(f"{TAG}NAME\n", END,
              arguments=marked("<arg_key>KEY</arg_key>\n", "<arg_value>", "</arg_value>\n")),
        (END, "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    )),
    (("<function=", "<parameter="), Dialect(
        "functions", (TAG, "<seed:tool_call>", "<function="), either(FUNCTIONS, END),
        Shape(f"{TAG}\n<function=NAME>\n", f"</function>\n{END}",
              arguments=marked("<parameter=KEY>\n", "", "\n</parameter>\n")),
        (END, "</seed:tool_call>"),
    )),
    (("<function=", "</function>"), Dialect(
        "functionary", ("<function=", "<|python_tag|>"), bodied, Shape("<function=NAME>", "</function>", between=""),
    )),
    ((">>>${recipient}",), Dialect(
        "addressed", (">>>",), addressed, Shape("NAME\n", between=">>>"), first=True,
    )),
    (('<function name="', '<param name="'), Dialect(
        "minicpm", ('<function name="',),
        Tags(('<function name="', '">', "</function>"), ('<param name="', '">', "</param>"), cdata=True),
        Shape('<function name="NAME">', "</function>", between="",
              arguments=marked('<param name="KEY">', "", "</param>")),
    )),
    (("<|tool_call_start|>",), PYTHONIC),
    (("<|tool_list_start|>",), PYTHONIC),
    (("List of tools: [",), PYTHONIC),
    (("<function_calls>",), Dialect(
        "olmo", ("<function_calls>",), pythonic("</function_calls>"),
        Shape("NAME(", ")", "<function_calls>", "</function_calls>", "\n", keywords), ("</function_calls>",),
    )),
    (("<|tool_call>",), gemma("gemma4", "<|tool_call>", "<tool_call|>", '<|"|>')),
    (("<start_function_call>",), gemma(
        "functiongemma", "<start_function_call>", "<end_function_call>", "<escape>",
    )),
    (("<|tools_prefix|>",), Dialect(
        "apertus", ("<|tools_prefix|>",), keyed("<|tools_suffix|>"),
        Shape('{"NAME": ', "}", "<|tools_prefix|>[", "]<|tools_suffix|>", ", "), ("<|tools_suffix|>",),
    )),
    (("<|tool_call|>",), replace(
        listed("granite", "<|tool_call|>", "", "<|/tool_call|>", END), opens=("<|tool_call|>", TAG),
    )),
    (("<|function_call|>",), Dialect(
        "gigachat", ("<|function_call|>",), closed("<|message_sep|>"),
        Shape(f"<|function_call|>{NAME_FIRST}", "}", several=False),
    )),
    (("<tool_calls>", "</tool_calls>"), listed("apriel", "<tool_calls>", "</tool_calls>")),
    (("<TOOLCALL>",), listed("nemotron", "<TOOLCALL>", "</TOOLCALL>")),
    (("<|START_ACTION|>",), Dialect(
        "cohere", ("<|START_ACTION|>",), closed("<|END_ACTION|>"),
        Shape('{"tool_call_id": "0", "tool_name": "NAME", "parameters": ', "}", "<|START_ACTION|>[",
              "]<|END_ACTION|>", several=False),
        ("<|END_ACTION|>",),
    )),
    (("Action:", "tool_name", "directly-answer"), Dialect(
        "commandr", ("Action:",), fenced,
        Shape('    {\n        "tool_name": "NAME",\n        "parameters": ', "\n    }", "Action:\n```json\n[\n",
              "\n]```", ",\n"),
    )),
    (("functools",), listed("functools", "functools", "")),
    (("tool_code",), Dialect(
        "gemma", ("```tool_code",), pythonic("```"),
        Shape("NAME(", ")", "```tool_code\n", "\n```", "\n", keywords),
    )),
    ((TAG,), HERMES),
    (("<|python_tag|>",), Dialect(
        "llama", ("<|python_tag|>",), unmarked,
        Shape('{"name": "NAME", "parameters": ', "}", between="; "), lines=True,
    )),
    (("<|observation|>",), Dialect("glm4", (), named, Shape("NAME\n", several=False), first=True)),
)  # fmt: skip


def dialect_of(told: str) -> Dialect | None:
    """The dialect that a chat template, or a list of special tokens, names; None where it names none."""
    return next((d for words, d in DIALECTS if all(word in told for word in words)), None)
