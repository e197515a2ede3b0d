"""No part calls a model that was not passed to it, and none opens a connection by itself."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lanpo_memory import EnglishPrompts, ExperiencePool, Guide, PoolAdapter, Problem, Rollout
from lanpo_memory.abstraction import RelevantAbstraction
from lanpo_memory.audit import audit
from lanpo_memory.dead_letters import retry
from lanpo_memory.reflectors import TwoStageReflector
from lanpo_memory.relevance import JudgeRelevance, LexicalRelevance
from lanpo_memory.sessions import session
from lanpo_memory.solving import Solver
from lanpo_memory.summarizers import ExtractiveSummarizer, LLMSummarizer
from lanpo_memory.testing import ScriptedChatModel, ScriptedChoiceScorer

GOOD = '### Experience\n{"principles": ["Count on from the larger number."]}'
PROMPTS = EnglishPrompts()


class ConnectionRefusedByTest(AssertionError):
    """Something tried to open a connection."""


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection at all, not even to this machine."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise ConnectionRefusedByTest(f"a connection was opened: {args!r}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("connect", "connect_ex", "sendto", "bind"):
        monkeypatch.setattr(socket.socket, name, refuse)


def told(n: int) -> list[Rollout]:
    return [
        Rollout(
            problem=Problem(text=f"How many red apples are in the {word} box of the kitchen?"),
            completion="I count the apples one by one and add them up.",
            reward=1.0,
            group=word,
        )
        for word in ("first", "second", "third", "fourth")[:n]
    ]


@pytest.mark.usefixtures("no_sockets")
def test_without_a_model_everything_works_and_nobody_is_asked():
    pool = ExperiencePool()
    memory = PoolAdapter(pool, summarizer=ExtractiveSummarizer(), feedback_ratio=1.0, mode="both")
    for step in range(2):
        memory.prepare([r.problem for r in told(4)], step=step)
        memory.observe(told(4), step=step)
    Guide(pool, relevance=LexicalRelevance()).inter([r.problem for r in told(4)])
    assert audit(pool).entries
    assert retry(pool, prompts=PROMPTS) == []
    with session(memory, told(1)[0].problem) as turn:
        turn.finish("I count them.", reward=1.0)


@pytest.mark.usefixtures("no_sockets")
def test_each_part_asks_its_own_model_for_its_own_role_and_no_other():
    pool = ExperiencePool()
    names = ("policy", "writer", "critic", "abstractor")
    models = {name: ScriptedChatModel(GOOD) for name in names}
    judge = ScriptedChoiceScorer(0.95)
    guide = Guide(
        pool,
        relevance=JudgeRelevance(judge, prompts=PROMPTS, store=pool.store),
        abstractor=RelevantAbstraction(models["abstractor"], prompts=PROMPTS),
        reflector=TwoStageReflector(models["critic"], prompts=PROMPTS),
    )
    memory = PoolAdapter(
        pool,
        guide=guide,
        summarizer=LLMSummarizer(prompts=PROMPTS),
        model=models["writer"],
        feedback_ratio=1.0,
        mode="both",
    )
    for step in range(3):
        memory.prepare([r.problem for r in told(4)], step=step)
        memory.observe(told(4), step=step)
    asked = {name: set(model.ledger.by_role()) for name, model in models.items()}
    assert asked == {
        "policy": set(),
        "writer": {"summarise"},
        "critic": {"reflect"},
        "abstractor": {"abstract"},
    }
    assert set(judge.ledger.by_role()) == {"judge"}
    Solver(models["policy"], pool, guide=Guide(pool)).solve([told(1)[0].problem])
    assert set(models["policy"].ledger.by_role()) == {"solve"}


def test_importing_everything_opens_no_connection_and_loads_no_client():
    code = """
import socket, sys
def refuse(*a, **k): raise SystemExit(f"a connection was opened: {a!r}")
socket.getaddrinfo = refuse
socket.socket.connect = refuse
import pkgutil, importlib, lanpo_memory
for module in pkgutil.walk_packages(lanpo_memory.__path__, "lanpo_memory."):
    importlib.import_module(module.name)
loaded = {"litellm", "torch", "transformers", "openai", "httpx"} & set(sys.modules)
assert not loaded, loaded
"""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
