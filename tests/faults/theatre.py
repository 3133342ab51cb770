"""A lab with one stage after the other: the one that is there goes on until a fault breaks its promise."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from bridge.lab.brokers import Lab, Side
from tests.faults.fault import CLUSTER, TWO_BROKERS, Fault
from tests.faults.stage import Stage
from tests.support.brokers import Vhosts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Any, TypeVar

    from tests.faults.book import Book

    _Seen = TypeVar("_Seen")


class Theatre:
    """Plays faults on the brokers of a lab, which are its own.

    Args:
        lab: with one node on either side.
        folder: for the daemon's files.
        how: arguments of every `Stage`.
    """

    def __init__(self, lab: Lab, folder: Path, **how: Any) -> None:
        self._lab = lab
        self._folder = folder
        self._how = how
        self._stage: Stage | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @property
    def same_broker(self) -> bool:
        """Whether both sides are vhosts of one broker."""
        return self._lab.old.cluster is self._lab.new.cluster

    def possible(self, faults: Iterable[Fault]) -> list[Fault]:
        """Those of the faults that can be played here."""
        absent = {CLUSTER, TWO_BROKERS} if self.same_broker else {CLUSTER}
        return [fault for fault in faults if not fault.needs & absent]

    def play(self, fault: Fault) -> Book:
        """Let the stage endure a fault, and settle.

        Raises:
            AssertionError: it did not come back.
        """

        def seen(stage: Stage) -> Book:
            stage.endure(fault)
            return stage.settle(fault.late)

        return self.on_stage(seen)

    def on_stage(self, act: Callable[[Stage], _Seen]) -> _Seen:
        """Do something on the stage; what fails ends it, and the next one begins with fresh vhosts."""
        if self._stage is None:
            self._stage = Stage(self._fresh(), Path(tempfile.mkdtemp(dir=self._folder)), **self._how)
            self._stage.__enter__()
        try:
            return act(self._stage)
        except BaseException:
            self._close()
            raise

    def _fresh(self) -> Vhosts:
        word = secrets.token_hex(4)
        pair = Vhosts(Side(self._lab.old.cluster, f"chost-{word}"), Side(self._lab.new.cluster, f"qhost-{word}"))
        for side in (pair.old, pair.new):
            side.cluster.make_vhost(side.vhost)
        return pair

    def _close(self) -> None:
        if self._stage is not None:
            self._stage.__exit__(None, None, None)
            self._stage = None
