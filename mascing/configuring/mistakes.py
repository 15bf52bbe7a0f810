"""What is wrong with a configuration, in one line."""

from mascing.validation import REQUIRED

_SHOWN = 5


def message(problems: list[str], path: str) -> str:
    """The first problems, like ones together, and the file that has them."""
    problems = _together(problems)
    more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return f"{'; '.join(problems[:_SHOWN])}{more} (in {path})"


def _together(problems: list[str]) -> list[str]:
    """The same complaint about several fields once, after the names of all of them."""
    fields: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        field, _, complaint = problem.partition(": ")
        alone = complaint in ("", REQUIRED)  # each field that was forgotten is a mistake of its own
        fields.setdefault((complaint, field if alone else ""), []).append(field)
    return [": ".join(filter(None, (" and ".join(names), complaint))) for (complaint, _), names in fields.items()]
