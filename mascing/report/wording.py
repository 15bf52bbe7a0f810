"""Format numbers for readers: rates in percent, differences in points, intervals in words."""

from typing import Any

from mascing.schemas.result import Corrected, Rate


def percent(value: float) -> str:
    """Format ``0.523`` as ``52.3%``."""
    return f"{100 * value:.1f}%"


def points(value: float) -> str:
    """Format a difference of rates in signed percentage points: ``0.47`` as ``+47.0``."""
    rounded = round(100 * value, 1)
    return f"+{rounded:.1f}" if rounded > 0 else f"{rounded:.1f}".replace("-", "−") if rounded else "0.0"


def rate_text(rate: Rate | Corrected) -> str:
    """Format a rate and its interval in percent, ``52.3% (45.1 to 59.4)``; a dash if no reply was scored."""
    if isinstance(rate, Rate) and rate.unscored == rate.n:
        return "–"
    return f"{percent(rate.value)} ({100 * rate.low:.1f} to {100 * rate.high:.1f})"


def points_text(rate: Rate | Corrected) -> str:
    """Format a difference and its interval in points: ``+47.0 (40.2 to 53.9)``."""
    return f"{points(rate.value)} ({points(rate.low)} to {points(rate.high)})"


def unknown(corrected: Corrected, least: int) -> str:
    """Words for an interval from ``least`` to 1, as of a judge no better than a coin; empty for another."""
    return "unknown: the judge's calibration leaves all open" if corrected.low <= least and corrected.high >= 1 else ""


def as_sentence(text: str) -> str:
    """Make a sentence of words that a terminal shows after others: with a capital and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def duration(seconds: float) -> str:
    """Format seconds by their two largest units: ``5 min 12 s``, ``2 h 5 min``; less than one is ``under 1 s``."""
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{number} {unit}" for number, unit in ((hours, "h"), (minutes, "min"), (whole, "s")) if number]
    return " ".join(parts[:2]) or "under 1 s"


def set_title(name: str) -> str:
    """Format ``utility/benign`` as ``Utility: benign`` and the target set as ``Target``."""
    kind, _, rest = name.partition("/")
    return f"{kind.capitalize()}: {rest}" if rest else kind.capitalize()


def plain(value: Any) -> str:
    """Format a hyper-parameter: floats without trailing digits, lists joined, None as a dash."""
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
    """Format a grid cell: ``lambda 0.0001, alpha 1.5``."""
    return ", ".join(f"{name} {plain(value)}" for name, value in cell.items())


def set_order(name: str) -> tuple[int, str]:
    """Return the key that sorts sets for every table and plot: target, utility, protected."""
    return ("target", "utility", "protected").index(name.partition("/")[0]), name
