"""Where numbers come from: versions of code and libraries, the commit, the machine."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
import threadpoolctl

from mc.version import NUMERICS_VERSION, SCHEMA_VERSION, __version__

LIBRARIES = ("numpy", "scipy", "h5py", "joblib")


@cache
def git_commit() -> str:
    """Return the commit of the code, ``-dirty`` when the package has changes, ``unknown`` outside a checkout."""
    package = Path(__file__).resolve().parent

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *arguments], cwd=package, capture_output=True, text=True, timeout=10, check=False)

    try:
        # an installed package may lie inside a checkout of something else: ask whether this very file is tracked
        if git("ls-files", "--error-unmatch", "provenance.py").returncode != 0:
            return "unknown"
        commit = git("rev-parse", "HEAD").stdout.strip()
        changed = git("diff", "--quiet", "HEAD", "--", ".").returncode != 0
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    if not commit:
        return "unknown"
    return f"{commit}-dirty" if changed else commit


@cache
def blas_identity() -> str:
    """Return name, version and kernel of the BLAS that numpy loaded, e.g. ``openblas 0.3.30 Haswell``."""
    pools = [pool for pool in threadpoolctl.threadpool_info() if pool.get("user_api") == "blas"]
    # scipy's wheels bring a second BLAS, loaded or not; the matrix products of the suite are numpy's
    home = Path(np.__file__).resolve().parent.parent
    numpy_pools = [pool for pool in pools if Path(pool["filepath"]).is_relative_to(home / "numpy.libs")] or pools
    keys = ("internal_api", "version", "architecture")
    identities = {" ".join(str(pool[key]) for key in keys if pool.get(key)) for pool in numpy_pools}
    return "; ".join(sorted(identities)) or "unknown"


@cache
def versions() -> dict[str, str]:
    """Return the versions of everything that can change a number."""
    known = {"dipmc": __version__, "schema": str(SCHEMA_VERSION), "numerics": str(NUMERICS_VERSION)}
    known["python"] = platform.python_version()
    for name in LIBRARIES:
        try:
            known[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            known[name] = "absent"
    known["blas"] = blas_identity()
    known["machine"] = f"{platform.system()} {platform.machine()}"
    return known
