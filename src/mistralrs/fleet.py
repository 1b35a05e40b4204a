"""The models of a Runner by id: each is loaded, lent to requests, unloaded, and loaded again when it is asked for."""

import gc
import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager, suppress

import torch

from mistralrs.api import check
from mistralrs.api.errors import (
    EngineError,
    MistralRsError,
    ModelNotFoundError,
    ModelStateError,
    RequestError,
    RequestTimeoutError,
)
from mistralrs.api.strict import did_you_mean
from mistralrs.api.which import Which
from mistralrs.embedder import Embedder
from mistralrs.load.trim import trim
from mistralrs.loaders import Modalities, Model
from mistralrs.pipeline import Pipeline

log = logging.getLogger("mistralrs")

DEFAULT = "default"  # how requests name the default model


class Patience:
    """A request's timeout, which waiting for its model uses up."""

    def __init__(self, timeout: float | None):
        self.timeout = None if timeout is None else check.number(above=0)("timeout", timeout)
        self.began = time.monotonic()

    @property
    def left(self) -> float | None:
        """Seconds, never quite none."""
        if self.timeout is None:
            return None
        return max(self.began + self.timeout - time.monotonic(), 1e-3)

    def late(self, id: str) -> RequestTimeoutError:
        """The error of a model that did not come in time."""
        return RequestTimeoutError(
            f"'{id}' was not loaded within {self.timeout} s; pass a larger timeout"
        )


class Slot:
    """One id: how to load its model, and the model while it is there.

    A user of the model holds a lease meanwhile. Unloading waits for the leases and for what the engine still has to do;
    loading waits for an unloading that has begun. So there are never two copies of a model.
    """

    def __init__(self, id: str, source: Which, make: Callable[[], Model]):
        self.id, self.source, self.make = id, source, make
        self.name = id  # the hub id or folder, once it is known
        self.modalities: Modalities | None = None  # known when it was loaded once
        self.changed = threading.Condition()  # guards what follows
        self.model: Model | None = None
        self.leases = 0
        self.unloading = False
        self.loading: Future[None] | None = None
        self.end: Callable[[], MistralRsError] | None = None  # why nobody gets the model any more

    @property
    def status(self) -> str:
        """ "loaded", "unloaded" or "reloading"."""
        with self.changed:
            if self.loading:
                return "reloading"
            return "loaded" if self.model and not self.unloading else "unloaded"

    def enter(self, timeout: float | None) -> tuple[Model, float | None]:
        """Take a lease: the model, loaded first if need be, and what is left of the timeout in seconds.

        Raises RequestTimeoutError when the model is not there in time, and ModelStateError when it cannot be loaded.
        """
        patience, left = Patience(timeout), timeout
        while (model := self.take()) is None:
            try:
                self.ready().result(patience.left)
            except FutureTimeoutError:
                raise patience.late(self.id) from None
            left = patience.left
        return model, left

    def take(self) -> Model | None:
        """Take a lease of the model if it is there."""
        with self.changed:
            if self.end is not None:
                raise self.end()
            if self.model is None or self.unloading:
                return None
            self.leases += 1
            return self.model

    def leave(self) -> None:
        """Give a lease back."""
        with self.changed:
            self.leases -= 1
            self.changed.notify_all()

    def ready(self) -> "Future[None]":
        """Done when the model is there; who asks first starts a thread that loads it. It cannot be canceled."""
        with self.changed:
            if self.end is not None:
                raise self.end()
            if self.loading is None and self.model is not None and not self.unloading:
                return HERE
            if self.loading is None:
                self.loading = begun()
                threading.Thread(target=self.reload, name="mistralrs-load", daemon=True).start()
            return self.loading

    def reload(self) -> None:
        """Load the model in a thread of its own; those who wait learn what went wrong."""
        with suppress(Exception):
            self.load()

    def load(self) -> None:
        """Load the model and tell those who wait; raises what the loader raises."""
        with self.changed:
            self.loading = waiters = self.loading or begun()
            self.changed.wait_for(lambda: not self.unloading)
        try:
            model = self.make()
        except BaseException as error:
            forget_locals(error)
            give_back()
            self.settle(None)
            waiters.set_exception(failed(self.id, error))
            raise
        self.name, model.id, self.modalities = model.id, self.id, model.modalities
        self.settle(model)
        waiters.set_result(None)

    def settle(self, model: Model | None) -> None:
        """Keep what was loaded, unless nobody may have it any more."""
        with self.changed:
            self.loading, unwanted = None, self.end is not None
            self.model = None if unwanted else model
            self.changed.notify_all()
        if model is not None and unwanted:
            model.close()

    def unload(self) -> None:
        """Let what runs finish, then give the memory back. Requests that come meanwhile wait and load it again."""
        with self.changed:
            self.changed.wait_for(lambda: self.loading is None and not self.unloading)
            if self.model is None:
                return
            self.unloading = True
            self.changed.wait_for(lambda: not self.leases)
        self.free(finish=True)

    def free(self, finish: bool) -> None:
        """End the engine and drop the model."""
        model = self.model
        if model is not None:
            model.close(finish)
        self.model = model = None
        give_back()
        with self.changed:
            self.unloading = False
            self.changed.notify_all()

    def retire(self, end: Callable[[], MistralRsError]) -> None:
        """Let nobody begin with the model any more."""
        with self.changed:
            self.end = end

    def close(self) -> None:
        """Free the model at once; what runs fails with an EngineError."""
        self.retire(closed)
        self.free(finish=False)


