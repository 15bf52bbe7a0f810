"""The reports: a self-contained page on what a run measured and the evidence for it, and the index of all runs."""

from mascing.report.build import build_index, build_report

__all__ = ["build_index", "build_report"]
