"""The main path: one leased job, from wherever it stands to its next wait or rest.

    queued       nothing sent yet: write the intent down, then send            create.py
    submitting   an earlier try may have reached the API: look before leaping  doubt.py
    running      ask for the run until it ends, then settle                    follow.py, ending.py

A fresh start, a resume and a recovery from a crash are this same code.
"""

from runner.core.model import JobState
from runner.work.agenda import Step
from runner.work.bench import Bench
from runner.work.carried import Carried
from runner.work.create import intend, send
from runner.work.doubt import blocked, look
from runner.work.follow import cancel, read
from runner.work.stream import send_streaming


def take_up(bench: Bench, carried: Carried) -> None:
    """Put a job that was just claimed where its state says."""
    match carried.state:
        case JobState.QUEUED:
            bench.ready(carried)
        case JobState.SUBMITTING:
            bench.agenda.add(carried, Step.LOOK, 0)
        case JobState.RUNNING:
            age_s = max(0.0, bench.wall_s() - carried.job.created_ms / 1000)
            carried.born_s = bench.now() - age_s
            bench.take_flight(carried)
            bench.agenda.add(carried, Step.READ, bench.rng.random() * 0.1)
        case JobState.SUCCEEDED | JobState.FAILED | JobState.CANCELLED:
            bench.gone(carried)


async def make_run(bench: Bench, carried: Carried) -> None:
    """Create the job's run: what a creator does with a ready job."""
    slot = await intend(bench, carried)
    if slot is None:
        return
    if bench.policy.stream:
        await send_streaming(bench, carried, slot)
    else:
        await send(bench, carried, slot)


async def take_step(bench: Bench, carried: Carried, step: Step) -> None:
    """Do what is due for a job: what a reader does with the agenda's next."""
    if carried.lost or carried.over:
        return
    match step:
        case Step.LOOK:
            await look(bench, carried)
        case Step.BLOCKED:
            await blocked(bench, carried)
        case Step.CANCEL:
            if not carried.cancel_sent:
                await cancel(bench, carried)
        case Step.READ:
            await read(bench, carried)
