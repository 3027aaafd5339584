"""Files written whole or not at all: temporary name, fsync, rename. Deletes temporary files of killed processes."""

from __future__ import annotations

import errno
import os
import re
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mc.errors import InputError

STALE_AFTER = 86400.0
"""Seconds after which a temporary file of another machine is deleted."""

LONGEST_START = 100
"""Bytes of the final name with which the name of its temporary file begins."""

_TEMPORARY = re.compile(r"\.(?P<final>.+)~(?P<host>[^~]*)~(?P<pid>\d+)~[0-9a-f]{8}\.tmp")


def host_name() -> str:
    """Return the name of the machine, fit for a file name."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())


def temporary_name(final: Path) -> Path:
    """Return a name in the folder of `final` that no other writer, here or on another machine, uses."""
    # a name may have 255 bytes: of a long one the beginning must do
    start = os.fsencode(final.name)[:LONGEST_START].decode(errors="ignore")
    return final.with_name(f".{start}~{host_name()[:64]}~{os.getpid()}~{uuid.uuid4().hex[:8]}.tmp")


def sync(path: Path) -> None:
    """Force a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # some network file systems refuse to fsync a folder; the rename itself has happened
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP, errno.EBADF)):
            raise
    finally:
        os.close(descriptor)


def write_failure(path: Path, error: BaseException) -> InputError:
    """Return the one line that a user reads when a file could not be written."""
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT):
        advice = "no space left in the folder: free some, then run again (finished files are kept)"
    elif number in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST):
        advice = "the folder cannot be written to: choose another one with -o"
    else:
        advice = f"writing failed ({error}): run again (finished files are kept)"
    return InputError(f"{path.parent}: {advice}; {path.name} was not written")


@contextmanager
def replacing(final: Path) -> Iterator[Path]:
    """Yield a temporary path, renamed to `final` at the end of the block, or deleted when the block fails.

    Raises
    ------
    InputError
        Naming the folder, when the disk is full, read-only or otherwise refuses.
    """
    temporary = temporary_name(final)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        sync(temporary)
        os.replace(temporary, final)
        sync(final.parent)
    except BaseException as error:
        # a second failure here would hide the first, which says what is wrong with the folder
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise write_failure(final, error) from error
        raise


def write_bytes(final: Path, content: bytes) -> None:
    """Write a file whole or not at all; see `replacing`."""
    try:
        _write_once(final, content)
    except InputError as error:
        # another machine deleted the temporary file because it believed this process was dead (same host name, or clock
        # skew)
        if not isinstance(error.__cause__, FileNotFoundError) or not final.parent.is_dir():
            raise
        _write_once(final, content)


def _write_once(final: Path, content: bytes) -> None:
    with replacing(final) as temporary:
        temporary.write_bytes(content)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _folder_time(folder: Path) -> float:
    """Return the time by the clock that stamps the files of a folder, which need not be the clock of this machine."""
    probe = temporary_name(folder / "now")
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink()


def delete_stale(folder: Path, *, alive: Callable[[int], bool] = _alive) -> tuple[Path, ...]:
    """Delete temporary files of dead writers in a folder, and return their paths.

    A file of this machine is stale when its process is gone, a file of another machine when it is older than a day by
    the clock of the folder. A living writer that loses its file nevertheless writes it again; see `write_bytes`.
    """
    if not folder.is_dir():
        return ()
    deleted = []
    now: float | None = None
    for path in sorted(folder.iterdir()):
        match = _TEMPORARY.fullmatch(path.name)
        if match is None:
            continue
        # another process may delete it first; in a read-only folder the writers will fail and say so
        with suppress(OSError):
            if match["host"] == host_name()[:64]:
                stale = not alive(int(match["pid"]))
            else:
                now = _folder_time(folder) if now is None else now
                stale = now - path.stat().st_mtime > STALE_AFTER
            if stale:
                path.unlink()
                deleted.append(path)
    return tuple(deleted)
