from __future__ import annotations

import stat
import time
import tracemalloc
from pathlib import Path

import pytest

from bridge.core import envelope, frames
from bridge.core import properties as p
from bridge.errors import Refused
from bridge.export import describe, exporter, files, store, write
from tests.support.wire import SAMPLES, header

BODY = bytes(range(256)) * 10
HEADER = header({flag: SAMPLES[flag] for flag in (p.CONTENT_TYPE, p.HEADERS, p.PRIORITY)}, len(BODY))
#: Header frame and body frames in three pieces, as they come from a broker.
WIRE = frames.header_frame(5, HEADER) + frames.body_frames(5, BODY, 1008)
ANY = "too-large"


def test_a_message_is_written_as_it_came(tmp_path: Path):
    before = time.time()
    file = write(tmp_path, "orders", ANY, 7, WIRE)
    message = envelope.unseal(file.read_bytes())
    assert (message.queue, message.reason, message.header, message.body) == ("orders", ANY, HEADER, BODY)
    assert before - 0.001 <= message.time <= time.time()
    again = store(tmp_path, "orders", ANY, 7, HEADER, BODY)
    assert envelope.unseal(again.read_bytes()).body == BODY


def test_it_is_described_and_read(tmp_path: Path):
    found = describe(write(tmp_path, "ü%s", "malformed", 7, WIRE))
    assert (found.queue, found.reason, found.header, found.body_bytes) == ("ü%s", "malformed", HEADER, len(BODY))
    assert found.body() == b"".join(found.chunks()) == BODY
    found.remove()
    assert files(tmp_path) == []
    for lost in (found.body, lambda: list(found.chunks())):
        with pytest.raises(Refused, match=r"cannot be read: no such file"):
            lost()
    with pytest.raises(Refused, match=r"is safe elsewhere and cannot be deleted"):
        found.remove()


def test_a_message_without_a_body(tmp_path: Path):
    found = describe(write(tmp_path, "q", ANY, 7, frames.header_frame(5, header({}))))
    assert (found.body(), list(found.chunks()), found.body_bytes) == (b"", [], 0)


def test_a_large_message_is_not_copied(tmp_path: Path):
    """What is in memory already may be most of what there is."""
    body = bytes(32 * 1024**2)
    wire = frames.header_frame(5, HEADER) + frames.body_frames(5, body, 131072)
    tracemalloc.start()
    try:
        file = write(tmp_path, "q", ANY, 7, wire)
        assert tracemalloc.get_traced_memory()[1] < 1024**2
    finally:
        tracemalloc.stop()
    assert describe(file).body() == body


def test_only_the_daemon_s_user_may_read_it(tmp_path: Path):
    file = write(tmp_path / "new", "orders", ANY, 7, WIRE)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("queue", ["../../etc", "a/b", ".", "..", "ü q", "a\nb", "ü" * 127])
def test_no_queue_name_leads_out_of_the_folder(queue: str, tmp_path: Path):
    folder = tmp_path / "export"
    file = write(folder, queue, ANY, 1, WIRE)
    assert file.resolve().parent.parent == folder.resolve()
    assert describe(file).queue == queue


def test_the_oldest_file_comes_first(tmp_path: Path):
    written = [write(tmp_path, queue, ANY, 1, WIRE) for queue in ("b", "a", "b")]
    (tmp_path / "a" / "note.txt").write_text("")
    (tmp_path / "note.amqp").write_text("")
    assert files(tmp_path) == written
    assert files(tmp_path / "none") == []


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path):
    (tmp_path / "file").write_text("")
    said = r'queue "q": a message of 2560 bytes \(too-large\) cannot be exported to .*: not a directory'
    with pytest.raises(Refused, match=said) as caught:
        write(tmp_path / "file", "q", ANY, 1, WIRE)
    assert "export.folder" in caught.value.hint
    with pytest.raises(Refused, match="cannot be read: not a directory"):
        files(tmp_path / "file")


def test_nothing_is_left_of_what_the_disk_did_not_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Refused, match="no space left on device"):
        write(tmp_path, "q", ANY, 1, WIRE)
    assert list((tmp_path / "q").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not a message of the bridge"),
        (b"[]\n", "is not a message of the bridge"),
        (b'{"queue": "q"}\n', "is not a message of the bridge"),
        (b"\xff" * 9000, "is not a message of the bridge"),
        (b'{"queue": "q", "reason": "", "time": 1, "header_bytes": 5, "body_bytes": 5}\n123', "has 79 bytes, by its"),
        (b'{"queue": "q", "reason": "", "time": 1, "header_bytes": -1, "body_bytes": 1}\n', "are due"),
    ],
)
def test_what_is_no_message_is_refused(content: bytes, said: str, tmp_path: Path):
    file = tmp_path / "x.amqp"
    file.write_bytes(content)
    with pytest.raises(Refused, match=said):
        describe(file)


def test_it_is_written_in_a_thread_and_waited_for(tmp_path: Path):
    """When this returns the message is on the disk: it may be acked."""
    file = exporter(tmp_path)("q", ANY, 1, WIRE)
    assert files(tmp_path) == [file]
    with pytest.raises(Refused):
        exporter(file)("q", ANY, 1, WIRE)
