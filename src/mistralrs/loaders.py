"""Which kind of model each member of `Which` loads as, and how text models are put together."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mistralrs import embedder
from mistralrs.api import check, later
from mistralrs.api.enums import IsqOrganization
from mistralrs.api.errors import ConfigError, MistralRsError, NotSupportedError
from mistralrs.api.which import Which, WhichEmbedding, WhichGGUF, WhichPlain, WhichVisionPlain
from mistralrs.embedder import Embedder
from mistralrs.load.build import Built, build, construct
from mistralrs.load.gguf import Gguf, gguf_names, read_gguf
from mistralrs.load.gguf_config import config_of
from mistralrs.load.gguf_names import tensors_of
from mistralrs.load.gguf_tokenizer import describe, tokenizer_of
from mistralrs.load.hub import Repo, open_repo
from mistralrs.load.matformer import sliced
from mistralrs.load.plan import Budget, Wish
from mistralrs.load.sentence import is_embedding_model
from mistralrs.load.vocabulary import check_size, read_named, read_tokenizer
from mistralrs.passes.isq import parse
from mistralrs.pipeline import Pipeline, Settings, best_device, page_size
from mistralrs.prompt.build import Prompter
from mistralrs.prompt.media import Placer
from mistralrs.prompt.template import ChatTemplate, resolve
from mistralrs.prompt.tokenizer import Tokenizer, eos_ids, read_config
from mistralrs.stream.format import detect

log = logging.getLogger("mistralrs")

Model = Pipeline | Embedder
Modalities = dict[str, list[str]]  # "input" and "output" to text, image, embedding


def load(which: Which, settings: Settings) -> Model:
    """Load the model that `which` names; raises NotSupportedError for a kind without a loader."""
    loader = loader_of(which)
    resolve(
        lambda name: None, settings.chat_template, settings.jinja_explicit
    )  # are the files there?
    return loader(which, settings)


def loader_of(which: Which) -> Callable[[Any, Settings], Model]:
    """What loads a member of Which; raises NotSupportedError for a kind, or a field, that nothing loads yet."""
    if not isinstance(which, Which):
        raise check.wrong_type("which", "a Which, such as Which.Plain('owner/name')", which)
    loader = LOADERS.get(type(which))
    if loader is None:
        known = ", ".join(sorted(kind.__qualname__ for kind in LOADERS))
        raise NotSupportedError(
            f"{type(which).__qualname__} has no loader yet; this version loads {known}"
        )
    later.refuse(type(which).__qualname__, which, later.WHICH)
    return loader


def name_of(which: Which) -> str:
    """The hub id or folder that a member of Which names."""
    for field in ("model_id", "quantized_model_id", "adapter_model_id", "xlora_model_id"):
        if name := getattr(which, field, None):
            return name if isinstance(name, str) else name[0]
    raise check.wrong_type("which", "a Which, such as Which.Plain('owner/name')", which)


def load_plain(which: WhichPlain, settings: Settings) -> Pipeline:
    """Load a text model from safetensors or PyTorch files."""
    repo = open_repo(which.model_id, token_source=settings.token_source, cache=which.hf_cache_path)
    if is_embedding_model(repo):
        raise NotSupportedError(f"'{repo.id}' is an embedding model: load it with Which.Embedding")
    built = build(repo, wish(which, settings, which.arch.value if which.arch else None))
    return assemble(repo.id, built, text_of(repo, which.tokenizer_json), settings)


def load_media(which: WhichVisionPlain, settings: Settings) -> Pipeline:
    """Load a model that reads images beside text."""
    repo = open_repo(which.model_id, token_source=settings.token_source, cache=which.hf_cache_path)
    wanted = replace(wish(which, settings, which.arch.value if which.arch else None), media=True)
    built = build(repo, wanted)
    if built.model.encoder is None:
        raise NotSupportedError(f"'{repo.id}' reads only text: load it with Which.Plain")
    text = text_of(repo, which.tokenizer_json)
    return assemble(repo.id, built, text, settings, which.max_edge)


def load_gguf(which: WhichGGUF, settings: Settings) -> Pipeline:
    """Load a text model from GGUF files, with their own tokenizer and template unless others are named."""
    if settings.in_situ_quant:
        log.warning("in_situ_quant leaves what is quantized in a GGUF file as it is")
    source, cache = settings.token_source, which.hf_cache_path
    repo = open_repo(which.quantized_model_id, token_source=source, cache=cache)
    file = read_gguf(repo.fetch(gguf_names(repo, which.quantized_filenames)))
    if which.tok_model_id is not None:
        other = open_repo(which.tok_model_id, token_source=source, cache=cache)
        text = text_of(other, which.tokenizer_json)
    else:
        text = own_text(file, which.tokenizer_json)
    built = construct(config_of(file), lambda: tensors_of(file), wish(which, settings, None))
    return assemble(repo.id, built, text, settings)


LOADERS: dict[type[Which], Callable[[Any, Settings], Model]] = {
    WhichEmbedding: embedder.load,
    WhichGGUF: load_gguf,
    WhichPlain: load_plain,
    WhichVisionPlain: load_media,
}


@dataclass(frozen=True)
class Text:
    """What turns requests into tokens and back: a tokenizer, its config, a model's files, what ends a turn."""

    tokenizer: Tokenizer
    config: Mapping[str, Any]
    find: Callable[[str], Path | None]
    generation: Mapping[str, Any] | None


