"""Models for commands: which one, what it may cost, and what it did cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from lanpo_memory.cli.terminal import defused, waiting, wrapped
from lanpo_memory.errors import NoAnswerError
from lanpo_memory.ledger import Ledger

if TYPE_CHECKING:
    from lanpo_memory.models import LiteLLMModel, TransformersModel

__all__ = [
    "ApiBaseOption",
    "MaxCallsOption",
    "MaxCostOption",
    "MaxTokensOption",
    "ModelOption",
    "check_answering",
    "load_model",
    "print_ledger",
]

_MOST_REASONS = 3  # shown for each role
_SILENCE = 16  # calls in a row from the start that may fail

ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="A folder with a Hugging Face model, or a litellm name such as openai/gpt-4o-mini, "
        "whose key is read from the environment.",
    ),
]
ApiBaseOption = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Address of an OpenAI-compatible server, e.g. of vLLM."),
]
MaxCallsOption = Annotated[
    int | None, typer.Option(min=0, metavar="N", help="Budget: most requests, tries included.")
]
MaxTokensOption = Annotated[
    int | None, typer.Option(min=0, metavar="N", help="Budget: most tokens, in and out together.")
]
MaxCostOption = Annotated[
    float | None, typer.Option(min=0.0, metavar="USD", help="Budget: most US dollars.")
]


def load_model(
    name: str, ledger: Ledger, *, api_base: str | None = None
) -> LiteLLMModel | TransformersModel:
    """Return the model a command names: a folder is loaded, anything else is asked via litellm.

    Raises:
        MissingExtraError: transformers or litellm is not installed.
        ConfigError: the folder holds no model that can be loaded, or litellm does not know the
            provider.
    """
    if Path(name).is_dir():
        from lanpo_memory.models import TransformersModel

        with waiting(f"loading {name}"):
            return TransformersModel(name, ledger=ledger)
    from lanpo_memory.models import LiteLLMModel

    with waiting("loading litellm"):
        return LiteLLMModel(name, ledger=ledger, api_base=api_base)


def check_answering(ledger: Ledger) -> None:
    """Stop a long piece of work whose model answers nothing at all.

    Raises:
        NoAnswerError: many calls were made and each of them failed.
    """
    total = ledger.total
    if total.calls == total.failures >= _SILENCE:
        reason = next(
            (r for role in ledger.by_role() for r, _ in ledger.reasons(role)), "no reason"
        )
        raise NoAnswerError(
            f"the model answered none of {total.calls:,} calls, so nobody was asked further: "
            f"{defused(reason)}"
        )


def print_ledger(console: Console, ledger: Ledger) -> None:
    """Say what was spent, a line for each role, and why calls brought no answer."""
    for role, usage in ledger.by_role().items():
        failed = f" ({usage.failures:,} failed)" if usage.failures else ""
        cost = f", {usage.cost:.4f} USD" if usage.cost else ""
        cost += f", {usage.unpriced:,} without a known price" if usage.unpriced else ""
        console.print(
            f"{role:<12}{usage.calls:,} calls{failed}, {usage.prompt_tokens:,} tokens in, "
            f"{usage.completion_tokens:,} out, {usage.seconds:.1f} s{cost}"
        )
        for reason, n in ledger.reasons(role)[:_MOST_REASONS]:
            console.print(wrapped(" " * 12, f"no answer, {n:,} x: {defused(reason)}", console))
