"""A folder of images: one sub-folder a class (the layout that torchvision reads), or a flat folder without labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compressor.core.errors import DataError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif"})
_SPLITS = frozenset({"train", "val", "valid", "validation", "test", "dev"})


@dataclass(frozen=True)
class FolderImages:
    """Image files, read when asked for."""

    root: Path
    paths: Sequence[Path]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> Path:
        """Where the image is."""
        return self.paths[index]

    def name(self, index: int) -> str:
        """The path below the folder."""
        return str(self.paths[index].relative_to(self.root))


@dataclass(frozen=True)
class FolderContent:
    """What a folder of images holds; `labels` is None for a flat folder."""

    images: FolderImages
    labels: list[int] | None
    class_names: tuple[str, ...]
    notes: tuple[str, ...]


def read_folder(root: Path) -> FolderContent:
    """Lists the images of a folder; what is hidden, or is no image by its suffix, is passed over.

    Classes are numbered in the alphabetical order of their names, as torchvision does it.

    Raises:
        DataError: no image at all, images beside class folders, an empty class, or splits instead of classes.
    """
    entries = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
    flat = [entry for entry in entries if entry.is_file() and entry.suffix.lower() in SUFFIXES]
    classes = {entry.name: _images_below(entry) for entry in entries if entry.is_dir()}
    classes = {name: paths for name, paths in classes.items() if paths} if flat else classes
    if not flat and not any(classes.values()):
        raise DataError(f"{root}: must hold images ({_suffixes()}), but there are none. Give another folder.")
    if flat and classes:
        raise DataError(
            f"{root}: must hold either images or one sub-folder a class, but it holds both ({flat[0].name}, "
            f"{next(iter(classes))}/). Move one of them out."
        )
    if flat:
        return FolderContent(FolderImages(root, flat), None, (), ())
    if {name.lower() for name in classes} <= _SPLITS:
        split = next(iter(classes))
        raise DataError(f"{root}: its sub-folders are splits ({', '.join(classes)}), not classes. Give {root / split}.")
    empty = [name for name, paths in classes.items() if not paths]
    if empty:
        raise DataError(
            f"{root}: each class must hold an image, but '{empty[0]}' holds none. Fill or remove that folder."
        )
    labels = [label for label, paths in enumerate(classes.values()) for _ in paths]
    paths = [path for below in classes.values() for path in below]
    return FolderContent(FolderImages(root, paths), labels, tuple(classes), _note_on_order(tuple(classes)))


def _images_below(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    return sorted(path for path in found if path.is_file())


def _note_on_order(names: tuple[str, ...]) -> tuple[str, ...]:
    if all(name.isdecimal() for name in names) and list(names) != sorted(names, key=int):
        return (f"Class folders are numbered in alphabetical order, as torchvision does: '{names[2]}' is label 2.",)
    return ()


def _suffixes() -> str:
    return ", ".join(sorted(SUFFIXES))
