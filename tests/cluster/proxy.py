"""A slow and unreliable wire: passes TCP on after a while, and cuts some of its connections in the midst.

    python -m tests.cluster.proxy 5433 5432 --delay 0.1 --cut 0.05

Each connection has its chance to be cut, at a moment of the first seconds, without a word to either side.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
from collections.abc import Sequence

CUT_WITHIN_S = 5.0
CHUNK = 65_536


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """Bytes of one direction, each `delay_s` after it came, however many are under way."""
    loop = asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def write() -> None:
        while True:
            at, data = await under_way.get()
            await asyncio.sleep(max(0.0, at - loop.time()))
            if not data:
                writer.close()
                return
            writer.write(data)
            await writer.drain()

    writing = asyncio.create_task(write())
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(CHUNK):
            under_way.put_nowait((loop.time() + delay_s, data))
    under_way.put_nowait((loop.time() + delay_s, b""))
    with contextlib.suppress(ConnectionError):
        await writing


async def serve(listen: int, target: int, delay_s: float, cut: float, chance: random.Random) -> None:
    """Connections to a port, passed on to another of this machine, until the process ends."""

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        their_reader, their_writer = await asyncio.open_connection("127.0.0.1", target)
        both = asyncio.gather(pass_on(reader, their_writer, delay_s), pass_on(their_reader, writer, delay_s))
        if chance.random() < cut:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(both), chance.uniform(0, CUT_WITHIN_S))
            for side in (writer, their_writer):
                side.transport.abort()
        with contextlib.suppress(ConnectionError):
            await both

    async with await asyncio.start_server(connect, "0.0.0.0", listen) as server:
        await server.serve_forever()


def main(words: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Passes TCP on, late and not always.")
    parser.add_argument("listen", type=int)
    parser.add_argument("target", type=int)
    parser.add_argument("--delay", type=float, default=0.0, metavar="SECONDS", help="of each direction")
    parser.add_argument("--cut", type=float, default=0.0, help="the share of connections that is cut")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(words)
    chance = random.Random(asked.seed)
    asyncio.run(serve(asked.listen, asked.target, asked.delay, asked.cut, chance))


if __name__ == "__main__":
    main()
