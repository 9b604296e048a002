"""A kernel on some of a process's features."""

from collections.abc import Sequence
from typing import Any

from sklearn.gaussian_process.kernels import Kernel

from sweep.boundary.encoding import Floats


class OnColumns(Kernel):  # type: ignore[misc]  # scikit-learn has no types
    """Another kernel, on some columns of the features: for a part of a function that depends on these alone."""

    def __init__(self, kernel: Kernel, columns: Sequence[int]) -> None:
        """Of the kernel, and the numbers of the columns that it is shown."""
        self.kernel = kernel
        self.columns = columns

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor, as scikit-learn copies a kernel by."""
        return {"kernel": self.kernel, "columns": self.columns}

    @property
    def hyperparameters(self) -> list[Any]:
        """Those of the kernel."""
        return list(self.kernel.hyperparameters)

    @property
    def theta(self) -> Floats:
        """Logarithms of the kernel's hyperparameters, [H]."""
        theta: Floats = self.kernel.theta
        return theta

    @theta.setter
    def theta(self, theta: Floats) -> None:
        self.kernel.theta = theta

    @property
    def bounds(self) -> Floats:
        """Of theta, [H, 2]."""
        bounds: Floats = self.kernel.bounds
        return bounds

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OnColumns) and (self.kernel, list(self.columns)) == (other.kernel, list(other.columns))

    def __call__(self, X: Floats, Y: Floats | None = None, eval_gradient: bool = False) -> Any:  # noqa: N803  # as scikit-learn calls them
        """Covariances [N, M] of X [N, F] with Y [M, F], or with itself; and their gradient [N, N, H] if asked for."""
        return self.kernel(X[:, self.columns], None if Y is None else Y[:, self.columns], eval_gradient)

    def diag(self, X: Floats) -> Floats:  # noqa: N803
        """Variances, [N]."""
        variances: Floats = self.kernel.diag(X[:, self.columns])
        return variances

    def is_stationary(self) -> bool:
        """As the kernel."""
        return bool(self.kernel.is_stationary())
