from __future__ import annotations

import asyncio
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from lanpo_memory import Experience, Guide, PoolAdapter, Problem, Rollout, open_pool
from lanpo_memory.errors import ConfigError, InvalidInputError, MissingExtraError
from lanpo_memory.summarizers import ExtractiveSummarizer
from lanpo_rl.verl import (
    check_interface,
    interface,
    lanpo_agent_loop,
    report,
    rollouts_of,
    stamped,
    uneven_groups,
)
from lanpo_rl.verl.loop import Note
from tests.rl import fake_verl
from tests.rl.fake_verl import Server, SingleTurnAgentLoop, ToolAgentLoop, Worker

ROOT = Path(__file__).parents[2]
APPLES = "A box holds 8 red apples. How many red apples are in 9 boxes?"
PEARS = "A tree bears 30 pears. Half of them fall. How many pears hang?"
LESSONS = [
    (f"A box holds {n} red apples. How many red apples are in {n + 1} boxes?", f"Rule {n} is it.")
    for n in range(3, 7)
]


@pytest.fixture
def file(tmp_path):
    """A pool on disk with four lessons that fit: which is drawn depends on the seed alone."""
    path = tmp_path / "pool.db"
    with open_pool(path) as pool:
        pool.add(
            [Experience(problem=Problem(text=text), principles=(rule,)) for text, rule in LESSONS]
        )
    return path


def opened(path, **options):
    pool = open_pool(path)
    options = {"summarizer": ExtractiveSummarizer(), "feedback_ratio": 1.0} | options
    return PoolAdapter(pool, guide=Guide(pool, gamma=0.05), **options)


def row(text=APPLES, *, step=1, uid="u", **more):
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
    fields = {"reward_model": {"ground_truth": "72"}, "index": 0, "priority": 3}
    return {"raw_prompt": prompt, "uid": uid, "global_steps": step, **fields, **more}


def worker(path, *, base=SingleTurnAgentLoop, server=None, prompt_length=4_000, **options):
    loop = lanpo_agent_loop(base, memory=lambda: opened(path, **options))
    return Worker(loop, server or Server(), prompt_length=prompt_length)


def note_of(output):
    return Note.model_validate_json(output.extra_fields["lanpo"])


# ------------------------------------------------------------------ the loop


def test_the_server_gets_the_guided_prompt_and_the_output_holds_exactly_that(file):
    here = worker(file)
    given = row()
    output = here.run([given])[0]
    note = note_of(output)
    guided = note.guidance.apply(given["raw_prompt"])
    assert "Rule" in guided[1]["content"]
    assert guided[1]["content"].endswith(APPLES)
    expected = here.tokenizer.apply_chat_template(guided, add_generation_prompt=True)
    assert output.prompt_ids == expected
    assert here.server.calls == [("r", expected, {"temperature": 1.0})]
    assert output.response_mask == [1] * len(here.server.says)
    assert here.tokenizer.decode(output.response_ids) == here.server.says
    assert given["raw_prompt"][1]["content"] == APPLES, "the bare prompt stays as it was"


def test_what_the_loop_of_verl_gets_and_returns_besides_is_its_own_business(file):
    here = worker(file)
    output = here.run([row(tools_kwargs={"a": 1})])[0]
    seen = here.loops[0].row
    assert {"uid", "reward_model", "index", "global_steps", "tools_kwargs"} <= seen.keys()
    assert output.extra_fields["turn_scores"] == []
    assert (output.num_turns, output.reward_score) == (2, None)
    assert output.response_logprobs == [-0.5] * len(output.response_ids)


def test_of_a_loop_with_tools_only_what_the_model_wrote_is_trained_on(file):
    here = worker(file, base=ToolAgentLoop)
    output = here.run([row()])[0]
    said, tool = len(here.server.says), len(fake_verl.TOOL_SAID)
    assert output.response_mask == [1] * said + [0] * tool + [1] * said
    assert [call[1][: len(output.prompt_ids)] for call in here.server.calls] == [
        output.prompt_ids
    ] * 2


def test_without_guidance_it_is_the_loop_of_verl(file):
    bare = Worker(SingleTurnAgentLoop, Server()).run([row()])[0]
    output = worker(file, feedback_ratio=0.0).run([row()])[0]
    note = Note.model_validate_json(output.extra_fields.pop("lanpo"))
    assert output == bare
    assert not note.guidance


