"""The report: one self-contained page that shows what a run measured, and on what evidence."""

from mascing.report.build import build_report

__all__ = ["build_report"]
