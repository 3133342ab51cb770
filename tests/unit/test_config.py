from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from bridge import config
from bridge.config import Config
from bridge.core.route import Route
from bridge.errors import ConfigError
from bridge.setting import section_of

SAMPLES = Path(__file__).parents[2] / "config"
SECRETS = {
    "OLD_PASSWORD": "old:s3cret/@",
    "NEW_PASSWORD": "new#s3cret",
    "BRIDGE_TOKEN": "s3cret-of-many-letters",
}
BASE: dict[str, Any] = {
    "source": {"amqp": "amqp://u:0ld-s3cret@old/c", "api": "http://old:15672"},
    "target": {"amqp": "amqp://u:n3w-s3cret@new/q"},
}


def read(**changes: Any) -> Config:
    return config.parse(yaml.safe_dump({**BASE, **changes}), {}, file="bridge.yaml")


def faults(**changes: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(**changes)
    assert caught.value.exit_code == 2
    assert all(line.startswith("bridge.yaml: ") for line in str(caught.value).splitlines())
    assert "s3cret" not in str(caught.value)
    return [str(fault) for fault in caught.value.faults]


def test_the_minimal_sample_leaves_everything_at_its_default() -> None:
    loaded = config.load(str(SAMPLES / "bridge.minimal.yaml"), SECRETS)
    assert loaded.route is Route.LEGACY
    assert loaded.instance == "main"
    assert loaded.queues.include == ("*",)
    assert (loaded.relay.window, loaded.relay.window_bytes, loaded.relay.priority) == (500, 64 * 1024 * 1024, 1000)
    assert loaded.gate.consumers == 1
    assert loaded.metrics.statsd is None
    assert loaded.admin.socket == "/run/bridge/admin.sock"
    assert (loaded.log.level, loaded.log.format, loaded.eta.cap_priority) == ("info", "json", "auto")
    assert loaded.source.api_login() == ("bridge", "old:s3cret/@")


def test_the_full_sample_has_every_setting_there_is() -> None:
    file = SAMPLES / "bridge.yaml"
    loaded = config.load(str(file), SECRETS)
    assert [address.host for address in loaded.target.amqp] == ["new-1", "new-2"]
    assert loaded.target.amqp[0].password == "new#s3cret"
    assert loaded.target.tls.verify
    assert str(loaded.metrics.statsd) == "127.0.0.1:8125"
    assert loaded.admin.token is not None
    assert loaded.admin.token.value == SECRETS["BRIDGE_TOKEN"]
    assert (loaded.throttle.depth, loaded.throttle.confirm, loaded.throttle.resume) == (100_000, 2, 80)
    text = file.read_text()
    for name, field in Config.model_fields.items():
        section = section_of(field)
        for key in section.model_fields if section else [name]:
            assert f"{key}:" in text, f"{name}.{key}"


def test_no_text_of_a_configuration_shows_a_password() -> None:
    loaded = read(
        source={"amqp": "amqp://u:0ld-s3cret@old/c", "api": "http://a:ap1-s3cret@old:15672"},
        legacy={"amqp": "amqp://u:0ld-s3cret@old/l"},
        admin={"token": "s3cret-of-many-letters"},
    )
    for text in (
        repr(loaded),
        str(loaded),
        f"{loaded.source}",
        f"{loaded.admin}",
        repr(loaded.model_dump()),
        loaded.model_dump_json(),
    ):
        assert "s3cret" not in text
        assert "***" in text


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        read().route = Route.QUORUM  # type: ignore[misc]


def test_equal_files_give_equal_configurations() -> None:
    assert read() == read()
    assert read() != read(source={"amqp": "amqp://u:another@old/c", "api": "http://old:15672"})


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"source": None}, "source: missing; allowed: a mapping with the keys amqp, api, tls"),
        (
            {"source": "amqp://u:s3cret@old/c"},
            "source: found 'amqp://***@old/c'; allowed: a mapping with the keys amqp, api, tls",
        ),
        ({"target": {"api": "http://new"}}, "target.amqp: missing; allowed: amqp://"),
        ({"target": {"amqp": []}}, "target.amqp: found a list (no address); allowed: amqp://"),
        ({"target": {"amqp": 5}}, "target.amqp: found 5; allowed: amqp://USER:PASSWORD"),
        ({"target": {"amqp": ["amqp://n/q", 5]}}, "target.amqp[1]: found 5; allowed: amqp://"),
        ({"target": {"amqp": "amqp://u:s3cret@new"}}, "target.amqp: found 'amqp://***@new' (no vhost after the host"),
        (
            {"target": {"amqp": "amqp://n/q", "api": "new:1"}},
            "target.api: found 'new:1' (begins with none of http://, https://)",
        ),
        (
            {"target": {"amqp": "amqps://n/q", "tls": {"verify": "yes"}}},
            "target.tls.verify: found 'yes'; allowed: true | false",
        ),
        ({"target": {"amqp": "amqps://n/q", "tls": {"ca": 5}}}, "target.tls.ca: found 5; allowed: the path of a file"),
        ({"instance": "a b"}, "instance: found 'a b'; allowed: up to 64 letters, digits, and any of _ . -"),
        ({"instance": 5}, "instance: found 5; allowed: up to 64 letters"),
        ({"route": "both"}, "route: found 'both'; allowed: legacy | canary | dual | quorum | reverse"),
        ({"backup": {"on": "both"}}, "backup.on: found 'both'; allowed: source | target"),
        ({"backup": {"max_age": "59s"}}, "backup.max_age: found '59s' (outside of 1m to 366d); allowed: a time such"),
        ({"backup": {"max_age": "367d"}}, "backup.max_age: found '367d' (outside of 1m to 366d); allowed: a time such"),
        ({"backup": {"max_age": 7}}, "backup.max_age: found 7; allowed: a time such as 7d, 12h or 30m"),
        ({"backup": {"max_age": "a week"}}, "backup.max_age: found 'a week' (not a number of s, m, h or d); allowed"),
        ({"backup": {"max_bytes": "1MiB"}}, "backup.max_bytes: found '1MiB' (outside of 64MiB to 1024TiB); allowed"),
        ({"backup": {"required": "no"}}, "backup.required: found 'no'; allowed: true | false"),
        ({"backup": {"keep": 1}}, "backup.keep: unknown key; allowed: the keys on, max_age, max_bytes, required"),
        ({"drained": None}, "drained: unknown key; allowed: the keys source, target, legacy, instance"),
        ({"queues": []}, "queues: found a list; allowed: a mapping with the keys include, exclude, settings"),
        (
            {"queues": {"include": "*"}},
            "queues.include: found '*'; allowed: a list, each item a queue name or shell pattern",
        ),
        ({"queues": {"include": [5]}}, "queues.include[0]: found 5; allowed: a queue name or shell pattern"),
        ({"queues": {"exclude": ["q" * 256]}}, "queues.exclude[0]: found 'qqq"),
        (
            {"queues": {"settings": [5]}},
            "queues.settings[0]: found 5; allowed: a mapping with the keys match, route, canary, target",
        ),
        (
            {"queues": {"settings": {}}},
            "queues.settings: found a mapping; allowed: a list, each item a mapping with the keys match",
        ),
        ({"queues": {"settings": [{}]}}, "queues.settings[0].match: missing; allowed: a queue name"),
        (
            {"canary": {"rate": "20/x"}},
            "canary.rate: found '20/x' (not a number per s, m or h); allowed: a rate such as 20/s",
        ),
        ({"canary": {"rate": 20}}, "canary.rate: found 20; allowed: a rate such as 20/s"),
        ({"canary": {"first": 0}}, "canary.first: found 0; allowed: a whole number from 1"),
        ({"canary": {}}, "canary: found a mapping (none of them); allowed: exactly one of rate:, first:"),
        ({"canary": {"rate": "1/s", "first": 1}}, "canary: found a mapping (rate and first); allowed: exactly one of"),
        ({"gate": {"consumers": -1}}, "gate.consumers: found -1; allowed: a whole number from 0"),
        ({"relay": {"window": 0}}, "relay.window: found 0; allowed: a whole number from 1 to 65535"),
        ({"relay": {"window": True}}, "relay.window: found true; allowed: a whole number"),
        ({"relay": {"window": 1.0}}, "relay.window: found 1.0; allowed: a whole number"),
        ({"relay": {"window": 65536}}, "relay.window: found 65536; allowed"),
        ({"relay": {"window_bytes": "1KiB"}}, "relay.window_bytes: found '1KiB' (outside of 64KiB to 16GiB); allowed"),
        (
            {"relay": {"window_bytes": [1]}},
            "relay.window_bytes: found a list; allowed: a number of bytes such as 64MiB",
        ),
        ({"relay": {"priority": 0}}, "relay.priority: found 0; allowed: a whole number from 1"),
        ({"eta": {"cap_priority": False}}, "eta.cap_priority: found false; allowed: auto | never"),
        ({"admin": {"socket": "run/x"}}, "admin.socket: found 'run/x'; allowed: an absolute path of at most 107 bytes"),
        ({"admin": {"socket": "/" + "x" * 107}}, "admin.socket: found '/xxx"),
        ({"export": {"folder": "out"}}, "export.folder: found 'out'; allowed: an absolute path"),
        ({"metrics": {"statsd": "host"}}, "metrics.statsd: found 'host' (not host:port); allowed: HOST:PORT"),
        ({"metrics": {"prefix": "a/b"}}, "metrics.prefix: found 'a/b'; allowed: up to 64 letters"),
        ({"log": {"level": "trace"}}, "log.level: found 'trace'; allowed: debug | info | warning | error"),
        ({"log": {"format": "xml"}}, "log.format: found 'xml'; allowed: json | text"),
    ],
)
def test_a_fault_names_its_place_what_was_found_and_what_is_allowed(changes: dict[str, Any], fault: str) -> None:
    (found,) = faults(**changes)
    assert found.startswith(fault)


