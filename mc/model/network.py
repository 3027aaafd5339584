"""The two-layer network written plainly in (V, W): the reference that everything fast is tested against.

g(u, theta) = V phi(W u)/sqrt(k), with V (n, k), W (k, d), |u| = 1 (theory §1). All algebra is dense, one network at a
time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mc.model.activations import Activation
from mc.model.arrays import Array
from mc.model.losses import Loss


@dataclass(frozen=True)
class Network:
    """A network and its fixed unit input."""

    V: Array
    """(n, k) output weights."""
    W: Array
    """(k, d) hidden weights."""
    u: Array
    """(d,) unit input."""
    activation: Activation

    @property
    def width(self) -> int:
        """Return the number k of neurons."""
        return int(self.V.shape[1])

    @property
    def pre_activations(self) -> Array:
        """Return h = W u, shape (k,)."""
        return np.asarray(self.W @ self.u)

    @property
    def output(self) -> Array:
        """Return x = V phi(W u)/sqrt(k), shape (n,)."""
        return np.asarray(self.V @ self.activation.phi(self.pre_activations) / np.sqrt(self.width))

    def jacobian(self, mode: str) -> Array:
        """Return the dense Jacobian of the output in the trained parameters.

        Parameters
        ----------
        mode : {"hidden", "both"}
            Parameters are W (row-major), or V (row-major) followed by W.

        Returns
        -------
        (n, k d) or (n, n k + k d) array
        """
        h, k, n = self.pre_activations, self.width, self.V.shape[0]
        hidden = (self.V * self.activation.dphi(h))[:, :, None] * self.u[None, None, :] / np.sqrt(k)
        hidden = hidden.reshape(n, -1)
        if mode == "hidden":
            return np.asarray(hidden)
        output = np.kron(np.eye(n), self.activation.phi(h)[None, :]) / np.sqrt(k)
        return np.concatenate([output, hidden], axis=1)

    def gradient(self, A: Array, y: Array, loss: Loss, mode: str) -> tuple[Array, Array]:
        """Return the gradient of theta -> L(A g(u, theta)), as (gradient in V, gradient in W)."""
        h, k = self.pre_activations, self.width
        q = A.T @ loss.gradient(A @ self.output - y)
        dh = self.activation.dphi(h) * (self.V.T @ q) / np.sqrt(k)
        grad_V = np.outer(q, self.activation.phi(h)) / np.sqrt(k) if mode == "both" else np.zeros_like(self.V)
        return grad_V, np.outer(dh, self.u)


def flow_field(
    A: Array, y: Array, u: Array, activation: Activation, loss: Loss, mode: str, shape: tuple[int, int]
) -> Callable[[float, Array], Array]:
    """Return the right-hand side f(t, theta) of the gradient flow on the flat state (V, W), for a general ODE solver.

    Parameters
    ----------
    A, y : (m, n), (m,) arrays
    u : (d,) array
    shape : (int, int)
        Shape (n, k) of V.

    Returns
    -------
    callable
        ``f(t, theta)`` with theta = V and W, flattened row-major, one after the other.
    """
    n, k = shape

    def field(_t: float, theta: Array) -> Array:
        network = Network(theta[: n * k].reshape(n, k), theta[n * k :].reshape(k, u.size), u, activation)
        grad_V, grad_W = network.gradient(A, y, loss, mode)
        return -np.concatenate([grad_V.ravel(), grad_W.ravel()])

    return field
