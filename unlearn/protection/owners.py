"""Owners: which earlier outputs came from the very source that a run has now.

Only those may be replaced or removed. A source is its name and its own place; its content tells an
edited picture, whose output may be replaced, from another picture that has come to its name.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

from unlearn.files.replace import file_sha256
from unlearn.protection.manifest import Manifest, Owner, home_of, origin_of, under_inputs
from unlearn.sources.scan import Source

_THREADS: Final = 4
_UNDER_WAY: Final = 1000  # an executor keeps two kilobytes for each piece of work it is given
T = TypeVar("T")
R = TypeVar("R")


def in_threads(work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Yield what the work returns for each item, in their order; it is done in a few threads."""
    with ThreadPoolExecutor(_THREADS) as threads:
        for start in range(0, len(items), _UNDER_WAY):
            yield from threads.map(work, items[start : start + _UNDER_WAY])


@dataclass(frozen=True, slots=True)
class Claims:
    """What one source has in the output folder, the best name first."""

    home: str  # the own place of the folder that the source lies in, see home_of
    sha256: str | None = None  # None: not asked, or it cannot be read
    shows: tuple[str, ...] = ()  # outputs that may be replaced, since they show this source
    removable: tuple[str, ...] = ()  # outputs that may also go


@dataclass(frozen=True)
class Owners:
    """What the manifest says of who wrote what, by name of the source."""

    manifest: Manifest
    outputs: Mapping[str, Sequence[str]]
    contents: Mapping[str, Owner] = field(default_factory=dict)  # one source of each content
    shared: Set[str] = frozenset()  # the contents of several

    @classmethod
    def of(cls, manifest: Manifest) -> "Owners":
        """Return the owners of all outputs of a manifest."""
        outputs: dict[str, list[str]] = defaultdict(list)
        contents, shared = dict[str, Owner](), set[str]()
        for out, owner in manifest.owners.items():
            outputs[owner[0]].append(out)
            record = manifest.outputs[out]
            sha256 = None if record is None else record.src_sha256
            if sha256 and contents.setdefault(sha256, owner) != owner:
                shared.add(sha256)
        return cls(manifest, outputs, contents, shared)

    def claims(self, sources: Sequence[Source]) -> list[Claims]:
        """Return what each source has; those with a record are hashed, others of a folder share."""
        none_in = cache(lambda folder: Claims(home_of(folder)))
        found = [none_in(source.folder) for source in sources]
        known = [place for place, source in enumerate(sources) if source.name in self.outputs]
        claims = in_threads(lambda at: self._claims(sources[at], found[at].home), known)
        for place, claim in zip(known, claims, strict=True):
            found[place] = claim
        return found

    def of_refused(self, name: str, inputs: Sequence[Path]) -> frozenset[str]:
        """Return the outputs of a source that cannot be protected, known by its name only."""
        places = under_inputs(name, inputs)
        if len(places) != 1 or name not in self.outputs:
            return frozenset()
        return frozenset(self._own((name, origin_of(places[0])), None))

    def _claims(self, source: Source, home: str) -> Claims:
        """Return what one source has that is known by its name."""
        sha256 = file_sha256(source.path)
        own = self._own((source.name, os.path.join(home, source.path.name)), sha256)  # noqa: PTH118
        outputs = self.outputs[source.name]
        same = [out for out in outputs if sha256 and self._content(out) == sha256]
        shows = sorted(
            {*own, *same}, key=lambda out: (self._content(out) != sha256, out not in own)
        )
        return Claims(home, sha256, tuple(shows), tuple(own))

    def _own(self, owner: Owner, sha256: str | None) -> list[str]:
        """Return the outputs of one source: of its content, begun and not finished, or its last.

        The last is another picture's if the content that the source has now is that of another
        source: then files were renamed, and not edited.
        """
        renamed = sha256 in self.shared or self.contents.get(sha256 or "", owner) != owner
        last = None if renamed else self.manifest.latest.get(owner)
        mine = [out for out in self.outputs[owner[0]] if self.manifest.owners[out] == owner]
        return [
            out
            for out in mine
            if out == last
            or self.manifest.outputs[out] is None
            or (sha256 is not None and self._content(out) == sha256)
        ]

    def _content(self, out: str) -> str | None:
        """Return the hash of the source that an output was made from."""
        record = self.manifest.outputs[out]
        return None if record is None else record.src_sha256
