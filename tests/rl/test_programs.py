"""Programs: what the language does, what the task asks and rewards, and what lessons teach."""

import random
import re
from collections import Counter
from itertools import combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanpo_memory.errors import ConfigError
from lanpo_memory.retrievers import BM25Retriever
from lanpo_memory.types import Attempt, Experience, Failure, Problem
from lanpo_rl.seeding.tiny_skills import programs as lessons
from lanpo_rl.tasks import PROGRAM_GAMMA, make_programs
from lanpo_rl.tasks.programs import (
    CONSTRUCTS,
    INSTRUCTIONS,
    PROGRAM_VOCABULARY,
    STEP_WORDS,
    ProgramPrompts,
    execute,
    read_program,
)
from lanpo_rl.tasks.programs.language import LONGEST_PROGRAM, LONGEST_WORD
from lanpo_rl.tasks.programs.task import (
    construct_lesson,
    program_reward,
    program_text,
    specification_text,
    trial_words,
)
from lanpo_rl.tiny import build_tokenizer
from lanpo_rl.tiny.alphabet import NAMES

LEVELS = ["easy", "normal", "hard"]
DRAWS = [
    lessons.draw_solve,
    lessons.draw_relevant,
    lessons.draw_irrelevant,
    lessons.draw_summary,
    lessons.draw_check,
]

# --- the language -----------------------------------------------------------------------------


def rewritten(instruction: str, letters: list[str]) -> list[str]:
    """Say letter by letter what an instruction does, as naively as can be."""
    n = len(letters)
    if instruction == "nxt":
        return [chr((ord(c) - ord("a") + 1) % 26 + ord("a")) for c in letters]
    if instruction == "add":
        return ["a", *letters]
    places: dict[str, list[int]] = {
        "rev": list(range(n - 1, -1, -1)),
        "rot": [(i + 1) % n for i in range(n)],
        "swp": [1, 0, *range(2, n)] if n > 1 else list(range(n)),
        "tip": [n - 1, *range(1, n - 1), 0] if n > 1 else list(range(n)),
        "dup": [*range(n), *range(n)],
        "mir": [*range(n), *range(n - 1, -1, -1)],
        "dbl": [0, *range(n)] if n else [],
        "cap": [*range(n), 0] if n else [],
        "drp": list(range(1, n)),
        "cut": list(range(n - 1)),
    }
    return [letters[i] for i in places[instruction]]


words = st.text(alphabet="abcdefghijklmnopqrstuvwxyz", max_size=8)
instructions = st.lists(st.sampled_from([*INSTRUCTIONS]), min_size=1, max_size=6)


@settings(deadline=None)
@given(instructions, words)
def test_the_interpreter_does_what_a_naive_one_does(program, word):
    letters = list(word)
    for instruction in program:
        letters = rewritten(instruction, letters)
    assert execute(" ".join(program), word) == "".join(letters)


@settings(deadline=None)
@given(instructions, words, st.data())
def test_brackets_group_and_do_nothing(program, word, data):
    first = data.draw(st.integers(0, len(program) - 1))
    last = data.draw(st.integers(first + 1, len(program)))
    before, inside, after = program[:first], program[first:last], program[last:]
    bracketed = f"{' '.join(before)}[{' '.join(inside)}]{' '.join(after)}"
    assert read_program(bracketed) == tuple(program)
    assert execute(bracketed, word) == execute(" ".join(program), word)


pieces = st.sampled_from([*INSTRUCTIONS, "[", "]", " ", "|", "rut", "\n", "Rev", "C", "é", "\0"])


@settings(deadline=None)
@given(st.one_of(st.text(), st.lists(pieces, max_size=200).map("".join)), st.text())
def test_every_text_has_a_meaning(text, word):
    result = execute(text, word)
    if read_program(text) is None or len(word) > LONGEST_WORD:
        assert result is None
    else:
        assert result is None or len(result) <= LONGEST_WORD
    assert program_reward(text, "rev") in (0.0, 1.0)


@pytest.mark.parametrize(
    "text",
    ["", " ", "[]", "rut", "rotdup", "[rot", "rot]", "]rot[", "[[rot]", "rot|dup", "ROT", "rot\n"],
)
def test_what_is_no_program_is_told_apart(text):
    assert read_program(text) is None
    assert execute(text, "abc") is None


