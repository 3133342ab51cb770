from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from bridge.core import frames
from bridge.core import properties as p
from bridge.errors import Refused
from bridge.export import exporter, write
from tests.support.wire import SAMPLES, header

BODY = bytes(range(256)) * 10
HEADER = header({flag: SAMPLES[flag] for flag in (p.CONTENT_TYPE, p.HEADERS, p.PRIORITY)}, len(BODY))
#: Header frame and body frames in three pieces, as they come from a broker.
WIRE = frames.header_frame(5, HEADER) + frames.body_frames(5, BODY, 1008)


def test_a_message_is_written_as_it_came(tmp_path: Path):
    file = write(tmp_path, "orders", 7, WIRE)
    line, _, rest = file.read_bytes().partition(b"\n")
    told = json.loads(line)
    assert told["queue"] == "orders"
    assert rest[: told["header_bytes"]] == HEADER
    assert rest[told["header_bytes"] :] == BODY
    assert told["body_bytes"] == len(BODY)


def test_only_the_daemon_s_user_may_read_it(tmp_path: Path):
    file = write(tmp_path / "new", "orders", 7, WIRE)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("queue", ["../../etc", "a/b", ".", "..", "ü q", "a\nb", "ü" * 127])
def test_no_queue_name_leads_out_of_the_folder(queue: str, tmp_path: Path):
    folder = tmp_path / "export"
    file = write(folder, queue, 1, WIRE)
    assert file.resolve().parent.parent == folder.resolve()
    assert json.loads(file.read_bytes().partition(b"\n")[0])["queue"] == queue


def test_two_messages_are_two_files(tmp_path: Path):
    assert write(tmp_path, "q", 1, WIRE) != write(tmp_path, "q", 2, WIRE)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path):
    (tmp_path / "file").write_text("")
    said = r'queue "q": a message too large .* cannot be exported to .*: not a directory'
    with pytest.raises(Refused, match=said) as caught:
        write(tmp_path / "file", "q", 1, WIRE)
    assert "export.folder" in caught.value.hint


def test_it_is_written_in_a_thread_and_waited_for(tmp_path: Path):
    """When this returns the message is on the disk: it may be acked."""
    exporter(tmp_path)("q", 1, WIRE)
    (file,) = (tmp_path / "q").iterdir()
    with pytest.raises(Refused):
        exporter(file)("q", 1, WIRE)
