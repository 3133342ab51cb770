from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from bridge.errors import Refused
from bridge.web.socket import listen


def test_only_the_owner_may_open_it(tmp_path: Path):
    path = tmp_path / "run" / "admin.sock"
    with listen(str(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_a_daemon_left_behind_is_taken_over(tmp_path: Path):
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with listen(str(path)):
        assert path.exists()


def test_another_daemon_s_socket_is_left_to_it(tmp_path: Path):
    path = str(tmp_path / "admin.sock")
    with listen(path):
        with pytest.raises(Refused, match=r"admin\.socket: another daemon listens on ") as caught:
            listen(path)
        assert caught.value.hint
        assert Path(path).exists()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path):
    path = tmp_path / "notes"
    path.write_text("mine")
    with pytest.raises(Refused, match="is there and is not a socket"):
        listen(str(path))
    assert path.read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match=r"cannot listen on .*: not a directory") as caught:
        listen(str(tmp_path / "file" / "run" / "admin.sock"))
    assert "admin.socket" in caught.value.hint
