from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanpo_memory import (
    Attempt,
    Completion,
    EnglishPrompts,
    Experience,
    ExperiencePool,
    Failure,
    Guide,
    PoolAdapter,
    Problem,
    Rollout,
    admit_correct,
)
from lanpo_memory.errors import ConfigError, HitRateWarning, InvalidInputError, PoolFormatError
from lanpo_memory.schedules import linear
from lanpo_memory.summarizers import ExtractiveSummarizer, LLMSummarizer
from lanpo_memory.testing import ScriptedChatModel

GOOD = '### Experience\n{"flow_of_thought": "1. count", "principles": ["count on"], "pitfalls": []}'


def problem(i: int) -> Problem:
    return Problem(text=f"red apples in a box {i}")


def filled(n: int = 6) -> ExperiencePool:
    pool = ExperiencePool()
    pool.add([Experience(problem=problem(i), principles=(f"lesson {i}",)) for i in range(n)])
    return pool


def adapter(pool: ExperiencePool, **options: object) -> PoolAdapter:
    return PoolAdapter(pool, guide=Guide(pool, gamma=0.0), **options)


def group(i: int, rewards: list[float], **options: object) -> list[Rollout]:
    return [
        Rollout(
            problem=problem(i),
            completion=f"try {k}",
            reward=r,
            group=f"g{i}",
            **options,
        )
        for k, r in enumerate(rewards)
    ]


class TestPrepare:
    def test_one_guidance_each_in_order(self):
        memory = adapter(filled(), feedback_ratio=1.0)
        asked = [problem(3), Problem(text="zzz"), problem(4)]
        kinds = [g.kind for g in memory.prepare(asked, step=1)]
        assert kinds == ["inter", "none", "inter"]
        assert memory.prepare([], step=1) == []

    def test_guidance_never_comes_from_the_same_problem(self):
        pool = filled(20)
        memory = adapter(pool, feedback_ratio=1.0)
        for step in range(10):
            for asked, g in zip(
                [problem(i) for i in range(20)],
                memory.prepare([problem(i) for i in range(20)], step=step),
                strict=True,
            ):
                sources = [e.problem.id for e in pool.get(g.experience_ids) if e is not None]
                assert sources
                assert asked.id not in sources

    def test_the_coin_realises_the_ratio_and_repeats(self):
        memory, again = (adapter(filled(), feedback_ratio=0.75, seed=3) for _ in range(2))
        asked = [problem(i) for i in range(100, 500)]
        guided = [bool(g) for g in memory.prepare(asked, step=5)]
        assert sum(guided) / 400 == pytest.approx(0.75, abs=0.07)
        assert guided == [bool(g) for g in again.prepare(asked, step=5)]
        assert guided != [bool(g) for g in again.prepare(asked, step=6)]

    def test_ranks_that_ask_in_another_order_get_the_same(self):
        memory = adapter(filled(), feedback_ratio=0.5, seed=1)
        asked = [problem(i) for i in range(100, 140)]
        forward = memory.prepare(asked, step=2)
        assert memory.prepare(asked[::-1], step=2) == forward[::-1]

    def test_a_schedule_follows_the_step(self):
        memory = adapter(filled(), feedback_ratio=linear(1.0, 0.0, steps=10))
        asked = [problem(i) for i in range(100, 150)]
        assert all(memory.prepare(asked, step=0))
        assert not any(memory.prepare(asked, step=10))

    def test_wanted_overrides_the_coin(self):
        memory = adapter(filled(), feedback_ratio=0.0)
        asked = [problem(90), problem(91), problem(92)]
        got = memory.prepare(asked, step=0, wanted=[True, None, False])
        assert [bool(g) for g in got] == [True, False, False]
        with pytest.raises(InvalidInputError, match="wanted"):
            memory.prepare(asked, step=0, wanted=[True])

    def test_a_problem_that_stands_twice_may_get_different_guidance(self):
        memory = adapter(filled(30), feedback_ratio=1.0)
        seen = {
            g.experience_ids
            for step in range(10)
            for g in memory.prepare([problem(50)] * 4, step=step)
        }
        assert len(seen) > 1

    def test_a_cold_pool_gives_nothing_and_the_figures_say_so(self):
        memory = adapter(ExperiencePool(), feedback_ratio=1.0)
        assert not any(memory.prepare([problem(1), problem(2)], step=0))
        figures = memory.ingest([], [], step=0).retrieval
        assert (figures.items, figures.wanted, figures.hits, figures.guided) == (2, 2, 0, 0)

    def test_mode_none_never_guides(self):
        assert not any(
            adapter(filled(), mode="none", feedback_ratio=1.0).prepare([problem(9)], step=0)
        )


