"""The tasks: what they ask, what they reward, and what they keep to themselves."""

import math
import random
import re
from collections import Counter

import pytest

from lanpo_memory.errors import ConfigError
from lanpo_rl.tasks import LEXICAL_GAMMA, boxed_reward, make_chains, make_hidden_constants
from lanpo_rl.tasks.chains import apply_operator, chain_text, marked_text, steps_text, walk
from lanpo_rl.tasks.hidden_constants import solution_text
from lanpo_rl.tiny.alphabet import CONSTANTS, NAMES, OPERATORS

TASKS = [make_hidden_constants, make_chains]


@pytest.mark.parametrize("make", TASKS)
def test_splits_share_no_problem(make):
    task = make(0)
    train, held_out = ({e.problem.id for e in split} for split in (task.train, task.held_out))
    assert not train & held_out
    assert (len(train), len(held_out)) == (len(task.train), len(task.held_out))


@pytest.mark.parametrize("make", TASKS)
def test_the_seed_decides_everything(make):
    assert make(3) == make(3)
    assert make(3).train != make(4).train


@pytest.mark.parametrize("make", TASKS)
def test_a_problem_carries_no_answer(make):
    for example in make(0).train:
        assert not example.problem.metadata
        assert example.answer not in (example.problem.id, example.problem.family)


def test_hidden_constants_have_the_promised_sizes():
    task = make_hidden_constants(0)
    assert (len(task.rule), len(task.train), len(task.held_out)) == (16, 16 * 80, 16 * 20)
    assert set(task.rule) <= set(NAMES)
    assert all(0 <= constant < CONSTANTS for constant in task.rule.values())
    assert set(Counter(e.problem.family for e in task.held_out).values()) == {20}


def test_the_answer_is_the_sum_with_the_constant():
    task = make_hidden_constants(1)
    for example in (*task.train, *task.held_out):
        constant = task.rule[example.problem.family]
        a, b = int(example.problem.text[-3]), int(example.problem.text[-1])
        assert task.reward(solution_text(a, b, constant), example.answer) == 1.0
        assert task.reward(solution_text(a, b, constant + 1), example.answer) == 0.0


@pytest.mark.parametrize("families", [1, 16, 40])
def test_no_constant_is_commoner_than_another(families):
    counts = Counter(make_hidden_constants(0, families=families).rule.values())
    assert max(counts.values()) - min(counts[c] for c in range(CONSTANTS)) <= 1


def test_no_problem_of_a_family_gives_away_its_constant():
    task = make_hidden_constants(0)
    for example in task.train:
        assert re.fullmatch(r"([a-z]+) \1 \1 \d_\d", example.problem.text)


@pytest.mark.parametrize("arguments", [{"families": 0}, {"families": 65}])
def test_an_impossible_number_of_families_is_refused(arguments):
    with pytest.raises(ConfigError, match="families"):
        make_hidden_constants(0, **arguments)


def test_a_split_that_leaves_nothing_to_train_on_is_refused():
    with pytest.raises(ConfigError, match="held_out_per_family"):
        make_hidden_constants(0, held_out_per_family=100)


def test_chains_are_right_step_by_step():
    assert walk((4, ("+3", "*7", "-1"))) == [("+3", 7), ("*7", 9), ("-1", 8)]
    assert chain_text((4, ("+3", "*7", "-1"))) == "4+3*7-1"
    task = make_chains(0)
    for example in task.train:
        value = int(example.problem.text[0])
        for operator in re.findall(r"[+*-]\d", example.problem.text[1:]):
            value = eval(f"({value}) {operator}") % 10
        assert example.answer == str(value)


def test_every_operator_is_a_bijection():
    for operator in OPERATORS:
        assert {apply_operator(operator, digit) for digit in range(10)} == set(range(10))


def test_a_check_marks_each_step():
    attempt = [("+3", 8), ("*7", 6)]
    assert steps_text(attempt) == r"+3:8*7:6\boxed{6}"
    assert marked_text([("+3", 7), ("*7", 6)], attempt) == r"+3:7?*7:6=\boxed{6}"
    assert marked_text([("+3", 7)], []) == r"+3:7?\boxed{7}"


def test_too_short_chains_are_refused():
    with pytest.raises(ConfigError, match="length 1"):
        make_chains(0, length=1)


@pytest.mark.parametrize(
    ("completion", "reward"),
    [(r"C09+14=\boxed{23}", 1.0), (r"\boxed{23 }", 0.0), ("23", 0.0), (r"\boxed{23", 0.0)],
)
def test_only_the_boxed_answer_counts_and_counts_exactly(completion, reward):
    assert boxed_reward(completion, "23") == reward


def test_a_dataset_has_the_columns_a_trainer_needs():
    task = make_hidden_constants(0)
    dataset = task.dataset("held_out")
    assert dataset.column_names == ["prompt", "problem", "problem_id", "family", "answer"]
    row, example = dataset[0], task.held_out[0]
    assert row["prompt"] == [{"role": "user", "content": example.problem.text}]
    assert (row["problem_id"], row["answer"]) == (example.problem.id, example.answer)
    assert len(task.dataset("train")) == len(task.train)


def test_an_unknown_split_is_refused():
    with pytest.raises(ConfigError, match="held_out"):
        make_chains(0).dataset("test")


# --- retrieval from the text alone ------------------------------------------------------------


def words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text.lower()))


class Bm25:
    """Lucene's formula over a handful of texts."""

    def __init__(self, texts: list[str]) -> None:
        self.bags = [words(text) for text in texts]
        self.mean_length = sum(bag.total() for bag in self.bags) / len(texts)
        self.found_in = Counter(word for bag in self.bags for word in bag)

    def score(self, query: Counter[str], bag: Counter[str]) -> float:
        norm = 1.5 * (0.25 + 0.75 * bag.total() / self.mean_length)
        return sum(
            count * self.weight(word) * bag[word] / (bag[word] + norm)
            for word, count in query.items()
            if word in bag
        )

    def weight(self, word: str) -> float:
        n = self.found_in[word]
        return math.log(1 + (len(self.bags) - n + 0.5) / (n + 0.5))


@pytest.mark.parametrize("pooled", [16, 64, 256])
def test_similarity_tells_the_families_apart_at_the_recommended_gamma(pooled):
    task, rng = make_hidden_constants(0), random.Random(pooled)
    pool = rng.sample(task.train, pooled)
    index = Bm25([example.problem.text for example in pool])
    for query in rng.sample(task.held_out, 40):
        asked = words(query.problem.text)
        best = index.score(asked, asked)
        for example, bag in zip(pool, index.bags, strict=True):
            same = example.problem.family == query.problem.family
            assert (index.score(asked, bag) / best >= LEXICAL_GAMMA) == same
