"""What does HTTP cost? Tokens per second of many streaming clients, through the server and in process.

Both sides get the same requests, run in a process of their own, and stream every token. The answers must be equal.
Exit code 1 if an answer of the server is missing, broken or another one.

python bench/serve.py [MODEL] [--clients 200] [--tokens 64] [--max-seqs 200] [--rounds 3]
"""

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from mistralrs.demo import model_path

TOPICS = ("rivers", "a fox", "seven birds", "old stone walls", "light and rain", "12 plus 7")
Body = dict[str, Any]
Ask = Callable[[Body], Awaitable[tuple[str, int, float]]]  # -> text, tokens, seconds to the first


@dataclass(frozen=True)
class Round:
    """What one round of requests came to."""

    tokens: int
    seconds: float
    first: list[float]  # seconds to the first token, sorted
    digest: str  # of all texts

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
    start = time.perf_counter()
    answers = await asyncio.gather(*(ask(body(i, tokens)) for i in range(clients)))
    seconds = time.perf_counter() - start
    digest = sha256("\0".join(text for text, _, _ in answers).encode()).hexdigest()
    return Round(sum(n for _, n, _ in answers), seconds, sorted(t for _, _, t in answers), digest)


async def over_http(port: int, wanted: Body) -> tuple[str, int, float]:
    """One client that reads the bare stream, as cheaply as Python can."""
    start, first = time.perf_counter(), 0.0
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    content = json.dumps(wanted | {"stream": True}).encode()
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content)
    )
    whole = b""
    while piece := await reader.read(1 << 16):
        whole += piece
        if not first and b"data:" in whole:
            first = time.perf_counter() - start
    writer.close()
    events = [json.loads(line[6:]) for line in whole.split(b"\n") if line.startswith(b"data: {")]
    if b"data: [DONE]" not in whole or not events or "error" in events[-1]:
        raise RuntimeError(f"the stream is broken: {whole[-300:]!r}")
    deltas = [event["choices"][0]["delta"] for event in events]
    text = "".join((d.get("reasoning_content") or "") + (d.get("content") or "") for d in deltas)
    return text, events[-1]["usage"]["completion_tokens"], first


async def client(port: int, args: argparse.Namespace) -> list[Round]:
    """The rounds through the server."""
    ask: Ask = lambda wanted: over_http(port, wanted)  # noqa: E731
    return [await together(ask, args.clients, args.tokens) for _ in range(args.rounds + 1)]


async def inside(args: argparse.Namespace) -> list[Round]:
    """The rounds in process."""
    from mistralrs import ChatCompletionRequest, Runner, Which
    from mistralrs.aio import AsyncRunner

    runner = AsyncRunner(Runner(Which.Plain(model_id=args.model), max_seqs=args.max_seqs))

    async def ask(wanted: Body) -> tuple[str, int, float]:
        start, first, text, usage = time.perf_counter(), 0.0, "", None
        request = ChatCompletionRequest(**wanted, stream=True)
        async for chunk in await runner.send_chat_completion_request(request):  # type: ignore[union-attr]
            first = first or time.perf_counter() - start
            delta, usage = chunk.choices[0].delta, chunk.usage
            text += (delta.reasoning_content or "") + (delta.content or "")
        assert usage is not None
        return text, usage.completion_tokens, first

    async with runner:
        return [await together(ask, args.clients, args.tokens) for _ in range(args.rounds + 1)]


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


def outside(args: argparse.Namespace) -> list[Round]:
    """The rounds through a server."""
    process, port = serving(args)
    try:
        return asyncio.run(client(port, args))
    finally:
        process.terminate()
        process.wait(30)


def main() -> None:
    """Measure both, the first round of each uncounted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default=str(model_path()))
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--max-seqs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("process", "server"))
    args = parser.parse_args()
    found = {}
    if args.only != "server":
        found["in process"] = asyncio.run(inside(args))
    if args.only != "process":
        found["server"] = outside(args)
    best = {name: min(rounds[1:], key=lambda r: r.seconds) for name, rounds in found.items()}
    for name, one in best.items():
        print(one.line(name))
    if len(best) == 2:
        process, server = best["in process"], best["server"]
        print(f"the server reaches {process.seconds / server.seconds:.1%}")
    if len({one.digest for rounds in found.values() for one in rounds}) > 1:
        sys.exit("the answers differ")


if __name__ == "__main__":
    main()
