"""The model card that lies beside a generator: what it was made of, how, and what it cannot do."""

import json

from unlearn.generators.header import Header
from unlearn.limits import LIMITS

UNBOUNDED = "none; the largest change is measured when pictures are protected"


def model_card(header: Header) -> str:
    """Return the card of a generator as Markdown."""
    config = json.dumps(header.config, indent=2, sort_keys=True, ensure_ascii=False)
    rows = {
        "Method": header.method,
        "Network": header.architecture,
        "Classes": f"{len(header.classes)} ({', '.join(header.classes[:20])})"
        if header.classes
        else "any",
        "Training data": f"{header.training_data}, {header.data_count:,} pictures",
        "Data fingerprint": f"`{header.data_fingerprint}`",
        "Picture size in training": f"{header.image_size} px",
        "Working size": f"{header.working_size} px (short side of the grid noise is made on)",
        "Radius of the noise (rho)": header.rho or UNBOUNDED,
        **header.facts,
        "Precision, seed": f"{header.precision}, {header.seed}",
        "Licence": header.licence,
        "Made by": f"unlearn {header.tool}",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return (
        f"# Noise generator {header.name}\n\n| | |\n|---|---|\n{table}\n\n"
        f"Command:\n\n```\n{header.command or 'not recorded'}\n```\n\n"
        f"Configuration:\n\n```json\n{config}\n```\n{_curve(header)}\n## Limits\n\n{LIMITS}\n"
    )


def _curve(header: Header) -> str:
    """Return the training curve as a table: accuracy on clean pictures (Figure 1)."""
    names = [name for name in header.curve if name != "step"]
    if not names:
        return ""
    lines = [
        f"| step | {' | '.join(name.replace('_', ' ') for name in names)} |",
        "|---" * (len(names) + 1) + "|",
    ]
    for number, step in enumerate(header.curve["step"]):
        found = (header.curve[name][number] for name in names)
        values = " | ".join("" if value is None else f"{value:.4f}" for value in found)
        lines.append(f"| {step} | {values} |")
    return "\nTraining curve (clean accuracy low means that the noise hides the pictures):\n\n" + (
        "\n".join(lines) + "\n"
    )