def test_a_note_survives_its_way_to_the_trainer(file):
    output = worker(file, mode="intra").run([row(step=4)])[0]
    assert isinstance(output.extra_fields["lanpo"], str)
    note = note_of(output)
    assert (note.problem, note.step) == (Problem(text=APPLES), 4)
    assert "72" not in output.extra_fields["lanpo"], "the reference answer stays behind"


def test_the_last_of_several_outputs_carries_the_note(file):
    class Several(SingleTurnAgentLoop):
        async def run(self, sampling_params, **kwargs):
            first = await super().run(sampling_params, **kwargs)
            return [first, await super().run(sampling_params, **kwargs)]

    outputs = worker(file, base=Several).run([row()])[0]
    assert ["lanpo" in output.extra_fields for output in outputs] == [False, True]


def test_what_a_row_asks_can_be_read_elsewhere(file):
    loop = lanpo_agent_loop(
        SingleTurnAgentLoop,
        memory=lambda: opened(file),
        problem=lambda row: Problem(text=row["extra_info"]["question"]),
    )
    given = row(f"{APPLES} Put it in a box.", extra_info={"question": APPLES, "answer": "72"})
    assert note_of(Worker(loop, Server()).run([given])[0]).problem == Problem(text=APPLES)


# ------------------------------------------------------------------ groups and workers


def test_a_worker_opens_one_memory_and_asks_once_for_a_group(file):
    opens, asked = [], []

    def memory():
        opens.append(1)
        adapter = opened(file)
        prepare = adapter.prepare

        def spy(problems, **options):
            asked.append((problems[0].text, options["step"]))
            return prepare(problems, **options)

        adapter.prepare = spy
        return adapter

    here = Worker(lanpo_agent_loop(SingleTurnAgentLoop, memory=memory), Server())
    assert opens == [], "not before a worker runs its first rollout"
    outputs = here.run([row()] * 4 + [row(PEARS)] * 4)
    here.run([row(step=2)])
    assert len(opens) == 1
    assert sorted(asked) == [(APPLES, 1), (APPLES, 2), (PEARS, 1)]
    assert len({note_of(output).guidance for output in outputs[:4]}) == 1


def test_two_workers_on_one_file_guide_a_group_alike(file):
    first, second = worker(file), worker(file)
    drawn = set()
    for step in range(12):
        one = first.run([row(step=step)] * 2)
        two = second.run([row(step=step)] * 2)
        guidance = {note_of(output).guidance for output in one + two}
        assert len(guidance) == 1
        drawn |= guidance
    assert len(drawn) > 1, "the lesson is drawn anew in each step"


def test_the_coin_falls_alike_for_two_workers(file):
    first, second = (worker(file, feedback_ratio=0.5) for _ in range(2))
    falls = [
        [bool(note_of(w.run([row(step=step)])[0]).guidance) for step in range(16)]
        for w in (first, second)
    ]
    assert falls[0] == falls[1]
    assert set(falls[0]) == {True, False}


ASK = """
import sys
from lanpo_memory import Guide, PoolAdapter, Problem, open_pool
pool = open_pool(sys.argv[1])
memory = PoolAdapter(pool, guide=Guide(pool, gamma=0.05), feedback_ratio=0.8)
for step in range(12):
    print(memory.prepare([Problem(text=sys.argv[2])], step=step)[0].model_dump_json())
"""


