"""The bounds for a problem given on the command line, as a table of widths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mc import activations, losses
from mc.bounds import FORMS, MODES, PublishedForm, Setting, k_theory
from mc.ensemble import draw_problem, get_law
from mc.errors import InputError


@dataclass(frozen=True)
class TheoryRequest:
    """Problem and network of the question; names and values as in an experiment file."""

    n: int
    m: int
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

    def checked(self) -> TheoryRequest:
        """Refuse impossible values, and options that the operator lacks.

        Raises
        ------
        InputError
        """
        for name in ("n", "m"):
            if getattr(self, name) < 1:
                raise InputError(f"-{name} {getattr(self, name)}: give at least 1")
        if not self.noise >= 0.0:
            raise InputError(f"--noise {self.noise}: give a number that is not negative")
        for delta in self.delta:
            if not 0.0 < delta < 1.0:
                raise InputError(f"--delta {delta}: give a probability between 0 and 1")
        for operator, option in (("spectrum", "condition"), ("mask", "keep"), ("blur", "blur_width")):
            if self.operator == operator and getattr(self, option) is None:
                raise InputError(f"--operator {operator} needs --{option.replace('_', '-')}: give it")
        if self.operator in ("blur", "identity") and self.m != self.n:
            raise InputError(f"-m {self.m}: the operator {self.operator} is square; give -m {self.n}")
        if self.operator == "file":
            raise InputError("--operator file: describe it in an experiment file and see its report")
        return self


def theory_lines(request: TheoryRequest) -> Iterator[str]:
    """Lines of the table: k_theory(delta) for every mode and form, and the note on the published form."""
    request = request.checked()
    law = get_law(request.output_law)
    loss = losses.get(request.loss, request.p)
    activation = activations.get(request.activation)
    names = ("n", "m", "operator", "condition", "keep", "blur_width", "noise")
    spec = {name: getattr(request, name) for name in names if getattr(request, name) is not None}
    problem = draw_problem({**spec, "signal": "gaussian", "resample": "cell"}, request.seed, (0, 0), 0)
    facts = problem.facts()
    setting = Setting(
        n=request.n,
        m=problem.A.shape[0],
        loss=loss,
        activation=activation,
        entry_bound=law.entry_bound,
        subgaussian=law.subgaussian,
        **{name: facts[name] for name in ("sigma_A", "norm_A", "frobenius_A", "frobenius_AAT", "norm_y")},
    )
    yield (
        f"n = {request.n}, m = {setting.m}, rank {problem.rank}, sigma_A = {setting.sigma_A:.4g}, "
        f"|A| = {setting.norm_A:.4g}, |y| = {setting.norm_y:.4g}; {activation.name}, {loss.name}, {law.name}"
    )
    yield "smallest width k with P_theory(k) >= 1 - delta:"
    yield "  mode    form   " + "".join(f"{f'delta = {delta:g}':>18}" for delta in request.delta)
    for mode in MODES:
        for form in FORMS:
            widths = "".join(f"{k_theory(setting, mode, form, delta):>18.6g}" for delta in request.delta)
            yield f"  {mode:<7} {form:<6} {widths}"
    yield "(inf: no width; trial and paper are the certificates with the trial's and the published Lipschitz constant)"
    yield (
        "published: k >= C' n psi^2/sigma_A^2 (hidden), C' n psi^4/sigma_A^4 (both), C' unspecified "
        f"({PublishedForm().citation_note})"
    )
