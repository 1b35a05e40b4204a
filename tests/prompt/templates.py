"""Chat templates in the styles that models are published with; conversations to render with them."""

from typing import Any

CHATML_TOOLS = """\
{%- if messages[0].role == 'system' %}{% set first = messages[0].content %}{% else %}{% set first = 'Be helpful.' %}{% endif %}
{{- '<|im_start|>system\\n' + first }}
{%- if tools %}
    {{- '\\n\\n# Tools\\n\\nFunctions inside <tools></tools>:\\n<tools>' }}
    {%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}
    {{- '\\n</tools>' }}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- for message in messages %}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) or (message.role == 'assistant' and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == 'assistant' %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}{{- '\\n' + message.content }}{%- endif %}
        {%- for call in message.tool_calls %}
            {%- if call.function is defined %}{%- set call = call.function %}{%- endif %}
            {{- '\\n<tool_call>\\n{\\"name\\": \\"' }}{{- call.name }}{{- '\\", \\"arguments\\": ' }}
            {{- call.arguments | tojson }}{{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == 'tool' %}
        {%- if loop.previtem is not defined or loop.previtem.role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' }}{{- message.content }}{{- '\\n</tool_response>' }}
        {%- if loop.last or loop.nextitem.role != 'tool' %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

TURNS = """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] | trim + '\\n\\n' %}{% set loop_messages = messages[1:] %}{% else %}{% set system = '' %}{% set loop_messages = messages %}{% endif %}
{%- for message in loop_messages -%}
    {%- if message['role'] == 'assistant' -%}{%- set role = 'model' -%}{%- else -%}{%- set role = message['role'] -%}{%- endif -%}
    {{ '<start_of_turn>' + role + '\\n' + (system if loop.first else '') }}
    {%- if message['content'] is string -%}{{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}{{ item['text'] | trim if item['type'] == 'text' else '<image>' }}{%- endfor -%}
    {%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}
"""

BRACKETS = """\
{%- set today = '2024-06-01' %}
{%- set ns = namespace(index=-1) %}
{%- for message in messages %}{%- if message.role == 'user' %}{%- set ns.index = loop.index0 %}{%- endif %}{%- endfor %}
{{- bos_token }}
{%- for message in messages %}
    {%- if message['role'] == 'user' %}
        {%- if tools is not none and loop.index0 == ns.index %}
            {{- '[AVAILABLE_TOOLS][' }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != 'return' %}
                    {%- if val is string %}{{- '"' + key + '": "' + val + '"' }}{%- else %}{{- '"' + key + '": ' + val | tojson }}{%- endif %}
                    {%- if not loop.last %}{{- ', ' }}{%- endif %}
                {%- endfor %}
                {{- '}}' }}{{- ', ' if not loop.last else ']' }}
            {%- endfor %}
            {{- '[/AVAILABLE_TOOLS]' }}
        {%- endif %}
        {{- '[INST]' + message['content'] + '[/INST]' }}
    {%- elif message['role'] == 'system' %}{{- '[SYSTEM_PROMPT]' + message['content'] + today + '[/SYSTEM_PROMPT]' }}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- '[TOOL_CALLS][' }}
        {%- for call in message.tool_calls %}{{- (call.function | default(call)) | tojson }}{{- ', ' if not loop.last else ']' + eos_token }}{%- endfor %}
    {%- elif message['role'] == 'assistant' %}{{- message['content'] + eos_token }}
    {%- elif message['role'] == 'tool' %}{{- '[TOOL_RESULTS]{"content": ' + message.content | string + '}[/TOOL_RESULTS]' }}
    {%- else %}{{- raise_exception('unknown role ' + message['role']) }}
    {%- endif %}
{%- endfor %}
"""

PIPES = """\
{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}{{'<|system|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] in ('user', 'tool') %}{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\\n' + (message['content'] or '') + '<|end|>\\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}
"""

XML_TOOLS = """\
{%- macro render(value, depth) -%}
    {%- if value is mapping -%}
        {%- for key, item in value.items() %}{{ '\\n' ~ '  ' * depth }}<{{ key }}>{{ render(item, depth + 1) }}</{{ key }}>{% endfor -%}
    {%- elif value is sequence and value is not string -%}{{ value | join(', ') }}
    {%- else -%}{{ value | string | replace('<', '&lt;') }}{%- endif -%}
{%- endmacro -%}
{%- for tool in tools or [] %}<tool name="{{ tool.function.name }}">{{ render(tool.function.parameters, 1) }}
</tool>
{% endfor %}
{%- for message in messages recursive %}
{{ loop.index }}/{{ loop.length }} {{ message.role.upper() }}: {{ render(message.content or '', 0) }}
    {%- for call in message.tool_calls or [] %}
 <call>{{ render((call.function or call).arguments, 1) }}</call>
    {%- endfor %}

{% endfor %}
"""

DATED = """\
{%- if not date_string is defined %}{%- if strftime_now is defined %}{%- set date_string = strftime_now('%Y') %}{%- else %}{%- set date_string = '2024' %}{%- endif %}{%- endif %}
{%- set system_message = messages[0]['content'] if messages[0]['role'] == 'system' else '' %}
{%- set rest = messages[1:] if messages[0]['role'] == 'system' else messages %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: ' + date_string + '\\n\\n' + system_message + '<|eot_id|>' }}
{%- if builtin_tools is defined and builtin_tools is not none %}{{- 'Tools: ' + builtin_tools | reject('equalto', 'code_interpreter') | join(', ') }}{%- endif %}
{%- for message in rest %}
    {%- if 'tool_calls' in message %}
        {%- if not message.tool_calls | length == 1 %}{{- raise_exception('one call at once') }}{%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '{"name": "' + call.name + '", "parameters": ' }}{{- call.arguments | tojson }}{{- '}<|eot_id|>' }}
    {%- elif message.role == 'tool' or message.role == 'ipython' %}
        {{- '<|start_header_id|>ipython<|end_header_id|>\\n\\n' }}
        {%- if message.content is mapping or message.content is iterable %}{{- message.content | tojson }}{%- else %}{{- message.content }}{%- endif %}
        {{- '<|eot_id|>' }}
    {%- else %}{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
"""

DOCUMENTS = """\
{%- if documents %}{%- for document in documents %}
<|doc|>{{ document.title | default('untitled', true) | title }}: {{ document.text | wordwrap(20) | indent(2) }}
{%- endfor %}{%- endif %}
{%- for role, group in messages | groupby('role') %}{{ role }}={{ group | length }};{% endfor %}
{%- for message in messages if message.role != 'system' %}
{{ cycler }}{{ loop.cycle('odd', 'even') }} {{ '%-10s|' | format(message.role) }}{{ (message.content or '')[:12] ~ '…' }}
{%- else %}nobody{%- endfor %}
{{ messages | map(attribute='role') | list }} {{ messages | selectattr('content') | list | length }}
{{ [3, 1, 2] | sort | first }} {{ range(10, 0, -3) | list }} {{ 'a-b'.split('-') | last }} {{ 7 // 2 }} {{ 2 ** 3 }}
"""

THOUGHTS = """\
{%- macro visible(content) -%}{%- if content is string -%}{{- content -}}{%- endif -%}{%- endmacro -%}
[gMASK]<sop>
{%- set ns = namespace(last=-1, thinking=not (enable_thinking is defined and not enable_thinking)) %}
{%- for m in messages %}{%- if m.role == 'user' %}{% set ns.last = loop.index0 -%}{%- endif %}{%- endfor %}
{% for m in messages %}
{%- if m.role == 'user' -%}<|user|>
{{ visible(m.content) }}{{- '' if ns.thinking or visible(m.content).endswith('/nothink') else '/nothink' -}}
{%- elif m.role == 'assistant' -%}<|assistant|>
{%- set content = visible(m.content) %}
{%- if m.reasoning_content is string %}{%- set thought = m.reasoning_content %}
{%- elif '</think>' in content %}{%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}{%- set content = content.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}
{%- if loop.index0 > ns.last and thought -%}{{ '\\n<think>' + thought.strip() + '</think>' }}{%- else -%}{{ '\\n<think></think>' }}{%- endif -%}
{%- if content.strip() -%}{{ '\\n' + content.strip() }}{%- endif -%}
{% for call in m.tool_calls or [] %}{%- set call = call.function or call %}
{{ '\\n<tool_call>' + call.name }}{% for k, v in call.arguments.items() %}<arg_key>{{ k }}</arg_key><arg_value>{{ v | tojson(ensure_ascii=False) if v is not string else v }}</arg_value>{% endfor %}</tool_call>{% endfor %}
{%- elif m.role == 'tool' -%}<|observation|>{{ m.content }}
{%- else -%}<|{{ m.role }}|>{{ visible(m.content) }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>{{ '' if ns.thinking else '\\n<think></think>' }}{%- endif -%}
"""

STYLES = {
    "chatml with tools": CHATML_TOOLS,
    "turns": TURNS,
    "brackets": BRACKETS,
    "pipes": PIPES,
    "xml tools": XML_TOOLS,
    "dated headers": DATED,
    "documents": DOCUMENTS,
    "thoughts": THOUGHTS,
}

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Wetter für <Ort> & 'Zeit' 🦆",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
ARGUMENTS = {"city": "Köln", "days": 2, "raw": True, "at": [1.5, None]}
CALL = {"type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}}
USER = {"role": "user", "content": "Hello <b>\"wörld\"</b> & 'you' 🦆\n"}
SYSTEM = {"role": "system", "content": " Be brief. "}
RESULT = {"role": "tool", "name": "weather", "content": '{"t": 5}'}

Chat = tuple[list[dict[str, Any]], list[dict[str, Any]] | None, dict[str, Any]]
CHATS: dict[str, Chat] = {
    "plain": ([USER], None, {}),
    "system": ([SYSTEM, USER], None, {}),
    "tools": ([USER], [TOOL, TOOL], {}),
    "call": (
        [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, RESULT],
        [TOOL],
        {},
    ),
    "two results": (
        [SYSTEM, USER, {"role": "assistant", "content": "", "tool_calls": [CALL]}, RESULT, RESULT],
        [TOOL],
        {},
    ),
    "turns": (
        [
            USER,
            {"role": "assistant", "content": "<think>\nhm\n</think>\n\nA"},
            USER,
            {"role": "assistant", "content": "B", "reasoning": "because"},
            USER,
        ],
        None,
        {"enable_thinking": True},
    ),
    "a thought last": (
        [USER, {"role": "assistant", "content": "B", "reasoning_content": "\nbecause\n"}],
        None,
        {},
    ),
    "no thinking": ([USER], None, {"enable_thinking": False, "reasoning_effort": "high"}),
    "no prompt": (
        [USER, {"role": "assistant", "content": "x"}],
        None,
        {"add_generation_prompt": 0},
    ),
    "documents": (
        [USER],
        None,
        {"documents": [{"title": "a", "text": "long text " * 5}, {"text": ""}]},
    ),
}
