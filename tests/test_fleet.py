"""Many models in one Runner: ids, defaults, unloading under load, loading again, failures, memory."""

import asyncio
import gc
import shutil
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mistralrs import (
    AsyncRunner,
    ChatCompletionRequest,
    CompletionRequest,
    EmbeddingRequest,
    Runner,
    Which,
    loaders,
)
from mistralrs.api import errors
from mistralrs.demo import model_path
from tests import sentence
from tests.models.media import case, llava
from tests.test_embedder import CASES

DEMO = str(model_path())
SUM = "What is 12 plus 7?"
ENDLESS = dict(max_tokens=700, ignore_eos=True)


def chat(**rules) -> ChatCompletionRequest:
    """A greedy chat request."""
    return ChatCompletionRequest(**dict(messages=SUM, temperature=0.0, max_tokens=40) | rules)


def says(runner, model=None, **rules) -> str:
    """The answer of a model."""
    response = runner.send_chat_completion_request(chat(**rules), model_id=model)
    return response.choices[0].message.content


def written(stream) -> str:
    """The text of all chunks."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream)


@pytest.fixture
def pair():
    """A Runner with the demo model under the ids "one" and "two"; "one" is the default."""
    with Runner(Which.Plain(DEMO), model_id="one", pa_ctxt_len=4096) as runner:
        runner.add_model(Which.Plain(DEMO), "two")
        yield runner


@pytest.fixture
def copy(tmp_path):
    """A copy of the demo model that a test may damage."""
    return Path(shutil.copytree(model_path(), tmp_path / "copy"))


class Loads:
    """Counts loads; they wait while `open` is not set, and fail with `error`."""

    def __init__(self, monkeypatch):
        self.count, self.open, self.error = 0, threading.Event(), None
        self.open.set()
        self.real = loaders.load
        monkeypatch.setattr(loaders, "load", self.load)

    def load(self, which, settings):
        self.count += 1
        assert self.open.wait(30)
        if self.error:
            raise self.error
        return self.real(which, settings)


@pytest.fixture
def loads(monkeypatch):
    return Loads(monkeypatch)


def until(condition, seconds=10.0) -> bool:
    """Whether a condition comes true in time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def in_thread(work, *arguments) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread


# --- ids and defaults -------------------------------------------------------------------------------


def test_requests_go_to_the_model_they_name(pair):
    assert pair.list_models() == ["one", "two"]
    for id in pair.list_models():
        by_argument = pair.send_chat_completion_request(chat(), model_id=id)
        by_request = pair.send_chat_completion_request(chat(model=id))
        assert by_argument.model == by_request.model == id
        assert by_argument.choices == by_request.choices
    assert pair.send_chat_completion_request(chat(model="two"), model_id="one").model == "one"
    assert pair.send_chat_completion_request(chat()).model == "one"
    assert pair.send_completion_request(CompletionRequest("Hi", max_tokens=1), "two").model == "two"


def test_the_folder_of_a_model_stays_its_name(pair):
    assert pair.send_chat_completion_request(chat(model=DEMO)).model == "one"
    pair.remove_model("one")
    assert pair.send_chat_completion_request(chat(model=DEMO)).model == "two"
    assert pair.is_model_loaded(DEMO)


def test_an_unknown_model_is_explained(pair):
    for ask in (pair.reload_model, pair.unload_model, pair.remove_model, pair.max_sequence_length):
        with pytest.raises(errors.ModelNotFoundError, match="did you mean 'two'.*one, two"):
            ask("tvo")
    assert pair.get_model_status("tvo") is None
    assert not pair.is_model_loaded("tvo")


BAD_MODELS = {
    "taken": (dict(model_id="two"), errors.ModelStateError, "taken"),
    "reserved": (dict(model_id="default"), errors.ModelStateError, "taken"),
    "empty": (dict(model_id=""), errors.RequestError, "model_id: is empty"),
    "missing": (dict(which=Which.Plain("./nowhere")), errors.ModelNotFoundError, "no such"),
    "no loader": (dict(which=Which.GGML("a", "b")), errors.NotSupportedError, "no loader"),
    "no model": (dict(which="demo"), errors.RequestTypeError, "a Which"),
    "option": (dict(max_seq=3), TypeError, "did you mean 'max_seqs'"),
    "of the Runner": (dict(tool_callbacks={}), TypeError, "no option 'tool_callbacks'"),
    "value": (dict(max_seqs=0), errors.RequestError, "max_seqs"),
    "to come": (dict(mtp_model="x"), errors.NotSupportedError, "add_model"),
}


