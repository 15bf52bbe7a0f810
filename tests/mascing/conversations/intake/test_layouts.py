"""Layouts of public files, with made-up text: known by their columns, and read as what they mean."""

import json
from dataclasses import dataclass, field
from typing import Any, get_args

import pytest

from mascing.conversations.intake.layouts import LAYOUTS
from mascing.errors import DataError
from mascing.schemas.settings.columns import LayoutName
from tests.mascing.conversations.intake.files import opened, read

BREAD = "Name a bread"


@dataclass(frozen=True)
class Case:
    """A file of one layout, and its first conversation; turns are shortened to role and text."""

    layout: str
    data: str
    turns: tuple[tuple[str, str], ...] = (("user", BREAD),)
    id: str | None = None
    group: str | None = None
    references: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    paraphrase: str | None = None


def lines(*rows: dict[str, Any]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def turn(content: Any, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": content}


CASES = [
    Case("messages", lines({"id": "a", "group_id": "g", "messages": [turn(BREAD)], "source": "x", "n": [1]}),
         id="a", group="g", metadata={"source": "x", "n": "[1]"}),
    Case("messages", lines({"messages": [turn("You bake.", "system"), turn(BREAD), turn("Rye", "assistant")]}),
         (("system", "You bake."), ("user", BREAD)), metadata={"reply": "Rye"}),
    Case("messages", lines({"messages": [turn([{"type": "text", "text": "Name"}, {"type": "text", "text": "it"}])]}),
         (("user", "Name\nit"),)),
    Case("messages", json.dumps([{"id": 7, "group_id": 8, "messages": [turn(BREAD, "human")]}], indent=1),
         id="7", group="8"),
    Case("messages", lines({"messages": json.dumps([turn(BREAD)]), "goal": "bread"}), group="bread"),
    Case("messages", lines({"messages": {"role": ["user", "assistant"], "content": [BREAD, "Rye"]}}),
         metadata={"reply": "Rye"}),
    Case("messages", "messages\n\"[{'role': 'user', 'content': 'Name a bread'}]\"\n"),
    Case("sharegpt", json.dumps([{"id": "s", "conversations": [
        {"from": "human", "value": BREAD}, {"from": "gpt", "value": "Rye"}, {"from": "human", "value": "More"}]}]),
         (("user", BREAD), ("assistant", "Rye"), ("user", "More")), id="s"),
    Case("prompts", "prompt,response\nName a bread,Rye\n", metadata={"reply": "Rye"}),
    Case("prompts", lines({"prompt": [turn(BREAD)], "completion": [turn("Rye", "assistant")], "label": True}),
         metadata={"reply": '[{"role": "assistant", "content": "Rye"}]', "label": "true"}),
    Case("prompts", "goal,target\nName a bread,Here is\n", group=BREAD, metadata={"target": "Here is"}),
    Case("questions", lines({"question": "Which?", "context": "Rye is blue.", "answers": {"text": ["rye"]}}),
         (("user", "Rye is blue.\n\nWhich?"),), references=("rye",)),
    Case("multiple_choice", lines({"question": "Which?", "choices": ["rye", "oat"], "answer": 1, "subject": "food"}),
         (("user", "Which?\n\nA) rye\nB) oat"),), references=("B", "oat"), metadata={"subject": "food"}),
    Case("prompts", lines({"prompt": BREAD, "chosen": "Rye", "rejected": "no"}), metadata={"chosen": "Rye"}),
    Case("alpaca", lines({"instruction": "Choose", "input": "rye or oat", "output": "Rye"}),
         (("user", "Choose\n\nrye or oat"),), metadata={"reply": "Rye"}),
    Case("alpaca", lines({"instruction": "Choose", "context": "rye or oat", "response": "Rye"}),
         (("user", "Choose\n\nrye or oat"),), metadata={"reply": "Rye"}),
    Case("questions", lines({"question": "Is it?", "passage": "It is.", "answer": True}),
         (("user", "It is.\n\nIs it?"),), references=("true",)),
    Case("questions", lines({"input": [turn("Bake", "system"), turn(BREAD)], "ideal": "rye"}),
         (("system", "Bake"), ("user", BREAD)), references=("rye",)),
    Case("questions", lines({"system_prompt": "Bake", "question": BREAD, "response": "Rye"}),
         (("system", "Bake"), ("user", BREAD)), metadata={"reply": "Rye"}),
    Case("multiple_choice", lines({"article": "It is rye.", "question": "Which?", "options": ["rye"], "answer": "A"}),
         (("user", "It is rye.\n\nWhich?\n\nA) rye"),), references=("A", "rye")),
    Case("mt_bench", lines({"question_id": 81, "category": "x", "turns": [BREAD, "Two"]}), group="81"),
    Case("anthropic_hh", lines({"transcript": f"\n\nHuman: {BREAD}\n\nAssistant: Rye", "rating": 1}),
         metadata={"rating": "1", "reply": "Rye"}),
    Case("messages", lines({"system": [{"type": "text", "text": "Bake"}], "messages": [turn(BREAD)]}),
         (("system", "Bake"), ("user", BREAD))),
    Case("messages", lines({"system": "linux", "messages": [turn("Bake", "system"), turn(BREAD)]}),
         (("system", "Bake"), ("user", BREAD))),
    Case("sharegpt", lines({"system": "Bake", "conversations": [{"from": "human", "value": BREAD}]}),
         (("system", "Bake"), ("user", BREAD))),
    Case("sharegpt", lines({"systemInstruction": {"parts": [{"text": "Bake"}]},
                            "contents": [{"role": "user", "parts": [{"text": BREAD}]}]}),
         (("system", "Bake"), ("user", BREAD))),
    Case("prompts", json.dumps({"prompt": {"0": BREAD, "1": "Two"}, "n": {"0": 1, "1": 2}}), metadata={"n": "1"}),
    Case("prompts", lines({"prompt": BREAD, "samples": [{"text": "Rye"}]}), metadata={"samples": '[{"text": "Rye"}]'}),
    Case("prompts", lines({"prompt": "[1, 2]"}), (("user", "[1, 2]"),)),
    Case("prompts", f"{json.dumps({'prompt': BREAD}, indent=1)}\n{json.dumps({'prompt': 'Two'}, indent=1)}\n"),
    Case("sharegpt", lines({"contents": [turn(BREAD) | {"content": None, "parts": [{"text": BREAD}]}]})),
    Case("prompts", json.dumps({"features": [], "rows": [{"row_idx": 0, "row": {"prompt": BREAD}}]})),
    Case("questions", "Question,Type\nName a bread,x\n", metadata={"Type": "x"}),
    Case("wildjailbreak", "vanilla\tadversarial\tdata_type\nName a bread\t\tbenign\n",
         metadata={"data_type": "benign"}),
    Case("openai_batch", lines({"custom_id": "r", "body": {"input": BREAD, "instructions": "Bake"}}),
         (("system", "Bake"), ("user", BREAD)), id="r"),
    Case("anthropic_batch", lines({"custom_id": "r", "params": {"messages": [turn(BREAD)], "system": "Bake"}}),
         (("system", "Bake"), ("user", BREAD)), id="r"),
    Case("anthropic_hh", lines({"chosen": f"\n\nHuman: {BREAD}\n\nAssistant: Rye\n\nHuman: Two\n\nAssistant: Oat",
                                "rejected": "no"}),
         (("user", BREAD), ("assistant", "Rye"), ("user", "Two")), metadata={"rejected": "no", "reply": "Oat"}),
    Case("harmbench", "Behavior,FunctionalCategory,BehaviorID,ContextString\nName a bread,standard,b1,\n",
         id="b1", group="b1", metadata={"FunctionalCategory": "standard"}),
    Case("harmbench", "Behavior,BehaviorID,ContextString\nName a bread,b1,Rye is blue.\n",
         (("user", f"Rye is blue.\n\n{BREAD}"),), id="b1"),
    Case("jailbreakbench", "Index,Goal,Target,Behavior,Category,Source\n0,Name a bread,Sure,Bread,Food,x\n",
         group="Bread", metadata={"Index": "0", "Target": "Sure", "Category": "Food", "Source": "x"}),
    Case("jailbreakbench_artifact", json.dumps({"parameters": {"model": "m"}, "jailbreaks": [
        {"index": 0, "goal": "bread", "prompt": BREAD, "response": "Rye", "jailbroken": True}]}),
         group="bread", metadata={"index": "0", "jailbroken": "true", "reply": "Rye"}),
    Case("xstest", "id,prompt,type,label,focus,note\n1,Name a bread,homonyms,safe,slice,\n",
         id="1", metadata={"type": "homonyms", "label": "safe", "focus": "slice"}),
    Case("faitheval", lines({"qid": "q", "question": "Which?", "context": "Rye.", "answers": ["rye"]},
                            {"qid": "r", "question": "Which?", "context": "Rye.", "answerKey": "A",
                             "choices": {"label": ["A"], "text": ["rye"]}}),
         (("user", "Rye.\n\nWhich?"),), id="q", references=("rye",)),
    Case("faitheval", lines({"question": "Which?", "context": "It is oat.", "answerKey": "B",
                             "choices": {"label": ["A", "B"], "text": ["rye", "oat"]}}),
         (("user", "It is oat.\n\nWhich?\n\nA) rye\nB) oat"),), references=("B", "oat")),
    Case("mquake", json.dumps([{"case_id": 1, "requested_rewrite": [], "questions": [BREAD, "Which bread?"],
                                "answer": "Rye", "answer_alias": ["rye bread", "Rye"], "new_answer": "Oat"}]),
         id="1", group="1", references=("Rye", "rye bread"), paraphrase="Which bread?"),
    Case("mctest", "mc1.dev.0\tAuthor: x\tIt \"rose\\newlineRye.\tone: Which?\tRye\tOat\tCorn\tNut"
                   "\tmultiple: Why?\ta\tb\tc\td\n",
         (("user", 'It "rose\nRye.\n\nWhich?\n\nA) Rye\nB) Oat\nC) Corn\nD) Nut'),),
         id="mc1.dev.0-1", group="mc1.dev.0"),
    Case("mhj", 'question_id,message_0,message_1,message_10,message_2\n'
                '4,"{""body"": ""Bake"", ""role"": ""system""}","{""body"": ""Name a bread"", ""role"": ""user""}",'
                '"{""body"": ""Last"", ""role"": ""user""}","{""body"": ""Rye"", ""role"": ""assistant""}"\n',
         (("system", "Bake"), ("user", BREAD), ("assistant", "Rye"), ("user", "Last")), group="4"),
    Case("mascing_jailbreak", lines({"question_id": 7, "tactic": "chat", "conversation_history": [turn(BREAD)],
                                     "jailbreak_response": "Rye"}),
         group="7", metadata={"tactic": "chat", "reply": "Rye"}),
    Case("openai_batch", lines({"custom_id": "r", "method": "POST", "body": {"model": "m", "messages": [turn(BREAD)]}}),
         id="r", metadata={"method": "POST"}),
    Case("inspect_log", json.dumps({"version": 2, "eval": {"task": "t"}, "samples": [
        {"id": 1, "epoch": 1, "input": BREAD, "target": "rye", "messages": [turn(BREAD), turn("Rye", "assistant")],
         "output": {"completion": "Rye"}}]}, indent=1),
         id="1.1", references=("rye",)),
    Case("lm_eval_samples", lines({"doc_id": 0, "doc": {}, "target": "rye", "resps": [["Rye"]],
                                   "arguments": {"gen_args_0": {"arg_0": BREAD, "arg_1": {}}}}),
         id="0", references=("rye",), metadata={"reply": "Rye"}),
]  # fmt: skip

NAMED = [
    Case("gsm8k", lines({"question": BREAD, "answer": "He bakes.\n#### 1,005"}), references=("1005",)),
    Case("erotica_analysis", lines({"conversations": [{"from": "human", "value": "A story."},
                                                      {"from": "gpt", "value": f'Tags\nPrompt: "{BREAD}"'}]})),
    Case("mquake_edited", lines({"case_id": 1, "new_answer": "Ulm", "new_answer_alias": ["Ulm on Danube"],
                                 "requested_rewrite": [{"question": "Where is rye?", "target_new": {"str": "Ulm"}}],
                                 "questions": ["Where?"]}),
         (("user", "Where is rye? Ulm.\n\nAnswer by these facts: Where?"),), references=("Ulm", "Ulm on Danube")),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.layout)
def test_a_layout_is_known_by_its_columns_and_read(case: Case) -> None:
    reading = opened(case.data.encode())
    found = read(case.data.encode())
    first = found.conversations[0]
    assert reading.layout.name == case.layout
    assert found.quarantined == []
    assert tuple((message.role, message.content) for message in first.messages) == case.turns
    assert case.id in (None, first.id)
    assert case.group in (None, first.group_id)
    assert first.references == case.references
    assert first.paraphrase == case.paraphrase
    assert first.label is None
    assert case.metadata.items() <= first.metadata.items()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.layout)
def test_a_layout_that_is_named_reads_the_same(case: Case) -> None:
    assert read(case.data.encode(), case.layout) == read(case.data.encode())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.layout)
