"""Chat templates in the layouts of public families, written for the tests: what stands where, and nothing else."""

from pathlib import Path

LAYOUTS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.jinja"))}
