"""The doubt wait that a server's lateness calls for (docs: protocol, section 8, change 13).

Lateness is the age of a closed attempt at which a look first found its run, in seconds. Above half
of the wait, the wait is too short for this server, for the rest of the batch.
"""

MARGIN = 3.0


def raised_wait_s(wait_s: float, late_s: float) -> float:
    """Return the doubt wait in force: `wait_s`, or three times the greatest lateness seen."""
    return max(wait_s, MARGIN * late_s) if late_s > wait_s / 2 else wait_s
