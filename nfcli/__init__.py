"""`nf`: normalizing flows on images, from a shell.

Rooms (arrows go one way: ``cli -> training, evaluation, figures -> flows, data, runs -> presets, errors``):

    cli/         one thin file a subcommand
    flows/       the Flax model package: pure functions of arrays
    data/        where images come from
    training/    step, loop, checkpoints
    evaluation/  the importance-weighted bound, statistics, timing
    figures/     arrays to PNG files
    runs/        the run directory and its JSON files
"""

__version__ = "0.1.0"
