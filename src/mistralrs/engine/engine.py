"""The loop: admit, step, deliver. One thread per loaded model; everything else only puts jobs into its inbox."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from mistralrs.api.errors import EngineError, MistralRsError
from mistralrs.api.piece import Piece, Token
from mistralrs.engine import batch
from mistralrs.engine.masks import Masks
from mistralrs.engine.media import Encoded
from mistralrs.engine.memory import Pages, Slots
from mistralrs.engine.sampler import Bits, Row, sample
from mistralrs.engine.scheduler import Scheduler, Turn
from mistralrs.engine.sequence import Job, Sequence
from mistralrs.nn.batch import Batch
from mistralrs.nn.media import Media

log = logging.getLogger("mistralrs.engine")


@dataclass(frozen=True)
class Limits:
    """The sizes an engine runs with."""

    context: int  # most tokens of a sequence
    pages: int
    page_size: int = 32
    max_running: int = 16
    budget: int = 512  # tokens of a step; bounds how long a prompt delays the others' next token
    reuse: bool = True  # prefix cache
    snapshots: int = 16  # states of prompts kept for reuse, in models with recurrent layers
    keep: bool = True  # False computes every token again at every step


@dataclass(frozen=True)
class Body:
    """What an engine runs."""

    model: Callable[[Batch], torch.Tensor]  # -> logits [R, V]
    device: torch.device
    # (prompt, length) -> what else than the tokens decides cached content; a change makes it worth nothing
    salt: Callable[[int, int], int] = lambda prompt, length: 0
    copy: Callable[[int, int], None] | None = (
        None  # state of one slot to another; None: no such layers
    )
    encode: Callable[[Media], torch.Tensor] | None = (
        None  # a medium -> [rows, ...]; None: only text
    )


@dataclass(frozen=True)
class Occupancy:
    """What an engine is busy with at a moment."""

    running: int  # continuations
    waiting: int  # continuations, for a place or for pages
    held: int  # cache pages
    pages: int  # of them all


class Engine:
    """Runs jobs on a model."""

    def __init__(self, body: Body, limits: Limits):
        self.body, self.limits = body, limits
        self.masks = Masks()
        self.pages = Pages(limits.pages, limits.page_size, limits.reuse and limits.keep)
        self.encoded = Encoded(body.encode) if body.encode else None
        slots = body.copy and Slots(limits.max_running, limits.snapshots, body.copy)
        self.scheduler = Scheduler(self.pages, limits.max_running, limits.budget, slots)
        self.inbox: queue.SimpleQueue[Job | Callable[[], None] | None] = queue.SimpleQueue()
        self.jobs: dict[Job, list[Sequence]] = {}
        self.changes: set[Future[None]] = set()
        self.failure: BaseException | None = None  # set once the loop has ended
        self.finishing = False  # end when all jobs are done
        self.thread = threading.Thread(target=self.run, name="mistralrs-engine", daemon=True)
        self.thread.start()

    # Called from any thread.

    def submit(self, job: Job) -> None:
        """Queue a job; its pieces, or one exception, go to `job.deliver`."""
        self.inbox.put(job)
        if self.failure is not None:  # the loop ended before or while the job was put
            self.refuse(self.failure)

    def cancel(self, job: Job) -> None:
        """End a job within one step and free what it holds."""
        job.canceled = True
        self.inbox.put(lambda: None)

    def call(self, action: Callable[[], None]) -> None:
        """Run something on the engine's thread between two steps, for example a change of the weights."""
        self.inbox.put(action)
        if self.failure is not None:
            self.refuse(self.failure)

    def change(self, action: Callable[[], None]) -> Future[None]:
        """Change the weights between two steps. What was computed with the old ones is then computed again.

        The result comes when it is done; an error of `action` becomes the future's.
        """
        future: Future[None] = Future()

        def run() -> None:
            try:
                action()
                future.set_result(None)
            except Exception as error:
                future.set_exception(error)
            finally:
                self.forget()

        self.changes.add(future)
        future.add_done_callback(self.changes.discard)
        self.call(run)
        return future

    def occupancy(self) -> Occupancy:
        """What it is busy with."""
        pages, scheduler = self.pages, self.scheduler
        held = pages.count - pages.free
        return Occupancy(len(scheduler.running), len(scheduler.waiting), held, pages.count)

    def close(self, finish: bool = False) -> None:
        """End the thread, and let go of the model. Jobs that still run fail with an EngineError, or with `finish`
        are done first.
        """
        self.inbox.put(self.wind_up if finish else None)
        if threading.current_thread() is not self.thread:
            self.thread.join()

    # The engine's thread.

    def run(self) -> None:
        """The loop. Whatever ends it, nobody is left waiting."""
        failure: BaseException = EngineError("the model was closed; load it again to send requests")
        try:
            with torch.inference_mode():
                while self.receive():
                    self.step()
        except BaseException as error:
            log.exception("the engine stopped")
            failure = EngineError(f"the engine stopped: {error!r}; reload the model to go on")
        self.failure = failure
        self.masks.close()
        for job in list(self.jobs):
            self.fail(job, failure)
        self.refuse(failure)
        del (
            self.body,
            self.encoded,
            self.scheduler,
        )  # whoever keeps the engine does not keep the weights

    def wind_up(self) -> None:
        """Take no more than what has arrived, and end when it is done."""
        self.finishing = True

    def refuse(self, failure: BaseException) -> None:
        """Fail what arrived after the end."""
        for future in list(self.changes):
            if not future.done():
                future.set_exception(failure)
        while True:
            try:
                item = self.inbox.get_nowait()
            except queue.Empty:
                return
            if isinstance(item, Job):
                item.deliver(failure)

    def forget(self) -> None:
        """Let no cached content be used any more: running sequences compute their tokens again."""
        for sequence in reversed(list(self.scheduler.running)):  # their order stays
            self.scheduler.preempt(sequence)
        for sequence in [s for group in self.jobs.values() for s in group if s.finish is None]:
            sequence.snapshot = None
        self.scheduler.clear()
        if self.encoded is not None:  # layers with cross-attention made keys and values of them
            self.encoded.clear()

    def receive(self) -> bool:
        """Take what has arrived, waiting when there is nothing to do; False to end."""
        while not self.inbox.empty() or not len(self.scheduler):
            if self.finishing and self.inbox.empty():
                return False
            item = self.inbox.get()
            if item is None:
                return False
            if isinstance(item, Job):
                self.begin(item)
            else:
                item()
            self.sweep()
        return True

    def begin(self, job: Job) -> None:
        """Queue the first continuation; the others follow when they can share its prompt's pages."""
        self.jobs[job] = []
        with self.guard(job):
            length = len(job.prompt.tokens)
            salt = self.salt(length, length)
            context, n = self.limits.context, job.prompt.n
            self.jobs[job] = [Sequence(job, i, context, salt) for i in range(n)]
            job.open = n
            self.scheduler.waiting.append(self.jobs[job][0])

    def sweep(self) -> None:
        """End the jobs whose callers have gone."""
        for job in [j for j in self.jobs if j.canceled]:
            for sequence in self.jobs[job]:
                if sequence.finish is None:
                    self.end(sequence, Piece(sequence.index, finish="canceled"))

    def step(self) -> None:
        """Compute one batch and hand out what came of it."""
        self.sweep()
        turns = self.scheduler.plan()
        if not turns:
            return
        for turn in turns:
            if not turn.sequence.job.started_at:
                turn.sequence.job.started_at = time.perf_counter()
                turn.sequence.job.cached = turn.sequence.computed
        for turn, token in self.compute(turns):
            with self.guard(turn.sequence.job):
                if turn.sequence.finish is None:
                    self.commit(turn, token)

    def compute(self, turns: list[Turn]) -> list[tuple[Turn, Token | None]]:
        """Run the model and the sampler. When a batch fails its sequences run one by one, and only those that fail
        again end."""
        try:
            tokens = self.forward(turns)
        except Exception as error:
            if len(turns) > 1:
                self.scheduler.isolate(turns)
            else:
                self.fail(turns[0].sequence.job, failed(error))
            return []
        results = []
        for turn in turns:
            token = next(tokens) if turn.sequence.pending == turn.tokens else None
            if isinstance(token, Exception):
                self.fail(turn.sequence.job, failed(token))
            else:
                results.append((turn, token))
        return results

    def forward(self, turns: list[Turn]) -> Iterator[Token | Exception]:
        """The sampled token, or its error, of every sequence that reaches its end in this step."""
        ends = [t.sequence for t in turns if t.sequence.pending == t.tokens]
        masks = self.masks.start(ends)
        rows = self.encoded.rows if self.encoded else None
        try:
            logits = self.body.model(batch.build(turns, self.body.device, rows))
        finally:
            masks.wait()
        tokens = sample(logits, [row(s, masks.of(s)) for s in ends]) if ends else []
        return iter([masks.error(s) or token for s, token in zip(ends, tokens, strict=True)])

    def commit(self, turn: Turn, token: Token | None) -> None:
        """Record a computed turn and deliver its token."""
        sequence = turn.sequence
        self.scheduler.advance(turn)
        if token is None:
            return
        if not self.limits.keep:
            sequence.computed = 0
        if not sequence.generated:
            self.prompt_done(sequence)
        self.deliver(sequence, self.grow(sequence, token))
        if sequence.finish is None:
            self.outgrow(sequence)

    def outgrow(self, sequence: Sequence) -> None:
        """Compute a sequence again that became too long for what the cache holds of it."""
        salt = self.salt(sequence.prompt_length, len(sequence.tokens))
        if salt != sequence.salt:
            self.scheduler.preempt(sequence)
            sequence.restart(salt)

    def salt(self, prompt: int, length: int) -> bytes:
        """What page digests hash beside the tokens of a sequence."""
        number = self.body.salt(prompt, length)
        return number.to_bytes(8, "little") if number else b""

    def prompt_done(self, sequence: Sequence) -> None:
        """Note the time, and let the other continuations of the job start from the cached prompt."""
        job = sequence.job
        if sequence.index == 0:
            job.prompt_at = time.perf_counter()
            self.scheduler.waiting.extendleft(reversed(self.jobs[job][1:]))

    def grow(self, sequence: Sequence, token: Token) -> Piece:
        """Add a token, and at once those that a grammar puts behind it. Tokens whose log-probabilities are wanted
        need a step each.
        """
        alone = sequence.job.prompt.sampling.logprobs is not None
        tokens, text = [token], self.add(sequence, token)
        finish = sequence.ended_by(token.id)
        while sequence.forced and not finish and not alone:
            tokens.append(Token(sequence.forced[0]))
            text += self.add(sequence, tokens[-1])
            finish = sequence.ended_by(tokens[-1].id)
        if finish and not sequence.follower.stopped:
            text += sequence.follower.flush()
        return Piece(sequence.index, tuple(tokens), text, finish)

    def add(self, sequence: Sequence, token: Token) -> str:
        """Add one token; the text that became certain."""
        sequence.append(token.id)
        sequence.job.generated += 1
        final = token.id in sequence.job.prompt.stop_ids
        return "" if final else sequence.follower.push(token.id)

    def deliver(self, sequence: Sequence, piece: Piece) -> None:
        """Hand out a piece, and end the continuation with its last one."""
        if piece.finish:
            self.end(sequence, piece)
        else:
            self.tell(sequence.job, piece)

    def end(self, sequence: Sequence, piece: Piece) -> None:
        """Free a continuation and deliver its last piece."""
        job = sequence.job
        sequence.finish = piece.finish
        self.scheduler.remove(sequence)
        job.open -= 1
        if not job.open:
            job.finished_at = time.perf_counter()
            del self.jobs[job]
        self.tell(job, piece)

    def fail(self, job: Job, error: BaseException) -> None:
        """End a whole job with an error."""
        if job not in self.jobs:
            return
        for sequence in self.jobs.pop(job):
            sequence.finish = sequence.finish or "canceled"
            self.scheduler.remove(sequence)
        self.tell(job, error)

    def tell(self, job: Job, item: Piece | BaseException) -> None:
        """Deliver; a caller that can no longer listen is canceled."""
        try:
            job.deliver(item)
        except Exception:
            log.debug("a caller has gone", exc_info=True)
            job.canceled = True

    @contextmanager
    def guard(self, job: Job) -> Iterator[None]:
        """An exception in here ends this job only."""
        try:
            yield
        except Exception as error:
            self.fail(job, failed(error))


def row(sequence: Sequence, allow: Bits | None) -> Row:
    """What the sampler needs to know of a sequence, and the tokens that its grammar allows."""
    return Row(
        sequence.job.prompt.sampling,
        sequence.generated,
        sequence.index,
        sequence.penalties,
        allow,
        sequence.forced[0] if sequence.forced else None,
    )


def failed(error: Exception) -> MistralRsError:
    """A typed error for an exception inside a step."""
    if isinstance(error, MistralRsError):
        return error
    log.error("a request failed", exc_info=error)
    wrapped = EngineError(
        f"computing this request failed: {error!r}; other requests are not affected"
    )
    wrapped.__cause__ = error
    return wrapped
