"""A publication: how it is printed, and its BibTeX entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Reference:
    """One publication; a field that is not known for certain is left empty.

    Attributes
    ----------
    key : str
        Of its BibTeX entry.
    authors : str
        "N. Surname, N. Surname", in the order of the publication.
    title : str
    year : int
    where : str
        Journal, series, publisher or conference.
    volume, number, pages : str
    doi, arxiv, url : str
        Identifiers, without the address of a resolver.
    kind : {"article", "book", "misc"}
        Type of the BibTeX entry.
    """

    key: str
    authors: str
    title: str
    year: int
    where: str = ""
    volume: str = ""
    number: str = ""
    pages: str = ""
    doi: str = ""
    arxiv: str = ""
    url: str = ""
    kind: Literal["article", "book", "misc"] = "article"

    @property
    def link(self) -> str:
        """Address of the publication; empty where none is known."""
        if self.doi:
            return f"https://doi.org/{self.doi}"
        return f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else self.url

    @property
    def identifier(self) -> str:
        """What stands for the link in print: doi:..., arXiv:... or the address."""
        if self.doi:
            return f"doi:{self.doi}"
        return f"arXiv:{self.arxiv}" if self.arxiv else self.url.removeprefix("https://")

    @property
    def text(self) -> str:
        """Authors (year). Title. Where volume(number), pages; without the identifier."""
        numbers = f"{self.volume}({self.number})" if self.number else self.volume
        place = " ".join(part for part in (self.where, numbers) if part)
        place = ", ".join(part for part in (place, self.pages.replace("--", "–")) if part)
        return f"{self.authors} ({self.year}). {self.title}." + (f" {place}." if place else "")

    def bibtex(self) -> str:
        """The BibTeX entry, UTF-8."""
        place = {"article": "journal", "book": "publisher", "misc": "howpublished"}[self.kind]
        fields = {
            "author": " and ".join(self.authors.split(", ")),
            "title": f"{{{self.title}}}",
            "year": str(self.year),
            place: self.where,
            "volume": self.volume,
            "number": self.number,
            "pages": self.pages,
            "doi": self.doi,
            "eprint": self.arxiv,
            "archiveprefix": "arXiv" if self.arxiv else "",
            "url": self.url,
        }
        lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items() if value)
        return f"@{self.kind}{{{self.key},\n{lines}}}"


@dataclass(frozen=True)
class Citation:
    """A method, what it is used for here, and what to cite for it.

    Attributes
    ----------
    key : str
        Its name: ``dipmc cite KEY``.
    used_for : str
    references : tuple of Reference
    """

    key: str
    used_for: str
    references: tuple[Reference, ...]
