"""The parts of the README that are drawn from the code, and the one way to draw them anew.

python tests/house/readme_parts.py        # writes them into README.md, between their markers
"""

import re
from pathlib import Path

from runner.cli.options import API, BATCH, LINES, QUEUE, TALK, WORK
from runner.config import SETTINGS, Setting, Value
from runner.core.model import Kind
from runner.core.states import mermaid
from runner.dialects.named import OWN, named

README = Path(__file__).parent.parent.parent / "README.md"

_PART = re.compile(r"<!-- from the code: (\w+) -->\n(.*?)<!-- end -->", re.DOTALL)


def states() -> str:
    """Return the state diagram."""
    return f"```mermaid\n{mermaid()}\n```\n"


TAKEN = {*TALK, *BATCH, *API, *LINES, *QUEUE, *WORK}
"""Settings that a command takes; what is left is said from one process to another, by nobody."""


def options() -> str:
    """Return the table of settings."""
    lines = ["| option | meaning | default |", "|---|---|---|"]
    lines += [
        f"| `{setting.flag}` | {_cell(meaning(setting))} | {_cell(default(setting))} |"
        for setting in SETTINGS
        if setting.name in TAKEN
    ]
    return "\n".join(lines) + "\n"


def meaning(setting: Setting) -> str:
    """Return what a setting means, with its words and its unit where the meaning has none."""
    words = f" ({', '.join(f'`{word}`' for word in setting.words)})" if setting.words else ""
    named_already = all(word in setting.meaning for word in setting.words)
    unit = ", in seconds" if setting.unit == "s" else ""
    return f"{setting.meaning}{'' if named_already else words}{unit}"


def default(setting: Setting) -> str:
    """Return a setting's default as it would be written."""
    value: Value = setting.default
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def dialects() -> str:
    """Return the table of dialects: where they go, what they can prove, which words succeed."""
    lines = [
        "| `--dialect` | base URL | variables | what it can prove | after a doubt |",
        "|---|---|---|---|---|",
    ]
    for name in OWN:
        dialect = named(name)
        proofs = dialect.proofs
        told = [
            word
            for word, true in (
                ("lists a thread's runs", proofs.lists),
                ("echoes our tag", proofs.tags),
                ("one active run a thread", proofs.locks),
                ("honours the key", proofs.keys),
            )
            if true
        ]
        doubt = "hold"
        if proofs.keys or (proofs.lists and proofs.tags):
            doubt = "look, then send again"
        elif proofs.stateless:
            doubt = "send again, and count it"
        variables = ", ".join(f"`{v}`" for v in (*dialect.url_variables, *dialect.key_variables))
        base = f"`{dialect.base_url}`" if dialect.base_url else "must be given"
        lines.append(
            f"| `{name}` | {base} | {variables} | {', '.join(told) or 'nothing'} | {doubt} |"
        )
    return "\n".join(lines) + "\n"


def statuses() -> str:
    """Return the table of terminal words and the state that each leads to."""
    lines = ["| dialect | succeeded | failed | cancelled |", "|---|---|---|---|"]
    for name in OWN:
        found = named(name).statuses
        cells = [
            ", ".join(f"`{word}`" for word, kind in found.items() if kind is wanted)
            for wanted in (Kind.SUCCEEDED, Kind.FAILED, Kind.CANCELLED)
        ]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


PARTS = {"states": states, "options": options, "dialects": dialects, "statuses": statuses}


def parts_in(text: str) -> dict[str, str]:
    """Return what stands between the markers of each part."""
    return dict(_PART.findall(text))


def drawn(text: str) -> str:
    """Return the README with every part drawn anew."""
    return _PART.sub(lambda m: f"<!-- from the code: {m[1]} -->\n{PARTS[m[1]]()}<!-- end -->", text)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    README.write_text(drawn(README.read_text("utf-8")), "utf-8")
