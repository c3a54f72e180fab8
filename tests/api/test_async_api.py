"""`from runner import Runner`: jobs of a program, against a server in a process of its own."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Unpack

import pytest
from simulator_process import SimulatorProcess

from runner import BadJob, BadJobs, Outcome, Runner, Stopped, UsageError
from runner.keywords import Keywords
from runner.work.intake import CHUNK

Job = dict[str, object]


@pytest.fixture(scope="module")
def shared() -> Iterator[SimulatorProcess]:
    with SimulatorProcess("--duration", "0.05") as server:
        yield server


@pytest.fixture
def server(shared: SimulatorProcess) -> SimulatorProcess:
    shared.set(duration="fixed:0.05", faults={}, fate={}, quota_after=0)
    return shared


@pytest.fixture
def opened(server: SimulatorProcess, tmp_path: Path) -> Callable[..., Runner]:
    def opened(**settings: Unpack[Keywords]) -> Runner:
        given: Keywords = {"db": tmp_path / "r.db", "base_url": server.url, "doubt_wait": 1.0}
        given.update(settings)
        return Runner(**given)

    return opened


def job(name: str, **more: object) -> Job:
    return {"custom_id": name, "assistant_id": "asst_1", **more}


def jobs(many: int) -> list[Job]:
    return [job(f"j{i}") for i in range(many)]


def run(main: Coroutine[object, object, None]) -> None:
    """Run on a loop of the program's own, which must not complain of anything afterwards."""
    asyncio.run(asyncio.wait_for(main, 60))


async def names(outcomes: AsyncIterator[Outcome]) -> list[str]:
    return [outcome.custom_id async for outcome in outcomes]


async def into(
    told: list[str], outcomes: AsyncIterator[Outcome], each: Callable[[], None] | None = None
) -> None:
    """Put down each name as it comes, so that what came before an error is known."""
    async for outcome in outcomes:
        told.append(outcome.custom_id)
        if each is not None:
            each()


def test_each_outcome_comes_once_and_the_same_call_again_sends_nothing(
    opened: Callable[..., Runner], server: SimulatorProcess
) -> None:
    before = server.audit().number("runs")

    async def main() -> None:
        async with opened() as runner:
            first = [outcome async for outcome in runner.run(jobs(12), batch="b")]
        assert sorted(o.custom_id for o in first) == sorted(f"j{i}" for i in range(12))
        assert all(o.succeeded and o.run_object and o.run_object["id"] == o.run_id for o in first)
        async with opened() as runner:
            again = [outcome async for outcome in runner.run(jobs(12), batch="b")]
            assert sorted(again, key=lambda o: o.line) == sorted(first, key=lambda o: o.line)
            in_order = [outcome async for outcome in runner.outcomes("b")]
            assert [o.custom_id for o in in_order] == [f"j{i}" for i in range(12)]

    run(main())
    assert server.audit().number("runs") - before == 12


def test_leaving_the_loop_drains_and_the_next_call_goes_on(
    opened: Callable[..., Runner], server: SimulatorProcess
) -> None:
    before = set(server.runs())

    async def main() -> None:
        async with opened(rpm=1800) as runner:
            async for _ in runner.run(jobs(20), batch="b"):
                break
            seen = await runner.progress("b")
            assert seen.at_rest < 20
            # The loop that was left may still be draining: the next one waits for it.
            told = await names(runner.run(jobs(20), batch="b"))
            assert sorted(told) == sorted(f"j{i}" for i in range(20))

    run(main())
    tags = [run["metadata"] for name, run in server.runs().items() if name not in before]
    assert len(tags) == 20
    assert server.audit().repeated("tag") == {}


def test_a_cancelled_task_drains_and_is_resumed(
    opened: Callable[..., Runner], server: SimulatorProcess
) -> None:
    server.set(duration="fixed:0.5")

    async def main() -> None:
        started = asyncio.Event()

        async def carried() -> None:
            async with opened() as runner:
                async for _ in runner.run(source(), batch="b"):
                    pass

        async def source() -> AsyncIterator[Job]:
            for one in jobs(6):
                yield one
            started.set()

        task = asyncio.create_task(carried())
        await started.wait()
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with opened() as runner:
            assert len(await names(runner.run(batch="b"))) == 6

    run(main())
    assert server.audit().repeated("tag") == {}


def test_stop_ends_the_loop_quietly_and_from_any_thread(opened: Callable[..., Runner]) -> None:
    async def main() -> None:
        async with opened(concurrency=2) as runner:
            told = []
            async for outcome in runner.run(jobs(30), batch="b"):
                told.append(outcome)
                if len(told) == 3:
                    await asyncio.to_thread(runner.stop)
            assert 3 <= len(told) < 30
            assert not (await runner.progress("b")).whole

    run(main())


