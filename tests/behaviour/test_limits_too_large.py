"""C14: a create larger than the whole token window (429 "Request too large") is refused for ever."""

from behaviour.stage import Stage


def test_a_job_larger_than_the_servers_window_does_not_hold_up_the_others(stage: Stage) -> None:
    stage.server.set(token_limit=1000, window=1.0)
    lines = stage.lines(6)
    for line in lines:
        line["max_prompt_tokens"], line["max_completion_tokens"] = 256, 44
    lines[2]["max_prompt_tokens"] = 2000
    carried = stage.run(lines, tpm=60_000.0, window=1.0, stop_after=12.0)
    ends = stage.ends()
    assert ends.pop("job-2") == "failed rejected"
    assert set(ends.values()) == {"succeeded completed"}
    assert carried.exit_code == 1
