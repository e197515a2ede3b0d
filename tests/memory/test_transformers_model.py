"""The local chat model, on the shipped tiny policy and on random networks over bytes."""

import copy
import json
import shutil
import sys
import threading
from itertools import count

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from lanpo_memory.errors import (
    BudgetExceeded,
    ConfigError,
    InvalidInputError,
    MissingExtraError,
)
from lanpo_memory.ledger import Ledger
from lanpo_memory.models.transformers_batches import in_batches
from lanpo_memory.models.transformers_decoding import Sampler
from lanpo_memory.models.transformers_model import TransformersModel
from lanpo_memory.protocols import ChatModel, ChoiceScorer
from lanpo_memory.types import Completion, Failure
from lanpo_rl.tasks import make_hidden_constants
from lanpo_rl.tiny import TinyPrompts, generate_texts, load_policy, load_tokenizer, save_policy

HINTED = "hint bako C09|bako bako bako 8_6"
ANSWER = r"C09+14=\boxed{23}"


def ask(text):
    return [{"role": "user", "content": text}]


def texts(answers):
    return [answer.text for answer in answers]


@pytest.fixture(scope="module")
def policy():
    return load_policy()


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer()


@pytest.fixture
def tiny(policy, tokenizer):
    return TransformersModel(policy, tokenizer, batch_size=4)


@pytest.fixture(scope="module")
def problems():
    """64 problems, bare and with a hint: prompts of several lengths."""
    found = [TinyPrompts().solve(e.problem) for e in make_hidden_constants(0).train[:64]]
    for i in range(0, 64, 3):
        found[i][0]["content"] = f"hint bako C{i % 16:02}|" + found[i][0]["content"]
    return found


@pytest.fixture
def folder(policy, tmp_path):
    return save_policy(tmp_path / "tiny-policy", policy)


# -------------------------------------------------------- networks over bytes

