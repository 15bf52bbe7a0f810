"""Scheduled runs in a row on one model: they promote, find their work done, and notice that the model changed."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mascing.flows.schedule.scheduled import RegressionError, scheduled
from mascing.runs.registry import channels
from mascing.schemas.cards.mask_card import Channel
from mascing.schemas.cards.scheduled_check import ScheduledCheck
from mascing.schemas.settings.schedule_settings import NotifyConfig
from mascing.storage.object_storage import Storage
from mascing.tasks.watching.records import checks
from tests.flows.schedule import hooks
from tests.flows.schedule.scheduled_runs import SCHEDULE, STRONG, config_of
from tests.tasks.here_pool import HerePool

pytestmark = pytest.mark.usefixtures("prefect_here")


class Scheduled:
    """One model and behaviour on one storage."""

    def __init__(self, testbed: Path, folder: Path) -> None:
        self.testbed, self.folder = testbed, folder
        self.storage = Storage.open(str(folder / "storage"))

    def run(self) -> ScheduledCheck:
        told = SCHEDULE.model_copy(update={"notify": NotifyConfig(hook=f"{hooks.__name__}:hear")})
        scheduled(config_of(self.testbed, self.folder, STRONG), self.storage.url, told)
        return self.last()

    def last(self) -> ScheduledCheck:
        return checks(self.storage, self.testbed.name, "jailbreak-defence")[-1]

    def live(self) -> Channel:
        [channel] = [each for each in channels(self.storage) if each.channel == "production"]
        return channel


@pytest.fixture
def runs(testbed_folder: Path, strong_line: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scheduled:
    monkeypatch.setattr("mascing.flows.schedule.scheduled.Pool", lambda *_: HerePool())
    model = tmp_path / testbed_folder.name
    shutil.copytree(testbed_folder, model)
    shutil.copytree(strong_line, tmp_path / "storage")
    hooks.HEARD.clear()
    return Scheduled(model, tmp_path)


def damaged(model: Path, name: str) -> None:
    """Noise on the weights whose names hold ``name``."""
    tensors = load_file(model / "model.safetensors")
    random = torch.Generator().manual_seed(0)
    for key, tensor in tensors.items():
        if name in key:
            tensors[key] = tensor + tensor.std() * torch.randn(tensor.shape, generator=random)
    save_file(tensors, model / "model.safetensors", {"format": "pt"})


def test_a_run_promotes_the_next_one_finds_all_done_and_a_model_that_changed_is_an_alarm(runs: Scheduled) -> None:
    first = runs.run()
    assert (first.outcome, first.live) == ("promoted", None)
    assert first.judges is not None
    assert first.judges.gate == "pass"
    assert "48 of 48 verdicts are the same" in first.judges.reasons[1]
    assert [move and move.why.partition(" ")[0] for _, move in runs.live().told] == ["promoted"]
    before = set(runs.storage.list())

    again = runs.run()
    assert (again.outcome, again.changed) == ("nothing to promote", ())
    assert {path.partition("/")[0] for path in set(runs.storage.list()) - before} == {"checks"}
    assert again.live is not None
    assert (again.live.gate, again.live.drift, again.live.routing.gate) == ("pass", "pass", "pass")
    assert all(shift.moved == 0 for shift in again.live.routing.layers)
    assert all(change.value == 0 for change in again.live.changes.values())

    damaged(runs.testbed, "self_attn")
    with pytest.raises(RegressionError, match="jailbreak-defence@production regressed"):
        runs.run()
    alarm = runs.last()
    assert alarm.live is not None
    assert alarm.changed == ("model",)
    assert (alarm.outcome, alarm.live.drift, alarm.live.routing.gate) == ("held", "fail", "fail")
    assert alarm.live.gate != "pass"  # a model that fails by itself can show no loss, which leaves a gate undecided
    assert alarm.error is not None
    assert alarm.error.startswith("no mask of this run can pass its gates")
    assert [message["event"] for message in hooks.HEARD] == ["mask promoted", "live mask regressed"]
