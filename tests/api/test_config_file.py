"""The TOML file of `Runner.from_config`: what each key becomes, and what is wrong with a wrong file."""

import pytest

from mistralrs.api import errors
from mistralrs.api.config_file import read
from mistralrs.api.enums import Architecture, IsqOrganization, ModelDType, VisionArchitecture
from mistralrs.api.options import TextAutoMapParams, VisionAutoMapParams
from mistralrs.api.which import Which


def parsed(folder, text):
    """A file with this text, read."""
    file = folder / "models.toml"
    file.write_text(text, encoding="utf-8")
    return read(file)


def test_everything(tmp_path):
    file = parsed(
        tmp_path,
        """
        command = "serve"
        default_model_id = "fast"
        enable_thinking = false

        [global]
        seed = 7
        log = "requests.log"
        token_source = "env:TOKEN"
        [server]
        port = 8080
        [runtime]
        max_seqs = 8
        no_kv_cache = false
        prefix_cache_n = 4
        chat_template = "all.jinja"
        enable_search = true
        search_embedding_model = "embedding_gemma"
        [paged_attn]
        mode = "off"
        context_len = 4096
        memory_mb = 100
        memory_fraction = 0.5
        block_size = 16

        [[models]]
        model_id = "owner/name"
        arch = "qwen3"
        dtype = "f32"
        tokenizer = "tokenizer.json"
        jinja_explicit = "own.jinja"
        [models.quantization]
        in_situ_quant = "q4k"
        isq_organization = "moqe"
        [models.device]
        cpu = true
        hf_cache = "cache"
        max_seq_len = 2000

        [[models]]
        kind = "vision"
        model_id = "owner/eyes"
        alias = "fast"
        chat_template = "other.jinja"
        [models.device]
        cpu = true
        max_batch_size = 2
        [models.vision]
        max_edge = 512
        max_num_images = 3
        """,
    )
    first, second = file.models
    shared = dict(
        seed=7, token_source="env:TOKEN", max_seqs=8, no_kv_cache=False, prefix_cache_n=4,
        pa_ctxt_len=4096, pa_gpu_mem=100, pa_gpu_mem_usage=0.5, pa_blk_size=16,
    )  # fmt: skip
    assert first.which == Which.Plain(
        "owner/name",
        arch=Architecture.Qwen3,
        dtype=ModelDType.F32,
        tokenizer_json="tokenizer.json",
        organization=IsqOrganization.MoQE,
        hf_cache_path="cache",
        auto_map_params=TextAutoMapParams(max_seq_len=2000),
    )
    own = dict(chat_template="all.jinja", jinja_explicit="own.jinja", in_situ_quant="q4k")
    assert (first.id, first.options) == ("owner/name", shared | own)
    assert second.which == Which.VisionPlain(
        "owner/eyes",
        max_edge=512,
        auto_map_params=VisionAutoMapParams(max_batch_size=2, max_num_images=3),
    )
    assert (second.id, second.options) == ("fast", shared | dict(chat_template="other.jinja"))
    assert (file.default, file.command, file.enable_thinking) == ("fast", "serve", False)
    assert (file.cpu, file.log, file.server) == (True, "requests.log", {"port": 8080})
    assert file.options == dict(
        enable_search=True, search_embedding_model="embedding_gemma", no_paged_attn=True
    )


MODELS = {
    "": Which.Plain("m"),
    'kind = "text"': Which.Plain("m"),
    'kind = "vision"\narch = "llava"': Which.VisionPlain("m", arch=VisionArchitecture.LLaVA),
    'kind = "embedding"': Which.Embedding("m"),
    'kind = "diffusion"': Which.DiffusionPlain("m", "flux"),
    'kind = "speech"': Which.Speech("m", "dia"),
    "[models.vision]\nmax_edge = 9": Which.VisionPlain("m", max_edge=9),
    '[models.format]\nquantized_file = "a.gguf"': Which.GGUF("m", "a.gguf"),
    '[models.format]\nquantized_file = "a;b"\ntok_model_id = "t"': Which.GGUF("m", "a;b", "t"),
    '[models.format]\nformat = "ggml"\nquantized_file = "a"\ngqa = 8': Which.GGML("m", "a", gqa=8),
    '[models.adapter]\nlora = "a;b"': Which.Lora("a;b", model_id="m"),
    '[models.adapter]\nxlora = "x"\nxlora_order = "o"': Which.XLora("x", "o", model_id="m"),
    '[models.format]\nquantized_file = "f"\n[models.adapter]\nlora = "a"\nxlora_order = "o"': (
        Which.LoraGGUF("m", "f", "a", "o")
    ),
    '[models.quantization]\nfrom_uqff = "a.uqff"': Which.Plain("m", from_uqff="a.uqff"),
}


