#!/usr/bin/env python3
"""Multiply models, prompts and rows out into a manifest on standard output.

    python3 jobs/sweep/make_manifest.py > jobs/sweep/sweep.jsonl

Each line carries its parameters in `metadata`, so that the results can be grouped by them.
"""

import itertools
import json
import sys

MODELS = ("gpt-4o-mini", "gpt-4o", "o4-mini")
PROMPTS = {
    "plain": "Answer the question.",
    "brief": "Answer with one word or number and nothing else.",
}
ROWS = (
    ("What is 7 times 8?", "56"),
    ("What is the capital of Norway?", "Oslo"),
    ("How many sides has a hexagon?", "6"),
    ("What is the chemical sign of gold?", "Au"),
    ("Which planet is closest to the sun?", "Mercury"),
    ("What is the square root of 144?", "12"),
    ("How many minutes has a day?", "1440"),
    ("What is the plural of 'mouse'?", "mice"),
    ("In which year did the first people walk on the moon?", "1969"),
    ("What is the largest ocean?", "Pacific"),
    ("How many legs has a spider?", "8"),
    ("What is the opposite of 'ascend'?", "descend"),
    ("What is 15 percent of 200?", "30"),
    ("Who wrote 'Hamlet'?", "Shakespeare"),
    ("What is the boiling point of water at sea level in Celsius?", "100"),
    ("Which gas do plants take up?", "carbon dioxide"),
    ("How many bits has a byte?", "8"),
    ("What is the Roman numeral for 40?", "XL"),
    ("What is the next prime after 31?", "37"),
    ("Which language is spoken in Brazil?", "Portuguese"),
)


def main() -> None:
    """Write a line for each of the 120 combinations."""
    for model, (prompt, text), (row, (question, answer)) in itertools.product(
        MODELS, PROMPTS.items(), enumerate(ROWS)
    ):
        line = {
            "custom_id": f"{model}/{prompt}/{row:02d}",
            "assistant_id": "asst_sweep",
            "model": model,
            "instructions": text,
            "additional_messages": [{"role": "user", "content": question}],
            "metadata": {"model": model, "prompt": prompt, "row": f"{row:02d}", "expected": answer},
        }
        sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
