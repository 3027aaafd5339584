"""Write and submit a run as a SLURM job array: one task a shard, a plain script, nothing on the nodes but dipmc.

The tasks share the run folder and never merge. The folder alone says which blocks are missing, however a task ended,
so nothing needs to be monitored, and submitting again resumes the run.
"""

from __future__ import annotations

import getpass
import hashlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mc.errors import InputError

FOLDER = "slurm"
"""Folder of the script and the logs, in the run folder."""
TICK = 60
"""Resolution of SLURM's time limits in seconds: its warning may come that much earlier."""

SCRIPT = r"""#!/bin/bash
# Written by `dipmc slurm`. Each task computes its share of the missing blocks of
#   {run}
# Submit it with `sbatch {script}`; what is computed is never computed again.
{directives}

{setup}# dipmc runs beside this shell, which SLURM warns before the time limit and which passes the warning on;
# a TERM comes to every process of the task by itself.
{command} &
dipmc=$! warned=no again=yes status=127
trap 'warned=yes again=yes; kill -USR1 $dipmc' USR1
trap 'again=yes' TERM
# a signal ends a wait early: wait again; 127 says that the end was heard of before
while [ $again = yes ]; do
    again=no
    wait $dipmc
    code=$?
    [ $code -eq 127 ] || status=$code
done

# 75: stopped by the warning with every block in work written. Requeue this task alone: $SLURM_JOB_ID of the last task
# of an array is the number of the whole array.
if [ $warned = yes ] && [ $status -eq 75 ]; then
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
fi
exit $status
"""


@dataclass(frozen=True)
class ArrayJob:
    """The settings of a job array."""

    name: str  # of the experiment or suite
    experiment: Path  # its file
    run: Path
    tasks: int  # one a shard
    mem: str  # of a task, such as 2G
    cpus: int = 1  # of a task, and blocks that it computes at the same time
    time: str | None = None  # this and the next two as sbatch takes them; None: the cluster's default
    partition: str | None = None
    account: str | None = None
    warn: int = 120  # seconds before the time limit at which a task stops handing out blocks
    setup: tuple[str, ...] = ()  # shell lines before dipmc starts

    @property
    def script(self) -> Path:
        """Path of the script."""
        return self.run.absolute() / FOLDER / "array.sh"

    @property
    def job_name(self) -> str:
        """Name of the job: equal for equal run folder and number of tasks, so that its tasks are found in the queue."""
        digest = hashlib.sha256(f"{self.run.resolve()} {self.tasks}".encode()).hexdigest()[:8]
        return f"dipmc-{re.sub(r'[^A-Za-z0-9_.-]', '_', self.name)}-{digest}"


def check(job: ArrayJob) -> None:
    """Raise InputError for an option that sbatch would refuse later, or misread."""
    if not re.fullmatch(r"[1-9]\d*[KMGT]?", job.mem):
        raise InputError(f"--mem {job.mem}: use a number with K, M, G or T, such as 2G")
    for option, value in (("--partition", job.partition), ("--account", job.account)):
        if value is not None and not re.fullmatch(r"[\w.,@+-]+", value):
            raise InputError(f"{option} {value}: not a name of SLURM; see `sinfo` and `sacctmgr show user $USER`")
    for line in job.setup:
        if not line.isprintable():
            raise InputError("--setup: a line holds control characters; give the option once for each line")
    for path in (job.run.absolute(), job.experiment.absolute()):
        if not str(path).isprintable() or {'"', "\\"} & set(str(path)):
            raise InputError(f"{str(path)!r}: not a path for a SLURM script (quotes, control characters); use another")
    if job.time is not None and (limit := seconds(job.time)) <= job.warn + TICK:
        raise InputError(
            f"--time {job.time}: {limit} s leave nothing to compute before the warning, {job.warn} s before the limit "
            f"or up to {TICK} s earlier; use a longer time or a smaller --warn"
        )


def seconds(time: str) -> int:
    """Return the seconds of a time limit in one of sbatch's forms: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", time)
    if match is None:
        raise InputError(f"--time {time}: not a time limit; use minutes, hours:minutes:seconds or days-hours")
    days, *rest = match.groups()
    parts = [int(part) for part in rest if part is not None]
    if days is None and len(parts) < 3:
        parts = [0, *parts]  # without days two numbers are minutes and seconds
    hours, minutes, secs = (*parts, 0, 0)[:3]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + secs


def array(shards: Collection[int]) -> str:
    """Return numbers as sbatch's --array takes them: ``0-3,7``."""
    runs: list[list[int]] = []
    for shard in sorted(shards):
        if runs and shard == runs[-1][1] + 1:
            runs[-1][1] = shard
        else:
            runs.append([shard, shard])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def quoted(command: Iterable[str | Path]) -> str:
    """Quote a command for a shell."""
    return " ".join(shlex.quote(str(word)) for word in command)


def text(job: ArrayJob, shards: Collection[int]) -> str:
    """Return the script of the given shards of a job."""
    log = str(job.script.parent).replace("%", "%%") + "/%A_%a.log"
    options = {
        "job-name": job.job_name,
        "array": array(shards),
        "partition": job.partition,
        "account": job.account,
        "time": job.time,
        "mem": job.mem,
        "cpus-per-task": job.cpus,
        "signal": f"B:USR1@{job.warn}",
        "output": f'"{log}"',
        "open-mode": "append",
    }
    directives = [f"#SBATCH --{name}={value}" for name, value in options.items() if value is not None]
    # the interpreter of this very installation: what the nodes run is what wrote the script
    command = quoted([sys.executable, "-m", "mc", "run", job.experiment.absolute(), "-o", job.run.absolute()])
    command += " --no-merge --yes \\\n    --requeue-on USR1,TERM"
    command += f' --shard "$SLURM_ARRAY_TASK_ID/{job.tasks}" -j {job.cpus}'
    return SCRIPT.format(
        run=job.run.absolute(),
        script=quoted([job.script]),
        directives="\n".join([*directives, "#SBATCH --requeue"]),
        setup="".join(f"{line}\n" for line in job.setup) + ("\n" if job.setup else ""),
        command=command,
    )


def queued(job: ArrayJob) -> set[int]:
    """Return the shards of a job that wait or run."""
    listed = _slurm(["squeue", "-h", "-r", "-u", getpass.getuser(), "-n", job.job_name, "-o", "%K"])
    return {int(line) for line in listed.split() if line.isdecimal()}


def submit(script: Path) -> str:
    """Submit a script and return the number of the job; InputError when SLURM is absent or refuses."""
    return _slurm(["sbatch", "--parsable", str(script)]).strip().split(";")[0]


def _slurm(command: Sequence[str]) -> str:
    if shutil.which(command[0]) is None:
        raise InputError(f"--submit: no {command[0]} here; run this where jobs are submitted, or leave --submit out")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        raise InputError(f"--submit: {command[0]} refused: {' '.join(done.stderr.split()) or 'it did not say why'}")
    return done.stdout
