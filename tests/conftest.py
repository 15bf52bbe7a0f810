"""Fixtures shared by all tests; each kind has its own file."""

import os
from collections.abc import Iterator

import pytest

pytest_plugins = [
    "tests.mascing.serving.asked_for_vllm",
    "tests.fake_endpoint",
    "tests.fixtures_families",
    "tests.fixtures_prefect",
    "tests.fixtures_ray",
    "tests.fixtures_s3",
    "tests.fixtures_testbed",
]


LONGEST = (
    "tests/docs/test_your_model",
    "tests/flows/schedule/test_served_schedule",
    "tests/flows/test_killed_campaign",
    "tests/flows/test_reconfigure",
    "tests/flows/test_thinking_families",
    "tests/mascing/testbeds/planted/test_hard_levels",
    "tests/tasks/searching/test_rounds",
    "tests/tasks/test_flipped_bits",
    "tests/tasks/workers/",
    "tests/torture/",
)


@pytest.fixture(scope="session", autouse=True)
def without_waiting_for_the_disk() -> Iterator[None]:
    """No test loses power, so what it stores in this process need not reach the disk, which takes milliseconds each."""
    with pytest.MonkeyPatch.context() as here:
        here.setattr(os, "fsync", lambda descriptor: None)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest tests first, so that no worker is left with them at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))
