"""Problems and answers from files and datasets: every bad row is named, none is left out."""

import json

import pytest
from datasets import Dataset, DatasetDict, IterableDataset

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.types import Problem
from lanpo_rl.data import load_problems, training_rows
from lanpo_rl.rows import SeenProblems, check_dataset, problem_of

ROWS = [{"problem": "1 + 1?", "answer": "2"}, {"problem": "1 + 2?", "answer": 3}]


@pytest.fixture
def file(tmp_path):
    def write(*rows, name="problems.jsonl"):
        path = tmp_path / name
        path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
        return path

    return write


def load(source, **options):
    return load_problems(str(source), prompts=EnglishPrompts(), **options)


def refused(source, *parts, **options):
    with pytest.raises(InvalidInputError) as caught:
        load(source, **options)
    for part in parts:
        assert part in str(caught.value)
    return str(caught.value)


def test_rows_become_prompts_problems_and_answers(file):
    data = load(file(ROWS[0], "", ROWS[1]))
    assert data["problem"][:] == ["1 + 1?", "1 + 2?"]
    assert data["answer"][:] == ["2", "3"]
    assert data["problem_id"][:] == [Problem(text=row["problem"]).id for row in ROWS]
    assert data[0]["prompt"] == EnglishPrompts().solve(Problem(text="1 + 1?"))
    assert "family" not in data.column_names


def test_the_answer_is_in_no_prompt(file):
    data = load(file({"problem": "1 + 1?", "answer": "SECRET"}))
    assert "SECRET" not in json.dumps(data[0]["prompt"])


def test_columns_can_be_named(file):
    data = load(file({"q": "1 + 1?", "a": "2"}), problem_column="q", answer_column="a")
    assert (data[0]["problem"], data[0]["answer"]) == ("1 + 1?", "2")


def test_problem_id_and_family_are_kept_even_if_the_first_row_has_none(file):
    second = {**ROWS[1], "problem_id": 7, "family": "sums"}
    data = load(file(ROWS[0], second))
    assert data["problem_id"][:] == [Problem(text="1 + 1?").id, "7"]
    assert data["family"][:] == [None, "sums"]


