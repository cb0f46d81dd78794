"""unlearn: bounded noise for pictures; classifiers trained on them do badly on clean ones.

    import unlearn

    report = unlearn.protect(["photos"], out="protected", rho="8/255")
    assert unlearn.verify("photos", "protected").ok

What is offered is loaded when it is first used: `import unlearn` loads neither PyTorch nor NumPy.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = (
    "METHODS",
    "AuditReport",
    "EnvironmentProblem",
    "MinMaxMin",
    "NoiseGenerator",
    "NothingFound",
    "Pgd",
    "ProtectReport",
    "Radius",
    "TrainReport",
    "UnlearnError",
    "UsageProblem",
    "VerifyReport",
    "__version__",
    "audit",
    "pgd",
    "protect",
    "train_generator",
    "verify",
)

if TYPE_CHECKING:
    from unlearn.api import audit, protect, train_generator, verify
    from unlearn.attack import Pgd, pgd
    from unlearn.audits.report import AuditReport
    from unlearn.errors import EnvironmentProblem, NothingFound, UnlearnError, UsageProblem
    from unlearn.generators.artefact import NoiseGenerator
    from unlearn.generators.train import TrainReport
    from unlearn.methods import METHODS, MinMaxMin
    from unlearn.protection.events import ProtectReport
    from unlearn.radius import Radius
    from unlearn.verification.run import VerifyReport

_HOMES = {
    "METHODS": "methods",
    "AuditReport": "audits.report",
    "EnvironmentProblem": "errors",
    "MinMaxMin": "methods",
    "NoiseGenerator": "generators.artefact",
    "NothingFound": "errors",
    "Pgd": "attack",
    "ProtectReport": "protection.events",
    "Radius": "radius",
    "TrainReport": "generators.train",
    "UnlearnError": "errors",
    "UsageProblem": "errors",
    "VerifyReport": "verification.run",
    "audit": "api",
    "pgd": "attack",
    "protect": "api",
    "train_generator": "api",
    "verify": "api",
}

if not TYPE_CHECKING:  # type checkers see the imports above, and that there is nothing else

    def __getattr__(name):  # noqa: ANN001, ANN202 - see above
        """Load a part of the public API."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"unlearn.{_HOMES[name]}"), name)
        return value


def __dir__() -> list[str]:
    """Name the public API, whether it is loaded or not."""
    return sorted(__all__)
