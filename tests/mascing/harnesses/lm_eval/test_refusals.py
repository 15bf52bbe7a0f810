"""No task runs unsteered by mistake."""

from pathlib import Path

import pytest
from lm_eval.api.registry import get_model

from mascing.errors import ConfigError, MaskError, SteeringError
from mascing.harnesses.lm_eval.steered_lm import SteeredLM
from mascing.harnesses.steered import open_steered
from tests.mascing import olmoe_folder
from tests.mascing.harnesses.steered_folder import SteeredFolder


def test_the_model_is_registered_by_its_name() -> None:
    assert get_model("mascing") is SteeredLM


def test_a_mask_must_be_named(steered_files: SteeredFolder) -> None:
    with pytest.raises(MaskError, match=r"no mask was given: name one \(mask=ADDRESS\), or say mask=none"):
        SteeredLM.create_from_arg_string(f"pretrained={steered_files.model}")
    assert SteeredLM.create_from_arg_string(f"pretrained={steered_files.model},mask=none").steered.mask is None


def test_a_mask_of_another_model_is_refused(steered_files: SteeredFolder, tmp_path: Path) -> None:
    other = olmoe_folder.save(tmp_path, num_experts=4)
    with pytest.raises(MaskError, match="the mask is for 3 MoE layers x 8 experts"):
        SteeredLM(str(other), str(steered_files.mask))


def test_settings_without_effect_are_refused(steered_files: SteeredFolder) -> None:
    with pytest.raises(ConfigError, match="--model mascing has no peft; it takes pretrained, mask"):
        SteeredLM(str(steered_files.model), "none", peft="adapter")
    with pytest.raises(ConfigError, match="dtype"):
        SteeredLM(str(steered_files.model), "none", dtype="float31")


def test_work_in_which_nothing_was_steered_is_an_error(steered_files: SteeredFolder) -> None:
    steered = open_steered(str(steered_files.model), str(steered_files.mask))
    with pytest.raises(SteeringError, match=r"steered no token in layers \[0, 1, 2\]"), steered.in_force():
        pass
