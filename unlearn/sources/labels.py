"""Labels: which class each picture belongs to, from folders, from a table, or one for all.

This is decided here and nowhere else. What cannot be told from the folders alone is refused with
the option that says it, and every decision is put into one sentence for the person to read.
"""

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final, Literal, cast

from unlearn.errors import UsageProblem
from unlearn.files.text import command_line, printable
from unlearn.sources.scan import Scan, Selection, Source, scan
from unlearn.sources.tables import Row, has_labels, read_table, readable

LabelMode = Literal["folders", "one", "csv", "samples"]
Part = Literal["train", "validation", "test"]

ONE_CLASS: Final = "all"  # the class of every picture when there is only one
LOOSE_CLASS: Final = "."  # the class of pictures that lie beside class folders
OWN_TABLES: Final = ("metadata.csv", "metadata.jsonl")  # as Hugging Face's ImageFolder reads them
_UNREAD_TABLE: Final = "metadata.parquet"  # which Hugging Face reads as well
_BOX: Final = re.compile(rb"\s*\d+(\s+[\d.eE+-]+){4,}\s*")  # of YOLO: class, place and size
_BOXES_AMONG: Final = 100  # pictures that are looked at for boxes
_NAMED: Final = 3  # how many pictures an error names before it only counts
_LISTED: Final = 6  # how many classes a summary names before it only counts
# What may stand beside the word in a part's name: train2017, val_images, test-set.
_FILLER: Final = re.compile("(data)?sets?|splits?|data|images?|imgs?|photos?|pictures?")
_PARTS: Final[Mapping[Part, re.Pattern[str]]] = {
    part: re.compile(f"({words})({_FILLER.pattern})?")
    for part, words in cast(
        dict[Part, str],
        {
            "train": "train(ing|val)?|trn",
            "validation": "val(id|idate|idation)?|dev(el|elopment)?",
            "test": "test(ing)?|tst|eval(uate|uation)?|holdout|heldout|pred(ict(ion)?)?",
        },
    ).items()
}


