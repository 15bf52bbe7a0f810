"""`mascing mask import | export` on a tiny model."""

import json
from pathlib import Path

import pytest
import torch

from mascing.cli import main
from mascing.masks.mask import Mask
from mascing.masks.unproven import why_unproven
from mascing.routers.spec import inspect_routers
from mascing.schemas.cards.import_card import ImportCard
from tests.mascing import olmoe_folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(olmoe_folder.save(tmp_path_factory.mktemp("model")))


def test_what_is_exported_is_imported_again_unproven_and_steers(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = Mask.from_bias(torch.eye(3, 8), inspect_routers(olmoe_folder.model()), {"method": "gradient"})
    mask.save(tmp_path / "mask.safetensors")
    listed, out = str(tmp_path / "not yet there" / "listed.json"), str(tmp_path / "out")
    assert main(["mask", "export", str(tmp_path / "mask.safetensors"), "--out", listed]) == 0
    assert f"mascing mask import '{listed}' --model" in capsys.readouterr().out
    written = Path(listed).read_bytes()
    assert main(["mask", "export", str(tmp_path / "mask.safetensors"), "--format", "json", "--out", listed]) == 1
    assert "name another file by --out" in capsys.readouterr().err
    assert Path(listed).read_bytes() == written
    assert main(["mask", "import", listed, "--model", model, "--behaviour", "defence", "--out", out]) == 0
    said = capsys.readouterr().out
    assert "note: layers are read as depth in the model, as the format says" in said
    back = Mask.load(f"{out}/mask.safetensors")
    assert torch.equal(back.rule.signed_LE, mask.rule.signed_LE)
    assert back.provenance["exported"] == {"digest": mask.digest, "method": "gradient"}
    assert "imported from listed.json" in (why_unproven(back) or "")
    card = ImportCard.model_validate_json(Path(out, "card.json").read_bytes())
    assert (card.behaviour, card.source["format"], card.mask_digest) == ("defence", "json", back.digest)
    assert main(["mask", "verify", out, "--model", model]) == 0
    verified = capsys.readouterr().out
    assert "ok: is the mask on its card: import for defence" in verified
    assert "note: unproven" in verified
    assert main(["mask", "import", listed, "--model", model, "--out", out]) == 1
    assert "name another folder by --out" in capsys.readouterr().err


def test_a_file_that_cannot_be_imported_is_named(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "soft.json").write_text(json.dumps({"layer_configs": {"0": {"mode": "soft", "expert_ids": [1]}}}))
    (tmp_path / "far.json").write_text(json.dumps({"layer_configs": {"9": {"expert_ids": [1]}}}))
    nowhere = str(tmp_path / "nowhere")
    assert main(["mask", "import", str(tmp_path / "soft.json"), "--model", nowhere, "--out", nowhere]) == 1
    assert "error: soft.json: layer 0 has mode soft" in capsys.readouterr().err
    strange = ["--behaviour", "../../etc/x", "--model", model, "--out", nowhere]
    assert main(["mask", "import", str(tmp_path / "far.json"), *strange]) == 1
    assert "a name has lower-case letters, digits and hyphens" in capsys.readouterr().err
    assert main(["mask", "import", str(tmp_path / "far.json"), "--model", model, "--out", nowhere]) == 1
    assert "error: far.json: the model has no layer 9" in capsys.readouterr().err
    assert not Path(nowhere, "mask.safetensors").exists()
