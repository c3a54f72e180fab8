"""The loops that Runner is compared with: they keep nothing, and prove nothing after a crash.

`python -m benchmarks.bare KIND …` prints {"wall_s", "cpu_s"} of the loop alone: neither start-up
nor imports count for them, as they do for Runner.
"""

import asyncio
import importlib
import json
import sqlite3
import sys
import time
import warnings
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

WORKERS = 100
HEADERS = {"authorization": "Bearer none", "openai-beta": "assistants=v2"}

Line = dict[str, object]
One = Callable[[Line], Awaitable[None]]


def lines_of(path: str) -> list[Line]:
    return [json.loads(text) for text in Path(path).read_text("utf-8").splitlines()]


def body_of(line: Line) -> Line:
    return {key: value for key, value in line.items() if key not in {"custom_id", "thread_id"}}


async def crew(lines: Iterator[Line], one: One) -> None:
    """Have a hundred workers take lines until none is left."""

    async def work() -> None:
        for line in lines:
            await one(line)

    await asyncio.gather(*(work() for _ in range(WORKERS)))


async def by_aiohttp(url: str, lines: list[Line]) -> None:
    import aiohttp  # noqa: PLC0415 - each way imports its own client alone

    connector = aiohttp.TCPConnector(limit=WORKERS)
    async with aiohttp.ClientSession(headers=HEADERS, connector=connector) as client:

        async def one(line: Line) -> None:
            runs = f"{url}/threads/{line['thread_id']}/runs"
            async with client.post(runs, json=body_of(line)) as answer:
                run = await answer.json()
            async with client.get(f"{runs}/{run['id']}") as answer:
                await answer.json()

        await crew(iter(lines), one)


async def by_httpx(url: str, lines: list[Line]) -> None:
    import httpx  # noqa: PLC0415 - as above

    limits = httpx.Limits(max_connections=WORKERS, max_keepalive_connections=WORKERS)
    async with httpx.AsyncClient(headers=HEADERS, limits=limits, trust_env=False) as client:

        async def one(line: Line) -> None:
            runs = f"{url}/threads/{line['thread_id']}/runs"
            run = (await client.post(runs, json=body_of(line))).json()
            (await client.get(f"{runs}/{run['id']}")).json()

        await crew(iter(lines), one)


async def by_sdk(url: str, lines: list[Line]) -> None:
    import openai  # noqa: PLC0415 - as above

    warnings.simplefilter("ignore", DeprecationWarning)
    async with openai.AsyncOpenAI(api_key="none", base_url=url) as client:
        runs = client.beta.threads.runs

        async def one(line: Line) -> None:
            thread = str(line["thread_id"])
            run = await runs.create(thread, assistant_id="asst_1", extra_body=body_of(line))
            await runs.retrieve(run.id, thread_id=thread)

        await crew(iter(lines), one)


async def by_cookbook(
    url: str, lines: list[Line], rate_s: float = 0.0, window_s: float = 60.0
) -> None:
    """Do as a well-known cookbook does: a bucket that starts full, a task a job, a 1 ms loop.

    After a 429 it stops for a while (there 15 s; here a window and a half where that is less) and
    sends again. `rate_s`: creates a second; 0: as many as the loop makes.
    """
    import aiohttp  # noqa: PLC0415 - as above

    full = rate_s * window_s or 1e9
    bucket, filled_at, closed_until = full, time.perf_counter(), 0.0
    waiting, left = deque(lines), len(lines)

    async def one(client: aiohttp.ClientSession, line: Line) -> None:
        nonlocal left, closed_until
        runs = f"{url}/threads/{line['thread_id']}/runs"
        async with client.post(runs, json=body_of(line)) as answer:
            run = await answer.json()
        if answer.status == 429:
            closed_until = time.perf_counter() + min(15.0, 1.5 * window_s)
            waiting.append(line)
            return
        async with client.get(f"{runs}/{run['id']}") as answer:
            await answer.json()
        left -= 1

    tasks: set[asyncio.Task[None]] = set()
    async with aiohttp.ClientSession(headers=HEADERS) as client:
        while left:
            now = time.perf_counter()
            bucket = min(full, bucket + (now - filled_at) * (rate_s or 1e9))
            filled_at = now
            if waiting and bucket >= 1 and now >= closed_until:
                bucket -= 1
                task = asyncio.create_task(one(client, waiting.popleft()))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            await asyncio.sleep(0.001)


def insert(manifest: str, database: str) -> None:
    """Put a manifest's lines into a SQLite table, a thousand at a time: nothing is checked."""
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE line (id INTEGER PRIMARY KEY, body BLOB NOT NULL)")
    with Path(manifest).open("rb") as file:
        while chunk := [(line,) for _, line in zip(range(1000), file, strict=False)]:
            with connection:
                connection.executemany("INSERT INTO line (body) VALUES (?)", chunk)
    connection.close()


def dump(database: str, out: str) -> None:
    """Write every run object as it stands in the database, a line each: no more than that."""
    connection = sqlite3.connect(database)
    with Path(out).open("wb") as file:
        file.writelines(run + b"\n" for (run,) in connection.execute("SELECT run FROM outcome"))
    connection.close()


def way(kind: str, words: list[str]) -> Callable[[], None]:
    """Return what is timed; what it needs is read and imported before."""
    if kind in {"insert", "dump"}:
        return partial(insert if kind == "insert" else dump, *words)
    url, manifest, *rates = words
    lines = lines_of(manifest)
    importlib.import_module({"sdk": "openai", "cookbook": "aiohttp"}.get(kind, kind))
    if kind == "cookbook":
        return lambda: asyncio.run(by_cookbook(url, lines, *map(float, rates)))
    loop = {"aiohttp": by_aiohttp, "httpx": by_httpx, "sdk": by_sdk}[kind]
    return lambda: asyncio.run(loop(url, lines))


def main(kind: str, *words: str) -> None:
    begin = way(kind, list(words))
    wall, cpu = time.perf_counter(), time.process_time()
    begin()
    took = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    print(json.dumps(took))


if __name__ == "__main__":
    main(*sys.argv[1:])
