"""The command line: its help, its one-line errors, its exit codes."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from mascing.cli import main
from mascing.errors import DataError
from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec
from mascing.schemas.config import RunConfig
from tests.mascing.mask_rules import bias_of

SPEC = RouterSpec(family="olmoe", layer_ids=(0,), n_experts=4, top_k=2, scoring="softmax", fingerprint="f" * 64)

READ_NO_STORAGE = (["mask", "from-counts"], ["mask", "import"])


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of an error that the user can act on."""
    assert main(arguments) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, mascing.cli\n"
        "try: mascing.cli.main(['--help'])\n"
        "finally: print(sorted({'torch', 'transformers', 'ray', 'prefect', 'pyarrow', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    output = capsys.readouterr().out
    assert all(
        f" {command} " in output
        for command in ("demo", "run", "label", "plan", "report", "runs", "mask", "judge", "registry")
    )


@pytest.mark.parametrize(
    "command",
    [
        *([command] for command in ("demo", "run", "label", "plan", "report", "runs", "judge", "doctor", "serve")),
        *(["mask", command] for command in ("show", "diff", "compose", "verify", "from-counts")),
        *(["mask", command] for command in ("import", "export", "transfer")),
        *(["registry", command] for command in ("list", "show", "history", "promote", "rollback")),
    ],
)
def test_every_command_teaches_by_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "Example" in output
    assert f"mascing {' '.join(command)}" in output.partition("Example")[2]
    assert ("--storage" in output) == (command not in READ_NO_STORAGE)


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["demo", "--behaviour", "mischief"],
        ["demo", "--seed", "-1"],
        ["demo", "--seed", "one"],
        ["run"],
        ["label"],
        ["plan"],
        ["mask", "show"],
        ["mask", "verify", "x"],
        ["mask", "compose", "x", "y"],
        ["mask", "from-counts", "--with", "x", "--without", "y"],
        ["report", "--format", "pdf"],
    ],
)
def test_a_usage_error_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["mask", "import", "list.json", "--model", "", "--out", "mask"], "--model"),
        (["mask", "transfer", "mask.safetensors", "--to="], "--to"),
        (["campaign", ""], "campaign"),
        (["mask", "show", ""], "show"),
        (["doctor", "--model", " "], "--model"),
    ],
)
def test_an_empty_argument_is_said(arguments: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, *arguments).startswith(f"error: what follows {what} is empty: ")


def test_a_missing_config_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no such file" in refused(capsys, "run", str(tmp_path / "none.yaml"), "--storage", str(tmp_path))


def test_a_wrong_key_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("modell: {path: x}\n")
    assert "did you mean 'model'?" in refused(capsys, "run", str(config), "--storage", str(tmp_path))


@pytest.mark.parametrize("command", [["demo"], ["report"], ["mask", "show", "x@candidate"]])
def test_a_storage_that_cannot_be_written_is_said(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    refused(capsys, *command, "--storage", str(tmp_path / "file"))


def test_a_storage_of_unknown_kind_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert "use a local folder" in refused(capsys, "report", "--storage", "ftp://host/folder")


@pytest.mark.parametrize("options", [[], ["--allow-confounded"]])
def test_a_run_goes_on_with_confounded_classes_only_where_it_is_told_to(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def reconfigure(config: RunConfig, storage_url: str) -> str:
        raise DataError(f"{storage_url} allowed: {config.surrogate.allow_confounded}")

    monkeypatch.setitem(sys.modules, "mascing.flows.reconfigure", SimpleNamespace(reconfigure=reconfigure))
    monkeypatch.setattr("mascing.commands.check.refuse_doomed", lambda *arguments, **options: None)
    judge = {"kind": "exact"}
    behaviour = {"name": "b", "conversations": "c.jsonl", "target": judge, "utility": judge, "protected": judge}
    (tmp_path / "run.yaml").write_text(json.dumps({"model": {"path": "m"}, "behaviour": behaviour}))
    output = refused(capsys, "run", str(tmp_path / "run.yaml"), "--storage", str(tmp_path), *options)
    assert output.endswith(f"allowed: {bool(options)}")


def test_a_report_without_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "make a run there first" in refused(capsys, "report", "--storage", str(tmp_path))


def test_a_mask_is_shown_and_the_next_step_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = Mask.from_bias(torch.tensor([[0.0, 1.5, 0.0, -0.5]]), SPEC, {"method": "gradient"})
    mask.save(str(tmp_path / "a.safetensors"))
    assert main(["mask", "show", str(tmp_path / "a.safetensors")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "    0  1: +1.500, 3: -0.500" in lines
    assert lines[-1].startswith("next: prove it on its model: mascing mask verify ")


def test_two_masks_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in (("a", 1.0), ("b", 2.0)):
        Mask.from_bias(torch.tensor([[value, 0, 0, 0]]), SPEC).save(str(tmp_path / f"{name}.safetensors"))
    assert main(["mask", "diff", str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors")]) == 0
    assert "layer  0  stronger  0: +1.000 -> +2.000" in capsys.readouterr().out


def test_masks_are_composed_into_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(tmp_path / f"{name}.safetensors") for name in ("a", "b", "both")]
    for path, value in zip(paths, (1.0, -0.25), strict=False):
        Mask.from_bias(torch.tensor([[value, 0, 0, 0]]), SPEC).save(path)
    assert main(["mask", "compose", *paths[:2], "--out", paths[2]]) == 0
    output = capsys.readouterr().out
    assert "expert   0  1: +1.000, 2: -0.250 -> +0.750" in output
    assert f"next: prove it on its model: mascing mask verify {paths[2]}" in output
    assert bias_of(Mask.load(paths[2])).tolist() == [[0.75, 0.0, 0.0, 0.0]]


def test_a_composed_mask_that_cannot_be_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "a.safetensors")
    Mask.from_bias(torch.ones(1, 4), SPEC).save(path)
    out = f"{path}/both.safetensors"
    assert "cannot be written" in refused(capsys, "mask", "compose", path, path, "--out", out)


def test_a_file_that_is_no_mask_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "card.json").write_text(json.dumps({}))
    assert "not a mask" in refused(capsys, "mask", "show", str(tmp_path / "card.json"))
    save_file({"truth_LE": torch.ones(1, 4)}, tmp_path / "truth.safetensors")
    assert "it has no '__metadata__'" in refused(capsys, "mask", "show", str(tmp_path / "truth.safetensors"))


def test_a_file_without_rows_is_told_as_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rows.csv").write_text("id,prompt\n")
    assert main(["conversations", str(tmp_path / "rows.csv")]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "next: name a file that has rows, since this one has none"


def test_verify_refuses_a_model_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Mask.from_bias(torch.ones(1, 4), SPEC).save(str(tmp_path / "mask.safetensors"))
    output = refused(capsys, "mask", "verify", str(tmp_path), "--model", str(tmp_path / "nowhere"))
    assert "does not exist" in output


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_failing_disk_is_one_line(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(url: str) -> None:
        raise OSError(number, os.strerror(number), "/data/file")

    monkeypatch.setattr("mascing.storage.object_storage.Storage.open", fail)
    assert refused(capsys, "demo") == f"error: /data/file cannot be written or read: {os.strerror(number)}"
