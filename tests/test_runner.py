"""Runner on the bundled model: what a user's script does."""

import gc
import threading
import time

import pytest

from mistralrs import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    CompletionRequest,
    EmbeddingRequest,
    ModelDType,
    Runner,
    Which,
)
from mistralrs.api import errors
from mistralrs.demo import model_path

SUM = [{"role": "user", "content": "What is 12 plus 7?"}]


def chat(**rules) -> ChatCompletionRequest:
    """A greedy chat request."""
    return ChatCompletionRequest(**dict(messages=SUM, temperature=0.0, max_tokens=40) | rules)


def pages(runner: Runner):
    """The page pool of the only model."""
    return runner._pipeline(None).engine.pages


def settled(runner: Runner, seconds: float = 5.0) -> bool:
    """Whether the engine runs out of work in time and holds no page."""
    engine, end = runner._pipeline(None).engine, time.monotonic() + seconds
    while engine.jobs and time.monotonic() < end:
        time.sleep(0.005)
    return not engine.jobs and engine.pages.free == engine.pages.count


def test_documented_chat(demo):
    request = ChatCompletionRequest(
        model="default",
        messages=[{"role": "user", "content": "Tell me a story about a fox."}],
        max_tokens=32,
        presence_penalty=1.0,
        top_p=0.1,
        temperature=0.1,
    )
    response = demo.send_chat_completion_request(request)
    assert isinstance(response, ChatCompletionResponse)
    assert response.choices[0].message.content
    assert response.usage.prompt_tokens > 10
    assert response.usage.completion_tokens <= 32
    assert response.usage.total_tokens == (
        response.usage.prompt_tokens + response.usage.completion_tokens
    )


def test_stream_says_what_the_whole_says(demo):
    whole = demo.send_chat_completion_request(chat())
    chunks = list(demo.send_chat_completion_request(chat(stream=True)))
    parts = [c.choices[0].delta for c in chunks]
    message = whole.choices[0].message
    assert "".join(p.content or "" for p in parts) == (message.content or "")
    assert "".join(p.reasoning_content or "" for p in parts) == (message.reasoning_content or "")
    assert [c.choices[0].finish_reason for c in chunks][-1] == whole.choices[0].finish_reason
    assert [c.usage is not None for c in chunks] == [False] * (len(chunks) - 1) + [True]


def test_choices_are_independent_and_seeded(demo):
    hot = chat(n_choices=3, temperature=1.5, seed=5, max_tokens=12)
    first, second = (demo.send_chat_completion_request(hot).choices for _ in range(2))
    assert [c.message for c in first] == [c.message for c in second]
    assert len({str(c.message) for c in first}) > 1


def test_logprobs(demo):
    response = demo.send_chat_completion_request(chat(logprobs=True, top_logprobs=3))
    for token in response.choices[0].logprobs.content:
        best = [t.logprob for t in token.top_logprobs]
        assert len(best) == 3
        assert token.logprob == best[0] >= best[1] >= best[2]
        assert token.logprob <= 0


def test_stop_sequence(demo):
    text = demo.send_completion_request(
        CompletionRequest(prompt="Hello", temperature=0.0, max_tokens=12)
    )
    word = text.choices[0].text[3:6]
    stopped = demo.send_completion_request(
        CompletionRequest(prompt="Hello", temperature=0.0, max_tokens=12, stop_seqs=[word])
    )
    assert stopped.choices[0].text == text.choices[0].text.split(word)[0]
    assert stopped.choices[0].finish_reason == "stop"


def test_completion_echo_suffix_best_of(demo):
    request = CompletionRequest(
        prompt="Hello", suffix="!", echo_prompt=True, n_choices=3, best_of=2, max_tokens=4
    )
    choices = demo.send_completion_request(request).choices
    assert len(choices) == 2
    assert all(c.text.startswith("Hello") and c.text.endswith("!") for c in choices)


def test_tokens_round_trip(demo):
    for text in ("Hello, world!", "naïve café 日本語 🙂", "  two  spaces\n\ttab"):
        ids = demo.tokenize_text(text, add_special_tokens=False)
        assert demo.detokenize_text(ids, skip_special_tokens=True) == text
    assert demo.max_sequence_length() == 2048


def test_prefix_cache_is_reported_and_exact(demo):
    request = chat(
        messages=[{"role": "user", "content": "Tell me about rivers. " * 12}], logprobs=True
    )
    demo.send_chat_completion_request(request)
    first, second = (demo.send_chat_completion_request(request) for _ in range(2))
    assert second.usage.prompt_tokens_details.cached_tokens >= 32
    assert first.choices == second.choices


def test_closing_a_stream_frees_its_pages(demo):
    for leave in ("close", "with", "drop"):
        stream = demo.send_chat_completion_request(
            chat(stream=True, max_tokens=500, ignore_eos=True)
        )
        next(stream)
        if leave == "close":
            stream.close()
        elif leave == "with":
            with stream:
                pass
        del stream
        gc.collect()
        assert settled(demo), leave


