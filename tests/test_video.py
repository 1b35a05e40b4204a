"""Requests with films through the Runner and the server: every way to name one, several turns, bad ones."""

import base64

import numpy as np
import pytest

from mistralrs import ChatCompletionRequest, Runner, Which, loaders
from mistralrs.api import errors
from mistralrs.models.smolvlm import words as smolvlm_words
from mistralrs.nn.media import is_media
from mistralrs.pipeline import Settings
from tests.models.media import case, llava, qwen2_5_vl, qwen2_vl, qwen3_5, qwen3_vl, smolvlm
from tests.models.media.case import animation, film, picture

FRAMES = film(9, 90, 70)
FILE = animation(FRAMES, 2)
FAMILIES = {"2": qwen2_vl, "2.5": qwen2_5_vl, "3": qwen3_vl, "3.5": qwen3_5}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Tiny checkpoints by family."""
    rows = {name: module.CASES["video"] for name, module in FAMILIES.items()}
    return {
        name: case.save(row, case.reference(row), tmp_path_factory.mktemp("qwen"))
        for name, row in rows.items()
    }


@pytest.fixture(scope="module")
def runner(folders):
    with Runner(which=Which.VisionPlain(str(folders["3"]), dtype="f32"), pa_ctxt_len=4096) as made:
        yield made


def shown(source, **more) -> dict:
    if isinstance(source, str):
        return {"type": "video_url", "video_url": {"url": source, **more}}
    return {"type": "video", "video": source, **more}


def ask(runner, *parts, **options):
    content = [{"type": "text", "text": p} if isinstance(p, str) else p for p in parts]
    options = {"max_tokens": 6, "temperature": 0.0, **options}
    return runner.send_chat_completion_request(
        ChatCompletionRequest([{"role": "user", "content": content}], **options)
    )


def said(answer) -> str:
    return answer.choices[0].message.content


def test_every_source_shows_the_same(runner, tmp_path):
    path = tmp_path / "a film.png"
    path.write_bytes(FILE)
    data = "data:image/png;base64," + base64.b64encode(FILE).decode()
    sources = (str(path), path.as_uri(), data, path, FILE)
    answers = {said(ask(runner, shown(s), "What is it?")) for s in sources}
    assert len(answers) == 1
    other = animation(film(9, 90, 70, seed=3), 2)
    assert said(ask(runner, shown(other), "What is it?")) not in answers


def test_frames_in_memory(runner):
    frames = np.stack([np.asarray(frame) for frame in FRAMES])
    answers = {
        said(ask(runner, shown(s, fps=2), "What is it?")) for s in (FRAMES, list(frames), frames)
    }
    assert len(answers) == 1
    assert said(ask(runner, shown(FRAMES), "What is it?")) in answers  # 2 is what counts otherwise
    assert said(ask(runner, shown(FRAMES, fps=9), "What is it?")) not in answers


def test_fps_chooses_how_many_frames_are_seen(runner):
    counts = [
        ask(runner, shown(source, **how), "?").usage.prompt_tokens
        for source in (FILE, "data:image/png;base64," + base64.b64encode(FILE).decode())
        for how in ({}, {"fps": 1}, {"fps": 0.5})
    ]
    assert counts[:3] == counts[3:]
    assert counts[0] > counts[1]
    assert counts[1] >= counts[2]


@pytest.mark.parametrize("family", FAMILIES)
def test_turns_hit_both_caches(folders, family):
    which = Which.VisionPlain(str(folders[family]), dtype="f32")
    pipeline = loaders.load(which, Settings(pa_ctxt_len=4096))
    first = {"role": "user", "content": [shown(FILE), {"type": "text", "text": "What is it?"}]}
    turns = [first, {"role": "assistant", "content": "A."}, {"role": "user", "content": "Sure?"}]
    found = []
    for messages in ([first], turns):
        request = ChatCompletionRequest(messages, temperature=0.0, max_tokens=6)
        found.append(pipeline.chat(request, None).whole().usage)
    assert found[1].prompt_tokens_details.cached_tokens >= 32
    assert len(pipeline.engine.encoded.kept) == 1
    other = ChatCompletionRequest(
        [{"role": "user", "content": [shown(FILE, fps=0.9), {"type": "text", "text": "?"}]}]
    )
    numbers = set(pipeline.prompter.chat(request).media) | set(pipeline.prompter.chat(other).media)
    assert len(numbers) == 2  # the same file, seen in other frames or at another speed
    pipeline.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_images_and_films_together(folders, family):
    which = Which.VisionPlain(str(folders[family]), dtype="f32")
    pipeline = loaders.load(which, Settings(pa_ctxt_len=4096))
    parts = [
        {"type": "text", "text": "First "},
        {"type": "image", "image": picture(90, 70)},
        shown(FILE),
        {"type": "image", "image": picture(60, 70, seed=1)},
    ]
    prompt = pipeline.prompter.chat(ChatCompletionRequest([{"role": "user", "content": parts}]))
    order = [prompt.media[number].grid[0] > 1 for number in prompt.media]
    assert order == [False, True, False]
    assert sum(map(is_media, prompt.tokens)) == sum(one.rows for one in prompt.media.values())
    assert prompt.positions.shape == (3, len(prompt.tokens))
    pipeline.close()


def test_a_film_that_lost_its_beginning(folders):
    """A truncated prompt keeps the pictures that are whole."""
    which = Which.VisionPlain(str(folders["3"]), dtype="f32")
    with Runner(which=which, pa_ctxt_len=2048) as runner:
        answer = ask(runner, shown(FILE), "x" * 1990, truncate_sequence=True)
        assert answer.usage.prompt_tokens <= 2048


REFUSED = {
    "no film": (shown(b"words, nothing else"), errors.MediaError, "not a video"),
    "a missing file": (shown("/no/such.mp4"), errors.MediaError, "no such file"),
    "a number": (shown(5), errors.RequestTypeError, "list of frames"),
    "a word among the frames": (shown([*FRAMES, "x"]), errors.RequestTypeError, r"video\[9\]"),
    "no frames": (shown([]), errors.MediaError, "at least one frame"),
    "no speed": (shown(FRAMES, fps=0), errors.RequestError, "fps: must be greater than 0"),
    "a word as speed": (shown("x.mp4", fps="x"), errors.RequestTypeError, "fps: must be a number"),
    "too many frames": (shown([FRAMES[0]] * 769), errors.MediaError, "768 are the most"),
    "too thin": (shown([picture(401, 2)] * 2), errors.MediaError, "too long"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(runner, name):
    part, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        ask(runner, part, "What?")
    assert said(ask(runner, "Hello.")) is not None


def test_models_that_see_no_films(tmp_path):
    row = llava.CASES[""]
    folder = case.save(row, case.reference(row), tmp_path)
    with (
        Runner(which=Which.VisionPlain(str(folder), dtype="f32"), pa_ctxt_len=2048) as runner,
        pytest.raises(errors.MediaError, match="reads only images"),
    ):
        ask(runner, shown(FILE), "What?")


def test_served(runner):
    """Chats and the Responses API take the same part."""
    import openai

    from tests.server.conftest import Live

    data = "data:video/mp4;base64," + base64.b64encode(FILE).decode()
    with Live(runner) as live, openai.OpenAI(base_url=f"{live.url}/v1", api_key="x") as client:
        parts = [shown(data), {"type": "text", "text": "What is it?"}]
        messages = [{"role": "user", "content": parts}]
        chat = client.chat.completions.create(
            model="default", messages=messages, max_tokens=6, temperature=0
        )
        assert said(chat) == said(ask(runner, shown(FILE), "What is it?"))
        (_, entry) = client.models.list().data
        assert entry.modalities["input"] == ["text", "image", "video"]
        answer = client.responses.create(
            model="default", input=messages, max_output_tokens=16, temperature=0
        )
        assert answer.usage.input_tokens == chat.usage.prompt_tokens
        for url in ({"url": "/etc/passwd"}, {"url": "/etc/passwd", "data": "x"}):
            bad = [{"role": "user", "content": [{"type": "video_url", "video_url": url}]}]
            with pytest.raises(openai.BadRequestError, match="files of the server are not read"):
                client.chat.completions.create(model="default", messages=bad)
        with pytest.raises(openai.BadRequestError, match="answers are text, 'audio' cannot be"):
            client.chat.completions.create(
                model="default", messages=messages, modalities=["text", "audio"]
            )


NUMBERS = {
    1: "one",
    13: "thirteen",
    20: "twenty",
    21: "twenty-one",
    64: "sixty-four",
    100: "one hundred",
}


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_in_words(number):
    assert smolvlm_words(number) == NUMBERS[number]


def test_smolvlm_refuses_more_frames_than_it_knows(tmp_path):
    row = smolvlm.CASES["video"]
    folder = case.save(row, case.reference(row), tmp_path)
    with Runner(which=Which.VisionPlain(str(folder), dtype="f32"), pa_ctxt_len=2048) as runner:
        assert ask(runner, shown(FRAMES[:5]), "What?").usage.prompt_tokens > 20
        with pytest.raises(errors.MediaError, match="9 frames is too long, 5 are the most"):
            ask(runner, shown(FRAMES), "What?")
