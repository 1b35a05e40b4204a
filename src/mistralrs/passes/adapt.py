"""Adapters in the layers of a model: every sequence of a step may have another one."""

import re
from collections.abc import Mapping

from torch import nn

from mistralrs.nn.adapter import Active, Adapted, Adapter
from mistralrs.nn.linear import Linear


def adapt(model: nn.Module, adapters: Mapping[str, Adapter]) -> None:
    """Replace the linear layers that some adapter changes, before or after they have weights.

    Only layers of which a row belongs to a token can be adapted: those between the embedding and the head.
    """
    if not adapters:
        return
    active = Active()
    for path, layer in list(model.named_modules()):
        mine = {name: a for name, a in adapters.items() if re.search(a.pattern, path)}
        if type(layer) is Linear and mine:
            parent, _, leaf = path.rpartition(".")
            setattr(model.get_submodule(parent), leaf, Adapted(layer, mine, active))
    model.register_forward_pre_hook(active.begin)
    model.register_forward_hook(active.end, always_call=True)
