"""The thread pool, the choice of a backend, and life without a compiled module."""

import os
import subprocess
import sys
import threading

import pytest
import torch

from mistralrs import kernels
from mistralrs.kernels import native
from mistralrs.kernels.cores import physical_cores
from mistralrs.kernels.linear import linear


def test_use_is_undone(isa):
    before = kernels.describe()
    with kernels.use("reference", threads=5):
        assert kernels.describe() == before | {"cpu": "reference", "threads": 5}
    assert kernels.describe() == before
    with pytest.raises(ValueError, match="choose one of"), kernels.use("quantum"):
        pass
    assert kernels.describe() == before


def test_threads_call_at_once(isa):
    x, w = torch.randn(40, 300), torch.randn(200, 300)
    want, wrong = linear(x, w), []

    def work():
        for _ in range(50):
            wrong.append(not torch.equal(linear(x, w), want))

    with kernels.use(isa, threads=4):
        workers = [threading.Thread(target=work) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert len(wrong) == 200
    assert not any(wrong)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_computes(isa):
    x, w = torch.randn(40, 300), torch.randn(200, 300)
    with kernels.use(isa, threads=3):
        want = linear(x, w)
        child = os.fork()
        if child == 0:
            os._exit(0 if torch.equal(linear(x, w), want) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_idle_threads_sleep(isa):
    with kernels.use(isa, threads=3):
        linear(torch.randn(40, 300), torch.randn(200, 300))
        threading.Event().wait(0.05)
        before = os.times()
        threading.Event().wait(0.3)
        after = os.times()
    assert after.user + after.system - before.user - before.system < 0.1


def test_physical_cores():
    assert 1 <= physical_cores() <= (os.cpu_count() or 1)


def test_without_the_module_the_reference_computes_and_says_so(caplog, monkeypatch):
    monkeypatch.setitem(sys.modules, "mistralrs.kernels._cpu", None)
    assert native.load() is None
    assert "pip install ." in caplog.text


def test_a_process_with_sleeping_workers_ends():
    code = (
        "import torch; from mistralrs.kernels.linear import linear;"
        "from mistralrs import kernels\n"
        "with kernels.use(threads=4): linear(torch.ones(40, 300), torch.ones(200, 300))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