TEMPLATE = (
    "{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ raise_exception('no system messages here') }}{% endif %}"
    "<|{{ m['role'] }}|>{{ m['content'] }}\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def byte_tokenizer(**special):
    """A token a byte, and no more special tokens than are asked for."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*alphabet, *special.values()])}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=backend, **special)
    made.chat_template = TEMPLATE
    return made


SIZES = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2}
KINDS = {
    "llama": lambda: LlamaForCausalLM(
        LlamaConfig(vocab_size=258, intermediate_size=64, max_position_embeddings=128, **SIZES)
    ),
    "neox": lambda: GPTNeoXForCausalLM(
        GPTNeoXConfig(vocab_size=258, intermediate_size=64, max_position_embeddings=128, **SIZES)
    ),
    # Learned positions, and dropout: padding and train mode would show.
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=258, n_embd=32, n_head=4, n_layer=2, n_positions=128)
    ),
}


def network(kind, scale=8.0):
    """Random weights; a larger output layer makes some tokens much likelier than others."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        made = KINDS[kind]()
    made.generation_config = GenerationConfig()
    with torch.no_grad():
        made.get_output_embeddings().weight.mul_(scale)
    made.train(mode=False)
    return made


@pytest.fixture(params=sorted(KINDS))
def random_model(request):
    return network(request.param), byte_tokenizer(eos_token="<|end|>", pad_token="<|pad|>")


VARIED = [ask("a"), ask("What is 7 × 8?"), ask("two\nlines, " * 5), ask("yes"), ask("é")]


def one_by_one(model, tokenizer, conversation, max_tokens):
    """Greedy search in its simplest form: no batch, no padding, no cache."""
    rendered = tokenizer.apply_chat_template(
        conversation, tokenize=False, add_generation_prompt=True
    )
    ids = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    n = len(ids)
    with torch.no_grad():
        while len(ids) < n + max_tokens:
            token = int(model(torch.tensor([ids])).logits[0, -1].argmax())
            ids.append(token)
            if token == tokenizer.eos_token_id:
                break
    return ids[:n], ids[n:]


# ------------------------------------------------------------------- generate


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_greedy_answers_are_those_of_an_independent_implementation(
    policy, tokenizer, problems, batch_size
):
    model: ChatModel = TransformersModel(policy, tokenizer, batch_size=batch_size)
    expected = generate_texts(policy, tokenizer, problems, max_new_tokens=24)
    answers = model.generate(problems, max_tokens=24)
    assert texts(answers) == expected
    assert len(set(expected)) > 20
    assert not any(answer.truncated for answer in answers)


def test_every_architecture_answers_in_a_batch_as_it_does_alone(random_model):
    model, tokenizer = random_model
    answers = TransformersModel(model, tokenizer, batch_size=3).generate(VARIED, max_tokens=12)
    for conversation, answer in zip(VARIED, answers, strict=True):
        prompt, ids = one_by_one(model, tokenizer, conversation, 12)
        assert answer.text == tokenizer.decode(ids, skip_special_tokens=True)
        assert (answer.prompt_tokens, answer.completion_tokens) == (len(prompt), len(ids))
        assert answer.truncated == (ids[-1] != tokenizer.eos_token_id)


def test_an_answer_that_is_cut_short_says_so(tiny):
    whole, cut = (tiny.generate([ask(HINTED)], max_tokens=n)[0] for n in (16, 4))
    assert (whole.text, whole.truncated) == (ANSWER, False)
    assert (cut.text, cut.truncated, cut.completion_tokens) == ("C09+", True, 4)


def test_tokens_count_the_end_token_and_special_tokens_never_show(tiny, tokenizer):
    answer = tiny.generate([ask(HINTED)], max_tokens=16)[0]
    assert answer.prompt_tokens == len(tokenizer.tokenize(f"<u>{HINTED}<a>"))
    assert answer.completion_tokens == len(tokenizer.tokenize(ANSWER + "<e>"))


def test_a_stop_string_ends_each_row_of_a_batch_where_it_comes(tiny):
    asked = [ask(HINTED), ask("sum " + HINTED.partition("|")[2] + "|" + ANSWER), ask("check 4|4+3")]
    plain = texts(tiny.generate(asked, max_tokens=24))
    stopped = tiny.generate(asked, max_tokens=24, stop=["14=", " C"])
    assert plain[:2] == [ANSWER, "bako C09"]
    assert texts(stopped) == ["C09+", "bako", plain[2]]
    assert [answer.completion_tokens for answer in stopped[:2]] == [7, 3]
    assert not any(answer.truncated for answer in stopped)


def test_generation_ends_with_the_last_row_that_stops(tiny, policy, monkeypatch):
    lengths, original = [], type(policy).generate

    def noted(self, **settings):
        tokens = original(self, **settings)
        lengths.append(tokens.shape[1] - settings["input_ids"].shape[1])
        return tokens

    monkeypatch.setattr(type(policy), "generate", noted)
    tiny.generate([ask(HINTED), ask(HINTED)], max_tokens=24, stop=["+"])
    assert lengths == [4]


def test_the_text_is_cut_before_the_first_of_several_stop_strings(tiny):
    assert texts(tiny.generate([ask(HINTED)], max_tokens=24, stop=["23", "box", "=\\"])) == [
        "C09+14"
    ]
    assert texts(tiny.generate([ask(HINTED)], max_tokens=24, stop=["C"])) == [""]
    assert texts(tiny.generate([ask(HINTED)], max_tokens=24, stop=["nowhere"])) == [ANSWER]


def test_a_stop_string_in_the_prompt_does_not_stop(tiny):
    assert texts(tiny.generate([ask(HINTED)], max_tokens=24, stop=["_6", "hint"])) == [ANSWER]


def test_a_stop_string_of_part_of_a_character_or_of_many_tokens_is_found(random_model):
    model, tokenizer = random_model
    chat = TransformersModel(model, tokenizer)
    answer = chat.generate([ask("a")], max_tokens=40)[0]
    stop = answer.text[10:34]
    at = answer.text.index(stop)
    stopped = chat.generate([ask("a")], max_tokens=40, stop=[stop])[0]
    assert (stopped.text, stopped.truncated) == (answer.text[:at], False)
    assert stopped.completion_tokens < answer.completion_tokens == 40


def test_a_special_token_can_be_a_stop_string(policy, tokenizer):
    answers = iter(([70, 71, 4, 72], [70, 71, 72, 73]))
    model = TransformersModel(canned(policy, answers), tokenizer)
    stopped, cut = (model.generate([ask("4")], max_tokens=4, stop=["<a>"])[0] for _ in range(2))
    assert (stopped.completion_tokens, stopped.truncated) == (3, False)
    assert (cut.completion_tokens, cut.truncated) == (4, True)


def canned(policy, answers):
    """A copy of the policy that says what it is told to, one row a call."""
    model = copy.deepcopy(policy)

    def generate(input_ids, **_):
        return torch.cat([input_ids, torch.tensor([next(answers)])], 1)

    model.generate = generate
    return model


def test_each_of_the_models_end_tokens_ends_an_answer(policy, tokenizer):
    model = copy.deepcopy(policy)
    equals = tokenizer.convert_tokens_to_ids("=")
    model.generation_config.eos_token_id = [equals, 99]
    answer = TransformersModel(model, tokenizer).generate([ask(HINTED)], max_tokens=16)[0]
    assert (answer.text, answer.truncated, answer.completion_tokens) == ("C09+14", False, 7)
    model.generation_config.eos_token_id = None  # then the tokenizer's alone
    answer = TransformersModel(model, tokenizer).generate([ask(HINTED)], max_tokens=16)[0]
    assert (answer.text, answer.truncated) == (ANSWER, False)


@pytest.mark.parametrize("special", [{}, {"eos_token": "<|end|>"}], ids=["none", "only an end"])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_tokenizer_without_padding_token_pads_all_the_same(kind, special):
    model, tokenizer = network(kind), byte_tokenizer(**special)
    together = TransformersModel(model, tokenizer).generate(VARIED, max_tokens=12, stop=["e"])
    alone = TransformersModel(model, tokenizer, batch_size=1)
    assert texts(together) == texts(alone.generate(VARIED, max_tokens=12, stop=["e"]))
    assert tokenizer.pad_token_id is None
    scores = TransformersModel(model, tokenizer).choice_logprobs(VARIED, ["yes", "no"])
    np.testing.assert_allclose(scores, alone.choice_logprobs(VARIED, ["yes", "no"]), atol=1e-5)


def test_generation_settings_shipped_with_a_model_do_not_leak_in(policy, tokenizer, capfd):
    model = copy.deepcopy(policy)
    shipped = GenerationConfig(
        do_sample=True,
        temperature=0.6,
        top_p=0.8,
        top_k=1,
        repetition_penalty=9.0,
        max_length=3,
        min_new_tokens=20,
        suppress_tokens=[5, 6, 7, 8, 9],
        eos_token_id=1,
        pad_token_id=0,
    )
    model.generation_config = shipped
    chat = TransformersModel(model, tokenizer, seed=1)
    assert texts(chat.generate([ask(HINTED)], max_tokens=16)) == [ANSWER]
    ours = TransformersModel(policy, tokenizer, seed=1)
    asked = [ask("4+3")] * 8
    sampled = texts(chat.generate(asked, max_tokens=8, temperature=3.0))
    assert sampled == texts(ours.generate(asked, max_tokens=8, temperature=3.0))
    assert len(set(sampled)) > 1  # top_k=1 would make them one
    assert model.generation_config is shipped
    assert capfd.readouterr().err == ""


def test_a_tokenizer_adds_nothing_to_what_the_template_renders():
    tokenizer = byte_tokenizer(bos_token="<|start|>", eos_token="<|end|>")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|start|> $A", special_tokens=[("<|start|>", tokenizer.bos_token_id)]
    )
    assert len(tokenizer("a").input_ids) == 2
    answer = TransformersModel(network("llama"), tokenizer).generate([ask("a")], max_tokens=1)[0]
    assert answer.prompt_tokens == len("<|user|>a\n<|assistant|>")


