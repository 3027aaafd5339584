"""What to cite: every method once, those of an experiment, on the command line, in reports and in the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mc import Experiment, InputError
from mc.cli.main import main
from mc.report import citations
from mc.report.citations import REFERENCES, bibtex, cite_lines, references_page
from mc.report.page import cited
from mc.runner.execute import run

ROOT = Path(__file__).parents[2]
TABLES: dict[str, Any] = {
    "experiment": {"name": "cited", "seed": 1, "trials": 4},
    "problem": {"n": 4, "m": 2, "operator": "orthonormal"},
    "network": {"mode": ["hidden", "both"]},
    "widths": {"values": [8, 16]},
}


def keys(**changes: Any) -> set[str]:
    tables = {name: table for name, table in {**TABLES, **changes}.items() if table is not None}
    return {citation.key for citation in citations.for_experiment(Experiment.from_dict(tables))}


def test_every_publication_is_used_and_every_method_has_one() -> None:
    assert all(citation.references for citation in citations.CITATIONS.values())
    used = {reference for citation in citations.CITATIONS.values() for reference in citation.references}
    assert used == set(REFERENCES.values())


@pytest.mark.parametrize("reference", REFERENCES.values(), ids=REFERENCES)
def test_an_entry_is_well_formed(reference: citations.Reference) -> None:
    fields = reference.fields
    assert {"author", "title", "year"} <= set(fields)
    assert 1900 <= int(fields["year"]) <= 2026
    assert re.fullmatch(rf"[a-z]+{fields['year']}[a-z]*", reference.key)
    assert re.fullmatch(r"10\.\d{4,9}/\S+", fields.get("doi", "10.1000/x"))
    assert re.fullmatch(r"\d{4}\.\d{4,5}", fields.get("eprint", "2000.00000"))
    # the reader takes one field a line
    assert len(fields) == reference.bibtex().count("\n") - 1
    entry = reference.bibtex()
    assert entry.count("{") == entry.count("}")


def test_what_an_experiment_uses() -> None:
    plain = keys()
    assert {"guarantee", "matrix-chernoff", "mirror-flow", "clopper-pearson", "holm"} <= plain
    assert not {"beta-binomial", "splitting", "tilting", "dormand-prince", "kaplan-meier", "firth"} & plain


@pytest.mark.parametrize(
    ("changes", "more", "less"),
    [
        ({"flow": {"widths": [8]}}, {"exponential-rosenbrock", "exponential-runge-kutta", "dormand-prince"}, set()),
        ({"flow": {"widths": [8], "method": "explicit"}}, {"dormand-prince", "kaplan-meier"},
         {"exponential-rosenbrock"}),
        ({"flow": {"widths": [8], "rule": "gd"}}, {"descent-guarantee"}, {"dormand-prince"}),
        ({"network": {"mode": "both"}, "flow": {"widths": [8]}}, set(), {"exponential-rosenbrock", "mirror-flow"}),
        ({"network": {"mode": "hidden", "activation": "softplus"}}, {"orthant-law", "wright-omega"}, set()),
        ({"network": {"mode": "hidden", "activation": "tanh"}}, set(), {"orthant-law", "wright-omega"}),
        ({"certificates": {"ladder": ["sharp"]}}, set(), {"matrix-chernoff", "linear-programme"}),
        (
            {"experiment": {"name": "cited", "seed": 1}, "sampling": {"target_half_width": 0.1}},
            {"beta-binomial"},
            {"clopper-pearson"},
        ),
        ({"rare": {"margin": "lambda_min", "widths": [8]}}, {"splitting"}, {"tilting"}),
        ({"rare": {"margin": "lambda_min", "widths": [8], "tilted": 100}}, {"splitting", "tilting"}, set()),
    ],
)  # fmt: skip
def test_settings_choose_the_methods(changes: dict[str, Any], more: set[str], less: set[str]) -> None:
    found = keys(**changes)
    assert more <= found
    assert not less & found


def test_the_command_cites_all_a_file_and_a_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cite"]) == 0
    assert capsys.readouterr().out.splitlines() == list(cite_lines(citations.CITATIONS.values()))
    file = tmp_path / "cited.toml"
    file.write_text(Experiment.from_dict(TABLES).to_toml(), encoding="utf-8")
    assert main(["cite", str(file), "firth"]) == 0
    shown = capsys.readouterr().out
    assert all(f"{key}: " in shown for key in keys() | {"firth"})
    assert "splitting: " not in shown
    assert main(["cite", "holm", "--bibtex"]) == 0
    assert capsys.readouterr().out.strip() == bibtex(citations.named(("holm",)))


def test_the_report_of_a_run_ends_with_its_references(tmp_path: Path) -> None:
    experiment = Experiment.from_dict(TABLES)
    run(experiment, tmp_path / "run", backend="inline")
    assert main(["report", str(tmp_path / "run"), "-o", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    section = page[page.index('<section id="references">') :]
    used = citations.for_experiment(experiment)
    assert re.findall(r"<dt><code>([a-z-]+)</code>", section) == [citation.key for citation in used]
    assert section.count("<dd>") == sum(len(citation.references) for citation in used)
    assert cited("experiment = 1") == ()


def test_a_word_that_is_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cite", "nonsense"]) == 2
    assert capsys.readouterr().err.startswith("dipmc: 'nonsense' is no method and no run folder; use one of")
    with pytest.raises(InputError, match="'nonsense' is no method"):
        citations.named(("nonsense",))


def test_the_page_of_references_is_that_of_the_code() -> None:
    page = (ROOT / "docs" / "references.md").read_text(encoding="utf-8")
    assert page == references_page(), "run: python -m mc.report.citations > docs/references.md"
