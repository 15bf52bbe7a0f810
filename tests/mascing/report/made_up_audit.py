"""An invented audit in which another set falls with the audited one."""

from mascing.runs.run_folder import run_folder
from mascing.schemas.cards.suppression_curve import Audit, AuditPoint
from mascing.schemas.result import Rate

FOLDER = run_folder("jailbreak-defence", "testbed-olmoe", "a" * 16)
"""The folder of the audit."""


def audit(utility_after: float = 0.0) -> Audit:
    """The target falls from 90% to 10%, and `utility/benign` from 98% to ``utility_after``."""
    before = {"target": _rate(0.9), "utility/benign": _rate(0.98), "protected/forbidden": _rate(0.97)}
    points = []
    for n, share in ((4, 0.5), (16, 1.0)):
        after = {
            "target": 0.9 - 0.8 * share,
            "utility/benign": 0.98 + (utility_after - 0.98) * share,
            "protected/forbidden": 0.97,
        }
        points.append(
            AuditPoint(
                n=n,
                rates={name: _rate(value) for name, value in after.items()},
                changes={name: _change(value - before[name].value) for name, value in after.items()},
                random=(_rate(0.88), _rate(0.86)),
            )
        )
    return Audit(
        model="testbed-olmoe",
        behaviour="jailbreak-defence",
        set="target",
        ranking="attribution",
        experts=64,
        baseline=before,
        points=tuple(points),
    )


def _rate(value: float) -> Rate:
    return Rate(value=value, low=max(0.0, value - 0.08), high=min(1.0, value + 0.08), n=60, unscored=0)


def _change(value: float) -> Rate:
    return Rate(value=value, low=value - 0.08, high=value + 0.08, n=60, unscored=0)
