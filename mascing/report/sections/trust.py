"""How far to trust the methods.

Scatter over search seeds, agreement on experts, what single experts do, and what topic alone explains.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mascing.evidence.scatter import scatter_text
from mascing.report.figures.figure import Figure, Table
from mascing.report.figures.search_seeds import seed_figures, seeds_table
from mascing.report.figures.topic_null import effects_figures, nulls_table
from mascing.report.wording import percent
from mascing.schemas.facts import TrainFacts
from mascing.schemas.result import DevRates, MaskAgreement, MethodResult, Overlap, SingleExpert, Trust
from mascing.topics.doubts import clearances, doubts

_NOTHING = 0.01
"""A smaller share of an effect is called none."""


@dataclass(frozen=True)
class TrustSection:
    """The parts of the section; those without data are empty or None.

    ``warnings``, ``effects`` and ``nulls`` say what topic or chance explains.
    """

    warnings: Sequence[str]
    effects: Sequence[Figure]
    nulls: Table | None
    sentences: tuple[str, ...]
    figures: Sequence[Figure]
    seeds: Table | None
    agreement: Table | None
    single: Table | None


def trust_section(
    trust: Trust | None,
    trained: TrainFacts | None,
    baseline: DevRates,
    first: str | None,
    methods: Mapping[str, MethodResult],
) -> TrustSection | None:
    """Write the section, or None if the run leaves nothing to say.

    ``trained`` holds experts and surrogates beside splits by topic. ``baseline`` is the unsteered model on dev, and
    ``first`` the method that was published or that dev ranks first. ``methods`` say which picks passed their gates: the
    agreement of masks that failed is evidence of nothing.
    """
    trust, trained = trust or Trust(), trained or TrainFacts()
    if not (trust.seeds or trust.agreement or trust.single or trained.experts):
        return None
    return TrustSection(
        warnings=doubts(trained),
        effects=effects_figures(trained.experts),
        nulls=nulls_table(trained.experts, trained.cards) if trained.experts else None,
        sentences=(
            *clearances(trained),  # the warnings say the rest
            *(scatter_text(method, scatter) for method, scatter in trust.seeds.items()),
            *_agreement_sentences(trust.agreement, first),
            *_single_sentences(trust.single),
        ),
        figures=seed_figures(trust.seeds, baseline),
        seeds=seeds_table(trust.seeds) if trust.seeds else None,
        agreement=_agreement_table(trust.agreement, methods),
        single=_single_table(trust.single),
    )


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
        pruned = f"; after pruning on {percent(best.pruned.jaccard)}" if best.pruned else ""
        yield (
            f"{first}: of the other picks, that of {other} agrees best with it, as found on "
            f"{percent(best.full.jaccard)} of the entries of both (by chance {percent(best.full.by_chance)}){pruned}."
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


def _agreement_table(agreement: Sequence[MaskAgreement], methods: Mapping[str, MethodResult]) -> Table | None:
    if not agreement:
        return None
    is_pruned = any(pair.pruned for pair in agreement)
    columns = ("Methods", "As found", *(["After pruning"] if is_pruned else []))
    rows = [
        (
            " and ".join(_with_gate(name, methods) for name in pair.methods),
            _overlap(pair.full),
            *([_overlap(pair.pruned)] if pair.pruned else []),
        )
        for pair in agreement
    ]
    return Table("Experts that two picks move in the same direction", columns, tuple(rows))


def _with_gate(name: str, methods: Mapping[str, MethodResult]) -> str:
    return name if name not in methods or methods[name].gate == "pass" else f"{name} ({methods[name].gate})"


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
