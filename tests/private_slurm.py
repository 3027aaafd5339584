"""A SLURM of one's own: controller, virtual nodes of this machine and munge, in a temporary folder."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged")
PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")

# RequeueExit is not set: on most clusters it is not. cred_expire shortens the wait of a requeued job from 120 s to 7 s.
CONFIGURATION = """\
ClusterName=private
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={root}/munge.sock,cred_expire=6
{communication}
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool.%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MailProg=/bin/true
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_interval=1
AccountingStorageType=accounting_storage/none
KillWait=2
BatchStartTimeout=5
SlurmctldTimeout=10
SlurmdTimeout=10
"""
NODE = "NodeName=n{i} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=4000 State=UNKNOWN\n"
PARTITION = "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n"


def program(name: str) -> str | None:
    """Where a daemon is: often not on the path of a user."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def absent() -> str | None:
    """Install what is missing; why it cannot be had, None when all is there."""
    missing = [name for name in PROGRAMS if program(name) is None]
    if not missing:
        return None
    advice = f"{', '.join(missing)} missing: apt-get install {' '.join(PACKAGES)}"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return f"{advice} (this needs root and apt-get)"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
        try:
            done = subprocess.run(["apt-get", *words], env=environment, capture_output=True, text=True, timeout=180)
        except subprocess.TimeoutExpired:
            return f"{advice} (apt-get {words[0]} took more than 180 s)"
        if done.returncode != 0 and words[0] == "install":
            return f"{advice} (it failed: {done.stderr.strip().splitlines()[-1:]})"
    return None if all(map(program, PROGRAMS)) else advice


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait(ready: Callable[[], bool], seconds: float, log: Path) -> None:
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError(log.read_text()[-2000:])
        time.sleep(0.05)


def _configure(root: Path, nodes: int) -> None:
    try:
        loopback = socket.gethostbyname(socket.gethostname()).startswith("127.")
    except OSError:
        loopback = False
    ports = free_ports(nodes + 1)
    text = CONFIGURATION.format(
        root=root,
        user=getpass.getuser(),
        ports=ports,
        communication="CommunicationParameters=NoCtldInAddrAny,NoInAddrAny" if loopback else "",
    )
    text += "".join(NODE.format(i=i, port=port) for i, port in enumerate(ports[1:], 1)) + PARTITION
    (root / "slurm.conf").write_text(text)
    (root / "state").mkdir()
    key = os.open(root / "munge.key", os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(key, os.urandom(128))
    os.close(key)


@contextlib.contextmanager
def private_slurm(nodes: int = 2) -> Iterator[dict[str, str]]:
    """The environment in which sbatch and its kin speak to it."""
    # munge wants a short path whose every folder may be passed, which those of pytest may not
    root = Path(tempfile.mkdtemp(prefix="slurm-"))
    root.chmod(0o755)
    _configure(root, nodes)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH_", "SALLOC_"))}
    environment["SLURM_CONF"] = str(root / "slurm.conf")
    log = root / "daemons.out"
    processes: list[subprocess.Popen[bytes]] = []

    def start(name: str, *words: str) -> None:
        with log.open("ab") as out:
            found = program(name)
            assert found is not None
            processes.append(
                subprocess.Popen([found, *words], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment)
            )

    def ask(*words: str) -> list[str]:
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=False).stdout.split()

    try:
        files = (f"--key-file={root}/munge.key", f"--pid-file={root}/munged.pid", f"--seed-file={root}/munged.seed")
        start("munged", "--foreground", f"--socket={root}/munge.sock", *files)
        wait((root / "munge.sock").exists, 20, log)
        start("slurmctld", "-D", "-f", environment["SLURM_CONF"])
        for i in range(1, nodes + 1):
            start("slurmd", "-D", "-N", f"n{i}", "-f", environment["SLURM_CONF"])
        wait(lambda: ask("sinfo", "-h", "-N", "-o", "%T") == ["idle"] * nodes, 30, log)
        yield environment
    finally:
        ask("scancel", "-u", getpass.getuser())
        with contextlib.suppress(TimeoutError):
            wait(lambda: not ask("squeue", "-h"), 15, log)
        for process in [*processes[2:], *processes[1:2], *processes[:1]]:  # nodes, controller, munge
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(root, ignore_errors=True)
