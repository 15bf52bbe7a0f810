"""The table that compares every method with the baseline, with the same numbers as the plots."""

from collections.abc import Mapping

from mascing.report.figures.figure import Table
from mascing.report.looks import in_order
from mascing.report.wording import percent, points, points_text, rate_text, set_title, unknown
from mascing.schemas.result import MethodResult, Rate, Result


def comparison_table(result: Result, changes: Mapping[str, Mapping[str, Rate]]) -> Table:
    """Make one row per method; ``changes`` adds the known paired changes of utility and protected sets."""
    sets = _kept_sets(result)
    columns = ["Method", "Target", "Uplift"]
    for name in sets:
        columns += [set_title(name)] + ([f"{set_title(name)}, change"] if changes else [])
    columns += ["Circuit precision", "Gate"]
    rows = [_baseline_row(result, sets, bool(changes))]
    rows += [_row(name, result.methods[name], sets, changes) for name in in_order(result.methods)]
    return Table("Test split: percent and percentage points, with 95% intervals", tuple(columns), tuple(rows))


def _kept_sets(result: Result) -> list[str]:
    return [f"utility/{name}" for name in result.baseline.utility] + [
        f"protected/{name}" for name in result.baseline.protected
    ]


def _baseline_row(result: Result, sets: list[str], with_changes: bool) -> tuple[str, ...]:
    row = ["baseline", _rate(result.baseline.target_rate), "–"]
    for name in sets:
        kind, _, rest = name.partition("/")
        rates = result.baseline.utility if kind == "utility" else result.baseline.protected
        row += [_rate(rates[rest])] + (["–"] if with_changes else [])
    return (*row, "–", "–")


def _row(
    name: str, method: MethodResult, sets: list[str], changes: Mapping[str, Mapping[str, Rate]]
) -> tuple[str, ...]:
    row = [name, _rate(method.target_rate), _difference(method.uplift)]
    for kept in sets:
        kind, _, rest = kept.partition("/")
        rate = (method.utility if kind == "utility" else method.protected).get(rest)
        row.append("–" if rate is None else _rate(rate))
        if changes:
            change = changes.get(name, {}).get(kept)
            row.append("–" if change is None else _difference(change))
    precision = "–" if method.circuit_precision is None else percent(method.circuit_precision)
    return (*row, precision, method.gate)


def _rate(rate: Rate) -> str:
    unscored = f"\n{rate.unscored} of {rate.n} unscored" if rate.unscored else ""
    if rate.unscored == rate.n:
        return f"–{unscored}"
    corrected = f"\ncorrected {unknown(rate.corrected, 0) or rate_text(rate.corrected)}" if rate.corrected else ""
    return f"{percent(rate.value)}\n{100 * rate.low:.1f} to {100 * rate.high:.1f}{unscored}{corrected}"


def _difference(rate: Rate) -> str:
    corrected = f"\ncorrected {unknown(rate.corrected, -1) or points_text(rate.corrected)}" if rate.corrected else ""
    return f"{points(rate.value)}\n{points(rate.low)} to {points(rate.high)}{corrected}"
