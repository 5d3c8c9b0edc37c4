"""`build(preset, shape)`: a model as pure functions of a dictionary of arrays.

The rest of the package sees only this: `init`, `log_prob`, `sample`, `encode`, `decode`. Each is a plain function that
`jax.jit`, `jax.grad` and shardings can take; parameters are nested dictionaries with string keys and array leaves.
"""

import functools
import math
import operator
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.traversals import unflatten_mapping
from jax import Array
from jax.tree_util import keystr

from nfcli.flows.assembly import Assembly
from nfcli.flows.dequantization import UniformDequantization, normal_noise
from nfcli.flows.flow import Flow, Latents
from nfcli.flows.initializers import Initializer
from nfcli.flows.labels import one_hot
from nfcli.flows.networks import ComputePolicy
from nfcli.flows.prior import standard_normal_log_prob

Parameters = dict[str, Any]


@dataclass(eq=False)
class FlowModel(Assembly):
    """A flow for images of one shape, without its parameters.

    Where a method takes `labels`, a class-conditional model must be given them, as (B,) integers or (B, classes)
    weights, and another one must not.

    Args:
        preset: From `nfcli.presets`.
        shape: (H, W, C).
        levels: Number of values of a pixel, 2 to 256.
        alpha: Squash of the logit transform.
        classes: Number of classes of a class-conditional model, which gives log p(x | label); 0 for log p(x).
        policy: How the networks inside coupling layers are computed. Dequantization, the couplings' affine maps,
            log-determinants and the prior keep the type of the parameters.

    Attributes:
        dimensions: Of one image, H W C.
        latent_shapes: Shape of each level's latent, without the batch axis.
        num_parameters: Number of scalars to learn.
        has_data_dependent_init: Whether some parameters should start from data, see `data_dependent_init`.

    Raises:
        UsageError: The preset cannot take images of this shape.
    """

    def __post_init__(self) -> None:
        self.latent_shapes = self.preset.shapes(self.shape)[1]
        self.dimensions = math.prod(self.shape)
        initializer = Initializer()
        self._graph, self._state = nnx.split(self.make(initializer))
        self._random_numbers = initializer.drawn
        self.num_parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(self._state))
        self.has_data_dependent_init = any(getattr(layer, "actnorm", False) for layer in self.preset.layers)

    def with_policy(self, policy: ComputePolicy) -> "FlowModel":
        """The same model, of the same parameters, whose networks are computed in another way."""
        return replace(self, policy=policy)

    def cache_key(self) -> list[Any]:
        """All that makes this model what it is, as JSON values, the way that networks are computed left out."""
        return [repr(self.preset), list(self.shape), self.levels, self.alpha, self.classes]

    def init(self, key: Array) -> Parameters:
        """Fresh parameters from one random key; the same key gives the same parameters."""
        return _to_dict(nnx.state(self.make(Initializer(key, self._random_numbers))))

    def data_dependent_init(
        self, parameters: Parameters, x: Array, keys: Array, labels: Array | None = None
    ) -> Parameters:
        """Parameters whose activation normalizations start from a first batch; arguments as of `log_prob`."""
        flow, dtype, weights = self._loaded(parameters, labels)
        y, _ = flow.dequantization.dequantize(x, keys, dtype, weights)
        flow.transform.forward(y, weights, data_dependent_init=True)
        return _to_dict(nnx.state(flow))

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
        flow, dtype, weights = self._loaded(parameters, labels)
        y, ldj = flow.dequantization.dequantize(x, keys, dtype, weights)
        latents, step = flow.transform.forward(y, weights)
        return ldj + step + sum(standard_normal_log_prob(z) for z in latents)

    def sample_latents(self, keys: Array, *, temperature: float = 1.0) -> Latents:
        """Draw the latents of one image a key: (B,) keys to one (B, ...) array a level."""
        at_level = jax.vmap(jax.random.fold_in, (0, None))
        return tuple(
            temperature * normal_noise(at_level(keys, level), shape, jnp.result_type(float))
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

        The noise is drawn as for the likelihood and then shrunk into (margin, 1 - margin), away from the edges that a
        pixel's bin shares with another value's, so that the error of inverting in floating point cannot move a pixel. A
        likelihood never uses such noise.

        Args:
            parameters: Of this model.
            x: (B, H, W, C) integers 0..levels-1.
            keys: (B,) random keys, one an image.
            labels: Of a class-conditional model.
            margin: Share of a bin, in [0, 0.5).

        Returns:
            (B, ...) each, in the shapes of `latent_shapes`, with the type of the parameters.
        """
        flow, dtype, weights = self._loaded(parameters, labels)
        u, _ = flow.dequantization.noise(x, keys, dtype, weights)
        # Nothing lies beyond black and white: there the noise may stay where the flow has learned to expect it.
        low = jnp.where(x > 0, margin, 0).astype(dtype)
        high = jnp.where(x < self.levels - 1, 1 - margin, 1).astype(dtype)
        y, _ = flow.dequantization.place(x, low + (high - low) * u)
        return flow.transform.forward(y, weights)[0]

    def decode(self, parameters: Parameters, latents: Latents, labels: Array | None = None) -> Array:
        """Latents to images: one (B, ...) array a level to (B, H, W, C) uint8."""
        flow, _, weights = self._loaded(parameters, labels)
        return flow.dequantization.quantize(flow.transform.inverse(latents, weights))

    def dequantize(self, parameters: Parameters, x: Array, keys: Array, labels: Array | None = None) -> Array:
        """Images with their noise on the real line: (B, H, W, C) integers and (B,) keys to (B, H, W, C)."""
        flow, dtype, weights = self._loaded(parameters, labels)
        return flow.dequantization.dequantize(x, keys, dtype, weights)[0]

    def quantize(self, y: Array) -> Array:
        """The real line to integers, (B, H, W, C) to the same as uint8: undoes `dequantize`, whatever its noise."""
        return UniformDequantization(levels=self.levels, alpha=self.alpha).quantize(y)

    def _loaded(self, parameters: Parameters, labels: Array | None) -> tuple[Flow, jnp.dtype, Array | None]:
        """The layers, the type that they compute in, and the weights of labels."""
        if (labels is None) != (self.classes == 0):
            raise ValueError("a class-conditional model needs labels, and another one takes none")
        weights = None if labels is None else one_hot(jnp.asarray(labels), self.classes)
        return self._flow(parameters), jax.tree.leaves(parameters)[0].dtype, weights

    def _flow(self, parameters: Parameters) -> Flow:
        def given(path: Any, leaf: Array) -> Array:
            names = _names(path)
            value: Any = functools.reduce(operator.getitem, names, parameters)
            if value.shape != leaf.shape:
                raise ValueError(f"parameter {'/'.join(names)} has shape {value.shape}, not {leaf.shape}")
            return value

        return nnx.merge(self._graph, jax.tree.map_with_path(given, self._state))


build = FlowModel
"""The model of a preset for images of one shape."""


def _to_dict(state: Any) -> Parameters:
    return unflatten_mapping({_names(path): leaf for path, leaf in jax.tree.leaves_with_path(state)})


def _names(path: Any) -> tuple[str, ...]:
    """The names on a state's path: attributes and list positions, without the variable's own `value`."""
    return tuple(name for name in keystr(path, simple=True, separator="/").split("/") if name != "value")
