"""Whose job goes next, by weight: stride scheduling.

Each batch (or weight class) has been served so many jobs; next is the one for which one more job is
the least in proportion to its weight. Over time the jobs served stand as the weights do, and nobody
waits for longer than the others' weights make necessary.
"""

from collections.abc import Mapping


def next_batch(weights: Mapping[str, float], served: Mapping[str, float]) -> str | None:
    """Return the batch whose job goes next, of those in `weights`; None where there are none.

    Pass only batches that have work; weights are above 0, and who is not in `served` counts as 0
    (see `level`).
    """
    return min(
        weights,
        key=lambda name: ((served.get(name, 0.0) + 1) / weights[name], name),
        default=None,
    )


def level(weights: Mapping[str, float], served: Mapping[str, float], name: str) -> float:
    """Return what a batch counts as served when it gets work anew.

    It starts level with the one served least: having slept earns no claim to catch up, which would
    hold all the others for as long.
    """
    others = [served.get(other, 0.0) / weights[other] for other in weights if other != name]
    return max(served.get(name, 0.0), min(others, default=0.0) * weights[name])
