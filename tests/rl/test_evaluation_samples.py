"""Asking: which samples are drawn, in which order, and what is kept of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lanpo_memory.errors import BudgetExceeded, ConfigError, InvalidInputError
from lanpo_memory.guide import Guide
from lanpo_memory.ledger import Ledger
from lanpo_memory.pool import ExperiencePool, open_pool
from lanpo_memory.testing import ScriptedChatModel
from lanpo_memory.types import Completion, Experience, Failure, Problem
from lanpo_rl.evaluation import Evaluator, Sample, SampleFile, SeededModels
from lanpo_rl.tiny import TinyPrompts, load_policy, load_tokenizer

PROBLEMS = [Problem(text=f"A box holds {i} red apples. How many are in 9?") for i in (2, 3, 4)]
BLIND = [Problem(text=f"bako bako bako {i}_6") for i in range(6)]
MODES = ("zero_shot", "self_correct")


def drawn(evaluator: Evaluator, problems: list[Problem] = PROBLEMS, **more: Any) -> list[Sample]:
    return [sample for batch in evaluator.run(problems, **more) for sample in batch]


def texts(samples: list[Sample]) -> list[str]:
    return [turn.text for sample in samples for turn in sample.solution.turns]


def lesson(problem: Problem) -> Experience:
    return Experience(problem=problem, principles=("Multiply.",))


# ---------------------------------------------------------------------- order and settings


def test_the_first_sample_of_all_comes_before_the_second_of_any():
    evaluator = Evaluator(
        ScriptedChatModel(r"\boxed{18}"), modes=MODES, samples=2, temperature=1.0, batch=2
    )
    found = [(s.number, s.solution.mode, s.solution.problem.id) for s in drawn(evaluator)]
    ids = [problem.id for problem in PROBLEMS]
    assert found == [(n, mode, id_) for n in (0, 1) for mode in MODES for id_ in ids]


def test_what_is_finished_is_not_asked_again():
    model = ScriptedChatModel(r"\boxed{18}")
    evaluator = Evaluator(model, samples=2, temperature=0.5)
    first = drawn(evaluator)
    model.calls.clear()
    rest = drawn(evaluator, finished={sample.key for sample in first[1:]})
    assert [sample.key for sample in rest] == [first[0].key]
    assert len(model.calls) == 1


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"samples": 0}, "samples must be at least 1"),
        ({"samples": 4}, "4 samples of a problem need a temperature above 0, got 0.0"),
        ({"modes": ("sideways",)}, "mode must be one of zero_shot, .*got 'sideways'"),
        ({"modes": ()}, "modes has to be a list"),
        ({"modes": "zero_shot"}, "modes has to be a list"),
        ({"modes": ("zero_shot", "zero_shot")}, "named twice"),
        ({"modes": ("retrieval",)}, "mode retrieval needs a pool"),
        ({"max_tokens": 0}, "max_tokens must be at least 1"),
        ({"temperature": -1.0}, "temperature must be 0 or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused_at_once(settings: dict[str, Any], complaint: str):
    with pytest.raises(ConfigError, match=complaint):
        Evaluator(ScriptedChatModel([]), **settings)


def test_a_problem_that_stands_there_twice_is_refused():
    evaluator = Evaluator(ScriptedChatModel([]))
    with pytest.raises(InvalidInputError, match="twice"):
        evaluator.run([*PROBLEMS, PROBLEMS[0]])


def test_a_budget_that_ends_leaves_what_was_yielded():
    model = ScriptedChatModel(r"\boxed{1}", ledger=Ledger(max_calls=2))
    batches = Evaluator(model, batch=2).run(PROBLEMS)
    assert [sample.solution.problem for sample in next(batches)] == PROBLEMS[:2]
    with pytest.raises(BudgetExceeded):
        next(batches)


def test_a_pool_that_others_write_to_ends_the_run_before_a_mixed_batch(tmp_path: Path):
    url = tmp_path / "pool.db"
    with open_pool(url) as pool, open_pool(url) as other, open_pool(url, namespace="b") as aside:
        pool.add([lesson(Problem(text="A box holds 7 red apples. How many are in 5?"))])
        evaluator = Evaluator(
            ScriptedChatModel("x"), modes=(*MODES[:1], "retrieval"), batch=1, guide=Guide(pool)
        )
        batches = evaluator.run(PROBLEMS)
        for _ in range(4):
            next(batches)
        aside.add([lesson(PROBLEMS[0])])
        next(batches)
        other.add([lesson(Problem(text="A bag holds 7 red apples. How many are in 5?"))])
        with pytest.raises(ConfigError, match=r"written to while it was evaluated.*export"):
            next(batches)


# ---------------------------------------------------------------------- what a sample tells


def test_a_call_without_an_answer_fails_and_an_empty_answer_is_one():
    model = ScriptedChatModel([Failure(reason="busy"), "", r"\boxed{3}"])
    assert [sample.failed for sample in drawn(Evaluator(model))] == [True, False, False]


def test_a_reflection_that_brings_no_answer_fails_the_sample():
    model = ScriptedChatModel([r"\boxed{3}", Failure(reason="busy")])
    [sample] = drawn(Evaluator(model, modes=("self_correct",)), PROBLEMS[:1])
    assert sample.solution.answer == "3", "the solver keeps what it had"
    assert sample.failed, "but this is no sample of the mode"


def test_a_refusal_is_an_answer_and_says_nothing_usable():
    refusal = Failure(reason="the model refused to answer", text="No.", answered=True)
    model = ScriptedChatModel([refusal, Failure(reason="busy"), "", r"\boxed{3}"])
    samples = drawn(Evaluator(model), [*PROBLEMS, Problem(text="One more?")])
    assert [sample.failed for sample in samples] == [False, True, False, False]
    assert [sample.unusable for sample in samples] == [True, False, True, False]
    assert samples[0].solution.failure == "the model refused to answer"
    assert [sample.solution.answer for sample in samples] == [None, None, None, "3"]


def test_a_reflection_that_is_refused_leaves_the_answer_before_it():
    refusal = Failure(reason="the model refused to answer", answered=True)
    model = ScriptedChatModel([r"\boxed{3}", refusal])
    [sample] = drawn(Evaluator(model, modes=("self_correct",)), PROBLEMS[:1])
    assert (sample.failed, sample.unusable, sample.solution.answer) == (False, True, "3")


def test_a_prompt_that_does_not_fit_is_a_failed_call():
    models = SeededModels(load_policy(), load_tokenizer())
    evaluator = Evaluator(models(0), prompts=TinyPrompts(), max_tokens=100_000, reseed=models)
    [sample] = drawn(evaluator, BLIND[:1])
    assert (sample.failed, sample.unusable) == (True, False)
    assert "the context of 'Qwen2ForCausalLM' ends at 256" in sample.solution.failure


def test_a_text_that_was_cut_is_marked_in_any_turn():
    cut = Completion(text=r"so \boxed{3} and", truncated=True)
    model = ScriptedChatModel([cut, "fine", "fine", cut])
    samples = drawn(Evaluator(model, modes=MODES, batch=1), PROBLEMS[:1])
    assert [sample.truncated for sample in samples] == [True, False]
    [sample] = drawn(Evaluator(ScriptedChatModel(["fine", cut]), modes=("self_correct",)),
                     PROBLEMS[:1])  # fmt: skip
    assert sample.truncated


def test_an_experience_of_the_same_template_is_marked_and_can_be_left_out():
    pool = ExperiencePool()
    pool.add([lesson(Problem(text="A box holds 7 red apples. How many are in 5?"))])
    for drop in (False, True):
        guide = Guide(pool, gamma=0.0, drop_templates=drop)
        samples = drawn(Evaluator(ScriptedChatModel("?"), modes=("retrieval",), guide=guide))
        assert [sample.template for sample in samples] == [not drop] * 3
        guided = [bool(sample.solution.turns[0].guidance) for sample in samples]
        assert guided == [not drop] * 3


# ---------------------------------------------------------------------- seeded sampling


def tiny(seed: int = 0, *, batch: int = 4, modes: Any = ("zero_shot",), samples: int = 3):
    models = SeededModels(load_policy(), load_tokenizer(), seed=seed)
    return Evaluator(
        models(0),
        modes=modes,
        samples=samples,
        temperature=1.0,
        prompts=TinyPrompts(),
        max_tokens=16,
        batch=batch,
        reseed=models,
    )


def test_the_same_seed_draws_the_same_samples_whatever_the_batch():
    once = texts(drawn(tiny(), BLIND))
    assert texts(drawn(tiny(batch=1), BLIND)) == once
    assert texts(drawn(tiny(seed=1), BLIND)) != once
    by_number = [once[i : i + 6] for i in (0, 6, 12)]
    assert len({tuple(each) for each in by_number}) == 3, "the samples differ"


def test_a_run_that_goes_on_draws_what_it_would_have_drawn():
    whole = drawn(tiny(), BLIND)
    rest = drawn(tiny(), BLIND, finished={sample.key for sample in whole[:8]})
    assert texts(rest) == texts(whole[8:])


def test_modes_that_begin_alike_share_their_first_answers():
    samples = drawn(tiny(modes=MODES, samples=1), BLIND)
    first = [sample.solution.turns[0].text for sample in samples]
    assert first[:6] == first[6:]


def test_an_evaluation_through_an_endpoint_loads_no_torch():
    code = (
        "import sys\n"
        "from lanpo_memory import Problem\n"
        "from lanpo_memory.testing import ScriptedChatModel\n"
        "from lanpo_rl.evaluation import Evaluator, evaluate_samples\n"
        "from lanpo_rl.rewards import as_reward\n"
        "from lanpo_rl.tasks import Example\n"
        "numpy = 'numpy' in sys.modules\n"
        "e = Example(Problem(text='2 + 3?'), '5')\n"
        "samples = next(Evaluator(ScriptedChatModel('5')).run([e.problem]))\n"
        "score = as_reward(lambda text, answer: float(text == answer))\n"
        "assert evaluate_samples(samples, [e], score=score).modes[0].accuracy.value == 1\n"
        "print(*{'torch', 'transformers', 'trl', 'datasets', 'litellm'} & sys.modules.keys())\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout.strip()) == (0, ""), ran.stderr


# ---------------------------------------------------------------------- the file

SETTINGS: Any = {"zero_shot": {"temperature": 0.5}, "self_correct": {"temperature": 0.5}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "samples.jsonl"


def some() -> list[Sample]:
    model = ScriptedChatModel("I multiply – \\boxed{18}")
    return drawn(Evaluator(model, modes=MODES, samples=2, temperature=0.5))


def write(path: Path, samples: list[Sample], settings: Any = SETTINGS) -> None:
    with SampleFile(path, settings) as file:
        file.write(samples)


def test_what_was_written_is_read_again(path: Path):
    samples = some()
    write(path, samples[:5])
    write(path, samples[5:])
    with SampleFile(path, SETTINGS) as file:
        assert file.finished == {sample.key for sample in samples}
        assert list(file.samples()) == samples


def test_a_refusal_is_kept_and_not_asked_again(path: Path):
    refusal = Failure(reason="the model refused to answer", answered=True)
    samples = drawn(Evaluator(ScriptedChatModel(lambda _: refusal)))
    write(path, samples)
    with SampleFile(path, SETTINGS) as file:
        assert list(file.samples()) == samples
        assert not any(sample.failed for sample in file.samples())
        assert drawn(Evaluator(ScriptedChatModel([])), finished=file.finished) == []


def test_a_file_from_before_refusals_were_marked_is_read(path: Path):
    samples = some()
    write(path, samples)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        del row["unusable"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with SampleFile(path, SETTINGS) as file:
        assert list(file.samples()) == samples


def test_half_a_line_left_by_a_kill_is_taken_off(path: Path):
    samples = some()
    write(path, samples)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    last = len(lines[-1])
    for left in (1, 10, 30, last // 2, last - 2):
        path.write_bytes(whole[: len(whole) - last + left])
        with SampleFile(path, SETTINGS) as file:
            assert file.finished == {sample.key for sample in samples[:-1]}
            file.write(samples[-1:])
        assert path.read_bytes() == whole


def test_a_last_line_that_lacks_only_its_end_counts(path: Path):
    samples = some()
    write(path, samples)
    path.write_bytes(path.read_bytes()[:-1])
    write(path, samples[:0])
    with SampleFile(path, SETTINGS) as file:
        assert list(file.samples()) == samples


@pytest.mark.parametrize("content", ["a diary\n", '{"format": "lanpo-solution"}\n', "[]\n", '{"a'])
def test_another_file_is_refused_and_left_alone(path: Path, content: str):
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"line 1: .*not touched"):
        SampleFile(path, SETTINGS)
    assert path.read_text(encoding="utf-8") == content


def test_a_folder_in_its_place_is_refused(path: Path):
    path.mkdir()
    with pytest.raises(InvalidInputError, match="no plain file"):
        SampleFile(path, SETTINGS)


def test_two_commands_do_not_write_to_one_file(path: Path):
    with (
        SampleFile(path, SETTINGS),
        pytest.raises(InvalidInputError, match="another command is writing"),
    ):
        SampleFile(path, SETTINGS)
    SampleFile(path, SETTINGS).__exit__()


def test_samples_of_other_settings_are_refused_and_named(path: Path):
    write(path, some())
    other = {**SETTINGS, "self_correct": {"temperature": 1.0}}
    said = r"mode self_correct made with other settings: temperature was 0\.5 and is 1\.0"
    with pytest.raises(ConfigError, match=said):
        SampleFile(path, other)
    # A mode that is not asked for does no harm.
    with SampleFile(path, {"zero_shot": SETTINGS["zero_shot"]}) as file:
        assert len(file.finished) == 12


def test_another_text_under_the_same_id_is_another_problem(path: Path):
    write(path, drawn(Evaluator(ScriptedChatModel("x")), [Problem(id="1", text="2 + 3?")]))
    model = ScriptedChatModel("y")
    with SampleFile(path, SETTINGS) as file:
        asked = drawn(Evaluator(model), [Problem(id="1", text="2 + 4?")], finished=file.finished)
    assert len(asked) == 1


def test_a_full_disk_is_said_and_what_was_written_stays(path: Path, monkeypatch: Any):
    samples = some()
    file = SampleFile(path, SETTINGS)
    file.write(samples[:3])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("lanpo_memory.appending.os.fsync", full)
        with pytest.raises(InvalidInputError, match="No space left"):
            file.write(samples[3:])
    file.__exit__()
    with SampleFile(path, SETTINGS) as again:
        assert {sample.key for sample in samples[:3]} <= again.finished


def test_each_line_says_what_it_was_made_with(path: Path):
    write(path, some()[:1])
    row = json.loads(path.read_text(encoding="utf-8"))
    assert (row["format"], row["settings"]) == ("lanpo-sample", {"temperature": 0.5})