@pytest.mark.parametrize("text", MODELS, ids=repr)
def test_members_of_which(tmp_path, text):
    (model,) = parsed(tmp_path, f'[[models]]\nmodel_id = "m"\n{text}').models
    assert model.which == MODELS[text]
    assert type(model.which) is type(MODELS[text])
    assert (model.id, model.options) == ("m", {})


SELECTORS = {
    'model_id = "m"\narch = "llama"': Which.Plain("m", arch="llama"),
    'quantized_model_id = "m"\nquantized_filename = "f"\ntok_model_id = "t"': (
        Which.GGUF("m", "f", "t")
    ),
    'model_id = "m"\nmax_edge = 7': Which.VisionPlain("m", max_edge=7),
    'model_id = "m"\nadapter_model_id = "a"': Which.Lora("a", model_id="m"),
}


@pytest.mark.parametrize("text", SELECTORS, ids=repr)
def test_the_older_form(tmp_path, text):
    (model,) = parsed(tmp_path, f"[model]\n{text}").models
    assert (model.which, model.id) == (SELECTORS[text], "m")


M = '[[models]]\nmodel_id = "m"\n'
BAD = {
    "": "models: give at least one",
    "models = []": "models: give at least one",
    "models = 3": "models: give at least one",
    "models = [3]": r"models\[0\]: must be a table",
    "[[models]]\n": r"models\[0\]: model_id",
    f"{M}x = 1": r"models\[0\]\.x is unknown",
    f"{M}modelid = 1": r"modelid is unknown; did you mean 'model_id'",
    f"{M}[models.device]\nmax_seqlen = 1": r"models\[0\]\.device\.max_seqlen.*'max_seq_len'",
    f"{M}[models.format]\nformat = 'onnx'": r"format\.format: 'onnx' is unknown",
    f"{M}[models.format]\nformat = 'gguf'": r"models\[0\].*quantized_filename",
    f"{M}[models.adapter]\nlora = 'a'\nxlora = 'b'": "exclude each other",
    f"{M}kind = 'image'": r"models\[0\]: kind: 'image' is unknown",
    f"{M}dtype = 'f8'": r"models\[0\]: dtype",
    f"{M}device = 1": "device: must be a table",
    f"{M}kind = 'embedding'\n[models.vision]\nmax_edge = 1": "Which.Embedding has no argument",
    f"{M}{M}": "'m' occurs twice; give each an alias",
    f"{M}[models.device]\ncpu = true\n{M}alias = 'n'": "device.cpu: must be the same",
    f"{M}[models.device]\ncpu = 1": r"models\[0\]\.device\.cpu: must be True or False",
    f"default_model_id = 'x'\n{M}": "'x' is not among m",
    f"command = 'chat'\n{M}": "command: 'chat' is unknown",
    f"[paged_attn]\nmode = 'maybe'\n{M}": "paged_attn.mode",
    f"[runtime]\nmax_seq = 1\n{M}": "runtime.max_seq is unknown; did you mean 'max_seqs'",
    f"[serve]\n{M}": "serve is unknown; did you mean 'server'",
    f"runtime = 1\n{M}": "runtime: must be a table",
    "[model]\nmodel = 'm'": "no member of Which",
    "[model]\nmodel_id = 'm'\n[anymoe]": r"\[anymoe\] is not available",
    "models = ": "is not valid TOML",
}


@pytest.mark.parametrize("text", BAD, ids=repr)
def test_a_wrong_file_says_where(tmp_path, text):
    with pytest.raises(errors.MistralRsError, match=BAD[text]) as caught:
        parsed(tmp_path, text)
    assert "models.toml" in str(caught.value)


def test_no_such_file(tmp_path):
    with pytest.raises(errors.RequestError, match="cannot be read"):
        read(tmp_path / "none.toml")
    with pytest.raises(errors.RequestError, match="must be a .toml file"):
        read(tmp_path / "models.json")
    with pytest.raises(errors.RequestTypeError, match="path"):
        read(3)
