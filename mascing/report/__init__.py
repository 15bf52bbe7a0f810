"""The report: one self-contained page that shows what a run measured, and the evidence for it."""

from mascing.report.build import build_report

__all__ = ["build_report"]
