"""What a page leaves out, and why: one sentence each, so that nothing is missing silently."""

from mascing.report.evidence import Evidence


def gaps(evidence: Evidence) -> list[str]:
    """A sentence for every part of the page that this run left nothing for."""
    config, stages = evidence.config, evidence.stages
    found = [
        f"The method {name} was switched off in the configuration."
        for name, settings in config.methods
        if settings is None
    ]
    if config.behaviour.truth is None:
        found.append(
            "No planted circuit: nobody knows this model's true circuit, so circuit precision is not measured."
        )
    elif evidence.truth is None:
        found.append(f"The planted circuit: {config.behaviour.truth} cannot be read any more.")
    if not evidence.maps:
        found.append("Maps of the masks: the run left no selected masks.")
    if stages.select is None or not stages.select.facts.cells:
        found.append("The grids on the dev split: the run left no selection.")
    if stages.train is None or not stages.train.facts.cards:
        found.append("Surrogates: none was trained; only the mascing method uses them.")
    if stages.gate is None or not stages.gate.facts.robustness:
        found.append("Changed conditions: no mask passed the gates as it is, so none was judged under them.")
    if not evidence.replies:
        found.append("Replies, paired changes and the plots of utility against uplift: the run left no verdicts.")
    return found
