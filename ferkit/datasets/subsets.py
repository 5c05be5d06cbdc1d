"""Published lists of hard poses and occlusions (Wang et al., RAN, IEEE TIP 2020), read from a copy that the user has.

Its repository (``Challenge-condition-FER-dataset``) states no licence, so no list is part of ferkit.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ferkit.datasets.tables import read_lines
from ferkit.errors import FerkitError
from ferkit.images import shown
from ferkit.interfaces import Sample


@dataclass(frozen=True)
class Listing:
    """A published list.

    Attributes:
        file: Its path in the repository.
        line: A regular expression with the groups ``key``, what names the picture, and ``label``, an index.
        published: How many different pictures it names.
    """

    file: str
    line: str
    published: int


def pose_lists(files: Sequence[str], lines: Sequence[str], published: Sequence[int]) -> dict[str, Listing]:
    """Listings of poses beyond 30 and 45 degrees and of occlusions, in this order."""
    names = ("pose30", "pose45", "occlusion")
    return {name: Listing(file, line, n) for name, file, line, n in zip(names, files, lines, published, strict=True)}


@dataclass(frozen=True)
class Subset:
    """One list of a copy of the repository.

    Attributes:
        listing: What is known of it.
        path: Where it is.
        classes: What its indices mean.
    """

    listing: Listing
    path: Path
    classes: Sequence[str]

    @classmethod
    def open(
        cls, name: str | None, folder: str | None, listings: Mapping[str, Listing], classes: Sequence[str]
    ) -> "Subset | None":
        """The list that the options ``subset`` and ``lists`` name, or None.

        Raises:
            FerkitError: If one is given without the other, or the list is not there.
        """
        if name is None and folder is None:
            return None
        if name is None or folder is None:
            raise FerkitError(
                "the options subset and lists go together: the name of a subset, and the folder that holds a copy of the "
                "published lists"
            )
        root, listing = Path(folder), listings[name]
        for path in (root / listing.file, root / Path(listing.file).name):
            if path.is_file():
                return cls(listing, path, classes)
        raise FerkitError(
            f"there is no {listing.file} in {shown(root)}: get a copy of the repository Challenge-condition-FER-dataset, "
            "and name its folder in the option lists"
        )

    def of(
        self,
        samples: Mapping[str, Sequence[Sample]],
        key: Callable[[Sample], str],
        remark: Callable[[str, str], None],
    ) -> dict[str, list[Sample]]:
        """Those of ``samples``, by split, that the list names, in their own order, with the list's labels.

        Args:
            samples: By split.
            key: What the list calls a sample.
            remark: Told of what does not agree, and where.

        Raises:
            FerkitError: If a line can't be read, or none names a sample.
        """
        entries = self._entries(remark)
        kept: dict[str, list[Sample]] = {}
        left = dict(entries)
        for split, each in samples.items():
            for sample in each:
                if entry := left.pop(key(sample), None):
                    label, where = entry
                    if sample.label != label:
                        remark(
                            "listed labels unlike the data's, the list's was taken",
                            f"{where}: {sample.id} is {label} in the list, {sample.label or 'without a label'} in the data",
                        )
                    kept.setdefault(split, []).append(replace(sample, label=label))
        if not kept:
            raise FerkitError(
                f"{shown(self.path)} names none of the data's pictures (n = {len(entries)}), such as {min(entries)}: does "
                "it belong to this release of the data?"
            )
        for name, (_, where) in left.items():
            remark("listed pictures that are not among the data's", f"{where}: {name}")
        return kept

    def _entries(self, remark: Callable[[str, str], None]) -> dict[str, tuple[str, str]]:
        """Label and place by key."""
        entries: dict[str, tuple[str, str]] = {}
        for where, text in read_lines(self.path):
            match = re.fullmatch(self.listing.line, text)
            if match is None or int(match["label"]) >= len(self.classes):
                raise FerkitError(
                    f"{where}: {shown(text)!r} is no entry of {self.listing.file} (an index of {len(self.classes)} classes "
                    "and a picture): is it another list?"
                )
            label = self.classes[int(match["label"])]
            if match["key"] not in entries:
                entries[match["key"]] = label, where
            elif entries[match["key"]][0] == label:
                remark("pictures listed twice", f"{where}: {match['key']}")
            else:
                remark("pictures listed twice with two labels, the first was taken", f"{where}: {match['key']}")
        return entries
