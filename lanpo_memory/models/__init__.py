"""Chat models. The trainer lets the policy under training answer; others bring their own."""

from lanpo_memory.models.litellm_model import LiteLLMModel
from lanpo_memory.models.transformers_model import TransformersModel

__all__ = ["LiteLLMModel", "TransformersModel"]
