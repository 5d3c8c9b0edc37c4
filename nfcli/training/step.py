"""One training step: loss, gradient, an optimizer's update."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, PartitionSpec

from nfcli.backend.mesh import batched, compiler_options, replicate, replicated
from nfcli.backend.programs import KeptProgram
from nfcli.config import TrainConfig
from nfcli.flows import FlowModel, Parameters
from nfcli.flows.networks import PLAIN, ComputePolicy
from nfcli.flows.randomness import Purpose, indexed_keys, stream
from nfcli.training.optimizer import ema_decay, learning_rate_scale, learning_rate_schedule, make_optimizer

State = dict[str, Any]
"""Everything that training needs to go on.

`parameters`, which are validated and saved; `optimizer`, `step`; of the epoch under way `loss_sum` and how many steps
were `skipped`; how many of the latest steps were `skipped_in_a_row`; and the `recoveries` so far, each of which halved
the learning rate. Where `parameters` are a moving average, `trained` are the weights that gradients move.
"""


Batch = tuple[Array, Array, Array | None]
"""(B, H, W, C) images, (B,) keys and, for a class-conditional model, (B,) labels."""

News = tuple[Array, Array]
"""Of the steps of a dispatch: the last loss in bits per dimension, and the most that were skipped in a row so far."""


class TrainStep:
    """The compiled step of one run, and the states that it maps.

    Args:
        model: What is trained.
        config: The recipe.
        steps_per_epoch: For the schedule.
        mesh: Devices that share a batch.
        policy: How the networks are computed.
    """

    def __init__(
        self, model: FlowModel, config: TrainConfig, steps_per_epoch: int, mesh: Mesh, policy: ComputePolicy = PLAIN
    ) -> None:
        self.model, self.config = model.with_policy(policy), config
        self.mesh, self.steps_per_epoch = mesh, steps_per_epoch
        self.schedule = learning_rate_schedule(config, steps_per_epoch)
        self.optimizer = make_optimizer(config, steps_per_epoch, mesh)
        # An argument and no constant of the program, so that all seeds share one.
        self.key: Array = replicate(mesh, np.array(jax.random.key_data(stream(config.seed, Purpose.TRAINING))))
        same, cut = replicated(mesh), batched(mesh)
        shardings: Any = {"in_shardings": (same, same, cut, cut), "out_shardings": same}
        options = compiler_options(mesh)
        self._compiled: Any = jax.jit(self.map_state, donate_argnums=0, compiler_options=options, **shardings)
        # All that decides what is computed, so that seeds share it.
        decisive = {
            "program": "training step",
            "settings": config.program_settings(),
            "policy": repr(policy),
            "model": self.model.cache_key(),
            "steps_per_epoch": steps_per_epoch,
        }
        # jaxlib cannot write a program that calls oneDNN.
        self._kept = KeptProgram(decisive, mesh, keep=not policy.onednn)

    def init(self) -> State:
        """The state before the first step; it follows from the seed."""
        return self.start_from(self.model.init(stream(self.config.seed, Purpose.INITIALIZATION)))

    def data_dependent_init(self, state: State, images: np.ndarray, labels: np.ndarray | None = None) -> State:
        """The same with the parameters that start from data, given the first batch, (B, H, W, C) integers.

        Args:
            state: From `init`.
            images: (B, H, W, C) integers.
            labels: (B,) of a class-conditional model.
        """
        if not self.model.has_data_dependent_init:
            return state
        key = jax.random.fold_in(stream(self.config.seed, Purpose.INITIALIZATION), 1)
        keys = indexed_keys(key, jnp.arange(len(images)))
        alone = jax.device_get(state["parameters"])
        # Whatever training is computed in: this runs once, and a program that calls oneDNN cannot be kept.
        model = self.model.with_policy(PLAIN)
        return self.start_from(jax.jit(model.data_dependent_init)(alone, images, keys, labels))

    def start_from(self, parameters: Parameters) -> State:
        """The state before the first step, of these parameters."""
        parameters = jax.device_get(parameters)
        state = {
            "parameters": parameters,
            "optimizer": jax.device_get(jax.jit(self.optimizer.init)(parameters)),
            "loss_sum": np.float32(0),
            **{name: np.int32(0) for name in ("step", "skipped", "skipped_in_a_row", "recoveries")},
        }
        if self.config.ema_decay:
            # Copies: a buffer that is given away must not be another one's too.
            state["trained"] = jax.tree.map(np.array, parameters)
        return self.place(state)

    def place(self, state: State) -> State:
        """Put a state on the run's devices."""
        return replicate(self.mesh, state)

    def fetch(self) -> None:
        """Begin to load the compiled step, if it was compiled before."""
        self._kept.fetch()

    def compile(self, state: State) -> None:
        """Compile before the clock starts, or load what was compiled before."""
        shape = (self.config.batch_size, *self.model.shape)
        images = jax.ShapeDtypeStruct(shape, jnp.uint8, sharding=batched(self.mesh))
        labels = None
        if self.model.classes:
            labels = jax.ShapeDtypeStruct(shape[:1], jnp.int32, sharding=batched(self.mesh))
        self._compiled = self._kept.get(lambda: self._compiled.lower(state, self.key, images, labels).compile())

    def __call__(self, state: State, images: Any, labels: Any = None) -> tuple[State, News]:
        """One step on (B, H, W, C) integers and, for a class-conditional model, (B,) labels; the state is used up.

        Returns:
            The next state; and the batch's loss in bits per dimension with the number of steps skipped in a row.
        """
        return self._compiled(state, self.key, *jax.device_put((images, labels), batched(self.mesh)))

    def map_state(self, state: State, key: Array, images: Array, labels: Array | None = None) -> tuple[State, News]:
        """The step itself, not compiled; arguments and results as of a call, and the data of the run's key."""
        key = jax.random.fold_in(jax.random.wrap_key_data(key), state["step"])
        keys = indexed_keys(key, jnp.arange(images.shape[0]))
        weights = state.get("trained", state["parameters"])
        loss, gradient = self._gradient(weights, (images, keys, labels))
        updates, optimizer = self.optimizer.update(gradient, state["optimizer"], weights)
        scale = learning_rate_scale(state["recoveries"])
        weights = optax.apply_updates(weights, jax.tree.map(lambda update: update * scale, updates))
        moved = {"parameters": weights, "optimizer": optimizer}
        if "trained" in state:
            share = 1 - ema_decay(self.config.ema_decay, state["step"])
            average = jax.tree.map(lambda mean, new: mean + share * (new - mean), state["parameters"], weights)
            moved |= {"parameters": average, "trained": weights}
        # A non-finite loss or gradient never reaches the parameters: the step is skipped, and counted.
        finite = jnp.isfinite(loss) & jnp.isfinite(optax.tree.norm(ravel_pytree(gradient)[0]))
        kept = {name: state[name] for name in moved}
        in_a_row = jnp.where(finite, 0, state["skipped_in_a_row"] + 1)
        goes_on = state["step"] % self.steps_per_epoch > 0
        following = {
            **state,
            **jax.tree.map(lambda new, old: jnp.where(finite, new, old), moved, kept),
            "step": state["step"] + 1,
            "loss_sum": jnp.where(goes_on, state["loss_sum"], 0) + jnp.where(finite, loss, 0),
            "skipped": jnp.where(goes_on, state["skipped"], 0) + ~finite,
            "skipped_in_a_row": in_a_row,
        }
        return following, (loss, in_a_row)

    def _gradient(self, parameters: Any, batch: Batch) -> tuple[Array, Any]:
        """Loss and gradient of the whole batch; each device works on its part, and only means are exchanged."""
        whole, parts = PartitionSpec(), PartitionSpec("data")

        @jax.shard_map(mesh=self.mesh, in_specs=(whole, parts), out_specs=whole, check_vma=False)
        def of_part(parameters: Any, batch: Batch) -> tuple[Array, Any]:
            loss, gradient = self._accumulated(parameters, batch)
            # One vector, for the reason that the optimizer has one.
            vector, as_tree = ravel_pytree(gradient)
            loss, vector = jax.lax.pmean((loss, vector), "data")
            return loss, as_tree(vector)

        return of_part(parameters, batch)

    def _accumulated(self, parameters: Any, batch: Batch) -> tuple[Array, Any]:
        """The same for one device, slice after slice of its images: the memory is that of a slice."""
        count, gradient = self.config.accumulate, jax.value_and_grad(self._loss)
        if count == 1:
            return gradient(parameters, *batch)
        slices = jax.tree.map(lambda all_: all_.reshape(count, -1, *all_.shape[1:]), batch)
        total = jax.tree.map(jnp.zeros_like, (jnp.float32(0), parameters))

        def add(total: Any, part: Batch) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, gradient(parameters, *part)), None

        if self.mesh.devices.flat[0].platform == "cpu":
            # A convolution's gradient inside a loop is compiled to naive code there (jax issue 12868).
            for index in range(count):
                part = jax.tree.map(lambda all_, index=index: all_[index], slices)
                # Without a barrier all slices may be computed side by side, in the memory of the whole.
                total, _ = add(*jax.lax.optimization_barrier((total, part)))
        else:
            total, _ = jax.lax.scan(add, total, slices)
        return jax.tree.map(lambda leaf: leaf / count, total)

    def _loss(self, parameters: Any, images: Array, keys: Array, labels: Array | None) -> Array:
        bound = self.model.log_prob(parameters, images, keys, labels)
        return -jnp.mean(bound) / (self.model.dimensions * math.log(2))
