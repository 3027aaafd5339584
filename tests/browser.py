"""A page as a real browser shows it: headless Chromium, what it measures, says and asks the network for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)

OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--hide-scrollbars",
    "--enable-logging=stderr", "--allow-file-access-from-files", "--virtual-time-budget=4000",
)  # fmt: skip

# The page is shown in a frame as wide as asked for: a window of Chromium is never narrower than 500 pixels.
AROUND = """<!DOCTYPE html><meta charset="utf-8"><link rel="icon" href="data:,">
<iframe id="frame" src="%s" width="%d" height="900" style="border: 0"></iframe>
<script>
document.getElementById("frame").addEventListener("load", (event) => {
  const view = event.target.contentWindow, page = view.document;
  const all = (what) => [...page.querySelectorAll(what)];
  const box = (e) => { const r = e.getBoundingClientRect(); return [r.left, r.right, r.width, r.height]; };
  const boxes = (what) => all(what).map((e) => ({ box: box(e), scrolled: e.closest(".scroll") !== null }));
  const ids = all("[id]").map((e) => e.id);
  const found = {
    width: view.innerWidth, page: page.documentElement.scrollWidth,
    figures: boxes("figure svg"), tables: boxes("table"),
    broken: all('a[href^="#"]').map((a) => decodeURIComponent(a.hash.slice(1))).filter((id) => !ids.includes(id)),
    twice: ids.filter((id, i) => ids.indexOf(id) !== i),
    unnamed: all("svg[role=img]").filter((e) => !e.getAttribute("aria-label")).length,
  };
  const out = document.createElement("script");
  out.type = "application/json"; out.id = "measured"; out.textContent = JSON.stringify(found);
  document.body.append(out);
});
</script>
"""


@dataclass(frozen=True)
class Shown:
    """What a browser found.

    Parameters
    ----------
    measured : mapping
        Sizes in CSS pixels, anchors without a target, ids given twice.
    console : list of str
        Messages of the console.
    requests : list of str
        Addresses that the page asked for.
    """

    measured: dict[str, Any]
    console: list[str]
    requests: list[str]


def show(page: Path, width: int, folder: Path) -> Shown:
    """Open a page at a width.

    Parameters
    ----------
    page : Path
    width : int
        Of the window, CSS pixels.
    folder : Path
        Where the browser may write.
    """
    around, net = folder / "around.html", folder / "net.json"
    around.write_text(AROUND % (page.resolve().as_uri(), width))
    words = [CHROMIUM, *OPTIONS, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={net}"]
    words += ["--window-size=1600,1000", "--dump-dom", around.resolve().as_uri()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'<script type="application/json" id="measured">(.*?)</script>', done.stdout, re.DOTALL)
    assert found is not None, done.stderr
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Shown(json.loads(found[1]), console, _asked(json.loads(net.read_text())))


def _asked(log: dict[str, Any]) -> list[str]:
    """Addresses that a page asked for: what the browser asks for itself has no origin."""
    begin = log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    jobs = [event["params"] for event in log["events"] if event["type"] == begin and "params" in event]
    return [job["url"] for job in jobs if job.get("initiator", "not an origin") != "not an origin"]
