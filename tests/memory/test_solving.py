from __future__ import annotations

from collections import Counter

import pytest

from lanpo_memory import (
    Completion,
    EnglishPrompts,
    Experience,
    ExperiencePool,
    Failure,
    Guide,
    PoolAdapter,
    Problem,
)
from lanpo_memory.errors import BudgetExceeded, ConfigError, InvalidInputError
from lanpo_memory.ledger import Ledger
from lanpo_memory.solving import MODES, Solver
from lanpo_memory.summarizers import ExtractiveSummarizer
from lanpo_memory.testing import ScriptedChatModel
from lanpo_memory.turns import rollout_of
from lanpo_memory.types import Solution, Usage

APPLES = Problem(text="A box holds 8 red apples. How many red apples are in 9 boxes?")
PEARS = Problem(text="A crate holds 4 green pears. How many green pears are in 6 crates?")
SEEN = Problem(text="A box holds 5 red apples. How many red apples are in 3 boxes?")
LESSON = "Equal groups: multiply the groups by the size of one."
TRAIN = Problem(text="A train covers 90 km in 3 hours. How far does it get in 7 hours?")


def reflection(verdict: str, answer: str | None) -> str:
    header = "### Validation:" if verdict == "Correct" else "### Corrected Solution:"
    last = "" if answer is None else f"\n{header}\nSo it is \\boxed{{{answer}}}."
    return f"### Step-by-Step Verification:\nStep 1.\n### Conclusion:\n{verdict}{last}"


def boxed(answer: str) -> str:
    return f"I multiply the number of boxes by what one of them holds. \\boxed{{{answer}}}"


@pytest.fixture
def pool():
    pool = ExperiencePool()
    pool.add([Experience(problem=SEEN, principles=(LESSON,))])
    return pool


def guide_of(pool, **settings):
    return Guide(pool, gamma=0.2, **settings)


def records(pool):
    kinds = ("experience", "attempt", "exposure", "failure")
    return pool.digest(), [pool.store.count(kind) for kind in kinds]


# ---------------------------------------------------------------------- the modes


def test_zero_shot_asks_the_bare_problem_once_and_reads_the_answer():
    model = ScriptedChatModel(boxed("72"))
    solution = Solver(model).solve([APPLES], mode="zero_shot")[0]
    assert (solution.answer, solution.text, solution.mode) == ("72", boxed("72"), "zero_shot")
    assert model.calls[0].conversations == [EnglishPrompts().solve(APPLES)]
    assert [turn.guidance.kind for turn in solution.turns] == ["none"]
    assert solution.problem == APPLES
    assert solution.failure == ""


def test_retrieval_puts_the_best_experience_in_front_and_the_trace_names_it(pool):
    model = ScriptedChatModel(boxed("72"))
    solver = Solver(model, guide=guide_of(pool))
    solution = solver.solve([APPLES])[0]
    asked = model.calls[0].conversations[0][-1]["content"]
    assert LESSON in asked
    assert asked.index(LESSON) < asked.index(APPLES.text)
    assert solution.turns[0].conversation == model.calls[0].conversations[0]
    experience = pool.store.read("experience")[0]
    assert solution.turns[0].guidance.experience_ids == (experience.id,)
    assert solution.turns[0].guidance.lesson_ids == (experience.lesson_id,)


def test_only_the_solution_section_of_a_guided_answer_is_the_solution(pool):
    said = f"### Experience Evaluation:\nfits\n### Final Plan:\nso\n### Solution:\n{boxed('72')}"
    solution = Solver(ScriptedChatModel(said), guide=guide_of(pool)).solve([APPLES])[0]
    assert (solution.text, solution.answer) == (boxed("72"), "72")
    assert solution.turns[0].text == said


def test_a_guided_answer_without_the_sections_still_counts(pool):
    solution = Solver(ScriptedChatModel(boxed("72")), guide=guide_of(pool)).solve([APPLES])[0]
    assert (solution.text, solution.answer) == (boxed("72"), "72")


