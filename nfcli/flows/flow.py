"""The flow: dequantization, then levels of bijections, each level giving up a finished latent."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
from flax import nnx
from jax import Array

from nfcli.flows.base import Bijection
from nfcli.flows.dequantization import UniformDequantization
from nfcli.flows.labels import label_planes, with_planes
from nfcli.flows.prior import LearnedPrior
from nfcli.flows.reshaping import merge_channels, split_channels

Latents = tuple[Array, ...]


class MultiscaleTransform(nnx.Module):
    """Levels of bijections; after each level but the last, half of the channels are finished.

    The latent is a tuple with one array a level, the last one last: encoding loses nothing
    (Dinh, Sohl-Dickstein, Bengio 2017, arXiv:1605.08803, section 3.6).

    Args:
        levels: The bijections of each level.
        priors: Learned priors by the level whose finished latent they are of; the others are standard normal.
    """

    def __init__(self, levels: Sequence[Sequence[Bijection]], priors: Mapping[int, LearnedPrior] | None = None) -> None:
        self.levels = nnx.List([nnx.List(list(level)) for level in levels])
        self.priors = nnx.Dict({str(level): prior for level, prior in (priors or {}).items()})

    def forward(
        self, y: Array, labels: Array | None = None, *, data_dependent_init: bool = False
    ) -> tuple[Latents, Array]:
        """Data to latents.

        Args:
            y: (B, H, W, C).
            labels: (B, classes) weights, for layers that were made with a context of as many channels.
            data_dependent_init: Have layers set the parameters that start from data, each before it is used.

        Returns:
            The latents, one array a level; and log |det dz/dy|, (B,).
        """
        ldj = jnp.zeros(y.shape[0], y.dtype)
        latents: list[Array] = []
        for index, level in enumerate(self.levels):
            if index:
                y, finished = split_channels(y)
                if str(index - 1) in self.priors:
                    finished, step = self.priors[str(index - 1)].forward(finished, with_planes(y, labels))
                    ldj = ldj + step
                latents.append(finished)
            for layer in level:
                if data_dependent_init:
                    layer.data_dependent_init(y, label_planes(labels, y))
                y, step = layer.forward(y, label_planes(labels, y))
                ldj = ldj + step
        return (*latents, y), ldj

    def inverse(self, latents: Latents, labels: Array | None = None) -> Array:
        """Latents to (B, H, W, C), with the same labels as in `forward`."""
        y = latents[-1]
        for index in reversed(range(len(self.levels))):
            for layer in reversed(self.levels[index]):
                y = layer.inverse(y, label_planes(labels, y))
            if index:
                finished = latents[index - 1]
                if str(index - 1) in self.priors:
                    finished = self.priors[str(index - 1)].inverse(finished, with_planes(y, labels))
                y = merge_channels(y, finished)
        return y


class Flow(nnx.Module):
    """A likelihood model of images of integers.

    Args:
        dequantization: Uniform or variational.
        transform: From the real line to the latents.
    """

    def __init__(self, dequantization: UniformDequantization, transform: MultiscaleTransform) -> None:
        self.dequantization, self.transform = dequantization, transform