def test_nothing_asked_is_nothing_answered(tiny):
    assert tiny.generate([], max_tokens=4) == []
    assert tiny.choice_logprobs([], ["yes", "no"]).shape == (0, 2)
    assert tiny.ledger.total.calls == 0


# ------------------------------------------------------------------- sampling


@pytest.fixture
def sampled(policy, tokenizer):
    def sample(asked, *, seed=0, batch_size=16, **settings):
        model = TransformersModel(policy, tokenizer, seed=seed, batch_size=batch_size)
        return texts(model.generate(asked, **{"max_tokens": 8, "temperature": 2.0, **settings}))

    return sample


def test_a_seed_decides_what_is_sampled(sampled, problems):
    first = sampled(problems[:16])
    assert sampled(problems[:16]) == first
    assert sampled(problems[:16], seed=1) != first
    assert sampled(problems[:16], temperature=0.5) != first


def test_neither_batch_nor_company_nor_length_changes_a_sample(sampled, problems):
    first = sampled(problems[:16])
    assert sampled(problems[:16], batch_size=3) == first
    assert sampled(problems[:16][::-1], batch_size=5) == first[::-1]
    assert sampled(problems[3:5]) == first[3:5]
    longer = sampled(problems[:16], max_tokens=30)
    assert all(long.startswith(short) for long, short in zip(longer, first, strict=True))


def test_the_same_conversation_asked_again_is_sampled_anew(policy, tokenizer, sampled):
    asked = [ask("bako bako bako 8_6")] * 6
    together = sampled(asked)
    assert len(set(together)) > 3
    model = TransformersModel(policy, tokenizer)
    in_turn = [model.generate(asked[:1], max_tokens=8, temperature=2.0) for _ in asked]
    assert [answers[0].text for answers in in_turn] == together


def numpys_state():
    """What the caller's own draws from numpy's global generator come from."""
    return np.random.get_bit_generator().state["state"]["key"].copy()


def test_the_callers_random_state_is_left_alone(tiny, problems):
    torch.manual_seed(5)
    before, numpys = torch.get_rng_state(), numpys_state()
    tiny.generate(problems[:4], max_tokens=8, temperature=1.0)
    tiny.choice_logprobs(problems[:4], ["7", "8"])
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(numpys_state(), numpys)


def test_tokens_are_drawn_as_often_as_they_are_likely():
    n, logits = 20_000, torch.tensor([2.0, 1.0, -torch.inf, 0.0, 3.0])
    sampler = Sampler(
        [b"%d" % i for i in range(n)],
        seed=0,
        temperature=2.0,
        max_tokens=2,
        prompt_length=3,
        device=torch.device("cpu"),
    )
    chances = (logits / 2).softmax(-1)
    for step in (0, 1):
        scores = sampler(torch.zeros(n, 3 + step), logits.expand(n, 5))
        assert (scores > -torch.inf).sum(1).eq(1).all()
        shares = torch.bincount(scores.argmax(1), minlength=5) / n
        assert shares[2] == 0
        assert (shares - chances).abs().max() < 0.015  # four standard errors


