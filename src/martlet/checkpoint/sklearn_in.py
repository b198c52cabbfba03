"""Weights from scikit-learn: what an estimator has fitted, as a network that can learn on from there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from martlet.backend import Backend, as_backend, describe, dtype_name, host
from martlet.layer import Layer
from martlet.layers import Affine, Identity, MatMul, ReLU, Sequential, Sigmoid, Standardize, Tanh
from martlet.tree import leaves


def from_sklearn(estimator: Any, *, backend: str | Backend | None = None, dtype: str | None = None) -> Sequential:
    """The network of a fitted scikit-learn estimator with copies of its weights, on NumPy unless told otherwise.

    ``estimator`` is an MLPClassifier, MLPRegressor, LogisticRegression, LinearRegression, Ridge or
    StandardScaler, or a Pipeline of scalers and one of the others.  Its numbers keep the width of the
    weights of its last step unless ``dtype`` changes it.  What a regressor predicts, the model predicts too,
    as a table (N, 1) where there is one target.  For a classifier it gives logits, which is what our losses
    take; in the order of ``estimator.classes_``,

        predict_proba(x)[:, 1:]  is  sigmoid(model.predict(x))    for two classes,
        predict_proba(x)         is  sigmoid(model.predict(x))    for several labels at once,
        predict_proba(x)         is  softmax(model.predict(x))    for more classes.

    Raises TypeError for what is no estimator, scikit-learn's NotFittedError, and ValueError with the step,
    the class and the settings of what has no counterpart here, a subclass of these among it.
    """
    base = sys.modules.get("sklearn.base")  # whoever has an estimator has imported it
    if base is None or not isinstance(estimator, base.BaseEstimator):
        raise TypeError(f"from_sklearn: expected a scikit-learn estimator, got {describe(estimator)}")
    target = as_backend(backend, dtype)
    model = Sequential(*layers_of(estimator, ""))
    arrays = leaves(model)
    # A scaler's statistics are float64, also where everything behind it is float32.
    return model.to(target, dtype=target.dtype or (dtype_name(arrays[-1].dtype) if arrays else None))


def layers_of(estimator: Any, step: str) -> list[Layer]:
    """The layers of one estimator, which still hold its own memory."""
    from sklearn.utils.validation import check_is_fitted

    if is_exactly(estimator, "sklearn.pipeline.Pipeline"):
        steps = [(f"{step}.{name}" if step else name, part) for name, part in estimator.steps]
        return [layer for name, part in steps if part not in (None, "passthrough") for layer in layers_of(part, name)]
    title = f"{step} {estimator}".strip()
    build = next((build for name, build in ESTIMATORS.items() if is_exactly(estimator, name)), None)
    if build is None:
        raise ValueError(f"from_sklearn: {title} has no counterpart in martlet")
    check_is_fitted(estimator)
    try:
        return build(estimator)
    except ValueError as error:
        raise ValueError(f"from_sklearn: {title}: {error}") from None


def is_exactly(estimator: Any, name: str) -> bool:
    """Whether the estimator's class is the one of this name, and no other class derived from it."""
    module, _, name = name.rpartition(".")
    return getattr(sys.modules.get(module), name, None) is type(estimator)


def linear(coef: Any, intercept: Any) -> Layer:
    """From one row of coefficients per output, or one row without a table around it."""
    rows = host.asarray(coef)
    W = host.ascontiguousarray(host.reshape(rows, (-1, rows.shape[-1])).T)
    return MatMul(W) if intercept is None else Affine(W, host.reshape(host.asarray(intercept, dtype=W.dtype), (-1,)))


def regression(estimator: Any) -> list[Layer]:
    return [linear(estimator.coef_, estimator.intercept_ if estimator.fit_intercept else None)]


def logistic_regression(estimator: Any) -> list[Layer]:
    several = len(estimator.classes_) > 2
    if getattr(estimator, "multi_class", "auto") not in ("auto", "deprecated") or (
        several and estimator.solver == "liblinear"
    ):
        raise ValueError("its probabilities are not the softmax of its scores, nor the sigmoid of one")
    return regression(estimator)


ACTIVATIONS = {"identity": Identity, "logistic": Sigmoid, "tanh": Tanh, "relu": ReLU}


def multilayer_perceptron(estimator: Any) -> list[Layer]:
    if estimator.out_activation_ not in ("identity", "logistic", "softmax"):
        raise ValueError(f"its output goes through {estimator.out_activation_}, which is no layer here")
    layers: list[Layer] = []
    for W, b in zip(estimator.coefs_, estimator.intercepts_, strict=True):
        layers += [linear(W.T, b), ACTIVATIONS[estimator.activation]()]
    return layers[:-1]


def standard_scaler(estimator: Any) -> list[Layer]:
    columns = estimator.n_features_in_
    mean = estimator.mean_ if estimator.with_mean else host.zeros(columns)
    return [Standardize(mean, estimator.scale_ if estimator.with_std else host.ones(columns))]


ESTIMATORS: dict[str, Callable[[Any], list[Layer]]] = {
    "sklearn.neural_network.MLPClassifier": multilayer_perceptron,
    "sklearn.neural_network.MLPRegressor": multilayer_perceptron,
    "sklearn.linear_model.LogisticRegression": logistic_regression,
    "sklearn.linear_model.LinearRegression": regression,
    "sklearn.linear_model.Ridge": regression,
    "sklearn.preprocessing.StandardScaler": standard_scaler,
}