def test_processes_agree_whatever_their_hash_seed(file):
    said = [
        subprocess.run(
            [sys.executable, "-c", ASK, str(file), APPLES],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert said[0] == said[1]
    assert len(said[0].splitlines()) == 12


def test_a_group_in_one_worker_keeps_its_guidance_while_the_pool_grows(file):
    here, late = worker(file), worker(file)
    before = note_of(here.run([row()])[0]).guidance
    with open_pool(file) as pool:
        for n in range(40, 60):
            problem = Problem(text=APPLES.replace("8", str(n)).replace("9", str(n + 1)))
            pool.add([Experience(problem=problem, principles=(f"Later rule {n}.",))])
    assert note_of(here.run([row()])[0]).guidance == before
    outputs = [here.run([row()])[0], late.run([row()])[0]]
    rollouts = rollouts_of(
        fake_verl.merged(outputs, ["u", "u"], [1.0, 0.0]), tokenizer=here.tokenizer
    )
    assert uneven_groups(rollouts) == ["u"], "another worker asked later: that is found"


# ------------------------------------------------------------------ limits and failures


def test_guidance_that_verl_would_cut_is_left_out_whole(file):
    given = row()
    bare = fake_verl.Tokenizer().apply_chat_template(
        given["raw_prompt"], add_generation_prompt=True
    )
    here = worker(file, prompt_length=len(bare))
    outputs = here.run([given] * 2)
    for output in outputs:
        assert output.prompt_ids == bare
        note = note_of(output)
        assert (note.too_long, bool(note.guidance)) == (True, False)


def test_guidance_that_just_fits_stays(file):
    full = worker(file).run([row()])[0].prompt_ids
    assert worker(file, prompt_length=len(full)).run([row()])[0].prompt_ids == full
    assert worker(file, prompt_length=len(full) - 1).run([row()])[0].prompt_ids != full


def test_an_error_of_the_memory_travels_on_and_the_next_rollout_asks_again(file):
    adapter, fails = opened(file), [True]
    prepare = adapter.prepare

    def flaky(problems, **options):
        if fails.pop() if fails else False:
            raise OSError("disk")
        return prepare(problems, **options)

    adapter.prepare = flaky
    here = Worker(lanpo_agent_loop(SingleTurnAgentLoop, memory=lambda: adapter), Server())
    with pytest.raises(OSError, match="disk"):
        here.run([row()])
    assert note_of(here.run([row()])[0]).guidance


def test_a_rollout_that_is_cancelled_takes_no_other_with_it(file):
    async def race():
        here = worker(file)
        first = asyncio.ensure_future(here.one(row()))
        second = asyncio.ensure_future(here.one(row()))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert note_of(asyncio.run(race())).guidance


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"global_steps": None}, "does not say its step.*stamped"),
        ({"global_steps": "soon"}, "no number: 'soon'"),
        ({"raw_prompt": None}, "return_raw_chat"),
        ({"raw_prompt": [{"role": "system", "content": "Be brief."}]}, "no user message"),
    ],
)
def test_a_row_that_lacks_something_is_refused_with_the_remedy(file, change, complaint):
    here = worker(file)
    with pytest.raises((ConfigError, InvalidInputError), match=complaint):
        here.run([row() | change])
    assert here.server.calls == []


def test_a_memory_in_place_of_a_function_is_refused(file):
    with pytest.raises(ConfigError, match=r"give a function that opens one"):
        lanpo_agent_loop(SingleTurnAgentLoop, memory=opened(file))


# ------------------------------------------------------------------ rewards


@pytest.mark.parametrize("shape", [fake_verl.merged, fake_verl.queued])
def test_a_batch_with_rewards_becomes_rollouts(file, shape):
    here = worker(file)
    outputs = here.run([row(step=5), row(step=5), row(PEARS, step=5)])
    outputs[1].response_ids = outputs[1].response_ids[:11]
    outputs[1].response_mask = outputs[1].response_mask[:11]
    batch = shape(outputs, ["u", "u", "v"], [1.0, 0.0, 0.25])
    rollouts = rollouts_of(batch, tokenizer=here.tokenizer, policy="mine")
    assert [r.completion for r in rollouts] == [
        here.server.says,
        here.server.says[:11],
        here.server.says,
    ]
    assert [r.reward for r in rollouts] == [1.0, 0.0, 0.25]
    assert [r.correct for r in rollouts] == [True, False, False]
    assert [(r.group, r.step, r.policy) for r in rollouts] == [
        ("u", 5, "mine"),
        ("u", 5, "mine"),
        ("v", 5, "mine"),
    ]
    assert [r.guidance for r in rollouts] == [note_of(output).guidance for output in outputs]
    assert [r.problem.text for r in rollouts] == [APPLES, APPLES, PEARS]


@pytest.mark.parametrize("shape", [fake_verl.merged, fake_verl.queued])
def test_what_is_reported_guides_the_workers_in_the_next_step(file, shape):
    here, trainer = worker(file), opened(file)
    outputs = here.run([row(PEARS)] * 2)
    assert not any(note_of(output).guidance for output in outputs)
    seen = report(shape(outputs, ["u", "u"], [1.0, 0.0]), trainer, step=1, tokenizer=here.tokenizer)
    assert seen.counts == {"added": 1}
    again = PEARS.replace("30", "60")
    assert "I multiply the groups" in note_of(here.run([row(again, step=2)])[0]).guidance.text