# -------------------------------------------------------- what the model keeps


@pytest.mark.parametrize("training", [True, False])
def test_mode_and_gradients_are_as_before_and_dropout_is_off(training):
    model, tokenizer = network("gpt2"), byte_tokenizer(eos_token="<|end|>")
    chat = TransformersModel(model, tokenizer)
    texts_before = texts(chat.generate(VARIED, max_tokens=6))
    scores_before = chat.choice_logprobs(VARIED, ["yes", "no"])
    model.train(training)
    frozen = model.transformer.h[0].train(mode=not training)
    model.transformer.wte.weight.requires_grad_(False)
    modes = [module.training for module in model.modules()]
    needs = [parameter.requires_grad for parameter in model.parameters()]
    assert texts(chat.generate(VARIED, max_tokens=6)) == texts_before
    scores = chat.choice_logprobs(VARIED, ["yes", "no"])
    np.testing.assert_allclose(scores, scores_before, atol=1e-5)
    assert [module.training for module in model.modules()] == modes
    assert frozen.training is not training
    assert [parameter.requires_grad for parameter in model.parameters()] == needs


def test_what_a_model_caches_meanwhile_may_be_used_in_training():
    model = network("llama")
    model.register_forward_hook(lambda module, args, out: setattr(module, "kept", out.logits))
    TransformersModel(model, byte_tokenizer()).choice_logprobs(VARIED, ["yes"])
    (model.kept * model.lm_head.weight.sum()).sum().backward()
    assert model.lm_head.weight.grad is not None


def test_an_interrupted_call_books_what_was_done_and_leaves_the_model_as_it_was(
    policy, tokenizer, problems
):
    model = copy.deepcopy(policy).train()
    shipped, calls = model.generation_config, count()
    original = model.generate

    def generate(**settings):
        if next(calls):
            raise KeyboardInterrupt
        return original(**settings)

    model.generate = generate
    chat = TransformersModel(model, tokenizer, batch_size=2, ledger=Ledger(max_calls=6))
    with pytest.raises(KeyboardInterrupt):
        chat.generate(problems[:6], max_tokens=8)
    assert model.training
    assert model.generation_config is shipped
    assert chat.ledger.total.calls == 2
    with pytest.raises(KeyboardInterrupt):  # what was set aside came back: no BudgetExceeded
        chat.generate(problems[:4], max_tokens=8)


def test_a_wrapped_model_gives_its_settings_back(policy, tokenizer):
    class Wrapper(torch.nn.Module):
        """Hands everything on, as an adapter of peft does."""

        def __init__(self):
            super().__init__()
            self.base = copy.deepcopy(policy)
            self.config, self.device, self.dtype = policy.config, policy.device, policy.dtype

        @property
        def generation_config(self):
            return self.base.generation_config

        def get_base_model(self):
            return self.base

        def get_input_embeddings(self):
            return self.base.get_input_embeddings()

        def forward(self, **inputs):
            return self.base(**inputs)

        def generate(self, **settings):
            self.base.generation_config = self.generation_config
            return self.base.generate(**settings)

    wrapper = Wrapper()
    shipped = wrapper.generation_config
    chat, plain = (TransformersModel(m, tokenizer) for m in (wrapper, policy))
    assert texts(chat.generate([ask(HINTED)], max_tokens=16)) == [ANSWER]
    scores = [m.choice_logprobs([ask(HINTED), ask("4")], ["C09", "C10"]) for m in (chat, plain)]
    np.testing.assert_array_equal(*scores)
    assert wrapper.base.generation_config is shipped


