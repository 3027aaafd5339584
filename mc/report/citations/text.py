"""Citations as lines for a terminal, as BibTeX, and as docs/references.md (``python -m mc.report.citations.text``)."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from mc.report.citations.entry import Citation, Reference
from mc.report.citations.methods import CITATIONS

_PAGE = """# References

This page is made from the declarations in the code by `python -m mc.report.citations.text`; a test compares them.
`dipmc cite` prints it, `dipmc cite RUN` the part that a run uses, `--bibtex` the entries for a bibliography. Cite the
papers whose theory is tested, and this software: [CITATION.cff](../CITATION.cff).
"""


def references_of(citations: Iterable[Citation]) -> tuple[Reference, ...]:
    """The publications of some methods, each once, in the order of first use."""
    return tuple(dict.fromkeys(reference for citation in citations for reference in citation.references))


def cite_lines(citations: Iterable[Citation]) -> Iterator[str]:
    """A line for each method, and one for each of its publications."""
    for citation in citations:
        yield f"{citation.key}: {citation.used_for}"
        for reference in citation.references:
            yield f"  {reference.text}" + (f" {reference.identifier}" if reference.link else "")


def bibtex(citations: Iterable[Citation]) -> str:
    """The BibTeX entries of some methods, each once."""
    return "\n\n".join(reference.bibtex() for reference in references_of(citations))


def references_page() -> str:
    """The text of docs/references.md."""
    parts = [_PAGE]
    for citation in CITATIONS.values():
        entries = "".join(
            f"- {each.text}" + (f" [{each.identifier}]({each.link})" if each.link else "") + "\n"
            for each in citation.references
        )
        parts.append(f"## {citation.key}\n\n{citation.used_for[0].upper()}{citation.used_for[1:]}.\n\n{entries}")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(references_page())