def test_where_nothing_passes_the_problem_is_solved_bare_and_the_trace_shows_it(pool):
    model = ScriptedChatModel([boxed("72"), boxed("210")])
    solutions = Solver(model, guide=guide_of(pool)).solve([APPLES, TRAIN])
    assert [s.turns[0].guidance.kind for s in solutions] == ["inter", "none"]
    assert model.calls[0].conversations[1] == EnglishPrompts().solve(TRAIN)
    assert [s.answer for s in solutions] == ["72", "210"]


def test_self_correction_shows_the_answer_again_and_takes_the_corrected_one():
    model = ScriptedChatModel([boxed("17"), reflection("Incorrect", "72")])
    solution = Solver(model).solve([APPLES], mode="self_correct")[0]
    assert solution.answer == "72"
    assert solution.text == "So it is \\boxed{72}."
    first, second = solution.turns
    assert (first.answer, first.verdict) == ("17", None)
    assert (second.answer, second.verdict) == ("72", False)
    attempt = second.guidance.attempt
    assert attempt is not None
    assert (attempt.text, attempt.problem) == (boxed("17"), APPLES)
    assert boxed("17") in model.calls[1].conversations[0][-1]["content"]
    assert [call.role for call in model.calls] == ["solve", "reflect"]


def test_every_answer_is_reflected_on_right_or_wrong():
    answers = [boxed("72"), boxed("1"), reflection("Correct", "72"), reflection("Incorrect", "24")]
    model = ScriptedChatModel(answers)
    solutions = Solver(model).solve([APPLES, PEARS], mode="self_correct")
    assert [s.answer for s in solutions] == ["72", "24"]
    assert [len(call.conversations) for call in model.calls] == [2, 2]


def test_a_reflection_that_concludes_correct_ends_the_rounds_of_its_problem_alone():
    answers = [
        *(boxed("72"), boxed("1")),
        *(reflection("Correct", "72"), reflection("Incorrect", "2")),
        reflection("Incorrect", "24"),
    ]
    model = ScriptedChatModel(answers)
    solutions = Solver(model, rounds=2).solve([APPLES, PEARS], mode="self_correct")
    assert [len(s.turns) for s in solutions] == [2, 3]
    assert [len(call.conversations) for call in model.calls] == [2, 2, 1]
    assert [s.answer for s in solutions] == ["72", "24"]
    attempt = solutions[1].turns[2].guidance.attempt
    assert attempt is not None
    assert attempt.text == "So it is \\boxed{2}.", "the last solution, without the check around it"


def test_only_a_reflection_has_a_verdict():
    model = ScriptedChatModel([reflection("Correct", "17"), reflection("Incorrect", "72")])
    solution = Solver(model).solve([APPLES], mode="self_correct")[0]
    assert [turn.verdict for turn in solution.turns] == [None, False]
    assert solution.answer == "72"


@pytest.mark.parametrize("verdict", ["Correct", "Incorrect"])
def test_a_reflection_without_an_answer_leaves_the_earlier_one(verdict):
    model = ScriptedChatModel([boxed("72"), reflection(verdict, None)])
    solution = Solver(model).solve([APPLES], mode="self_correct")[0]
    assert (solution.answer, solution.text) == ("72", boxed("72"))
    assert len(solution.turns) == 2


def test_retrieval_and_self_correction_together_use_both(pool):
    said = f"### Experience Evaluation:\nfits\n### Final Plan:\nso\n### Solution:\n{boxed('17')}"
    model = ScriptedChatModel([said, reflection("Incorrect", "72")])
    solver = Solver(model, guide=guide_of(pool))
    solution = solver.solve([APPLES], mode="retrieval+self_correct")[0]
    assert [turn.guidance.kind for turn in solution.turns] == ["inter", "intra"]
    attempt = solution.turns[1].guidance.attempt
    assert attempt is not None
    assert attempt.text == boxed("17"), "an attempt stands without the notes it was made from"
    assert solution.answer == "72"