def test_threads_take_turns(policy, tokenizer, problems):
    chat, got = TransformersModel(policy, tokenizer), {}
    expected = texts(chat.generate(problems[:8], max_tokens=12))

    def work(i):
        got[i] = texts(chat.generate(problems[i : i + 2], max_tokens=12))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(0, 8, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [got[i] for i in range(0, 8, 2)] == [expected[i : i + 2] for i in range(0, 8, 2)]


# ------------------------------------------------------------ what does not fit


def test_a_prompt_without_room_for_the_answer_is_a_failure_and_never_cut(tiny, tokenizer):
    long = "4" + "+3" * 200
    n = len(tokenizer.tokenize(f"<u>{long}<a>"))
    asked = [ask(HINTED), ask(long), ask(HINTED)]
    assert texts(tiny.generate(asked, max_tokens=16))[::2] == [ANSWER, ANSWER]
    fits = tiny.generate(asked, max_tokens=256 - n)
    assert isinstance(fits[1], Completion)
    answer = tiny.generate(asked, max_tokens=256 - n + 1)[1]
    assert isinstance(answer, Failure)
    assert f"has {n} tokens" in answer.reason
    assert "ends at 256; shorten the prompt or lower max_tokens" in answer.reason


def test_the_tokenizers_limit_counts_where_it_is_lower(policy):
    tokenizer = load_tokenizer()
    tokenizer.model_max_length = 20
    answer = TransformersModel(policy, tokenizer).generate([ask(HINTED)], max_tokens=16)[0]
    assert "ends at 20" in answer.reason


def test_what_does_not_fit_costs_nothing(policy, tokenizer):
    chat = TransformersModel(policy, tokenizer, ledger=Ledger(max_calls=0))
    assert isinstance(chat.generate([ask("4" + "+3" * 300)], max_tokens=4)[0], Failure)
    assert np.isnan(chat.choice_logprobs([ask("4" + "+3" * 300)], ["7", "8"])).all()


def test_a_conversation_that_the_template_refuses_is_a_failure():
    chat = TransformersModel(network("llama"), byte_tokenizer(eos_token="<|end|>"))
    asked = [[{"role": "system", "content": "be brief"}, *ask("a")], ask("a")]
    refused, answer = chat.generate(asked, max_tokens=4)
    assert "no system messages here" in refused.reason
    assert isinstance(answer, Completion)
    scores = chat.choice_logprobs(asked, ["yes"])
    assert np.isnan(scores[0, 0])
    assert scores[1, 0] < 0


def test_a_conversation_that_renders_to_nothing_is_a_failure(policy):
    tokenizer = load_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    answer = TransformersModel(policy, tokenizer).generate([ask("")], max_tokens=4)[0]
    assert "to nothing" in answer.reason


def crowded(policy, *, rows=99, width=999):
    """A copy of the policy on a device that holds so many rows, and so wide ones."""
    model, tried = copy.deepcopy(policy), []
    generate, forward = model.generate, model.forward

    def check(input_ids):
        tried.append(len(input_ids))
        if len(input_ids) > rows or input_ids.shape[1] > width:
            raise torch.OutOfMemoryError("tried to allocate 8.00 GiB")

    def checked_generate(input_ids, **settings):
        check(input_ids)
        model.forward = forward
        try:
            return generate(input_ids=input_ids, **settings)
        finally:
            model.forward = checked_forward

    def checked_forward(
        input_ids, attention_mask, position_ids=None, logits_to_keep=0, use_cache=None
    ):
        check(input_ids)
        return forward(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            logits_to_keep=logits_to_keep,
            use_cache=use_cache,
        )

    model.generate, model.forward = checked_generate, checked_forward
    return model, tried


def test_a_batch_that_does_not_fit_into_memory_is_halved(policy, tokenizer, problems):
    model, tried = crowded(policy, rows=3)
    chat = TransformersModel(model, tokenizer, batch_size=10)
    plain = TransformersModel(policy, tokenizer)
    assert chat.generate(problems[:10], max_tokens=12) != []
    assert tried == [10, 5, 2, 2, 2, 2, 2]
    for temperature in (0.0, 2.0):
        asked = {"max_tokens": 12, "temperature": temperature}
        assert texts(chat.generate(problems, **asked)) == texts(plain.generate(problems, **asked))
    scores = chat.choice_logprobs(problems, ["7", "8"])
    np.testing.assert_allclose(scores, plain.choice_logprobs(problems, ["7", "8"]), atol=1e-5)


def test_a_conversation_that_does_not_fit_alone_is_a_failure_and_the_others_go_on(
    policy, tokenizer
):
    model, tried = crowded(policy, width=60)
    chat = TransformersModel(model, tokenizer, batch_size=4)
    asked = [ask(HINTED), ask("4" + "+3" * 80), *[ask(HINTED)] * 4]
    answers = chat.generate(asked, max_tokens=16)
    assert tried == [4, 2, 1, 4, 1]
    assert "does not fit into memory" in answers.pop(1).reason
    assert texts(answers) == [ANSWER] * 5
    assert (chat.ledger.total.calls, chat.ledger.total.failures) == (6, 1)
    scores = chat.choice_logprobs(asked, ["7", "C09", "C10"])
    assert np.isnan(scores).all(1).tolist() == [False, True, False, False, False, False]
    assert (chat.ledger.by_role()["judge"].calls, chat.ledger.by_role()["judge"].failures) == (6, 1)


def test_half_a_row_of_choices_is_none(policy, tokenizer):
    n = len(tokenizer.tokenize(f"<u>{HINTED}<a>"))
    chat = TransformersModel(crowded(policy, width=n)[0], tokenizer)
    assert np.isfinite(chat.choice_logprobs([ask(HINTED)], ["7", "8"])).all()
    assert np.isnan(chat.choice_logprobs([ask(HINTED)], ["7", "C09", "+14"])).all()
    assert chat.ledger.total.model_dump(include={"calls", "failures", "prompt_tokens"}) == {
        "calls": 2,
        "failures": 1,
        "prompt_tokens": 2 * n,
    }


def test_a_choice_that_does_not_fit_behind_its_prompt_is_not_scored():
    tokenizer = byte_tokenizer()
    chat = TransformersModel(network("gpt2"), tokenizer)
    frame = len(tokenizer("<|user|>\n<|assistant|>").input_ids)
    full = [ask("a" * (128 - frame)), ask("a")]
    assert np.isfinite(chat.choice_logprobs(full, ["y", "n"])).all()
    scores = chat.choice_logprobs(full, ["yes", "n"])
    assert np.isnan(scores).tolist() == [[True, True], [False, False]]


def test_the_cpus_lack_of_memory_counts_and_other_errors_do_not():
    def run(batch):
        if len(batch) > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return batch

    assert list(in_batches([1, 2], 2, run)) == [([1], [1]), ([2], [2])]

    def broken(batch):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        list(in_batches([1, 2], 2, broken))


# -------------------------------------------------------------------- choices

CHOICES = ["yes", "no", "yet", "maybe", "×", " yes"]


def alone(model, tokenizer, conversation, choice):
    """One choice in its simplest form: no batch, no padding, all logits."""
    rendered = tokenizer.apply_chat_template(
        conversation, tokenize=False, add_generation_prompt=True
    )
    prompt, whole = (
        tokenizer(text, add_special_tokens=False)["input_ids"]
        for text in (rendered, rendered + choice)
    )
    with torch.no_grad():
        logits = model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
    return sum(float(logits[i - 1, whole[i]]) for i in range(len(prompt), len(whole)))


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_log_probabilities_are_those_of_one_pass_for_each_choice(random_model, batch_size):
    model, tokenizer = random_model
    chat: ChoiceScorer = TransformersModel(model, tokenizer, batch_size=batch_size)
    scores = chat.choice_logprobs(VARIED, CHOICES)
    expected = [[alone(model, tokenizer, c, choice) for choice in CHOICES] for c in VARIED]
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-5, rtol=1e-6)
    assert np.ptp(expected) > 5


