"""What a user writes: a generator. Everything else in simbench exists to measure one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class Generator(Protocol):
    """One method that answers conditions with events.

    Optional beside it: `setup(task, device)`, called once before any event is asked for and never timed, where weights
    are loaded; the class attribute `name` and a `version`, strings that results show (else the name of the class or
    entry point, and the version of its package). Constructor arguments are the `--param key=value` of the command line,
    typed by their annotations. A bare function with the signature of `sample` is a generator too.

    A Result records the constructor's arguments. A generator that runs with something else, because its weights file
    says so, names that in `effective_parameters`: a mapping from names to bools, numbers, strings or None, read after
    `setup`. It may add names and replaces values:

        @property
        def effective_parameters(self):
            return {"prior": self.prior, "layers": len(self.layers)}

    A generator that was trained may name, after `setup`, its file of weights as `weights_path` (the Result has its
    checksum) and the seed of that training as `training_seed`, an int. Results of one model that differ in that seed
    alone are shown as one model with a spread over seeds; the constructor's argument for the file is then `weights`.
    """

    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        """Generate one event per row of `conditions`.

        Args:
            conditions: (event, C) float32 in task units, on the device given to `setup`. C is 0 for an unconditional
                task, so `len(conditions)` is always the number of events wanted.
            seed: a plain integer below 2**31. The same seed and conditions give the same events.

        Returns:
            (event, *task.shape) in task units, e.g. photons, or [0, 1] for an image. Any real dtype, any device.
        """
        ...


@runtime_checkable
class Encoder(Protocol):
    """What a generator with a latent space may offer beside `sample`: the report then shows that space.

    A second, optional method `prior_codes(conditions, *, seed)` gives the codes that `sample` would decode, in the same
    shape, one for each row of `conditions`; the report shows them beside the codes of real events.
    """

    def latent_codes(self, samples: Tensor, conditions: Tensor) -> Tensor:
        """Encode events; the mean where a code is random.

        Args:
            samples: (event, *task.shape) float32 in task units.
            conditions: (event, C) float32 in task units, those of the events.

        Returns:
            (event, d), one code an event. Any real dtype, any device.
        """
        ...
