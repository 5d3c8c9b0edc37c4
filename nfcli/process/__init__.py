"""The life of a process: signals, and the other processes of one run. Nothing of jax before they join."""
