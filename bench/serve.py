"""What does HTTP cost? Tokens per second of many streaming clients, through the server and in process.

Both sides get the same requests, run in a process of their own, and stream every token, in turn. The answers must
be equal.
Exit code 1 if an answer of the server is missing, broken or another one.

python bench/serve.py [MODEL] [--clients 200] [--tokens 64] [--max-seqs 200] [--rounds 3]
"""

import argparse
import asyncio
import json
import multiprocessing
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from multiprocessing.connection import Connection
from typing import Any

from mistralrs.demo import model_path
from mistralrs.server.listen import quick_loop

TOPICS = ("rivers", "a fox", "seven birds", "old stone walls", "light and rain", "12 plus 7")
Body = dict[str, Any]
Answer = tuple[str, int, float]  # text, tokens, seconds to the first
Ask = Callable[[Body], Awaitable[Callable[[], Answer]]]  # what reads the answer is called untimed


@dataclass(frozen=True)
class Round:
    """What one round of requests came to."""

    tokens: int
    seconds: float
    first: list[float]  # seconds to the first token, sorted
    digest: str  # of all texts
    work: float  # seconds of processor time in the process that asked

    def line(self, name: str) -> str:
        """A row of the table."""
        half, most = self.first[len(self.first) // 2], self.first[int(len(self.first) * 0.99)]
        return (
            f"{name:12} {self.tokens / self.seconds:9,.0f} tokens/s {self.seconds:7.2f} s   "
            f"first token {half * 1e3:6.0f} ms (99 %: {most * 1e3:.0f} ms)"
        )


def body(number: int, tokens: int) -> Body:
    """One request."""
    return {
        "messages": [{"role": "user", "content": f"Tell me about {TOPICS[number % 6]}, {number}."}],
        "max_tokens": tokens, "seed": number, "temperature": 0.7, "ignore_eos": True,
    }  # fmt: skip


async def together(ask: Ask, clients: int, tokens: int) -> Round:
    """Send all requests at once."""
    start, before = time.perf_counter(), time.process_time()
    raw = await asyncio.gather(*(ask(body(i, tokens)) for i in range(clients)))
    seconds, work = time.perf_counter() - start, time.process_time() - before
    answers = [read() for read in raw]
    digest = sha256("\0".join(text for text, _, _ in answers).encode()).hexdigest()
    first = sorted(t for _, _, t in answers)
    return Round(sum(n for _, n, _ in answers), seconds, first, digest, work)


class Client(asyncio.Protocol):
    """Takes the bare stream, as cheaply as Python can."""

    def __init__(self) -> None:
        self.start, self.first = time.perf_counter(), 0.0
        self.pieces: list[bytes] = []
        self.end = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """Keep a piece."""
        self.pieces.append(data)
        if not self.first and b"data:" in data:
            self.first = time.perf_counter() - self.start

    def connection_lost(self, error: Exception | None) -> None:
        """The answer is complete."""
        self.end.set_result(None)


async def over_http(port: int, wanted: Body) -> Callable[[], Answer]:
    """One client."""
    transport, client = await asyncio.get_running_loop().create_connection(
        Client, "127.0.0.1", port
    )
    content = json.dumps(wanted | {"stream": True}).encode()
    transport.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content)
    )
    await client.end
    return lambda: (*read(b"".join(client.pieces)), client.first)


def read(stream: bytes) -> tuple[str, int]:
    """The text of a stream and its tokens; RuntimeError if it is not whole."""
    events = [json.loads(line[6:]) for line in stream.split(b"\n") if line.startswith(b"data: {")]
    if b"data: [DONE]" not in stream or not events or "error" in events[-1]:
        raise RuntimeError(f"the stream is broken: {stream[-300:]!r}")
    deltas = [event["choices"][0]["delta"] for event in events]
    text = "".join((d.get("reasoning_content") or "") + (d.get("content") or "") for d in deltas)
    return text, events[-1]["usage"]["completion_tokens"]


def inside(args: argparse.Namespace, turn: Connection) -> None:
    """A process that runs a round in process whenever it is told to."""
    from mistralrs import ChatCompletionRequest, Runner, Which
    from mistralrs.aio import AsyncRunner
    from mistralrs.server.listen import unwatch

    unwatch()
    runner = AsyncRunner(Runner(Which.Plain(model_id=args.model), max_seqs=args.max_seqs))

    async def ask(wanted: Body) -> Callable[[], Answer]:
        start, first, text, usage = time.perf_counter(), 0.0, "", None
        request = ChatCompletionRequest(**wanted, stream=True)
        async for chunk in await runner.send_chat_completion_request(request):  # type: ignore[union-attr]
            first = first or time.perf_counter() - start
            delta, usage = chunk.choices[0].delta, chunk.usage
            text += (delta.reasoning_content or "") + (delta.content or "")
        assert usage is not None
        tokens = usage.completion_tokens
        return lambda: (text, tokens, first)

    while True:
        turn.recv()
        turn.send(quick_loop().run(together(ask, args.clients, args.tokens)))


def serving(args: argparse.Namespace) -> tuple[subprocess.Popen[bytes], int]:
    """A server in a process of its own, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["-m", args.model, "-p", str(port), "--max-seqs", str(args.max_seqs)]
    command = [sys.executable, "-m", "mistralrs.cli", "serve", *options, "--max-requests", "4096"]
    process = subprocess.Popen(command)
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process, port
        except OSError:
            if process.poll() is not None:
                raise SystemExit("the server did not start") from None
            time.sleep(0.05)


def measured(args: argparse.Namespace) -> dict[str, list[Round]]:
    """The rounds of both sides in turn, since a machine is not always equally fast; the first ones do not count."""
    context = multiprocessing.get_context("spawn")
    turn, there = context.Pipe()
    process = context.Process(target=inside, args=(args, there), daemon=True)
    process.start()
    server, port = serving(args)
    found: dict[str, list[Round]] = {"in process": [], "server": []}
    ask: Ask = lambda wanted: over_http(port, wanted)  # noqa: E731
    try:
        for _ in range(args.rounds + 1):
            turn.send(None)
            found["in process"].append(turn.recv())
            found["server"].append(quick_loop().run(together(ask, args.clients, args.tokens)))
    finally:
        process.kill()
        server.terminate()
        server.wait(40)
    return {name: rounds[1:] for name, rounds in found.items()}


def main() -> None:
    """Measure both and compare them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default=str(model_path()))
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--max-seqs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    found = measured(parser.parse_args())
    for name, rounds in found.items():
        print(min(rounds, key=lambda r: r.seconds).line(name))
    pairs = zip(found["in process"], found["server"])
    shares = sorted(inside.seconds / outside.seconds for inside, outside in pairs)
    work = min(one.work for one in found["server"])
    print(f"its clients take {work:.2f} s of these processors in a round, which count against it")
    print(
        f"the server reaches {shares[len(shares) // 2]:.1%} ({shares[0]:.1%} to {shares[-1]:.1%})"
    )
    if len({one.digest for rounds in found.values() for one in rounds}) > 1:
        sys.exit("the answers differ")


if __name__ == "__main__":
    main()
