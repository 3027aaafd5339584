"""Print the bounds of a problem given on the command line, as a table of widths."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mc.errors import InputError
from mc.experiment.experiment import Experiment
from mc.model import activations, losses
from mc.model.draws import draw_problem, get_law
from mc.theory.bounds import k_theory
from mc.theory.codes import FORMS, MODES
from mc.theory.constants import PUBLISHED_NOTE, Setting

DEFAULT_M = 5
"""Number of observations, where neither the user nor the operator gives it."""


@dataclass(frozen=True)
class TheoryRequest:
    """The options of `dipmc theory`; names and values as in an experiment file."""

    n: int
    m: int | None
    operator: str
    condition: float | None
    keep: float | None
    blur_width: float | None
    noise: float
    activation: str
    output_law: str
    loss: str
    p: float | None
    delta: tuple[float, ...]
    seed: int

    def experiment(self) -> Experiment:
        """Build the equivalent one-cell experiment, so that options are validated as in a TOML file."""
        for delta in self.delta:
            if not 0.0 < delta < 1.0:
                raise InputError(f"--delta {delta}: give a probability between 0 and 1")
        if self.operator == "file":
            raise InputError("--operator file: describe it in an experiment file and see its report")
        m = DEFAULT_M if self.m is None and self.operator not in ("mask", "blur", "identity") else self.m
        options = {name: getattr(self, name) for name in ("n", "operator", "condition", "keep", "blur_width", "noise")}
        tables: dict[str, dict[str, Any]] = {
            "experiment": {"name": "theory", "seed": self.seed, "trials": 1},
            "problem": {**options, "m": m, "resample": "cell"},
            "network": {"mode": MODES, "activation": self.activation, "output_law": self.output_law},
            "loss": {"kind": self.loss, "p": self.p},
            "widths": {"values": [1]},
        }
        given = {name: {k: v for k, v in table.items() if v is not None} for name, table in tables.items()}
        return Experiment.from_dict(given, "options")


def theory_lines(request: TheoryRequest) -> Iterator[str]:
    """Yield the lines of the table: k_theory(delta) for every mode and form, and the note on the published form."""
    experiment = request.experiment()
    cell = experiment.cells()[0]
    law = get_law(request.output_law)
    loss = losses.get(request.loss, request.p)
    activation = activations.get(request.activation)
    problem = draw_problem(cell.problem, experiment.seed, cell.id, 0)
    facts = problem.facts()
    setting = Setting(
        n=problem.A.shape[1],
        m=problem.A.shape[0],
        loss=loss,
        activation=activation,
        entry_bound=law.entry_bound,
        subgaussian=law.subgaussian,
        **{name: facts[name] for name in ("sigma_A", "norm_A", "frobenius_A", "frobenius_AAT", "norm_y")},
    )
    yield (
        f"n = {setting.n}, m = {setting.m}, rank {problem.rank}, sigma_A = {setting.sigma_A:.4g}, "
        f"|A| = {setting.norm_A:.4g}, |y| = {setting.norm_y:.4g}; {activation.name}, {loss.name}, {law.name}"
    )
    yield "smallest width k with P_theory(k) >= 1 - delta:"
    yield "  mode    form   " + "".join(f"{f'delta = {delta:g}':>20}" for delta in request.delta)
    for mode in MODES:
        for form in FORMS:
            widths = "".join(f"{_digits(k_theory(setting, mode, form, delta)):>20}" for delta in request.delta)
            yield f"  {mode:<7} {form:<6} {widths}"
    yield "(inf: no width; trial and paper are the certificates with the trial's and the published Lipschitz constant)"
    yield (
        f"published: k >= C' n psi^2/sigma_A^2 (hidden), C' n psi^4/sigma_A^4 (both), C' unspecified ({PUBLISHED_NOTE})"
    )


def _digits(width: float) -> str:
    """Return all digits of a width: the bound is exact, so a reader may check that k - 1 does not suffice."""
    return "inf" if math.isinf(width) else str(int(width))