def test_evidence_about_a_lesson_is_booked(file):
    here, trainer = worker(file), opened(file)
    outputs = here.run([row()] * 2)
    batch = fake_verl.merged(outputs, ["u", "u"], [1.0, 0.0])
    report(batch, trainer, step=1, tokenizer=here.tokenizer)
    exposure = trainer.pool.store.read("exposure")[0]
    assert (exposure.guided, exposure.group) == ((1.0, 0.0), "u")
    assert exposure.experience_ids == note_of(outputs[0]).guidance.experience_ids


def test_the_task_reward_can_be_given_where_the_scores_hold_a_bonus(file):
    here = worker(file)
    batch = fake_verl.merged(here.run([row()] * 3), ["u"] * 3, [1.1, 0.1, 0.1])
    rollouts = rollouts_of(
        batch, tokenizer=here.tokenizer, rewards=[1.0, 0.0, float("nan")], correct_above=0.0
    )
    assert [(r.reward, r.correct) for r in rollouts] == [(1.0, True), (0.0, False), (None, None)]


def test_rows_of_other_loops_are_left_out(file):
    here = worker(file)
    outputs = here.run([row()]) + Worker(SingleTurnAgentLoop, Server()).run([row(PEARS)])
    for shape in (fake_verl.merged, fake_verl.queued):
        rollouts = rollouts_of(shape(outputs, ["u", "v"], [1.0, 1.0]), tokenizer=here.tokenizer)
        assert [r.group for r in rollouts] == ["u"]


def test_the_answers_may_come_from_the_trainer(file):
    class Asking(ExtractiveSummarizer):
        def ask(self, rollouts):
            from lanpo_memory import Request

            return [Request(role="summarise", conversation=[], rollouts=(0,))]

        def read(self, rollouts, answers):
            return [
                Experience(problem=r.problem, principles=(a.text,))
                for r, a in zip(rollouts, answers, strict=True)
            ]

    from lanpo_memory import Completion

    here, trainer = worker(file), opened(file, summarizer=Asking())
    batch = fake_verl.merged(here.run([row()]), ["u"], [1.0])
    seen = report(
        batch,
        trainer,
        step=1,
        tokenizer=here.tokenizer,
        answer=lambda requests: [Completion(text="Written by the policy.") for _ in requests],
    )
    assert seen.counts == {"added": 1}
    assert trainer.pool.store.read("experience")[-1].principles == ("Written by the policy.",)


@pytest.mark.parametrize(
    ("drop", "complaint"),
    [
        ("lanpo", "no column 'extra_fields'"),
        ("uid", "no column 'uid'"),
        ("token_level_scores", "no column 'token_level_scores'"),
    ],
)
def test_a_batch_without_a_column_is_refused_and_nothing_stored(file, drop, complaint):
    here, trainer = worker(file), opened(file)
    batch = fake_verl.merged(here.run([row()]), ["u"], [1.0])
    batch.batch.pop(drop, None)
    batch.non_tensor_batch.pop(drop, None)
    before = trainer.pool.digest()
    with pytest.raises(InvalidInputError, match=complaint):
        report(batch, trainer, step=1, tokenizer=here.tokenizer)
    assert trainer.pool.digest() == before


def test_a_batch_that_never_saw_the_loop_is_refused(file):
    here = Worker(SingleTurnAgentLoop, Server())
    batch = fake_verl.queued(here.run([row()]), ["u"], [1.0])
    with pytest.raises(InvalidInputError, match="column agent_name of the training set"):
        rollouts_of(batch, tokenizer=here.tokenizer)


def test_as_many_rewards_as_rows(file):
    here = worker(file)
    batch = fake_verl.merged(here.run([row()] * 2), ["u"] * 2, [1.0] * 2)
    with pytest.raises(InvalidInputError, match=r"2 rows.*1 rewards"):
        rollouts_of(batch, tokenizer=here.tokenizer, rewards=[1.0])


def test_the_step_is_stamped_into_every_row():
    batch = fake_verl.DataProto({}, {"uid": fake_verl.objects(["a", "b"])})
    assert stamped(batch, 7) is batch
    assert list(batch.non_tensor_batch["global_steps"]) == [7, 7]


def test_groups_without_guidance_are_even():
    rollout = Rollout(problem=Problem(text=APPLES), completion="72", group="u")
    assert uneven_groups([rollout, rollout]) == []


# ------------------------------------------------------------------ the interface


class NoExtraFields(BaseModel):
    prompt_ids: list[int]
    response_ids: list[int]
    response_mask: list[int]


class BeforeSix(SingleTurnAgentLoop):
    async def run(self, messages, sampling_params):
        return await super().run(sampling_params, raw_prompt=messages)