class TestIntra:
    def test_an_earlier_attempt_comes_back_as_guidance(self):
        memory = adapter(ExperiencePool(), mode="intra", feedback_ratio=1.0)
        assert not memory.prepare([problem(1)], step=0)[0]
        memory.observe(group(1, [0.0, 1.0, 0.0]), step=0)
        found = memory.prepare([problem(1)], step=1)[0]
        assert found.kind == "intra"
        assert found.attempt is not None
        assert found.attempt.text in found.text
        assert not memory.prepare([problem(2)], step=1)[0], "only the problem's own attempts"

    def test_one_attempt_a_group_blind_to_reward_among_scratch_rollouts(self):
        memory = adapter(ExperiencePool(), mode="intra", feedback_ratio=1.0)
        chosen = set()
        for rewards in ([0.0, 1.0, 0.5, 0.0], [1.0, 0.0, 0.0, 1.0], [0.0] * 4):
            one = adapter(ExperiencePool(), mode="intra")
            one.observe(group(1, rewards), step=0)
            attempts = one.pool.attempts(problem(1))
            assert len(attempts) == 1
            chosen.add(attempts[0].text)
        assert len(chosen) == 1, "the choice depends on the rewards"
        guidance = memory.guide.intra([Attempt(problem=problem(1), text="t")])[0]
        guided = group(1, [1.0, 1.0], guidance=guidance)
        scratch = [r.model_copy(update={"completion": "scratch"}) for r in group(1, [0.0])]
        memory.observe([*guided, *scratch], step=0)
        assert [a.text for a in memory.pool.attempts(problem(1))] == ["scratch"]

    def test_a_fresh_attempt_is_used_as_it_is(self):
        memory = adapter(ExperiencePool(), mode="intra", feedback_ratio=1.0)
        fresh = Attempt(problem=problem(1), text="fresh")
        assert memory.prepare([problem(1)], step=0, attempts=[fresh])[0].attempt == fresh

    def test_both_splits_and_stands_in(self):
        pool = filled(40)
        memory = adapter(pool, mode="both", feedback_ratio=1.0, intra_share=0.5)
        asked = [problem(i) for i in range(100, 300)]
        assert {g.kind for g in memory.prepare(asked, step=0)} == {"inter"}, "no attempts yet"
        memory.observe([Rollout(problem=p, completion="t", reward=0.0) for p in asked], step=0)
        kinds = [g.kind for g in memory.prepare(asked, step=1)]
        assert kinds.count("intra") / 200 == pytest.approx(0.5, abs=0.12)
        assert "none" not in kinds

    @settings(max_examples=30, deadline=None)
    @given(
        rewards=st.lists(st.floats(0, 1), min_size=3, max_size=3),
        verdicts=st.lists(st.booleans() | st.none(), min_size=3, max_size=3),
    )
    def test_rewards_and_verdicts_never_change_a_reflection(
        self, rewards: list[float], verdicts: list[bool | None]
    ):
        """Non-interference, end to end: what is shown depends on the texts alone."""

        def shown(rewards: list[float], verdicts: list[bool | None]) -> str:
            memory = adapter(ExperiencePool(), mode="intra", feedback_ratio=1.0)
            rollouts = [
                r.model_copy(update={"reward": w, "correct": v})
                for r, w, v in zip(group(1, [0.0] * 3), rewards, verdicts, strict=True)
            ]
            memory.observe(rollouts, step=0)
            prompt = EnglishPrompts().solve(problem(1))
            return str(memory.prepare([problem(1)], step=1)[0].apply(prompt))

        assert shown(rewards, verdicts) == shown([0.0] * 3, [None] * 3)