@dataclass(frozen=True)
class Labelling:
    """The class of each picture, in the order of the scan's sources, and where it came from.

    `parts` says which part of a data set each picture belongs to; empty if there are no parts.
    """

    mode: LabelMode
    labels: tuple[str, ...]
    found: str = ""  # "from folders under train/ and val/"
    parts: tuple[Part, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names in use, sorted."""
        return tuple(sorted(set(self.labels)))

    @property
    def counts(self) -> dict[str, int]:
        """How many pictures each class has, by its name, sorted."""
        return dict(sorted(Counter(self.labels).items()))

    @property
    def summary(self) -> str:
        """The classes with their counts, and how they were found, in one line."""
        if self.mode == "one":
            count = len(self.labels)
            all_of_them = f"all {count:,} pictures" if count != 1 else "the one picture"
            return f"one class for {all_of_them}{self.found}"
        return class_list(self.counts, self.found)


def class_list(counts: Mapping[str, int], found: str) -> str:
    """Return how many classes were found how, and the first six names with their counts."""
    names = sorted(counts)
    listed = ", ".join(
        f"{'no folder' if name == LOOSE_CLASS else printable(name)} ({counts[name]:,})"
        for name in names[:_LISTED]
    )
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    noun = "class" if len(names) == 1 else "classes"
    return f"{len(names)} {noun} {found}: {listed}{more}"


def part_of(name: str) -> Part | None:
    """Return which part of a data set a folder of this name is, in the spellings people use."""
    return _part_called("".join(_words(name)))


def _words(name: str) -> list[str]:
    """Return the words of a folder's name in lower case, without those that say nothing."""
    words = re.split(r"[\W\d_]+", name.lower())
    return [word for word in words if word and not _FILLER.fullmatch(word)]


def _part_called(word: str) -> Part | None:
    """Return the part of a data set that a word means."""
    return next((part for part, names in _PARTS.items() if names.fullmatch(word)), None)


def _parts_of(names: Sequence[str]) -> dict[str, Part]:
    """Return those of the folders that are parts; birds_train and birds_test are only together."""
    alone = {name: part for name in names if (part := part_of(name))}
    if alone:
        return alone
    found = {name: [p for word in _words(name) if (p := _part_called(word))] for name in names}
    kinds = {name: parts[0] for name, parts in found.items() if len(parts) == 1}
    rests = {tuple(w for w in _words(name) if not _part_called(w)) for name in kinds}
    together = len(rests) == 1 and len(set(kinds.values())) > 1
    return kinds if together else {}


def check_choice(choice: str) -> None:
    """Raise UsageProblem unless the choice is auto, folders, one or csv:FILE."""
    if choice not in ("auto", "folders", "one") and not (choice.startswith("csv:") and choice[4:]):
        likely = f" (csv:{choice}?)" if Path(choice).suffix and Path(choice).is_file() else ""
        raise UsageProblem(
            f"{choice!r} is not a source of labels; use auto, folders, one or csv:FILE{likely}"
        )


def find_labelled(folder: Path, choice: str = "auto") -> tuple[Scan, Labelling]:
    """Find the pictures of one folder, through links too, with their classes."""
    found = scan([folder], Selection(follow_symlinks=True))
    return found, label(found, choice)


def label(found: Scan, choice: str = "auto") -> Labelling:
    """Give every source its class; "auto" is a data set's own table, else folders, else one class.

    Raises UsageProblem for what is ambiguous, for loose pictures under an explicit "folders", and
    for a table that does not fit.
    """
    check_choice(choice)
    if choice == "one":
        return _one(found, ())
    if choice.startswith("csv:"):
        return _from_tables(found, [Path(choice[4:])])
    tables, notices = _own_tables(found) if choice == "auto" else ([], ())
    if tables:
        return _from_own(found, tables)
    if choice == "auto" and any(source.label is not None for source in found.sources):
        return _from_samples(found, notices)
    folders = _from_folders(found, explicit=choice == "folders")
    if choice == "folders":
        _refuse_loose(found.sources, folders.labels)
    if choice == "folders" or len(set(folders.labels) - {LOOSE_CLASS}) >= 2:
        return replace(folders, notices=(*notices, *folders.notices, *_alike(folders.classes)))
    return _one(found, (*notices, *_other_tables(found), *_boxes(found)))


def single_class(found: Scan) -> Labelling:
    """Return the class folders of pictures that are of one class, or loose."""
    return _from_folders(found, explicit=True)


def check_classes(labelling: Labelling, room: int, generator: str) -> None:
    """Raise UsageProblem if there are more classes than the generator knows; 0 knows any."""
    count = len(labelling.classes)
    if room and count > room:
        raise UsageProblem(
            f"{count} classes ({labelling.mode}), but the generator {printable(generator)} has "
            f"{room}; use --labels one, --labels csv:FILE with at most {room} classes, or a "
            f"generator trained on at least {count} classes (unlearn train-generator)"
        )


def _one(found: Scan, notices: tuple[str, ...]) -> Labelling:
    """Return one class for all; where classes may lie one folder deeper, say so."""
    places, around = {source.folders for source in found.sources} - {()}, Path()
    while len({place[:1] for place in places}) == 1:  # whatever lies loose beside it
        around /= next(iter(places))[0]
        places = {place[1:] for place in places} - {()}
    hint = ""
    tops = {place[0] for place in places if place}
    parts = all(part_of(top) for top in tops)  # those are no classes
    if around.parts and len(tops) > 1 and not parts and len(found.inputs) == 1:
        top = printable(found.inputs[0] / around)
        hint = f"; for the folders in {top} as classes, give {top} as the input"
    return Labelling("one", (ONE_CLASS,) * len(found.sources), hint, (), notices)


# --- folders ---------------------------------------------------------------------------------


def _from_folders(found: Scan, *, explicit: bool) -> Labelling:
    """Return the class folder of each source; "." for what lies loose.

    Several inputs are taken as the folders of one, unless they are sets of the same classes.
    """
    sources = found.sources
    several = len({source.root for source in sources}) > 1
    places = [((s.root,) if several and s.root else ()) + s.folders for s in sources]
    parts = _parts(sources, _around_parts(places), explicit=explicit)
    if parts is not None:
        return parts
    if not explicit:
        _refuse_parts_below(sources, places)
    if several and _are_sets(sources):
        roots = tuple(dict.fromkeys(source.root for source in sources if source.root))
        labels = tuple(_class(s.folders) for s in sources)
        return Labelling("folders", labels, f"from folders under {under(roots)}")
    labels = tuple(_class(place) for place in places)
    return Labelling("folders", labels, "from folders", (), _same_inside(places))


def _class(folders: Sequence[str]) -> str:
    """Return the class of a picture in these folders; systems write an é in two ways."""
    return _normal(folders[0]) if folders else LOOSE_CLASS


def _are_sets(sources: Sequence[Source]) -> bool:
    """Tell whether classes are the folders in the inputs: nothing lies loose, or names return."""
    inside: dict[str, set[str]] = defaultdict(set)
    for source in sources:
        inside[source.root] |= set(source.folders[:1])
    names = Counter(name for folders in inside.values() for name in folders)
    return all(source.folders for source in sources) or any(n > 1 for n in names.values())


def _around_parts(places: Sequence[tuple[str, ...]]) -> Sequence[tuple[str, ...]]:
    """Return the places without the folders around the parts of a data set, if there are parts."""
    inner = places
    while len({place[:1] for place in inner}) == 1 and all(len(place) > 2 for place in inner):
        if part_of(inner[0][0]):
            return inner
        inner = [place[1:] for place in inner]
    tops = list(dict.fromkeys(place[0] for place in inner if place))
    return inner if len(tops) > 1 and len(_parts_of(tops)) == len(tops) else places


def _parts(
    sources: Sequence[Source], places: Sequence[tuple[str, ...]], *, explicit: bool
) -> Labelling | None:
    """Return classes below the parts of a data set, or None if the folders are no parts.

    Raises UsageProblem where folders are called like parts and may be classes all the same.
    """
    places = _without_wrappers(places)
    tops = sorted({place[0] for place in places if place})
    kinds = _parts_of(tops)
    inner = _inside(places)
    if not kinds or not any(inner[top] for top in kinds):
        if not explicit and len(tops) > 1 and len(kinds) == len(tops):
            raise UsageProblem(_flat_parts(tops))
        return None
    if len(kinds) < len(tops):
        shared = _in_several([inner[top] for top in kinds])
        # One part with classes, and beside it folders with pictures of none (train, unlabeled).
        bare = {place[0] for place in places if len(place) == 1}
        if len(kinds) == 1 and bare == set(tops) - set(kinds) and not any(map(inner.get, bare)):
            shared = sorted(inner[next(iter(kinds))])
        if len(shared) > 1 and not explicit:
            raise UsageProblem(_more_than_parts(tops, kinds, shared))
        return None
    loose = [s for s, place in zip(sources, places, strict=True) if len(place) < 2]
    if loose:
        raise UsageProblem(_loose_in_parts([top for top in tops if inner[top]], loose))
    return Labelling(
        "folders",
        tuple(_class(place[1:]) for place in places),
        f"from folders under {under(tops)}",
        tuple(kinds[place[0]] for place in places),
    )


def _refuse_parts_below(sources: Sequence[Source], places: Sequence[tuple[str, ...]]) -> None:
    """Raise UsageProblem for parts of a data set in a folder that has others beside it."""
    inner: dict[Path, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for source, place in zip(sources, places, strict=True):
        for depth in range(1, len(place) - 1):
            inner[source.path.parents[len(place) - depth]][place[depth]].add(place[depth + 1])
    for folder, tops in inner.items():
        kinds = _parts_of(sorted(tops))
        shared = _in_several([tops[top] for top in kinds])
        if shared and len(set().union(*(tops[top] for top in kinds))) > 1:
            raise UsageProblem(
                f"{under(list(kinds))} in {printable(folder)} hold the same folders "
                f"({_some(shared)}), as the parts of a data set do, but it is not all of the "
                f"input. Give {printable(folder)} alone as the input, or say what the classes are "
                "(--labels folders, csv:FILE or one)"
            )


def _in_several(sets: Sequence[set[str]]) -> list[str]:
    """Return what is in more than one of the sets, sorted."""
    counts = Counter(name for names in sets for name in names)
    return sorted(name for name, count in counts.items() if count > 1)


def _inside(places: Sequence[tuple[str, ...]]) -> dict[str, set[str]]:
    """Return the folders in each folder."""
    inner: dict[str, set[str]] = {place[0]: set() for place in places if place}
    for place in places:
        if len(place) > 1:
            inner[place[0]].add(place[1])
    return inner


def _without_wrappers(places: Sequence[tuple[str, ...]]) -> Sequence[tuple[str, ...]]:
    """Return the places without a folder that a part holds alone and that is no class.

    It is called as the part is (seg_train/seg_train) or by a word that says nothing (images), which
    stays where nothing else could be a class.
    """
    given, said = places, False
    while wrapped := {
        top
        for top, names in _inside(places).items()
        if len(names) == 1 and (top in names or _FILLER.fullmatch(min(names).lower()))
    }:
        said = said or any(place[0] == place[1] for place in places if len(place) > 1)
        places = [(*p[:1], *p[2:]) if p and p[0] in wrapped else p for p in places]
    return places if said or any(len(place) > 1 for place in places) else given


def _flat_parts(tops: Sequence[str]) -> str:
    """Return the refusal of parts that hold pictures directly."""
    return (
        f"{under(tops)} hold pictures directly, so they may be classes or the parts of a data "
        "set. If they are classes, use --labels folders; if they are parts, put a folder for each "
        "class into them, name classes with --labels csv:FILE, or use --labels one"
    )


def _more_than_parts(tops: Sequence[str], kinds: Mapping[str, Part], shared: Sequence[str]) -> str:
    """Return the refusal of parts with other folders beside them."""
    others = [top for top in tops if top not in kinds]
    leave = " ".join(f"--exclude {command_line(top)}" for top in others[:_NAMED])
    hold, them = ("hold the same folders", "them") if len(kinds) > 1 else ("holds folders", "it")
    return (
        f"{under(list(kinds))} {hold} ({_some(shared)}), as the parts of a data "
        f"set do, but {under(others)} beside {them} is no part. If all are classes, use "
        f"--labels folders; if not, leave out what is no part ({leave})"
    )


def _loose_in_parts(tops: Sequence[str], loose: Sequence[Source]) -> str:
    """Return the refusal of pictures without a class among parts with class folders."""
    more = f" (and {len(loose) - 1} more)" if len(loose) > 1 else ""
    return (
        f"{printable(loose[0].path)}{more} is in no class folder, though there are some under "
        f"{under(tops)}; move it into one, leave it out with --exclude, or use --labels csv:FILE"
    )


def _same_inside(places: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return a notice if the folders hold the same folders: those may be the classes."""
    if not all(len(place) > 1 for place in places):
        return ()
    tops = sorted({place[0] for place in places})
    inner = [{place[1] for place in places if place[0] == top} for top in tops]
    shared = sorted(set.intersection(*inner)) if len(inner) > 1 else []
    if len(shared) < 2 or all(part_of(name) for name in shared):
        return ()
    return (
        f"{under(tops)} hold the same folders ({_some(shared)}); if those are the classes, give "
        f"{under(tops)} as inputs of their own",
    )


def _alike(classes: Sequence[str]) -> tuple[str, ...]:
    """Return a notice for classes whose names differ only in case or spaces around them."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        groups[name.strip().casefold()].append(name)
    return tuple(
        f"{' and '.join(map(printable, names))} are {len(names)} classes, since they are not spelt "
        "alike"
        for names in groups.values()
        if len(names) > 1
    )


def under(folders: Sequence[str]) -> str:
    """Return folders as people list them: "train/, val/ and test/"."""
    texts = [f"{printable(folder)}/" for folder in folders]
    if len(texts) > _LISTED:
        return f"{', '.join(texts[:_LISTED])} and {len(texts) - _LISTED} more"
    return " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))


def _some(names: Sequence[str]) -> str:
    """Return the first few names, with the number of the others."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(printable(name) for name in names[:_NAMED]) + more


def _refuse_loose(sources: Sequence[Source], labels: Sequence[str]) -> None:
    """Raise UsageProblem if a picture lies in no class folder."""
    loose = [s.path for s, name in zip(sources, labels, strict=True) if name == LOOSE_CLASS]
    if loose:
        more = f" (and {len(loose) - 1} more)" if len(loose) > 1 else ""
        raise UsageProblem(
            f"{printable(loose[0])}{more} is in no class folder; move it into one, or use "
            "--labels auto"
        )


# --- samples ---------------------------------------------------------------------------------


def _from_samples(found: Scan, notices: tuple[str, ...]) -> Labelling:
    """Return the labels that samples in tars state; raises UsageProblem if some do not."""
    silent = [source.name for source in found.sources if source.label is None]
    if silent:
        raise UsageProblem(
            f"the sample of {_some(silent)} states no class in .cls or .json, and others do; use "
            "--labels one, or csv:FILE"
        )
    labels = tuple(_normal(source.label or "") for source in found.sources)
    stated = "from the .cls or .json of the samples"
    notices = (*notices, *_alike(sorted(set(labels))))
    return Labelling("samples", labels, stated, _parts_above(found), notices)


# --- tables ----------------------------------------------------------------------------------


def _own_tables(found: Scan) -> tuple[list[Path], tuple[str, ...]]:
    """Return the tables of labels in the inputs and the folders there, and what others lack."""
    folders = dict.fromkeys(path for path in found.inputs if path.is_dir())
    for source in found.sources:
        inner = source.path.parents[: len(source.folders)]
        folders |= dict.fromkeys(reversed(inner))
    tables = [folder / name for folder in folders for name in OWN_TABLES]
    there = [table for table in tables if table.is_file()]
    labelled = [table for table in there if has_labels(table)]
    unread = [path for folder in folders if (path := folder / _UNREAD_TABLE).is_file()]
    return labelled, (
        *(
            f"{printable(table)} has no columns file_name and label, so it names no classes"
            for table in [table for table in there if table not in labelled][:_NAMED]
        ),
        *(
            f"{printable(path)} may name classes, but Parquet is not read; write it as metadata.csv"
            for path in unread[:_NAMED]
        ),
    )


def _other_tables(found: Scan) -> tuple[str, ...]:
    """Return a notice of the first table in the inputs that names classes and was not asked for."""
    kinds = {".csv", ".tsv", ".jsonl"} & set(found.skipped)
    folders = [path for path in found.inputs if kinds and path.is_dir()]
    tables = [path for folder in folders for path in sorted(folder.iterdir())]
    for path in (path for path in tables if path.suffix.lower() in kinds):
        with suppress(UsageProblem):  # what cannot be read was not asked for
            if path.name not in OWN_TABLES and has_labels(path):
                return (f"{printable(path)} names classes: --labels csv:{command_line(path)}",)
    return ()


def _boxes(found: Scan) -> tuple[str, ...]:
    """Return a notice if pictures have boxes of YOLO, which name no class of a whole picture."""
    for source in found.sources[:_BOXES_AMONG] if ".txt" in found.skipped else ():
        before, _, after = str(source.path.with_suffix(".txt")).rpartition("/images/")
        for path in (source.path.with_suffix(".txt"), Path(f"{before}/labels/{after}")):
            with suppress(OSError), path.open("rb") as file:
                if _BOX.fullmatch(file.readline(200)):
                    return (
                        f"{printable(path)} holds boxes with classes (YOLO), which are not read: a "
                        "picture has one class here. Put pictures of each class into a folder of "
                        "their own, or name the classes with --labels csv:FILE",
                    )
    return ()


def _from_own(found: Scan, tables: Sequence[Path]) -> Labelling:
    """Return the labels of a data set's own tables; raises UsageProblem if folders disagree."""
    try:
        labelling = _from_tables(found, tables)
    except UsageProblem as error:
        raise UsageProblem(f"{error}; without the table: --labels folders, or one") from error
    try:
        folders = _from_folders(found, explicit=False).labels
    except UsageProblem:  # without the table it would be ambiguous
        return labelling
    pairs = set(zip(labelling.labels, folders, strict=True))
    if len(set(folders)) > 1 and not len(pairs) == len(set(folders)) == len(labelling.classes):
        table = printable(tables[0])
        several = f" (one of {len(tables)}; put all rows into one)" if len(tables) > 1 else ""
        raise UsageProblem(
            f"{table} and the folders disagree about the classes; use --labels "
            f"csv:{table}{several} or --labels folders"
        )
    return labelling


def _from_tables(found: Scan, tables: Sequence[Path]) -> Labelling:
    """Return the label of each source from the rows of tables."""
    by_name = {_normal(source.name): n for n, source in enumerate(found.sources)}
    by_path = {_normal(_absolute(source.path)): n for n, source in enumerate(found.sources)}
    for short in (_stem, str.casefold):  # as some tables have names, where that is one picture
        counts = Counter(map(short, by_name))
        shorter = {short(name): n for name, n in by_name.items() if counts[short(name)] == 1}
        by_name = shorter | by_name
    rows: dict[int, Row] = {}
    endings = _endings(found.sources)
    for table in tables:
        for row in read_table(table):
            number = _number(row, table, by_name, by_path)
            if number is None:
                number = _ending(row, table, endings)
            if number is None:
                _refuse_stray(found, table, row)
                continue
            if (other := rows.get(number)) and _normal(other.label) != _normal(row.label):
                raise UsageProblem(
                    f"{row.where}: {printable(row.path)} is {printable(row.label)} here and "
                    f"{printable(other.label)} on "
                    f"{other.where.removeprefix(f'{printable(table)} ')}"
                )
            rows[number] = row
    missing = [source.name for n, source in enumerate(found.sources) if n not in rows]
    names = " and ".join(map(printable, tables))
    if missing:
        raise UsageProblem(
            f"{names} has no label for {_some(missing)}; add a row path,label for each picture, or "
            "leave out those without (--exclude)"
        )
    labels = tuple(_normal(rows[n].label) for n in range(len(found.sources)))
    kind = "table" if len(tables) == 1 else "tables"
    notices = _alike(sorted(set(labels)))
    return Labelling("csv", labels, f"from the {kind} {names}", _parts_above(found), notices)


def _parts_above(found: Scan) -> tuple[Part, ...]:
    """Return the part of each source if every one lies in a folder that is called like a part."""
    parts = tuple(part for s in found.sources if s.folders and (part := part_of(s.folders[0])))
    return parts if len(parts) == len(found.sources) else ()


def _number(
    row: Row, table: Path, by_name: Mapping[str, int], by_path: Mapping[str, int]
) -> int | None:
    """Return which source a row names: from where the table lies, or under the inputs."""
    for text in dict.fromkeys((row.path, readable(row.path).replace("\\", "/"))):
        if "\0" not in text:
            name = _normal(os.path.normpath(text))
            found = (
                by_path.get(_normal(_absolute(table.parent / text))),
                by_name.get(name),
                by_name.get(name.casefold()),
            )
            if numbers := [number for number in found if number is not None]:
                return numbers[0]
    return None


def _endings(sources: Sequence[Source]) -> dict[str, int]:
    """Return sources by their path from the name of their input on, and by their own name.

    A name of several is none.
    """
    texts: list[tuple[str, int]] = []
    for number, source in enumerate(sources):
        file = _normal(source.path.name)
        names = {_normal(f"/{source.root}/{source.relative}"), file, _stem(file)}
        texts += [(name, number) for name in names]
    counts = Counter(name for name, _ in texts)
    return {name: number for name, number in texts if counts[name] == 1}


def _ending(row: Row, table: Path, endings: Mapping[str, int]) -> int | None:
    """Return which source a row names that was written elsewhere, or that states no folder."""
    text = os.path.normpath(readable(row.path).replace("\\", "/"))
    if "\0" in text or (table.parent / text).is_file():  # another picture, which is not wanted
        return None
    parts = _normal(text).split("/")
    tails = [f"/{'/'.join(parts[start:])}" for start in range(len(parts))]
    return next((endings[t] for t in (*tails, *parts[:1][len(parts) - 1 :]) if t in endings), None)


def _stem(name: str) -> str:
    """Return a name without its suffix, as some tables have it."""
    return str(PurePosixPath(name).with_suffix(""))


def _refuse_stray(found: Scan, table: Path, row: Row) -> None:
    """Raise UsageProblem for a row without a picture, unless the options leave the picture out."""
    text = row.path.replace("\\", "/")
    outside = Path(text).is_absolute() or ".." in Path(text).parts or text[1:2] == ":"
    if outside or "\0" in text:
        raise UsageProblem(
            f"{row.where}: {printable(row.path)} leads outside; paths are relative to the input "
            "folder"
        )
    single = found.inputs[0] if len(found.inputs) == 1 else None
    folders = [single] if single else [path.parent for path in found.inputs]
    if not any((folder / text).is_file() for folder in (*folders, table.parent)):
        same = [s.name for s in found.sources if s.path.name == text]
        hint = f", but {_some(same)}; write the folders too" if same else ""
        if row.where.endswith(" line 1"):
            hint = "; a head names the columns path and label"
        raise UsageProblem(f"{row.where}: there is no picture {printable(row.path)}{hint}")


def _absolute(path: Path) -> str:
    """Return a path from the root, with links as they are called."""
    return os.path.abspath(path)  # noqa: PTH100 - resolve() would follow links


def _normal(name: str) -> str:
    """Return the name in one Unicode form: a table of another system may use the other."""
    return unicodedata.normalize("NFC", name)
