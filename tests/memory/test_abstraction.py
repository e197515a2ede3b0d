import pytest

import lanpo_memory.abstraction
from lanpo_memory.abstraction import RelevantAbstraction
from lanpo_memory.errors import BudgetExceeded, ConfigError
from lanpo_memory.ledger import Ledger
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.protocols import Abstractor
from lanpo_memory.testing import ScriptedChatModel
from lanpo_memory.types import (
    Completion,
    Experience,
    ExperienceMetadata,
    Failure,
    Problem,
    Retrieved,
)

HERE, THERE, ELSEWHERE = (Problem(text=text) for text in ("7 + 2?", "2 + 3?", "4 + 4?"))
ANSWER = '### Experience\n{"flow_of_thought": [], "principles": ["count on from 7"]}'


def retrieved(text, problem=THERE, **metadata):
    one = Experience(problem=problem, principles=(text,), metadata=ExperienceMetadata(**metadata))
    return Retrieved(experience=one, score=1.0, similarity=1.0)


def abstraction(answers, **fields):
    model = ScriptedChatModel(answers, ledger=fields.pop("ledger", None))
    return RelevantAbstraction(model, prompts=EnglishPrompts(), **fields), model


def test_the_module_lists_what_it_offers():
    assert lanpo_memory.abstraction.__all__ == ["RelevantAbstraction"]


def test_experiences_become_one_of_the_problem_at_hand():
    part, model = abstraction([ANSWER], max_tokens=55)
    checked: Abstractor = part
    notes = [retrieved("count on", reward=1.0, correct=True), retrieved("add"), retrieved("add")]
    (found,) = checked.abstract([(HERE, notes)])
    assert isinstance(found, Experience)
    assert found.problem == HERE
    assert found.principles == ("count on from 7",)
    metadata = found.metadata
    assert metadata.source == "abstraction"
    assert metadata.parents == (notes[0].experience.id, notes[1].experience.id)
    assert (metadata.reward, metadata.correct, metadata.created_at) == (None, None, None)
    (call,) = model.calls
    assert (call.role, call.max_tokens) == ("abstract", 55)
    assert call.conversations == [EnglishPrompts().abstract(HERE, notes)]


def test_all_items_go_in_one_call_and_those_without_experiences_in_none():
    part, model = abstraction([ANSWER, ANSWER.replace("7", "4")])
    items = [(THERE, []), (HERE, [retrieved("a")]), (THERE, ()), (ELSEWHERE, [retrieved("b")])]
    found = part.abstract(items)
    assert [type(one) for one in found] == [Failure, Experience, Failure, Experience]
    assert [one.problem for one in found if isinstance(one, Experience)] == [HERE, ELSEWHERE]
    assert found[0].reason == "there are no experiences to abstract from"
    assert [len(call.conversations) for call in model.calls] == [2]


def test_nothing_to_abstract_costs_no_call():
    part, model = abstraction([])
    assert part.abstract([]) == []
    assert isinstance(part.abstract([(HERE, [])])[0], Failure)
    assert model.calls == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Failure(reason="busy"), "busy"),
        ("I am sorry.", "no JSON"),
        ("", "empty"),
        (Completion(text='{"principles": ["c', truncated=True), "cut at its token limit"),
        ('{"flow_of_thought": [], "principles": [], "pitfalls": []}', "empty"),
    ],
)
def test_what_came_to_nothing_is_a_failure_in_its_place(answer, reason):
    part, _ = abstraction([answer, ANSWER])
    failed, found = part.abstract([(HERE, [retrieved("a")]), (ELSEWHERE, [retrieved("b")])])
    assert isinstance(failed, Failure)
    assert reason in failed.reason
    assert isinstance(found, Experience)


def test_a_budget_travels_on():
    part, model = abstraction(ANSWER, ledger=Ledger(max_calls=1))
    with pytest.raises(BudgetExceeded):
        part.abstract([(HERE, [retrieved("a")]), (ELSEWHERE, [retrieved("b")])])
    assert model.ledger.total.calls == 0


def test_a_setting_without_sense_is_refused():
    with pytest.raises(ConfigError, match="max_tokens must be at least 1, got 0"):
        abstraction(ANSWER, max_tokens=0)