def test_the_answer_follows_the_last_marker(file):
    row = {"problem": "1 + 1?", "answer": "First #### no.\nThen add.\n#### 2 "}
    assert load(file(row), answer_marker="####")[0]["answer"] == "2"
    refused(file(ROWS[0]), "line 1: has no '####' in column 'answer'", answer_marker="####")


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"answer": "2"}, "has no column 'problem' (columns: answer); name it with --problem_col"),
        ({"problem": "x"}, "has no column 'answer' (columns: problem); name it with --answer_col"),
        ({"problem": "x", "answer": None}, "has nothing in column 'answer'"),
        ({}, "(columns: none)"),
        ({"problem": " ", "answer": "2"}, "is empty; give it some text"),
        ({"problem": "x", "answer": " "}, "has an empty answer in column 'answer'; fill it"),
        ({"problem": "x", "answer": ["2"]}, "has a list in column 'answer'; make it text"),
        ({"problem": {"a": 1}, "answer": "2"}, "has a dict in column 'problem'; make it text"),
        ({"problem": "x", "answer": "2", "problem_id": ""}, "is empty"),
        (["x", "2"], "is not a JSON object; write one object a line"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_a_bad_row_is_named_with_file_and_line(file, row, fault):
    path = file(ROWS[0], "", row)
    refused(path, "1 rows cannot be used", f"{path}, line 3: ", fault)


def test_a_line_that_is_not_utf8_is_named(tmp_path):
    path = tmp_path / "problems.jsonl"
    path.write_bytes(b'{"problem": "\xff", "answer": "2"}\n')
    refused(path, f"{path}, line 1: is not JSON")


def test_all_bad_rows_are_counted_and_the_first_named(file):
    text = refused(file(*[{"answer": "2"}] * 7, ROWS[0]), "7 rows cannot be used", "and 2 more")
    assert [f"line {n}:" in text for n in range(1, 8)] == [True] * 5 + [False] * 2


def test_one_problem_may_stand_twice_but_not_with_two_answers(file):
    assert len(load(file(ROWS[0], ROWS[0]))) == 2
    path = file(ROWS[0], ROWS[1], {"problem": " 1 +  1?", "answer": "3"})
    refused(path, f"{path}, line 3: the same problem as {path}, line 1, with another answer")


def test_one_id_for_two_problems_is_refused(file):
    path = file(*({**row, "problem_id": "same", "answer": "2"} for row in ROWS))
    refused(path, f"line 2: has the problem_id of {path}, line 1, but is another problem")


def test_nothing_to_train_on(file, tmp_path):
    refused(file(), "holds no rows")
    refused(file("", " "), "holds no rows")
    missing = tmp_path / "none.jsonl"
    assert refused(missing) == f"there is no file or folder {missing}; check the path"
    refused("none.csv", "there is no file or folder none.csv")
    refused(file("x", name="problems.txt"), "is not a JSON Lines file (.jsonl); convert it")


@pytest.mark.parametrize("layout", ["jsonl", "parquet", "saved", "saved splits"])
def test_a_folder_of_data_files_is_read_offline(tmp_path, layout):
    made = Dataset.from_list([{"problem": r["problem"], "answer": str(r["answer"])} for r in ROWS])
    folder = tmp_path / "data"
    if layout == "jsonl":
        made.to_json(folder / "train.jsonl")
    elif layout == "parquet":
        folder.mkdir()
        made.to_parquet(folder / "train.parquet")
    else:
        (made if layout == "saved" else DatasetDict(train=made)).save_to_disk(folder)
    assert load(folder)["problem"][:] == ["1 + 1?", "1 + 2?"]
    if layout != "saved":
        refused(folder, "cannot load", "train", split="nonsense")


def test_a_configuration_is_chosen_by_its_name(tmp_path, file):
    folder = tmp_path / "data"
    for name, row in (("main", ROWS[0]), ("other", ROWS[1])):
        Dataset.from_list([row]).to_json(folder / name / "train.jsonl")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: main\n  data_files: main/train.jsonl\n"
        "- config_name: other\n  data_files: other/train.jsonl\n---\n"
    )
    assert load(folder, config="main")["problem"][:] == ["1 + 1?"]
    assert load(folder, config="other")["problem"][:] == ["1 + 2?"]
    refused(folder, "cannot load", "Config name is missing", "['main', 'other']")
    refused(folder, "cannot load", "'third' not found", config="third")
    refused(file(ROWS[0]), "without configurations; leave 'main' out", config="main")
    Dataset.from_list([ROWS[0]]).save_to_disk(tmp_path / "saved")
    refused(tmp_path / "saved", "without configurations; leave 'main' out", config="main")


def test_a_folder_in_the_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Dataset.from_list([ROWS[0]]).to_json(tmp_path / "data" / "train.jsonl")
    assert load("~/data")["problem"][:] == ["1 + 1?"]
    refused("~/none", "there is no file or folder ~/none")


def test_a_bad_row_of_a_folder_is_named_with_its_number(tmp_path):
    Dataset.from_list([ROWS[0], {"problem": "x", "answer": None}]).to_json(tmp_path / "train.jsonl")
    refused(tmp_path, f"{tmp_path}, train row 1: has nothing in column 'answer'")


