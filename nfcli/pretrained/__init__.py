"""Weights that ship with the package, one folder a preset, and the maintainer's command that makes such a folder.

`python -m nfcli.pretrained RUN` exports a run; `nfcli.runs.pretrained` finds what is here.
"""
