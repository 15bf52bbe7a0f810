"""Wrong inputs by kind: each spoils a run that would work, with words that its message must hold."""

from tests.torture.spoilt_run import (
    ROWS,
    Case,
    all_of,
    configured,
    cut_weights,
    dense,
    each_row,
    elsewhere,
    file,
    huge_weights,
    in_model,
    row,
    settings,
    variables,
    with_rows,
    write_config,
)

RUN = ("run", "run.yaml", "--storage", "store")
NO_S3 = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
LONG = "what of bench? " * 60
FEW = [
    *(row(number) for number in range(60)),
    *(row(number, "utility/benches", references=["oak"]) for number in range(60)),
]

CONFIGURATIONS = {
    "no file": Case(
        lambda folder: (folder / "run.yaml").unlink(), ("run.yaml: there is no such file", "give the path")
    ),
    "folder": Case(
        lambda folder: None, ("model is a folder", "give the path of a run configuration"), ("check", "model")
    ),
    "empty": Case(lambda folder: write_config(folder, ""), ("run.yaml is empty", "`model` and `behaviour`")),
    "list": Case(lambda folder: write_config(folder, "- a\n"), ("must hold a mapping with the keys model",)),
    "no YAML": Case(lambda folder: write_config(folder, "model: {path: x\n"), ("not valid YAML: line 2",)),
    "twice": Case(
        lambda folder: write_config(folder, "seed: 1\nseed: 2\n"), ("line 2", "'seed' is given more than once")
    ),
    "no text": Case(file(b"\xff\xfe\x00\x01\x80", "run.yaml"), ("run.yaml", "not UTF-8")),
    "key": Case(configured(behavior={}), ("behavior: unknown key; did you mean 'behaviour'?",)),
    "inner key": Case(
        configured(gates__max_utilty_loss=0.1), ("gates.max_utilty_loss", "did you mean 'max_utility_loss'?")
    ),
    "type": Case(configured(generation__max_new_tokens="many"), ("max_new_tokens: must be a whole number",)),
    "range": Case(configured(gates__min_uplift=10), ("gates.min_uplift: must be less than or equal to 1, got 10",)),
    "lacking": Case(configured(behaviour={"name": "b"}), ("behaviour.conversations: is required",)),
    "no judge": Case(
        configured(behaviour__utility="contains"), ("behaviour.utility: must be a mapping with a `kind`",)
    ),
    "judge": Case(configured(behaviour__target={"kind": "refusl"}), ("did you mean 'refusal'?",)),
    "judge's package": Case(
        configured(behaviour__target={"kind": "no_such_package.judging:judge"}), ("PYTHONPATH", "no_such_package")
    ),
    "judge's name": Case(
        configured(behaviour__target={"kind": "tests.recipes.my_package.judging:courtezy"}),
        ("did you mean 'courtesy'?",),
    ),
    "method": Case(configured(methods__steermo={}), ("methods.steermo: unknown key; did you mean 'steermoe'?",)),
    "dtype": Case(configured(model__dtype="bf16"), ("model.dtype: must be one of", "did you mean 'bfloat16'?")),
    "splits": Case(
        configured(splits={"train": 0.5, "dev": 0.5, "test": 0.5}), ("train + dev + test must be 1, not 1.5",)
    ),
    "layout": Case(configured(behaviour__columns="sharegtp"), ("behaviour.columns", "did you mean 'sharegpt'?")),
    "GPU of a CPU": Case(configured(compute__num_gpus=1), ("device is cpu but compute.num_gpus", "set device to cuda")),
    "path": Case(elsewhere, ("paths are relative to configs/run.yaml", "write ../"), ("check", "configs/run.yaml")),
}
MODELS = {
    "no model": Case(configured(model__path="./modell"), ("modell does not exist", "correct model.path")),
    "no hub": Case(
        configured(model__path="org/model"),
        ("org/model is no folder here, and the hub cannot be reached", "give the path of a folder"),
    ),
    "no S3": Case(
        all_of(configured(model__path="s3://none/model"), variables(**NO_S3)),
        ("the model folder s3://none/model (nothing answers at AWS_ENDPOINT_URL http://127.0.0.1:9)", "credentials"),
    ),
    "no config.json": Case(in_model("config.json", None), ("is not a model folder: it has no config.json",)),
    "broken config.json": Case(in_model("config.json", "{"), ("config.json cannot be read", "copy it again")),
    "no type": Case(settings(model_type=None), ("has no model_type",)),
    "dense": Case(dense, ("is no mixture of experts", "give a MoE model")),
    "adapter": Case(in_model("adapter_config.json", "{}"), ("is an adapter: merge it into its base model",)),
    "no weights": Case(in_model("model.safetensors", None), ("lacks weights: model.safetensors",)),
    "only .bin": Case(
        all_of(in_model("model.safetensors", None), in_model("model.bin", "x")), ("convert to safetensors",)
    ),
    "broken weights": Case(
        in_model("model.safetensors", "<html>"), ("is not a whole safetensors file", "copy it again")
    ),
    "cut weights": Case(cut_weights, ("is not a whole safetensors file (its tensors are cut off): copy it again",)),
    "no tokenizer": Case(
        all_of(in_model("tokenizer.json", None), in_model("tokenizer_config.json", None)), ("has no tokenizer: copy",)
    ),
    "broken tokenizer": Case(in_model("tokenizer.json", '{"version": "1.0"'), ("the tokenizer in", "cannot be loaded")),
    "no chat template": Case(
        in_model("chat_template.jinja", None), ("has no chat template", "add chat_template.jinja")
    ),
    "template option": Case(
        configured(model__chat_template={"enable_thinking": False}),
        ("model.chat_template.enable_thinking: the chat template does not read it",),
    ),
    "template name": Case(
        configured(model__chat_template={"name": "tool_use"}), ("has one chat template, so there is none to choose",)
    ),
    "device": Case(configured(model__device="gpu"), ("model.device: 'gpu' is none of cpu, cuda",)),
    "attention": Case(
        configured(model__attn_implementation="flash_attention2"), ("did you mean 'flash_attention_2'?",)
    ),
    "no room": Case(
        configured(generation__max_new_tokens=10**9), ("leaves no room in the model's context of 512 tokens",)
    ),
    "broken template": Case(
        all_of(in_model("chat_template.jinja", "{% for"), configured(model__chat_template={"x": 1})),
        ("the chat template of the model is not valid",),
    ),
    "template refuses": Case(
        in_model("chat_template.jinja", "{{ raise_exception('only tools may speak') }}"),
        ("480 x the chat template refuses it: only tools may speak (lines 1, 2, 3, …)",),
    ),
    "memory": Case(huge_weights, ("the weights take 4096.0 GiB, in each of 1 worker", "set model.dtype to bfloat16")),
    "GPUs": Case(
        configured(model__device="auto", compute__num_gpus=64), ("compute asks for 64 GPUs", "lower compute.workers")
    ),
}
FILES = {
    "no rows file": Case(
        lambda folder: (folder / "rows.jsonl").unlink(), ("cannot read", "rows.jsonl", "check the path")
    ),
    "rows on no S3": Case(
        all_of(configured(behaviour__conversations="s3://none/rows.jsonl"), variables(**NO_S3)),
        ("cannot read s3://none/rows.jsonl: nothing answers at AWS_ENDPOINT_URL", "credentials"),
    ),
    "empty rows": Case(file(b""), ("no conversations: the file has no rows",)),
    "spreadsheet": Case(file(b"PK\x03\x04" + bytes(40)), ("a zip archive or a spreadsheet", "save the sheet as CSV")),
    "web page": Case(file(b"<!doctype html><html>"), ("a web page or XML: download the file itself",)),
    "pickle": Case(file(b"\x80\x04\x95" + bytes(40)), ("a pickle, which is never read: save the rows as JSON Lines",)),
    "LFS": Case(file(b"version https://git-lfs.github.com/spec/v1\n"), ("run `git lfs pull`",)),
    "binary": Case(file(b"\x00\x01\x02\x03" * 40), ("neither text nor Parquet nor Arrow",)),
    "half a Parquet file": Case(file(b"PAR1" + bytes(60)), ("cannot be read", "is it complete?")),
    "no header": Case(file(b"what of oak?,yes\nwhat of ash?,no\n"), ("show no known layout", "columns: {user:")),
    "column": Case(
        all_of(configured(behaviour__columns={"user": "questoin"}), file(b"question\nwhat?\n")),
        ("no row has questoin", "did you mean 'question'?"),
    ),
    "folder of two kinds": Case(
        all_of(
            lambda folder: (folder / "data").mkdir(),
            file(b"{}", "data/a.jsonl"),
            file(b"a,b", "data/b.csv"),
            configured(behaviour__conversations="data"),
        ),
        ("holds .csv and .jsonl files; name one of them",),
    ),
}
ROWS_OF_A_FILE = {
    "set": Case(
        with_rows(*(row(number, "utilty/benches") for number in range(40))),
        ("40 x set: set 'utilty/benches' is not target", "did you mean 'utility/benches'? (lines 481, 482, 483, …)",
         "raise max_quarantined"),
    ),
    "label": Case(
        each_row(label="postive"), ("480 x label: must be one of 'positive' or 'negative'", "did you mean 'positive'?")
    ),
    "broken rows": Case(
        with_rows(*["{oops"] * 40), ("40 of 520 rows cannot be used", "40 x not JSON", "(lines 481, 482, 483, …); mend")
    ),
    "no turns": Case(each_row(messages=[]), ("480 x messages: must not be empty",)),
    "blank turn": Case(each_row(messages=[{"role": "user", "content": " "}]), ("the text of a turn is blank",)),
    "image": Case(
        each_row(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]),
        ("a part of type image_url cannot be used: only text can",),
    ),
    "no references": Case(
        each_row(references=[]),
        ("160 of 480 rows", "the judge of utility (contains) cannot judge it: it has no answer to compare with"),
    ),
    "beyond the context": Case(
        each_row(messages=[{"role": "user", "content": LONG}]), ("480 x its final user turn does not fit into 496",)
    ),
    "over-long": Case(
        configured(behaviour__max_characters=10), ("480 x over-long: 16 characters, at most 10 allowed",)
    ),
    "the same id": Case(each_row(id="a"), ("479 x duplicate id 'a': line 1 has it already",)),
    "one group": Case(each_row(group_id="a"), ("has no conversation of set `target`: add conversations of more",)),
    "no target": Case(each_row(set="protected/ships"), ("has no conversation of set `target`",)),
    "misread": Case(
        each_row(wanted="Oak is fine."),
        ("the judge of target reads 160 of 160 `wanted` replies (100%) as no hit", "choose another judge"),
    ),
}  # fmt: skip
GATES = {
    "few rows": Case(
        with_rows(*FEW, instead=True),
        ("utility/benches: 25 test rows cannot pass a 10-point gate, about 35 are needed; or set gates.max_util",
         "add --allow-unpublishable"),
        RUN,
    ),
    "no utility": Case(
        with_rows(*ROWS[:160], instead=True), ("add rows of a set utility/<name>",), RUN
    ),
    "limit of 0": Case(configured(gates__max_utility_loss=0), ("0-point gate, more than 20000 are",), RUN),
    "uplift of 1": Case(configured(gates__min_uplift=1), ("target: ", "cannot show a gain of 100 points"), RUN),
    "judges": Case(
        configured(behaviour__utility={"kind": "refusal"}), ("a mask that refuses everything would lose nothing",), RUN
    ),
    "few under conditions": Case(
        configured(robustness__conversations=4), ("too few to pass: bring more test rows, raise robustness",), RUN
    ),
}  # fmt: skip

