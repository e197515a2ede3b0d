"""Chat models. The trainer lets the policy under training answer; others bring their own."""

__all__: list[str] = []
