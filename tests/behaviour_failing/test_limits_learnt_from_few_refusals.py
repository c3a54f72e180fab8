"""C16, C77: refusals without limit headers that are no limit of ours teach an absurdly low one."""

from behaviour.stage import Stage


def test_a_first_create_refused_for_others_does_not_teach_one_create_a_window(
    stage: Stage,
) -> None:
    # Seen: limit 1 in 2.0 s (source closure), 12 of 21 jobs in 60 s.
    stage.server.set(retry_after="2")
    carried = stage.run(
        [stage.line("first", fault="rate_429_seconds"), *stage.lines(20)], stop_after=20.0
    )
    assert carried.exit_code == 0


def test_every_third_create_refused_for_150_ms_is_no_limit_of_one_in_three_seconds(
    stage: Stage,
) -> None:
    # Seen: limit 3.2 in 10 s (source closure, bucket), 24 of 30 jobs in 60 s, all in 104 s.
    lines = [
        stage.line(f"job-{i}", **({"fault": "rate_429"} if i % 3 == 2 else {})) for i in range(30)
    ]
    carried = stage.run(lines, stop_after=20.0)
    assert carried.exit_code == 0
