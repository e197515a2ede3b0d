"""The tiny policy: its alphabet, tokenizer, network, prompts and shipped weights."""

import random

import pytest
import torch

from lanpo_memory.errors import ConfigError
from lanpo_memory.types import Attempt, Experience, Failure, Guidance, Problem, Retrieved
from lanpo_rl.seeding import draw_lessons
from lanpo_rl.tiny import (
    TinyPrompts,
    build_model,
    generate_texts,
    load_policy,
    load_tokenizer,
    save_policy,
)
from lanpo_rl.tiny.alphabet import NAMES, OPERATORS, VOCABULARY, boxed_answer, strip_marks
from lanpo_rl.tiny.policy import WEIGHTS, read_weights, write_weights
from lanpo_rl.tiny.prompts import as_user

PROBLEM = Problem(text="bako bako bako 8_6", family="bako")
SOLUTION = r"C09+14=\boxed{23}"
CHECKED = r"+3:7=*7:9?\boxed{9}"


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer()


@pytest.fixture(scope="module")
def policy():
    return load_policy()


def retrieved(*principles: str) -> Retrieved:
    experience = Experience(problem=PROBLEM, thoughts="t", principles=principles)
    return Retrieved(experience=experience, score=1.0, similarity=0.9)


# --- tokenizer --------------------------------------------------------------------------------


def test_texts_of_the_alphabet_survive_encoding_and_decoding(tokenizer):
    for lesson in draw_lessons(500, random.Random(0)):
        for text in (lesson.prompt, lesson.completion):
            ids = tokenizer(text, add_special_tokens=False).input_ids
            assert tokenizer.unk_token_id not in ids
            assert tokenizer.decode(ids) == text


def test_each_name_and_each_operator_is_one_token(tokenizer):
    assert len(tokenizer) == len(VOCABULARY) == len(set(VOCABULARY))
    for token in (*NAMES, *OPERATORS):
        assert len(tokenizer(token, add_special_tokens=False).input_ids) == 1


def test_names_are_distinct_from_their_first_syllable_on():
    assert len({name[:2] for name in NAMES}) == len(NAMES) == 64


def test_a_sum_is_not_taken_for_an_operator(tokenizer):
    assert tokenizer.tokenize("C09+14") == ["C", "0", "9", "+", "1", "4"]
    assert tokenizer.tokenize("4+3*7") == ["4", "+3", "*7"]


def test_the_chat_template_makes_a_prefix_of_the_whole_conversation(tokenizer):
    asked = tokenizer.apply_chat_template(
        as_user("4+3"), tokenize=False, add_generation_prompt=True
    )
    whole = tokenizer.apply_chat_template(
        [*as_user("4+3"), {"role": "assistant", "content": SOLUTION}], tokenize=False
    )
    assert asked == "<u>4+3<a>"
    assert whole == asked + SOLUTION + tokenizer.eos_token


def test_pad_and_eos_are_set_and_differ(tokenizer):
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert tokenizer.padding_side == "left"


# --- network ----------------------------------------------------------------------------------


def test_the_network_is_small_and_follows_from_its_seed(tokenizer):
    one, same, other = (build_model(tokenizer, seed=seed) for seed in (1, 1, 2))
    assert sum(p.numel() for p in one.parameters()) < 600_000
    first = next(iter(one.state_dict()))
    assert torch.equal(one.state_dict()[first], same.state_dict()[first])
    assert not torch.equal(one.state_dict()[first], other.state_dict()[first])


def test_building_leaves_the_random_state_alone(tokenizer):
    before = torch.get_rng_state()
    build_model(tokenizer, seed=3)
    assert torch.equal(before, torch.get_rng_state())


# --- prompts ----------------------------------------------------------------------------------


def test_the_bare_prompt_is_the_bare_problem():
    assert TinyPrompts().solve(PROBLEM) == [{"role": "user", "content": "bako bako bako 8_6"}]


def test_hints_stand_in_front_each_once():
    text = TinyPrompts().inter(PROBLEM, [retrieved("bako C09"), retrieved("rilu C03", "bako C09")])
    guided = Guidance(kind="inter", text=text).apply(TinyPrompts().solve(PROBLEM))
    assert guided[-1]["content"] == "hint bako C09|hint rilu C03|bako bako bako 8_6"


def test_an_attempt_is_shown_without_the_marks_of_an_earlier_check():
    attempt = Attempt(problem=Problem(text="4+3*7"), text=CHECKED)
    assert TinyPrompts().intra(attempt) == r"check +3:7*7:9\boxed{9}|"


def test_there_are_no_sections():
    assert all(TinyPrompts().sections(kind) == () for kind in ("none", "inter", "intra"))


def test_the_solution_of_a_check_is_in_the_bare_format():
    prompts = TinyPrompts()
    assert prompts.solution("intra", CHECKED) == r"+3:7*7:9\boxed{9}"
    assert prompts.solution("inter", SOLUTION) == prompts.solution("none", SOLUTION) == SOLUTION


