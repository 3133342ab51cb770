from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pika
import pytest

from bridge import sides
from bridge.amqp import HEARTBEAT, Connection
from bridge.config_sections import Broker
from bridge.errors import ConfigError, Unreachable
from tests.support.broker import CERTIFICATE
from tests.support.broker import Broker as ScriptedBroker


def broker(amqp: str | list[str] = "amqp://u:p@old:5673/chost", **more: object) -> Broker:
    return Broker.model_validate({"amqp": amqp, **more})


def parameters(given: Broker) -> list[pika.connection.Parameters]:
    return sides.connection("source", given, "blue")().addresses


def test_every_address_is_tried_with_its_own_options():
    first, second = parameters(broker(["amqp://u:p@one/chost", "amqp://u:p@two:5673/chost?heartbeat=3"]))
    assert (first.host, first.port, first.heartbeat) == ("one", 5672, HEARTBEAT)
    assert (second.host, second.port, second.heartbeat) == ("two", 5673, 3)


def test_an_operator_sees_whose_connection_it_is():
    (given,) = parameters(broker())
    assert given.client_properties == {"connection_name": "bridge blue source"}


def test_tls_checks_name_and_certificate_unless_told_otherwise():
    (given,) = parameters(broker("amqps://u:p@new/qhost"))
    assert given.ssl_options is not None
    assert given.ssl_options.server_hostname == "new"
    assert given.ssl_options.context.check_hostname
    assert given.ssl_options.context.verify_mode == ssl.CERT_REQUIRED

    (given,) = parameters(broker("amqps://u:p@new/qhost", tls={"verify": False}))
    assert given.ssl_options is not None
    assert given.ssl_options.context.verify_mode == ssl.CERT_NONE


def test_tls_options_of_the_url_win():
    ca = quote(ssl.get_default_verify_paths().openssl_cafile)
    options = quote(f"{{'server_hostname': 'other', 'cafile': '{ca}'}}")
    (given,) = parameters(broker(f"amqps://u:p@new/qhost?ssl_options={options}"))
    assert given.ssl_options is not None
    assert given.ssl_options.server_hostname == "other"


@pytest.mark.parametrize("key", ["ca", "cert"])
def test_files_that_cannot_be_used_are_faults_of_the_configuration(key: str, tmp_path: Path):
    (tmp_path / "empty.pem").write_text("")
    for name in ("missing.pem", "empty.pem"):
        given = broker("amqps://u:p@new/qhost", tls={key: str(tmp_path / name)})
        with pytest.raises(ConfigError, match=r"target\.tls: found files that cannot be used"):
            sides.context("target", given)


def test_the_api_takes_the_credentials_of_amqp_unless_it_has_its_own():
    assert sides.management("source", broker()) is None
    of_amqp = sides.management("source", broker(api="http://old:15672"))
    own = sides.management("source", broker(api="http://monitor:m@old:15672"))
    assert of_amqp is not None
    assert own is not None
    assert of_amqp._http.headers["authorization"] == "Basic dTpw"  # u:p
    assert own._http.headers["authorization"] == "Basic bW9uaXRvcjpt"  # monitor:m


def test_the_api_s_tls_is_that_of_the_side():
    tls = {"ca": "/ca.pem", "cert": "/cert.pem"}
    given = sides.management("target", broker(api="https://new:15671", tls=tls))
    assert given is not None
    told = given._http.connection_pool_kw
    assert [told[key] for key in ("ca_certs", "cert_file", "key_file")] == ["/ca.pem", "/cert.pem", "/cert.pem"]
    assert told["cert_reqs"] == "CERT_REQUIRED"
    given = sides.management("target", broker(api="https://new:15671", tls={"ca": "/ca.pem", "verify": False}))
    assert given is not None
    assert given._http.connection_pool_kw["cert_reqs"] == "CERT_NONE"


def over_tls(end: ScriptedBroker, host: str, **tls: str) -> Connection:
    return sides.connection("target", broker(f"amqps://u:p@{host}:{end.port}/v", tls=tls), "blue")()


def test_a_connection_over_tls():
    with ScriptedBroker("4.3.6", tls=True) as end:
        made = over_tls(end, "localhost", ca=str(CERTIFICATE))
        made.open()
        assert made.server_version == (4, 3, 6)
        assert made.channel(5).declare_passive("q") == (7, 3)
        made.close()


@pytest.mark.parametrize(
    ("host", "tls", "why"),
    [("localhost", {}, "self.signed certificate"), ("127.0.0.1", {"ca": str(CERTIFICATE)}, "IP address mismatch")],
)
def test_a_certificate_that_is_not_trusted_is_said(host: str, tls: dict[str, str], why: str):
    said = rf"target: TLS with {host}:\d+ failed: the certificate is not trusted: {why}"
    with ScriptedBroker(tls=True) as end, pytest.raises(Unreachable, match=said) as caught:
        over_tls(end, host, **tls).open()
    assert "target.tls" in caught.value.hint


def test_tls_where_none_is_spoken_is_said():
    with (
        ScriptedBroker() as end,
        pytest.raises(Unreachable, match=r"target: TLS with localhost:\d+ failed: wrong version number"),
    ):
        over_tls(end, "localhost").open()


@contextmanager
def hanging_up() -> Iterator[int]:
    """The port of an end that speaks TLS and nothing else, in a thread: kombu does not wait in a greenlet here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, CERTIFICATE.with_suffix(".key"))

    def answer() -> None:
        # kombu tries a second time.
        while True:
            try:
                accepted, _ = listener.accept()
                with context.wrap_socket(accepted, server_side=True) as end:
                    end.recv(8)
            except ssl.SSLError:
                continue
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


@pytest.mark.parametrize(
    ("host", "tls", "said"),
    [
        ("localhost", {"ca": str(CERTIFICATE)}, "closed connection"),
        ("127.0.0.1", {"verify": False}, "closed connection"),
        ("localhost", {}, "self.signed certificate"),
    ],
)
def test_the_ladder_is_declared_over_tls_as_it_is_configured(host: str, tls: dict[str, object], said: str):
    with hanging_up() as port, pytest.raises(Unreachable, match=f"the ladder could not be declared: .*{said}"):
        sides.ladder(broker(f"amqps://u:p@{host}:{port}/v", tls=tls))()
