"""Text from outside as both engines can hold it.

An API may send any JSON string: PostgreSQL holds no NUL in a text, and neither engine a lone
surrogate, which has no UTF-8. Such a text would break the transaction of everybody in its group,
again at each restart. What came stays whole in the run object's bytes.
"""

REPLACED = "\N{REPLACEMENT CHARACTER}"


def storable(text: str) -> str:
    """Return the text with NULs and lone surrogates replaced by U+FFFD."""
    if "\0" in text:
        text = text.replace("\0", REPLACED)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join(REPLACED if "\ud800" <= sign <= "\udfff" else sign for sign in text)
    return text
