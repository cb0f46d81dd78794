"""What `unlearn protect` says while it works: what is found, what it will cost, how far it is."""

from collections.abc import Iterator
from typing import Final

from unlearn import __version__
from unlearn.cli.console import Output
from unlearn.cli.meter import Meter, duration_text
from unlearn.cli.protect_text import count_text
from unlearn.files.text import printable, size_text
from unlearn.protection.events import Event, Notice, Progress, Started
from unlearn.protection.manifest import PictureRecord
from unlearn.protection.options import ProtectOptions
from unlearn.protection.pace import Pace
from unlearn.sources.beside import skipped_text

_FEW_SECONDS: Final = 10  # below which the start and the previews take longer than the pictures
_ONE_KIND: Final = (
    "All {:,} pictures will carry the same kind of noise. Put pictures of different things into "
    "folders of their own, and each folder gets noise of its own"
)


class Telling:
    """Puts what the workflow says on standard error, and keeps how long a megapixel took."""

    def __init__(self, output: Output, meter: Meter, options: ProtectOptions) -> None:
        self.output = output
        self.meter = meter
        self.options = options
        self._pace: Pace | None = None

    def hear(self, event: Event) -> None:
        """Print one event."""
        if isinstance(event, Notice):
            self.output.notice(event.text)
        elif isinstance(event, Started):
            self._begin(event)
        else:
            self._progress(event)

    def remember(self) -> None:
        """Keep the pace of this run for the first estimate of the next one."""
        if self._pace is not None and not self.options.dry_run:
            self._pace.remember()

    def _begin(self, event: Started) -> None:
        """Say what is about to be done, and how long it takes if that is known."""
        self._pace = Pace(self.options, event)
        seconds = None if self.options.dry_run else self._pace.expected_seconds
        self.meter.begin(self.meter.title, self.meter.unit, event.pending or None, seconds)
        for line in _opening(event):
            self.output.notice(line)
        if event.pending and not self.options.dry_run:
            self.output.notice(_cost(event, seconds))
        labels = event.plan.labelling
        unasked = labels.mode == "one" and self.options.labels == "auto"
        if event.by_class and event.pending and unasked and len(labels.labels) > 1:
            self.output.notice(_ONE_KIND.format(len(labels.labels)))

    def _progress(self, event: Progress) -> None:
        """Move the bar, and under --verbose print the picture's line."""
        self.output.detail(_detail(event.record))
        note = f"{size_text(event.written_bytes)}  {printable(event.record.src)}"
        if self._pace is None:  # never: a run says that it starts
            return
        self._pace.see(event)
        self.meter.update(event.done, note, share=self._pace.share)


def _opening(event: Started) -> Iterator[str]:
    """Yield the lines that say what is about to be done."""
    plan = event.plan
    device = f" · device {event.device}" if event.device else ""
    yield (
        f"unlearn {__version__} · generator {printable(event.generator)} "
        f"(sha {event.generator_sha256[:8]}…) · rho {event.rho}{device}"
    )
    places = f" in {count_text(plan.folders, 'folder')}" if plan.folders else ""
    besides = []
    if plan.refused and plan.pictures:
        besides.append(f"{len(plan.refused)} more will not be protected")
    if plan.skipped:
        besides.append(f"{sum(plan.skipped.values())} skipped: {skipped_text(plan.skipped)}")
    many = f"{count_text(len(plan.pictures))}{places}"
    if not plan.pictures:
        many = f"{count_text(len(plan.refused))} that will not be protected"
    yield f"Found {many}" + (f" ({'; '.join(besides)})" if besides else "")
    yield f"Labels: {plan.labelling.summary}"


def _cost(started: Started, seconds: float | None) -> str:
    """Return how much is to be done, how long it takes if that is known, and what is written."""
    may_be_png = {"PNG" for picture in started.todo if picture.fallback}
    *formats, last = sorted({picture.format for picture in started.todo} | may_be_png)
    kinds = f"{', '.join(formats)} or {last}" if formats else last
    parts = [count_text(started.pending)]
    if seconds is not None:
        about = f"about {duration_text(seconds)} at the rate of the last run"
        parts.append(about if seconds >= _FEW_SECONDS else "a few seconds")
    parts.append(f"about {size_text(started.needed_bytes)} as {kinds}")
    return f"To protect: {', '.join(parts)} ({size_text(started.free_bytes)} free)"


def _detail(record: PictureRecord) -> str:
    """Return one picture's line under --verbose."""
    if record.status != "ok":
        return f"{printable(record.src)}: not protected: {record.reason}"
    line = f"{printable(record.src)} -> {printable(record.out)}"
    if record.linf is not None:
        line += f"  max change {record.linf}/255"
    if record.visible is not None:
        line += (
            f"  CIEDE2000 {record.visible:.1f} on plain areas, seen at a distance {record.seen:.1f}"
        )
    if record.passes is not None:
        line += (
            f"  JPEG in {count_text(record.passes, 'pass', 'es')}, "
            f"correlation {record.correlation:.2f}, {record.energy:.0%} of the noise's energy, "
            f"{record.size_ratio:.2f}x the size"
        )
    if record.dropped:
        line += f"  left out: {', '.join(record.dropped)}"
    return "  ".join([line, *map(printable, record.notices)])
