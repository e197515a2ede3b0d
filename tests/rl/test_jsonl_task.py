"""Tasks from JSON Lines files: what is trained on is never what is measured."""

import json
import pickle
from functools import partial

import pytest

from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.types import normalise
from lanpo_rl.study.jsonl import jsonl_task
from lanpo_rl.tasks import SPLITS


def sums(*numbers):
    return [{"problem": f"What is {n} + 1?", "answer": str(n + 1)} for n in numbers]


@pytest.fixture
def file(tmp_path):
    def write(rows, name="sums.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


def texts(examples):
    return {normalise(example.problem.text) for example in examples}


def check_disjoint(task):
    found = [texts(task.examples(split)) for split in SPLITS]
    assert sum(map(len, found)) == len(set.union(*found))
    assert sum(map(len, found)) == sum(len(task.examples(split)) for split in SPLITS)


@pytest.mark.parametrize("seed", range(4))
def test_one_file_gives_splits_without_a_common_problem(file, seed):
    twice = [*sums(*range(30)), *sums(*range(10))]
    twice[35]["problem"] = "  What is\n5 + 1? "
    task = jsonl_task(file(twice), seed, held_out=12)
    assert (task.name, len(task.train), len(task.held_out), task.shifted) == ("sums", 18, 12, ())
    check_disjoint(task)


def test_a_problem_of_several_files_stays_where_it_is_measured(file):
    task = jsonl_task(
        file(sums(*range(20))),
        held_out=file(sums(*range(5), 50), "test.jsonl"),
        shifted=file(sums(4, 5, 6, 60), "far.jsonl"),
    )
    assert (len(task.train), len(task.held_out), len(task.shifted)) == (13, 6, 3)
    assert "What is 4 + 1?" in texts(task.held_out)
    check_disjoint(task)


def test_what_is_held_out_of_a_file_is_no_problem_of_the_shifted_one(file):
    task = jsonl_task(
        file(sums(*range(20))), held_out=8, shifted=file(sums(*range(6)), "far.jsonl")
    )
    assert (len(task.train), len(task.held_out), len(task.shifted)) == (6, 8, 6)
    check_disjoint(task)


def test_the_seed_decides_the_splits(file):
    path = file(sums(*range(30)))
    one, same, other = (jsonl_task(path, seed, held_out=12) for seed in (1, 1, 2))
    assert one == same
    assert texts(one.held_out) != texts(other.held_out)


def test_limits_leave_so_many_and_more_of_them_the_same_first_ones(file):
    path = file(sums(*range(30)))
    small = jsonl_task(path, held_out=12, limit=5, measured=4)
    assert (len(small.train), len(small.held_out)) == (5, 4)
    assert small.train == jsonl_task(path, held_out=12, limit=9).train[:5]


def test_columns_and_the_marker_are_those_of_training(file):
    rows = [{"question": f"{n} + 1?", "answer": f"{n} + 1 = {n + 1}\n#### {n + 1}"} for n in (1, 2)]
    task = jsonl_task(file(rows), held_out=1, problem_column="question", answer_marker="####")
    assert {e.answer for e in (*task.train, *task.held_out)} == {"2", "3"}
    assert task.prompts.solve(task.train[0].problem) == EnglishPrompts().solve(
        task.train[0].problem
    )


def test_answers_are_compared_as_mathematics(file):
    task = jsonl_task(file(sums(1, 2)), held_out=1)
    assert [task.reward(text, "1/2") for text in (r"\boxed{0.5}", r"\boxed{5}", "")] == [1, 0, 0]


def test_a_task_of_a_seed_can_be_sent_to_another_process(file):
    make = pickle.loads(pickle.dumps(partial(jsonl_task, file(sums(1, 2, 3)), held_out=1)))
    assert make(3) == make(3)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"held_out": 0}, "held_out must be 1 or more"),
        ({"held_out": 1, "limit": 0}, "limit must be 1 or more"),
        ({"held_out": 1, "measured": -1}, "measured must be 1 or more"),
        ({"held_out": 3}, "no problem to train on; hold fewer out"),
    ],
)
def test_impossible_sizes_are_refused_in_one_line(file, options, fault):
    with pytest.raises(ConfigError, match=fault) as caught:
        jsonl_task(file(sums(1, 2, 3)), **options)
    assert "\n" not in str(caught.value)


def test_a_training_file_within_the_held_out_one_is_refused(file):
    with pytest.raises(ConfigError, match="no problem to train on"):
        jsonl_task(file(sums(1, 2)), held_out=file(sums(1, 2, 3), "test.jsonl"))


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([{"question": "1 + 1?", "answer": "2"}], "line 1: has no column 'problem'"),
        ([*sums(1), {"problem": "x", "answer": None}], "line 2: has nothing in column 'answer'"),
        ([*sums(1), {"problem": "What is 1 + 1?", "answer": "3"}], "another answer"),
        ([], "holds no rows"),
    ],
)
def test_bad_rows_are_named_as_by_training(file, rows, fault):
    with pytest.raises(InvalidInputError, match=fault):
        jsonl_task(file(rows), held_out=1)


def test_one_problem_with_two_answers_in_two_files_is_refused(file):
    wrong = [{"problem": "What is 1 + 1?", "answer": "3"}]
    with pytest.raises(InvalidInputError, match="different answers"):
        jsonl_task(file(sums(1, 2)), held_out=file(wrong, "test.jsonl"))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InvalidInputError, match="there is no file"):
        jsonl_task(tmp_path / "none", held_out=1)
