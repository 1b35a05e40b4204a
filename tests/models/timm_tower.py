"""timm's MobileNet-V5 within transformers, also where torchvision is missing: that model uses none of it."""

import importlib.util
import sys
from types import ModuleType

import pytest


class Named(type):
    """A class that has every attribute."""

    def __getattr__(cls, name):
        return None if name.startswith("__") else Named(name, (), {})


class Stub(ModuleType):
    """A package that has every class and every module."""

    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Named(name, (), {})


class Finder:
    """Stubs for one package and what is inside of it."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torchvision":
            return importlib.util.spec_from_loader(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return Stub(spec.name)

    def exec_module(self, module):
        pass


def install() -> None:
    """Let transformers make the tower. The test is skipped where timm is missing."""
    if not importlib.util.find_spec("timm"):
        pytest.skip(
            "timm asks for torchvision, which it is not used with: pip install --no-deps timm"
        )
    finder = None if importlib.util.find_spec("torchvision") else Finder()
    if finder:
        sys.meta_path.append(finder)
    try:
        import timm
    finally:
        if finder:
            sys.meta_path.remove(finder)
            for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
                del sys.modules[name]
    from transformers.models.timm_wrapper import modeling_timm_wrapper as wrapper

    wrapper.timm, wrapper.requires_backends = timm, lambda *names: None