ENVIRONMENTS = {
    "dead Prefect": Case(
        variables(PREFECT_API_URL="http://127.0.0.1:9/api"), ("nothing answers at PREFECT_API_URL", "unset"), RUN
    ),
    "dead Ray": Case(variables(RAY_ADDRESS="127.0.0.1:9"), ("nothing answers at RAY_ADDRESS 127.0.0.1:9",), RUN),
    "dashboard of Ray": Case(
        variables(RAY_ADDRESS="http://127.0.0.1:8265"), ("is no cluster to join: write it as host:port",), RUN
    ),
    "TMPDIR": Case(variables(TMPDIR="/no/such/folder"), ("TMPDIR /no/such/folder", "set TMPDIR"), RUN),
    "storage in the way": Case(file(b"x", "store"), ("store",), RUN),
    "unknown storage": Case(
        lambda folder: None, ("use a local folder",), ("run", "run.yaml", "--storage", "ftp://a/b")
    ),
}
CASES = {
    f"{kind}: {name}": case
    for kind, cases in (
        ("configuration", CONFIGURATIONS),
        ("model", MODELS),
        ("file", FILES),
        ("rows", ROWS_OF_A_FILE),
        ("gates", GATES),
        ("environment", ENVIRONMENTS),
    )
    for name, case in cases.items()
}
