"""Tests with the fixture `isa` run once for each compiled backend that this machine has."""

import pytest
import torch

from mistralrs import kernels

COMPILED = [name for name in kernels.available() if name != "reference"]


@pytest.fixture(params=COMPILED)
def isa(request):
    with kernels.use(request.param):
        yield request.param


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def pytest_collection_modifyitems(items):
    if not COMPILED:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="the extension is not built"))
