"""The lines that are measured: one job a thread, some 300 bytes each."""

import json
from pathlib import Path

TEXT = "Sum up what is known of the matter in one sentence, and say how sure you are of it. " * 2


def line(number: int) -> dict[str, object]:
    """Return one manifest line."""
    return {
        "custom_id": f"job-{number:08d}",
        "thread_id": f"thread_{number:08d}",
        "assistant_id": "asst_1",
        "additional_messages": [{"role": "user", "content": f"{TEXT}({number})"}],
        "metadata": {"number": str(number)},
    }


def write(path: Path, jobs: int) -> Path:
    """Write a manifest of so many lines."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line(number)) + "\n" for number in range(jobs))
    return path
