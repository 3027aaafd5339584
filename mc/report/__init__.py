"""The report of a run: one self-contained page, its figures as SVG and CSV, and summary.json."""

from __future__ import annotations

from mc.report.page import report_results, write_contents, write_report

__all__ = ["report_results", "write_contents", "write_report"]