def test_the_order_of_conversations_and_choices_does_not_matter(random_model):
    chat = TransformersModel(*random_model, batch_size=4)
    scores = chat.choice_logprobs(VARIED, CHOICES)
    turned = chat.choice_logprobs(VARIED[::-1], CHOICES[::-1])[::-1, ::-1]
    np.testing.assert_allclose(scores, turned, atol=1e-5)


def test_single_tokens_are_normalised_and_the_policy_knows_its_hint(tiny):
    digits = [str(i) for i in range(10)]
    scores = tiny.choice_logprobs([ask(HINTED), ask("4+3")], [f"C0{d}" for d in digits])
    assert scores[0].argmax() == 9
    assert (np.exp(scores).sum(1) <= 1 + 1e-5).all()
    assert np.exp(tiny.choice_logprobs([ask(HINTED)], [*digits, "C"])).sum() <= 1 + 1e-5


def test_choices_that_differ_in_one_token_share_a_forward_pass(policy, tokenizer):
    model, tried = crowded(policy)
    chat = TransformersModel(model, tokenizer)
    chat.choice_logprobs([ask(HINTED)], ["C09", "C05", "7", "8"])
    assert tried == [2]
    n = len(tokenizer.tokenize(f"<u>{HINTED}<a>"))
    assert chat.ledger.by_role()["judge"].model_dump(include={"calls", "prompt_tokens"}) == {
        "calls": 1,
        "prompt_tokens": n + (n + 2),
    }


def test_a_choice_that_the_tokenizer_lacks_is_refused(tiny):
    with pytest.raises(ConfigError, match="no tokens for the choice 'yes!'; ask for choices"):
        tiny.choice_logprobs([ask(HINTED)], ["7", "yes!"])


