"""The roles with real models in place of scripts: over HTTP with faults, and a local network."""

from __future__ import annotations

import json
import math
import re
from collections import Counter

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lanpo_memory import (
    EnglishPrompts,
    Experience,
    ExperiencePool,
    Guide,
    PoolAdapter,
    Problem,
    Rollout,
    Solver,
    admit_contrast,
)
from lanpo_memory.abstraction import RelevantAbstraction
from lanpo_memory.dead_letters import retry
from lanpo_memory.models import LiteLLMModel, TransformersModel
from lanpo_memory.reflectors import TwoStageReflector
from lanpo_memory.relevance import JudgeRelevance
from lanpo_memory.summarizers import ContrastiveSummarizer
from tests.memory.openai_server import (
    Behaviour,
    OpenAIServer,
    Received,
    error,
    logprobs,
    malformed,
    reply,
)

PROMPTS = EnglishPrompts()
WORDS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")


def model_of(server: OpenAIServer) -> LiteLLMModel:
    return LiteLLMModel("openai/x", api_base=server.url, api_key="k", sleep=lambda seconds: None)


def boxes(word: str) -> Problem:
    return Problem(text=f"How many red apples are in the {word} box of the kitchen?")


def group(word: str) -> list[Rollout]:
    return [
        Rollout(problem=boxes(word), completion=text, correct=right, group=word)
        for text, right in (("I weigh the box.", False), ("I count them one by one.", True))
    ]


def test_a_judge_over_http_is_asked_once_a_pair_and_decides_who_guides():
    def script(asked: Received) -> Behaviour:
        yes = 0.97 if "eggs" in asked.text else 0.2
        odds = {"yes": math.log(yes), "no": math.log(1 - yes)}
        return reply("yes", logprobs=logprobs(odds))

    pool = ExperiencePool()
    pool.add(
        [
            Experience(problem=boxes(word), principles=(lesson,))
            for word, lesson in (("first", "Count the eggs."), ("second", "Paint the wall."))
        ]
    )
    with OpenAIServer(script) as server:
        judge = JudgeRelevance(model_of(server), store=pool.store)
        guide = Guide(pool, relevance=judge)
        found = guide.inter([boxes("third")])[0]
        again = Guide(pool, relevance=JudgeRelevance(model_of(server), store=pool.store))
        assert again.inter([boxes("third")])[0].guidance == found.guidance
        assert len(server.requests) == 2
    shown = [c.retrieved.experience.principles for c in found.used]
    assert shown == [("Count the eggs.",)]
    assert found.used[0].retrieved.similarity == pytest.approx(0.97, abs=1e-3)


def test_a_whole_life_over_http_with_faults_loses_nothing():
    """Contrast, judge, abstract, critique and solve; every third request goes wrong once."""
    seen: Counter[str] = Counter()

    def script(asked: Received) -> Behaviour:
        seen[asked.text] += 1
        if len(asked.text) % 3 == 0 and seen[asked.text] == 1:
            return (error(500), error(429, retry_after="1"), malformed())[len(asked.text) % 9 // 3]
        if asked.body.get("logprobs"):
            return reply("yes", logprobs=logprobs({"yes": -0.01, "no": -5.0}))
        if '"flow_of_thought"' in asked.text:
            word = next(w for w in (*WORDS, "ninth") if f"the {w} box" in asked.text)
            if word == "fifth" and seen[asked.text] <= 2 and not told:
                return reply("I had rather not.")
            lesson = {"principles": [f"Count what is there, one by one ({word})."]}
            return reply("### Experience\n" + json.dumps(lesson))
        if "Write a critique" in asked.text:
            return reply("The second step does not follow.")
        return reply("### Conclusion:\nIncorrect\n### Corrected Solution:\n\\boxed{7}")

    told: list[str] = []
    pool = ExperiencePool()
    with OpenAIServer(script) as server:
        model = model_of(server)
        guide = Guide(
            pool,
            relevance=JudgeRelevance(model, store=pool.store),
            abstractor=RelevantAbstraction(model, prompts=PROMPTS),
            reflector=TwoStageReflector(model, prompts=PROMPTS, store=pool.store),
        )
        memory = PoolAdapter(
            pool,
            guide=guide,
            summarizer=ContrastiveSummarizer(prompts=PROMPTS),
            model=model,
            admission=admit_contrast(),
            mode="both",
            feedback_ratio=1.0,
        )
        rollouts = [rollout for word in WORDS for rollout in group(word)]
        receipts = memory.observe(rollouts, step=0).receipts
        assert Counter(r.status for r in receipts) == {"added": 7, "failed": 1}

        told.append("now it may answer")
        assert [r.status for r in retry(pool, prompts=PROMPTS, model=model)] == ["added"]
        assert len(pool) == 8
        assert pool.store.count("failure") == 0

        guidance = memory.prepare([boxes(word) for word in (*WORDS, "ninth")], step=1)
        assert {g.kind for g in guidance} == {"inter", "intra"}
        solved = Solver(model, guide=guide).solve([boxes("ninth")], mode="retrieval+self_correct")
        assert (solved[0].answer, len(solved[0].turns)) == ("7", 2)
        usage = model.ledger.by_role()
        assert sum(u.calls for u in usage.values()) == len(server.requests)
    assert set(usage) == {"summarise", "judge", "abstract", "reflect", "solve"}


def byte_llama() -> TransformersModel:
    """A random network over bytes: it judges badly, and exactly."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = {"eos_token": "<end>", "pad_token": "<pad>"}
    vocabulary = {token: i for i, token in enumerate([*alphabet, *special.values()])}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **special)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=4096,
    )
    return TransformersModel(LlamaForCausalLM(config), tokenizer, name="bytes")


def test_a_local_judge_gives_exactly_the_softmax_of_yes_and_no():
    model, problem = byte_llama(), boxes("third")
    lessons = [
        Experience(problem=boxes(word), principles=(f"lesson {word}",)) for word in WORDS[:3]
    ]
    scores = JudgeRelevance(model, prompts=PROMPTS).score([(problem, e) for e in lessons])
    asked = [PROMPTS.judge(problem, e) for e in lessons]
    assert all(re.search("yes.*no", m[0]["content"], re.DOTALL) for m in asked)
    logits = model.choice_logprobs(asked, ["yes", "no"]).astype(np.float64)
    expected = np.exp(logits[:, 0]) / np.exp(logits).sum(1)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    assert ((scores > 0) & (scores < 1)).all()
    assert len(set(scores.tolist())) == 3
