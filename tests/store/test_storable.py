"""Whatever text an API sends, the database can hold what becomes of it."""

from hypothesis import given
from hypothesis import strategies as st

from runner.store.storable import storable

ANY = st.text(st.characters(codec=None, exclude_categories=()))


@given(ANY)
def test_a_stored_text_has_utf8_and_no_nul(text: str) -> None:
    held = storable(text)
    assert "\0" not in held
    assert len(held) == len(text)
    held.encode()


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_a_text_that_can_be_held_stays_as_it_is(text: str) -> None:
    assert storable(text) == text