def test_a_key_that_is_not_text_is_a_fault() -> None:
    text = yaml.safe_dump({**BASE, 5: 1, "log": {1: "x"}})
    with pytest.raises(ConfigError) as caught:
        config.parse(text, {})
    places = [str(fault).partition("; allowed: the keys ")[0] for fault in caught.value.faults]
    assert places == ["log[1]: a key that is not text", "[5]: a key that is not text"]


def test_on_is_a_key_though_yaml_takes_the_word_for_a_truth_value() -> None:
    text = f"{yaml.safe_dump(BASE)}\nbackup: {{on: target, required: off}}"
    made = config.parse(text, {}).backup
    assert made is not None
    assert (made.on, made.required) == ("target", False)


@pytest.mark.parametrize(
    ("given", "seconds"), [("1m", 60), ("366d", 366 * 86400), ("12h", 43200), ("90s", 90), ("7d", 604800)]
)
def test_how_long_copies_are_kept(given: str, seconds: int) -> None:
    made = read(backup={"max_age": given}).backup
    assert made is not None
    assert (made.max_age, made.max_bytes, made.on, made.required) == (seconds, 20 * 1024**3, "source", True)


def test_all_faults_are_told_at_once_across_sections() -> None:
    found = faults(
        source={"amqp": "amqp://u:${NOT_SET}@old/c"},
        target={"amqp": ["amqp://n/q", "amqp://m/other"]},
        queues={
            "settings": [{"match": "a", "route": "canary"}, {"match": "b*", "target": "c", "canary": {"rate": "x"}}]
        },
        route="canary",
        relay={"window": 0, "priority": 0},
    )
    assert [fault.split(": ")[0] for fault in found] == [
        "source.amqp",
        "queues.settings[1].canary.rate",
        "relay.window",
        "relay.priority",
        "target.amqp[1]",
    ]


