"""Normalizing flows for images: pure functions of arrays, no files, no printing. Needs jax, flax and numpy alone.

from nfcli.flows import build
from nfcli.presets import get_preset

model = build(get_preset("multiscale"), (28, 28, 1))
parameters = model.init(jax.random.key(42))
log_prob = model.log_prob(parameters, images, jax.random.split(jax.random.key(0), len(images)))
"""

from nfcli.flows.model import FlowModel, Parameters, build

__all__ = ["FlowModel", "Parameters", "build"]
