"""Models for commands: which one, what it may cost, and what it did cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from lanpo_memory.cli.terminal import defused, waiting, wrapped
from lanpo_memory.errors import ConfigError, NoAnswerError
from lanpo_memory.ledger import Ledger

if TYPE_CHECKING:
    from lanpo_memory.models import LiteLLMModel, TransformersModel

__all__ = [
    "INTERRUPTED",
    "ApiBaseOption",
    "MaxCallsOption",
    "MaxCostOption",
    "MaxTokensOption",
    "ModelOption",
    "check_answering",
    "ledger_of",
    "load_model",
    "print_faults",
    "print_ledger",
]

INTERRUPTED = 130
"""What shells report for a command that was stopped by Ctrl-C."""

_MOST_REASONS = 3  # shown for each role
_MOST_FAULTS = 20
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
    typer.Option(
        metavar="URL",
        help="Address of an OpenAI-compatible server, e.g. of vLLM. The key from the environment "
        "is sent there.",
    ),
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


def ledger_of(
    model: str | None,
    *,
    api_base: str | None,
    max_calls: int | None,
    max_tokens: int | None,
    max_cost: float | None,
) -> Ledger:
    """Return the ledger of a command, with the budget that its options set.

    Raises:
        ConfigError: an option is about a model, and none is named.
    """
    limits = {"max_calls": max_calls, "max_tokens": max_tokens, "max_cost": max_cost}
    given = [name for name, value in {**limits, "api_base": api_base}.items() if value is not None]
    if model is None and given:
        option = given[0].replace("_", "-")
        raise ConfigError(f"--{option} is about a model; name one with --model MODEL")
    return Ledger(max_calls=max_calls, max_tokens=max_tokens, max_cost=max_cost)


def load_model(
    name: str, ledger: Ledger, *, api_base: str | None = None
) -> LiteLLMModel | TransformersModel:
    """Return the model a command names: a folder is loaded, anything else is asked via litellm.

    Raises:
        MissingExtraError: transformers or litellm is not installed.
        ConfigError: the folder holds no model that can be loaded, or litellm does not know the
            provider.
    """
    if name.startswith((".", "/", "~")) and not Path(name).expanduser().is_dir():
        raise ConfigError(f"there is no folder {name}; a name of litellm is provider/model")
    if Path(name).expanduser().is_dir():
        from lanpo_memory.models import TransformersModel

        with waiting(f"loading {name}"):
            return TransformersModel(Path(name).expanduser(), ledger=ledger)
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


def print_faults(console: Console, faults: Sequence[tuple[str, str]]) -> None:
    """Name the first of what went wrong, a line each: a label such as ``not read:``, and what."""
    for label, text in faults[:_MOST_FAULTS]:
        console.print(Text.assemble((label, "red"), f" {defused(text)}"))
    if len(faults) > _MOST_FAULTS:
        console.print(f"... and {len(faults) - _MOST_FAULTS:,} more")
