"""Fixtures shared by all tests; each kind has its own file."""

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
    "tests/torture/",
    "tests/flows/test_killed_campaign",
    "tests/flows/schedule/test_served_schedule",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest tests first, so that no worker is left with them at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))
