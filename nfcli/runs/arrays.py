"""Trees of arrays on disk, by Orbax; jax is imported when one is saved or loaded."""

from pathlib import Path
from typing import Any

from nfcli.errors import CheckpointError, one_line
from nfcli.process import collectives


def _checkpointer(first: int, processes: set[int]) -> Any:
    """Orbax for these processes, of which `first` does what is done once."""
    import orbax.checkpoint as ocp

    # Without names Orbax would wait with a collective, for which all processes need equally many devices.
    who = ocp.options.MultiprocessingOptions(primary_host=first, active_processes=processes)
    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler(multiprocessing_options=who), multiprocessing_options=who)


def save_tree(path: Path, tree: Any) -> None:
    """Save from all processes together."""
    import orbax.checkpoint as ocp

    with _checkpointer(0, set(range(collectives.count()))) as checkpointer:
        checkpointer.save(path, args=ocp.args.PyTreeSave(tree))


def load_tree(path: Path, like: Any) -> Any:
    """Load as numpy arrays in the shapes of `like`, in this process, whatever others do.

    Raises:
        CheckpointError: What is there has other names or shapes.
    """
    import jax
    import numpy as np
    import orbax.checkpoint as ocp

    arguments = jax.tree.map(lambda leaf: ocp.RestoreArgs(restore_type=np.ndarray, dtype=leaf.dtype), like)
    me = collectives.index()
    try:
        with _checkpointer(me, {me}) as checkpointer:
            tree = checkpointer.restore(path, args=ocp.args.PyTreeRestore(item=like, restore_args=arguments))
        for (place, got), want in zip(jax.tree.leaves_with_path(tree), jax.tree.leaves(like), strict=True):
            if got.shape != want.shape:
                raise ValueError(f"{jax.tree_util.keystr(place)} has shape {got.shape}, not {want.shape}")
        return tree
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise CheckpointError(
            f"checkpoint {path} does not fit the model: {one_line(error)}",
            hint="it was written by another version of nf, or config.json was changed",
        ) from error
