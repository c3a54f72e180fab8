"""Put questions from a program, and use each answer as it comes. Stopped, it goes on where it was."""

import asyncio
from collections.abc import AsyncIterator

from runner import Runner

QUESTIONS = {
    "sky": "Why is the sky blue?",
    "sea": "Why is the sea salt?",
    "snow": "Why is snow white?",
    "grass": "Why is grass green?",
}


async def jobs() -> AsyncIterator[dict[str, object]]:
    """Make a job of each question; they may come from a database or a queue as well."""
    for name, question in QUESTIONS.items():
        message = {"role": "user", "content": question}
        yield {"custom_id": name, "assistant_id": "asst_1", "additional_messages": [message]}


async def main() -> None:
    """Run them against a simulator; give base_url="https://…" instead for the real thing."""
    async with Runner(db="ask.db", simulate=True, rpm=600, with_=["messages"]) as runner:
        async for outcome in runner.run(jobs(), batch="ask"):
            print(outcome.custom_id, outcome.status, outcome.run_id)
        progress = await runner.progress("ask")
        print(f"{progress.at_rest} of {progress.jobs} at rest")


if __name__ == "__main__":
    asyncio.run(main())
