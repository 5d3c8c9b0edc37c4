"""`build(preset, shape)`: a model as pure functions of a dictionary of arrays.

The rest of the package sees only this: `init`, `log_prob`, `sample`, `encode`, `decode`. Each is a plain function that
`jax.jit`, `jax.grad` and shardings can take; parameters are nested dictionaries with string keys and array leaves.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from nfcli.flows.assembly import Assembly
from nfcli.flows.dequantization import UniformDequantization
from nfcli.flows.flow import Flow, Latents
from nfcli.flows.initializers import Initializer
from nfcli.flows.labels import one_hot
from nfcli.flows.networks import PLAIN, ComputePolicy
from nfcli.presets import ALPHA, Preset, Shape

Parameters = dict[str, Any]


def build(
    preset: Preset,
    shape: Shape,
    *,
    levels: int = 256,
    alpha: float = ALPHA,
    classes: int = 0,
    policy: ComputePolicy = PLAIN,
) -> FlowModel:
    """The model of a preset for images of one shape.

    Args:
        preset: From `nfcli.presets`.
        shape: (H, W, C).
        levels: Number of values of a pixel, 2 to 256.
        alpha: Squash of the logit transform.
        classes: Number of classes of a class-conditional model, which gives log p(x | label); 0 for log p(x).
        policy: How the networks inside coupling layers are computed. Dequantization, the couplings' affine maps,
            log-determinants and the prior keep the type of the parameters.

    Raises:
        UsageError: The preset cannot take images of this shape.
    """
    return FlowModel(preset, shape, levels=levels, alpha=alpha, classes=classes, policy=policy)


class FlowModel:
    """A flow for images of one shape, without its parameters.

    Where a method takes `labels`, a class-conditional model must be given them, as (B,) integers or (B, classes)
    weights, and another one must not.

    Attributes:
        shape: (H, W, C) of an image.
        levels: Number of values of a pixel.
        classes: Of the labels that it is conditioned on, 0 for none.
        latent_shapes: Shape of each level's latent, without the batch axis.
        num_parameters: Number of scalars to learn.
        has_data_dependent_init: Whether some parameters should start from data, see `data_dependent_init`.
    """

    def __init__(
        self, preset: Preset, shape: Shape, *, levels: int, alpha: float, classes: int, policy: ComputePolicy
    ) -> None:
        self.preset, self.shape, self.levels, self.alpha, self.classes = preset, shape, levels, alpha, classes
        self.latent_shapes = preset.shapes(shape)[1]
        self.dimensions = math.prod(shape)
        self._assembly = Assembly(preset, shape, levels=levels, alpha=alpha, classes=classes, policy=policy)
        initializer = Initializer()
        self._graph, self._state = nnx.split(self._assembly.flow(initializer))
        self._random_numbers = initializer.drawn
        self.num_parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(self._state))
        self.has_data_dependent_init = any(getattr(layer, "actnorm", False) for layer in preset.layers)

    def with_policy(self, policy: ComputePolicy) -> FlowModel:
        """The same model, of the same parameters, whose networks are computed in another way."""
        return FlowModel(
            self.preset, self.shape, levels=self.levels, alpha=self.alpha, classes=self.classes, policy=policy
        )

    def cache_key(self) -> list[Any]:
        """All that makes this model what it is, as JSON values, the way that networks are computed left out."""
        return [repr(self.preset), list(self.shape), self.levels, self.alpha, self.classes]

    def init(self, key: Array) -> Parameters:
        """Fresh parameters from one random key; the same key gives the same parameters."""
        return _to_dict(nnx.split(self._assembly.flow(Initializer(key, self._random_numbers)))[1])

    def data_dependent_init(
        self, parameters: Parameters, x: Array, keys: Array, labels: Array | None = None
    ) -> Parameters:
        """Parameters whose activation normalizations start from a first batch; arguments as of `log_prob`."""
        flow = self._flow(parameters)
        flow.data_dependent_init(x, keys, _dtype(parameters), self._weights_of(labels))
        return _to_dict(nnx.split(flow)[1])

    def parameter_shapes(self) -> Parameters:
        """The dictionary of parameters with a `jax.ShapeDtypeStruct` in the place of each array."""
        return _to_dict(jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), self._state))

    def log_prob(self, parameters: Parameters, x: Array, keys: Array, labels: Array | None = None) -> Array:
        """One noise draw's lower bound on log p(x).

        Args:
            parameters: Of this model.
            x: (B, H, W, C) integers 0..levels-1.
            keys: (B,) random keys, one an image: an image's result depends on its key and on nothing else in the batch.
            labels: Of a class-conditional model, which gives the bound on log p(x | label).

        Returns:
            `log p(x + u) - log q(u | x)`, (B,), natural logarithm.
        """
        return self._flow(parameters).log_prob(x, keys, _dtype(parameters), self._weights_of(labels))

    def sample_latents(self, keys: Array, *, temperature: float = 1.0) -> Latents:
        """Draw the latents of one image a key: (B,) keys to one (B, ...) array a level."""
        return tuple(
            temperature
            * jax.vmap(lambda key, level=level, shape=shape: jax.random.normal(jax.random.fold_in(key, level), shape))(
                keys
            )
            for level, shape in enumerate(self.latent_shapes)
        )

    def sample(
        self, parameters: Parameters, keys: Array, labels: Array | None = None, *, temperature: float = 1.0
    ) -> Array:
        """Draw one image a key.

        Args:
            parameters: Of this model.
            keys: (B,) random keys.
            labels: Of a class-conditional model.
            temperature: Standard deviation of the latents; below 1 gives tamer images.

        Returns:
            (B, H, W, C) uint8.
        """
        return self.decode(parameters, self.sample_latents(keys, temperature=temperature), labels)

    def encode(
        self, parameters: Parameters, x: Array, keys: Array, labels: Array | None = None, *, margin: float = 0.25
    ) -> Latents:
        """Images to latents, one array a level, that `decode` turns back into exactly the same images.

        The noise is drawn as for the likelihood and then kept `margin` away from the edges that bins share, so that
        floating-point error cannot move a pixel.
        """
        return self._flow(parameters).encode(x, keys, margin, _dtype(parameters), self._weights_of(labels))

    def decode(self, parameters: Parameters, latents: Latents, labels: Array | None = None) -> Array:
        """Latents to images: one (B, ...) array a level to (B, H, W, C) uint8."""
        return self._flow(parameters).decode(latents, self._weights_of(labels))

    def dequantize(self, parameters: Parameters, x: Array, keys: Array, labels: Array | None = None) -> Array:
        """Images with their noise on the real line: (B, H, W, C) integers and (B,) keys to (B, H, W, C)."""
        flow = self._flow(parameters)
        return flow.dequantization.dequantize(x, keys, _dtype(parameters), self._weights_of(labels))[0]

    def quantize(self, y: Array) -> Array:
        """The real line to integers, (B, H, W, C) to the same as uint8: undoes `dequantize`, whatever its noise."""
        return UniformDequantization(levels=self.levels, alpha=self.alpha).quantize(y)

    def _weights_of(self, labels: Array | None) -> Array | None:
        if (labels is None) != (self.classes == 0):
            raise ValueError("a class-conditional model needs labels, and another one takes none")
        return None if labels is None else one_hot(jnp.asarray(labels), self.classes)

    def _flow(self, parameters: Parameters) -> Flow:
        leaves, structure = jax.tree.flatten(self._state)
        names = [_path_name(path) for path, _ in jax.tree.leaves_with_path(self._state)]
        values = [_lookup(parameters, name) for name in names]
        for name, value, leaf in zip(names, values, leaves, strict=True):
            if value.shape != leaf.shape:
                raise ValueError(f"parameter {'/'.join(name)} has shape {value.shape}, not {leaf.shape}")
        return nnx.merge(self._graph, jax.tree.unflatten(structure, values))


def _to_dict(state: Any) -> Parameters:
    tree: Parameters = {}
    for path, leaf in jax.tree.leaves_with_path(state):
        *parents, last = _path_name(path)
        node = tree
        for name in parents:
            node = node.setdefault(name, {})
        node[last] = leaf
    return tree


def _path_name(path: tuple[Any, ...]) -> tuple[str, ...]:
    """The names on a state's path: attributes and list positions, without the variable's own `value`."""
    names = [str(getattr(entry, "key", getattr(entry, "name", getattr(entry, "idx", "")))) for entry in path]
    return tuple(name for name in names if name != "value")


def _lookup(tree: Parameters, name: tuple[str, ...]) -> Array:
    node: Any = tree
    for key in name:
        node = node[key]
    return node


def _dtype(parameters: Parameters) -> jnp.dtype:
    return jax.tree.leaves(parameters)[0].dtype
