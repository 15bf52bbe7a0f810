"""Wrong and unusual configurations, models, files, rows and environments are told within seconds, with what to do.

Each is run as a command; neither Prefect nor Ray may be imported before the message.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.mascing import olmoe_folder
from tests.torture.forked_cli import ForkedCli, Said, forked_cli
from tests.torture.spoilt_run import CONFIG, ROWS, Case, configured, row, with_rows, write_config, write_rows
from tests.torture.wrong_inputs import CASES, LONG, RUN

SECONDS = 3.0
PATIENCE = 15.0
"""Seconds that a command may wait: for nothing, but other tests may use all processors."""


@pytest.fixture(scope="module")
def cli() -> Iterator[ForkedCli]:
    with forked_cli() as started:
        yield started


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return olmoe_folder.save(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def folder(model: Path, tmp_path: Path) -> Path:
    """A run that would work, in a folder of its own; the weights are linked."""
    (tmp_path / "model").mkdir()
    for file in model.iterdir():
        (tmp_path / "model" / file.name).symlink_to(file)
    write_rows(tmp_path, ROWS)
    write_config(tmp_path, CONFIG)
    return tmp_path


def told(said: Said) -> str:
    """What a command printed, on one line; it must have been quick, and have imported neither Prefect nor Ray."""
    assert said.services == ()
    assert said.seconds < SECONDS
    assert said.waited < PATIENCE
    assert "Traceback" not in said.text
    return " ".join(said.text.split())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_wrong_input_is_told_at_once(case: Case, folder: Path, cli: ForkedCli) -> None:
    said = cli.run(case.command, folder, case.change(folder) or {})
    assert said.code == 1, said.text
    text = told(said)
    assert [word for word in case.words if word not in text] == [], said.text
    assert not list(folder.glob("store/*/*/manifest.json"))


def test_a_run_that_can_work_is_described_with_its_rows_and_what_its_gates_take(folder: Path, cli: ForkedCli) -> None:
    said = cli.run(("check", "run.yaml"), folder, {})
    text = told(said)
    assert said.code == 0, text
    assert "model model: olmoe, context 512 tokens engine transformers: the weights take" in text
    assert "480 of 480 in rows.jsonl can be used (JSON Lines, layout messages)" in text
    assert "utility/benches: 56 conversations in 56 groups, about 35 needed: enough" in text
    assert "target: 46 conversations in 46 groups, about 89 needed: too few" in text
    assert "next: bring more rows of target if you can" in text
    assert text.endswith("mascing label run.yaml, or mascing run run.yaml")
    assert not (folder / "mascing-data").exists()


def test_few_rows_that_cannot_be_used_are_told_by_reason_and_stop_nothing(folder: Path, cli: ForkedCli) -> None:
    bad = [*["{oops"] * 4, row(900, "utility"), row(901, "utility"), row(902, label="yes")]
    with_rows(*bad)(folder)
    said = cli.run(("check", "run.yaml"), folder, {})
    lines = said.text.splitlines()
    assert said.code == 0, told(said)
    assert "set aside 7 of 487 rows (1.4%; a run stops above 5%)" in lines
    reasons = [line for line in lines if " x " in line]
    assert [line.split()[0] for line in reasons] == ["4", "2", "1"]
    assert reasons[0].endswith("(lines 481, 482, 483, …)")
    assert "did you mean 'utility/<name>'? (lines 485, 486)" in reasons[1]


def test_replies_and_conversations_that_do_not_fit_are_told_and_stop_nothing(folder: Path, cli: ForkedCli) -> None:
    turns = [("user", LONG), ("assistant", "no"), ("user", "?")]
    messages = [{"role": role, "content": content} for role, content in turns]
    long = "I cannot help with that, whatever is asked about benches."
    refusals = {"target": {"wanted": long}, "protected/ships": {"wanted": long}}
    write_rows(folder, [each | {"messages": messages} | refusals.get(each["set"], {}) for each in ROWS])
    text = told(said := cli.run(("check", "run.yaml"), folder, {}))
    assert said.code == 0, text
    assert "target: 160 of 160 `wanted` replies are longer than generation.max_new_tokens 16" in text
    assert f"set it to {len(long) + 1} or more" in text
    assert "480 conversations are longer than the 496 tokens" in text
    assert "utility/benches: 160 of 160" not in text  # `oak`, which the judge looks for, fits


def test_a_run_that_is_stopped_for_its_rows_leaves_them_where_it_says(folder: Path, cli: ForkedCli) -> None:
    with_rows(*["{oops"] * 40)(folder)
    said = cli.run(RUN, folder, {})
    [left] = folder.glob("store/prepare/*/quarantine.parquet")
    assert f"({left} has all reasons)" in told(said)
    assert pq.read_table(left).num_rows == 40


def test_the_plan_says_of_each_set_what_the_check_says(folder: Path, cli: ForkedCli) -> None:
    configured(gates__max_utility_loss=0.05)(folder)
    checked, planned = (cli.run((name, "run.yaml"), folder, {}).text.splitlines() for name in ("check", "plan"))
    sets = [line for line in checked if line.endswith(("needed: enough", "needed: too few"))]
    assert len(sets) == 3
    assert set(sets) <= set(planned)
    [hopeless] = [line for line in checked if line.startswith("will block publication: ")]
    assert checked[0] == hopeless
    assert hopeless in planned
    mend = (
        "next: bring rows of utility/benches until about 73 fall to test, some 244 in all, then mascing check run.yaml"
    )
    assert planned[-1] == mend
    assert checked[-1].startswith(f"{mend}; ")
    [assumed] = [line for line in planned if line.startswith("test split")]
    assert "gains 20 points on a target rate of 50% (assumed: `mascing label` measures it)" in assumed


def test_what_stops_a_run_is_told_first(folder: Path, cli: ForkedCli) -> None:
    configured(model__path="./modell")(folder)
    lines = cli.run(("check", "run.yaml"), folder, {}).text.splitlines()
    assert lines[0].startswith("problem: the model folder ")
    assert lines[-1] == "next: mend the problem above, as it says, then mascing check run.yaml"


def test_one_mistake_in_two_fields_is_told_once(folder: Path, cli: ForkedCli) -> None:
    configured(behaviour__target={"kind": "refusl"}, behaviour__protected={"kind": "refusl"})(folder)
    text = cli.run(("check", "run.yaml"), folder, {}).text
    assert text.count("refusl") == 1
    assert "behaviour.target.kind and behaviour.protected.kind: nothing is registered as 'refusl'" in text


def test_a_table_in_a_log_ends_where_its_words_end(folder: Path, cli: ForkedCli) -> None:
    lines = cli.run(("check", "run.yaml"), folder, {}).text.splitlines()
    assert any(line.startswith("target   ") for line in lines)
    assert [line for line in lines if line != line.rstrip()] == []