class NoCoroutine(SingleTurnAgentLoop):
    def run(self, sampling_params, **kwargs):
        return None


def test_the_default_base_is_the_single_turn_loop_of_verl(file, monkeypatch):
    fake_verl.install(monkeypatch)
    assert check_interface() == []
    loop = lanpo_agent_loop(memory=lambda: opened(file))
    assert issubclass(loop, SingleTurnAgentLoop)
    assert loop.__name__ == "LanpoSingleTurnAgentLoop"
    assert note_of(Worker(loop, Server()).run([row()])[0]).guidance


def test_without_verl_the_error_names_the_pip_line(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "verl", None)
    for ask in (lambda: lanpo_agent_loop(memory=lambda: opened(file)), check_interface):
        with pytest.raises(MissingExtraError, match="pip install verl"):
            ask()


@pytest.mark.parametrize(
    ("replaced", "fault"),
    [
        ({"AgentLoopOutput": None}, "there is no verl.experimental.agent_loop.agent_loop.Agent"),
        ({"SingleTurnAgentLoop": None}, "single_turn_agent_loop.SingleTurnAgentLoop"),
        ({"AgentLoopOutput": NoExtraFields}, "AgentLoopOutput has no field extra_fields"),
        ({"SingleTurnAgentLoop": BeforeSix}, "run takes .self, messages, sampling_params."),
        ({"SingleTurnAgentLoop": NoCoroutine}, "run is no coroutine"),
        ({"SingleTurnAgentLoop": 3}, "3 is no class with a method run"),
    ],
)
def test_when_verl_has_changed_the_error_says_what_and_where_to_look(
    file, monkeypatch, replaced, fault
):
    fake_verl.install(monkeypatch, **{k: _Absent if v is None else v for k, v in replaced.items()})
    for member, value in replaced.items():
        if value is None:
            for module in ("agent_loop", "single_turn_agent_loop"):
                monkeypatch.delattr(
                    sys.modules[f"{fake_verl.PACKAGE}.{module}"], member, raising=False
                )
    with pytest.raises(ConfigError, match=fault) as caught:
        lanpo_agent_loop(memory=lambda: opened(file))
    assert "verl 0.6.1 to 0.9.1" in str(caught.value)
    assert "lanpo_rl/verl/interface.py" in str(caught.value)


class _Absent:
    """Stands where a name is taken away again."""


def test_a_module_that_moved_is_named(file, monkeypatch):
    fake_verl.install(monkeypatch)
    monkeypatch.delitem(sys.modules, f"{fake_verl.PACKAGE}.single_turn_agent_loop")
    assert check_interface() == [
        "there is no module verl.experimental.agent_loop.single_turn_agent_loop"
    ]


def test_what_verl_itself_lacks_is_not_blamed_on_verl(tmp_path, monkeypatch):
    fake_verl.install(monkeypatch)
    (tmp_path / "agent_loop.py").write_text("import a_package_that_is_not_there")
    monkeypatch.delitem(sys.modules, f"{fake_verl.PACKAGE}.agent_loop")
    monkeypatch.setattr(sys.modules[fake_verl.PACKAGE], "__path__", [str(tmp_path)])
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_there"):
        check_interface()


def test_a_base_of_ones_own_is_checked_too(file):
    with pytest.raises(ConfigError, match=r"BeforeSix\.run takes"):
        lanpo_agent_loop(BeforeSix, memory=lambda: opened(file))


def test_the_facts_name_the_versions_and_the_commit_they_were_read_in():
    facts = interface.__doc__
    for named in ("0.6.1", "0.9.1", "02dd715167b4981645857b924df48e2fb6241b6d"):
        assert named in facts


def test_the_stand_ins_keep_to_the_facts():
    """The fake is only worth something while it has the signatures that the facts name."""
    run = inspect.signature(fake_verl.SingleTurnAgentLoop.run).parameters
    assert list(run)[:2] == ["self", "sampling_params"]
    assert run["kwargs"].kind is inspect.Parameter.VAR_KEYWORD
    generate = inspect.signature(Server.generate).parameters
    assert {"request_id", "prompt_ids", "sampling_params"} <= generate.keys()
    assert set(interface._NEEDED) <= fake_verl.AgentLoopOutput.model_fields.keys()
    assert (
        json.loads(
            fake_verl.AgentLoopOutput(
                prompt_ids=[1], response_ids=[2], response_mask=[1]
            ).model_dump_json()
        )["extra_fields"]
        == {}
    )
