"""An answer that refuses, in the documented shape (api-facts 5)."""

import msgspec


class Refusal(Exception):
    """A documented refusal: HTTP `status`, and the error object's four members.

    `kind` is what the audit counts it under. `headers` go out with the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str,
        type_: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.headers = headers
        self.error = {"message": message, "type": type_, "param": param, "code": code}

    def body(self) -> bytes:
        """Return the JSON of the answer."""
        return msgspec.json.encode({"error": self.error})


def not_found(what: str, name: str) -> Refusal:
    """Return the 404 for an unknown thread, run, step, message or assistant.

    The thread's text was seen in FlowiseAI/Flowise#2495; the others follow its form.
    """
    return Refusal(404, f"No {what} found with id '{name}'.", kind="not_found")
