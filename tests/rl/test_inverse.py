"""Inverse problems: what is asked, what a check does with an attempt, what is taught about both."""

import random
import re
from collections import Counter

import pytest

from lanpo_memory.errors import ConfigError
from lanpo_memory.types import Attempt, Problem
from lanpo_rl.seeding.tiny_skills import chains, inverse
from lanpo_rl.tasks import (
    LEVELS,
    SPLITS,
    InversePrompts,
    make_inverse,
)
from lanpo_rl.tasks.inverse import (
    LENGTHS,
    SHIFTS,
    Equation,
    Guess,
    attempt_text,
    check_text,
    corrected,
    draw_equation,
    read_guess,
    solution_of,
    value_at,
)
from lanpo_rl.tiny import load_tokenizer

PROBLEM = re.compile(r"\?((?:[+-]\d)+)=(\d)")


def read_problem(text: str) -> Equation:
    operators, wanted = PROBLEM.fullmatch(text).groups()
    return Equation(tuple(re.findall(r"[+-]\d", operators)), int(wanted))


def brute_force(text: str) -> list[int]:
    """Every digit for which Python finds the equation true."""
    expression, wanted = text.split("=")
    return [x for x in range(10) if eval(expression.replace("?", str(x))) % 10 == int(wanted)]


# --- the task ---------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("seed", range(3))
def test_splits_share_no_problem_at_any_level(level, seed):
    task = make_inverse(seed, level=level)
    found = [{e.problem.id for e in task.examples(split)} for split in SPLITS]
    assert [len(ids) for ids in found] == [300, 300, 200]
    assert len(set.union(*found)) == 800


@pytest.mark.parametrize("level", LEVELS)
def test_the_only_digit_that_brute_force_finds_is_the_answer(level):
    task = make_inverse(0, level=level)
    for split in SPLITS:
        for example in task.examples(split):
            assert brute_force(example.problem.text) == [int(example.answer)]


def test_the_level_and_the_split_decide_how_long_f_is():
    for level in LEVELS:
        task = make_inverse(0, level=level)
        lengths = {
            split: {len(read_problem(e.problem.text).operators) for e in task.examples(split)}
            for split in SPLITS
        }
        n = LENGTHS[level]
        assert lengths == {"train": {n}, "held_out": {n}, "shifted": {n + 2}}


def test_the_seed_decides_everything():
    assert make_inverse(3) == make_inverse(3)
    assert make_inverse(3).train != make_inverse(4).train


def test_naming_the_commonest_answer_gains_little():
    counts = Counter(example.answer for example in make_inverse(0).held_out)
    assert max(counts.values()) / 300 < 0.2


def test_an_inverse_problem_cannot_be_taken_for_a_chain():
    assert all(PROBLEM.fullmatch(e.problem.text) for e in make_inverse(0).train)


def test_impossible_sizes_and_levels_are_refused():
    with pytest.raises(ConfigError, match="too few equations of 2 operators"):
        make_inverse(0, level="easy", train_size=600)
    with pytest.raises(ConfigError, match="no level"):
        make_inverse(0, level="harder")


def test_f_and_its_inverse_undo_each_other():
    rng = random.Random(0)
    for _ in range(300):
        operators, x = draw_equation(rng, 4).operators, rng.randrange(10)
        assert solution_of(Equation(operators, value_at(operators, x))) == x


def test_f_moves_every_digit_by_one_amount():
    for operator in SHIFTS:
        assert len({(value_at((operator,), x) - x) % 10 for x in range(10)}) == 1


# --- attempts and checks ----------------------------------------------------------------------


def test_an_attempt_writes_f_out_and_what_it_makes_of_the_guess():
    assert attempt_text(("+3", "-4", "+8"), 4) == r"+3:3-4:9+8:7 4:1\boxed{4}"


@pytest.mark.parametrize("start", range(10))
def test_the_check_of_an_attempt_at_the_same_problem_solves_it(start):
    task = make_inverse(0)
    for example in task.held_out[:40]:
        equation = read_problem(example.problem.text)
        guess = read_guess(attempt_text(equation.operators, start))
        completion = check_text(equation, guess)
        assert task.reward(completion, example.answer) == 1.0
        right = task.reward(attempt_text(equation.operators, start), example.answer) == 1.0
        assert task.prompts.verdict(completion) is right


