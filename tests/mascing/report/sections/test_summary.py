"""What stands at the top of a page, for the person who decides."""

from mascing.schemas.result import Result
from tests.mascing.report.made_up_searches import dev_unsteered
from tests.mascing.report.page_parts import Page
from tests.mascing.report.run_on_disk import FOLDER


def test_the_headline_says_what_passed_and_by_how_much(page: Page, result: Result) -> None:
    header = page.all("header")[0].words()
    gradient = result.methods["gradient"]
    assert "jailbreak-defence" in header
    assert "testbed-olmoe" in header
    assert "The gradient mask passed every gate and was published." in header
    assert f"from {100 * result.baseline.target_rate.value:.1f}% to {100 * gradient.target_rate.value:.1f}%" in header
    assert f"+{100 * gradient.uplift.value:.1f} percentage points" in header
    assert f"+{100 * gradient.uplift.low:.1f} to +{100 * gradient.uplift.high:.1f}" in header


def test_the_summary_answers_what_who_decides_asks(page: Page, result: Result) -> None:
    (summary,) = (part for part in page.all("dl") if part.attributes.get("class") == "summary")
    answers = dict(
        zip([part.words() for part in summary.all("dt")], [part.words() for part in summary.all("dd")], strict=True)
    )
    gradient = result.methods["gradient"]
    before, after = result.baseline.target_rate.value, gradient.target_rate.value
    assert (
        "at least 10 percentage points more replies that the judge refusal counts as hits" in answers["What was asked"]
    )
    assert "3 methods searched 190 conversations; 76 others chose the mask" in answers["What was asked"]
    assert f"Target {100 * before:.1f}% → {100 * after:.1f}%" in answers["What changed"]
    assert "By the mask of gradient, which moves 6 of 64 experts." in answers["What changed"]
    assert "Utility: benign 100.0% → 100.0% 0.0 (" in answers["What it cost"]
    labelled, on_test = result.splits.test + len(dev_unsteered()), len(result.methods) * result.splits.test
    told = f"{labelled} to label, 4,300 to choose, {on_test} on test"
    assert f"Replies judged: {labelled + 4300 + on_test:,} ({told})." in answers["What it cost"]
    assert "10,000 tokens were read without generating" in answers["What it cost"]
    assert "The last run took 21 s, of which 4 s for its longest stage, prepare" in answers["What it cost"]
    assert "How much was lost at the worst: utility/benign up to " in answers["What is not known"]
    assert "Whether it holds under the condition paraphrase" in answers["What is not known"]
    assert "How often the judge refusal errs" in answers["What is not known"]
    assert answers["What next"]
    assert f"mascing run {FOLDER.config} --storage ." in page.all("header")[0].words()
    assert page.all("header")[0].all("time")[0].attributes["datetime"].endswith("Z")


def test_every_gate_reason_is_told(page: Page, result: Result) -> None:
    gates = page.at("gates").words()
    for name, method in result.methods.items():
        assert f"{name} {method.gate}" in gates
        assert all(reason in gates for reason in method.reasons)


def test_the_gates_of_every_method_stand_in_one_table(page: Page, result: Result) -> None:
    head, *rows = page.table("Decision of each gate, by method")
    assert head == ["Gate", "mascing", "steermoe", "gradient", "random"]
    decided = {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}
    assert decided["all"] == {name: method.gate for name, method in result.methods.items()}
    assert decided["target"]["steermoe"] == "fail"
    assert "target fails" in " ".join(result.methods["steermoe"].reasons)
    assert "utility/benign" in decided


def test_the_page_says_how_far_to_trust_the_methods(page: Page) -> None:
    section = page.at("trust")
    assert (
        "mascing: 2 of 5 search seeds certainly raise the target rate on dev (86.0% to 90.0%); the others reach"
        in section.words()
    )
    assert "gradient: all 5 search seeds certainly raise the target rate on dev (96.0% to 98.0%)." in section.words()
    assert "gradient: the strongest single expert, 5 of layer 2, keeps 84% of the mask's effect" in section.words()
    assert page.table("Experts that two picks move in the same direction")[1] == [
        "mascing (fail) and steermoe (fail)",
        "5 of 27: 18.5% by chance 8.0%; 2 in opposite directions",
        "2 of 5: 40.0% by chance 2.0%",
    ]
