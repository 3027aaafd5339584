"""Report: figures and HTML pages from estimates."""

from __future__ import annotations

from mc.report.page import report_results, write_report
from mc.report.suite import write_suite

__all__ = ["report_results", "write_report", "write_suite"]
