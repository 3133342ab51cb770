from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config_file import path, read_tree, show


def faults(text: str | bytes, **environ: str) -> list[str]:
    return [str(fault) for fault in read_tree(text, environ).faults.values()]


def filled(value: str, **environ: str) -> object:
    tree = read_tree(f"key: {value!r}", environ)
    assert tree.faults == {}
    assert isinstance(tree.filled, dict)
    return tree.filled["key"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "an empty file; allowed: a mapping with at least source: and target:"),
        ("# nothing\n", "an empty file; allowed: a mapping with at least source: and target:"),
        ("- a\n", "found a list; allowed: a mapping with at least source: and target:"),
        ("word", "found 'word'; allowed: a mapping with at least source: and target:"),
        ("a: [1,\n", "line 2, column 1: expected the node content, but found '<stream end>'; allowed: valid YAML"),
        ("a: b: c", "line 1, column 5: mapping values are not allowed here; allowed: valid YAML"),
        ("a: 1\n\tb: 2", "line 2, column 1: found character '\\t' that cannot start any token; allowed: valid YAML"),
        ("? [a]\n: 1", "line 1, column 3: found unhashable key; allowed: valid YAML"),
        ("a: 1\n---\nb: 1", "line 2, column 1: but found another document; allowed: valid YAML"),
        ("a: *b", "line 1, column 4: found undefined alias 'b'; allowed: valid YAML"),
        ("a: 2024-13-45", "month must be in 1..12; allowed: valid YAML"),
        ("a: \x01", "unacceptable character #x0001: special characters are not allowed; allowed: valid YAML"),
        ("a: &x [*x]", "a[0]: an alias to what it is a part of; allowed: a tree"),
        (b"a: \xff", "not UTF-8 text; allowed: a YAML file"),
    ],
)
def test_what_is_no_mapping_in_yaml_is_one_fault(text: str | bytes, fault: str) -> None:
    tree = read_tree(text, {})
    assert tree.filled is None
    assert [str(found) for found in tree.faults.values()] == [fault]


def test_nothing_is_called_that_a_tag_names() -> None:
    (fault,) = faults("a: !!python/object/apply:os.getcwd []")
    assert "could not determine a constructor" in fault


def test_every_key_that_is_there_twice_is_a_fault() -> None:
    text = "a: 1\nb:\n  - {c: 1}\n  - c: 1\n    d: 2\n    c: 3\na: 2\n"
    assert faults(text) == [
        "b[1].c: the same key twice, in line 4 and line 6; allowed: each key once",
        "a: the same key twice, in line 1 and line 7; allowed: each key once",
    ]


def test_an_anchor_may_be_used_twice() -> None:
    tree = read_tree("a: &x {c: 1}\nb: *x\n", {})
    assert tree.filled == {"a": {"c": 1}, "b": {"c": 1}}


def test_bytes_may_begin_with_a_byte_order_mark() -> None:
    assert read_tree(b"\xef\xbb\xbfa: 1", {}).filled == {"a": 1}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${A}", "one"),
        ("x${A}y${B}", "xoneyy@:/#"),
        ("$${A}", "${A}"),
        ("$A", "$A"),
        ("$$", "$$"),
        ("no reference", "no reference"),
        # Inside a URL a value stands for itself, except where it is the host, or the beginning.
        ("amqp://u:${B}@h/v", "amqp://u:y%40%3A%2F%23@h/v"),
        ("amqp://${B}:${A}@h/v", "amqp://y%40%3A%2F%23:one@h/v"),
        ("amqp://u:p@h/${B}", "amqp://u:p@h/y%40%3A%2F%23"),
        ("amqp://u:p@h/v?locale=${B}", "amqp://u:p@h/v?locale=y%40%3A%2F%23"),
        ("amqp://u:${A}@${H}/v", "amqp://u:one@host:5673/v"),
        ("amqp://${H}/v", "amqp://host:5673/v"),
        ("${U}", "amqp://u:p%40@h/v"),
        ("${U}?heartbeat=${A}", "amqp://u:p%40@h/v?heartbeat=one"),
    ],
)
def test_a_reference_is_filled_from_the_environment(written: str, value: str) -> None:
    assert filled(written, A="one", B="y@:/#", H="host:5673", U="amqp://u:p%40@h/v") == value


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_any_secret_comes_back_out_of_the_url_it_went_into(secret: str) -> None:
    url = filled("amqp://bridge:${SECRET}@host:5672/v", SECRET=secret)
    parts = urlsplit(str(url))
    assert unquote(parts.password or "") == secret
    assert (parts.hostname, parts.port, parts.path) == ("host", 5672, "/v")


