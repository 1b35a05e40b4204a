"""Rendering equals transformers byte for byte; failures name their cause and the fix."""

import json
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from mistralrs.api.errors import TemplateError
from mistralrs.prompt.template import ChatTemplate, resolve
from tests.prompt.templates import CHATS, STYLES, TOOL, USER
from tests.prompt.vocabularies import KINDS

CHATML = """\
{%- if tools %}
    {{- '<|im_start|>system\\n# Tools\\n' }}
    {%- for tool in tools %}
        {{- '\\n' ~ (tool | tojson) }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.tool_calls %}
        {%- for call in message.tool_calls %}
            {%- set call = call.function if call.function is defined else call %}
            {{- '<tool_call>\\n{"name": "' + call.name + '", "arguments": ' }}
            {{- (call.arguments | tojson) + '}\\n</tool_call>' }}
        {%- endfor %}
    {%- else %}
        {{- message.content }}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

INST = """\
{{ bos_token }}{% set ns = namespace(system='') %}
{% for message in messages %}
  {% if message['role'] == 'system' %}
    {% set ns.system = message['content'] + '\\n\\n' %}
    {% continue %}
  {% elif message['role'] == 'user' %}
[INST] {{ ns.system if loop.first or loop.index0 == 1 else '' }}{{ message['content'] }} [/INST]
  {%- elif message['role'] == 'tool' %}[TOOL_RESULTS]{{ message['content'] }}[/TOOL_RESULTS]
  {%- else %} {{ (message['content'] or '') | trim }}{{ eos_token }}
  {%- endif %}
{% endfor %}
"""

HEADERS = """\
{{- bos_token }}
{%- if date_string is not defined %}{%- set date_string = '1 Jan 2024' %}{%- endif %}
{{- '<|header|>system<|end|>\\n\\nToday: ' + date_string + '\\n' }}
{%- if tools is not none %}
    {%- for tool in tools %}{{- tool | tojson(indent=4) }}{{- '\\n\\n' }}{%- endfor %}
{%- endif %}
{%- for message in messages %}
    {{- '<|header|>' + message['role'] + '<|end|>\\n\\n' + (message['content'] or '') | trim }}
{%- endfor %}
{{- '<|header|>assistant<|end|>' if add_generation_prompt }}
"""

THINKING = """\
{%- set last = namespace(query=messages | length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages | length - 1) - loop.index0 %}
    {%- if message.role == 'user' and not message.content.startswith('<tool_response>') %}
        {%- set last.query = index %}
        {%- break %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- set reasoning = message.reasoning_content if message.reasoning_content is string else '' %}
    {%- if '</think>' in content %}
        {%- set reasoning = content.split('</think>')[0].split('<think>')[-1].strip('\\n') %}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
    {{- '<|' ~ message.role ~ '|>' }}
    {%- if message.role == 'assistant' and loop.index0 > last.query and reasoning %}
        {{- '<think>\\n' + reasoning + '\\n</think>\\n\\n' }}
    {%- endif %}
    {{- content }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|assistant|>' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- else %}
        {{- '<think>\\n' }}
    {%- endif %}
{%- endif %}
"""

CHANNELS = """\
{%- macro schema(tool) -%}
    {%- set fields = dict(tool.function.parameters.properties) -%}
    {{- 'type ' + tool.function.name + ' = (_: {' }}
    {%- for name, field in fields | dictsort %}{{ name }}: {{ field.type }},{% endfor -%}
    {{- '})' -}}
{%- endmacro -%}
<|start|>system<|message|>Reasoning: {{ reasoning_effort | default('medium') }}
{% for tool in tools or [] %}{{ schema(tool) }}
{% endfor %}<|end|>
{%- for message in messages -%}
    {%- if message.role == 'assistant' and message.thinking is defined -%}
        <|start|>assistant<|channel|>analysis<|message|>{{ message.thinking }}<|end|>
    {%- endif -%}
    <|start|>{{ message.role }}<|message|>{{ message.content }}<|end|>
{%- endfor -%}
{%- if add_generation_prompt -%}<|start|>assistant{%- endif -%}
"""

TRAINING = """\
{% for message in messages %}
{% if message.role == 'assistant' %}
ASSISTANT:{% generation %} {{ message.content }}{{ eos_token }}{% endgeneration %}

{% else %}
{{ message.role | upper }}: {{ message.content }} {{ messages | tojson(sort_keys=True) | length }}
{% endif %}
{% endfor %}
{{ unk_token }}{{ sep_token }}{{ missing }}
"""

TEMPLATES = {
    "chatml": CHATML,
    "inst": INST,
    "headers": HEADERS,
    "thinking": THINKING,
    "channels": CHANNELS,
    "training": TRAINING,
    **STYLES,
}


@pytest.fixture(scope="module")
def theirs():
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=KINDS["byte_level"](), **tokens)


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_rendering_equals_transformers(theirs, template, chat):
    messages, tools, variables = CHATS[chat]
    expected = theirs.apply_chat_template(
        messages,
        tools=tools,
        chat_template=TEMPLATES[template],
        tokenize=False,
        **{"add_generation_prompt": True, **variables},
    )
    ours = ChatTemplate(TEMPLATES[template], theirs.special_tokens_map)
    assert ours.render(messages, tools, **variables) == expected


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("a\n{{ messages[0].content + 1 }}", "line 2"),
        (
            "{{ messages.append(1) }}",
            "may not change lists.*chat_template",
        ),  # the sandbox, as in transformers
        ("{{ ''.__class__.__mro__ }}{{ x.y }}", "chat_template"),
        ("{% set ns = namespace(__class__=1) %}", "underscore|namespace"),
        ("{{ messages[7].role.x }}", "no element 7"),
    ],
)
def test_failures_while_rendering(source, text):
    with pytest.raises(TemplateError, match=text):
        ChatTemplate(source).render([USER])


def test_a_template_may_ask_whether_a_content_is_none():
    source = "{% for m in messages %}{{ 'call' if m['content'] is none else '+' + m['content'] }}{% endfor %}"
    messages = [USER, {"role": "assistant", "content": None, "tool_calls": []}]
    assert ChatTemplate(source).render(messages).endswith("call")


def test_syntax_errors_name_line_and_fix():
    with pytest.raises(TemplateError, match=r"line 3.*jinja_explicit"):
        ChatTemplate("one\ntwo\n{% fro %}")


def test_the_clock():
    assert len(ChatTemplate("{{ strftime_now('%Y') }}").render([])) == 4


@pytest.mark.parametrize(
    ("names", "with_tools", "with_documents", "expected"),
    [
        (("default", "tool_use"), False, False, "default"),
        (("default", "tool_use"), True, False, "tool_use"),
        (("default", "rag"), False, True, "rag"),
        (("default",), False, True, "default"),
        (("default", "rag"), True, False, TemplateError),
        (("tool_use",), False, False, TemplateError),
    ],
)
def test_named_templates(names, with_tools, with_documents, expected):
    template = ChatTemplate({name: name for name in names})
    given = {"tools": [TOOL] * with_tools, "documents": [{"text": "x"}] * with_documents}
    if expected is TemplateError:
        with pytest.raises(TemplateError, match="chat_template"):
            template.render([USER], **given)
    else:
        assert template.render([USER], **given) == expected


FILES = {
    "processor_config.json": json.dumps({"chat_template": "processor"}),
    "chat_template.jinja": "jinja",
    "chat_template.json": json.dumps({"chat_template": "json {{ bos_token }}", "bos_token": "<j>"}),
    "arg.jinja": "argument {{ bos_token }}",
    "arg.json": json.dumps(
        {"chat_template": "named {{ eos_token }}", "eos_token": {"content": "E"}}
    ),
    "explicit.jinja": "explicit {{ bos_token }}",
    "additional_chat_templates/tool_use.jinja": "additional",
}
REPO = ("processor_config.json", "chat_template.jinja", "chat_template.json")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "additional_chat_templates").mkdir()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("present", "argument", "explicit", "config", "expected"),
    [
        ((), None, None, None, None),
        (REPO, "arg.jinja", "explicit.jinja", "config", "explicit <s>"),
        (REPO, "arg.jinja", None, "config", "argument <s>"),
        (REPO, "arg.json", None, "config", "named E"),
        (REPO, None, None, "config", "processor"),
        (REPO[1:], None, None, "config", "jinja"),
        (REPO[2:], None, None, "config", "config"),
        (REPO[2:], None, None, None, "json <j>"),
        ((), None, None, [{"name": "default", "template": "listed"}], "listed"),
        ((), None, "explicit.jinja", None, "explicit <s>"),
    ],
)
def test_where_a_template_is_found(files, present, argument, explicit, config, expected):
    template = resolve(
        lambda name: files / name if name in present else None,
        argument and str(files / argument),
        explicit and str(files / explicit),
        {"bos_token": "<s>", "chat_template": config},
    )
    assert (template.render([USER]) if template else None) == expected


def test_additional_templates_have_names(files):
    present = ("chat_template.jinja", "additional_chat_templates/tool_use.jinja")
    template = resolve(lambda name: files / name if name in present else None)
    assert template is not None
    assert template.sources == {"default": "jinja", "tool_use": "additional"}


@pytest.mark.parametrize(
    ("argument", "explicit", "text"),
    [
        ("template.txt", None, ".jinja or .json"),
        (None, "template.json", ".jinja file"),
        ("missing.jinja", None, "check the path"),
        ("processor_config.json", None, None),
    ],
)
def test_wrong_files(files, argument, explicit, text):
    def name(file):
        return file and str(files / file)

    if text is None:
        (files / argument).write_text("{}")
    with pytest.raises(TemplateError, match=text or "no field chat_template"):
        resolve(lambda name: None, name(argument), name(explicit), {})
