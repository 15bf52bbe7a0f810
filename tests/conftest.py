"""Fixtures shared by all tests, each kind in a file of its own."""

pytest_plugins = ["fixtures_prefect", "fixtures_s3", "fixtures_testbed"]
