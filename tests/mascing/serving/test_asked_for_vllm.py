"""Where vLLM was asked for, tests that are skipped fail the session."""

import pytest

pytest_plugins = ["pytester"]

RUNS = "def test_that_runs(): pass\n"
SKIPS = "import pytest\npytest.importorskip('no_such_vllm')\n"
SKIPS_ITSELF = "import pytest\ndef test_that_does_not_run(): pytest.skip()\n"


@pytest.mark.parametrize(
    ("modules", "asked_for", "otherwise"),
    [((RUNS,), 0, 0), ((SKIPS,), 5, 5), ((SKIPS_ITSELF,), 1, 0), ((RUNS, SKIPS), 1, 0)],
    ids=["all run", "none is collected", "none runs", "one is skipped"],
)
def test_exit_status(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    modules: tuple[str, ...],
    asked_for: int,
    otherwise: int,
) -> None:
    pytester.makepyfile(**{f"test_{number}": text for number, text in enumerate(modules)})

    def status() -> int:
        return pytester.runpytest("-p", "tests.mascing.serving.asked_for_vllm", "-p", "no:cacheprovider").ret

    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # each session would load a dozen again
    monkeypatch.delenv("MASCING_VLLM", raising=False)
    assert status() == otherwise
    monkeypatch.setenv("MASCING_VLLM", "1")
    assert status() == asked_for
