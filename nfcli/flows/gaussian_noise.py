"""Learned noise from a normal start, at half the resolution (after Flow++: Ho et al. 2019, arXiv:1902.00275)."""

import math
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array

from nfcli.flows.coupling import PartitionedCoupling
from nfcli.flows.dequantization import UniformDequantization, as_context, keep_in_bin, normal_noise, sigmoid_with_ldj
from nfcli.flows.labels import with_planes
from nfcli.flows.networks import GatedTrunk
from nfcli.flows.prior import standard_normal_log_prob
from nfcli.flows.reshaping import Squeeze
from nfcli.flows.transformers import Affine
from nfcli.presets import GaussianNoise, Shape

START_STD = math.pi / math.sqrt(3)
"""That of the logistic distribution, whose sigmoid is uniform: narrower noise would hardly ever try a bin's edges."""


class GaussianDequantization(UniformDequantization):
    """Learned noise `u = sigmoid(f(n; x))`, n normal, f a few affine couplings that see the image.

    One network looks at the image, squeezed as the noise is; every coupling gets its features. That is a quarter of the
    places of `VariationalDequantization`, and a start whose tails need no shaping.

    Args:
        shape: (H, W, C) of the images, H and W even.
        sizes: How many couplings, each with one gated block, and of the networks.
        levels, alpha: As for uniform noise.
        classes: Of the labels that the noise follows too, 0 for none.
        network: `initializer` and `policy`, as of all networks.
    """

    def __init__(
        self, shape: Shape, sizes: GaussianNoise, *, levels: int, alpha: float, classes: int, **network: Any
    ) -> None:
        super().__init__(levels=levels, alpha=alpha)
        height, width, channels = shape
        self.context = GatedTrunk(4 * channels + classes, sizes.context, blocks=sizes.blocks, **network)
        network |= {"hidden": sizes.hidden, "blocks": 1, "context_channels": sizes.context}
        squeezed = (height // 2, width // 2, 4 * channels)
        couplings = [
            PartitionedCoupling(squeezed, mask="channel", invert=bool(index % 2), transformer=Affine(), **network)
            for index in range(sizes.count)
        ]
        self.couplings = nnx.List(couplings)

    def noise(self, x: Array, keys: Array, dtype: jnp.dtype, labels: Array | None = None) -> tuple[Array, Array]:
        squeeze = Squeeze()
        seen, _ = squeeze.forward(as_context(x, self.levels, dtype))
        features = self.context(with_planes(seen, labels))
        start = normal_noise(keys, x.shape[1:], dtype)
        log_q = standard_normal_log_prob(start) - math.log(START_STD) * math.prod(x.shape[1:])
        n, _ = squeeze.forward(START_STD * start)
        for coupling in self.couplings:
            n, step = coupling.forward(n, features)
            log_q = log_q - step
        u, step = sigmoid_with_ldj(squeeze.inverse(n))
        return keep_in_bin(x, u, self.levels), jnp.asarray(log_q - step)
