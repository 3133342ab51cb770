from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.address import AmqpAddress, HostPort, HttpAddress, mask


def test_an_amqp_url_is_read_as_pika_reads_it() -> None:
    address = AmqpAddress.parse("amqp://bridge:p%40ss@old:5673/c%2Fhost?heartbeat=30&frame_max=65536")
    assert (address.tls, address.host, address.port, address.vhost) == (False, "old", 5673, "c/host")
    assert (address.user, address.password) == ("bridge", "p@ss")
    parameters = address.parameters()
    assert (parameters.host, parameters.port, parameters.virtual_host) == ("old", 5673, "c/host")
    assert (parameters.heartbeat, parameters.frame_max) == (30, 65536)
    assert (parameters.credentials.username, parameters.credentials.password) == ("bridge", "p@ss")


def test_ports_and_users_have_the_usual_defaults() -> None:
    plain, tls = AmqpAddress.parse("amqp://old/%2F"), AmqpAddress.parse("amqps://old/v")
    assert (plain.port, plain.vhost, plain.user, plain.password) == (5672, "/", "guest", "guest")
    assert (tls.port, tls.tls) == (5671, True)
    assert tls.parameters().ssl_options is not None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("amqp://u:p@host", "no vhost"),
        ("amqp://u:p@host/", "no vhost"),
        ("amqp://u:p@host//", "more than one /"),
        ("amqp://u:p@host/a/b", "more than one /"),
        ("amqp:///v", "no host"),
        ("amqp://u:p@/v", "no host"),
        ("http://host/v", "begins with none of amqp://, amqps://"),
        ("host:5672/v", "begins with none"),
        ("", "begins with none"),
        ("amqp://u:pa/ss@host/v", "no such port; are special characters"),
        ("amqp://u:12/3@host/v", "unencoded special character"),
        ("amqp://u:12#3@host/v", "unencoded special character"),
        ("amqp://u:12?3@host/v", "unencoded special character"),
        ("amqp://u:a@b@host/v", "unencoded special character"),
        ("amqp://u:p@host/v#", "unencoded special character"),
        ("amqp://u:p@host:x/v", "no such port"),
        ("amqp://u:p@host:0/v", "no such port"),
        ("amqp://u:p@host:65536/v", "no such port"),
        ("amqp://u@host/v", "a user without a password"),
        ("amqp://u:my pass@host/v", "white space"),
        ("amqp://u:p@host/v\n", "white space"),
        ("amqp://u:p@host/v?heartbeats=3", "Unknown URL parameter: 'heartbeats'"),
        ("amqp://u:p@host/v?heartbeat=x", "Invalid heartbeat value 'x'"),
        ("amqp://u:p@host/v?heartbeat=1&heartbeat=2", "Expected exactly one value"),
        ("amqp://u:p@host/v?ssl_options={'ca_certs':'/nowhere.pem'}", "No such file"),
        ("amqp://u:p@host/v?tcp_options={", "was never closed"),
    ],
)
def test_what_pika_cannot_read_or_would_misread_is_refused(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        AmqpAddress.parse(url)


PASSWORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=8)


@given(PASSWORDS)
def test_any_password_works_and_never_shows(password: str) -> None:
    address = AmqpAddress.parse(f"amqp://bridge:{quote(password, safe='')}@old:5672/chost")
    assert address.password == password
    assert address.parameters().credentials.password == password
    for text in (str(address), repr(address), f"{address}", repr([address])):
        assert "amqp://bridge:***@old:5672/chost" in text


@given(PASSWORDS)
def test_a_refusal_never_shows_the_password(password: str) -> None:
    for broken in (f"amqp://u:{password}@host", f"amqp://u:{quote(password)}@host/v?heartbeat=x", f"x://u:{password}"):
        with pytest.raises(ValueError, match=r".") as caught:
            AmqpAddress.parse(broken)
        assert password not in str(caught.value)


def test_addresses_of_the_same_place_are_recognised() -> None:
    assert AmqpAddress.parse("amqp://a:b@HOST/v").place == AmqpAddress.parse("amqp://c:d@host:5672/v?heartbeat=1").place
    assert AmqpAddress.parse("amqp://a:b@host/v").place != AmqpAddress.parse("amqp://a:b@host/w").place


def test_an_ipv6_host_keeps_its_brackets_in_text() -> None:
    assert str(AmqpAddress.parse("amqp://u:p@[::1]:5673/%2F")) == "amqp://u:***@[::1]:5673/%2F"
    assert HttpAddress.parse("http://[::1]:15672").url == "http://[::1]:15672"


def test_an_api_url_gives_its_credentials_apart() -> None:
    address = HttpAddress.parse("https://admin:s%3Acret@old:15671/rabbit/")
    assert (address.url, address.user, address.password) == ("https://old:15671/rabbit", "admin", "s:cret")
    assert address.tls
    assert str(address) == repr(address) == "https://admin:***@old:15671/rabbit"
    without = HttpAddress.parse("http://old:15672")
    assert (without.url, without.user, without.password, without.tls) == ("http://old:15672", None, None, False)
    assert str(without) == "http://old:15672"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("amqp://old", "begins with none of http://, https://"),
        ("http://", "no host"),
        ("http://old:15672?x=1", "no options"),
        ("http://u@old", "a user without a password"),
        ("http://old:99999", "no such port"),
        ("http://old#x", "unencoded"),
    ],
)
def test_what_is_no_api_url_is_refused(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        HttpAddress.parse(url)


@pytest.mark.parametrize(
    ("text", "end", "shown"),
    [
        ("127.0.0.1:8125", HostPort("127.0.0.1", 8125), "127.0.0.1:8125"),
        ("statsd.local:1", HostPort("statsd.local", 1), "statsd.local:1"),
        ("[::1]:8125", HostPort("::1", 8125), "[::1]:8125"),
    ],
)
def test_host_and_port(text: str, end: HostPort, shown: str) -> None:
    assert HostPort.parse(text) == end
    assert str(end) == shown


@pytest.mark.parametrize(
    "text", ["", "host", ":8125", "host:", "host:x", "::1:8125", "host:0", "host:65536", "udp://h:1", "[::1]"]
)
def test_what_is_no_host_and_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not host:port|port outside"):
        HostPort.parse(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("amqp://u:p@host/v", "amqp://***@host/v"),
        ("amqp://u:p/@#x@host/v", "amqp://***@host/v"),
        ("amqp://bridge:hunter2", "amqp://bridge:***"),
        ("amqp://bridge:12hunter/v", "amqp://bridge:***"),
        ("amqp://host:5672/v", "amqp://host:5672/v"),
        ("amqp://host:5672", "amqp://host:5672"),
        ("amqp://host/v", "amqp://host/v"),
        ("20/x", "20/x"),
        ("amqp:/u:p@x@host/v", "***@host/v"),
        ("amqp:u:p@host/v", "***@host/v"),
        ("u:p@host:5672", "***@host:5672"),
        ("celery@host.dq2", "celery@host.dq2"),
    ],
)
def test_a_broken_url_is_masked_before_it_is_shown(text: str, shown: str) -> None:
    assert mask(text) == shown


def test_kombu_gets_the_parts_as_they_are_meant():
    address = AmqpAddress.parse("amqps://us%40er:p%2Fw@Host:5671/my%2Fvhost")
    assert address.for_kombu() == {
        "hostname": address.host,
        "port": 5671,
        "userid": "us@er",
        "password": "p/w",
        "virtual_host": "my/vhost",
        "transport": "pyamqp",
    }
