import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.importers import FORMATS, GSM8K_POLICIES, read_rollouts

ROW = {"problem": "2 + 3?", "completion": "5"}
FOUR = {
    policy: {"is_correct": i == 1, "solution": f"so {i}"} for i, policy in enumerate(GSM8K_POLICIES)
}
GSM8K = {"question": "2 + 3?", "ground_truth": "REFERENCE 5", **FOUR}


@pytest.fixture
def read(tmp_path):
    def read_lines(*lines, layout="rollouts"):
        path = tmp_path / "rollouts.jsonl"
        raw = (line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
        path.write_bytes(b"\n".join(raw))
        return list(read_rollouts(path, layout))

    return read_lines


def test_a_full_row(read):
    row = {
        **ROW, "reward": 1, "correct": True, "problem_id": 7, "family": "sums", "step": 3,
        "policy": "p", "unknown": [1],
    }  # fmt: skip
    (line,) = read(row)
    (rollout,) = line.rollouts
    assert (rollout.problem.text, rollout.problem.id, rollout.problem.family) == (
        "2 + 3?",
        "7",
        "sums",
    )
    assert (rollout.completion, rollout.reward, rollout.correct) == ("5", 1.0, True)
    assert (rollout.step, rollout.policy, rollout.group) == (3, "p", None)
    assert (line.error, line.dropped, line.number) == ("", (), 1)


def test_optional_columns_may_be_missing_or_null(read):
    bare, null = read(
        ROW, {**ROW, "reward": None, "correct": None, "step": None, "problem_id": None}
    )
    assert bare.rollouts == null.rollouts
    (rollout,) = bare.rollouts
    assert (rollout.reward, rollout.correct, rollout.step, rollout.policy) == (None, None, 0, "")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"{", "not JSON"),
        (b'{"problem": "\xff"}', "not UTF-8: byte 14"),
        ([1], "not a JSON object but a list"),
        (7, "not a JSON object but a number"),
        (None, "not a JSON object but null"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"problem": ' + b"9" * 5_000 + b"}", "a number too long"),
        ({"completion": "5"}, "missing column 'problem'"),
        ({"problem": "2 + 3?"}, "missing column 'completion'"),
        ({**ROW, "problem": " "}, "empty"),
        ({**ROW, "problem": ["x"]}, "'problem' is not a string but a list"),
        ({**ROW, "completion": 5}, "'completion' is not a string but a number"),
        ({**ROW, "completion": "\0"}, "NUL"),
        ({**ROW, "completion": "\ud800"}, "surrogate"),
        ({**ROW, "reward": "1"}, "'reward' is not a number but a string"),
        ({**ROW, "reward": True}, "'reward' is not a number but true or false"),
        ({**ROW, "reward": float("nan")}, "finite"),
        ({**ROW, "reward": 10**400}, "too large"),
        ({**ROW, "correct": 1}, "'correct' is not true or false but a number"),
        ({**ROW, "step": 1.5}, "'step' is not a whole number"),
        ({**ROW, "step": -1}, "'step' is not a whole number"),
        ({**ROW, "step": 2**70}, "'step' is not a whole number"),
        ({**ROW, "problem_id": 1.5}, "'problem_id' is not a string or a whole number"),
        ({**ROW, "problem_id": ""}, "empty"),
        ({**ROW, "family": {}}, "'family' is not a string but an object"),
    ],
)
def test_a_bad_line_names_file_line_and_fault_and_costs_only_itself(read, line, fault):
    before, bad, after = read(ROW, line, ROW)
    assert before.rollouts == after.rollouts != ()
    assert bad.rollouts == ()
    assert bad.number == 2
    assert f"{bad.path}, line 2: " in bad.error
    assert fault in bad.error