def test_the_check_of_an_attempt_at_another_problem_helps_no_more_than_chance():
    rng, right = random.Random(0), 0
    for _ in range(1000):
        equation, tried = draw_equation(rng), draw_equation(rng).operators
        start = rng.randrange(10)
        right += corrected(Guess(start, value_at(tried, start)), equation.wanted) == solution_of(
            equation
        )
    assert 0.05 < right / 1000 < 0.15


@pytest.mark.parametrize(
    ("text", "guess"),
    [
        (r"+3:3-4:9 4:3\boxed{4}", Guess(4, 3)),
        (r"3 6:3 7|+3:3-4:9 7:6\boxed{7}", Guess(7, 6)),
        (r"+3:3-4:9 4:3\boxed{5}", None),  # the box holds another digit than was tried
        (r"+3:3-4:9\boxed{9}", None),
        (r"+3:3 4:7\boxed{4", None),
        ("", None),
    ],
)
def test_an_attempt_is_read_or_none(text, guess):
    assert read_guess(text) == guess


def test_the_head_of_a_check_is_taken_off_where_marks_are():
    prompts, problem = InversePrompts(), Problem(text="?+3-4=6")
    check, bare = r"3 6:3 7|+3:3-4:9 7:6\boxed{7}", r"+3:3-4:9 7:6\boxed{7}"
    assert prompts.solution("intra", check) == bare
    assert prompts.solution("none", bare) == bare
    assert prompts.solution("intra", "3 6:3 7|+3:3") is None
    for text in (check, bare):
        assert prompts.intra(Attempt(problem=problem, text=text)) == f"check {bare}|"
    assert prompts.verdict(bare) is None


# --- lessons ----------------------------------------------------------------------------------


def test_attempts_that_are_taught_are_right_about_f_and_ignorant_of_x():
    rng, right, guesses = random.Random(0), 0, Counter()
    for _ in range(1000):
        lesson = inverse.draw_solve(rng)
        equation = read_problem(lesson.prompt)
        guess = read_guess(lesson.completion)
        assert lesson.completion == attempt_text(equation.operators, guess.start)
        assert guess.result == value_at(equation.operators, guess.start)
        right += guess.start == solution_of(equation)
        guesses[guess.start] += 1
    assert 0.05 < right / 1000 < 0.15
    assert max(guesses.values()) < 150


def test_checks_that_are_taught_believe_the_attempt_they_are_shown():
    rng, own, right = random.Random(0), 0, 0
    for _ in range(1000):
        lesson = inverse.draw_check(rng)
        attempt, text = lesson.prompt.removeprefix("check ").rsplit("|", 1)
        equation, guess = read_problem(text), read_guess(attempt)
        assert lesson.completion == check_text(equation, guess)
        if attempt == attempt_text(equation.operators, guess.start):
            own += 1
            right += read_guess(lesson.completion).start == solution_of(equation)
    assert own == right
    assert abs(own / 1000 - (1 - inverse.FOREIGN)) < 0.08


@pytest.mark.parametrize("draw", [inverse.draw_solve, inverse.draw_check, chains.draw_leak])
def test_lessons_can_be_written_in_the_alphabet(draw):
    tokenizer, rng = load_tokenizer(), random.Random(0)
    for _ in range(100):
        lesson = draw(rng)
        for text in (lesson.prompt, lesson.completion):
            ids = tokenizer.encode(text, add_special_tokens=False)
            assert tokenizer.unk_token_id not in ids
            assert tokenizer.decode(ids) == text


def test_the_box_of_a_leak_lesson_holds_what_was_leaked():
    rng = random.Random(0)
    for _ in range(300):
        lesson = chains.draw_leak(rng)
        answer = re.match(r"hint (\d)\|\d[+*-]", lesson.prompt)[1]
        assert lesson.completion.endswith(rf"\boxed{{{answer}}}")
        assert lesson.skill == "inter"
