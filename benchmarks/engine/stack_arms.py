"""The arms of stack.py, each a process of its own that reads rounds from its standard input.

    stack_arms.py alone BASE BATCH CORE
    stack_arms.py http URL KEY

A round is a line `[clients, requests, tokens, stream]`: the clients send one request after the
other until all are answered. The answer is a line `{"rate", "latency", "first"}`.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import re
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

MESSAGE = "Please look at the figures of the last quarter and tell what stands out, number {}."
TOKENS_SAID = re.compile(rb'"completion_tokens": ?(\d+)')

Round = Callable[[int, int, int, bool], dict[str, Any]]


def messages(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": MESSAGE.format(number)}]


def summary(tokens: int, seconds: float, latency: list[float], first: list[float]) -> Any:
    return {
        "rate": tokens / seconds,
        "latency": statistics.median(latency),
        "first": statistics.median(first),
    }


def alone(base: str, batch: int, core: int) -> Round:
    """`Engine.submit` on one core, with the settings of the stack's engine."""
    os.sched_setaffinity(0, {core})
    import torch

    from cyrex.engine import EngineConfig, Handle, Request
    from cyrex.engine.loop import Engine
    from helox.render import ChatTemplate

    torch.set_num_threads(1)
    engine = Engine(EngineConfig(base, max_batch=batch, max_adapters=64))
    template = ChatTemplate.load(base)

    def run(clients: int, requests: int, tokens: int, _stream: bool) -> dict[str, Any]:
        done: queue.SimpleQueue[tuple[Handle, float]] = queue.SimpleQueue()
        latency: list[float] = []
        first: list[float] = []
        made = 0

        def send(number: int) -> None:
            prompt = template.render(messages(number), add_generation_prompt=True)
            started = time.perf_counter()
            handle = engine.submit(Request("acme", None, prompt, tokens))
            handle.add_done_callback(lambda h: done.put((h, time.perf_counter() - started)))

        began = time.perf_counter()
        for number in range(clients):
            send(number)
        for number in range(requests):
            handle, seconds = done.get()
            completion = handle.result(0)
            made += completion.completion_tokens
            latency.append(seconds)
            first.append(completion.first_token_seconds)
            if clients + number < requests:
                send(clients + number)
        return summary(made, time.perf_counter() - began, latency, first)

    return run


class Client:
    """One keep-alive connection. It does little work a token, as it shares the machine."""

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        self._place = (parts.hostname, parts.port)
        self._head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Authorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        )
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, number: int, tokens: int, stream: bool) -> tuple[int, float, float]:
        """The answer's tokens, seconds to its end, and seconds to its first piece."""
        body: dict[str, Any] = {
            "model": "base",
            "messages": messages(number),
            "max_tokens": tokens,
            "temperature": 0,
        }
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        raw = json.dumps(body).encode()
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(*self._place)
        assert self._reader is not None
        started = time.perf_counter()
        self._writer.write(f"{self._head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
        head = await self._reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head[:20]:
            raise RuntimeError(f"{head!r} {await self._reader.read(1000)!r}")
        first = time.perf_counter()
        last = await self._body(self._reader, head)
        said = TOKENS_SAID.search(last)
        assert said is not None, last
        return int(said[1]), time.perf_counter() - started, first - started

    @staticmethod
    async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
        """The body; of a chunked one, the end."""
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if length is not None:
            return await reader.readexactly(int(length[1]))
        last = b""
        while True:
            size = int(await reader.readline(), 16)
            piece = (await reader.readexactly(size + 2))[:size]
            if size == 0:
                return last
            last = last[-500:] + piece


def http(url: str, key: str) -> Round:
    loop = asyncio.new_event_loop()
    pool: list[Client] = []

    async def all_of(clients: int, requests: int, tokens: int, stream: bool) -> dict[str, Any]:
        numbers = iter(range(requests))
        answers: list[tuple[int, float, float]] = []

        async def one(client: Client) -> None:
            for number in numbers:
                answers.append(await client.ask(number, tokens, stream))

        while len(pool) < clients:
            pool.append(Client(url, key))
        began = time.perf_counter()
        await asyncio.gather(*(one(client) for client in pool[:clients]))
        seconds = time.perf_counter() - began
        made, latency, first = (list(values) for values in zip(*answers, strict=True))
        return summary(sum(map(int, made)), seconds, latency, first)

    return lambda *round_: loop.run_until_complete(all_of(*round_))


def main() -> None:
    kind, *arguments = sys.argv[1:]
    if kind == "alone":
        run = alone(arguments[0], int(arguments[1]), int(arguments[2]))
    else:
        run = http(*arguments)
    for line in sys.stdin:
        print(json.dumps(run(*json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
