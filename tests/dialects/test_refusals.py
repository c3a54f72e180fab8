"""How errors are read, whoever spelt them."""

import pytest

from runner.core.call import Reply
from runner.core.model import ApiError
from runner.dialects.refusals import error_of

SPELT = [
    (b"", ApiError()),
    (b"  \n", ApiError()),
    # Cloudflare, stanfordnlp/dspy#203: an int for a code.
    (
        b'{"error":{"code":502,"message":"Bad gateway.","param":null,"type":"cf_bad_gateway"}}',
        ApiError("502", "cf_bad_gateway", "Bad gateway."),
    ),
    # Azure/azure-sdk-for-net#48187: a numeric string.
    (b'{"error":{"code":"429","message":"Slow down"}}', ApiError("429", "", "Slow down")),
    (b'{"error":{"code":"DeploymentNotFound"}}', ApiError("deploymentnotfound")),
    # astra-assistants-api's 501.
    (
        b'{"message":"This feature is not yet implemented"}',
        ApiError(message="This feature is not yet implemented"),
    ),
    # FastAPI: text, or a list of faults.
    (b'{"detail":"Not Found"}', ApiError(message="Not Found")),
    (
        b'{"detail":[{"loc":["body","tools",0],"msg":"field required","type":"missing"},"x"]}',
        ApiError(message="body.tools.0: field required; x"),
    ),
    # RFC 6749, 5.2.
    (
        b'{"error":"invalid_client","error_description":"Wrong secret"}',
        ApiError("invalid_client", "", "Wrong secret"),
    ),
    (b'{"error":"model overloaded"}', ApiError(message="model overloaded")),
    (b'{"error":null,"message":"m","code":7,"type":"T"}', ApiError("7", "t", "m")),
    (b'{"error":{"message":{"why":1},"param":"tools"}}', ApiError("", "", '{"why": 1}', "tools")),
    (b'"just text"', ApiError(message="just text")),
    (b'[{"msg":"bad"}]', ApiError(message="bad")),
    (
        b"<html>\n <h1>520</h1>\n</html>",
        ApiError(message="<html> <h1>520</h1> </html>"),
    ),
]


@pytest.mark.parametrize(("body", "error"), SPELT)
def test_an_error_is_read_whoever_spelt_it(body: bytes, error: ApiError) -> None:
    assert error_of(Reply(500, {}, body)) == error


@pytest.mark.parametrize("body", [b"<p>" + b"x" * 100_000, b'{"message":"' + b"y" * 9000 + b'"}'])
def test_an_error_is_cut_at_two_kilobytes(body: bytes) -> None:
    assert 2000 < len(error_of(Reply(502, {}, body)).message.encode()) <= 2048


@pytest.mark.parametrize("body", [b"\xff\xfe\x00", b"[" * 100_000, b'{"error":{"code":{}}}'])
def test_no_body_is_too_odd_to_be_read(body: bytes) -> None:
    assert isinstance(error_of(Reply(500, {}, body)), ApiError)
