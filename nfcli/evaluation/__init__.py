"""Evaluation: the importance-weighted bound, statistics, timing. Needs no command line."""
