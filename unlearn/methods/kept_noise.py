"""Noise that a training keeps for each of its pictures, and improves between its steps."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor, nn

from unlearn.attack import frozen
from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import Run
from unlearn.methods.base import Cost
from unlearn.rng import Rng
from unlearn.tensors import to_images
from unlearn.training import Batch, Batches, Observer, Schedule, Stage, train

# A frozen network, a group whose step is the number of the sweep, its noise so far -> better noise
Improve = Callable[[nn.Module, Batch, Tensor], Tensor]


@dataclass(frozen=True)
class KeptNoise:
    """Noise (N, 3, S, S) of the pictures of a training, changed in place; checkpoints hold it.

    Its so many sweeps are spread evenly over the steps, the last after all of them. In a sweep
    pictures meet in groups of at most `together`, drawn anew and of even sizes.
    """

    data: LabelledPictures
    noise: Tensor
    sweeps: int
    together: int
    run: Run

    def train(
        self,
        model: nn.Module,
        losses: Callable[[nn.Module, Tensor, Batch], Tensor],
        improve: Improve,
        schedule: Schedule,
        observer: Observer,
    ) -> None:
        """Train a model on losses of noisy images, and improve the noise in between."""

        def due(step: int) -> int:
            return step * self.sweeps // schedule.steps

        def step(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
            for number in range(due(max(0, batch.step - 1)), due(batch.step)):
                self._sweep(model, number, improve)
            noisy = to_images(batch.pixels) + self.noise[batch.index]
            return {"loss": losses(model, noisy, batch).mean()}

        stage = Stage(observer, memory={"noise": self.noise})
        train(model, step, self.data, schedule, self.run, stage)
        for number in range(due(schedule.steps - 1), self.sweeps):
            self._sweep(model, number, improve)

    def _sweep(self, model: nn.Module, number: int, improve: Improve) -> None:
        count, data = len(self.data), self.data
        order = Batches(count, count, self.run.seed, self.run.device).at(number)
        streams = Rng.for_images(self.run.seed, data.ids).fork(~number)
        with frozen(model, self.run.precision, compiled=self.run.compiled) as network:
            for index in order.chunk(math.ceil(count / self.together)):
                rng = Rng(streams.keys[index], self.run.seed)
                group = Batch(data.pixels[index], data.labels[index], index, number, rng)
                self.noise[index] = improve(network, group, self.noise[index])


def with_sweeps(cost: Cost, pictures: int, passes: int) -> Cost:
    """Return a cost with the passes that each picture takes in sweeps, all of them together."""
    training = cost.training + pictures * passes
    share = math.ceil(training / max(1, pictures))
    return replace(cost, training=training, a_picture=share + cost.final)
