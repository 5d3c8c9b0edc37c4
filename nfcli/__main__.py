"""Where `nf` starts, which is also `python -m nfcli`: signals are taken before anything that takes time."""

import sys


def main() -> None:
    """Run `nf` and exit: the entry point."""
    try:
        from nfcli.process.signals import listen

        listen()
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        sys.exit(130)
    from nfcli.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
