"""The reference models as a plain Flax program: what someone writes who follows the course, and no more.

One jitted step, a batch from the host at every step, nothing donated, no flags. It is the yardstick of the benchmark
and a third implementation of the same mathematics, so its loss must equal nf's on the same parameters and noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training import train_state

ALPHA = 1e-5


class ConcatELU(nn.Module):
    """Both signs through an ELU."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.concatenate([nn.elu(x), nn.elu(-x)], axis=-1)


class GatedConv(nn.Module):
    """A residual block with a gate."""

    channels: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        out = nn.Conv(self.channels, (3, 3), name="conv")(ConcatELU()(x))
        out = nn.Conv(2 * self.channels, (1, 1), name="gate")(ConcatELU()(out))
        value, gate = jnp.split(out, 2, axis=-1)
        return x + value * nn.sigmoid(gate)


class GatedConvNet(nn.Module):
    """The network of a coupling layer."""

    hidden: int
    out: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Conv(self.hidden, (3, 3), name="conv_in")(x)
        for index in range(3):
            x = GatedConv(self.hidden, name=f"blocks_{index}")(x)
            x = nn.LayerNorm(name=f"norms_{index}")(x)
        return nn.Conv(self.out, (3, 3), kernel_init=nn.initializers.zeros, name="conv_out")(ConcatELU()(x))


