"""Linear models of table rows: A. E. Hoerl, R. W. Kennard, "Ridge Regression: Biased Estimation for Nonorthogonal
Problems" (Technometrics 12, 1970), and for classes S. le Cessie, J. C. van Houwelingen, "Ridge Estimators in Logistic
Regression" (Applied Statistics 41, 1992).

Numbers: the least ‖y − Xw − b‖² + λ ‖w‖². Classes: the least −Σ log p(class | row) + λ/2 ‖w‖², p the logistic function
(of two) or softmax (of more) of Xw + b; b is free. X: numbers standardised, the missing at the mean with a feature that
says so, texts one feature a level. Both are scikit-learn's solvers; what any learned table model must beat.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from umekomi.fields import Above, AtLeast
from umekomi.recipes import Paper, Recipe
from umekomi.run import Run


@dataclass(frozen=True)
class Linear(Recipe):
    """A linear model of a table's columns, kept small by its penalty: the baseline of every comparison on rows.

    Learns a class (texts, truth values, two distinct numbers) or a number, whichever ``target`` is. ``penalty`` is λ;
    a text of fewer than ``min_count`` rows is no level of its own.
    """

    name: ClassVar[str] = "linear"
    paper: ClassVar[Paper] = Paper(
        "Ridge Regression: Biased Estimation for Nonorthogonal Problems", "Hoerl & Kennard", 1970, "Technometrics 12"
    )
    learns: ClassVar[tuple[str, ...]] = ("rows",)
    makes: ClassVar = "predictor"
    supervised: ClassVar[bool] = True

    penalty: Annotated[float, Above(0)] = 1.0
    min_count: Annotated[int, AtLeast(1)] = 2
    iterations: Annotated[int, AtLeast(1)] = 1000

    def learn(self, data: Any, start: Any, run: Run) -> Any:
        import numpy as np

        from umekomi.data.rows import targets
        from umekomi.models.tabular import LinearPredictor, RowEncoder

        classes, target = targets(data, self.name)
        encoder = RowEncoder.fit(data, self.name, self.min_count)
        features = encoder.encode(data.to_pylist(), self.name)
        model, rounds = self._fitted(features, target, classes)
        weights = np.atleast_2d(model.coef_).T.astype(np.float32)
        bias = np.atleast_1d(model.intercept_).astype(np.float32)
        training = {"rows": data.num_rows, "features": encoder.width}
        if rounds is not None:
            training |= {"iterations": rounds, "converged": rounds < self.iterations}
        return LinearPredictor(encoder, weights, bias, classes, self.name, {"training": training})

    def _fitted(self, features: Any, target: Any, classes: tuple[str, ...]) -> tuple[Any, int | None]:
        """(scikit-learn's model, the iterations that it took where it took any)."""
        import warnings

        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression, Ridge

        if not classes:
            return Ridge(alpha=self.penalty, tol=1e-8).fit(features, target), None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the card says whether it converged
            model = LogisticRegression(C=1 / self.penalty, max_iter=self.iterations).fit(features, target)
        return model, int(model.n_iter_.max())