def test_a_section_without_anything_in_it_counts_as_absent() -> None:
    assert read(queues=None, metrics={"statsd": None}, gate=None) == read()


def test_numbers_and_switches_may_come_from_the_environment() -> None:
    text = yaml.safe_dump({**BASE, "relay": {"window": "${W}", "window_bytes": "${B}"}, "gate": {"consumers": "${C}"}})
    loaded = config.parse(text, {"W": "7", "B": "1MiB", "C": "0"})
    assert (loaded.relay.window, loaded.relay.window_bytes, loaded.gate.consumers) == (7, 1024 * 1024, 0)
    tls = {"amqp": "amqps://new/q", "tls": {"verify": "${V}"}}
    assert not config.parse(yaml.safe_dump({**BASE, "target": tls}), {"V": "false"}).target.tls.verify


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    for file, why in ((tmp_path / "absent.yaml", "no such file or directory"), (tmp_path, "is a directory")):
        with pytest.raises(ConfigError, match=why) as caught:
            config.load(str(file), {})
        assert str(file) in str(caught.value)
        assert caught.value.hint


def test_a_queue_is_in_scope_when_included_and_not_excluded() -> None:
    scope = read(queues={"include": ["celery", "mail.*", "img[0-9]", "*.PDF"], "exclude": ["mail.tmp", "celery"]})
    assert [
        name for name in ("celery", "mail.a", "mail.tmp", "mail", "img7", "imgx", "a.PDF", "a.pdf") if scope.wants(name)
    ] == [
        "mail.a",
        "img7",
        "a.PDF",
    ]
    assert scope.explicit_names() == []
    assert read(queues={"include": ["b", "a", "*", "b"], "exclude": ["x"]}).explicit_names() == ["b", "a"]


