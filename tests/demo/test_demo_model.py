"""The bundled demo model: size, loading, and a handful of held-out prompts."""

import importlib.util
import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SOURCE = Path(__file__).resolve().parents[2] / "src" / "mistralrs" / "demo" / "__init__.py"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def folder() -> Path:
    """Ask the demo module for the folder, without importing the rest of the package."""
    spec = importlib.util.spec_from_file_location("demo", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.model_path()


@pytest.fixture(scope="module")
def tokenizer():
    return transformers.AutoTokenizer.from_pretrained(folder())


@pytest.fixture(scope="module")
def model():
    return transformers.AutoModelForCausalLM.from_pretrained(folder(), dtype=torch.float32)


def ask(model, tokenizer, text: str, **options) -> str:
    """Answer one user message greedily; the end token must come."""
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}],
        tokenize=False, add_generation_prompt=True, **options,
    )  # fmt: skip
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    out = model.generate(ids, max_new_tokens=80)
    answer = tokenizer.decode(out[0, ids.shape[1] :])
    assert answer.endswith("<|im_end|>")
    return answer.removesuffix("<|im_end|>")


def test_folder_is_small() -> None:
    assert sum(file.stat().st_size for file in folder().iterdir()) <= 6 * 2**20


@pytest.mark.parametrize("text", ["What is 12?", "naïve 漢字 🙂\n\n  x\t", "\x00\u200b\r\n"])
def test_any_text_survives_the_tokenizer(tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_thinks_by_default(model, tokenizer) -> None:
    think, answer = ask(model, tokenizer, "What is 12 plus 7?").split("</think>")
    assert think.startswith("<think>\n")
    assert answer.strip() == "12 plus 7 is 19."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is 12 plus 7?", "12 plus 7 is 19."),
        ("What is the capital of France?", "The capital of France is Paris."),
        ("Who is the mayor of Brakken?", "The mayor of Brakken is Huk Varro."),
        ("Hello! How are you?", "I am doing well, thank you. How can I help you?"),
        ("What is photosynthesis?", "I am sorry, I am too small to know that."),
    ],
)
def test_answers_at_once(model, tokenizer, text: str, expected: str) -> None:
    assert ask(model, tokenizer, text, enable_thinking=False) == expected


def test_calls_a_tool(model, tokenizer) -> None:
    text = "What is the weather in Paris?"
    answer = ask(model, tokenizer, text, tools=[WEATHER], enable_thinking=False)
    call = json.loads(answer.removeprefix("<tool_call>").removesuffix("</tool_call>"))
    assert call == {"name": "get_weather", "arguments": {"city": "Paris"}}


def test_answers_in_json(model, tokenizer) -> None:
    answer = ask(model, tokenizer, "Extract the name and age as JSON: Ana is 25 years old.")
    assert json.loads(answer) == {"name": "Ana", "age": 25}