class Fleet:
    """Slots by id, in the order they were added, one of them the default."""

    def __init__(self) -> None:
        self.slots: dict[str, Slot] = {}  # replaced, never changed, so that readers need no lock
        self.default = ""
        self.lock = threading.Lock()  # of those who change it
        self.end = False

    def add(self, id: str, source: Which, make: Callable[[], Model]) -> None:
        """Load a model under a new id; raises what the loader raises, and is then as before."""
        slot = Slot(check.name("model_id", id), source, make)
        self.insert(slot)
        try:
            slot.load()
        except BaseException:
            with self.lock:
                self.slots = {name: s for name, s in self.slots.items() if s is not slot}
            raise
        if slot.end is not None:
            raise slot.end()
        with self.lock:
            self.default = self.default or id

    def insert(self, slot: Slot) -> None:
        """Take the id, before it takes time to load the model."""
        with self.lock:
            if self.end:
                raise closed()
            if slot.id in (*self.slots, DEFAULT):
                raise ModelStateError(f"the id '{slot.id}' is taken: pass another model_id")
            slot.loading = begun()
            self.slots = {**self.slots, slot.id: slot}

    def find(self, name: str | None) -> Slot:
        """The slot of an id, else the first one whose model has that hub id or folder; None is the default."""
        if name is None or name == DEFAULT:
            name = self.default
        slots = self.slots
        slot = slots.get(name) or next((s for s in slots.values() if s.name == name), None)
        if slot is None:
            hint = did_you_mean(str(name), slots)
            raise ModelNotFoundError(f"no model '{name}' here{hint}; there are: {', '.join(slots)}")
        return slot

    @contextmanager
    def lease(
        self, name: str | None, timeout: float | None = None
    ) -> Iterator[tuple[Model, float | None]]:
        """The model while the `with` block lasts, and what is left of the timeout in seconds."""
        slot = self.find(name)
        lent = slot.enter(timeout)
        try:
            yield lent
        finally:
            slot.leave()

    @contextmanager
    def text(
        self, name: str | None, timeout: float | None = None
    ) -> Iterator[tuple[Pipeline, float | None]]:
        """`lease` of a model that writes text."""
        with self.lease(name, timeout) as (model, left):
            if not isinstance(model, Pipeline):
                raise RequestError(
                    f"'{model.id}' is an embedding model and writes no text: call send_embedding_request, or "
                    "name a text model in model_id"
                )
            yield model, left

    @contextmanager
    def vectors(
        self, name: str | None, timeout: float | None = None
    ) -> Iterator[tuple[Embedder, float | None]]:
        """`lease` of an embedding model."""
        with self.lease(name, timeout) as (model, left):
            if not isinstance(model, Embedder):
                raise RequestError(
                    f"'{model.id}' is a text model and gives no embeddings: load an embedding model with "
                    "Which.Embedding, and name it in model_id"
                )
            yield model, left

    def status(self) -> list[tuple[str, str]]:
        """Every id with "loaded", "unloaded" or "reloading"."""
        return [(id, slot.status) for id, slot in self.slots.items()]

    def choose(self, name: str) -> None:
        """Make a loaded model the default."""
        slot = self.find(name)
        if slot.status != "loaded":
            raise ModelStateError(f"'{name}' is not loaded; call reload_model('{name}') first")
        with self.lock:
            self.default = slot.id

    def unload(self, name: str) -> None:
        """Free a model. The first other loaded model follows it as the default; without one it stays the default."""
        slot = self.find(name)
        with self.lock:
            self.succeed(slot, [])
        slot.unload()

    def succeed(self, slot: Slot, spare: list[str]) -> None:
        """Let another model be the default instead of `slot`: a loaded one, else the first of `spare`."""
        if self.default == slot.id:
            loaded = [id for id, s in self.slots.items() if s is not slot and s.status == "loaded"]
            self.default = (loaded + spare + [self.default])[0]

    def remove(self, name: str) -> None:
        """Forget a model; the default is followed as in `unload`, by an unloaded model if there is no other."""
        slot = self.find(name)
        with self.lock:
            others = {id: s for id, s in self.slots.items() if s is not slot}
            if not others:
                raise ModelStateError(f"'{slot.id}' is the only model; close the Runner instead")
            self.succeed(slot, list(others))
            self.slots = others
        slot.retire(lambda: ModelNotFoundError(f"'{slot.id}' was removed"))
        slot.unload()

    def close(self) -> None:
        """Free every model at once."""
        with self.lock:
            self.end = True
        for slot in self.slots.values():
            slot.close()


def begun() -> "Future[None]":
    """A future that cannot be canceled, so that one of those who wait does not end it for all."""
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()
    return future


def done() -> "Future[None]":
    """A future that is done."""
    future: Future[None] = Future()
    future.set_result(None)
    return future


HERE = done()  # of every model that is loaded


def failed(id: str, error: BaseException) -> MistralRsError:
    """The error of the requests that waited for a model."""
    reason = ModelStateError(f"'{id}' could not be loaded ({error}); the next request tries again")
    reason.__cause__ = error
    return reason


def closed() -> MistralRsError:
    """The error of requests to a closed Runner."""
    return EngineError("this Runner is closed; make a new one")


def forget_locals(error: BaseException) -> None:
    """Let a kept error not keep half a model in memory."""
    link: BaseException | None = error
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__


def give_back() -> None:
    """Return freed memory to the system, where allocators would keep it for later."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    trim()