@pytest.mark.parametrize("name", BAD_MODELS)
def test_a_model_that_cannot_be_added_leaves_no_trace(pair, name):
    options, kind, message = BAD_MODELS[name]
    with pytest.raises(kind, match=message):
        pair.add_model(**dict(which=Which.Plain(DEMO)) | options)
    assert pair.list_models_with_status() == [("one", "loaded"), ("two", "loaded")]
    assert says(pair)


def test_options_of_an_added_model(tmp_path):
    template = tmp_path / "mine.jinja"
    template.write_text("{{ messages[0].content }}")
    with Runner(
        Which.Plain(DEMO), max_seqs=3, chat_template=str(template), pa_ctxt_len=2048
    ) as runner:
        assert runner.add_model(Which.Plain(DEMO), "plain") == "plain"
        runner.add_model(Which.Plain(DEMO), "small", max_seqs=2, in_situ_quant="8")
        found = {id: runner._pipeline(id) for id in runner.list_models()}
        assert [p.limits.max_running for p in found.values()] == [3, 3, 2]
        short, *others = [runner.count_tokens(chat(), id) for id in found]
        assert short < min(others)  # a template belongs to its model
        assert "Q8_0" in str(runner.explain("small"))
        assert "Q8_0" not in str(runner.explain("plain"))


def test_the_default_follows(pair):
    pair.add_model(Which.Plain(DEMO), "three")
    pair.set_default_model_id("two")
    pair.unload_model("two")
    assert pair.get_default_model_id() == "one"
    with pytest.raises(errors.ModelStateError, match="reload_model"):
        pair.set_default_model_id("two")
    pair.unload_model("three")
    pair.unload_model("one")  # no other is loaded: it stays
    assert pair.get_default_model_id() == "one"
    assert pair.list_models() == []
    assert pair.list_unloaded_models() == ["one", "two", "three"]
    assert says(pair)
    assert pair.list_models() == ["one"]
    pair.remove_model("one")  # by the first, as none is loaded
    assert pair.get_default_model_id() == "two"
    pair.remove_model("three")
    with pytest.raises(errors.ModelStateError, match="only model"):
        pair.remove_model("two")
    assert says(pair, "two")


def test_managing_twice_is_harmless(pair, loads):
    for _ in range(2):
        pair.unload_model("two")
        assert pair.get_model_status("two") == "unloaded"
    for _ in range(2):
        pair.reload_model("two")
        assert pair.get_model_status("two") == "loaded"
    assert loads.count == 1


# --- unloading while requests run -------------------------------------------------------------------


def test_unloading_lets_streams_finish(pair):
    alone = written(pair.send_chat_completion_request(chat(stream=True, **ENDLESS)))
    streams = [pair.send_chat_completion_request(chat(stream=True, **ENDLESS)) for _ in range(4)]
    next(streams[0])
    pair.unload_model("one")  # in the thread that reads the streams
    assert pair.get_model_status("one") == "unloaded"
    first, *others = [written(stream) for stream in streams]
    assert all(text == alone for text in others)
    assert alone.endswith(first)


def test_requests_that_come_while_it_unloads_wait_and_load_it_again(pair, loads):
    expected = says(pair)
    stream = pair.send_chat_completion_request(chat(stream=True, **ENDLESS))
    unloading = in_thread(pair.unload_model, "one")
    assert until(lambda: pair.get_model_status("one") != "loaded")
    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(lambda _: says(pair, "one"), range(6))) == {expected}
    unloading.join(30)
    assert loads.count == 1
    assert written(stream)
    assert pair.is_model_loaded("one")