def test_all_problems_of_a_batch_advance_in_one_call_a_turn():
    problems = [Problem(text=f"What is {i} + {i}?") for i in range(5)]
    model = ScriptedChatModel(reflection("Incorrect", "4"))
    solutions = Solver(model, batch=3, rounds=2).solve(problems, mode="self_correct")
    assert [len(call.conversations) for call in model.calls] == [3, 3, 3, 2, 2, 2]
    assert [s.problem for s in solutions] == problems


def test_settings_reach_the_model():
    model = ScriptedChatModel(boxed("72"))
    Solver(model, max_tokens=99, temperature=0.7).solve([APPLES], mode="self_correct")
    assert {(call.max_tokens, call.temperature) for call in model.calls} == {(99, 0.7)}


def test_no_problems_no_calls(pool):
    model = ScriptedChatModel([])
    for mode in MODES:
        assert Solver(model, guide=guide_of(pool)).solve([], mode=mode) == []
    assert model.calls == []


# ---------------------------------------------------------------------- failures are data


def test_a_failed_call_leaves_its_problem_without_an_answer_and_the_others_alone():
    model = ScriptedChatModel([Failure(reason="overloaded"), boxed("24")])
    failed, solved = Solver(model).solve([APPLES, PEARS], mode="zero_shot")
    assert (failed.answer, failed.text, failed.failure) == (None, "", "overloaded")
    assert failed.turns[0].failure == "overloaded"
    assert solved.answer == "24"


def test_a_first_turn_that_fails_is_not_reflected_on():
    model = ScriptedChatModel(
        [Failure(reason="overloaded"), boxed("24"), reflection("Correct", "24")]
    )
    failed, solved = Solver(model).solve([APPLES, PEARS], mode="self_correct")
    assert [len(call.conversations) for call in model.calls] == [2, 1]
    assert (len(failed.turns), failed.failure) == (1, "overloaded")
    assert solved.answer == "24"


def test_a_failed_reflection_keeps_the_answer_and_ends_the_rounds():
    model = ScriptedChatModel([boxed("72"), Failure(reason="overloaded")])
    solution = Solver(model, rounds=3).solve([APPLES], mode="self_correct")[0]
    assert (solution.answer, solution.text, solution.failure) == ("72", boxed("72"), "")
    assert solution.turns[1].failure == "overloaded"
    assert len(model.calls) == 2


@pytest.mark.parametrize("said", ["", "  \n", "\0"])
def test_an_empty_answer_is_a_failure(said):
    solution = Solver(ScriptedChatModel(said)).solve([APPLES], mode="self_correct")[0]
    assert solution.failure == "the model answered with nothing"
    assert len(solution.turns) == 1


def test_a_text_without_an_answer_says_so_and_whether_it_was_cut():
    cut = Completion(text="I multiply 8 by", truncated=True)
    model = ScriptedChatModel([cut, "I do not know."])
    long, vague = Solver(model, max_tokens=4).solve([APPLES, PEARS], mode="zero_shot")
    assert long.failure == "no final answer in the text, which was cut at max_tokens=4"
    assert vague.failure == "no final answer in the text"
    assert (long.answer, long.text) == (None, "I multiply 8 by")


def test_a_text_without_an_answer_is_reflected_on():
    model = ScriptedChatModel(["I multiply 8 by", reflection("Incorrect", "72")])
    assert Solver(model).solve([APPLES], mode="self_correct")[0].answer == "72"


def test_what_no_record_can_hold_is_taken_out_of_an_answer():
    model = ScriptedChatModel(["7\0 \ud800 " + boxed("72"), reflection("Correct", "72")])
    solution = Solver(model).solve([APPLES], mode="self_correct")[0]
    assert solution.turns[0].text == "7  " + boxed("72")
    assert solution.answer == "72"


def test_an_attempt_over_the_token_budget_of_the_guide_is_not_looked_at(pool):
    model = ScriptedChatModel(boxed("72"))
    solver = Solver(model, guide=guide_of(pool, max_tokens=10))
    solution = solver.solve([APPLES], mode="self_correct")[0]
    assert (len(solution.turns), solution.answer) == (1, "72")