def test_what_is_read_and_written_in_our_own_layout_is_read_the_same(case: Case) -> None:
    conversations = read(case.data.encode()).conversations
    written = "\n".join(row.model_dump_json(exclude_defaults=True) for row in conversations)
    assert read(written.encode()).conversations == conversations


def test_every_layout_is_tried_and_named_in_the_schema() -> None:
    told = {case.layout for case in CASES}
    assert set(LAYOUTS) == set(get_args(LayoutName)) == told | {case.layout for case in NAMED}
    assert all(bool(LAYOUTS[name].marks) == (name in told) for name in LAYOUTS)


@pytest.mark.parametrize("case", NAMED, ids=lambda case: case.layout)
def test_a_layout_that_no_column_shows_is_read_where_it_is_named(case: Case) -> None:
    [first] = read(case.data.encode(), case.layout).conversations
    assert tuple((message.role, message.content) for message in first.messages) == case.turns
    assert first.references == case.references


def test_a_whole_number_is_the_place_of_an_option_also_where_an_option_is_that_number() -> None:
    row = {"question": "One and two?", "choices": ["1", "2", "3"], "answer": 2}
    assert read(lines(row).encode()).conversations[0].references == ("C", "3")
    assert read(lines(row | {"answer": "2"}).encode()).conversations[0].references == ("B", "2")