def test_a_tool_that_unloads_its_own_model():
    def weather(name, arguments):
        runner.unload_model("it")
        return "sunny, 14 degrees"

    function = {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
    with Runner(
        Which.Plain(DEMO), model_id="it", pa_ctxt_len=4096, tool_callbacks={"get_weather": weather}
    ) as runner:
        request = chat(
            messages="What is the weather in Oslo?",
            tool_schemas=[{"type": "function", "function": function}],
            max_tokens=60,
        )
        response = runner.send_chat_completion_request(request)
        assert len(response.agentic_tool_calls) == 1
        assert "14 degrees" in response.choices[0].message.content


def test_closing_does_not_wait_for_an_unloading(pair):
    stream = pair.send_chat_completion_request(chat(stream=True, **ENDLESS | dict(max_tokens=3000)))
    unloading = in_thread(pair.unload_model, "one")
    assert until(lambda: pair.get_model_status("one") != "loaded")
    pair.close()
    unloading.join(30)
    assert not unloading.is_alive()
    with pytest.raises(errors.EngineError, match="closed"):
        written(stream)
    for ask in (says, lambda r: r.reload_model("two"), lambda r: r.add_model(Which.Plain(DEMO))):
        with pytest.raises(errors.EngineError, match="Runner is closed"):
            ask(pair)


def test_embeddings_finish_too(tmp_path):
    *what, frame = CASES["qwen3"]
    folder = sentence.save(tmp_path, *what, frame=frame)
    request = EmbeddingRequest(["a", "some words", "x" * 40] * 40)
    with Runner(Which.Embedding(str(folder)), model_id="e") as runner:
        expected = runner.send_embedding_request(request)
        with ThreadPoolExecutor(4) as pool:
            found = [pool.submit(runner.send_embedding_request, request) for _ in range(4)]
            runner.unload_model("e")
            assert all(future.result(60) == expected for future in found)


def test_storm(pair):
    """Requests of many threads, while others load, unload and choose."""
    expected, texts, faults = says(pair), [], []

    def ask(id):
        for _ in range(4):
            texts.append(says(pair, id))

    def manage(change, id):
        for _ in range(3):
            try:
                change(id)
            except errors.ModelStateError as error:
                faults.append(str(error))

    changes = (pair.unload_model, pair.unload_model, pair.reload_model, pair.set_default_model_id)
    threads = [in_thread(ask, id) for id in ("one", "two", None) * 2]
    threads += [in_thread(manage, change, id) for change in changes for id in ("one", "two")]
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    assert texts == [expected] * 24
    assert all("not loaded" in fault for fault in faults)  # of set_default_model_id
    assert {status for _, status in pair.list_models_with_status()} <= {"loaded", "unloaded"}


# --- loading again ----------------------------------------------------------------------------------


def test_many_requests_load_a_model_once(pair, loads):
    expected = says(pair)
    pair.unload_model("one")
    loads.open.clear()
    with ThreadPoolExecutor(12) as pool:
        found = [pool.submit(says, pair, "one") for _ in range(12)]
        assert until(lambda: pair.get_model_status("one") == "reloading")
        assert says(pair, "two") == expected  # others go on
        loads.open.set()
        assert {future.result(60) for future in found} == {expected}
    assert loads.count == 1


def test_a_failed_load_is_explained_and_tried_again(pair, copy):
    pair.add_model(Which.Plain(str(copy)), "three")
    expected = says(pair, "three")
    pair.unload_model("three")
    weights = copy / "model.safetensors"
    weights.rename(copy / "away")
    for ask in (says, lambda runner, id: runner.reload_model(id)):
        with pytest.raises(
            errors.ModelStateError, match="'three' could not.*tries again"
        ) as caught:
            ask(pair, "three")
        assert isinstance(caught.value.__cause__, errors.CheckpointError)
        assert pair.get_model_status("three") == "unloaded"
        assert says(pair, "one") == says(pair, "two") == expected
    (copy / "away").rename(weights)
    assert says(pair, "three") == expected


def test_all_who_wait_learn_of_a_failure(pair, loads):
    pair.unload_model("two")
    loads.open.clear()
    loads.error = errors.OutOfMemoryError("the model does not fit")
    with ThreadPoolExecutor(5) as pool:
        found = [pool.submit(says, pair, "two") for _ in range(5)]
        assert until(lambda: loads.count == 1)
        time.sleep(0.1)  # until all of them wait
        loads.open.set()
        for future in found:
            with pytest.raises(errors.ModelStateError, match="does not fit"):
                future.result(30)
    assert loads.count == 1
    loads.error = None
    assert says(pair, "two")


def test_waiting_for_a_model_counts_as_time(pair, loads):
    pair.unload_model("one")
    loads.open.clear()
    with pytest.raises(errors.RequestTimeoutError, match=r"'one'.*within 0\.1 s"):
        pair.send_chat_completion_request(chat(), model_id="one", timeout=0.1)
    loads.open.set()
    assert pair.send_chat_completion_request(chat(), model_id="one", timeout=30)


def test_removing_a_model_that_loads(pair, loads):
    pair.unload_model("two")
    loads.open.clear()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(says, pair, "two")
        assert until(lambda: loads.count == 1)
        removing = in_thread(pair.remove_model, "two")
        assert until(lambda: pair.list_models_with_status() == [("one", "loaded")])
        loads.open.set()
        with pytest.raises(errors.ModelNotFoundError, match="'two' was removed"):
            asked.result(30)
    removing.join(30)
    assert not removing.is_alive()
    assert says(pair)


# --- event loops ------------------------------------------------------------------------------------


def test_waiting_in_an_event_loop_takes_no_thread(pair, loads):
    async def main() -> None:
        runner = AsyncRunner(pair)
        expected = await runner.send_chat_completion_request(chat(), "two")
        await runner.unload_model("one")
        loads.open.clear()
        waiting = [
            asyncio.ensure_future(runner.send_chat_completion_request(chat(), "one"))
            for _ in range(50)
        ]
        await asyncio.sleep(0.1)
        other = await asyncio.wait_for(runner.send_chat_completion_request(chat(), "two"), 30)
        assert other.choices == expected.choices
        with pytest.raises(errors.RequestTimeoutError, match="'one'"):
            await runner.send_chat_completion_request(chat(), "one", timeout=0.05)
        waiting[0].cancel()  # must not end the load for the others
        await asyncio.sleep(0)
        loads.open.set()
        found = await asyncio.gather(*waiting[1:])
        assert all(answer.choices == expected.choices for answer in found)
        assert loads.count == 1

    asyncio.run(main())


def test_the_methods_of_an_async_runner():
    async def main() -> None:
        async with await AsyncRunner.load(Which.Plain(DEMO), model_id="a") as runner:
            assert await runner.add_model(Which.Plain(DEMO), model_id="b") == "b"
            runner.set_default_model_id("b")
            stream = await runner.send_chat_completion_request(chat(stream=True, **ENDLESS))
            await runner.unload_model("b")
            assert len([chunk async for chunk in stream]) > 10
            assert runner.get_default_model_id() == "a"
            assert runner.list_models() == ["a"]
            assert runner.list_unloaded_models() == ["b"]
            assert runner.list_models_with_status() == [("a", "loaded"), ("b", "unloaded")]
            assert (runner.get_model_status("b"), runner.is_model_loaded("b")) == (
                "unloaded",
                False,
            )
            await runner.reload_model("b")
            assert runner.is_model_loaded("b")
            await runner.remove_model("a")
            with pytest.raises(errors.ModelNotFoundError):
                await runner.send_chat_completion_request(chat(), "a")

    asyncio.run(main())


def test_an_async_request_learns_of_a_failed_load(pair, loads):
    pair.unload_model("two")
    loads.error = errors.CheckpointError("a shard is missing")

    async def main() -> None:
        runner = AsyncRunner(pair)
        for ask in (lambda: runner.send_chat_completion_request(chat(), "two"),
                    lambda: runner.reload_model("two")):  # fmt: skip
            with pytest.raises(errors.ModelStateError, match="a shard is missing"):
                await ask()

    asyncio.run(main())


# --- memory -----------------------------------------------------------------------------------------


def test_nothing_keeps_the_weights(pair):
    """Not the Runner, not finished streams and answers, not a cycle that the collector would have to find."""
    stream = pair.send_chat_completion_request(chat(stream=True))
    kept = [
        written(stream),
        pair.send_chat_completion_request(chat()),
        stream,
        pair._pipeline(None),
    ]
    model = weakref.ref(pair._pipeline(None).built.model)
    weight = weakref.ref(model().lm_head.weight)
    engines = [t for t in threading.enumerate() if t.name == "mistralrs-engine"]
    gc.collect()
    gc.disable()
    try:
        pair.unload_model("one")
    finally:
        gc.enable()
    assert kept
    assert (model(), weight()) == (None, None)
    assert sum(thread.is_alive() for thread in engines) == len(engines) - 1


def test_an_error_keeps_no_half_loaded_model(pair, monkeypatch):
    """A user may keep the error, as notebooks do."""
    built = []

    def assemble(id, whole, *rest):
        built.append(weakref.ref(whole.model))
        raise errors.TemplateError("no")

    monkeypatch.setattr(loaders, "assemble", assemble)
    with pytest.raises(errors.TemplateError) as kept:
        pair.add_model(Which.Plain(DEMO), "three")
    assert built[0]() is None
    assert kept.value


def test_cycles_of_unloading_give_the_memory_back():
    """The bench, whose limit is 2 % of the process, in a process of its own."""
    bench = Path(__file__).parents[1] / "bench" / "unload.py"
    run = subprocess.run(
        [sys.executable, str(bench), "--cycles", "6"], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stdout + run.stderr


# --- the program of docs/many-models.md -------------------------------------------------------------


def test_three_models_line_by_line(tmp_path):
    seeing = case.save(llava.CASES[""], case.reference(llava.CASES[""]), tmp_path / "llava")
    case.picture(80, 60).save(tmp_path / "photo.png")
    *what, frame = CASES["qwen3"]
    vectors = sentence.save(tmp_path / "vectors", *what, frame=frame)
    with Runner(which=Which.Plain(model_id=DEMO), model_id="chat", pa_ctxt_len=2048) as runner:
        assert runner.add_model(Which.VisionPlain(model_id=str(seeing)), model_id="eyes") == "eyes"
        assert runner.add_model(Which.Embedding(model_id=str(vectors))) == str(vectors)
        assert runner.list_models() == ["chat", "eyes", str(vectors)]
        assert runner.get_default_model_id() == "chat"

        photo = {"type": "image_url", "image_url": {"url": str(tmp_path / "photo.png")}}
        parts = [photo, {"type": "text", "text": "What is it?"}]
        look = chat(messages=[{"role": "user", "content": parts}], model="eyes", max_tokens=4)
        seen = runner.send_chat_completion_request(look)
        assert seen.usage.completion_tokens <= 4
        assert "19" in says(runner)
        assert (
            len(runner.send_embedding_request(EmbeddingRequest(["a"]), model_id=str(vectors))) == 1
        )
        with pytest.raises(errors.RequestError, match="name a text model"):
            says(runner, str(vectors))

        runner.unload_model("eyes")
        assert runner.list_models_with_status()[1] == ("eyes", "unloaded")
        assert runner.send_chat_completion_request(look).choices == seen.choices
        assert runner.is_model_loaded("eyes")
        runner.set_default_model_id("eyes")
        runner.remove_model("chat")
        assert runner.list_models() == ["eyes", str(vectors)]


# --- Runner.from_config -----------------------------------------------------------------------------


def test_a_runner_from_a_file(tmp_path):
    file = tmp_path / "models.toml"
    file.write_text(
        f"""
        default_model_id = "small"
        [runtime]
        max_seqs = 4
        [paged_attn]
        context_len = 2048
        [[models]]
        model_id = "{DEMO}"
        [[models]]
        model_id = "{DEMO}"
        alias = "small"
        [models.quantization]
        in_situ_quant = "8"
        """
    )
    with Runner.from_config(file) as runner:
        assert runner.list_models() == [DEMO, "small"]
        assert runner.get_default_model_id() == "small"
        assert "Q8_0" in str(runner.explain())
        assert {runner._pipeline(id).limits.max_running for id in runner.list_models()} == {4}
        assert runner.max_sequence_length() == 2048


BAD_FILES = {
    "second model": ('[[models]]\nmodel_id = "no/such/place"', errors.ModelNotFoundError),
    "no loader": ('[[models]]\nmodel_id = "x"\nkind = "speech"', errors.NotSupportedError),
    "bad option": (
        '[[models]]\nmodel_id = "x"\n[models.quantization]\nisq = 3',
        errors.RequestError,
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_with_a_mistake_leaves_nothing_behind(tmp_path, name, loads):
    more, kind = BAD_FILES[name]
    file = tmp_path / "models.toml"
    file.write_text(f'[[models]]\nmodel_id = "{DEMO}"\n{more}\n')
    before = threading.active_count()
    with pytest.raises(kind):
        Runner.from_config(file)
    assert loads.count == (2 if name == "second model" else 0)  # the others show before any load
    assert until(lambda: threading.active_count() == before)


def test_from_config_in_an_event_loop(tmp_path):
    file = tmp_path / "models.toml"
    file.write_text(f'[[models]]\nmodel_id = "{DEMO}"\nalias = "a"\n')

    async def main() -> None:
        async with await AsyncRunner.from_config(file) as runner:
            assert runner.list_models() == ["a"]

    asyncio.run(main())