def test_each_reference_without_a_value_is_a_fault_where_it_stands() -> None:
    text = 'source: {amqp: ["amqp://u:${NONE}@h/v", "amqp://u:${EMPTY}@h/v"]}\na: "${1x}"\nb: "${OPEN"\nc: "${A:-x}"\n'
    assert faults(text, EMPTY="") == [
        "source.amqp[0]: found 'amqp://***@h/v' (NONE is not set); allowed: NONE set in the environment",
        "source.amqp[1]: found 'amqp://***@h/v' (EMPTY is empty); allowed: EMPTY set in the environment",
        "a: found '${1x}' (not a variable); allowed: ${NAME}, or $${ for a plain ${",
        "b: found '${OPEN' (not a variable); allowed: ${NAME}, or $${ for a plain ${",
        "c: found '${A:-x}' (not a variable); allowed: ${NAME}, or $${ for a plain ${",
    ]


def test_what_the_environment_does_not_have_is_a_file_of_the_folder_of_credentials(tmp_path: Path) -> None:
    folder = str(tmp_path)
    (tmp_path / "SECRET").write_text("a@b/c\n")
    (tmp_path / "BOTH").write_text("the file's")
    url = "amqp://u:${SECRET}@h/v"
    assert filled(url, CREDENTIALS_DIRECTORY=folder) == "amqp://u:a%40b%2Fc@h/v"
    assert filled("${BOTH}", CREDENTIALS_DIRECTORY=folder, BOTH="the environment's") == "the environment's"
    assert filled("file:${CREDENTIALS_DIRECTORY}/SECRET", CREDENTIALS_DIRECTORY=folder) == "a@b/c"


def test_a_credential_that_is_not_there_or_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "EMPTY").touch()
    (tmp_path / "BINARY").write_bytes(b"\xff")
    (tmp_path / "FOLDER").mkdir()
    text = 'a: "${NONE}"\nb: "${EMPTY}"\nc: "${BINARY}"\nd: "${FOLDER}"\ne: "file:${NONE}/x"\nf: "${SET}"\n'
    place = "set in the environment, or a file of that name in CREDENTIALS_DIRECTORY"
    assert faults(text, CREDENTIALS_DIRECTORY=str(tmp_path), SET="") == [
        f"a: found '${{NONE}}' (NONE is not set); allowed: NONE {place}",
        f"b: found '${{EMPTY}}' (EMPTY is empty); allowed: EMPTY {place}",
        f"c: found '${{BINARY}}' (BINARY in CREDENTIALS_DIRECTORY: not UTF-8 text); allowed: BINARY {place}",
        f"d: found '${{FOLDER}}' (FOLDER in CREDENTIALS_DIRECTORY: is a directory); allowed: FOLDER {place}",
        f"e: found 'file:${{NONE}}/x' (NONE is not set); allowed: NONE {place}",
        f"f: found '${{SET}}' (SET is empty); allowed: SET {place}",
    ]


@pytest.mark.parametrize(
    ("content", "value"), [("s3cret", "s3cret"), ("s3cret\n", "s3cret"), ("a\n\n", "a\n"), (" a ", " a ")]
)
def test_a_file_gives_its_content_less_one_newline(tmp_path: Path, content: str, value: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text(content)
    assert filled(f"file:{secret}") == value


def test_what_is_in_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("${A}")
    assert filled(f"file:{tmp_path}/secret", A="x") == "${A}"


def test_each_file_without_a_value_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\xfd")
    names = [f"{tmp_path}/absent", f"{tmp_path}/empty", f"{tmp_path}/binary", str(tmp_path), "relative"]
    reasons = [
        "no such file or directory",
        "the file is empty",
        "not UTF-8 text",
        "is a directory",
        "not an absolute path",
    ]
    found = faults("\n".join(f"k{index}: file:{name}" for index, name in enumerate(names)))
    assert len(found) == len(names)
    for index, (fault, reason) in enumerate(zip(found, reasons, strict=True)):
        assert fault.startswith(f"k{index}: found 'file:")
        assert reason in fault
        assert fault.endswith("allowed: file: and the absolute path of a readable file with the value in it")


def test_a_place_is_written_as_people_write_it() -> None:
    assert path(("queues", "settings", 0, "canary", "rate")) == "queues.settings[0].canary.rate"
    assert path(()) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "nothing"),
        (True, "true"),
        (5, "5"),
        (0.5, "0.5"),
        ({}, "a mapping"),
        ([], "a list"),
        ("20/x", "'20/x'"),
        ("amqp://u:p@h", "'amqp://***@h'"),
        ("x" * 200, f"'{'x' * 80}...'"),
    ],
)
def test_what_a_fault_shows(value: object, text: str) -> None:
    assert show(value) == text
