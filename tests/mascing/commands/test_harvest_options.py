"""What `mascing harvest` refuses before anything is started, by the names of its options."""

from pathlib import Path

import pytest

from mascing.cli import main
from mascing.commands.collecting.harvest import harvest
from mascing.engines import installed
from mascing.errors import ConfigError, ModelError
from tests.mascing import olmoe_folder
from tests.tasks.here_pool import HerePool


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return olmoe_folder.save(tmp_path_factory.mktemp("model"))


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "What?"}\n')
    return str(path)


@pytest.fixture
def nothing_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def started(*arguments: object) -> None:
        raise AssertionError("the line was started")

    monkeypatch.setattr("mascing.flows.starting.run_line", started)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.parametrize("layers", ["3-1", "0-999999999", "1,", "-1", "0-3-5"])
def test_layers_that_are_no_numbers_and_no_ranges_are_refused(layers: str) -> None:
    with pytest.raises(ConfigError, match="is neither a number nor a range such as 3-7"):
        harvest("c.jsonl", model="m", layers=layers)


@pytest.mark.usefixtures("nothing_starts")
def test_what_is_not_there_is_told_at_once(
    model: Path, prompts: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def refused(conversations: str, at: object, *options: str) -> str:
        assert main(["harvest", conversations, "--model", str(at), *options]) == 1
        return capsys.readouterr().err

    assert "cannot read absent.jsonl: " in refused("absent.jsonl", model)
    assert "the model folder ./nomodel does not exist: correct --model" in refused(prompts, "./nomodel")
    assert "error: --device: 'gpu' is none of cpu, cuda" in refused(prompts, model, "--device", "gpu")
    said = refused(prompts, model, "--layers", "0,3")
    assert said == "error: --layers: there is no MoE layer 3: the model has 3 layers, counted from 0 to 2\n"
    assert not (tmp_path / "mascing-data").exists()


@pytest.mark.usefixtures("nothing_starts")
def test_what_vllm_cannot_record_is_told_by_options(
    model: Path, prompts: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for version, said in ((None, "vllm is not installed"), ("0.32.0", "its attention heads have size 16")):
        monkeypatch.setattr(installed, "vllm_version", lambda version=version: version)
        monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: ["mascing"])
        assert main(["harvest", prompts, "--model", str(model), "--engine", "vllm"]) == 1
        told = " ".join(capsys.readouterr().err.split())
        assert said in told
        assert told.endswith("take --engine transformers")


def test_gpus_that_are_not_there_are_told_by_options_before_ray_starts(
    model: Path, prompts: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("mascing.preflight.machine.gpus", list)
    monkeypatch.setattr("mascing.flows.starting.run_line", lambda _, line: line.flow())
    monkeypatch.setattr("mascing.flows.harvest.harvest", lambda *_: pytest.fail("the flow was started"))
    assert main(["harvest", prompts, "--model", str(model), "--gpus", "1", "--device", "cuda"]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "this machine has 0: lower --workers or --gpus, set --device to cpu" in said


@pytest.mark.usefixtures("prefect_here")
def test_the_summary_counts_the_rows_of_the_file(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("mascing.flows.harvest.Pool", lambda *_: HerePool())
    path = tmp_path / "prompts.jsonl"
    path.write_text(
        "".join(f'{{"prompt": "{text}"}}\n' for text in [*map(str, range(50)), "", *map(str, range(50, 80))])
    )
    assert main(["harvest", str(path), "--model", str(model), "--storage", str(tmp_path / "data")]) == 0
    assert "recorded 80 of 81 conversations (1 set aside), " in capsys.readouterr().out


def test_what_is_raised_later_names_options_too(
    model: Path, prompts: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def raised(*_: object) -> None:
        raise ModelError("model.device 'cuda' is not usable here")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mascing.flows.starting.run_line", raised)
    assert main(["harvest", prompts, "--model", str(model)]) == 1
    assert "error: --device 'cuda' is not usable here" in capsys.readouterr().err
