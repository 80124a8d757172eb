"""The one error of this package: what is wrong and what to do about it."""


class WanError(Exception):
    """Shown to people as it is, without a trace back."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}")
