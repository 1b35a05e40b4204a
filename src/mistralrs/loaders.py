"""Which kind of model each member of `Which` loads as. This table is the registry."""

from collections.abc import Callable
from typing import Any

from mistralrs import embedder, pipeline
from mistralrs.api import check, later
from mistralrs.api.errors import NotSupportedError
from mistralrs.api.which import Which, WhichEmbedding, WhichPlain
from mistralrs.embedder import Embedder
from mistralrs.pipeline import Pipeline, Settings

Model = Pipeline | Embedder

LOADERS: dict[type[Which], Callable[[Any, Settings], Model]] = {
    WhichEmbedding: embedder.load,
    WhichPlain: pipeline.load,
}


def load(which: Which, settings: Settings) -> Model:
    """Load the model that `which` names; raises NotSupportedError for a kind without a loader."""
    if not isinstance(which, Which):
        raise check.wrong_type("which", "a Which, such as Which.Plain('owner/name')", which)
    loader = LOADERS.get(type(which))
    if loader is None:
        known = " and ".join(sorted(kind.__qualname__ for kind in LOADERS))
        raise NotSupportedError(
            f"{type(which).__qualname__} has no loader yet; this version loads {known}, from Hugging "
            "Face safetensors or PyTorch files"
        )
    later.refuse(type(which).__qualname__, which, later.WHICH)
    return loader(which, settings)
