"""The generator of the demo model's text: repeatable, split cleanly, and fit for the template."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("jinja2")
pytest.importorskip("tokenizers")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from demo_render import answer_text, call_text, prompt_text, spans, template
from demo_text import held_out_examples, training_examples
from demo_text.arithmetic import steps
from demo_text.base import is_held_out


def test_generator_is_deterministic() -> None:
    assert list(training_examples(5, 200)) == list(training_examples(5, 200))
    assert list(training_examples(5, 50)) != list(training_examples(6, 50))


def test_training_and_scoring_never_meet() -> None:
    assert not any(is_held_out(example.key) for example in training_examples(5, 500))
    assert all(is_held_out(example.key) for example in held_out_examples(5, 5))


@pytest.mark.parametrize("thinking", [True, False, None])
def test_examples_render_through_the_template(thinking: bool | None) -> None:
    for example in training_examples(1, 300):
        text = prompt_text(example, thinking) + answer_text(example, thinking)
        assert text == "".join(piece for piece, _ in spans(example, thinking))
        assert text.endswith(("<|im_end|>", "<|endoftext|>"))


def test_calls_are_written_as_by_the_template() -> None:
    call = {"name": "get_weather", "arguments": {"city": "Zürich"}}
    turn = {"role": "assistant", "content": None, "tool_calls": [{"function": call}]}
    expected = f"<|im_start|>assistant\n{call_text(call)}<|im_end|>\n"
    assert template().render(messages=[turn]) == expected


def test_template_takes_all_kinds_of_content() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]
    earlier = {
        "role": "assistant",
        "content": "<think>\nx\n</think>\n\ny",
        "reasoning_content": "x",
    }
    written = {"function": {"name": "f", "arguments": '{"a": 1}'}}
    messages = [
        {"role": "user", "content": parts},
        earlier,
        {"role": "assistant", "content": None, "tool_calls": [written]},
        {"role": "tool", "content": "1"},
        {"role": "tool", "content": "2"},
    ]
    assert template().render(messages=messages, add_generation_prompt=True) == (
        "<|im_start|>user\nab<|im_end|>\n<|im_start|>assistant\ny<|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
        "<|im_end|>\n<|im_start|>user\n<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n"
        "</tool_response><|im_end|>\n<|im_start|>assistant\n"
    )


def test_steps_show_the_working_out() -> None:
    assert steps("+", 12, 7) == "2 + 7 = 9, 10 + 9 = 19"
    assert steps("-", 52, 38) == "52 - 30 = 22, 22 - 8 = 14"
    assert steps("-", 3, 7) == "7 - 3 = 4, so 3 - 7 = -4"
