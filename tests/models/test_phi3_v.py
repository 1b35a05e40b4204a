"""Prompts of Phi 3 vision by a template like the hub's, which takes text only."""

import pytest

from mistralrs import ChatCompletionRequest, VisionArchitecture, Which
from mistralrs.loaders import load
from mistralrs.pipeline import Settings
from tests.models.media import phi3_v
from tests.models.media.case import picture, reference, save

TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{{ '<|assistant|>\n' }}"
)
IMAGE = {"type": "image", "image": picture(90, 70)}
ROWS = (
    "<|image|>" * 27 + "<s>"
)  # of that picture, and what the hub's processor has before every piece of text


def text(words: str) -> dict:
    return {"type": "text", "text": words}


PROMPTS = {
    "marker by us": ([IMAGE, text("What?")], f"{ROWS}\nWhat?"),
    "two": ([IMAGE, IMAGE, text("Same?")], f"{ROWS}\n{ROWS}\nSame?"),
    "marker by the user": ([text("From <|image_1|> on."), IMAGE], f"From {ROWS} on."),
    "no image": ("Hello.", "Hello."),
}


@pytest.fixture(scope="module")
def prompter(tmp_path_factory):
    case, folder = phi3_v.CASES[""], tmp_path_factory.mktemp("model")
    save(case, reference(case), folder)
    (folder / "hub.jinja").write_text(TEMPLATE)
    settings = Settings(pa_ctxt_len=512, chat_template=str(folder / "hub.jinja"))
    pipeline = load(Which.VisionPlain(str(folder), arch=VisionArchitecture.Phi3V), settings)
    yield pipeline.prompter
    pipeline.close()


@pytest.mark.parametrize(("content", "wanted"), PROMPTS.values(), ids=PROMPTS)
def test_text(prompter, content, wanted):
    prompt = prompter.chat(ChatCompletionRequest([{"role": "user", "content": content}]))
    assert prompt.text == f"<s><|user|>\n{wanted}<|end|>\n<|assistant|>\n"


def test_too_long_a_picture(prompter):
    message = {"role": "user", "content": [{"type": "image", "image": picture(400, 1)}]}
    with pytest.raises(ValueError, match="too long"):
        prompter.chat(ChatCompletionRequest([message]))
