"""The result of a run beside what it is without the known error of its judges."""

from collections.abc import Callable

from mascing.schemas.calibration import Calibration
from mascing.schemas.result import Baseline, MethodResult, Rate, Result
from mascing.statistics.rogan_gladen import corrected_difference, corrected_rate

Calibrations = Callable[[str], Calibration | None]
"""The calibration of the judge of a set, if it has one."""


def with_corrections(result: Result, calibrations: Calibrations) -> Result:
    """The result with ``corrected`` in each rate that a calibrated judge read; gates go by what was measured."""
    return result.model_copy(
        update={
            "baseline": result.baseline.model_copy(update=_rates(result.baseline, calibrations)),
            "methods": {name: _method(method, calibrations) for name, method in result.methods.items()},
        }
    )


def corrected(rate: Rate, calibration: Calibration | None) -> Rate:
    """The rate beside its corrected self; as it is without a calibration or a scored reply."""
    if calibration is None or rate.unscored == rate.n:
        return rate
    without_error = corrected_rate(rate, calibration.sensitivity, calibration.specificity)
    return rate.model_copy(update={"corrected": without_error})


def corrected_change(change: Rate, calibration: Calibration | None) -> Rate:
    """The same for a difference of two rates that one judge read."""
    if calibration is None or change.unscored == change.n:
        return change
    without_error = corrected_difference(change, calibration.sensitivity, calibration.specificity)
    return change.model_copy(update={"corrected": without_error})


def _method(method: MethodResult, calibrations: Calibrations) -> MethodResult:
    uplift = corrected_change(method.uplift, calibrations("target"))
    return method.model_copy(update={**_rates(method, calibrations), "uplift": uplift})


def _rates(measured: Baseline | MethodResult, calibrations: Calibrations) -> dict[str, object]:
    return {
        "target_rate": corrected(measured.target_rate, calibrations("target")),
        **{
            kind: {name: corrected(rate, calibrations(f"{kind}/{name}")) for name, rate in rates.items()}
            for kind, rates in (("utility", measured.utility), ("protected", measured.protected))
        },
    }
