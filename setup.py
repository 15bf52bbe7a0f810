"""Refuse to build from a copy in which the links of mascing/ were not restored: the wheel would lack three packages."""

from pathlib import Path

from setuptools import setup

for name in ("schemas", "tasks", "flows"):
    if not Path("mascing", name, "__init__.py").is_file():
        raise SystemExit(
            f"mascing/{name} must be a symbolic link to ../{name}, and this copy lost it (zip archives and checkouts "
            "without symbolic links do): clone the repository with core.symlinks on, or use a release"
        )

setup()