# ---------------------------------------------------------------------- what it costs


def test_a_solution_counts_what_its_own_turns_cost_by_role():
    def answer(n: int, text: str) -> Completion:
        return Completion(text=text, prompt_tokens=n, completion_tokens=2 * n, seconds=n, cost=n)

    script = [answer(1, boxed("1")), Failure(reason="busy"), answer(10, reflection("Correct", "1"))]
    model = ScriptedChatModel(script)
    first, second = Solver(model).solve([APPLES, PEARS], mode="self_correct")
    assert first.ledger == {
        "solve": Usage(calls=1, prompt_tokens=1, completion_tokens=2, seconds=1, cost=1),
        "reflect": Usage(calls=1, prompt_tokens=10, completion_tokens=20, seconds=10, cost=10),
    }
    assert second.ledger == {"solve": Usage(calls=1, failures=1)}
    spent = sum((usage for s in (first, second) for usage in s.ledger.values()), Usage())
    booked = model.ledger.total
    assert (spent.calls, spent.failures, spent.tokens) == (
        booked.calls,
        booked.failures,
        booked.tokens,
    )


def test_a_budget_stops_before_the_call_and_keeps_the_batches_before_it():
    problems = [Problem(text=f"What is {i} + {i}?") for i in range(6)]
    model = ScriptedChatModel(boxed("4"), ledger=Ledger(max_calls=5))
    solver = Solver(model, batch=2)
    kept = []
    with pytest.raises(BudgetExceeded):
        kept.extend(solver.batches(problems, mode="zero_shot"))
    assert [len(batch) for batch in kept] == [2, 2, 1]  # the budget is used to the last call
    assert [s.problem for batch in kept for s in batch] == problems[:5]
    assert model.ledger.total.calls == 5
    with pytest.raises(BudgetExceeded):
        solver.solve(problems, mode="zero_shot")


def test_a_budget_that_ends_between_two_turns_does_not_ask_the_first_again():
    problems = [Problem(text=f"What is {i} + {i}?") for i in range(4)]
    model = ScriptedChatModel(reflection("Incorrect", "4"), ledger=Ledger(max_calls=6))
    with pytest.raises(BudgetExceeded):
        list(Solver(model, batch=4).batches(problems, mode="self_correct"))
    assert [(call.role, len(call.conversations)) for call in model.calls] == [("solve", 4)]


def test_what_a_model_thinks_first_is_no_answer_no_verdict_and_no_attempt():
    thought = "<think>\nPerhaps \\boxed{6}.\n### Conclusion:\nCorrect\n</think>\n"
    model = ScriptedChatModel([thought + boxed("71"), thought + reflection("Incorrect", "72")])
    solution = Solver(model).solve([APPLES], mode="self_correct")[0]
    assert [(turn.answer, turn.verdict) for turn in solution.turns] == [("71", None), ("72", False)]
    assert "Perhaps" not in solution.turns[1].conversation[-1]["content"]
    assert "Perhaps" not in solution.text
    cut = ScriptedChatModel("<think>\nPerhaps \\boxed{6}")
    assert Solver(cut).solve([APPLES], mode="zero_shot")[0].answer is None


# ---------------------------------------------------------------------- the pool is only read


@pytest.mark.parametrize("mode", MODES)
def test_the_pool_is_only_read(pool, mode):
    before = records(pool)
    model = ScriptedChatModel(reflection("Incorrect", "72"))
    Solver(model, guide=guide_of(pool)).solve([APPLES, TRAIN], mode=mode)
    assert records(pool) == before
    assert pool.utility() == {}


def test_a_problem_is_never_guided_by_its_own_experiences(pool):
    own = [
        Experience(problem=p, principles=(f"The answer is {i}.",))
        for i, p in enumerate((APPLES, Problem(text=APPLES.text.replace(".", " ,"))))
    ]
    pool.add(own)
    model = ScriptedChatModel(boxed("72"))
    guide = guide_of(pool, experiences=9, shortlist=9)
    solution = Solver(model, guide=guide).solve([APPLES])[0]
    assert LESSON in solution.turns[0].guidance.text
    assert "The answer is" not in solution.turns[0].guidance.text


