"""The table of gates: what each method passed and missed, without the numbers."""

from mascing.report.figures.figure import Table
from mascing.report.looks import in_order
from mascing.schemas.result import Gate, MethodResult, Result

_ENDINGS: dict[str, Gate] = {" passes": "pass", " fails": "fail", " is undecided": "undecided"}
"""How the first words of a reason end, by its decision (mascing/evidence/gates.py)."""


def gate_table(result: Result) -> Table:
    """Make one row per gate and one column per method; a gate that did not apply to a method is a dash."""
    decided = {name: _decisions(result.methods[name]) for name in in_order(result.methods)}
    gates = list(dict.fromkeys(gate for decisions in decided.values() for gate in decisions))
    rows = [(gate, *(decisions.get(gate, "–") for decisions in decided.values())) for gate in gates]
    all_of = ("all", *(result.methods[name].gate for name in decided))
    return Table("Decision of each gate, by method", ("Gate", *decided), (*rows, all_of))


def _decisions(method: MethodResult) -> dict[str, str]:
    """Return the decision of each gate by its name: its set, condition or check."""
    heads = [reason.partition(":")[0] for reason in method.reasons]
    return {
        head.removesuffix(ending): gate for head in heads for ending, gate in _ENDINGS.items() if head.endswith(ending)
    }
