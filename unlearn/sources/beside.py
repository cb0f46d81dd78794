"""What lies beside photos: the files of systems and galleries, and pictures no one can protect."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Final

from unlearn.files.text import printable
from unlearn.pictures.kinds import HEAD_BYTES, KINDS, NO_RAW

# Folders that systems, galleries and synchronisers fill by themselves, and their files.
_FOLDERS: Final = re.compile(
    r"@eadir|@recycle|@recently-snapshot|\.?@__thumb|@sharebin|@tmp|#recycle|#snapshot"
    r"|\$recycle\.bin|system volume information|lost\+found|network trash folder|temporary items"
    r"|__macosx|\.appledouble|\.appledb|\.appledesktop|\.temporaryitems|\.trashes|\.trash(-\d+)?"
    r"|[._](thumbs?|thumbnails)|\.xvpics|\.picasaoriginals|\.dtrash|\.photostructure"
    r"|\[originals\]|ipod photo cache|captureone"
    r"|.*\.(lrdata|lrcat-data|photoslibrary|photolibrary|aplibrary|cocatalog)"
    r"|\.stfolder|\.stversions|\.sync|\.dropbox\.cache|\.owncloudsync|_gsdata_|_vti_cnf",
    re.IGNORECASE,
)
_FILES: Final = re.compile(
    r"(eh)?thumbs(_vista)?\.db|photothumb\.db|zbthumbnail\.info|desktop\.ini|\.?picasa\.ini"
    r"|\.ds_store|\.localized|\.nomedia|\.directory|\.volumeicon\.icns|icon\r",
    re.IGNORECASE,
)
HIDDEN_FOLDER: Final = "hidden folder"
FOLDER_LINK: Final = "folder link"
_RECORDS_END: Final = ".unlearn"
_RECORDS_FILE: Final = "manifest.jsonl"
_PLACEHOLDERS: Final = (".icloud", ".cloud", ".cloudf")
_FORKS: Final = "._"  # macOS keeps what other file systems cannot store in files beginning so

_RAW: Final = (
    "nef nrw cr2 cr3 crw arw srf sr2 dng gpr orf rw2 rwl raw raf pef ptx srw x3f 3fr fff iiq mos "
    "mef mrw dcr kdc k25 dcs erf bay"
)
_OTHERS: Final = (
    "psd psdt psb xcf kra ora clip afphoto pxd procreate svg svgz ai eps emf wmf cdr "
    "jxl jp2 j2k j2c jpc jpf jpx jpm jph jhc jxr wdp hdp heics avifs bpg flif qoi djvu "
    "ico cur icns tga dds exr hdr pfm ppm pgm pbm pnm pam sgi rgb pcx pict wbmp xbm xpm fits dcm"
)
_OTHER_REASON: Final = "this format is not supported; export JPEG, PNG or TIFF first"
_REASONS: Final = {
    f".{suffix}": reason
    for suffixes, reason in ((_RAW, NO_RAW), (_OTHERS, _OTHER_REASON))
    for suffix in suffixes.split()
}
# Kinds whose first bytes begin nothing else, so that they tell a picture whatever it is called.
_TELLING: Final = frozenset({"RAW", "JPEG 2000", "PSD", "DDS", "EXR", "QOI", "SVG"})
# Beginnings that pictures.kinds has not, or has shorter: JPEG XL in boxes, portable maps with a
# size, then GIMP, Apple icons, FLIF, BPG, DjVu, JPEG XR, encapsulated PostScript and FITS.
_ALSO: Final = re.compile(
    rb"\0\0\0\x0cJXL |P[1-7]\s+(#[^\n]*\n)*\s*\d+\s+\d+\s|gimp xcf|icns|FLIF[13-6AC-F]|BPG\xfb"
    rb"|AT&TFORM|II\xbc\x01|%!PS-Adobe-\d\.\d EPSF|SIMPLE  ="
)


def unsupported_suffix(suffix: str) -> str | None:
    """Return why files of a suffix in lower case are pictures that cannot be protected, or None."""
    return _REASONS.get(suffix)


def unsupported_content(file: BinaryIO) -> str | None:
    """Return why a file is a picture that cannot be protected, told by its content, or None."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    kind = next((kind for kind in KINDS if kind.begins.match(head)), None)
    if kind is not None and kind.name in _TELLING and (kind.name != "SVG" or b"<svg" in head):
        return kind.refusal
    return _OTHER_REASON if _ALSO.match(head) else None


def passed_folder(path: Path) -> str | None:
    """Return the name to count a folder's files under if it is not the person's, or None."""
    if path.name.endswith(_RECORDS_END) and (path / _RECORDS_FILE).is_file():
        return "in records of unlearn"
    if _FOLDERS.fullmatch(path.name):
        return f"in {path.name}"
    return HIDDEN_FOLDER if path.name.startswith(".") else None


def passed_file(name: str) -> str | None:
    """Return the name to count a file under if it is no picture of the person's, or None."""
    if _FILES.fullmatch(name):
        return name.rstrip()
    if name.lower().endswith(_PLACEHOLDERS):
        return "only in the cloud"
    if name.startswith(_FORKS):
        return "AppleDouble file"
    return "hidden file" if name.startswith(".") else None


def skipped_text(skipped: Mapping[str, int]) -> str:
    """Return what was passed over, counted: "2 hidden files, 1 .txt"."""
    texts = []
    for kind, count in skipped.items():
        plural = "s" * (count != 1 and kind.endswith((" file", " folder", " link")))
        way = " (--follow-symlinks looks into them)" if kind == FOLDER_LINK else ""
        texts.append(f"{count} {printable(kind)}{plural}{way}")
    return ", ".join(texts)


def files_in(folder: Path, kind: str) -> int:
    """Count the files anywhere in a folder that is passed over; a hidden one counts as one thing.

    Links are not followed.
    """
    if kind == HIDDEN_FOLDER or folder.is_symlink():
        return 1
    return sum(len(files) for _, _, files in os.walk(folder))