def test_an_empty_pool_solves_bare_and_is_followed_when_it_fills():
    pool = ExperiencePool()
    solver = Solver(ScriptedChatModel(boxed("72")), pool)
    assert not solver.solve([APPLES])[0].turns[0].guidance
    pool.add([Experience(problem=SEEN, principles=(LESSON,))])
    solver.guide = guide_of(pool)
    assert solver.pool is pool is solver.guide.pool
    assert solver.solve([APPLES])[0].turns[0].guidance


def test_without_a_guide_one_is_made_from_the_pool(pool):
    solver = Solver(ScriptedChatModel(boxed("72")), pool)
    assert solver.guide.pool is pool
    assert solver.guide.prompts is solver.prompts


@pytest.mark.parametrize("mode", ["zero_shot", "self_correct"])
def test_modes_without_retrieval_need_no_pool(mode):
    assert Solver(ScriptedChatModel(boxed("72"))).solve([APPLES], mode=mode)[0].answer == "72"


@pytest.mark.parametrize("mode", ["retrieval", "retrieval+self_correct"])
def test_retrieval_without_a_pool_is_refused_before_anything_is_asked(mode):
    model = ScriptedChatModel([])
    with pytest.raises(ConfigError, match=r"needs a pool: give Solver\(pool="):
        Solver(model).batches([APPLES], mode=mode)
    assert model.calls == []


# ---------------------------------------------------------------------- exploring


def test_exploring_solves_a_share_of_the_problems_without_experiences(pool):
    problems = [
        Problem(text=f"A box holds {i} red apples. How many red apples are in 9 boxes?")
        for i in range(20, 420)
    ]
    solver = Solver(ScriptedChatModel(boxed("1")), guide=guide_of(pool), explore=0.3)
    solutions = solver.solve(problems)
    bare = [s.problem for s in solutions if not s.turns[0].guidance]
    assert 0.2 < len(bare) / len(problems) < 0.4
    assert bare == [problem for problem in problems if solver.explores(problem)]
    again = Solver(ScriptedChatModel(boxed("1")), guide=guide_of(pool), explore=0.3)
    assert [again.explores(p) for p in problems] == [solver.explores(p) for p in problems]
    other = Solver(ScriptedChatModel([]), guide=guide_of(pool), explore=0.3, seed=1)
    assert [other.explores(p) for p in problems] != [solver.explores(p) for p in problems]


@pytest.mark.parametrize(("explore", "guided"), [(None, True), (0.0, True), (1.0, False)])
def test_guidance_is_always_there_unless_exploring_is_asked_for(pool, explore, guided):
    solver = Solver(ScriptedChatModel(boxed("1")), guide=guide_of(pool), explore=explore)
    assert bool(solver.solve([APPLES])[0].turns[0].guidance) is guided


def test_exploring_leaves_self_correction_on(pool):
    model = ScriptedChatModel([boxed("1"), reflection("Incorrect", "72")])
    solver = Solver(model, guide=guide_of(pool), explore=1.0)
    solution = solver.solve([APPLES], mode="retrieval+self_correct")[0]
    assert [turn.guidance.kind for turn in solution.turns] == ["none", "intra"]


# ---------------------------------------------------------------------- telling the memory


def test_an_observed_solution_holds_its_experiences_to_account(pool):
    solution = Solver(ScriptedChatModel(boxed("72")), guide=guide_of(pool)).solve([APPLES])[0]
    memory = PoolAdapter(pool, summarizer=ExtractiveSummarizer())
    assert pool.store.count("exposure") == 0
    seen = memory.observe([rollout_of(solution, correct=True, step=4)], step=4)
    assert seen.counts["added"] == 1
    exposure = pool.store.read("exposure")[0]
    assert exposure.lesson_ids == solution.turns[0].guidance.lesson_ids
    assert (exposure.guided, exposure.step) == ((1.0,), 4)


