"""What check says of good lines."""

import pytest

from runner.app import Checked
from runner.cli.forecast import forecast, proofs_line
from runner.config import load
from runner.core.model import Proofs

LISTS = Proofs(lists=True, tags=True, locks=True)


def test_counts_proofs_and_time_at_the_limit_are_told() -> None:
    settings = load({"rpm": 600.0}, environ={})
    lanes = {"asst_1 gpt": 900, "asst_2": 100}
    checked = Checked(1000, 2, 40, lanes, "openai", "https://a.example/v1", LISTS, resend=False)
    proofs = "this server can list a thread's runs, echo our tag, admit one run a thread"
    then = "after a doubt the run is looked for, and sent again after 15 s; doubt wait 15 s"
    assert forecast(checked, settings) == [
        "1,000 jobs on 40 threads of their own, 2 bad lines",
        "by assistant and model: asst_1 gpt 900, asst_2 100",
        "openai at https://a.example/v1",
        f"{proofs}; {then}",
        "at 600 creates a minute: 1 min 40 s or more",
    ]


@pytest.mark.parametrize(
    ("proofs", "resend", "said"),
    [
        (LISTS, False, "is looked for"),
        (Proofs(keys=True), False, "sent again under the same key"),
        (Proofs(), False, "held as in_doubt"),
        (Proofs(lists=True, tags=True, at_end=True), False, "not found, the job is held"),
        (Proofs(lists=True, tags=True, at_end=True), True, "it may run twice"),
        (Proofs(stateless=True), True, "it may run twice"),
    ],
    ids=["lists", "keys", "nothing", "at the end", "at the end, resent", "stateless"],
)
def test_what_follows_a_doubt_is_told(proofs: Proofs, resend: bool, said: str) -> None:
    assert said in proofs_line(proofs, resend=resend, wait_s=15)
