"""Requests with sounds through the Runner: every way to name one, several at a time, bad ones."""

import base64
import io

import numpy as np
import pytest
import soundfile

from mistralrs import ChatCompletionRequest, Runner, Which, audio_part
from mistralrs.api import errors
from tests.models.media import voxtral
from tests.models.media.case import picture, reference, save, sound

SOUND = sound(1.1)


def encoded(samples: np.ndarray, rate: int = 16000, **how: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **how)
    return file.getvalue()


WAV = encoded(SOUND, format="WAV", subtype="FLOAT")


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    case = voxtral.CASES[""]
    folder = save(case, reference(case), tmp_path_factory.mktemp("voxtral"))
    with Runner(which=Which.VisionPlain(str(folder), dtype="f32"), pa_ctxt_len=2048) as runner:
        yield runner


def heard(url: str) -> dict:
    return {"type": "audio_url", "audio_url": {"url": url}}


def inline(data: bytes) -> dict:
    return {
        "type": "input_audio",
        "input_audio": {"data": base64.b64encode(data).decode(), "format": "wav"},
    }


def ask(runner, *parts, **options):
    content = [{"type": "text", "text": p} if isinstance(p, str) else p for p in parts]
    return runner.send_chat_completion_request(
        ChatCompletionRequest(
            [{"role": "user", "content": content}],
            max_tokens=6,
            temperature=0.0,
            logprobs=True,
            **options,
        )
    )


def said(answer) -> list:
    return [(t.token, t.logprob) for t in answer.choices[0].logprobs.content]


@pytest.mark.parametrize("way", ["path", "file", "data", "input_audio", "array", "stereo", "flac"])
def test_ways_to_name_a_sound(runner, way, tmp_path):
    path = tmp_path / "x.wav"
    path.write_bytes(WAV)
    both = np.stack([SOUND, SOUND], 1)
    part = {
        "path": lambda: heard(str(path)),
        "file": lambda: heard(path.as_uri()),
        "data": lambda: heard("data:audio/wav;base64," + base64.b64encode(WAV).decode()),
        "input_audio": lambda: inline(WAV),
        "array": lambda: audio_part(SOUND, 16000),
        "stereo": lambda: inline(encoded(both, format="WAV", subtype="FLOAT")),
        "flac": lambda: inline(encoded(SOUND, format="FLAC", subtype="PCM_24")),
    }[way]()
    found, wanted = said(ask(runner, part, "What?")), said(ask(runner, inline(WAV), "What?"))
    assert [token for token, _ in found] == [token for token, _ in wanted]
    assert max(abs(a - b) for (_, a), (_, b) in zip(found, wanted)) < (way == "flac") * 1e-3 + 1e-6


def test_other_sounds_give_other_answers(runner):
    counts = [ask(runner, audio_part(sound(s), 16000), "?").usage.prompt_tokens for s in (0.5, 2.5)]
    assert counts[1] - counts[0] == 30  # ten rows for every 0.8 seconds
    loud, low = (said(ask(runner, audio_part(sound(0.5, seed=n), 16000), "?")) for n in (1, 2))
    assert loud != low


def test_the_second_question_reuses_the_sound(runner):
    first = ask(runner, audio_part(sound(3.0, seed=5), 16000), "What is it?")
    again = ask(runner, audio_part(sound(3.0, seed=5), 16000), "What was it?")
    assert first.usage.prompt_tokens_details.cached_tokens == 0
    assert again.usage.prompt_tokens_details.cached_tokens >= 32


REFUSED = {
    "an image": ({"type": "image", "image": picture(30, 30)}, "reads only sounds"),
    "no base64": ({"type": "input_audio", "input_audio": {"data": "?", "format": "wav"}}, "base64"),
    "no sound": (inline(b"This is no sound at all."), "the sound: is not a sound"),
    "a missing file": (heard("/no/such.wav"), "no such file"),
    "silence of no length": (inline(encoded(SOUND[:0], format="WAV")), "no samples"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(runner, name):
    part, message = REFUSED[name]
    with pytest.raises(errors.MediaError, match=message):
        ask(runner, part, "What?")
    assert said(ask(runner, "Hello."))


def test_markers_in_the_text_place_sounds(runner):
    parts = [audio_part(sound(0.4, seed=n), 16000) for n in (1, 2)]
    listed = ask(runner, "From ", parts[0], " to ", parts[1], "?")
    written = ask(runner, *parts, "From [AUDIO] to [AUDIO]?")
    assert listed.usage.prompt_tokens == written.usage.prompt_tokens
    with pytest.raises(errors.RequestError, match="one for each sound"):
        ask(runner, *parts, "From [AUDIO]?")