def test_each_question_of_a_story_is_a_conversation_of_the_storys_group() -> None:
    story = next(case for case in CASES if case.layout == "mctest")
    found = read(story.data.encode())
    assert [row.id for row in found.conversations] == ["mc1.dev.0-1", "mc1.dev.0-2"]
    assert {row.group_id for row in found.conversations} == {"mc1.dev.0"}
    assert found.row_of == {"mc1.dev.0-1": 1, "mc1.dev.0-2": 1}


def test_the_letters_of_the_file_of_answers_may_follow_a_story() -> None:
    story = next(case for case in CASES if case.layout == "mctest").data.rstrip("\n")
    found = read(f"{story}\tB\tA\n".encode())
    assert [row.references for row in found.conversations] == [("B", "Oat"), ("A", "a")]
    assert [row.messages for row in found.conversations] == [row.messages for row in read(story.encode()).conversations]


@pytest.mark.parametrize("key", ["Z", ""])
def test_an_answer_that_is_no_option_is_complained_of_unless_none_is_read(key: str) -> None:
    row = {"question": "Which?", "context": "", "choices": ["rye", "oat"], "answerKey": key}
    data = lines(row, row | {"answerKey": "B"}).encode()
    found = read(data)
    assert [aside.reason.split(" (")[0] for aside in found.quarantined] == [
        f"answerKey {key!r} is none of the options A, B"
    ]
    # A context may be empty.
    assert found.conversations[0].messages[0].content == "Which?\n\nA) rye\nB) oat"
    assert len(read(data, {"references": None}).conversations) == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lines({"custom_id": "r", "response": {"body": {}}, "error": None}), "output of an OpenAI batch"),
        (lines({"breads": "x", "towns": "yy"}), "they are breads, towns.*columns: {user: towns}"),
        ("Name one good bread\nName a town\n", "does the file lack a line with their names"),
        ("PK\x03\x04...", "zip archive"),
        ("version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("<!DOCTYPE html><html>", "a web page"),
        ("weights\0\0\0", "neither text nor Parquet nor Arrow"),
        ("", "the file has no rows"),
    ],
)
def test_what_is_no_file_of_conversations_is_said(data: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(data.encode())


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (turn("rye", "tool"), "a turn of a tool cannot be used"),
        ({"role": "assistant", "content": None, "tool_calls": [{}]}, "a call of a tool cannot be used"),
        (turn([{"type": "image_url", "image_url": {}}]), "a part of type image_url cannot be used"),
    ],
)
def test_tools_and_images_keep_a_row_aside(part: dict[str, Any], reason: str) -> None:
    (aside,) = read(lines({"messages": [turn("a")]}, {"messages": [turn("b"), part, turn("c")]}).encode()).quarantined
    assert (aside.row, aside.reason) == (2, f"messages.1: {reason}" + (": only text can" if "part" in reason else ""))
