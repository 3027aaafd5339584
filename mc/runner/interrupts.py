"""Handle signals during a run: the first ends it after the blocks in work, a second at once; some ask for a requeue."""

from __future__ import annotations

import signal
import threading
from collections.abc import Collection
from types import FrameType, TracebackType
from typing import Any, Self

from mc.errors import InputError

REQUEUE_STATUS = 75
"""Exit status of a run that a batch system stopped in good order: EX_TEMPFAIL, what SLURM's RequeueExit is set to."""
WARNINGS = ("USR1", "USR2", "TERM")
"""Signals by which batch systems say that a job must end."""


class Interrupted(Exception):
    """A signal stopped the run; the written blocks stay and the same command resumes.

    `number` is the signal. `requeue` is true when the batch system sent it and at least one block was computed and none
    was cancelled: then starting the job again makes progress.
    """

    def __init__(self, message: str, number: int | None, requeue: bool = False) -> None:
        super().__init__(message)
        self.number = number
        self.requeue = requeue

    @property
    def status(self) -> int:
        """Exit status of the command."""
        return REQUEUE_STATUS if self.requeue else 128 + signal.SIGINT


class StopNow(BaseException):
    """Raised by the second signal; not an Exception, so that it is not recorded as the error of a block."""


def parse_signals(text: str) -> tuple[signal.Signals, ...]:
    """Return the signals of a list of names such as ``USR1,TERM``; InputError when one is not of `WARNINGS`."""
    names = [name.strip().removeprefix("SIG") for name in text.split(",")]
    for name in names:
        if name not in WARNINGS:
            raise InputError(f"--requeue-on {text}: no such signal {name!r}; use some of {','.join(WARNINGS)}")
    return tuple(signal.Signals[f"SIG{name}"] for name in names)


def ignore_signals() -> None:
    """Ignore signals in a worker: the main process decides on a signal that reaches the whole process group or job."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


class Signals:
    """Handlers of SIGINT, SIGTERM and the warnings of a batch system (`requeue_on`) in a ``with`` block.

    The first warning stops the run like SIGTERM, with an exit status that asks for a requeue (`Interrupted.requeue`).
    Repeated warnings change nothing; SIGINT or SIGTERM after a warning ends the run at once.
    """

    def __init__(self, requeue_on: Collection[int] = ()) -> None:
        self.number: int | None = None  # the first signal
        self.written = 0  # blocks computed since, which may be of several runs
        self.ending = False  # set by the second signal: further ones must not interrupt the cleaning up
        self._requeue_on = frozenset(requeue_on)
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # only the main thread may install handlers; elsewhere the caller's stay
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, *self._requeue_on):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number is None:
            self.number = number
        elif number in (signal.SIGINT, signal.SIGTERM) and not self.ending:
            raise StopNow

    def interrupted(self, how: str, *, at_once: bool = False) -> Interrupted:
        """Return the error that ends the run; `at_once` when blocks in work were cancelled."""
        name = "a signal" if self.number is None else signal.Signals(self.number).name
        requeue = self.number in self._requeue_on and not at_once and self.written > 0
        return Interrupted(f"stopped by {name}: {how}", self.number, requeue)
