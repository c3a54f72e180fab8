"""Answering a run that waits for tool outputs: row 21.

All outputs of a round go in one request, with the call ids of the run just read, durable before
they are sent. On doubt or a 400 the run is read again: outputs are never sent twice unseen.
"""

import inspect
from collections.abc import Mapping

import anyio
import msgspec
from anyio import to_thread

from runner.core.faults import Cause
from runner.core.model import ApiError, Json, Run, ToolCall
from runner.core.moves import Acted
from runner.core.points import Point
from runner.core.retry import backoff_s
from runner.http.sender import Failed
from runner.work.agenda import Step
from runner.work.bench import Bench
from runner.work.carried import Carried
from runner.work.policy import OnAction, ToolFunction

LONGEST_HOLD_S = 30.0


async def act(bench: Bench, carried: Carried, run: Run) -> None:
    """Answer the calls that a run waits for, or do what the setting says where nobody can."""
    if carried.cancel_asked or carried.cancel_sent:
        return bench.agenda.add(carried, Step.READ if carried.cancel_sent else Step.CANCEL, 0.5)
    if not run.calls:
        return unanswered(bench, carried, "the run waits for something other than outputs")
    carried.rounds += 1
    if carried.rounds > bench.policy.tool_rounds:
        return unanswered(bench, carried, f"more than {bench.policy.tool_rounds} rounds")
    outputs = await outputs_of(bench, carried, run.calls)
    missing = [call.name for call in run.calls if call.id not in outputs]
    if missing:
        return unanswered(bench, carried, f"no output for {', '.join(missing)}")
    return await submit(bench, carried, run, outputs)


async def outputs_of(bench: Bench, carried: Carried, calls: tuple[ToolCall, ...]) -> dict[str, str]:
    """Return the outputs by call id: those already computed, the manifest's, then the function's."""
    job, store = carried.job, bench.durable.store
    kept = await bench.durable.ask(lambda: store.outputs(job.id, job.generation))
    outputs = {call.id: kept[call.id] for call in calls if call.id in kept}
    given = manifest_outputs(job.extra)
    for call in calls:
        if call.id in outputs:
            continue
        if call.id in given:
            outputs[call.id] = given[call.id]
        elif call.name in given:
            outputs[call.id] = given[call.name]
        elif bench.policy.tools is not None:
            outputs[call.id] = await computed(bench, call)
    new = {call_id: text for call_id, text in outputs.items() if call_id not in kept}
    if new and not await bench.durable.write(Acted(carried.held(), msgspec.json.encode(new))):
        bench.lost(carried)
        return {}
    return outputs


def manifest_outputs(extra: bytes) -> dict[str, str]:
    """Return the line's `tool_outputs`: function name or call id to text."""
    if not extra:
        return {}
    beside: dict[str, Json] = msgspec.json.decode(extra)
    given = beside.get("tool_outputs")
    if not isinstance(given, dict):
        return {}
    return {name: text for name, text in given.items() if isinstance(text, str)}


async def computed(bench: Bench, call: ToolCall) -> str:
    """Return what the user's function says, as text; its failure is an output that tells so."""
    function = bench.policy.tools
    if function is None:
        return ""
    try:
        with anyio.fail_after(bench.policy.tools_timeout_s):
            return _as_text(await _called(function, call))
    except TimeoutError:
        return _as_text(
            {"error": f"{call.name} took longer than {bench.policy.tools_timeout_s:g} s"}
        )
    except Exception as trouble:  # noqa: BLE001 - the user's code may raise anything; it is told
        return _as_text({"error": f"{type(trouble).__name__}: {trouble}"[:500]})


async def _called(function: ToolFunction, call: ToolCall) -> object:
    arguments: object = call.arguments
    try:
        arguments = msgspec.json.decode(call.arguments or "{}")
    except msgspec.DecodeError:
        arguments = call.arguments
    if inspect.iscoroutinefunction(function):
        return await function(call.name, arguments)
    return await to_thread.run_sync(function, call.name, arguments, abandon_on_cancel=True)


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


async def submit(bench: Bench, carried: Carried, run: Run, outputs: Mapping[str, str]) -> None:
    """Send a round's outputs once, then read the run whatever was answered."""
    assignment = carried.assignment
    thread_id = carried.job.thread_id or run.thread_id
    bench.reach(Point.OUTPUTS_BEFORE_SEND)
    got = await bench.ask(
        assignment, assignment.dialect.submit(thread_id, run.id, outputs, assignment.tag)
    )
    bench.reach(Point.OUTPUTS_AFTER_ANSWER)
    if isinstance(got, Failed):
        fault = bench.fault_of(assignment, got)
        carried.trouble += 1
        pause = backoff_s(min(carried.trouble, 5), bench.policy.retry, bench.rng)
        if fault.cause is Cause.RATE:
            return bench.read_in(carried, fault.wait_s or pause)
        return bench.read_in(carried, min(pause, 0.1 * 2**carried.trouble))
    carried.trouble = 0
    return bench.read_in(carried, 0.05)


def unanswered(bench: Bench, carried: Carried, why: str) -> None:
    """Do what `--on-action` says of a run that nobody can answer.

    Left alone it would hold its thread until it expires (api-facts.md 11, 10), so it is cancelled
    unless the user chose to hold; with `fail` the job ends as failed with the reason.
    """
    if bench.policy.on_action is OnAction.HOLD:
        carried.trouble += 1
        pause = min(LONGEST_HOLD_S, 0.5 * 2 ** min(carried.trouble, 8))
        return bench.read_in(carried, pause)
    if bench.policy.on_action is OnAction.FAIL:
        carried.unanswered = ApiError("no_tool_output", "requires_action", why)
    bench.warn(f"job {carried.job.custom_id}: {why}; its run is cancelled")
    return bench.agenda.add(carried, Step.CANCEL, 0)
