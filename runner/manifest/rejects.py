"""How a bad line is told to a person, and how it is kept so that it can be mended."""

import base64
import codecs

import msgspec

from runner.core.model import BadLine
from runner.manifest.reader import RAW_KEPT, Remark


def told(bad: BadLine | Remark, file: str) -> list[str]:
    """Return `FILE:LINE: field: what is wrong`, one string a complaint, fit for a terminal."""
    complaints = (bad.complaint,) if isinstance(bad, Remark) else bad.complaints
    return [_printable(f"{file}:{bad.line}: {complaint}") for complaint in complaints]


def reject_line(bad: BadLine, file: str) -> bytes:
    """Return the line of `<out>.rejected.jsonl` for a bad line, with its newline.

    `{"file", "line", "reason": [text, …], "raw": the line}`; a line that is not UTF-8 has
    `raw_base64` instead, and one that was longer than what is kept has `"raw_cut": true`. Mended,
    the values of `raw` are a manifest again.
    """
    row: dict[str, object] = {
        "file": _printable(file),
        "line": bad.line,
        "reason": [_printable(str(complaint)) for complaint in bad.complaints],
    }
    # At exactly the limit nothing tells a whole line from a cut one: rather say too much.
    is_cut = len(bad.raw) >= RAW_KEPT
    try:
        # A cut may go through a character: not final, so that its first bytes are left out.
        row["raw"], _ = codecs.utf_8_decode(bad.raw, "strict", not is_cut)
    except UnicodeDecodeError:
        row["raw_base64"] = base64.b64encode(bad.raw).decode()
    if is_cut:
        row["raw_cut"] = True
    return msgspec.json.encode(row) + b"\n"


def _printable(text: str) -> str:
    """Return the text with what could move a cursor or break a line written as an escape.

    Names of fields come from the file: an escape sequence in one must not reach the terminal. A
    file's name that is not UTF-8 has half surrogates, which no JSON row can hold.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
