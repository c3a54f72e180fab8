"""Every exception of each client has a word, and only the stage says whether a byte left."""

import ssl
from types import ModuleType

import aiohttp
import httpcore
import httpx
import pytest

from runner.core.call import Silence
from runner.http.deadlines import Deadlines
from runner.http.silence import WHY, Stage, Watch, name_of, silence_of

WORDS = {
    "refused", "dns", "tls", "proxy", "connect_timeout", "guard", "timeout", "reset", "closed",
    "truncated", "garbage", "cancelled", "unknown",
}  # fmt: skip


def exceptions(library: ModuleType) -> set[type[Exception]]:
    exported = (getattr(library, name) for name in library.__all__)
    return {kind for kind in exported if isinstance(kind, type) and issubclass(kind, Exception)}


@pytest.mark.parametrize("library", [httpx, httpcore, aiohttp])
def test_every_exported_exception_has_a_word(library: ModuleType) -> None:
    kinds = exceptions(library)
    assert len(kinds) > 10
    assert {name_of(kind) for kind in kinds} - set(WHY) == set()


@pytest.mark.parametrize("library", [httpx, httpcore])
def test_every_word_belongs_to_an_exported_exception(library: ModuleType) -> None:
    names = {name for name in WHY if name.startswith(f"{library.__name__}.")}
    assert names - {name_of(kind) for kind in exceptions(library)} == set()


def test_no_word_is_made_up() -> None:
    assert set(WHY.values()) <= WORDS


def at(stage: Stage) -> Watch:
    watch = Watch(None, Deadlines(), has_body=True)
    watch.stage = stage
    return watch


TROUBLES: list[Exception] = [
    httpx.ConnectError("x"),
    httpx.ConnectTimeout("x"),
    httpx.ProxyError("x"),
    ConnectionRefusedError(),
    TimeoutError(),
    ssl.SSLError("x"),
    aiohttp.ServerDisconnectedError(),
    RuntimeError("Bearer sk-hidden"),
]


@pytest.mark.parametrize("trouble", TROUBLES, ids=repr)
@pytest.mark.parametrize("stage", Stage)
def test_a_class_never_says_whether_a_byte_left(stage: Stage, trouble: Exception) -> None:
    for proxied in (True, False):
        silence = silence_of(trouble, at(stage), proxied=proxied)
        assert silence.sent == (stage >= Stage.SENDING)
        assert silence.why in WORDS
        if silence.sent:
            assert silence.why not in {"refused", "dns", "proxy", "connect_timeout"}
        assert "sk-hidden" not in silence.detail


def test_an_exception_on_no_list_is_unknown_and_doubt() -> None:
    silence = silence_of(RuntimeError("x"), at(Stage.SENDING), proxied=False)
    assert silence == Silence(sent=True, why="unknown", detail="RuntimeError")


def test_a_detail_is_one_short_line_without_user_and_password() -> None:
    trouble = httpx.ReadError("http://me:secret@proxy:1/\n" + "x" * 500)
    silence = silence_of(trouble, at(Stage.SENDING), proxied=False)
    assert silence.detail.startswith("ReadError: http://proxy:1/ xxx")
    assert len(silence.detail) == 200