class Coupling(nn.Module):
    """An affine coupling layer, data to latent."""

    mask: Any
    hidden: int

    @nn.compact
    def __call__(
        self, z: jax.Array, ldj: jax.Array, image: jax.Array | None = None, *, reverse: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        channels = z.shape[-1]
        scaling = self.param("scaling_factor", nn.initializers.zeros, (channels,))
        masked = z * self.mask
        given = masked if image is None else jnp.concatenate([masked, image], axis=-1)
        s, t = jnp.split(GatedConvNet(self.hidden, 2 * channels, name="network")(given), 2, axis=-1)
        factor = jnp.exp(scaling).reshape(1, 1, 1, -1)
        s = nn.tanh(s / factor) * factor * (1 - self.mask)
        t = t * (1 - self.mask)
        if reverse:
            return z * jnp.exp(-s) - t, ldj
        return (z + t) * jnp.exp(s), ldj + s.sum(axis=[1, 2, 3])


def checkerboard(height: int, width: int, invert: bool) -> np.ndarray:
    """(1, H, W, 1), 0 and 1."""
    mask = (np.arange(height)[:, None] + np.arange(width)[None, :]) % 2
    return (1 - mask if invert else mask).astype(np.float32).reshape(1, height, width, 1)


def channels_mask(channels: int, invert: bool) -> np.ndarray:
    """(1, 1, 1, C), 0 and 1."""
    mask = np.concatenate([np.ones(channels // 2), np.zeros(channels - channels // 2)])
    return (1 - mask if invert else mask).astype(np.float32).reshape(1, 1, 1, -1)


def squeeze(z: jax.Array) -> jax.Array:
    """2x2 pixels to channels."""
    batch, height, width, channels = z.shape
    z = z.reshape(batch, height // 2, 2, width // 2, 2, channels).transpose((0, 1, 3, 2, 4, 5))
    return z.reshape(batch, height // 2, width // 2, 4 * channels)


def unsqueeze(z: jax.Array) -> jax.Array:
    """Channels to 2x2 pixels."""
    batch, height, width, channels = z.shape
    z = z.reshape(batch, height, width, 2, 2, channels // 4).transpose((0, 1, 3, 2, 4, 5))
    return z.reshape(batch, 2 * height, 2 * width, channels // 4)


def logit(v: jax.Array, ldj: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Inverse sigmoid of what is squashed a little."""
    v = v * (1 - ALPHA) + 0.5 * ALPHA
    ldj = ldj + np.log(1 - ALPHA) * np.prod(v.shape[1:])
    ldj = ldj + (-jnp.log(v) - jnp.log(1 - v)).sum(axis=[1, 2, 3])
    return jnp.log(v) - jnp.log(1 - v), ldj


def log_normal(z: jax.Array) -> jax.Array:
    """Of the standard normal, summed over an image."""
    return (-0.5 * z**2 - 0.5 * np.log(2 * np.pi)).sum(axis=[1, 2, 3])


class CourseFlow(nn.Module):
    """One of the three reference models.

    Attributes:
        layers: ("checkerboard" or "channel", number, hidden), "squeeze" or "split", in order.
        variational: Whether the noise is learned.
    """

    layers: Sequence[Any]
    variational: bool

    @nn.compact
    def __call__(self, x: jax.Array, u: jax.Array, *, reverse: bool = False) -> jax.Array:
        """Bits per dimension of images with their uniform noise: (B, H, W, C) twice to (B,).

        In reverse the images are those of a latent and of the noise that splits are filled with.
        """
        if reverse:
            return self._sample(x, u)
        image, ldj = x.astype(jnp.float32), jnp.zeros(x.shape[0])
        dimensions = np.prod(x.shape[1:])
        if self.variational:
            n, ldj = logit(u, ldj)
            for index in range(4):
                mask = checkerboard(x.shape[1], x.shape[2], bool(index % 2))
                n, ldj = Coupling(mask, 16, name=f"noise_{index}")(n, ldj, image / 255 * 2 - 1)
            ldj = ldj + (-nn.softplus(n) - nn.softplus(-n)).sum(axis=[1, 2, 3])
            u = nn.sigmoid(n)
        z, ldj = (image + u) / 256, ldj - np.log(256) * dimensions
        z, ldj = logit(z, ldj)
        number = 0
        for layer in self.layers:
            if layer == "squeeze":
                z = squeeze(z)
            elif layer == "split":
                z, finished = jnp.split(z, 2, axis=-1)
                ldj = ldj + log_normal(finished)
            else:
                kind, count, hidden = layer
                for index in range(count):
                    invert, (_, height, width, channels) = bool(index % 2), z.shape
                    square = kind == "checkerboard"
                    mask = checkerboard(height, width, invert) if square else channels_mask(channels, invert)
                    z, ldj = Coupling(mask, hidden, name=f"couplings_{number}")(z, ldj)
                    number += 1
        return -(ldj + log_normal(z)) / (np.log(2) * dimensions)

    def _sample(self, z: jax.Array, noise: jax.Array) -> jax.Array:
        splits, squeezes = self.layers.count("split"), self.layers.count("squeeze")
        batch, height, width, channels = z.shape
        numbers = sum(layer[1] for layer in self.layers if not isinstance(layer, str))
        finest = noise.reshape(batch, height >> squeezes, width >> squeezes, -1)
        z = z.reshape(batch, height >> squeezes, width >> squeezes, -1)[..., : (channels << 2 * squeezes) >> splits]
        for layer in reversed(self.layers):
            if layer == "squeeze":
                z = unsqueeze(z)
            elif layer == "split":
                z = jnp.concatenate([z, finest.reshape(batch, *z.shape[1:3], -1)[..., : z.shape[-1]]], axis=-1)
            else:
                kind, count, hidden = layer
                for index in reversed(range(count)):
                    invert, (_, height, width, channels) = bool(index % 2), z.shape
                    square = kind == "checkerboard"
                    mask = checkerboard(height, width, invert) if square else channels_mask(channels, invert)
                    numbers -= 1
                    z, _ = Coupling(mask, hidden, name=f"couplings_{numbers}")(z, jnp.zeros(batch), reverse=True)
        v = (nn.sigmoid(z) - 0.5 * ALPHA) / (1 - ALPHA)
        return jnp.clip(jnp.floor(v * 256), 0, 255)


COURSE = {
    "simple": CourseFlow((("checkerboard", 8, 32),), variational=False),
    "vardeq": CourseFlow((("checkerboard", 8, 32),), variational=True),
    "multiscale": CourseFlow(
        (("checkerboard", 2, 32), "squeeze", ("channel", 2, 48), "split", "squeeze", ("channel", 4, 64)),
        variational=True,
    ),
}


def make_state(flow: CourseFlow, parameters: Any) -> train_state.TrainState:
    """Adam with the recipe's schedule and clipping."""
    schedule = optax.exponential_decay(1e-3, 390, 0.99, end_value=1e-5)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
    return train_state.TrainState.create(apply_fn=flow.apply, params=parameters, tx=optimizer)


@jax.jit
def train_step(state: train_state.TrainState, rng: jax.Array, batch: jax.Array) -> tuple[Any, jax.Array, jax.Array]:
    """One step."""
    rng, key = jax.random.split(rng)
    noise = jax.random.uniform(key, batch.shape)

    def loss_of(parameters: Any) -> jax.Array:
        return state.apply_fn({"params": parameters}, batch, noise).mean()

    loss, gradient = jax.value_and_grad(loss_of)(state.params)
    return state.apply_gradients(grads=gradient), rng, loss


def evaluate_step(flow: CourseFlow, draws: int) -> Any:
    """The importance-sampled bound as the course computes it: the batch repeated once a draw."""

    @jax.jit
    def step(parameters: Any, rng: jax.Array, batch: jax.Array) -> jax.Array:
        repeated = jnp.repeat(batch, draws, axis=0)
        bits = flow.apply({"params": parameters}, repeated, jax.random.uniform(rng, repeated.shape))
        scale = np.log(2) * np.prod(batch.shape[1:])
        bound = jax.nn.logsumexp(-bits.reshape(-1, draws) * scale, axis=-1) - np.log(draws)
        return -bound / scale

    return step


@partial(jax.jit, static_argnums=(0, 3))
def sample_step(flow: CourseFlow, parameters: Any, rng: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Images of new latents."""
    latent, noise = jax.random.normal(rng, (2, *shape))
    images: jax.Array = flow.apply({"params": parameters}, latent, noise, reverse=True)
    return images


def from_nf(tree: dict[str, Any]) -> dict[str, Any]:
    """nf's parameters under this program's names."""
    named, number = {}, 0
    for index, coupling in _in_order(tree.get("dequantization", {}).get("couplings", {})):
        named[f"noise_{index}"] = _coupling(coupling)
    for _, level in _in_order(tree["transform"]["levels"]):
        for _, coupling in _in_order(level):
            named[f"couplings_{number}"] = _coupling(coupling)
            number += 1
    return named


def _in_order(tree: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(tree.items(), key=lambda item: int(item[0]))


def _coupling(tree: dict[str, Any]) -> dict[str, Any]:
    network = dict(tree["network"])
    blocks, norms = network.pop("blocks"), network.pop("norms")
    network |= {f"blocks_{index}": block for index, block in blocks.items()}
    network |= {f"norms_{index}": norm for index, norm in norms.items()}
    return {"network": network, "scaling_factor": tree["scaling_factor"]}
