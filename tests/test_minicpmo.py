"""MiniCPM-o 2.6 beyond its numbers: texts around media, pictures and sounds in one prompt, sizes of slices."""

import pytest

from mistralrs import ChatCompletionRequest, NotSupportedError, Runner, Which, audio_part, loaders
from mistralrs.api import errors
from mistralrs.models.minicpmo import slices
from mistralrs.nn.media import is_media
from mistralrs.pipeline import Settings
from tests.models.media import minicpmo
from tests.models.media.case import picture, reference, save, sound

# As the checkpoint on the hub has it, in short: a template that takes only texts.
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    case = minicpmo.CASES[""]
    folder = save(case, reference(case), tmp_path_factory.mktemp("minicpmo"))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture(scope="module")
def pipeline(folder):
    which = Which.VisionPlain(str(folder), dtype="f32")
    pipeline = loaders.load(which, Settings(pa_ctxt_len=4096))
    yield pipeline
    pipeline.close()


IMAGE = {"type": "image", "image": picture(28, 29)}
LARGE = {"type": "image", "image": picture(90, 70)}
SOUND = audio_part(sound(1.3), 16000)
ROWS = "<unk>" * minicpmo.QUERIES


def text(words: str) -> dict:
    return {"type": "text", "text": words}


def seen(pipeline, *parts: dict) -> tuple[str, list[int]]:
    """The text of a prompt, and the numbers of the media whose rows stand in it."""
    prompt = pipeline.prompter.chat(ChatCompletionRequest([{"role": "user", "content": [*parts]}]))
    unk = pipeline.tokenizer.id("<unk>")
    ids = [unk if is_media(id) else id for id in prompt.tokens]
    order = [id for id in prompt.tokens if is_media(id)]
    rows = [id for one in prompt.media.values() for id in one.ids]
    assert sorted(order) == sorted(rows)
    return pipeline.tokenizer.inner.decode(ids, skip_special_tokens=False), order


def test_text_around_media(pipeline):
    found, _ = seen(pipeline, text("From"), IMAGE, text("to"), LARGE, text("."))
    cut = f"<slice>{ROWS}</slice>" * 2
    assert found == (
        f"<|im_start|>user\nFrom\n<image_id>0</image_id><image>{ROWS}</image>\nto\n"
        f"<image_id>1</image_id><image>{ROWS}</image>{cut}\n{cut}\n.<|im_end|>\n<|im_start|>assistant\n"
    )


def test_sounds_are_heard_by_the_second_and_answered_aloud(pipeline):
    found, _ = seen(pipeline, SOUND, text("What?"))
    assert found == (
        f"<|im_start|>user\n<|audio_start|>{'<unk>' * 25}<|audio_end|><|audio_start|>{'<unk>' * 7}<|audio_end|>\n"
        "What?<|im_end|>\n<|im_start|>assistant\n<|spk_bos|><|spk|><|spk_eos|><|tts_bos|>"
    )


@pytest.mark.parametrize("marked", [False, True])
def test_pictures_and_sounds_keep_their_order(pipeline, marked):
    """Both have the same placeholder."""
    parts = [SOUND, IMAGE, text("and"), audio_part(sound(0.5, seed=1), 16000), LARGE]
    order = [0, 1, 2, 3]
    if marked:
        picture, noise = "(<image>./</image>)", "(<audio>./</audio>)"
        parts = [part for part in parts if part["type"] != "text"] + [
            text(f"{picture} {noise} {noise} {picture}")
        ]
        order = [1, 0, 2, 3]
    _, ids = seen(pipeline, *parts)
    media = [ids[i] >> 20 for i in range(len(ids)) if i == 0 or ids[i] >> 20 != ids[i - 1] >> 20]
    _, each = zip(*[seen(pipeline, part) for part in parts if part["type"] != "text"])
    assert media == [[one[0] >> 20 for one in each][i] for i in order]


def test_answers_depend_on_both(folder):
    with Runner(which=Which.VisionPlain(str(folder), dtype="f32"), pa_ctxt_len=2048) as runner:

        def said(*parts: dict) -> list[float]:
            request = ChatCompletionRequest(
                [{"role": "user", "content": [*parts]}],
                max_tokens=3,
                temperature=0.0,
                logprobs=True,
            )
            answer = runner.send_chat_completion_request(request)
            return [token.logprob for token in answer.choices[0].logprobs.content]

        other = audio_part(sound(1.3, seed=5), 16000)
        answers = [said(IMAGE, SOUND), said(IMAGE, other), said(LARGE, SOUND), said(SOUND, IMAGE)]
        assert len({tuple(one) for one in answers}) == 4
        with pytest.raises(errors.MediaError, match="too short"):
            said(audio_part(sound(0.01), 16000))


# Columns and lines by the rule of MiniCPM-V's paper (arXiv 2408.01800), worked out by hand for 448 and 9.
GRIDS = {
    (448, 448): (1, 1),
    (449, 448): (2, 1),
    (640, 480): (2, 1),
    (1000, 1000): (2, 2),
    (1920, 1080): (4, 2),
    (1080, 1920): (2, 4),
    (4000, 3000): (3, 3),
    (3000, 600): (8, 1),
    (2000, 400): (5, 1),
    (10000, 100): (6, 1),
}


@pytest.mark.parametrize("size", GRIDS)
def test_slices(size):
    theirs = minicpmo.Slices().get_sliced_grid(size[::-1], 9, 448)
    assert slices(size, 448, 9) == tuple((theirs or (1, 1))[::-1])
    assert slices(size, 448, 9) == GRIDS[size]


def test_the_later_model_is_refused(folder, tmp_path):
    import json
    import shutil

    shutil.copytree(folder, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": "4.5"}))
    with pytest.raises(NotSupportedError, match=r"MiniCPM-o 4\.5; of these models only 2\.6"):
        Runner(which=Which.VisionPlain(str(tmp_path / "model")))
