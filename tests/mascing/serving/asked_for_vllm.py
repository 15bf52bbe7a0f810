"""Where vLLM was asked for, as `make test-vllm` does by ``MASCING_VLLM=1``, a test that did not run has failed."""

import os

import pytest


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the session that skipped a test, or ran none."""
    if "MASCING_VLLM" in os.environ and session.exitstatus == pytest.ExitCode.OK:
        stats = session.config.pluginmanager.get_plugin("terminalreporter").stats  # type: ignore[union-attr]
        if stats.get("skipped") or not stats.get("passed"):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if "MASCING_VLLM" in os.environ and terminalreporter.stats.get("skipped"):
        terminalreporter.section("vLLM was asked for: the skipped tests have failed", red=True)
