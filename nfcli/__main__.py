"""`python -m nfcli` is `nf`."""

from nfcli.cli.app import main

if __name__ == "__main__":
    main()
