"""A request as a snippet to paste: curl, Python, TypeScript. Pure; the key is never in it."""

import json
import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.core.call import Call

FORMS = ("curl", "python", "typescript")


def snippet(
    form: str, call: "Call", base_url: str, key: tuple[str, str] | None, variable: str
) -> str:
    """Return a call as text that works when pasted, once the variable holds the key.

    `key` is the header that carries the key as (name, what stands before the key), None where
    there is none. Numbers and order of the body stay as they are: it is text in every form.
    """
    write: Callable[[Call, str, list[tuple[str, str]], tuple[str, str] | None, str], str] = {
        "curl": _curl,
        "python": _python,
        "typescript": _typescript,
    }[form]
    query = f"?{call.query}" if call.query else ""
    return write(call, f"{base_url.rstrip('/')}{call.path}{query}", _headers(call), key, variable)


def _headers(call: "Call") -> list[tuple[str, str]]:
    names = {name.lower() for name, _ in call.headers}
    more = (
        [("Content-Type", "application/json")] if call.body and "content-type" not in names else []
    )
    return [*call.headers, *more]


def _body(call: "Call") -> str | None:
    return None if call.body is None else call.body.decode("utf-8", "backslashreplace")


def _curl(
    call: "Call",
    url: str,
    headers: Sequence[tuple[str, str]],
    key: tuple[str, str] | None,
    variable: str,
) -> str:
    # -g: without it curl takes the brackets of include[]= for a range.
    parts = [f"curl -g -X {call.method} {shlex.quote(url)}"]
    if key is not None:
        name, before = key
        # In double quotes, so that the shell puts the key in.
        parts.append(f'-H "{name}: {before}${variable}"')
    parts += [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in headers]
    body = _body(call)
    if body is not None:
        # --data-raw: a body that begins with @ is a body, not the name of a file.
        parts.append(f"--data-raw {shlex.quote(body)}")
    return " \\\n  ".join(parts)


def _python(
    call: "Call",
    url: str,
    headers: Sequence[tuple[str, str]],
    key: tuple[str, str] | None,
    variable: str,
) -> str:
    lines = ["import os", "import urllib.request", ""] if key else ["import urllib.request", ""]
    body = _body(call)
    told = [f"    {name!r}: {value!r}," for name, value in headers]
    if key is not None:
        told.insert(0, f"    {key[0]!r}: {key[1]!r} + os.environ[{variable!r}],")
    lines += ["request = urllib.request.Request(", f"    {url!r},"]
    if body is not None:
        lines.append(f"    data={body!r}.encode(),")
    lines += ["    headers={", *(f"    {line}" for line in told), "    },"]
    lines += [f"    method={call.method!r},", ")"]
    lines += [
        "with urllib.request.urlopen(request) as answer:",
        "    print(answer.read().decode())",
    ]
    return "\n".join(lines)


def _typescript(
    call: "Call",
    url: str,
    headers: Sequence[tuple[str, str]],
    key: tuple[str, str] | None,
    variable: str,
) -> str:
    lines = [f"const answer = await fetch({_quoted(url)}, {{", f"  method: {_quoted(call.method)},"]
    lines.append("  headers: {")
    if key is not None:
        before = key[1].replace("\\", "\\\\").replace("`", "\\`").replace("${", "\\${")
        lines.append(f"    {_quoted(key[0])}: `{before}${{process.env.{variable}}}`,")
    lines += [f"    {_quoted(name)}: {_quoted(value)}," for name, value in headers]
    lines.append("  },")
    body = _body(call)
    if body is not None:
        lines.append(f"  body: {_quoted(body)},")
    return "\n".join([*lines, "});", "console.log(await answer.text());"])


def _quoted(text: str) -> str:
    """Return a JavaScript string: JSON is one, but for two separators that older ones refuse."""
    told = json.dumps(text, ensure_ascii=False)
    return told.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
