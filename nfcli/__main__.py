"""Where `nf` starts, which is also `python -m nfcli`: signals are taken before anything that takes time."""

import os
import sys

COMPUTING = {"train", "eval", "sample", "interpolate", "inspect-dequant"}
"""Commands that take much memory."""


def main() -> None:
    """Run `nf` and exit: the entry point."""
    _open_standard_files()
    try:
        if COMPUTING & {*sys.argv[1:2]} and not {"-h", "--help"} & {*sys.argv}:
            from nfcli.backend.runtime import with_large_pages

            with_large_pages()
        from nfcli.process.signals import listen

        listen()
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        sys.exit(130)
    from nfcli.cli.app import main as run

    run()


def _open_standard_files() -> None:
    """Where the parent closed stdin, stdout or stderr, no file that is opened later may get its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the smallest number that is free
    # `print` would write to stdout instead. That stdout is closed is said where the result would go.
    sys.stderr = sys.stderr or open(2, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115


if __name__ == "__main__":
    main()