def text_of(repo: Repo, tokenizer_json: str | None) -> Text:
    """What the files of a Hugging Face model say."""
    inner, config = read_tokenizer(repo, tokenizer_json)
    return Text(
        Tokenizer.wrap(inner, config), config, repo.find, repo.json("generation_config.json")
    )


def own_text(file: Gguf, tokenizer_json: str | None) -> Text:
    """What a GGUF file says; the tokenizer may come from another file."""
    inner, config = (
        read_named(tokenizer_json, describe(file)) if tokenizer_json else tokenizer_of(file)
    )
    return Text(
        Tokenizer.wrap(inner, config),
        config,
        lambda name: None,
        {"eos_token_id": config["eos_token_id"]},
    )


def placer_of(
    built: Built, text: Text, template: ChatTemplate | None, max_edge: int | None
) -> Placer | None:
    """What places images, sounds and films in the prompts of a model that reads them."""
    encoder = built.model.encoder
    if encoder is None:
        return None
    processor = read_config(text.find("processor_config.json"))
    own = read_config(text.find("preprocessor_config.json"))
    films = read_config(text.find("video_preprocessor_config.json"))
    seen, heard = (
        {**processor, **(processor.get(name) or {}), **own}
        for name in ("image_processor", "feature_extractor")
    )
    try:
        made = {
            "image": encoder.processor(built.media, seen),
            "audio": encoder.listener(built.media, heard),
            "video": encoder.watcher(
                built.media,
                {**seen, "video": {**(processor.get("video_processor") or {}), **films}},
            ),
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, MistralRsError):
            raise
        raise ConfigError(
            f"preprocessor_config.json or processor_config.json has a value that does not fit ({error!r}): check "
            "what was edited, or download them again"
        ) from error
    return Placer(
        {kind: one for kind, one in made.items() if one},
        text.tokenizer,
        template,
        encoder.positions,
        max_edge,
        adapter=encoder.adapter,
    )


def assemble(
    id: str, built: Built, text: Text, settings: Settings, max_edge: int | None = None
) -> Pipeline:
    """Put the tokenizer, the template and the engine around a built model."""
    template = resolve(text.find, settings.chat_template, settings.jinja_explicit, text.config)
    eos = eos_ids(text.tokenizer, text.config, text.generation, built.raw or built.cfg.raw)
    rows, seed = built.cfg.vocab_size, settings.seed or 0
    if text.tokenizer.size > rows:
        check_size(text.tokenizer.inner, built.model.model.embed_tokens.weight.shape[0], id)
    placer = placer_of(built, text, template, max_edge)
    prompter = Prompter(text.tokenizer, template, eos, built.plan.context, seed, rows, placer)
    return Pipeline(
        id,
        built,
        prompter,
        detect(template.text if template else None, text.tokenizer.added),
        settings,
    )


def wish(
    which: WhichPlain | WhichGGUF | WhichVisionPlain, settings: Settings, arch: str | None
) -> Wish:
    """What the user decides about a text model."""
    return Wish(
        arch=arch,
        dtype=which.dtype.value,
        device=best_device(),
        isq=parse(settings.in_situ_quant) if settings.in_situ_quant else None,
        experts=getattr(which, "organization", None) is IsqOrganization.MoQE,
        sequences=settings.max_seqs,
        snapshots=settings.prefix_cache_n,
        page_size=page_size(settings),
        budget=budget(which, settings),
        slice=sliced(
            getattr(which, "matformer_config_path", None),
            getattr(which, "matformer_slice_name", None),
        ),
    )


def budget(which: WhichPlain | WhichGGUF | WhichVisionPlain, settings: Settings) -> Budget:
    """What the user says about the cache."""
    params = which.auto_map_params
    expected = params.max_seq_len * params.max_batch_size if params else 4096
    return Budget(settings.pa_ctxt_len, settings.pa_gpu_mem_usage, settings.pa_gpu_mem, expected)