def test_bad_jobs_are_told_with_place_and_reason_and_the_good_ones_run(
    opened: Callable[..., Runner],
) -> None:
    given: list[Job] = [
        job("good"),
        job("hot", temperature=3.5),
        job("odd", metadata={"at": object()}),
        job("nan", top_p=float("nan")),
        job("good", instructions="otherwise"),
        job("fine"),
    ]

    async def main() -> None:
        async with opened() as runner:
            told: list[str] = []
            with pytest.raises(BadJobs, match=r"not queued: job \d .* \(and 3 more\)") as raised:
                await into(told, runner.run(given, batch="b"))
            assert sorted(told) == ["fine", "good"]
            found = {(bad.index, bad.custom_id): bad.reason for bad in raised.value.jobs}
            assert found.keys() == {(1, "hot"), (2, "odd"), (3, "nan"), (4, "good")}
            assert found[1, "hot"].startswith("temperature: 3.5 is above 2")
            assert found[2, "odd"].startswith("is not JSON")
            assert found[3, "nan"].startswith("is not JSON")
            assert "known with other content from <jobs>:1" in found[4, "good"]
            assert {bad.index: bad.job for bad in raised.value.jobs}[4] is given[4]
            taken: list[BadJob] = []
            queued = await runner.queue(given, batch="b", on_bad=taken.append)
            assert (queued.known, queued.bad, queued.conflicts) == (2, 3, 1)
            assert sorted(bad.index for bad in taken) == [1, 2, 3, 4]

    run(main())


def test_places_count_on_over_chunks(opened: Callable[..., Runner]) -> None:
    given = [*jobs(CHUNK + 3), job("last", temperature=9)]

    async def main() -> None:
        async with opened() as runner:
            with pytest.raises(BadJobs) as raised:
                await runner.queue(given, batch="b")
            (bad,) = raised.value.jobs
            assert (bad.index, bad.custom_id) == (CHUNK + 3, "last")
            assert (await runner.progress()).jobs == CHUNK + 3

    run(main())


def test_a_path_is_a_manifest_that_names_its_batch(
    opened: Callable[..., Runner], tmp_path: Path
) -> None:
    path = tmp_path / "night.jsonl"
    path.write_text('{"custom_id": "a", "assistant_id": "x"}\n\n{"custom_id": "b"}\n')

    async def main() -> None:
        async with opened() as runner:
            with pytest.raises(BadJobs) as raised:
                await names(runner.run(path))
            (bad,) = raised.value.jobs
            assert (bad.index, bad.custom_id) == (2, "b")
            assert [o.batch async for o in runner.outcomes()] == ["night"]

    run(main())
    assert sorted(p.name for p in tmp_path.glob("*.rejected*")) == []


def test_jobs_flow_in_while_others_are_carried_and_an_error_of_the_source_is_raised(
    opened: Callable[..., Runner],
) -> None:
    async def main() -> None:
        first_done = asyncio.Event()

        async def source() -> AsyncIterator[Job]:
            yield job("first")
            await first_done.wait()
            yield job("second")
            raise LookupError("the source is gone")

        async with opened() as runner:
            told: list[str] = []
            with pytest.raises(LookupError, match="the source is gone"):
                await into(told, runner.run(source(), batch="b"), first_done.set)
            assert told[:1] == ["first"]
            rest = await names(runner.run(batch="b"))
            assert sorted(rest) == ["first"] or sorted(rest) == ["first", "second"]

    run(main())


def test_what_stops_the_work_by_itself_is_raised(
    opened: Callable[..., Runner], server: SimulatorProcess
) -> None:
    server.set(quota_after=1)

    async def main() -> None:
        async with opened() as runner:
            with pytest.raises(Stopped, match=r"insufficient_quota|money|quota"):
                await names(runner.run(jobs(3), batch="b"))

    run(main())


def test_a_failed_job_is_retried_within_the_loop_and_told_again(
    opened: Callable[..., Runner],
) -> None:
    fate = {"case": "again", "fate": "failed:1"}

    async def main() -> None:
        async with opened() as runner:
            told = []
            async for outcome in runner.run([job("a", metadata=fate), *jobs(3)], batch="b"):
                told.append((outcome.custom_id, outcome.generation, str(outcome.state)))
                if not outcome.succeeded:
                    assert (await runner.retry("b", only=[outcome.custom_id])).jobs == 1
            if ("a", 2, "succeeded") not in told:  # the others were done first
                told += [(o.custom_id, o.generation, str(o.state)) async for o in runner.run()]
            assert {("a", 1, "failed"), ("a", 2, "succeeded")} <= set(told)

    run(main())