class TestObserve:
    def memory(self, *answers: str | Failure, **options: object) -> PoolAdapter:
        return adapter(
            ExperiencePool(),
            summarizer=LLMSummarizer(prompts=EnglishPrompts()),
            model=ScriptedChatModel(list(answers)),
            **options,
        )

    def test_correct_rollouts_become_experiences(self):
        memory = self.memory(GOOD)
        seen = memory.observe(group(1, [0.0, 1.0, 1.0]), step=4)
        assert [r.status for r in seen.receipts] == ["added"]
        assert seen.pool_size == 1
        kept = memory.pool.store.read("experience")[0]
        assert kept.principles == ("count on",)
        assert kept.metadata.reward == 1.0

    def test_a_malformed_answer_is_a_receipt_and_is_kept(self):
        memory = self.memory(GOOD, "no JSON here", Failure(reason="timed out"))
        rollouts = [*group(1, [1.0]), *group(2, [1.0]), *group(3, [1.0])]
        seen = memory.observe(rollouts, step=0)
        assert [r.status for r in seen.receipts] == ["added", "failed", "failed"]
        assert all(r.reason for r in seen.receipts[1:])
        assert dict(seen.counts) == {"added": 1, "failed": 2}
        texts = {f.text for f in memory.pool.store.read("failure")}
        assert "no JSON here" in texts

    def test_an_engine_may_answer_in_between(self):
        memory = adapter(ExperiencePool(), summarizer=LLMSummarizer(prompts=EnglishPrompts()))
        rollouts = [*group(1, [0.0, 1.0]), *group(2, [0.0]), *group(3, [1.0, 1.0])]
        requests = memory.ask(rollouts, step=0)
        assert [r.rollouts for r in requests] == [(1,), (3,)]
        seen = memory.ingest(rollouts, [Completion(text=GOOD)] * 2, step=0)
        assert [r.status for r in seen.receipts] == ["added", "added"]

    def test_a_missing_model_is_named(self):
        memory = adapter(ExperiencePool(), summarizer=LLMSummarizer(prompts=EnglishPrompts()))
        with pytest.raises(ConfigError, match="needs a model"):
            memory.observe(group(1, [1.0]), step=0)

    def test_no_model_is_called_that_was_not_passed_in(self):
        memory = adapter(ExperiencePool(), summarizer=ExtractiveSummarizer())
        long = [
            r.model_copy(update={"completion": "First add the two numbers up."})
            for r in group(1, [1.0])
        ]
        assert [r.status for r in memory.observe(long, step=0).receipts] == ["added"]

    def test_without_a_summarizer_the_pool_is_only_read(self):
        memory = adapter(filled())
        before = memory.pool.digest()
        assert memory.observe(group(1, [1.0]), step=0).receipts == ()
        assert memory.pool.digest() == before

    def test_exposures_hold_guided_and_scratch_rewards_of_the_group(self):
        memory = adapter(filled(), feedback_ratio=1.0, randomised=True)
        guidance = memory.prepare([problem(9)], step=2)[0]
        scratch = group(9, [0.0, 1.0])
        guided = group(9, [1.0, 0.5], guidance=guidance)
        memory.observe([*scratch, *guided], step=2)
        exposure = memory.pool.store.read("exposure")[0]
        assert exposure.guided == (1.0, 0.5)
        assert exposure.scratch == (0.0, 1.0)
        assert exposure.group_size == 4
        assert exposure.lesson_ids == guidance.lesson_ids
        assert exposure.randomised
        assert memory.pool.utility()[guidance.lesson_ids[0]].exposures == 1

    def test_unscored_rollouts_are_no_evidence(self):
        memory = adapter(filled(), feedback_ratio=1.0)
        guidance = memory.prepare([problem(9)], step=0)[0]
        rollouts = [
            r.model_copy(update={"reward": None}) for r in group(9, [0.0] * 2, guidance=guidance)
        ]
        memory.observe(rollouts, step=0)
        assert memory.pool.store.read("exposure") == []