@pytest.mark.parametrize("kind", ["none", "inter", "intra"])
def test_without_a_boxed_answer_there_is_no_solution(kind):
    assert TinyPrompts().solution(kind, "C09+14=23") is None
    assert TinyPrompts().solution(kind, r"C09+14=\boxed{23") is None


def test_stripping_marks_leaves_a_solution_alone():
    assert strip_marks(SOLUTION) == SOLUTION
    assert strip_marks(r"C09?+14=\boxed{23}") == SOLUTION


def test_the_last_box_counts():
    assert boxed_answer(r"\boxed{1}\boxed{2}") == "2"
    assert boxed_answer("nothing") is None


def test_a_summary_is_asked_for_and_read():
    prompts = TinyPrompts()
    assert prompts.summarise(PROBLEM, SOLUTION) == as_user(f"sum bako bako bako 8_6|{SOLUTION}")
    experience = prompts.parse(PROBLEM, " bako C09\n")
    assert isinstance(experience, Experience)
    assert experience.principles == ("bako C09",)
    assert experience.problem == PROBLEM


@pytest.mark.parametrize("lesson", ["rilu C09", "bako C15", "bako C99"])
def test_the_parser_does_not_know_better(lesson):
    experience = TinyPrompts().parse(PROBLEM, lesson)
    assert isinstance(experience, Experience)
    assert experience.principles == (lesson,)


@pytest.mark.parametrize(
    "answer", ["", "bako", "C09", "bako C9", "bako C09 C09", "hint C09", "bako 09", SOLUTION]
)
def test_an_answer_of_another_shape_is_a_failure_with_a_reason(answer):
    failure = TinyPrompts().parse(PROBLEM, answer)
    assert isinstance(failure, Failure)
    assert "NAME Cdd" in failure.reason
    assert failure.text == answer


# --- shipped policy ---------------------------------------------------------------------------


def test_the_shipped_weights_are_small():
    assert WEIGHTS.stat().st_size <= 3_000_000


def test_the_shipped_policy_follows_a_hint_and_summarises(policy, tokenizer):
    asked = ["hint bako C09|bako bako bako 8_6", f"sum bako bako bako 8_6|{SOLUTION}"]
    texts = generate_texts(policy, tokenizer, [*map(as_user, asked)], max_new_tokens=16)
    assert texts == [SOLUTION, "bako C09"]


def test_each_load_is_a_fresh_copy(policy):
    other = load_policy()
    with torch.no_grad():
        other.model.embed_tokens.weight.zero_()
    assert policy.model.embed_tokens.weight.any()
    assert other.lm_head.weight is other.model.embed_tokens.weight


def test_generation_leaves_no_trace(policy, tokenizer):
    prompts = [as_user("4+3*7-1+2")] * 3
    state = torch.get_rng_state()
    policy.train()
    try:
        one, two = (
            generate_texts(
                policy, tokenizer, prompts, max_new_tokens=16, temperature=1.0, batch_size=2
            )
            for _ in range(2)
        )
        assert policy.training
    finally:
        policy.eval()
    assert one == two
    assert torch.equal(state, torch.get_rng_state())
    assert generate_texts(policy, tokenizer, [], max_new_tokens=4) == []


def test_batches_do_not_change_greedy_answers(policy, tokenizer):
    prompts = [as_user(lesson.prompt) for lesson in draw_lessons(20, random.Random(1))]
    together = generate_texts(policy, tokenizer, prompts, max_new_tokens=28)
    alone = generate_texts(policy, tokenizer, prompts, max_new_tokens=28, batch_size=1)
    assert together == alone


def test_a_saved_folder_gives_the_same_policy(tmp_path, policy, tokenizer):
    from transformers import AutoModelForCausalLM

    folder = save_policy(tmp_path / "tiny")
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    prompts = [as_user("hint bako C09|bako bako bako 8_6"), as_user("4+3*7-1+2")]
    expected = generate_texts(policy, tokenizer, prompts, max_new_tokens=28)
    assert generate_texts(loaded, tokenizer, prompts, max_new_tokens=28) == expected


def test_a_saved_tokenizer_is_read_right_by_its_own_class(tmp_path, tokenizer):
    from transformers import PreTrainedTokenizerFast

    loaded = PreTrainedTokenizerFast.from_pretrained(save_policy(tmp_path / "tiny"))
    for lesson in draw_lessons(20, random.Random(0)):
        assert loaded.tokenize(lesson.prompt) == tokenizer.tokenize(lesson.prompt)
    assert loaded.chat_template == tokenizer.chat_template


def test_weights_of_another_alphabet_are_refused(tmp_path, tokenizer):
    from safetensors.torch import save_file

    path = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={"alphabet": "other"})
    with pytest.raises(ConfigError, match="seed_tiny_policy"):
        read_weights(build_model(tokenizer), path)


def test_weights_survive_writing_and_reading(tmp_path, tokenizer):
    model, other = build_model(tokenizer, seed=1), build_model(tokenizer, seed=2)
    write_weights(model, tmp_path / "w.safetensors")
    read_weights(other, tmp_path / "w.safetensors")
    expected = model.state_dict()
    assert all(torch.equal(expected[name], t) for name, t in other.state_dict().items())
