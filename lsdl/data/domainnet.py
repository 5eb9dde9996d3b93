"""DomainNet in its original layout, for full scale: 345 classes of objects in six domains.

Peng et al., *Moment Matching for Multi-Source Domain Adaptation*, ICCV 2019 (arXiv 1812.01754). The archives and the lists
are on the authors' page, http://ai.bu.edu/M3SDA/ (take the cleaned version of clipart and painting). Unpacked, they look so:

    ROOT/clipart/aircraft_carrier/clipart_001_000001.jpg
    ROOT/clipart_train.txt      one line a picture: "clipart/aircraft_carrier/clipart_001_000001.jpg 0"
    ROOT/clipart_test.txt

There is no validation list: split the training list yourself, never look at the test list for a choice.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from torch.utils.data import Dataset

DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
SPLITS = ("train", "test")


class DomainNet(Dataset):
    """Pictures of one domain and split, in the order of the authors' list.

    Attributes:
        classes: class names, index = label; a number that the list skips (in a subset) has the name "".
        labels: the label of every picture.
    """

    def __init__(
        self, root: str | Path, domain: str, split: str, transform: Callable[[Image.Image], Any] | None = None
    ) -> None:
        """Read the list; pictures are opened one by one, when they are asked for.

        Args:
            root: folder that holds the domains' folders and lists.
            domain: one of DOMAINS.
            split: "train" or "test".
            transform: applied to the RGB PIL image.

        Raises:
            ValueError: an unknown domain or split, or a list that is not in the authors' format.
            FileNotFoundError: the list or the domain's folder is missing.
        """
        if domain not in DOMAINS:
            raise ValueError(f"domain is one of {', '.join(DOMAINS)}, not {domain!r}.")
        if split not in SPLITS:
            raise ValueError(f"split is one of {', '.join(SPLITS)}, not {split!r}.")
        self.root, self.domain, self.split, self.transform = Path(root), domain, split, transform
        listing = self.root / f"{domain}_{split}.txt"
        if not listing.is_file():
            raise FileNotFoundError(f"{listing} is missing: put {listing.name} of DomainNet into {self.root}.")
        if not (self.root / domain).is_dir():
            raise FileNotFoundError(
                f"{self.root / domain} is missing: unpack {domain}.zip of DomainNet in {self.root}."
            )
        self.paths: list[str] = []
        self.labels: list[int] = []
        names: dict[int, str] = {}
        for number, line in enumerate(listing.read_text(encoding="utf-8").splitlines(), start=1):
            if not line.strip():
                continue
            path, _, label = line.rpartition(" ")
            parts = path.split("/")
            if len(parts) != 3 or parts[0] != domain or ".." in parts or not label.isascii() or not label.isdigit():
                raise ValueError(f'{listing}, line {number}, is not like "{domain}/CLASS/FILE.jpg LABEL": {line!r}.')
            if names.setdefault(int(label), parts[1]) != parts[1]:
                raise ValueError(f"{listing}, line {number}: label {label} is both {names[int(label)]} and {parts[1]}.")
            self.paths.append(path)
            self.labels.append(int(label))
        if not self.paths:
            raise ValueError(f"{listing} lists no pictures: fetch it again.")
        self.classes: tuple[str, ...] = tuple(names.get(i, "") for i in range(max(names) + 1))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """The picture (RGB PIL image, or what `transform` makes of it) and its label.

        Raises:
            FileNotFoundError: the list names a picture that is not there.
            ValueError: the file is not a picture.
        """
        path = self.root / self.paths[index]
        try:
            with Image.open(path) as file:
                image = file.convert("RGB")
        except FileNotFoundError:
            listing = f"{self.domain}_{self.split}.txt"
            raise FileNotFoundError(
                f"{path} is in {listing} but not on disk: unpack {self.domain}.zip again, or use the list of its version."
            ) from None
        except (UnidentifiedImageError, OSError) as error:
            raise ValueError(f"{path} is not a readable picture ({error}): unpack {self.domain}.zip again.") from error
        return (image if self.transform is None else self.transform(image)), self.labels[index]
