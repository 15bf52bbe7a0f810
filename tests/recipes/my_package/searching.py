"""A method that turns on what the positive conversations prefer, by their mean router logits."""

import torch

from mascing.circuits.method import Material, Method, Proposal
from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask
from mascing.schemas.base import Frozen
from mascing.schemas.settings.method_settings import Span


class MeanShiftOptions(Frozen):
    spans: tuple[Span, ...] = ("question",)
    alphas: tuple[float, ...] = (0.5, 1.0)


def search(material: Material, options: MeanShiftOptions) -> Proposal:
    candidates = []
    for span in options.spans:
        traces = material.traces.span(span)
        positive_LE, negative_LE = (
            torch.cat([part.z.float() for part in traces.labelled(label).parts()]).mean(dim=0) for label in (1, 0)
        )
        shift_LE = positive_LE - negative_LE
        for alpha in options.alphas:
            cell = {"span": span, "alpha": alpha}
            mask = Mask.from_bias(alpha * shift_LE, material.spec, {"method": "mean-shift", **cell})
            candidates.append(Candidate("mean-shift", cell, mask))
    return Proposal(candidates, note=f"mean-shift: {len(candidates)} masks from the traces alone")


MEAN_SHIFT = Method("mean-shift", MeanShiftOptions, search, version=1, rank=0, judges=False)
