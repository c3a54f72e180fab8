"""Inflating bodies, whole and in parts."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.http.encoding import BrokenEncoding, inflated, inflater_for


def raw_deflate(body: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return engine.compress(body) + engine.flush()


def two_members(body: bytes) -> bytes:
    return gzip.compress(body[:5]) + gzip.compress(body[5:])


WAYS = [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("gzip", two_members)]
WAYS += [("deflate", zlib.compress), ("Deflate", raw_deflate)]


@given(st.binary(), st.sampled_from(WAYS), st.integers(1, 50))
def test_what_was_compressed_comes_back_however_it_is_cut(body, way, size) -> None:  # type: ignore[no-untyped-def]
    encoding, compress = way
    packed = compress(body)
    assert inflated(packed, encoding) == body
    inflater = inflater_for(encoding)
    assert inflater is not None
    parts = [packed[at : at + size] for at in range(0, len(packed), size)]
    assert b"".join(map(inflater.feed, parts)) == body
    inflater.finish()


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_half_a_compressed_body_is_broken(encoding: str) -> None:
    packed = (gzip if encoding == "gzip" else zlib).compress(b"x" * 1000)
    for body in (packed[:-1], packed[:5], b'{"id":"run_1"}'):
        with pytest.raises(BrokenEncoding):
            inflated(body, encoding)


@pytest.mark.parametrize("encoding", ["", "identity", "br"])
def test_what_we_cannot_undo_stays_as_it_came(encoding: str) -> None:
    assert inflated(b"body", encoding) == b"body"
    assert inflated(b"", "gzip") == b""