def test_a_choice_that_would_melt_into_the_prompt_is_scored_on_its_own_tokens(policy):
    tokenizer = load_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}+"
    chat = TransformersModel(policy, tokenizer)
    assert tokenizer.tokenize("4+7*3") == ["4", "+7", "*3"]  # and the prompt is "4", "+"
    ids = tokenizer("4+", add_special_tokens=False).input_ids
    with torch.no_grad():
        expected = []
        for token in tokenizer("7*3", add_special_tokens=False).input_ids:
            chances = policy(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
            expected.append(float(chances[token]))
            ids.append(token)
    scores = chat.choice_logprobs([ask("4")], ["7", "7*3"])[0]
    assert scores.tolist() == pytest.approx([expected[0], sum(expected)], abs=1e-5)


# --------------------------------------------------------------------- ledger


def test_the_ledger_counts_every_token_and_shares_the_seconds(policy, tokenizer, problems):
    ticks = count()
    chat = TransformersModel(policy, tokenizer, batch_size=4, clock=lambda: float(next(ticks)))
    answers = chat.generate(problems[:6], max_tokens=12, role="summarise")
    lengths = [len(tokenizer.tokenize(f"<u>{p[0]['content']}<a>")) for p in problems[:6]]
    assert [answer.prompt_tokens for answer in answers] == lengths
    usage = chat.ledger.by_role()["summarise"]
    assert usage.prompt_tokens == sum(lengths)
    assert usage.completion_tokens == sum(answer.completion_tokens for answer in answers)
    assert (usage.calls, usage.failures, usage.cost, usage.unpriced) == (6, 0, 0.0, 0)
    assert sorted(answer.seconds for answer in answers) == [0.25] * 4 + [0.5] * 2
    assert usage.seconds == 2.0
    chat.choice_logprobs(problems[:6], ["7", "8"])
    judged = chat.ledger.by_role()["judge"]
    assert (judged.calls, judged.prompt_tokens, judged.seconds) == (6, sum(lengths), 2.0)


def test_a_budget_is_refused_before_anything_runs(policy, tokenizer, problems):
    model, tried = crowded(policy)
    lengths = [len(tokenizer.tokenize(f"<u>{p[0]['content']}<a>")) for p in problems[:6]]
    most = sum(lengths) + 6 * 12
    for ledger in (Ledger(max_tokens=most - 1), Ledger(max_calls=5)):
        chat = TransformersModel(model, tokenizer, ledger=ledger)
        with pytest.raises(BudgetExceeded):
            chat.generate(problems[:6], max_tokens=12)
        with pytest.raises(BudgetExceeded):
            chat.choice_logprobs(problems * 3, ["7", "8"])
        assert (tried, ledger.total.calls) == ([], 0)
    enough = TransformersModel(model, tokenizer, ledger=Ledger(max_tokens=most, max_calls=6))
    assert len(enough.generate(problems[:6], max_tokens=12)) == 6
    with pytest.raises(BudgetExceeded):
        enough.choice_logprobs(problems[:1], ["7"])


# ---------------------------------------------------------------- fingerprint


def test_the_fingerprint_names_the_model_and_not_its_place(folder, tmp_path, tokenizer):
    here = TransformersModel(folder)
    assert here.name == "tiny-policy"
    assert "transformers:tiny-policy:" in here.fingerprint
    assert str(tmp_path) not in here.fingerprint
    elsewhere = shutil.copytree(folder, tmp_path / "other" / "tiny-policy")
    assert TransformersModel(str(elsewhere)).fingerprint == here.fingerprint
    by_hand = TransformersModel(load_policy(), tokenizer, name="tiny-policy")
    assert by_hand.fingerprint == here.fingerprint
    assert TransformersModel(load_policy(), tokenizer).name == "Qwen2ForCausalLM"


def test_the_fingerprint_tells_apart_what_answers_differently(policy, tokenizer, folder):
    def of(model=policy, tokenizer=tokenizer, **settings):
        return TransformersModel(model, tokenizer, name="m", **settings).fingerprint

    templated, plain = load_tokenizer(), load_tokenizer()
    templated.chat_template = templated.chat_template.replace("<u>", "<u>check ")
    plain.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    found = {
        "same": of(copy.deepcopy(policy)),
        "template": of(tokenizer=templated),
        "tokenizer": of(tokenizer=plain),
        "config": of(configured(policy, rms_norm_eps=1e-3)),
        "bfloat16": of(folder, dtype="bfloat16"),
    }
    trained = copy.deepcopy(policy)
    chat = TransformersModel(trained, tokenizer, name="m")
    found["before"] = chat.fingerprint
    with torch.no_grad():
        trained.model.layers[2].mlp.up_proj.weight.mul_(1.0001)
    found["a layer trained"] = chat.fingerprint
    assert found["same"] == found["before"] == of()
    assert len(set(found.values())) == len(found) - 1
    assert "bfloat16" in found["bfloat16"]
    assert chat.fingerprint == found["a layer trained"]


def configured(policy, **changes):
    model = copy.deepcopy(policy)
    model.config.update(changes)
    return model


def test_another_checkpoint_in_the_same_folder_is_another_model(folder, policy):
    before = TransformersModel(folder).fingerprint
    other = copy.deepcopy(policy)
    with torch.no_grad():
        other.model.norm.weight.add_(1e-3)
    save_policy(folder, other)
    assert TransformersModel(folder).fingerprint != before


# -------------------------------------------------------------------- loading


def test_a_folder_is_read_with_the_tokenizer_that_lies_in_it(folder):
    # AutoTokenizer would put the rules of qwen2 in its place, and the names would fall apart.
    chat = TransformersModel(folder)
    assert texts(chat.generate([ask(HINTED)], max_tokens=16)) == [ANSWER]
    assert not chat._model.training


def test_numbers_are_as_saved_or_as_asked(folder):
    assert TransformersModel(folder)._model.dtype == torch.float32
    half = TransformersModel(folder, dtype="bfloat16", device="cpu")
    assert half._model.dtype == torch.bfloat16
    assert texts(half.generate([ask(HINTED)], max_tokens=16)) == [ANSWER]
    scores = half.choice_logprobs([ask(HINTED), ask("4")], ["C09", "C10"])
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()


def without(folder, *names):
    for name in names:
        (folder / name).unlink()
    return folder


def untemplated(folder):
    return without(folder, "chat_template.jinja")


def damaged(folder):
    (folder / "model.safetensors").write_bytes(b"no weights")
    return folder


def holed(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def coded(folder):
    """A folder that brings code of its own, which would run at loading."""
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "mine",
        "auto_map": {"AutoConfig": "a.B", "AutoModelForCausalLM": "a.C"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "a.py").write_text("raise SystemExit('ran')")
    return folder


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        pytest.param(lambda f: f.parent, "does not load as a language model", id="empty"),
        pytest.param(
            lambda f: without(f, "model.safetensors"), "does not load", id="without weights"
        ),
        pytest.param(damaged, "does not load as a language model", id="damaged weights"),
        pytest.param(holed, "lacks 1 weights of its model, 'model.layers.1.mlp", id="holes"),
        pytest.param(coded, "does not load as a language model", id="foreign code"),
        pytest.param(
            lambda f: without(f, "tokenizer.json", "tokenizer_config.json"),
            "the tokenizer of 'tiny-policy' knows no words",
            id="without tokenizer",
        ),
        pytest.param(untemplated, "has no chat template: pass the chat version", id="no template"),
        pytest.param(lambda f: f / "nowhere", "there is no folder", id="no folder"),
        pytest.param(lambda f: "./nowhere", "there is no folder", id="no relative folder"),
        pytest.param(lambda f: "", "there is no folder", id="no name"),
        pytest.param(lambda f: "nobody/nothing", "or the name of a model on the", id="hub"),
    ],
)
def test_what_is_no_model_is_one_error_that_names_the_remedy(folder, spoil, complaint):
    with pytest.raises(ConfigError, match=complaint):
        TransformersModel(spoil(folder))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"batch_size": 0}, "batch_size has to be at least 1"),
        ({"dtype": "int8"}, "dtype 'int8' is none of float32"),
        ({"dtype": "Tensor"}, "dtype 'Tensor' is none of"),
        ({"device": "toaster"}, "device 'toaster' is unknown to torch"),
        ({"device": "cuda:77"}, "cannot be moved to cuda:77"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(folder, settings, complaint):
    with pytest.raises(ConfigError, match=complaint):
        TransformersModel(folder, **settings)


def test_a_loaded_model_needs_its_tokenizer_and_stays_where_it_is(policy, tokenizer):
    with pytest.raises(ConfigError, match="pass tokenizer= as well"):
        TransformersModel(policy)
    for settings in ({"device": "cpu"}, {"dtype": "float32"}):
        with pytest.raises(ConfigError, match="move a loaded model yourself"):
            TransformersModel(policy, tokenizer, **settings)


def test_what_cannot_chat_is_refused(policy, tokenizer):
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    translator = T5ForConditionalGeneration(T5Config(vocab_size=32, **sizes))
    with pytest.raises(ConfigError, match="encoder-decoder"):
        TransformersModel(translator, tokenizer)
    with pytest.raises(ConfigError, match="generates no text"):
        TransformersModel(torch.nn.Linear(2, 2), tokenizer)
    with pytest.raises(ConfigError, match="has no chat template"):
        TransformersModel(policy, without_template(load_tokenizer()))


def without_template(tokenizer):
    tokenizer.chat_template = None
    return tokenizer


def test_a_tokenizer_of_another_model_is_refused(policy):
    chat = TransformersModel(policy, byte_tokenizer(eos_token="<|end|>"))
    with pytest.raises(ConfigError, match="it belongs to another model"):
        chat.generate([ask("é")], max_tokens=4)


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_a_missing_package_is_named(monkeypatch, package, folder):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"'{package}'.*pip install 'lanpo\[rl\]'"):
        TransformersModel(folder)


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"max_tokens": 0}, "max_tokens has to be at least 1"),
        ({"temperature": -0.1}, "temperature has to be 0 or more"),
        ({"temperature": float("nan")}, "temperature has to be 0 or more"),
        ({"temperature": float("inf")}, "temperature has to be 0 or more"),
        ({"stop": "end"}, "stop has to be a list"),
        ({"stop": ["", "a"]}, "none of them empty"),
    ],
)
def test_a_call_that_makes_no_sense_is_refused(tiny, settings, complaint):
    with pytest.raises(InvalidInputError, match=complaint):
        tiny.generate([ask("4")], **{"max_tokens": 4, **settings})


@pytest.mark.parametrize("choices", ["yes", ["yes", ""]])
def test_choices_that_make_no_sense_are_refused(tiny, choices):
    with pytest.raises(InvalidInputError, match="choices has to be a list"):
        tiny.choice_logprobs([ask("4")], choices)


@pytest.mark.parametrize("conversation", ["text", [["user", "text"]], [{"content": "text"}]])
def test_what_is_no_conversation_is_refused(tiny, conversation):
    with pytest.raises(InvalidInputError, match="conversation 1 is no list of messages"):
        tiny.generate([ask("4"), conversation], max_tokens=4)
