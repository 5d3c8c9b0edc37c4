"""Training: one compiled step, one loop, checkpoints. Needs no command line."""
