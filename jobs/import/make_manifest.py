#!/usr/bin/env python3
"""Write a large manifest to standard output: one line a document, a few threads shared.

    python3 jobs/import/make_manifest.py 200000 > import.jsonl

Put your own loop in the place of `documents`: a database cursor, a folder, a CSV file. It writes
line by line, so memory does not grow with the number.
"""

import json
import sys
from collections.abc import Iterator


def documents(count: int) -> Iterator[tuple[str, str]]:
    """Yield (id, text); a stand-in for what you import."""
    for number in range(count):
        yield f"doc-{number:08d}", f"Classify this ticket: printer {number % 977} is on fire."


def line(name: str, text: str) -> str:
    """Return one manifest line.

    `custom_id` is the document's own id: queued again, a known document makes no second job.
    """
    return json.dumps({
        "custom_id": name,
        "assistant_id": "asst_import",
        "additional_messages": [{"role": "user", "content": text}],
        "metadata": {"source": "tickets"},
    })  # fmt: skip


def main() -> None:
    """Write the lines."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    for name, text in documents(count):
        sys.stdout.write(line(name, text) + "\n")


if __name__ == "__main__":
    main()
