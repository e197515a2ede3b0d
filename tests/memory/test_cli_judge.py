"""`lanpo pool judge`: what it asks is what a run would ask, once, and within a budget."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lanpo_memory import Experience, Guide, Problem, open_pool
from lanpo_memory.calibration import calibrate_gamma
from lanpo_memory.cli import judging
from lanpo_memory.errors import ConfigError
from lanpo_memory.relevance import JudgeRelevance
from lanpo_memory.testing import HashingEmbedder, ScriptedChoiceScorer

_THINGS = ["apples", "pears", "figs", "plums", "grapes", "melons"]


@pytest.fixture
def model(monkeypatch):
    """Let the next runs use a scripted scorer; return those that were loaded."""
    loaded = []

    def use(probability=0.8, *, name="judge-model", scorer=ScriptedChoiceScorer):
        def load(named, ledger, *, api_base=None):
            made = scorer(probability, name=name, ledger=ledger)
            made.named, made.api_base = named, api_base
            loaded.append(made)
            return made

        monkeypatch.setattr(judging, "load_model", load)
        return loaded

    return use


def texts(n=48):
    return [f"{i} {_THINGS[i % 6]} and {_THINGS[(i + 1) % 6]} in {i + 2} baskets" for i in range(n)]


@pytest.fixture
def pool(tmp_path):
    path = tmp_path / "pool.db"
    with open_pool(path) as opened:
        opened.add(
            [
                Experience(problem=Problem(text=text), principles=(f"lesson {j} of {i}",))
                for i, text in enumerate(texts())
                for j in range(6)
            ]
        )
    return path


@pytest.fixture
def problems(tmp_path):
    path = tmp_path / "problems.jsonl"
    # the first two are in the pool, the second of them reworded
    rows = [texts()[0], "In 3 baskets: 1 pears and figs", "97 figs and plums in 98 baskets"]
    rows += [f"9{i} apples and grapes in {i} sacks" for i in range(3)]
    path.write_text("".join(json.dumps({"problem": row}) + "\n" for row in rows))
    return path


def queries(problems):
    return [Problem(text=json.loads(line)["problem"]) for line in problems.read_text().splitlines()]


def judge_command(pool, problems, *more):
    return ("pool", "judge", "--pool", pool, "--problems", problems, "--model", "m", *more)


@pytest.mark.parametrize("k", [None, 5])
def test_after_it_a_guide_with_this_judge_asks_nothing(lanpo, model, pool, problems, k):
    loaded = model()
    ran = lanpo(*judge_command(pool, problems, *([] if k is None else ["--k", k])))
    assert ran.code == 0, ran.err
    asked = {json.dumps(messages) for messages in loaded[0].asked}
    assert len(asked) == len(loaded[0].asked)
    with open_pool(pool) as opened:
        fresh = ScriptedChoiceScorer(0.8, name="judge-model")
        guide = Guide(
            opened, relevance=JudgeRelevance(fresh, store=opened.store), width=k or 32, gamma=0.5
        )
        found = guide.inter(queries(problems), seeds=["s"] * 6)
        assert all(inter.guidance for inter in found)
        assert fresh.asked == []
        # and without the scores it asks exactly that
        guide = Guide(opened, relevance=JudgeRelevance(fresh), width=k or 32)
        guide.inter(queries(problems))
        assert {json.dumps(messages) for messages in fresh.asked} == asked


def test_with_an_embedder_the_candidates_are_those_of_a_run_with_it(
    lanpo, model, pool, problems, monkeypatch
):
    def embedder(name, *, bf16=False):
        return HashingEmbedder(dim=int(name))

    monkeypatch.setattr("lanpo_memory.cli.embedding.SentenceTransformerEmbedder", embedder)
    loaded = model()
    ran = lanpo(*judge_command(pool, problems, "--embedder", 64, "--k", 5))
    assert ran.code == 0, ran.err
    with open_pool(pool, embedder=HashingEmbedder(dim=64)) as opened:
        fresh = ScriptedChoiceScorer(0.8, name="judge-model")
        Guide(opened, relevance=JudgeRelevance(fresh), width=5).inter(queries(problems))
    assert {json.dumps(messages) for messages in fresh.asked} == {
        json.dumps(messages) for messages in loaded[0].asked
    }


def test_a_problem_is_never_judged_against_itself(lanpo, model, pool, problems):
    loaded = model()
    lanpo(*judge_command(pool, problems))
    asked = [messages[-1]["content"] for messages in loaded[0].asked]
    for query, number in ((texts()[0], 0), ("In 3 baskets", 1)):
        about = [content.splitlines() for content in asked if query in content]
        assert about
        own = {f"- lesson {j} of {number}" for j in range(6)}
        assert not any(own & {*lines} for lines in about)


def test_a_second_run_asks_nothing_and_says_the_same(lanpo, model, pool, problems):
    loaded = model(lambda m: 0.95 if "lesson 2" in m[-1]["content"] else 0.1)
    first, second = (lanpo(*judge_command(pool, problems)) for _ in range(2))
    n = len(loaded[0].asked)
    assert first.said["pairs"].startswith(f"{n} of 6 problems")
    assert (first.said["asked"], first.said["cache"], first.said["failed"]) == (str(n), "0", "0")
    assert loaded[1].asked == []
    assert (second.said["asked"], second.said["cache"], second.said["failed"]) == ("0", str(n), "0")
    for label in ("pairs", "relevant", "hit"):
        assert first.said[label] == second.said[label]
    assert f"judge       {n} calls" in first.out
    assert "calls" not in second.out


def test_the_summary_counts_what_gamma_lets_through(lanpo, model, pool, problems):
    loaded = model(lambda m: 0.91 if "97 figs" in m[-1]["content"] else 0.89)
    ran = lanpo(*judge_command(pool, problems))
    asked = [messages[-1]["content"] for messages in loaded[0].asked]
    share = sum("97 figs" in content for content in asked) / len(asked)
    assert ran.said["relevant"] == f"{share:.1%} of the pairs have P(yes) >= 0.9 (gamma)"
    assert ran.said["hit"] == f"rate    {1 / 6:.3f} of the problems find such a lesson"


def test_without_a_file_the_pools_own_problems_are_judged_each_without_itself(lanpo, model, pool):
    loaded = model()
    ran = lanpo("pool", "judge", "--pool", pool, "-m", "m", "--k", 3)
    assert ran.code == 0
    assert " of 48 problems" in ran.said["pairs"]
    with open_pool(pool) as opened:
        fresh = ScriptedChoiceScorer(0.8, name="judge-model")
        judge = JudgeRelevance(fresh, store=opened.store)
        Guide(opened, relevance=judge, width=3).inter(opened.store.read("problem"))
        assert fresh.asked == []
    assert loaded[0].named == "m"


def test_a_run_that_was_killed_goes_on_where_it_was(lanpo, model, pool, problems):
    class Killed(ScriptedChoiceScorer):
        calls = 0

        def choice_logprobs(self, conversations, choices, *, role="judge"):
            Killed.calls += 1
            if Killed.calls == 3:
                raise KeyboardInterrupt
            return super().choice_logprobs(conversations, choices, role=role)

    loaded = model(scorer=Killed)
    ran = lanpo(*judge_command(pool, problems))
    assert ran.code == 130
    assert "stopped: 80 of " in ran.err
    assert "the same command goes on" in ran.err
    assert len(loaded[0].asked) == 80
    ran = lanpo(*judge_command(pool, problems))
    assert ran.code == 0
    assert ran.said["cache"] == "80"
    assert not {str(m) for m in loaded[0].asked} & {str(m) for m in loaded[1].asked}
    total = len(loaded[0].asked) + len(loaded[1].asked)
    assert ran.said["pairs"].startswith(f"{total} of")
    assert lanpo(*judge_command(pool, problems)).said["asked"] == "0"


def test_a_budget_stops_it_and_what_was_judged_stays(lanpo, model, pool, problems):
    loaded = model()
    ran = lanpo(*judge_command(pool, problems, "--max-calls", 100))
    assert ran.code == 2
    assert ran.err.startswith("error: 100 of ")
    assert "were judged now, and stay so; 0 seen so far were before" in ran.err
    assert "max_calls=100" in ran.err
    assert "judge       100 calls" in ran.out
    ran = lanpo(*judge_command(pool, problems))
    assert ran.code == 0
    assert ran.said["cache"] == "100"
    assert len(loaded[0].asked) == 100


def test_every_budget_reaches_the_ledger(lanpo, model, pool, problems):
    loaded = model()
    options = ("--max-tokens", 0, "--max-cost", 1.5, "--max-calls", 7, "--api-base", "http://h/v1")
    assert lanpo(*judge_command(pool, problems, *options)).code == 2
    assert loaded[0].ledger.limits == {"max_calls": 7, "max_tokens": 0, "max_cost": 1.5}
    assert loaded[0].api_base == "http://h/v1"
    assert loaded[0].asked == []


def test_calls_that_fail_are_counted_not_kept_and_asked_again(lanpo, model, pool, problems):
    loaded = model(lambda m: None if "97 figs" in m[-1]["content"] else 0.95)
    ran = lanpo(*judge_command(pool, problems))
    failed = sum("97 figs" in m[-1]["content"] for m in loaded[0].asked)
    assert ran.code == 1
    assert ran.said["failed"].startswith(f"{failed}: no answer")
    assert f"({failed} failed)" in ran.out
    assert "Warning" not in ran.err
    model(0.95)
    ran = lanpo(*judge_command(pool, problems))
    assert (ran.code, ran.said["asked"]) == (0, str(failed))


def test_a_judge_that_answers_nothing_is_not_asked_for_ever(lanpo, model, pool, problems):
    loaded = model(lambda m: None)
    ran = lanpo(*judge_command(pool, problems))
    assert ran.code == 2
    assert len(loaded[0].asked) == 16
    assert "the model answered none of 16 calls" in ran.err
    assert ran.err.rstrip().endswith("scripted to fail")
    assert "no answer, 16 x: scripted to fail" in ran.out


def test_a_model_without_log_probabilities_is_named(lanpo, model, pool, problems):
    class Dumb(ScriptedChoiceScorer):
        def choice_logprobs(self, conversations, choices, *, role="judge"):
            raise ConfigError("openai/dumb does not tell log-probabilities; use another judge")

    model(scorer=Dumb)
    ran = lanpo(*judge_command(pool, problems))
    assert ran.code == 2
    assert ran.err.startswith("error: openai/dumb does not tell log-probabilities")


def test_lines_it_cannot_read_are_named_and_the_others_count(lanpo, model, pool, tmp_path):
    model()
    file = tmp_path / "p.jsonl"
    file.write_text('"97 figs and plums in 98 baskets"\n' + "{\n" * 25)
    ran = lanpo(*judge_command(pool, file))
    assert ran.code == 1
    assert ran.out.count("not read:") == 20
    assert "... and 5 more\n" in ran.out
    assert ran.said["pairs"].endswith("of 1 problem and a lesson that search proposes")


def test_strangers_to_the_pool_need_no_judge(lanpo, model, pool, tmp_path):
    loaded = model()
    file = tmp_path / "p.jsonl"
    file.write_text('"zebra"\n"quagga"\n')
    ran = lanpo(*judge_command(pool, file))
    assert ran.code == 0
    assert "nothing to judge: 2 problems" in ran.out
    assert loaded[0].asked == []


def test_gamma_is_the_calibrated_one_where_there_is_one(lanpo, model, pool, problems):
    model(lambda m: np.clip(len(m[-1]["content"]) % 50 / 50, 0.1, 0.9))
    lanpo(*judge_command(pool, problems))
    with open_pool(pool) as opened:
        judge = JudgeRelevance(ScriptedChoiceScorer(0.8, name="judge-model"), store=opened.store)
        gamma = calibrate_gamma(Guide(opened, relevance=judge), queries(problems)).gamma
    assert f">= {gamma:g} (gamma)" in lanpo(*judge_command(pool, problems)).out


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"--pool": "nowhere.db"}, "nowhere.db"),
        ({"--problems": "nowhere.jsonl"}, "cannot read nowhere.jsonl"),
        ({"--namespace": "other"}, "other"),
        ({"--k": 0}, "greater than or equal to 1"),
        ({"--max-calls": -1}, "greater than or equal to 0"),
        ({"--model": None}, "Missing option"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_said_and_asks_nothing(lanpo, model, pool, problems, change, fault):
    loaded = model()
    given = {"--pool": pool, "--problems": problems, "--model": "m", **change}
    arguments = [part for pair in given.items() if pair[1] is not None for part in pair]
    ran = lanpo("pool", "judge", *arguments)
    assert ran.code == 2
    assert fault in " ".join(ran.err.split())
    assert not any(scorer.asked for scorer in loaded)


def test_an_empty_pool_cannot_be_judged(lanpo, model, problems, tmp_path):
    model()
    open_pool(tmp_path / "empty.db").close()
    ran = lanpo(*judge_command(tmp_path / "empty.db", problems))
    assert ran.code == 2
    assert "holds no experiences" in ran.err