def test_label_columns_are_reported_and_never_stored(read):
    labels = [
        "answer",
        "Gold",
        "ground truth",
        "groundTruth",
        "reference_answer",
        "targets",
        "solution",
    ]
    (line,) = read({**ROW, **dict.fromkeys(labels, "SECRET")})
    assert sorted(line.dropped) == sorted(labels)
    assert "SECRET" not in "".join(rollout.model_dump_json() for rollout in line.rollouts)
    (bad,) = read({**dict.fromkeys(labels, "SECRET"), "problem": "2 + 3?"})
    assert bad.error
    assert "SECRET" not in bad.error


def test_blank_lines_line_endings_and_a_byte_order_mark(read):
    row = json.dumps(ROW).encode()
    lines = read(b"\xef\xbb\xbf" + row + b"\r", b"", b"  ", row)
    assert [line.number for line in lines] == [1, 4]
    assert not any(line.error for line in lines)
    assert read(b"") == []


def test_gsm8k_gives_four_rollouts_in_a_group(read):
    (line,) = read(GSM8K, layout="gsm8k-rollouts")
    assert [rollout.policy for rollout in line.rollouts] == list(GSM8K_POLICIES)
    assert [rollout.reward for rollout in line.rollouts] == [0.0, 1.0, 0.0, 0.0]
    assert [rollout.correct for rollout in line.rollouts] == [False, True, False, False]
    assert {rollout.group for rollout in line.rollouts} == {line.rollouts[0].problem.id}
    assert line.dropped == ("ground_truth",)
    assert "REFERENCE" not in "".join(rollout.model_dump_json() for rollout in line.rollouts)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"question": None}, "missing column 'question'"),
        ({"6b_finetuning": None}, "missing column '6b_finetuning'"),
        ({"6b_finetuning": "x"}, "'6b_finetuning' is not an object but a string"),
        ({"6b_finetuning": {"solution": "x"}}, "in '6b_finetuning': missing column 'is_correct'"),
        ({"6b_finetuning": {"is_correct": 1, "solution": "x"}}, "not true or false"),
        ({"6b_finetuning": {"is_correct": True}}, "in '6b_finetuning': missing column 'solution'"),
    ],
)
def test_a_bad_gsm8k_line_names_the_cell(read, change, fault):
    (line,) = read({**GSM8K, **change}, layout="gsm8k-rollouts")
    assert fault in line.error
    assert line.rollouts == ()


def test_a_wrong_path_or_format_raises_at_once(tmp_path):
    missing = tmp_path / "missing.jsonl"
    with pytest.raises(InvalidInputError, match=r"missing\.jsonl"):
        read_rollouts(missing)
    with pytest.raises(InvalidInputError, match="cannot read"):
        read_rollouts(tmp_path)
    with pytest.raises(InvalidInputError, match="gsm8k-rollouts, rollouts"):
        read_rollouts(missing, "csv")
    assert sorted(FORMATS) == ["gsm8k-rollouts", "rollouts"]


def test_lines_are_read_one_at_a_time(tmp_path):
    path = tmp_path / "many.jsonl"
    path.write_text((json.dumps(ROW) + "\n") * 3)
    lines = read_rollouts(path)
    assert next(lines).number == 1
    assert [line.number for line in lines] == [2, 3]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
COLUMNS = ["problem", "completion", "reward", "correct", "problem_id", "family", "step", "policy"]


@given(
    st.lists(
        st.binary(max_size=40)
        | JSON.map(lambda value: json.dumps(value).encode())
        | st.dictionaries(st.sampled_from(COLUMNS), JSON).map(
            lambda row: json.dumps({**ROW, **row}).encode()
        ),
        max_size=4,
    ),
    st.sampled_from(sorted(FORMATS)),
)
@settings(max_examples=300, deadline=None)
def test_no_line_ever_raises(tmp_path_factory, lines, layout):
    path = tmp_path_factory.getbasetemp() / "fuzzed.jsonl"
    path.write_bytes(b"\n".join(lines))
    for line in read_rollouts(path, layout):
        assert bool(line.rollouts) != bool(line.error)