def test_the_first_setting_that_matches_a_queue_is_its_only_one() -> None:
    loaded = read(
        route="quorum",
        canary={"rate": "1/s"},
        queues={
            "settings": [
                {"match": "mail", "target": "mail-v2"},
                {"match": "m*", "route": "canary", "canary": {"first": 5}},
                {"match": "*x", "route": "canary"},
            ]
        },
    )
    mail, many, x, other = (loaded.setting_for(name) for name in ("mail", "max", "x", "other"))
    assert (mail.route, mail.target) == (Route.QUORUM, "mail-v2")
    assert (many.route, many.target) == (Route.CANARY, "max")
    assert many.canary is not None
    assert (many.canary.first, many.canary.rate) == (5, None)
    assert x.canary is not None
    assert (x.route, x.canary.rate) == (Route.CANARY, 1.0)
    assert (other.route, other.target) == (Route.QUORUM, "other")


def test_the_api_has_the_credentials_of_amqp_unless_it_names_its_own() -> None:
    assert read().source.api_login() == ("u", "0ld-s3cret")
    own = read(source={"amqp": "amqp://u:p@old/c", "api": "http://a:b@old:15672"})
    assert own.source.api_login() == ("a", "b")


def test_the_admin_socket_is_found_without_the_secrets(tmp_path: Path) -> None:
    file = tmp_path / "bridge.yaml"
    file.write_text(yaml.safe_dump({**BASE, "source": {"amqp": "${NOT_SET}"}, "admin": {"socket": "/tmp/b.sock"}}))
    assert config.admin_socket(str(file)) == "/tmp/b.sock"
    file.write_text("admin: {socket: /tmp/b.sock, token: '${NOT_SET}', listen: '${NOT_SET}', more: 1}\n")
    assert config.admin_socket(str(file)) == "/tmp/b.sock"
    file.write_text("source: {}\nadmin:\n")
    assert config.admin_socket(str(file)) == config.admin_socket(None) == "/run/bridge/admin.sock"
    for text, fault in (
        ("admin: {socket: x}", "admin.socket: found 'x'"),
        ("a: [", "line 1"),
        ("admin: 5", "admin: found 5"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError) as caught:
            config.admin_socket(str(file))
        assert str(caught.value).startswith(f"{file}: {fault}")


def test_the_admin_socket_may_stand_on_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "bridge.yaml"
    file.write_text("source: {amqp: '${NOT_SET}'}\nadmin: {socket: '${HERE}/b.sock'}\n")
    monkeypatch.setenv("HERE", "/tmp")
    assert config.admin_socket(str(file)) == "/tmp/b.sock"
    monkeypatch.delenv("HERE")
    with pytest.raises(ConfigError, match=r"admin\.socket: found '\$\{HERE\}/b\.sock' \(HERE is not set\)"):
        config.admin_socket(str(file))


def test_the_schema_describes_every_setting() -> None:
    schema = config.schema()
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["required"] == ["source", "target"]
    assert schema["additionalProperties"] is False
    for section in [schema, *schema["$defs"].values()]:
        for name, setting in section.get("properties", {}).items():
            # A section that a field only names is described where it is defined.
            defined = schema["$defs"].get(setting.get("$ref", "").rpartition("/")[2], {})
            assert setting.get("description") or defined.get("description"), name
    relay = schema["$defs"]["Relay"]["properties"]
    assert (relay["window"]["default"], relay["window"]["maximum"]) == (500, 65535)
    assert schema["$defs"]["Tls"]["properties"]["verify"]["default"] is True
