"""List what a page leaves out and why, so that nothing is missing silently."""

from mascing.report.run_evidence import Evidence


def gaps(evidence: Evidence) -> list[str]:
    """Return a sentence for every part of the page that this run left no data for."""
    config, stages = evidence.config, evidence.stages
    if evidence.result.lacking:
        return ["Masks, their search and their evaluation: the run ended after its label stage."]
    sentences = [
        f"The method {name} was switched off in the configuration."
        for name, settings in config.methods
        if settings is None
    ]
    if config.behaviour.truth is None:
        sentences.append(
            "No planted circuit: this model's true circuit is unknown, so circuit precision is not measured."
        )
    elif evidence.truth is None:
        sentences.append(f"The planted circuit: {config.behaviour.truth} can no longer be read.")
    if not evidence.maps:
        sentences.append("Maps of the masks: the run left no selected masks.")
    if stages.select is None or not stages.select.facts.cells:
        sentences.append("The grids on the dev split: the run left no selection.")
    if evidence.result.trust is not None and not evidence.result.trust.seeds:
        sentences.append("Scatter over search seeds: every method searched with one seed.")
    if stages.train is None or not stages.train.facts.cards:
        sentences.append("Surrogates: none was trained; only the mascing method uses them.")
    if stages.gate is None or not stages.gate.facts.robustness:
        sentences.append(
            "Changed conditions: no mask passed the other gates, so none was judged under changed conditions."
        )
    if not evidence.replies:
        sentences.append("Replies, paired changes and the plots of utility against uplift: the run left no verdicts.")
    return sentences
