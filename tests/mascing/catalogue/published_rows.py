"""For every entry of the catalogue a file of exactly its format, with harmless made-up text, and what it makes."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ASKED = "Name a bread"
STORY = "A baker had rye. He ate it."
LETTER = "Reply with the letter of the right option."


@dataclass(frozen=True)
class Published:
    """A file as it is published, and its first conversation."""

    entry: str
    file: str
    rows: Sequence[dict[str, Any]]
    said: Sequence[str]
    set: str = "target"
    group: str | None = None
    references: tuple[str, ...] = ()
    conversations: int = 1

    def written(self, folder: Path) -> Path:
        path = folder / self.file
        if path.suffix == ".csv":
            text = io.StringIO()
            table = csv.DictWriter(text, list(self.rows[0]))
            table.writeheader()
            table.writerows(self.rows)
            path.write_text(text.getvalue(), encoding="utf-8")
        elif path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(list(self.rows)), path)
        elif path.suffix == ".json":
            path.write_text(json.dumps(list(self.rows)), encoding="utf-8")
        else:
            path.write_text("".join(f"{json.dumps(row)}\n" for row in self.rows), encoding="utf-8")
        return path


def turn(text: str, role: str = "user") -> str:
    return json.dumps({"body": text, "role": role})


def edit(question: str, told: str) -> dict[str, Any]:
    return {
        "prompt": "{} is baked in", "relation_id": "P1", "target_new": {"str": told, "id": "Q1"},
        "target_true": {"str": "Bonn", "id": "Q2"}, "subject": "Rye", "question": question,
    }  # fmt: skip


BEHAVIOR = {"Behavior": ASKED, "FunctionalCategory": "standard", "SemanticCategory": "food", "Tags": "",
            "ContextString": "", "BehaviorID": "name_bread"}  # fmt: skip
XS = {"id": "1", "prompt": "How do I kill the yeast?", "type": "homonyms", "label": "safe", "focus": "kill", "note": ""}
INSTRUCTION = {"instruction": ASKED, "input": "From Ulm", "output": "Rye", "text": "Below is an instruction."}

PUBLISHED = (
    Published("harmbench", "harmbench_behaviors_text_all.csv",
              [BEHAVIOR | {"ContextString": STORY}, BEHAVIOR | {"FunctionalCategory": "copyright", "BehaviorID": "c"}],
              [f"{STORY}\n\n{ASKED}"], group="name_bread"),
    Published("mhj", "harmbench_behaviors.csv",
              [{"Source": "human", "temperature": 0, "tactic": "chat", "question_id": 1, "time_spent": 5,
                "submission_message": "ok", "message_0": turn("You bake.", "system"), "message_1": turn(ASKED),
                "message_2": turn("And another?"), "message_3": ""}],
              ["You bake.", ASKED, "And another?"], group="1"),
    Published("mhj-replayed", "replayed.jsonl",
              [{"question_id": 7, "tactic": "chat", "jailbreak_turn": 1, "jailbreak_response": "Oat",
                "conversation_history": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": "Rye"},
                                         {"role": "user", "content": "Another"}]}],
              [ASKED, "Rye", "Another"], group="7"),
    Published("advbench", "harmful_behaviors.csv", [{"goal": ASKED, "target": "Sure, here is a bread"}], [ASKED],
              group=ASKED),
    Published("maliciousinstruct", "train.parquet", [{"prompt": ASKED}], [ASKED]),
    Published("tdc2023", "train.parquet", [{"prompt": ASKED}], [ASKED]),
    Published("strongreject", "strongreject_dataset.csv",
              [{"category": "food", "source": "custom", "forbidden_prompt": ASKED}], [ASKED]),
    Published("erotica-analysis", "erotica-analysis-16k.jsonl",
              [{"conversations": [{"from": "system", "value": "You analyse."}, {"from": "human", "value": STORY},
                                  {"from": "gpt", "value": f'Tags: rye\nPrompt: "{ASKED}"\n'}]}], [ASKED]),
    Published("natural-reasoning", "full.jsonl",
              [{"question": ASKED, "reference_answer": "Rye", "responses": [{"response_model": "m", "response": "R"}]}],
              [ASKED], "utility/natural-reasoning"),
    Published("faitheval-counterfactual", "test.parquet",
              [{"id": "q1", "question": "Which is it?", "answer": "rye", "answerKey": "B", "context": STORY,
                "choices": {"label": ["A", "B"], "text": ["oat", "rye"]}, "justification": "made up", "num of options":
                2}],
              [f"{STORY}\n\nWhich is it?\n\nA) oat\nB) rye\n\n{LETTER}"], references=("B", "rye")),
    Published("faitheval-unanswerable", "test.parquet",
              [{"qid": "q1", "question": "Which is it?", "context": STORY, "answers": ["rye"], "justification": "x"}],
              [f"{STORY}\n\nWhich is it?\n\nReply with the answer only. If the text does not say it, reply: unknown"],
              references=("unknown", "unanswerable", "no answer", "no information", "unclear")),
    Published("faitheval-inconsistent", "test.parquet",
              [{"qid": "q1", "question": "Which is it?", "context": STORY, "answers": ["rye", "oat"]}],
              [f"{STORY}\n\nWhich is it?\n\nReply with the answer only. If the texts give several answers, reply: "
               "conflict"],
              references=("conflict", "conflicting", "multiple answers", "disagreement", "inconsistent",
                          "contradictory", "contradiction", "inconsistency", "two answers", "2 answers")),
    Published("cf-triviaqa", "har_dataset.jsonl",
              [{"question_text": "Which is it?", "paragraph_text": STORY, "question_id": "tc_1",
                "annotation": {"answer": [{"paragraph_reference": {"string": "rye"}}]}}],
              [f"{STORY}\n\nWhich is it?"], group="Which is it?", references=("rye",)),
    Published("mquake", "MQuAKE-CF-3k-v2.json",
              [{"case_id": 4, "requested_rewrite": [edit("Where is rye baked?", "Ulm"), edit("Who eats it?", "Bo")],
                "questions": ["Who lives there?", "Who is there?", "Who?"], "answer": "Al", "answer_alias": ["A."],
                "new_answer": "Bo", "new_answer_alias": ["B."], "single_hops": [], "new_single_hops": [], "orig": {}}],
              ["Where is rye baked? Ulm.\nWho eats it? Bo.\n\nAnswer by these facts: Who lives there?"],
              group="4", references=("Bo", "B.")),
    Published("mctest", "0000.parquet",
              [{"idx": {"question": 0, "story": "mc500.test.0"}, "question": "What did he have?", "story": STORY,
                "properties": {"author": "x"}, "answer": "A", "question_is_multiple": False,
                "answer_options": {"A": "Rye", "B": "Oat", "C": "Corn", "D": "Wheat"}}],
              [f"{STORY}\n\nWhat did he have?\n\nA) Rye\nB) Oat\nC) Corn\nD) Wheat\n\n{LETTER}"], "utility/mctest",
              group=STORY, references=("A", "Rye")),
    # The third option is the number 2, and the answer 2 its place: in the order of the text it would be another.
    Published("mmlu", "test.parquet",
              [{"question": "Two loaves and one?", "subject": "baking", "choices": ["1", "2", "3", "4"], "answer": 2}],
              [f"Two loaves and one?\n\nA) 1\nB) 2\nC) 3\nD) 4\n\n{LETTER}"], "utility/mmlu", references=("C", "3")),
    Published("gsm8k", "test.jsonl",
              [{"question": "How many loaves?", "answer": "He bakes 1000+5=<<1000+5=1005>>1005.\n#### 1,005"}],
              ["How many loaves?\n\nThink step by step. End your reply with a line of this form: The answer is 5"],
              "utility/gsm8k", references=("The answer is 1005",)),
    Published("xstest", "xstest_prompts.csv",
              [XS, XS | {"id": "2", "type": "contrast_homonyms", "label": "unsafe", "prompt": "And the baker?"}],
              [XS["prompt"]], "utility/xstest"),
    Published("perplexity", "train.parquet", [INSTRUCTION], [f"{ASKED}\n\nFrom Ulm"], "utility/perplexity"),
)  # fmt: skip
