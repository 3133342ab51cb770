from __future__ import annotations

import os
from pathlib import Path

from bridge.lab.records import Journal, Reader, Sent, Started, Truth, as_bytes, as_text, digest


def start(number: int) -> Started:
    return Started(f"task-{number}", float(number), "old", "old-live")


def test_a_reader_yields_each_record_once(tmp_path: Path) -> None:
    journal, reader = Journal(tmp_path, Started), Reader(tmp_path, Started)
    journal.append(start(1))
    assert list(reader.news()) == [start(1)]
    journal.append(start(2))
    journal.append(start(3))
    assert list(reader.news()) == [start(2), start(3)]
    assert list(reader.news()) == []


def test_a_line_half_written_waits(tmp_path: Path) -> None:
    journal, reader = Journal(tmp_path, Started), Reader(tmp_path, Started)
    journal.append(start(1))
    (file,) = tmp_path.glob("started-*")
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:10])
    assert list(reader.news()) == [start(1)]
    file.write_bytes(whole + whole)
    assert list(reader.news()) == [start(1)]


def test_a_forked_child_writes_a_file_of_its_own(tmp_path: Path) -> None:
    journal = Journal(tmp_path, Started)
    journal.append(start(1))
    child = os.fork()
    if not child:
        journal.append(start(2))
        os._exit(0)
    os.waitpid(child, 0)
    assert len(list(tmp_path.glob("started-*"))) == 2
    assert set(Reader(tmp_path, Started).news()) == {start(1), start(2)}


def test_truth_joins_what_was_sent_and_started(tmp_path: Path) -> None:
    sent, started = Journal(tmp_path, Sent), Journal(tmp_path, Started)
    for number in (1, 2):
        sent.append(Sent(f"task-{number}", 0.0, "q1", None, False, "plain", "", ""))
    started.append(start(1))
    started.append(start(1))
    truth = Truth(tmp_path)
    truth.refresh()
    assert list(truth.waiting) == ["task-2"]
    assert truth.started == {"task-1": [start(1), start(1)]}


def test_bytes_survive_the_journal() -> None:
    assert as_bytes(as_text(b"\x00\xff")) == b"\x00\xff"
    assert digest(b"a") != digest(b"b")
