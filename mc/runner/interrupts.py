"""Signals while a run goes on: the first asks for an end, a further one enforces it; some ask for a requeue."""

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
    """A signal stopped the run; what is written stays and the same command resumes.

    Parameters
    ----------
    message : str
    number : int or None
        The signal.
    requeue : bool
        Whether it came from the batch system, every block in work was written, and there was at least one: to start the
        job again then leads on.
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
    """The second signal: unwinds everything, so it must not be caught with the errors of a block."""


def parse_signals(text: str) -> tuple[signal.Signals, ...]:
    """Signals of a list of names such as ``USR1,TERM``.

    Raises
    ------
    InputError
        When one is not of `WARNINGS`.
    """
    names = [name.strip().removeprefix("SIG") for name in text.split(",")]
    for name in names:
        if name not in WARNINGS:
            raise InputError(f"--requeue-on {text}: no such signal {name!r}; use some of {','.join(WARNINGS)}")
    return tuple(signal.Signals[f"SIG{name}"] for name in names)


def ignore_signals() -> None:
    """In a worker: what reaches the whole process group or job is for the main process to decide on."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


class Signals:
    """SIGINT and SIGTERM, and the warnings of a batch system, while a run goes on.

    Parameters
    ----------
    requeue_on : collection of int
        Signals after which the run is to be started again: the first of them stops it like SIGTERM, and the exit status
        says so (`Interrupted.requeue`). Repeated warnings are the same warning; SIGINT or SIGTERM after one enforces.

    Attributes
    ----------
    number : int or None
        The first signal.
    written : int
        Blocks that were computed under these signals, which may span several runs.
    ending : bool
        Set once a second signal was heard: further ones are ignored, so that none cuts off the clearing up.
    """

    def __init__(self, requeue_on: Collection[int] = ()) -> None:
        self.number: int | None = None
        self.written = 0
        self.ending = False
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
        """The error that ends the run: by which signal, and how.

        Parameters
        ----------
        how : str
        at_once : bool
            Whether blocks in work were given up.
        """
        name = "a signal" if self.number is None else signal.Signals(self.number).name
        requeue = self.number in self._requeue_on and not at_once and self.written > 0
        return Interrupted(f"stopped by {name}: {how}", self.number, requeue)
