"""How large the whole numbers may be that users give, in one place for all options. No jax here."""

from __future__ import annotations

from nfcli.errors import UsageError

LARGEST = 2**31 - 1
"""What counts steps, images and draws in compiled programs has 32 bits."""

LARGEST_SEED = 2**32 - 1


def check_whole(name: str, value: int | None, least: int = 1, most: int = LARGEST) -> None:
    """Refuse a whole number that cannot be, before anything is read, written or deleted for it.

    Args:
        name: Of the option, or of the setting that it gives.
        value: None for one that was left out.
        least, most: What it may be.

    Raises:
        UsageError: It is smaller or larger.
    """
    if value is not None and not least <= value <= most:
        wanted = f"at least {least}" if value < least and most == LARGEST else f"between {least} and {most}"
        raise UsageError(f"--{name.replace('_', '-')} {value} is not possible", hint=f"it must be {wanted}")


def check_seed(seed: int) -> None:
    """Refuse a seed that not every stream of random numbers takes.

    Raises:
        UsageError: It is none.
    """
    check_whole("seed", seed, 0, LARGEST_SEED)
