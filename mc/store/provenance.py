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
    """The commit of the running code, ``-dirty`` when the package has changes, ``unknown`` outside a checkout."""
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
    """Name, version and kernel of the BLAS that numpy loaded, e.g. ``openblas 0.3.30 Haswell``."""
    pools = [pool for pool in threadpoolctl.threadpool_info() if pool.get("user_api") == "blas"]
    # scipy's wheels bring a second BLAS, loaded or not; the matrix products of the suite are numpy's
    home = Path(np.__file__).resolve().parent.parent
    own = [pool for pool in pools if Path(pool["filepath"]).is_relative_to(home / "numpy.libs")] or pools
    keys = ("internal_api", "version", "architecture")
    found = {" ".join(str(pool[key]) for key in keys if pool.get(key)) for pool in own}
    return "; ".join(sorted(found)) or "unknown"


@cache
def versions() -> dict[str, str]:
    """Versions of everything that can change a number."""
    found = {"dipmc": __version__, "schema": str(SCHEMA_VERSION), "numerics": str(NUMERICS_VERSION)}
    found["python"] = platform.python_version()
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    found["blas"] = blas_identity()
    found["machine"] = f"{platform.system()} {platform.machine()}"
    return found