def test_admission_takes_the_first_correct_ones():
    rollouts = group(1, [0.0, 1.0, 1.0])
    assert admit_correct(1)(rollouts) == [1]
    assert admit_correct(2)(rollouts) == [1, 2]
    judged = [
        r.model_copy(update={"correct": c})
        for r, c in zip(rollouts, (True, False, None), strict=True)
    ]
    assert admit_correct(5)(judged) == [0, 2]


@pytest.mark.parametrize(
    "options",
    [{"mode": "extra"}, {"feedback_ratio": 1.5}, {"feedback_ratio": -0.1}, {"intra_share": 2.0}],
)
def test_settings_out_of_range_are_refused(options: dict[str, object]):
    with pytest.raises(ConfigError):
        PoolAdapter(ExperiencePool(), **options)


def test_save_and_load_go_back(tmp_path: Path):
    memory = adapter(filled(), seed=1)
    memory.save(tmp_path / "m")
    before = memory.pool.digest()
    memory.pool.add([Experience(problem=problem(77), thoughts="later")])
    memory.load(tmp_path / "m")
    assert memory.pool.digest() == before
    with pytest.raises(ConfigError, match="seed"):
        adapter(filled(), seed=2).load(tmp_path / "m")
    with pytest.raises(PoolFormatError):
        memory.load(tmp_path / "nowhere")


class TestHitRate:
    """The realised hit rate is always in the figures; a warning comes at either end, once."""

    @staticmethod
    def asked(n: int, start: int = 100) -> list[Problem]:
        return [problem(i) for i in range(start, start + n)]

    def test_a_gamma_that_keeps_nothing_out_is_said_once(self):
        memory = PoolAdapter(filled(), guide=Guide(filled(), gamma=0.01), feedback_ratio=1.0)
        memory.prepare(self.asked(199), step=0)
        with pytest.warns(HitRateWarning, match=r"100\.0% of the last 200 .* keeps nothing out"):
            memory.prepare(self.asked(1), step=1)
        memory.prepare(self.asked(400), step=2)  # warnings are errors here: a second one would fail

    def test_a_gamma_that_nothing_reaches_is_said_and_names_the_remedy(self):
        memory = PoolAdapter(filled(), guide=Guide(filled(), gamma=1.0), feedback_ratio=1.0)
        strangers = [Problem(text=f"apples {i} of another kind") for i in range(200)]
        with pytest.warns(HitRateWarning, match=r"0\.0% .* hardly ever used.*calibrate"):
            memory.prepare(strangers, step=0)

    def test_no_warning_for_an_empty_pool_or_a_gamma_of_zero_or_a_rate_between(self):
        empty = ExperiencePool()
        PoolAdapter(empty, guide=Guide(empty, gamma=0.9), feedback_ratio=1.0).prepare(
            self.asked(300), step=0
        )
        adapter(filled(), feedback_ratio=1.0).prepare(self.asked(300), step=0)
        half = [p for pair in zip(self.asked(100), _strangers(100), strict=True) for p in pair]
        memory = PoolAdapter(filled(), guide=Guide(filled(), gamma=0.01), feedback_ratio=1.0)
        memory.prepare(half, step=0)
        figures = memory.ingest([], [], step=0).retrieval
        assert (figures.searched, figures.hits) == (200, 100)

    def test_guidance_from_the_same_template_is_counted_and_left_out_on_wish(self):
        pool = ExperiencePool()
        seen = Problem(text="Ann has 3 red apples and buys 4 more. How many has she?")
        asked = Problem(text="Ann has 5 red apples and buys 9 more. How many has she?")
        pool.add([Experience(problem=seen, principles=("Add.",))])
        memory = PoolAdapter(pool, guide=Guide(pool, gamma=0.1), feedback_ratio=1.0)
        assert memory.prepare([asked], step=0)[0]
        assert memory.ingest([], [], step=0).retrieval.templates == 1
        strict = Guide(pool, gamma=0.1, drop_templates=True)
        memory = PoolAdapter(pool, guide=strict, feedback_ratio=1.0)
        assert not memory.prepare([asked], step=0)[0]
        assert memory.ingest([], [], step=0).retrieval.templates == 0
        assert "same template" in str(strict.explain(asked).candidates[0].dropped)


def _strangers(n: int) -> list[Problem]:
    return [Problem(text=f"zzz{i}") for i in range(n)]
