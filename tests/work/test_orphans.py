"""A worker process hears of its parent's end, however that came."""

import socket
import subprocess
import sys

WORKER = """
import anyio
from runner.work.processes import tell_parent, until_orphaned

async def work():
    tell_parent("stopped for a reason that nobody reads")
    await until_orphaned()
    print("orphaned")

anyio.run(work)
"""


def test_a_parent_that_ends_with_our_words_unread_is_gone_and_no_error() -> None:
    ours, theirs = socket.socketpair()
    with subprocess.Popen(
        [sys.executable, "-c", WORKER],
        stdin=theirs.fileno(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as worker:
        theirs.close()
        # There is something to read, which is not read: the end of this end is a reset there.
        ours.recv(1, socket.MSG_PEEK)
        ours.close()
        said = worker.communicate(timeout=60)
    assert said == ("orphaned\n", "")