def test_queued_jobs_are_cancelled_and_written_out(
    opened: Callable[..., Runner], tmp_path: Path
) -> None:
    async def main() -> None:
        async with opened() as runner:
            assert (await runner.queue(jobs(3), batch="b")).new == 3
            assert (await runner.cancel("b", only=["j1"])).ended == 1
            assert {o.custom_id: str(o.state) async for o in runner.run()} == {
                "j0": "succeeded",
                "j1": "cancelled",
                "j2": "succeeded",
            }
            assert await runner.export(tmp_path / "o.jsonl") == 3

    run(main())
    assert len((tmp_path / "o.jsonl").read_text().splitlines()) == 3


def test_a_function_of_the_program_answers_tool_calls(opened: Callable[..., Runner]) -> None:
    asked = []

    async def answer(name: str, arguments: object) -> dict[str, str]:
        asked.append((name, arguments))
        return {"answer": "forty-two"}

    async def main() -> None:
        async with opened(tools=answer) as runner:
            given = [job("a", metadata={"fate": "requires_action"})]
            assert [o.status async for o in runner.run(given, batch="b")] == ["completed"]

    run(main())
    assert asked
    with pytest.raises(UsageError, match="tools: a function cannot be handed to other processes"):
        opened(tools=answer, processes=2)


def test_one_run_at_a_time(opened: Callable[..., Runner]) -> None:
    async def main() -> None:
        async with opened(concurrency=1) as runner:
            outcomes = runner.run(jobs(30), batch="b")
            await anext(outcomes)
            with pytest.raises(UsageError, match="batch b: a run is under way; leave its loop"):
                await names(runner.run(jobs(3), batch="b"))
            runner.stop()
            await names(outcomes)

    run(main())


def test_signals_stay_the_programs_own(opened: Callable[..., Runner]) -> None:
    heard: list[int] = []

    async def main() -> None:
        async with opened(concurrency=2) as runner:
            told = []
            async for outcome in runner.run(jobs(20), batch="b"):
                told.append(outcome.custom_id)
                if len(told) == 1:
                    assert signal.getsignal(signal.SIGTERM) == mine
                    signal.raise_signal(signal.SIGTERM)
            assert len(told) == 20

    def mine(number: int, _frame: object) -> None:
        heard.append(number)

    before = signal.signal(signal.SIGTERM, mine)
    try:
        run(main())
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


def test_a_warning_goes_to_the_log(
    opened: Callable[..., Runner], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with opened(lenient=True) as runner:
            await runner.queue([job("a", max_completion_tokens=16)], batch="b")

    with caplog.at_level(logging.WARNING, "runner"):
        run(main())
    assert "job 0: max_completion_tokens: " in caplog.text


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"rpm": -1.0}, "rpm: -1 is below 0.01"),
        ({"rpm": "600"}, "rpm: '600' is not of the kind float"),
        ({"on_doubt": "wait"}, "on_doubt: 'wait' is not known; use hold, resend"),
        ({"with_": ["message"]}, "with_: 'message' is not known; did you mean messages"),
        ({"max_failures": "many"}, "'many' is neither a count nor a percentage"),
    ],
)
def test_a_wrong_setting_is_told_when_the_runner_is_made(
    settings: dict[str, object], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        Runner(**settings)  # type: ignore[arg-type] # what a checker would refuse


def test_an_unknown_setting_is_a_type_error_with_the_nearest_name() -> None:
    with pytest.raises(TypeError, match="concurency: no such setting; did you mean concurrency"):
        Runner(concurency=3)  # type: ignore[call-arg] # what a checker would refuse


def test_only_what_is_given_counts_unless_the_environment_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runner.toml").write_text("concurrency = 7\n")
    monkeypatch.setenv("RUNNER_RPM", "50")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-theirs")
    alone = Runner(timeout=3).commands.settings
    assert (alone.concurrency, alone.rpm, alone.timeout) == (100, None, 3.0)
    assert alone.environ["OPENAI_API_KEY"] == "sk-theirs"
    asked = Runner(environment=True, rpm=60).commands.settings
    assert (asked.concurrency, asked.rpm) == (7, 60.0)


def test_a_key_that_is_given_goes_before_the_environments(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-theirs")

    async def main(url: str) -> None:
        async with Runner(db=tmp_path / "k.db", base_url=url, api_key="sk-mine") as runner:
            assert [o.status async for o in runner.run(jobs(1), batch="b")] == ["completed"]

    with SimulatorProcess("--key", "sk-mine", "--duration", "0.05") as server:
        run(main(server.url))


def test_jobs_without_a_batch_are_asked_for_its_name(opened: Callable[..., Runner]) -> None:
    async def main() -> None:
        async with opened() as runner:
            with pytest.raises(UsageError, match="batch: jobs of a program have no name"):
                await runner.queue(jobs(1))

    run(main())
