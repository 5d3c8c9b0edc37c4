"""`python -m nfcli.pretrained.course FILE RUN`: a run from a checkpoint of the course's own notebook.

The University of Amsterdam's deep-learning course saves what its tutorial 11 trained in JAX with Flax's `msgpack`. Such
a file becomes a run that every command of `nf` reads like one of its own, so that it can be measured and looked at. It
cannot be trained further: the course saves parameters alone.

Presets `simple`, `vardeq` and `multiscale` are told apart by their arrays. The likelihood is the one that the course
used until September 2022, when the numbers in print were made; since then its sigmoid undoes alpha too, which changes
`vardeq` by 7e-6 bits per dimension.
"""

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from nfcli.backend import runtime
from nfcli.config import TrainConfig
from nfcli.data import load_dataset
from nfcli.errors import CheckpointError, NFError, UsageError, error_lines, one_line
from nfcli.files import remove_tree
from nfcli.flows import FlowModel, build
from nfcli.presets import Split, get_preset
from nfcli.runs import CheckpointMeta, Checkpoints, RunDir, default_runs_dir, run_named
from nfcli.runs.restore import description

PRESETS = ("simple", "vardeq", "multiscale")

LARGEST_FILE = 256 * 2**20

INSIDE = {
    "/network/": "/network/nn/",
    "/conv_in/": "/layers_0/",
    **{f"/blocks/{block}/": f"/layers_{2 * block + 1}/" for block in range(3)},
    **{f"/norms/{block}/": f"/layers_{2 * block + 2}/" for block in range(3)},
    "/conv_out/": "/layers_8/",
    "/conv/": "/Conv_0/",
    "/gate/": "/Conv_1/",
}
"""Parts of a coupling in our names, and in the course's; layer 7 of its network is a ConcatELU."""

Arrays = dict[str, np.ndarray]
"""By the names on the way to each, with slashes between them."""


def course_couplings(preset: str) -> dict[str, str]:
    """Where each coupling of a preset is in our parameters, and where it is in the course's checkpoint."""
    found = get_preset(preset)
    noise = range(getattr(found.dequantization, "count", 0))
    places = {f"dequantization/couplings/{index}/": f"flows_0/var_flows_{index}/" for index in noise}
    # The course counts every step of its flow, dequantization first; ours start again after a split.
    steps = [layer for layer in found.layers for _ in range(getattr(layer, "count", 1))]
    scale = position = 0
    for number, step in enumerate(steps, 1):
        places[f"transform/levels/{scale}/{position}/"] = f"flows_{number}/"
        scale, position = (scale + 1, 0) if isinstance(step, Split) else (scale, position + 1)
    return places


def course_name(name: str, couplings: dict[str, str]) -> str:
    """An array's name in the course's checkpoint, from its name in our parameters."""
    for ours, course in {**couplings, **INSIDE}.items():
        name = name.replace(ours, course)
    return name


def parameters_from(arrays: Arrays) -> tuple[FlowModel, dict[str, Any]]:
    """The model whose parameters these are, and the parameters as it wants them.

    Raises:
        UsageError: They are none of the presets'.
    """
    there = {name: array.shape for name, array in arrays.items()}
    for preset in PRESETS:
        model, couplings = build(get_preset(preset), (28, 28, 1)), course_couplings(preset)
        shapes = flatten_dict(model.parameter_shapes(), sep="/")
        names = {name: course_name(name, couplings) for name in shapes}
        if there == {names[name]: leaf.shape for name, leaf in shapes.items()}:
            found = {name: np.asarray(arrays[names[name]], np.float32) for name in names}
            return model, unflatten_dict(found, sep="/")
    raise UsageError(
        f"its {len(arrays)} arrays are not those of {', '.join(PRESETS)}",
        hint="it must be a checkpoint of the course's JAX notebook on normalizing flows, tutorial 11",
    )


def read_arrays(file: Path) -> Arrays:
    """The arrays in a file of Flax's msgpack, or those below its `params`.

    Raises:
        CheckpointError: There is no such file, or it is another kind.
    """
    from flax.serialization import msgpack_restore

    try:
        too_large = file.stat().st_size > LARGEST_FILE
        content = None if too_large else msgpack_restore(file.read_bytes())
        tree = content.get("params", content) if isinstance(content, dict) else None
        arrays = flatten_dict(tree, sep="/") if isinstance(tree, dict) else {}
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # whatever msgpack makes of other bytes
        raise CheckpointError(f"{file} is no checkpoint of Flax: {one_line(error)}") from error
    if too_large:
        raise CheckpointError(f"{file} is larger than {LARGEST_FILE // 2**20} MiB", hint="it is no such checkpoint")
    if not arrays or not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise CheckpointError(f"{file} holds no parameters", hint="it must be what the course's JAX notebook saved")
    return arrays


def convert(file: Path, name: str, runs_dir: Path, *, overwrite: bool = False) -> RunDir:
    """Make a run of a checkpoint.

    Raises:
        CheckpointError: The file cannot be read, or is another kind.
        UsageError: It is of another model, or there is a run of this name.
        WriteError: The run cannot be written.
    """
    model, parameters = parameters_from(read_arrays(file))
    run = run_named(name, runs_dir)
    if run.exists() and not overwrite:
        raise UsageError(f"there is a run '{name}' in {runs_dir}", hint="give this one another name, or --overwrite")
    dataset = load_dataset("mnist")
    config = TrainConfig(preset=model.preset.name, network_dtype="float32")
    if run.exists():
        remove_tree(run.path)
    device = {"platform": "unknown", "kind": f"the course's, from {file.name}", "count": 1}
    origin = {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    run.write_config({**description(name, config, model, dataset, device), "converted": origin})
    # Step 0: the file does not say which one it was.
    meta = CheckpointMeta(step=0, steps_per_epoch=len(dataset.train) // config.batch_size, best_step=0)
    Checkpoints(run.checkpoints).save({"parameters": parameters}, meta)
    return run


def main(arguments: list[str] | None = None) -> int:
    """Make a run of a checkpoint that the course's JAX notebook saved; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m nfcli.pretrained.course", description=main.__doc__)
    parser.add_argument("file", type=Path, metavar="FILE", help="the checkpoint, Flax's msgpack")
    parser.add_argument("run", metavar="RUN", help="name of the run to make")
    parser.add_argument("--runs-dir", type=Path, default=default_runs_dir(), help="where run directories live")
    parser.add_argument("--overwrite", action="store_true", help="delete a run of the same name first")
    given = parser.parse_args(arguments)
    runtime.prepare()
    try:
        run = convert(given.file, given.run, given.runs_dir, overwrite=given.overwrite)
    except NFError as error:
        print(error_lines(error), file=sys.stderr)
        return error.exit_code
    config = run.config()
    print(f"{run.path}: preset {config['model']['preset']}, {config['model']['parameters']:,} parameters")
    print(f"hint: nf eval {given.run} measures it; it cannot be trained further", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
