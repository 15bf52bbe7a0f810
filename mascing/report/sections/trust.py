"""How far to trust the methods: scatter over search seeds, agreement on experts, and what single experts do."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mascing.report.figures.figure import Figure, Table
from mascing.report.figures.search_seeds import seed_figures, seeds_table
from mascing.report.wording import percent
from mascing.schemas.result import DevRates, MaskAgreement, Overlap, SeedScatter, SingleExpert, Trust
from mascing.selection.seed_scatter import far_apart

_NOTHING = 0.01
"""A smaller share of an effect is called none."""


@dataclass(frozen=True)
class TrustSection:
    """The parts of the section; those without data are empty or None."""

    sentences: tuple[str, ...]
    figures: Sequence[Figure]
    seeds: Table | None
    agreement: Table | None
    single: Table | None


def trust_section(trust: Trust | None, baseline: DevRates, first: str | None) -> TrustSection | None:
    """Write the section, or None if the run leaves nothing to say.

    ``baseline`` is the unsteered model on dev, and ``first`` the method that was published or that dev ranks first.
    """
    if trust is None or not (trust.seeds or trust.agreement or trust.single):
        return None
    return TrustSection(
        sentences=(
            *seed_sentences(trust.seeds),
            *_agreement_sentences(trust.agreement, first),
            *_single_sentences(trust.single),
        ),
        figures=seed_figures(trust.seeds, baseline),
        seeds=seeds_table(trust.seeds) if trust.seeds else None,
        agreement=_agreement_table(trust.agreement),
        single=_single_table(trust.single),
    )


def seed_sentences(seeds: Mapping[str, SeedScatter]) -> Iterator[str]:
    """Say of each method how many of its search seeds may be as good as the best one."""
    for method, scatter in seeds.items():
        total, target = len(scatter.seeds), " to ".join(dict.fromkeys(map(percent, scatter.target_rates)))
        if scatter.within_noise == 0:
            yield (
                f"{method}: none of {total} search seeds finds a mask that keeps utility and protected sets within "
                f"what a pick may lose (target rates {target})."
            )
        elif costly := scatter.too_costly:
            yield (
                f"{method}: {scatter.within_noise} of {total} search seeds reach within noise of the best, seed "
                f"{scatter.best.search_seed} (target {_percent(scatter.best.target_rate)}). The target rate "
                f"of {costly} does not count (all: {target}): more is lost on utility or protected sets than a pick "
                "may lose. A search with one seed may miss what this method can find."
            )
        elif scatter.within_noise < total:
            yield (
                f"{method}: {scatter.within_noise} of {total} search seeds reach within noise of the best target rate "
                f"({target}); a search with one seed may miss what this method can find."
            )
        elif far_apart(scatter):
            yield (
                f"{method}: the target rates of {total} search seeds go from {target}; too few conversations were "
                f"judged ({scatter.judged}) to tell whether the seeds differ."
            )
        else:
            yield f"{method}: all {total} search seeds reach within noise of the best target rate ({target})."


def _percent(rate: float | None) -> str:
    return "–" if rate is None else percent(rate)


def _agreement_sentences(agreement: Sequence[MaskAgreement], first: str | None) -> Iterator[str]:
    """Say which other pick agrees best with that of ``first``, as found: pruning may keep one of several circuits."""
    pairs = [pair for pair in agreement if first in pair.methods]
    if not pairs:
        return
    best = max(pairs, key=lambda pair: pair.full.jaccard - pair.full.by_chance)
    [other] = [method for method in best.methods if method != first]
    if best.full.shared == 0:
        yield f"{first}: no other pick moves one of its experts in the same direction."
    else:
        yield (
            f"{first}: of the other picks, that of {other} agrees best with it, on {percent(best.full.jaccard)} of the "
            f"entries of both (by chance {percent(best.full.by_chance)})."
        )


def _single_sentences(single: Mapping[str, Sequence[SingleExpert]]) -> Iterator[str]:
    for method, experts in single.items():
        if not experts:
            yield f"{method}: no effect to keep: its mask does not certainly raise the target rate on dev."
            continue
        best = max(experts, key=lambda expert: expert.share)
        if best.share < _NOTHING:
            yield f"{method}: no single expert keeps {_NOTHING:.0%} of the mask's effect alone."
        else:
            yield (
                f"{method}: the strongest single expert, {best.expert} of layer {best.layer}, keeps {best.share:.0%} "
                "of the mask's effect alone."
            )


def _agreement_table(agreement: Sequence[MaskAgreement]) -> Table | None:
    if not agreement:
        return None
    is_pruned = any(pair.pruned for pair in agreement)
    columns = ("Methods", "As found", *(["After pruning"] if is_pruned else []))
    rows = [
        (" and ".join(pair.methods), _overlap(pair.full), *([_overlap(pair.pruned)] if pair.pruned else []))
        for pair in agreement
    ]
    return Table("Experts that two picks move in the same direction", columns, tuple(rows))


def _overlap(overlap: Overlap) -> str:
    union = sum(overlap.entries) - overlap.shared
    opposed = f"; {overlap.opposed} in opposite directions" if overlap.opposed else ""
    if overlap.shared == 0 and percent(overlap.by_chance) == percent(0.0):
        return f"none shared{opposed}"
    return f"{overlap.shared} of {union}: {percent(overlap.jaccard)}\nby chance {percent(overlap.by_chance)}{opposed}"


def _single_table(single: Mapping[str, Sequence[SingleExpert]]) -> Table | None:
    if not any(single.values()):
        return None
    rows = [
        (method, str(expert.layer), str(expert.expert), percent(expert.share))
        for method, experts in single.items()
        for expert in sorted(experts, key=lambda expert: -expert.share)
    ]
    columns = ("Method", "Layer", "Expert", "Share of the effect")
    return Table("What single experts of a pruned pick keep of its effect, alone", columns, tuple(rows))
