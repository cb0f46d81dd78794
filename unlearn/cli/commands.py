"""Every command by its words, derived from the options that it takes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from unlearn.cli import generators
from unlearn.cli.audit import audit
from unlearn.cli.demo import demo
from unlearn.cli.derived import Derived, derived
from unlearn.cli.doctor import doctor
from unlearn.cli.preview import preview
from unlearn.cli.protect import protect
from unlearn.cli.train_generator import train_generator
from unlearn.cli.verify import verify

if TYPE_CHECKING:
    from unlearn.settings_file import Kind

# In the order of a person's work.
COMMANDS: Final[Mapping[str, Derived]] = {
    "protect": derived(protect),
    "verify": derived(verify),
    "preview": derived(preview),
    "audit": derived(audit),
    "train-generator": derived(train_generator),
    "generators list": derived(generators.list_generators),
    "generators info": derived(generators.info),
    "generators methods": derived(generators.methods),
    "generators path": derived(generators.path),
    "generators pull": derived(generators.pull),
    "doctor": derived(doctor),
    "demo": derived(demo),
}
CONFIGURED: Final = ("protect", "audit", "train-generator")  # may be set in files
LIMITED: Final = ("protect", "audit")  # their help ends with what protection cannot do


def tables() -> "dict[str, dict[str, Kind]]":
    """Return the commands that have a table in a file of settings, and the kinds of its values."""
    return {name: COMMANDS[name].settings for name in CONFIGURED}
