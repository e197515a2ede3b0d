from __future__ import annotations

from collections.abc import Callable

import pytest

from lanpo_memory.errors import ConfigError
from lanpo_rl.config import LanpoConfig

MakeConfig = Callable[..., LanpoConfig]


def test_presets_set_the_method_and_no_learning_rate(make_config: MakeConfig):
    paper, recommended, grpo = (make_config(n) for n in ("paper", "recommended", "grpo"))
    assert (paper.objective, paper.group_layout, paper.guided_per_group) == (
        "in_context",
        "shared",
        8,
    )
    assert (recommended.objective, recommended.group_layout) == ("both", "mixed")
    assert recommended.guided_per_group == 4
    assert not grpo.guides
    assert not paper.reshapes_advantages
    assert recommended.reshapes_advantages
    with pytest.raises(ConfigError, match="known: paper"):
        LanpoConfig.preset("best")


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"mode": "extra"}, "mode must be one of"),
        ({"objective": "luck"}, "objective must be one of"),
        ({"group_layout": "odd"}, "group_layout must be one of"),
        ({"retrieval_weight": "x"}, "retrieval_weight must be one of"),
        ({"feedback_ratio": 1.5}, "feedback_ratio must lie between 0 and 1"),
        ({"feedback_ratio": -0.1}, "feedback_ratio must lie between 0 and 1"),
        ({"intra_share": 2.0}, "intra_share"),
        ({"gamma": 1.2}, "gamma must lie between 0 and 1"),
        ({"remove_unused_columns": True}, "remove_unused_columns"),
        ({"guided_fraction": 0.0}, "one half of a mixed group empty"),
        ({"guided_fraction": 1.0}, "one half of a mixed group empty"),
        ({"scale_rewards": "batch"}, "scale_rewards"),
        ({"use_vllm": True, "vllm_mode": "server"}, "vLLM server mode"),
    ],
)
def test_settings_without_meaning_are_refused_with_the_reason(
    make_config: MakeConfig, settings: dict[str, object], fault: str
):
    with pytest.raises(ConfigError, match=fault):
        make_config("recommended", **settings)


def test_what_differs_from_the_paper_is_stated_in_the_open(make_config: MakeConfig):
    config = make_config("paper")
    assert config.beta == 0.0
    assert config.loss_type == "dapo"
    assert config.remove_unused_columns is False


def test_a_password_in_the_pools_address_is_never_shown(make_config: MakeConfig):
    address = "postgresql://me:s3cret@host/db"
    config = make_config("recommended", pool=address)
    assert config.pool == address
    for text in (str(config), repr(config), config.to_json_string(), str(config.to_dict())):
        assert "s3cret" not in text
        assert "postgresql://me:***@host/db" in text
