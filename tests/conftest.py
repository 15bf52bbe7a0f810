"""Fixtures shared by all tests, each kind in a file of its own."""

import pytest

pytest_plugins = ["tests.fixtures_prefect", "tests.fixtures_s3", "tests.fixtures_testbed"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests first, so that no worker ends up alone with them."""
    items.sort(key=lambda item: "tests/torture/test_killed_demo" not in item.nodeid)
