"""Polls a run against delay: Runner's following beside the SDK's fixed second, in virtual time."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from random import Random

from benchmarks.measure import TIMES, Options, Table, ratio, shown
from runner.core.following import next_age, plan
from runner.work.pace import Pace

MEDIAN_S = 20.0
STARTS_A_SECOND = 5.0
SPREADS = (0.3, 0.6, 1.0)
WANTED = (1.5, 2.5, 4.0)
PLANNED_ON = 500


@dataclass(frozen=True, slots=True)
class Followed:
    """What a way of following cost: polls a run, and how late it saw the ends.

    `mean` is the mean of delay / duration, `whole` the sum of delays over the sum of durations.
    """

    polls: float
    mean: float
    whole: float


def run(options: Options) -> Table:
    """Follow log-normal runs of a 20 s median, five starts a second; no server, no clock."""
    runs = options.size(1_000, 300)
    table = Table(
        f"Polls: {runs:,} runs, median {MEDIAN_S:g} s, log-normal",
        (
            "spread",
            "way",
            "polls a run",
            f"{TIMES} the SDK's",
            "mean of delay / duration",
            "of the whole",
        ),
        note=(
            "Learned: from the first run of the batch on, scouts included, as `runner run` does it."
            " Known: the schedule made of 500 durations of the same kind, tried on others: what"
            " there is to gain. Of the whole: sum of delays / sum of durations."
        ),
    )
    for sigma in SPREADS:
        found: dict[str, list[Followed]] = {}
        for name, one in _ways(sigma, runs, options.runs):
            found.setdefault(name, []).append(one)
        base = [one.polls for one in found["SDK, every second"]]
        for name, got in found.items():
            polls = [one.polls for one in got]
            late = [
                shown([one.mean for one in got], ".2f"),
                shown([one.whole for one in got], ".2f"),
            ]
            table.rows.append((f"{sigma}", name, shown(polls, ".1f"), ratio(polls, base), *late))
    return table


def _ways(sigma: float, runs: int, rounds: int) -> Iterator[tuple[str, Followed]]:
    for seed in range(rounds):
        durations = _durations(sigma, runs, seed)
        yield "SDK, every second", fixed(durations, 1.0)
        for wanted in WANTED:
            yield f"Runner, learned, --polls {wanted:g}", learned(durations, wanted, seed)
        known = _durations(sigma, PLANNED_ON, 1_000_000 + seed)
        for wanted in WANTED:
            yield f"Runner, known, --polls {wanted:g}", scheduled(durations, known, wanted)


def _durations(sigma: float, runs: int, seed: int) -> list[float]:
    rng = Random(seed)
    return [MEDIAN_S * rng.lognormvariate(0, sigma) for _ in range(runs)]


def _followed(durations: list[float], seen: list[float], polls: int) -> Followed:
    delays = [age - duration for age, duration in zip(seen, durations, strict=True)]
    mean = statistics.fmean(late / lasts for late, lasts in zip(delays, durations, strict=True))
    return Followed(polls / len(durations), mean, sum(delays) / sum(durations))


def fixed(durations: list[float], every_s: float) -> Followed:
    """Ask at once and then every so many seconds, as the SDK's `create_and_poll` does."""
    seen, polls = [], 0
    for duration in durations:
        asked = 0
        while asked * every_s < duration:
            asked += 1
        seen.append(asked * every_s)
        polls += asked + 1
    return _followed(durations, seen, polls)


def scheduled(durations: list[float], known: list[float], wanted: float) -> Followed:
    """Follow by the schedule that is best for durations known beforehand."""
    ages = plan(known, [], wanted)
    seen, polls = [], 0
    for duration in durations:
        age = 0.0
        while age < duration:
            age = next_age(ages, age, 0.5)
            polls += 1
        seen.append(age)
    return _followed(durations, seen, polls)


def learned(durations: list[float], wanted: float, seed: int) -> Followed:
    """Follow as a worker does, all runs of one lane: what ends teaches those that come."""
    pace = Pace(wanted, Random(seed))
    seen, polls = [0.0] * len(durations), 0
    # (when, which run, its age at that time, its age when it was last seen alive); 0: its start
    events = [(index / STARTS_A_SECOND, index, 0.0, 0.0) for index in range(len(durations))]
    heapify(events)
    while events:
        now, index, age, alive = heappop(events)
        if age == 0.0:
            first = pace.first_age()
            heappush(events, (now + first, index, first, 0.0))
            continue
        polls += 1
        duration = durations[index]
        # A server's stamps are whole seconds: below ten of them the looks tell more.
        stamped = float(round(duration))
        if age >= duration:
            seen[index] = age
            pace.ended(age, alive, stamped, late=False)
            continue
        pace.alive(age)
        due = pace.next_age(age)
        heappush(events, (now + due - age, index, due, age))
    return _followed(durations, seen, polls)