def test_a_rollout_is_the_turn_that_the_answer_comes_from(pool):
    script = [boxed("72"), reflection("Correct", None)]
    kept = Solver(ScriptedChatModel(script), guide=guide_of(pool))
    rollout = rollout_of(kept.solve([APPLES], mode="retrieval+self_correct")[0], correct=True)
    assert rollout.completion == boxed("72")
    assert rollout.guidance is not None
    assert rollout.guidance.kind == "inter"
    corrected = ScriptedChatModel([boxed("1"), reflection("Incorrect", "72")])
    solution = Solver(corrected, guide=guide_of(pool)).solve([APPLES], mode="self_correct")[0]
    rollout = rollout_of(solution, reward=0.5, policy="m", group="g")
    assert rollout.completion == reflection("Incorrect", "72")
    assert rollout.guidance is not None
    assert rollout.guidance.kind == "intra"
    assert (rollout.reward, rollout.correct, rollout.policy, rollout.group) == (0.5, None, "m", "g")


def test_a_solution_without_text_is_no_rollout():
    failed = Solver(ScriptedChatModel([Failure(reason="busy")])).solve([APPLES], mode="zero_shot")
    for solution in (*failed, Solution(problem=APPLES, mode="zero_shot")):
        with pytest.raises(InvalidInputError, match="no text to learn from"):
            rollout_of(solution, correct=False)


def test_a_solution_survives_json(pool):
    model = ScriptedChatModel([boxed("1"), reflection("Incorrect", "72")])
    solver = Solver(model, guide=guide_of(pool))
    solution = solver.solve([APPLES], mode="retrieval+self_correct")[0]
    assert Solution.model_validate_json(solution.model_dump_json()) == solution


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_tokens": 0}, "max_tokens must be at least 1"),
        ({"rounds": 0}, "rounds must be at least 1"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"temperature": -0.1}, "temperature must be 0 or more"),
        ({"temperature": float("nan")}, "temperature must be 0 or more"),
        ({"temperature": float("inf")}, "temperature must be 0 or more"),
        ({"explore": 1.1}, "explore must lie between 0 and 1"),
        ({"explore": float("nan")}, "explore must lie between 0 and 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Solver(ScriptedChatModel([]), **settings)


def test_an_unknown_mode_is_refused_and_the_known_ones_are_listed(pool):
    with pytest.raises(ConfigError, match="zero_shot, retrieval, self_correct, retrieval"):
        Solver(ScriptedChatModel([]), pool).solve([APPLES], mode="best")


def test_two_pools_are_refused(pool):
    with pytest.raises(ConfigError, match="two pools"):
        Solver(ScriptedChatModel([]), ExperiencePool(), guide=guide_of(pool))


def test_a_guide_whose_prompts_read_no_answers_needs_prompts_beside_it(pool):
    class Mute:
        def intra(self, attempt):
            return ""

    guide = guide_of(pool, prompts=Mute())
    with pytest.raises(ConfigError, match="Mute of the guide cannot read an answer"):
        Solver(ScriptedChatModel([]), guide=guide)
    assert Solver(ScriptedChatModel([]), guide=guide, prompts=EnglishPrompts()).guide is guide


@pytest.mark.parametrize("problems", [APPLES, "2 + 3?", ["2 + 3?"], [None]])
def test_what_is_no_list_of_problems_is_refused(problems):
    model = ScriptedChatModel([])
    with pytest.raises(InvalidInputError, match=r"give (a list|Problem)"):
        Solver(model).solve(problems, mode="zero_shot")
    assert model.calls == []


def test_the_same_problem_twice_is_solved_twice():
    model = ScriptedChatModel([boxed("1"), boxed("2")])
    solutions = Solver(model, temperature=1.0).solve([APPLES, APPLES], mode="zero_shot")
    assert Counter(s.answer for s in solutions) == {"1": 1, "2": 1}


def test_a_name_is_no_model(pool):
    with pytest.raises(ConfigError, match="a solver needs a model, got 'openai/gpt-4o-mini'"):
        Solver("openai/gpt-4o-mini", pool)
