"""Base URLs, headers, proxies and certificates, as settings."""

import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.core.call import Call
from runner.core.errors import UsageError
from runner.http.proxies import Proxies, proxy_for
from runner.http.route import Headings, check_base_url, check_headers
from runner.http.trust import trust


@pytest.mark.parametrize(
    ("given_url", "url"),
    [
        ("https://agents.example.org/v1", "https://agents.example.org/v1"),
        (" HTTPS://Agents.Example.org:443/v1/ ", "https://agents.example.org/v1"),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("http://[::1]:8080/a%2Fb//", "http://[::1]:8080/a%2Fb"),
        ("https://host/Case/Kept", "https://host/Case/Kept"),
    ],
)
def test_a_base_url_has_one_spelling(given_url: str, url: str) -> None:
    assert check_base_url(given_url) == url
    assert check_base_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "", "agents.example.org/v1", "ftp://host/v1", "https://", "https:///v1", "https://:80/v1",
        "https://host:0/v1", "https://host:99999/v1", "https://host:x/v1", "https://host/v1?a=b",
        "https://host/v1?", "https://host/v1#x", "https://host/v1#", "https://ho st/v1",
        "https://host/v1\nx", "https://höst/v1", "https://[::1/v1",
    ],
)  # fmt: skip
def test_a_base_url_that_cannot_be_used_is_told(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_base_url(url)
    assert str(caught.value).startswith("--base-url: ")
    assert caught.value.remedy


@pytest.mark.parametrize(
    "url", ["https://me:secret@host/v1", "ftp://me:secret@host", "https://me:secret@[::1"]
)
def test_a_password_in_a_base_url_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_base_url(url)
    assert "secret" not in str(caught.value)


@given(st.text())
def test_any_text_is_a_base_url_or_a_usage_error(text: str) -> None:
    try:
        url = check_base_url(text)
    except UsageError:
        return
    assert check_base_url(url) == url


def test_headers_are_kept_in_lower_case() -> None:
    assert check_headers([("X-A", " b "), ("x-c", "")]) == (("x-a", "b"), ("x-c", ""))


@pytest.mark.parametrize(
    "pair",
    [
        ("", "x"), ("a b", "x"), ("x:", "y"), ("Host", "x"), ("Content-Length", "1"),
        ("x-a", "secret\r\nx: y"), ("x-a", "secret\0"), ("x-a", "secretü"),
    ],
)  # fmt: skip
def test_a_header_that_cannot_be_sent_is_told_without_its_value(pair: tuple[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        check_headers([pair])
    assert "secret" not in str(caught.value)


def test_a_setting_may_replace_what_would_be_sent_by_itself() -> None:
    headings = Headings((("user-agent", "mine"), ("accept", "x/y")))
    headers = dict(headings.of(Call("POST", "/x", body=b"{}")))
    assert headers == {
        "accept-encoding": "identity",
        "user-agent": "mine",
        "accept": "x/y",
        "content-type": "application/json",
    }


PROXIES = Proxies(http="http://one:1", https="two:2")


def test_the_scheme_of_the_base_url_chooses_the_proxy() -> None:
    assert proxy_for("http://host/v1", PROXIES) == "http://one:1"
    assert proxy_for("https://host/v1", PROXIES) == "http://two:2"
    assert proxy_for("https://host/v1", Proxies()) == ""


@pytest.mark.parametrize(
    ("rule", "base_url", "exempt"),
    [
        ("*", "http://any.example.org", True),
        ("example.org", "http://example.org", True),
        ("example.org", "http://api.example.org", True),
        ("example.org", "http://badexample.org", False),
        (".example.org", "http://api.example.org", True),
        ("*.example.org", "http://api.example.org", True),
        ("EXAMPLE.org", "http://example.org", True),
        ("example.org:8080", "http://example.org:8080", True),
        ("example.org:8080", "http://example.org", False),
        ("example.org:443", "https://example.org", True),
        ("10.0.0.0/8", "http://10.1.2.3", True),
        ("10.0.0.0/8", "http://11.1.2.3", False),
        ("127.0.0.1", "http://127.0.0.1:9", True),
        ("::1", "http://[::1]:9", True),
        ("[::1]:9", "http://[::1]:9", True),
        ("[::1]:8", "http://[::1]:9", False),
        ("fd00::/8", "http://[fd00::1]", True),
        ("1.2.3.4", "http://1.2.3.4.example.org", False),
        ("", "http://example.org", False),
        (" ", "http://example.org", False),
    ],
)
def test_no_proxy_exempts(rule: str, base_url: str, exempt: bool) -> None:
    proxies = Proxies(http="http://p:1", https="http://p:1", no=("other.example", rule))
    assert (proxy_for(base_url, proxies) == "") == exempt


@pytest.mark.parametrize("proxy", ["socks5://me:secret@p:1", "http://", "http://p:x", "http://p:0"])
def test_a_proxy_that_cannot_be_used_is_told_without_its_password(proxy: str) -> None:
    with pytest.raises(UsageError) as caught:
        proxy_for("https://host", Proxies(https=proxy))
    assert str(caught.value).startswith("HTTPS_PROXY: ")
    assert "secret" not in str(caught.value)


def test_no_password_of_a_proxy_is_in_a_repr() -> None:
    assert "secret" not in repr(Proxies(http="http://me:secret@p:1"))


def test_certificates_are_believed_by_default_and_names_are_checked() -> None:
    context = trust()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.cert_store_stats()["x509_ca"] > 10


@pytest.mark.parametrize("text", [None, "", "no certificate"])
def test_a_certificate_file_that_cannot_be_read_is_told(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UsageError, match="SSL_CERT_FILE: "):
        trust(str(file))
    with pytest.raises(UsageError, match="SSL_CERT_DIR: "):
        trust(cert_dir=str(tmp_path / "none"))
