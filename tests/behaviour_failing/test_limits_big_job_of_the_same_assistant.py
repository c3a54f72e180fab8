"""C14: a big job among small ones of one assistant reserves the lane's mean, is refused for tokens each time and goes last."""

from behaviour.stage import Stage, parts_of


def test_a_wait_for_tokens_is_no_failure_and_the_big_one_is_not_left_for_last(
    stage: Stage,
) -> None:
    stage.server.set(token_limit=3000, window=1.0)
    lines = stage.lines(24)
    for line in lines:
        line["max_prompt_tokens"], line["max_completion_tokens"] = 256, 44
    big = stage.line("big")
    big["max_prompt_tokens"], big["max_completion_tokens"] = 2000, 700
    lines.insert(4, big)
    carried = stage.run(lines, tpm=180_000.0, window=1.0, max_attempts=1)
    assert carried.exit_code == 0, stage.warnings
    stage.check_once_each(25)
    order = [str(parts_of(run["metadata"])["case"]) for run in stage.runs().values()]
    assert order.index(f"{stage.number}-big") < 15
