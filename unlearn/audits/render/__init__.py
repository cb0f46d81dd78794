"""Rendering: what an audit found, as files that people and programs read."""

from collections.abc import Callable
from typing import Final

from unlearn.audits.render.page import as_html
from unlearn.audits.render.plain import as_json, as_object, curves_csv, results_csv, visibility_csv
from unlearn.audits.report import AuditReport

REPORTS: Final[dict[str, Callable[[AuditReport], str]]] = {
    "report.json": as_json,
    "results.csv": results_csv,
    "curves.csv": curves_csv,
    "visibility.csv": visibility_csv,
    "report.html": as_html,
}

__all__ = ["REPORTS", "as_object"]
