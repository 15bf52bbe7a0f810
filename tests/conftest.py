"""Fixtures shared by all tests, each kind in a file of its own."""

pytest_plugins = ["fixtures_s3"]