def test_nested_and_empty_brackets_are_allowed():
    assert read_program("[[rot]dup][]swp ") == ("rot", "dup", "swp")


def test_a_long_text_is_read_in_one_go():
    assert read_program("a" * 100_000 + "|") is None


def test_a_program_has_a_longest_length():
    assert read_program("rot " * LONGEST_PROGRAM) is not None
    assert read_program("rot " * (LONGEST_PROGRAM + 1)) is None


def test_a_word_that_grows_too_long_has_no_value_even_if_it_shrinks_again():
    assert execute("dup", "a" * (LONGEST_WORD // 2)) == "a" * LONGEST_WORD
    assert execute("dup", "a" * (LONGEST_WORD // 2 + 1)) is None
    assert execute("add cut", "a" * LONGEST_WORD) is None
    assert execute("dup " * LONGEST_PROGRAM, "ab") is None


@pytest.mark.parametrize(
    ("one", "other"),
    [("rev rev", "nxt " * 26), ("rot tip", "swp rot"), ("mir rev", "mir tip")],
)
def test_programs_known_to_be_equivalent_are(one, other):
    assert [execute(one, w) for w in ("abcd", "azaz")] == [
        execute(other, w) for w in ("abcd", "azaz")
    ]


def test_step_words_are_one_name_for_each_instruction():
    assert sorted(STEP_WORDS.values()) == sorted(INSTRUCTIONS)
    assert not {*STEP_WORDS} & {*INSTRUCTIONS, *NAMES}


def test_the_vocabulary_has_each_token_once():
    assert len(set(PROGRAM_VOCABULARY)) == len(PROGRAM_VOCABULARY)


# --- the task ---------------------------------------------------------------------------------


def behaviour(program: str) -> tuple[str | None, ...]:
    alphabet = "kqzbwmhx"
    return tuple(execute(program, alphabet[:length]) for length in range(3, 9))


def test_no_two_constructs_do_the_same_even_with_the_same_steps_behind_them():
    for steps in [(), *product(STEP_WORDS.values(), repeat=2)]:
        done = {behaviour(program_text(construct, steps)) for construct in CONSTRUCTS}
        assert len(done) == len(CONSTRUCTS) == 16


def test_no_construct_can_be_had_with_one_instruction():
    single = {behaviour(instruction) for instruction in INSTRUCTIONS} | {behaviour("rev rev")}
    assert single.isdisjoint(behaviour(" ".join(construct)) for construct in CONSTRUCTS)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_splits_share_no_problem(level, seed):
    task = make_programs(seed, level)
    splits = [
        [e.problem.text for e in split] for split in (task.train, task.held_out, task.shifted)
    ]
    assert all(len(set(split)) == len(split) > 0 for split in splits)
    assert all(set(one).isdisjoint(other) for one, other in combinations(splits, 2))
    assert {e.problem.family for e in task.train} == {*task.rule}


def test_the_task_has_the_promised_sizes():
    task = make_programs(0)
    assert (len(task.rule), len(task.train)) == (16, 16 * 60)
    assert (len(task.held_out), len(task.shifted)) == (320, 160)
    assert {*task.rule} <= {*NAMES}


@pytest.mark.parametrize(("level", "families", "steps"), [("easy", 8, 2), ("hard", 32, 3)])
def test_a_level_says_how_many_families_and_steps_there_are(level, families, steps):
    task = make_programs(0, level)
    assert len(task.rule) == families
    assert {e.problem.text.count("_") + 1 for e in (*task.train, *task.held_out)} == {steps}
    assert {e.problem.text.count("_") + 1 for e in task.shifted} == {steps + 1}


def test_an_unknown_level_is_refused():
    with pytest.raises(ConfigError, match="impossible"):
        make_programs(0, "impossible")


def test_the_seed_decides_everything():
    assert make_programs(3) == make_programs(3)
    assert make_programs(3).train != make_programs(4).train


@pytest.mark.parametrize("level", LEVELS)
def test_no_construct_is_commoner_than_another(level):
    counts = Counter(make_programs(0, level).rule.values())
    assert len(set(counts.values())) == 1


def test_no_problem_gives_away_its_construct():
    task = make_programs(0)
    for example in task.train:
        assert re.fullmatch(r"([a-z]+) \1 \1 [a-z]+_[a-z]+", example.problem.text)
        assert not example.problem.metadata


def test_the_answer_does_what_the_family_hides_and_then_the_steps():
    task = make_programs(1)
    for example in (*task.train, *task.held_out, *task.shifted):
        name, _, _, steps = example.problem.text.split(" ")
        does = [*task.rule[name], *(STEP_WORDS[step] for step in steps.split("_"))]
        assert read_program(example.answer) == tuple(does)
        assert task.reward(example.answer, example.answer) == 1.0


@pytest.mark.parametrize(
    ("completion", "reward"),
    [
        ("[rot dup]swp rev", 1.0),
        ("rot dup swp rev", 1.0),
        ("[dup rot]swp rev", 1.0),
        ("rot dup swp rev rev rev", 1.0),
        ("[rot dup]rev swp", 0.0),
        ("[rot dup]swp", 0.0),
        ("[rot dup]swp rev|", 0.0),
        ("[rot dup]swp rev" + " dup" * 30, 0.0),
        ("", 0.0),
    ],
)
def test_whatever_does_the_same_is_right_and_nothing_else(completion, reward):
    assert make_programs(0).reward(completion, "[rot dup]swp rev") == reward


def test_a_reference_that_has_no_value_makes_nothing_right():
    assert program_reward("dup " * 20, "dup " * 20) == 0.0


def test_trial_words_are_several_of_different_lengths_made_from_the_reference():
    found = trial_words("[rot dup]swp rev")
    assert found == trial_words("[rot dup]swp rev") != trial_words("[rot dup]rev swp")
    assert len({len(word) for word in found}) == len(found) >= 4


def test_trial_words_tell_apart_what_more_words_would():
    programs = [" ".join(p) for p in product(INSTRUCTIONS, repeat=2)]
    for one, other in product(programs, random.Random(0).sample(programs, 30)):
        assert bool(program_reward(one, other)) == (behaviour(one) == behaviour(other))


def test_a_construct_out_of_the_air_is_right_one_time_in_sixteen():
    task = make_programs(0)
    right = 0.0
    for example in task.held_out:
        steps = [STEP_WORDS[s] for s in example.problem.text.split(" ")[-1].split("_")]
        right += sum(task.reward(program_text(c, steps), example.answer) for c in CONSTRUCTS)
    assert right / (16 * len(task.held_out)) == 1 / 16


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("pooled", [16, 64, 256])
def test_similarity_tells_the_families_apart_at_the_recommended_gamma(level, pooled):
    task, rng = make_programs(0, level), random.Random(pooled)
    index = BM25Retriever()
    pool = {e.problem.id: e.problem for e in rng.sample(task.train, pooled)}
    index.update([*pool.values()], [])
    queries = [e.problem for e in (*rng.sample(task.held_out, 20), *rng.sample(task.shifted, 20))]
    for query, hits in zip(queries, index.retrieve(queries, k=pooled), strict=True):
        near = {hit.problem_id for hit in hits if hit.similarity >= PROGRAM_GAMMA}
        assert near == {id_ for id_, problem in pool.items() if problem.family == query.family}


# --- prompts ----------------------------------------------------------------------------------

PROBLEM = Problem(text="bako bako bako crossed_reversed", family="bako")


def test_an_answer_is_the_program_and_only_a_program():
    prompts = ProgramPrompts()
    assert prompts.answer("[rot dup]swp rev") == "[rot dup]swp rev"
    assert prompts.solution("intra", "[rot dup]swp rev") == "[rot dup]swp rev"
    assert prompts.answer("bako rot dup") is None
    assert prompts.solution("inter", "[rot dup") is None
    assert prompts.verdict("[rot dup]swp rev") is None


def test_a_lesson_is_a_name_and_two_instructions():
    found = ProgramPrompts().parse(PROBLEM, " bako rot dup")
    assert isinstance(found, Experience)
    assert found.principles == ("bako rot dup",)


@pytest.mark.parametrize(
    "text", ["", "bako", "bako rot", "bako rot dup swp", "rot dup", "bako a b"]
)
def test_what_is_no_lesson_is_a_failure(text):
    assert isinstance(ProgramPrompts().parse(PROBLEM, text), Failure)


def test_an_attempt_is_shown_as_it_is():
    attempt = Attempt(problem=PROBLEM, text="[rot dup]swp rev")
    assert ProgramPrompts().intra(attempt) == "check [rot dup]swp rev|"


# --- lessons ----------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", DRAWS)
def test_a_lesson_follows_from_the_seed(draw):
    assert draw(random.Random(5)) == draw(random.Random(5))
    assert len({draw(random.Random(seed)).completion for seed in range(20)}) > 10


@pytest.mark.parametrize("draw", DRAWS)
def test_a_lesson_is_in_the_language_of_the_task_and_short(draw):
    tokenizer, prompts = build_tokenizer(PROGRAM_VOCABULARY), ProgramPrompts()
    for seed in range(200):
        lesson = draw(random.Random(seed))
        if lesson.skill == "summarise":
            assert isinstance(prompts.parse(PROBLEM, lesson.completion), Experience)
        else:
            assert prompts.solution("inter", lesson.completion) == lesson.completion
        asked, answered = (
            tokenizer(text, add_special_tokens=False).input_ids
            for text in (lesson.prompt, lesson.completion)
        )
        assert tokenizer.unk_token_id not in (*asked, *answered)
        assert tokenizer.decode(answered) == lesson.completion
        assert (len(asked) <= 40, len(answered) <= 15) == (True, True)


def bracketed(program: str) -> str:
    """The construct of a program, as text."""
    match = re.match(r"\[([a-z ]+)\]", program)
    assert match is not None
    return match[1]


def test_a_relevant_hint_names_the_construct_and_an_irrelevant_one_another_family():
    for seed in range(100):
        relevant = lessons.draw_relevant(random.Random(seed))
        *hints, problem = relevant.prompt.split("|")
        assert f"hint {problem.split()[0]} {bracketed(relevant.completion)}" in hints
        noise, problem = lessons.draw_irrelevant(random.Random(seed)).prompt.split("|")
        assert noise.split()[1] != problem.split()[0]


def test_a_summary_is_what_a_hint_says():
    for seed in range(100):
        lesson = lessons.draw_summary(random.Random(seed))
        problem, attempt = lesson.prompt.removeprefix("sum ").split("|")
        assert lesson.completion == f"{problem.split()[0]} {bracketed(attempt)}"


def test_a_check_keeps_the_construct_of_the_attempt():
    for seed in range(100):
        lesson = lessons.draw_check(random.Random(seed))
        attempt = lesson.prompt.removeprefix("check ").split("|")[0]
        assert bracketed(lesson.completion) == bracketed(attempt)


def believed_rightly(belief, word):
    rng = random.Random(f"{word}")
    return sum(belief(rng, word) == STEP_WORDS[word] for _ in range(400)) / 400


def test_a_check_gets_right_what_the_solver_gets_wrong_but_for_its_blind_spots():
    assert {*lessons.WRONG} > lessons.BLIND_SPOTS
    assert len(lessons.WRONG) == lessons.MISTAKEN
    for word in STEP_WORDS:
        solved = believed_rightly(lessons.solver_belief, word)
        checked = believed_rightly(lessons.checker_belief, word)
        if word not in lessons.WRONG:
            assert solved == checked == 1.0
        else:
            assert 0.02 < solved < 0.13
            assert (checked > 0.9) == (word not in lessons.BLIND_SPOTS)


def test_what_is_believed_wrongly_gives_wrong_programs():
    construct = CONSTRUCTS[0]
    for word, instruction in lessons.WRONG.items():
        right = program_text(construct, [STEP_WORDS[word], "nxt"])
        assert program_reward(program_text(construct, [instruction, "nxt"]), right) == 0.0


def test_texts_are_built_as_lessons_show_them():
    assert specification_text("bako", ["crossed", "reversed"]) == PROBLEM.text
    assert construct_lesson("bako", ("rot", "dup")) == "bako rot dup"
