"""Random parameters, none of them zero: a layer that starts as the identity would pass any test."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from nfcli.flows import FlowModel, Parameters
from nfcli.flows.initializers import Initializer
from nfcli.presets import Preset, get_preset
from tests.cli.small import shorten


def randomized(factory, seed=0, dtype=jnp.float32, *, gain=1.0):
    """The layer that `factory(weights)` gives, with random parameters; `gain` multiplies the kernels."""
    graph, state = nnx.split(factory(Initializer()))
    return nnx.merge(graph, _random_leaves(state, seed, dtype, gain))


def random_parameters(model: FlowModel, seed=0, dtype=jnp.float32, *, gain=1.0, share=1.0) -> Parameters:
    """Random parameters for a model; `gain` multiplies the kernels, `share` everything."""
    return _random_leaves(model.parameter_shapes(), seed, dtype, gain, share)


def short_preset(name: str) -> Preset:
    """A preset's narrow twin with two couplings, and not up to eight, wherever it has a row of them; as `shallow`."""
    return shorten(get_preset(name, smoke=True), most=2, blocks=0)


def _random_leaves(tree, seed, dtype, gain, share=1.0):
    leaves, structure = jax.tree.flatten_with_path(tree)
    generator = np.random.default_rng(seed)
    values = [_random_leaf(jax.tree_util.keystr(path), leaf.shape, generator, gain) for path, leaf in leaves]
    assert all(np.all(value != 0) for value in values)
    # Converted by numpy: jax would compile a program for every shape.
    return jax.tree.unflatten(structure, [jnp.asarray(np.asarray(share * value, dtype)) for value in values])


def _random_leaf(name, shape, generator, gain):
    """The same numbers for every dtype."""
    noise = generator.standard_normal(shape)
    if "kernel" in name:
        return gain * noise / np.sqrt(np.prod(shape[:-1]))
    return 0.2 * noise + ("scale" in name and "scaling" not in name)
