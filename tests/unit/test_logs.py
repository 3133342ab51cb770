from __future__ import annotations

import json
import logging
import re

import pytest

from bridge import logs


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_text_is_time_level_logger_message(capsys: pytest.CaptureFixture[str]):
    logs.set_up("info", "text")
    logging.getLogger("bridge.link").warning("source: %s", "gone")
    (line,) = told(capsys)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z warning bridge\.link: source: gone", line)


def test_json_is_one_object_a_line_whatever_the_message_holds(capsys: pytest.CaptureFixture[str]):
    logs.set_up("info", "json")
    logging.getLogger("bridge.link").info('queue "%s":\nü', 'a"b')
    (line,) = told(capsys)
    record = json.loads(line)
    assert record.pop("time").endswith("Z")
    assert record == {"level": "info", "logger": "bridge.link", "message": 'queue "a"b":\nü'}


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_line_holds_a_password(form: str, capsys: pytest.CaptureFixture[str]):
    logs.set_up("info", form)
    logging.getLogger("bridge").error("cannot reach %s", "amqp://bridge:s3cr%2Ft@old:5672/chost")
    try:
        raise ValueError("amqps://bridge:s3cr%2Ft@new/qhost")
    except ValueError:
        logging.getLogger("bridge").exception("and")
    text = "\n".join(told(capsys))
    assert "s3cr" not in text
    assert "amqp://bridge:***@old:5672/chost" in text
    assert "amqps://bridge:***@new/qhost" in text
    if form == "json":
        assert "traceback" in json.loads(text.splitlines()[1])


def test_what_libraries_say_is_detail(capsys: pytest.CaptureFixture[str]):
    """pika tells each broken connection in a dozen records at level error; ours tells it once."""
    logs.set_up("info", "text")
    logging.getLogger("pika.adapters.base_connection").error("Transport indicated EOF")
    assert told(capsys) == []

    logs.set_up("debug", "text")
    logging.getLogger("pika.adapters.base_connection").error("Transport indicated EOF")
    (line,) = told(capsys)
    assert " debug pika.adapters.base_connection: " in line


def test_a_second_set_up_replaces_the_first(capsys: pytest.CaptureFixture[str]):
    logs.set_up("debug", "text")
    logs.set_up("warning", "json")
    logging.getLogger("bridge").info("not this")
    logging.getLogger("bridge").warning("this")
    (line,) = told(capsys)
    assert json.loads(line)["message"] == "this"
