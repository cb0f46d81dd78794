"""The journal as a table in Markdown."""


def table(lines: list[dict]) -> str:
    """Return one row for each noise, copier and defence, the mean over victim seeds."""
    rows: dict[tuple, list[dict]] = {}
    for line in lines:
        if "curve" in line:
            copier = line["copier"]
            rows.setdefault(
                (
                    copier.get("view", 64),
                    copier.get("rho_a", 0),
                    copier.get("adversary", "pgd") if copier.get("rho_a", 0) else "",
                    copier.get("epochs", 25),
                    copier.get("each") or line.get("defence", "none"),
                    line["name"],
                ),
                [],
            ).append(line)
    head = (
        "| view | ρa | epochs | defence | noise | last | best | at | train 1 / 5 / end | seeds |\n"
    )
    body = [_row(key, group) for key, group in sorted(rows.items(), key=lambda row: row[0])]
    return head + "|" + "---|" * 10 + "\n" + "\n".join(body)


def _row(key: tuple, group: list[dict]) -> str:
    view, rho_a, adversary, epochs, defence, name = key
    last, best = ([100 * line[part] for line in group] for part in ("last", "best"))
    first = group[0]
    train = first["train"]
    learned = f"{train[0]:.2f} / {train[min(4, len(train) - 1)]:.2f} / {train[-1]:.2f}"
    at = first["curve"].index(first["best"]) + 1
    rho = f"{rho_a:g} {adversary}".strip()
    return (
        f"| {view} | {rho} | {epochs} | {defence} | {name} | {_mean(last)} | {_mean(best)} "
        f"| {at} | {learned} | {len(group)} |"
    )


def _mean(values: list[float]) -> str:
    """Return the mean and, of several, the standard deviation."""
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{mean:.1f}"
    spread = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    return f"{mean:.1f} ± {spread:.1f}"
