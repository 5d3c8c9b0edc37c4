"""Where `nf` starts, which is also `python -m nfcli`: interrupts are taken before anything that takes time."""

import sys


def main() -> None:
    """Run `nf` and exit: the entry point."""
    try:
        from nfcli.interruption import listen

        listen()
        from nfcli.cli.app import main as run

        run()
    except KeyboardInterrupt:
        from nfcli.interruption import report

        sys.exit(report())


if __name__ == "__main__":
    main()
