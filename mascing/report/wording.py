"""Numbers as readers meet them: rates in percent, differences in points, intervals in words."""

from typing import Any

from mascing.schemas.result import Rate


def percent(value: float) -> str:
    """``0.523`` as ``52.3%``."""
    return f"{100 * value:.1f}%"


def points(value: float) -> str:
    """A difference of rates in percentage points, signed: ``0.47`` as ``+47.0``."""
    rounded = round(100 * value, 1)
    return f"+{rounded:.1f}" if rounded > 0 else f"{rounded:.1f}".replace("-", "−") if rounded else "0.0"


def rate_text(rate: Rate) -> str:
    """Rate and interval in percent: ``52.3% (45.1 to 59.4)``."""
    return f"{percent(rate.value)} ({100 * rate.low:.1f} to {100 * rate.high:.1f})"


def points_text(rate: Rate) -> str:
    """Difference and interval in points: ``+47.0 (40.2 to 53.9)``."""
    return f"{points(rate.value)} ({points(rate.low)} to {points(rate.high)})"


def set_title(name: str) -> str:
    """``utility/benign`` as ``Utility: benign``; the target set as ``Target``."""
    kind, _, rest = name.partition("/")
    return f"{kind.capitalize()}: {rest}" if rest else kind.capitalize()


def plain(value: Any) -> str:
    """A hyper-parameter as text: floats without noise, lists joined, nothing as a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value)
    return str(value)


def cell_text(cell: dict[str, Any]) -> str:
    """A grid cell: ``lambda 0.0001, alpha 1.5``."""
    return ", ".join(f"{name} {plain(value)}" for name, value in cell.items())


def set_order(name: str) -> tuple[int, str]:
    """A key that sorts sets as every table and plot lists them: target, utility, protected."""
    return ("target", "utility", "protected").index(name.partition("/")[0]), name
