"""Requests with images through the Runner: every way to name one, several turns, bad ones, several at a time."""

import asyncio
import base64
import json
import shutil
import threading

import numpy as np
import pytest

from mistralrs import AsyncRunner, ChatCompletionRequest, Runner, Which, loaders
from mistralrs.api import errors
from mistralrs.cli.verify import examine
from mistralrs.pipeline import Settings
from mistralrs.prompt.media import Form
from mistralrs.prompt.template import ChatTemplate
from tests.models.media import gemma3, llava, qwen2_vl
from tests.models.media.case import picture, reference, save
from tests.prompt.images import BROKEN, encoded

PHOTO = picture(90, 70)
FILE = encoded("PNG", PHOTO)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Tiny checkpoints by family."""
    return {
        name: save(module.CASES[""], reference(module.CASES[""]), tmp_path_factory.mktemp(name))
        for name, module in (("llava", llava), ("qwen2vl", qwen2_vl), ("gemma3", gemma3))
    }


def load(folder, **options) -> Runner:
    which = options.pop("which", Which.VisionPlain)(
        str(folder), dtype="f32", **options.pop("more", {})
    )
    return Runner(which=which, pa_ctxt_len=4096, **options)


@pytest.fixture(scope="module")
def runner(folders):
    with load(folders["llava"]) as runner:
        yield runner


def shown(source) -> dict:
    if isinstance(source, str):
        return {"type": "image_url", "image_url": {"url": source}}
    return {"type": "image", "image": source}


def user(*parts) -> dict:
    content = [{"type": "text", "text": p} if isinstance(p, tuple) else p for p in parts]
    return {"role": "user", "content": content}


def text(words: str) -> dict:
    return {"type": "text", "text": words}


def ask(runner, *messages, **options):
    options = {"temperature": 0.0, "max_tokens": 6, **options}
    return runner.send_chat_completion_request(ChatCompletionRequest(list(messages), **options))


def said(response) -> str:
    return response.choices[0].message.content


def test_every_source_shows_the_same(runner, tmp_path):
    (tmp_path / "a photo.png").write_bytes(FILE)
    path = tmp_path / "a photo.png"
    data = "data:image/png;base64," + base64.b64encode(FILE).decode()
    sources = (str(path), path.as_uri(), data, path, PHOTO, np.asarray(PHOTO), FILE)
    answers = {said(ask(runner, user(shown(s), text("What is it?")))) for s in sources}
    assert len(answers) == 1
    other = picture(90, 70, seed=5)
    assert said(ask(runner, user(shown(other), text("What is it?")))) not in answers


@pytest.mark.parametrize("family", ["llava", "qwen2vl", "gemma3"])
def test_turns_hit_the_prefix_cache(folders, family):
    first = user(shown(PHOTO), text("What is it?"))
    turns = [first, {"role": "assistant", "content": "A."}, user(text("Sure?"))]
    found = []
    for reused in (16, 0):
        which = Which.VisionPlain(str(folders[family]), dtype="f32")
        pipeline = loaders.load(which, Settings(pa_ctxt_len=4096, prefix_cache_n=reused))
        for messages in ([first], turns):
            request = ChatCompletionRequest(messages, temperature=0.0, max_tokens=6)
            found.append(pipeline.chat(request, None).whole())
        assert len(pipeline.engine.encoded.kept) == 1
        pipeline.close()
    assert said(found[1]) == said(found[3])
    counts = [one.usage.prompt_tokens_details.cached_tokens for one in found]
    assert counts[0] == counts[2] == counts[3] == 0
    assert counts[1] >= 32


def test_requests_at_the_same_time(runner):
    pictures = [picture(40 + 13 * i, 90 - 7 * i, seed=i) for i in range(6)]
    alone = [said(ask(runner, user(shown(p), text("What?")))) for p in pictures]
    found: dict[int, str] = {}

    def work(number: int) -> None:
        found[number] = said(ask(runner, user(shown(pictures[number]), text("What?"))))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(6)] == alone


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("kind", [k for k in BROKEN if "overwritten" not in k and "magic" not in k])
def test_broken_files_end_only_their_request(runner, kind):
    with pytest.raises(errors.MediaError):
        ask(runner, user(shown(BROKEN[kind]), text("What?")))
    assert said(ask(runner, user(text("Hello.")))) is not None


IMAGE = shown(PHOTO)
REFUSED = {
    "a missing file": ([user(shown("/no/such.png"))], errors.MediaError, "no such file"),
    "audio": (
        [user({"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}})],
        errors.MediaError,
        "reads only images",
    ),
    "fewer markers": (
        [user(IMAGE, IMAGE, text("<image> what?"))],
        errors.RequestError,
        "one for each image",
    ),
    "more markers": (
        [user(IMAGE, text("<image> or <image>?"))],
        errors.RequestError,
        "one for each image",
    ),
    "a marker without an image": (
        [user(text("What is <image>?"))],
        errors.RequestError,
        "one for each image",
    ),
    "a marker in a string": (
        [{"role": "user", "content": "What is <image>?"}],
        errors.RequestError,
        "one for each image",
    ),
    "an image of the assistant": (
        [user(text("Hi")), {"role": "assistant", "content": [IMAGE]}],
        errors.RequestError,
        "only user messages",
    ),
    "a number as image": (
        [user({"type": "image", "image": 5})],
        errors.RequestTypeError,
        "PIL image",
    ),
    "a part without its image": ([user({"type": "image"})], errors.RequestError, "needs the key"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(runner, case):
    messages, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        ask(runner, *messages)


def test_markers_may_be_written_by_hand(runner):
    placed = ask(runner, user(text("From "), IMAGE, text(" on.")))
    written = ask(runner, user(IMAGE, text("From <image> on.")))
    assert said(placed) == said(written)
    assert placed.usage.prompt_tokens == written.usage.prompt_tokens


ONLY_TEXT = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
ONLY_PARTS = (
    "{% for m in messages %}{{ m['role'] + ': ' }}"
    "{% for p in m['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for p in m['content'] | selectattr('type', 'equalto', 'text') %}{{ p['text'] + '\n' }}{% endfor %}"
    "{% endfor %}"
)
MARKS = "<image>" * 16


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (
            ONLY_TEXT,
            f"system: Be brief.\nuser: From {MARKS} to {MARKS} and on.\nassistant: No.\nuser: Hi.\n",
        ),
        (
            ONLY_PARTS,
            f"system: Be brief.\nuser: {MARKS}\n{MARKS}\nFrom \n to \n and on.\nassistant: No.\nuser: Hi.\n",
        ),
    ],
)
def test_templates_of_both_forms(folders, tmp_path, template, expected):
    (tmp_path / "own.jinja").write_text(template)
    messages = [
        {"role": "system", "content": "Be brief."},
        user(text("From "), IMAGE, text(" to "), IMAGE, text(" and on.")),
        {"role": "assistant", "content": "No."},
        {"role": "user", "content": "Hi."},
    ]
    with load(folders["llava"], jinja_explicit=str(tmp_path / "own.jinja")) as runner:
        usage = ask(runner, *messages).usage
    pictures = 2 * len(MARKS) - 2 * 16  # a token each instead of their letters
    assert usage.prompt_tokens == len(expected) - pictures


def test_plain_loads_it_too_and_a_wrong_arch_is_named(folders):
    with load(folders["llava"], which=Which.Plain) as runner:
        assert ask(runner, user(IMAGE, text("What?"))).usage.prompt_tokens > 16
    with load(folders["llava"], more=dict(arch="llava")) as runner:
        assert ask(runner, user(IMAGE, text("What?"))).usage.prompt_tokens > 16
    with pytest.raises(errors.ConfigError, match="contradicts"):
        load(folders["llava"], more=dict(arch="qwen2vl"))


def test_text_models_say_which_kind_to_load(demo):
    from mistralrs.demo import model_path

    with pytest.raises(errors.MediaError, match="Which.VisionPlain"):
        ask(demo, user(IMAGE, text("What?")))
    with pytest.raises(errors.NotSupportedError, match="Which.Plain"):
        load(model_path())


def test_files_are_decoded_once_and_numbers_follow_content(folders, tmp_path):
    which = Which.VisionPlain(str(folders["llava"]), dtype="f32")
    pipeline = loaders.load(which, Settings(pa_ctxt_len=4096))
    placer, calls = pipeline.prompter.placer, []
    prepare = placer.processors["image"].prepare
    placer.processors["image"].prepare = lambda one: calls.append(1) or prepare(one)
    path = tmp_path / "x.png"

    def tokens(seed: int) -> tuple[int, ...]:
        path.write_bytes(encoded("PNG", picture(90, 70, seed)))
        request = ChatCompletionRequest([user(shown(str(path)), text("What?"))])
        return pipeline.prompter.chat(request).tokens

    first, again, other = tokens(1), tokens(1), tokens(2)
    assert first == again
    assert not set(first) & {id for id in other if id > 2**32}
    assert len(calls) == 2
    pipeline.close()


def test_max_edge_saves_tokens(folders):
    large = shown(picture(280, 224))
    with (
        load(folders["qwen2vl"]) as runner,
        load(folders["qwen2vl"], more=dict(max_edge=60)) as small,
    ):
        counts = [ask(r, user(large, text("What?"))).usage.prompt_tokens for r in (runner, small)]
    assert counts[1] < counts[0] - 3


def test_too_long_for_the_context(folders):
    with load(folders["llava"]) as runner:
        pictures = [IMAGE] * 150
        with pytest.raises(errors.ContextLengthError, match="2400 of them for images"):
            ask(runner, user(*pictures))
        long = user(IMAGE, text("x" * 2020))  # a part of the image would be left
        assert ask(runner, long, truncate_sequence=True).usage.prompt_tokens <= 2048


def test_quantized_and_sampled(folders):
    with load(folders["llava"], in_situ_quant="q8_0") as runner:
        answer = ask(
            runner, user(IMAGE, text("What?")), n_choices=3, temperature=1.0,
            frequency_penalty=0.5, repetition_penalty=1.2, dry_multiplier=0.8, logprobs=True, top_logprobs=2,
        )  # fmt: skip
    assert len(answer.choices) == 3


def test_async(folders):
    async def work() -> list[str]:
        which = Which.VisionPlain(str(folders["llava"]), dtype="f32")
        async with await AsyncRunner.load(which, pa_ctxt_len=4096) as runner:
            request = ChatCompletionRequest(
                [user(IMAGE, text("What?"))], max_tokens=4, temperature=0.0
            )
            answers = await asyncio.gather(
                *[runner.send_chat_completion_request(request) for _ in range(3)]
            )
            return [said(answer) for answer in answers]

    assert len(set(asyncio.run(work()))) == 1


def test_verify_compares_the_text_model(folders):
    for folder in folders.values():
        (finding,) = examine(str(folder), None, ["The capital of France is"], 4)
        assert finding.difference < 1e-3
        assert finding.agreed == finding.continued
        assert max(finding.drift) < 1e-4


# What templates of the hub do with parts, in short; a marker, and what they make of TALK.
TALK = [
    {"role": "user", "content": [text("See "), IMAGE, text("!")]},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "Sure?"},
]
FORMS = {
    "Qwen 2 VL": (
        "<|vision_start|><|image_pad|><|vision_end|>",
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}"
        "{{ message['content'] }}{% else %}{% for content in message['content'] %}{% if content['type'] == 'image' or "
        "'image' in content or 'image_url' in content %}<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in "
        "content %}{{ content['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}",
        (True, True),
    ),
    "Gemma 3": (
        "<start_of_image>",
        "{{ bos_token }}{% for message in messages %}<start_of_turn>{{ message['role'] }}\n{% if message['content'] is "
        "string %}{{ message['content'] | trim }}{% elif message['content'] is iterable %}{% for item in "
        "message['content'] %}{% if item['type'] == 'image' %}{{ '<start_of_image>' }}{% elif item['type'] == 'text' %}"
        "{{ item['text'] | trim }}{% endif %}{% endfor %}{% else %}{{ raise_exception('Invalid content type') }}"
        "{% endif %}{{ '<end_of_turn>\n' }}{% endfor %}",
        (True, True),
    ),
    "LLaVA 1.5": ("<image>", ONLY_PARTS, (True, False)),
    "Idefics 3": (
        "<image>",
        "<|begin_of_text|>{% for message in messages %}{{ message['role'].capitalize() }}{% if message['content'][0]"
        "['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}{% for line in message['content'] %}"
        "{% if line['type'] == 'text' %}{{ line['text'] }}{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}"
        "{% endfor %}<end_of_utterance>\n{% endfor %}",
        (True, False),
    ),
    "Llama 2": ("<image>", ONLY_TEXT, (False, True)),
    "a refusal": ("<image>", "{{ raise_exception('no') }}", (False, False)),
}


@pytest.mark.parametrize("name", FORMS)
def test_form_of_a_template(name):
    marker, source, expected = FORMS[name]
    form = Form.of(ChatTemplate(source, {"bos_token": "<s>"}), marker)
    assert (form.parts, form.text) == expected


def test_an_encoder_that_fails_ends_only_its_request(folders):
    which = Which.VisionPlain(str(folders["llava"]), dtype="f32")
    pipeline = loaders.load(which, Settings(pa_ctxt_len=4096))
    encoded = pipeline.engine.encoded
    encode, bad = encoded.encode, []

    def broken(media):
        if media.number in bad:
            raise RuntimeError("no memory for this image")
        return encode(media)

    encoded.encode = broken
    requests = [
        ChatCompletionRequest([user(shown(picture(50, 50, n)), text("?"))], max_tokens=4)
        for n in range(4)
    ]
    bad.append(next(iter(pipeline.prompter.chat(requests[2]).media)))
    chats = [pipeline.chat(request, None) for request in requests]
    for number, chat in enumerate(chats):
        if number == 2:
            with pytest.raises(errors.EngineError, match="no memory for this image"):
                chat.whole()
        else:
            assert chat.whole().usage.completion_tokens
    pipeline.close()


# Changes of a file of LLaVA, the error and what its message says.
EDITS = {
    "size": ("processor_config.json", dict(size="large"), "preprocessor_config.json"),
    "size without its edge": (
        "processor_config.json",
        dict(size={"x": 1}),
        "preprocessor_config.json",
    ),
    "two means": ("processor_config.json", dict(image_mean=[0, 0]), "three numbers"),
    "a filter": ("processor_config.json", dict(resample=99), "preprocessor_config.json"),
    "a word as mean": ("processor_config.json", dict(image_mean="abc"), "preprocessor_config.json"),
    "no tower": ("config.json", dict(vision_config=None), "config.json"),
    "a number as tower": ("config.json", dict(vision_config=5), "vision_config must be an object"),
    "a list as text model": ("config.json", dict(text_config=[1]), "text_config must be an object"),
    "an unknown text model": ("config.json", dict(text_config={"model_type": "bert"}), "bert"),
    "an unknown tower": ("config.json", dict(vision_config={"model_type": "resnet"}), "resnet"),
    "another layer": ("config.json", dict(vision_feature_layer="last"), "config.json"),
    "another projector": ("config.json", dict(projector_hidden_act="cubic"), "cubic"),
}


@pytest.mark.parametrize("name", EDITS)
def test_edited_files(folders, tmp_path, name):
    file, changes, message = EDITS[name]
    shutil.copytree(folders["llava"], tmp_path / "model")
    path = tmp_path / "model" / file
    content = json.loads(path.read_text())
    inner = content.get("image_processor")
    (content if inner is None else inner).update(changes)
    path.write_text(json.dumps(content))
    with pytest.raises((errors.ConfigError, errors.NotSupportedError), match=message):
        load(tmp_path / "model")
