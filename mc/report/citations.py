"""What to cite: each method with its publications of references.bib, and the methods that an experiment uses.

``python -m mc.report.citations`` prints docs/references.md.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

from mc.errors import InputError
from mc.experiment.experiment import Experiment
from mc.experiment.schema import Document

Uses = Callable[[Document], bool]

ENTRY = re.compile(r"^@\w+\{(\w+),\n.*?^\}$", re.DOTALL | re.MULTILINE)
FIELD = re.compile(r"^  (\w+) = \{(.*)\},$", re.MULTILINE)

PAGE = """# References

This page is made from `mc/report/references.bib` by `python -m mc.report.citations`; a test compares them.
`dipmc cite` prints it, `dipmc cite RUN` the part that a run uses, `--bibtex` the entries for a bibliography. Cite the
papers whose theory is tested, and this software: [CITATION.cff](../CITATION.cff).
"""


@dataclass(frozen=True)
class Reference:
    """One publication; a field that is not known for certain is absent.

    Attributes
    ----------
    key : str
        Key of the BibTeX entry.
    entry : str
        The BibTeX entry.
    fields : dict of str to str
        Fields of the entry by name; identifiers (doi, eprint) without the address of a resolver.
    """

    key: str
    entry: str

    @cached_property
    def fields(self) -> dict[str, str]:
        """Fields of the entry by name."""
        return {name: value.strip("{}") for name, value in FIELD.findall(self.entry)}

    @property
    def _address(self) -> tuple[str, str]:
        """Short form in print, and address."""
        if doi := self.fields.get("doi"):
            return f"doi:{doi}", f"https://doi.org/{doi}"
        if arxiv := self.fields.get("eprint"):
            return f"arXiv:{arxiv}", f"https://arxiv.org/abs/{arxiv}"
        url = self.fields.get("url", "")
        return url.removeprefix("https://"), url

    @property
    def link(self) -> str:
        """Address of the publication; empty where none is known."""
        return self._address[1]

    @property
    def identifier(self) -> str:
        """Short form of the link in print: doi:..., arXiv:... or the address."""
        return self._address[0]

    @property
    def text(self) -> str:
        """Authors (year). Title. Where volume(number), pages; without the identifier."""
        known = self.fields
        authors = re.sub(" and (?!others)", ", ", known["author"])
        where = next((known[name] for name in ("journal", "publisher", "howpublished") if name in known), "")
        number = f"({known['number']})" if "number" in known else ""
        place = f"{where} {known.get('volume', '')}{number}".strip()
        place = ", ".join(part for part in (place, known.get("pages", "").replace("--", "–")) if part)
        return f"{authors} ({known['year']}). {known['title']}." + (f" {place}." if place else "")

    def bibtex(self) -> str:
        """Return the BibTeX entry, UTF-8."""
        return self.entry


@dataclass(frozen=True)
class Citation:
    """A method, what it is used for here, and the publications to cite for it.

    Attributes
    ----------
    key : str
        Name of the method: ``dipmc cite KEY``.
    used_for : str
    references : tuple of Reference
    """

    key: str
    used_for: str
    references: tuple[Reference, ...]


_BIBLIOGRAPHY = (files("mc.report") / "references.bib").read_text(encoding="utf-8")
REFERENCES: Mapping[str, Reference] = {
    match[1]: Reference(match[1], match[0]) for match in ENTRY.finditer(_BIBLIOGRAPHY)
}
"""Every publication by the key of its BibTeX entry."""


def _always(_: Document) -> bool:
    return True


def _has_exact(document: Document) -> bool:
    return "exact" in (document.certificates.ladder or ())


def _has_bounds(document: Document) -> bool:
    """Whether the experiment has a certificate whose probability the theory bounds from below."""
    return bool({"paper", "trial"} & set(document.certificates.ladder or ()))


def _integrates(*methods: str) -> Uses:
    """Whether the flow may be integrated by one of these methods, or by the choice "auto"."""
    return lambda e: e.flow is not None and e.flow.rule != "gd" and e.flow.method in ("auto", *methods)


_METHODS: tuple[tuple[str, str, str, Uses], ...] = (
    ("guarantee", "the theory under test; its constants here are ours (theory §4-§7)",
     "buskulic2023gretsi buskulic2023wide buskulic2023recovery", _always),
    ("descent-guarantee", "gradient descent in place of the flow (theory §9)", "buskulic2024descent",
     lambda e: e.flow is not None and e.flow.rule == "gd"),
    ("kl-inequality", "losses: from the size of the gradient to the length of the path (theory §2)",
     "lojasiewicz1963 kurdyka1998", _always),
    ("matrix-chernoff", "P_theory: conditioning of the Jacobian, delta_1 (theory §7.1)", "tropp2012", _has_bounds),
    ("concentration", "P_theory: size of the activations, delta_2 and delta_4 (theory §7.2)", "boucheron2013",
     _has_bounds),
    ("hsu-kakade-zhang", "P_theory: initial observation, delta_3 (theory §7.3)", "hsu2012 laurent2000", _has_bounds),
    ("mirror-flow", "hidden layer: mirror flow and its limit (theory §3.3, §7.4)",
     "bregman1967 nemirovski1983 alvarez2004", lambda e: "hidden" in e.network.mode),
    ("linear-programme", "exact rung: what cheaper arguments leave open (theory §7.4)", "huangfu2018", _has_exact),
    ("orthant-law", "softplus, hidden layer: law of zero loss at every width (theory §7.4)",
     "wendel1962 zaslavsky1975", lambda e: _has_exact(e) and e.network.activation == "softplus"),
    ("comparison", "heuristic for the width at which half of the draws reach zero loss (theory §7.4)", "gordon1988",
     _has_exact),
    ("wright-omega", "softplus and sigmoid: inverses of the primitives (theory §3.3, §7.5)",
     "corless1996 corless2002 fritsch1973", lambda e: e.network.activation in ("sigmoid", "softplus")),
    ("exponential-rosenbrock", "integration of the hidden layer in the dual variable: exprb43",
     "hochbruck2009 hochbruck2010 gustafsson1994", lambda e: "hidden" in e.network.mode and _integrates("dual")(e)),
    ("exponential-runge-kutta", "integration of stiff flows: ETDRK4 with a split of low rank",
     "krogstad2005 whalen2015 hochbruck2010 gustafsson1994", _integrates("lowrank")),
    ("dormand-prince", "integration of flows that are not stiff: the pair 5(4) and its interpolant",
     "dormand1980 shampine1986 hairer1993 gustafsson1994", _integrates("explicit")),
    ("clopper-pearson", "limits of probabilities and violation rates at a fixed number of trials", "clopper1934",
     lambda e: e.sampling is None),
    ("beta-binomial", "confidence sequences: limits that hold however the number of trials was chosen",
     "ville1939 robbins1970 howard2021", lambda e: e.sampling is not None),
    ("holm", "adjustment of p-values over claims", "holm1979", _always),
    ("mcnemar", "comparison of two rungs on the same trials", "mcnemar1947", _always),
    ("dkw-massart", "bands of distribution functions: times of convergence", "dvoretzky1956 massart1990", _always),
    ("kaplan-meier", "times of convergence, some of them censored", "kaplan1958", lambda e: e.flow is not None),
    ("splitting", "rare failures: multilevel splitting, moves that keep the law, interval of the mean",
     "kahn1951 cerou2007 cotter2013 olsson2005", lambda e: e.rare is not None),
    ("tilting", "rare failures: importance sampling under the tilted law of a neuron", "siegmund1976",
     lambda e: e.rare is not None and e.rare.tilted > 0),
    ("firth", "logistic regression on the width, in scaling laws", "firth1993 kosmidis2021",
     lambda _: False),
    ("random-streams", "PCG64DXSM at the address of each draw", "oneill2014", _always),
    ("numpy-scipy", "arrays, linear algebra, special functions", "harris2020 virtanen2020", _always),
)  # fmt: skip

CITATIONS: Mapping[str, Citation] = {
    key: Citation(key, used_for, tuple(REFERENCES[name] for name in references.split()))
    for key, used_for, references, _ in _METHODS
}
"""Every method by its key, the theory before its computation."""


def for_experiment(experiment: Experiment) -> tuple[Citation, ...]:
    """Return the methods that a run of this experiment, and its report, may use.

    Parameters
    ----------
    experiment : Experiment

    Returns
    -------
    tuple of Citation
        In the order of `CITATIONS`. Of an integration by ``method = "auto"`` all the methods that it chooses from.
    """
    return tuple(CITATIONS[key] for key, _, _, uses in _METHODS if uses(experiment.document))


def named(keys: Iterable[str]) -> tuple[Citation, ...]:
    """Return the methods of these keys, in the order given; InputError for an unknown key."""
    for key in keys:
        if key not in CITATIONS:
            raise InputError(f"{key!r} is no method and no run folder; use one of {', '.join(CITATIONS)}")
    return tuple(CITATIONS[key] for key in keys)


def cite_lines(citations: Iterable[Citation]) -> Iterator[str]:
    """Yield a line for each method, and one for each of its publications."""
    for citation in citations:
        yield f"{citation.key}: {citation.used_for}"
        for reference in citation.references:
            yield f"  {reference.text}" + (f" {reference.identifier}" if reference.link else "")


def bibtex(citations: Iterable[Citation]) -> str:
    """Return the BibTeX entries of some methods, each once."""
    references = dict.fromkeys(reference for citation in citations for reference in citation.references)
    return "\n\n".join(reference.bibtex() for reference in references)


def references_page() -> str:
    """Return the text of docs/references.md."""
    parts = [PAGE]
    for citation in CITATIONS.values():
        lines = (r.text + (f" [{r.identifier}]({r.link})" if r.link else "") for r in citation.references)
        entries = "".join(f"- {line}\n" for line in lines)
        parts.append(f"## {citation.key}\n\n{citation.used_for[0].upper()}{citation.used_for[1:]}.\n\n{entries}")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(references_page())