def test_streams_run_together_before_they_are_read(demo):
    endless = chat(stream=True, max_tokens=500, ignore_eos=True)
    streams = [demo.send_chat_completion_request(endless) for _ in range(3)]
    time.sleep(0.3)
    running = demo._pipeline(None).engine.scheduler.running
    assert len(running) == 3
    assert all(sequence.generated for sequence in running)
    for stream in streams:
        stream.close()
    assert settled(demo)


NOT_YET = [
    dict(adapter="a"),
    dict(session_id="s"),
    dict(enable_code_execution=True),
    dict(enable_shell=True),
]


@pytest.mark.parametrize("option", NOT_YET, ids=str)
def test_no_option_is_silently_ignored(demo, option):
    with pytest.raises(errors.NotSupportedError, match=next(iter(option))):
        demo.send_chat_completion_request(chat(**option))


def test_canceled_stream_ends(demo):
    stream = demo.send_chat_completion_request(chat(stream=True, max_tokens=500, ignore_eos=True))
    next(stream)
    stream.close()
    assert list(stream)[-1].choices[0].finish_reason == "canceled"


def test_timeout(demo):
    slow = chat(max_tokens=2000, ignore_eos=True)
    with pytest.raises(errors.RequestTimeoutError, match="0.05 s"):
        demo.send_chat_completion_request(slow, timeout=0.05)
    assert settled(demo)


def test_truncate_sequence(demo):
    long = [{"role": "user", "content": "word " * 4000}]
    with pytest.raises(errors.ContextLengthError, match="truncate_sequence"):
        demo.send_chat_completion_request(chat(messages=long))
    short = demo.send_chat_completion_request(
        chat(messages=long, truncate_sequence=True, max_tokens=4)
    )
    assert short.usage.prompt_tokens == 2044


def test_model_management(tmp_path):
    model = str(model_path())
    with Runner(which=Which.Plain(model_id=model)) as runner:
        assert runner.list_models() == [model] == [runner.get_default_model_id()]
        runner.unload_model(model)
        assert runner.list_models_with_status() == [(model, "unloaded")]
        assert not runner.is_model_loaded(model)
        assert runner.send_chat_completion_request(chat(max_tokens=2), model_id=model)
        assert runner.is_model_loaded(model)
        with pytest.raises(errors.ModelNotFoundError, match="there are"):
            runner.send_chat_completion_request(chat(), model_id="nobody/nothing")
        with pytest.raises(errors.ModelStateError):
            runner.remove_model(model)


BAD_RUNNERS = {
    "no such folder": (dict(which=Which.Plain("./no/such/model")), errors.ModelNotFoundError),
    "no loader": (dict(which=Which.GGML("x", "y.bin")), errors.NotSupportedError),
    "option to come": (
        dict(which=Which.Plain("x"), mtp_model="y"),
        errors.NotSupportedError,
    ),
    "quantization": (dict(which=Which.Plain("demo"), in_situ_quant="q9"), errors.RequestError),
    "page size": (dict(which=Which.Plain("demo"), pa_blk_size=7), errors.RequestError),
    "template path": (
        dict(which=Which.Plain("demo"), chat_template="missing.jinja"),
        errors.MistralRsError,
    ),
    "cache too small": (dict(which=Which.Plain("demo"), pa_gpu_mem=0), errors.OutOfMemoryError),
}


@pytest.mark.parametrize("case", BAD_RUNNERS)
def test_a_runner_that_cannot_be(case):
    options, error = BAD_RUNNERS[case]
    if options["which"].__dict__.get("model_id") == "demo":
        options = options | dict(which=Which.Plain(str(model_path())))
    with pytest.raises(error) as caught:
        Runner(**options)
    assert isinstance(caught.value, ValueError)
    assert len(str(caught.value)) > 20


def test_unknown_argument_has_a_suggestion():
    with pytest.raises(TypeError, match="prefix_cache_n"):
        Runner(which=Which.Plain("x"), prefix_cache=3)


def test_wrong_request_kinds(demo):
    with pytest.raises(errors.RequestError):
        demo.send_embedding_request(EmbeddingRequest("text"))
    with pytest.raises(errors.NotSupportedError):
        demo.generate_image("a fox", None)


def test_many_threads_agree_with_solo_runs(demo):
    requests = [
        chat(messages=f"What is {i % 16} plus {i % 7}?", max_tokens=8 + i % 5, seed=i)
        if i % 3
        else chat(messages=f"Hello number {i % 12}", temperature=0.9, max_tokens=10, seed=i)
        for i in range(96)
    ]
    solo = [demo.send_chat_completion_request(r).choices for r in requests]
    found: list = [None] * len(requests)

    def work(start: int) -> None:
        for i in range(start, len(requests), 32):
            found[i] = demo.send_chat_completion_request(requests[i]).choices

    threads = [threading.Thread(target=work, args=(i,)) for i in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert found == solo
    assert settled(demo)


def test_bfloat16_is_the_default_of_the_checkpoint():
    with Runner(which=Which.Plain(str(model_path()))) as runner:
        weight = runner._pipeline(None).built.model.lm_head.weight
        assert weight.nbytes == weight.shape[0] * weight.shape[1] * 2
    assert ModelDType.Auto.value == "auto"