def test_a_folder_that_cannot_be_read_and_an_unknown_name(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused(tmp_path, "cannot load")
    (tmp_path / "train.parquet").write_text("no parquet")
    assert "\n" not in refused(tmp_path, "cannot load")
    assert "\n" not in refused("nobody/nothing", "cannot load 'nobody/nothing' as a file")


def test_rows_of_another_source_are_checked_alike():
    located = [("row 1", ROWS[0]), ("row 2", InvalidInputError("was cut"))]
    with pytest.raises(InvalidInputError, match="row 2: was cut"):
        training_rows(located, prompts=EnglishPrompts())


# ------------------------------------------------------------------ datasets handed to the trainer

CHAT = [{"role": "system", "content": "Solve."}, {"role": "user", "content": "1 + 1?"}]


def faults_of(*rows):
    with pytest.raises(InvalidInputError) as caught:
        check_dataset(Dataset.from_list(list(rows)))
    return str(caught.value)


def test_a_row_without_ids_gets_a_fingerprint():
    fingerprint = Problem(text="1 + 1?").id
    rows = [
        {"prompt": "1 + 1?"},
        {"prompt": CHAT},
        {"prompt": CHAT, "problem": " 1 +  1? ", "problem_id": None},
        {"prompt": [{"role": "user", "content": [{"type": "text", "text": "1 + 1?"}]}]},
    ]
    assert [problem_of(row).id for row in rows] == [fingerprint] * 4
    assert problem_of({"prompt": CHAT, "problem_id": 7, "family": "sums"}).id == "7"


@pytest.mark.parametrize(
    "rows",
    [
        [{"prompt": "1 + 1?"}],
        [{"prompt": CHAT, "answer": "2"}, {"prompt": CHAT, "answer": "2 "}],
        [{"prompt": "a", "answer": 1}, {"prompt": "b", "answer": 2}],
        [{"prompt": "a", "problem_id": "x"}, {"prompt": " a", "problem_id": "x"}],
        [{"prompt": "a", "problem_id": "x", "answer": 1}, {"prompt": "a", "problem_id": "y"}],
    ],
)
def test_a_good_dataset_passes(rows):
    check_dataset(Dataset.from_list(rows))


def test_one_problem_with_two_answers_is_named():
    text = faults_of(
        {"prompt": CHAT, "answer": "2"},
        {"prompt": [{"role": "user", "content": "2 + 2?"}], "answer": "4"},
        {"prompt": CHAT[1:], "answer": "3"},
    )
    assert "1 rows cannot be used" in text
    assert "row 2: the same problem as row 0, with another answer" in text


def test_one_id_for_two_texts_is_named():
    text = faults_of(
        {"prompt": "Solve: a", "problem": "a", "problem_id": 7},
        {"prompt": "Solve: b", "problem": "b", "problem_id": 7},
    )
    assert "row 1: has the problem_id of row 0, but is another problem; give it its own" in text


@pytest.mark.parametrize(
    ("prompt", "fault"),
    [
        (None, "has no prompt"),
        ("", "has no prompt"),
        (" \n", "has no user message in its prompt"),
        ("a\0b", "contains a NUL character"),
    ],
)
def test_a_row_without_a_prompt_is_named(prompt, fault):
    text = faults_of({"prompt": "a"}, {"prompt": prompt})
    assert "  row 1: " in text
    assert fault in text


def test_messages_without_a_user_are_named():
    text = faults_of({"prompt": CHAT[:1]}, {"prompt": []})
    assert "row 0: has no user message in its prompt; add a column 'problem'" in text
    assert "row 1: has no prompt" in text
    check_dataset(Dataset.from_list([{"prompt": CHAT[:1], "problem": "1 + 1?"}]))


def test_many_bad_rows_are_counted():
    text = faults_of(*[{"prompt": "a", "answer": i} for i in range(9)])
    assert "8 rows cannot be used" in text
    assert "and 3 more" in text


def test_a_dataset_without_the_column_prompt_is_refused():
    with pytest.raises(InvalidInputError, match=r"no column 'prompt' \(columns: question\)"):
        check_dataset(Dataset.from_list([{"question": "a"}]))


def test_a_format_for_tensors_does_not_matter():
    rows = [{"prompt": "a", "answer": 1}, {"prompt": "b", "answer": 2}]
    check_dataset(Dataset.from_list(rows).with_format("torch"))


def test_what_can_be_read_only_once_is_left_alone():
    def stop():
        pytest.fail("read")
        yield {}

    check_dataset(None)
    check_dataset(IterableDataset.from_generator(stop))
    made = Dataset.from_list([{"question": "a"}])
    made.set_transform(lambda batch: {"prompt": batch["question"]})
    check_dataset(made)


def test_rows_of_a_stream_are_checked_as_they_pass():
    seen = SeenProblems()
    group = [{"prompt": "1 + 1?", "answer": "2"}] * 4
    seen.check(group, "step 0")
    seen.check(group, "step 1")
    with pytest.raises(InvalidInputError, match="1 rows cannot") as caught:
        seen.check([{"prompt": "1 + 1?", "answer": "3"}] * 4, "step 2")
    assert "step 2: the same problem as step 0, with another answer" in str(caught.value)


def test_of_a_long_stream_the_first_problems_are_remembered():
    seen = SeenProblems(limit=1)
    for text in "ab":
        seen.check([{"prompt": text, "answer": "1"}], "step 0")
    seen.check([{"prompt": "b", "answer": "2"}], "step 1")  # is not remembered
    with pytest.raises(InvalidInputError, match="the same problem"):
        seen.check([{"prompt": "a", "answer": "2"}], "step 1")
