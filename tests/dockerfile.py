"""A Dockerfile read into its stages: enough of the format for the checks and the build steps."""

from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCKERFILE = ROOT / "docker" / "Dockerfile"


@dataclass
class Stage:
    """One FROM and the instructions after it, as (word, rest) in order."""

    image: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def of(self, word: str) -> list[str]:
        return [rest for instruction, rest in self.steps if instruction == word]


def stages(text: str) -> list[Stage]:
    """Return the stages; continuation lines joined, comments dropped."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found: list[Stage] = []
    for line in joined.splitlines():
        word, _, rest = line.strip().partition(" ")
        if not word:
            continue
        rest = " ".join(rest.split())
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            found.append(Stage(image, name))
        elif found:
            found[-1].steps.append((word, rest))
    return found


def copied(rest: str) -> tuple[list[str], str]:
    """Return a COPY's sources and target; its flags left out."""
    *sources, target = [part for part in rest.split() if not part.startswith("--")]
    return sources, target
