"""What skl2onnx writes of small scikit-learn models, and how those go on in scikit-learn in float64: all steps
of the networks, of the linear models, which take no such steps, the loss that training begins with.

Needs scikit-learn, skl2onnx and onnx. `python from_sklearn.py [name…]` writes the models
of this folder, `--opsets 14,15 --folder OTHER` those of other operator sets into another."""

import copy
import warnings
from dataclasses import dataclass

import numpy as np
from skl2onnx import to_onnx
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, SGDClassifier, SGDRegressor
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from _drawn import HERE, ROWS, STEPS, Golden, arguments, examples, index, nodes, targets, write

EXPORTER = "skl2onnx"
OPSETS = range(13, 23)
KEPT = [13, 22]
FEATURES, RATE = 5, 0.05
CROSS, SQUARED = "softmax_cross_entropy", "mean_squared_error"


@dataclass
class Model:
    """`raw`: the options of scores instead of probabilities."""
    model: object
    classes: int = 0
    raw: bool = False


def network(kind, **options):
    return kind(hidden_layer_sizes=(4,), solver="sgd", momentum=0.0, alpha=0.0, learning_rate_init=RATE, max_iter=3, **options)


MODELS = {
    "logistic_regression": lambda: Model(LogisticRegression(), 2),
    "logistic_regression_scores": lambda: Model(LogisticRegression(), 3, True),
    "multinomial_regression": lambda: Model(LogisticRegression(), 3),
    "linear_regression": lambda: Model(LinearRegression()),
    "ridge": lambda: Model(Ridge()),
    "sgd_regressor": lambda: Model(SGDRegressor(max_iter=5)),
    "sgd_classifier_scores": lambda: Model(SGDClassifier(loss="log_loss", max_iter=5), 3, True),
    "linear_svc": lambda: Model(LinearSVC(), 3),
    "mlp_classifier": lambda: Model(network(MLPClassifier), 3),
    "mlp_classifier_two": lambda: Model(network(MLPClassifier, activation="tanh"), 2),
    "mlp_classifier_logistic": lambda: Model(network(MLPClassifier, activation="logistic"), 3),
    "mlp_regressor": lambda: Model(network(MLPRegressor)),
    "scaled_mlp": lambda: Model(make_pipeline(StandardScaler(), network(MLPClassifier)), 3),
}


def fit(own):
    random = np.random.default_rng(1)
    x = random.normal(0.3, 1.2, size=(60, FEATURES))
    score = x[:, 0] + 0.3 * random.normal(size=60)
    labels = np.digitize(score, np.quantile(score, np.linspace(0, 1, own.classes + 1)[1:-1])) if own.classes else score
    own.model.fit(x, labels)
    steps = own.model.named_steps.values() if hasattr(own.model, "named_steps") else [own.model]
    for part in steps:
        for key, value in vars(part).items():
            if key in ("coef_", "intercept_", "mean_", "scale_"):
                setattr(part, key, np.float64(np.float32(value)))
            if key in ("coefs_", "intercepts_"):
                setattr(part, key, [np.float64(np.float32(layer)) for layer in value])


def losses(own, x, target):
    model = own.model
    if hasattr(model, "named_steps"):
        scaler, model = model.named_steps.values()
        x = scaler.transform(x)
    if not hasattr(model, "partial_fit") or isinstance(model, (SGDClassifier, SGDRegressor)):
        if own.classes == 0:
            return [float(np.mean((model.predict(x).reshape(-1, 1) - target) ** 2))]
        if hasattr(model, "predict_proba") and not isinstance(model, SGDClassifier):
            return [float(log_loss(target, model.predict_proba(x), labels=range(own.classes)))]
        z = model.decision_function(x)
        return [float(np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(ROWS), target]))]
    # Half the squared error is what scikit-learn's networks descend.
    factor = 1 if own.classes else 2
    model = copy.deepcopy(model)
    model._optimizer.learning_rate_init = model._optimizer.learning_rate = RATE * factor
    found = []
    for _ in range(STEPS):
        model.partial_fit(x, target.ravel())
        found.append(float(model.loss_) * factor)
    return found


def export(own, opset):
    x = np.zeros((1, FEATURES), np.float32)
    options = {}
    if own.classes and not isinstance(own.model, LinearSVC):
        options["zipmap"] = False
    if own.raw:
        options["raw_scores"] = True
    return to_onnx(own.model, x, options={id(own.model): options} if options else None,
                   target_opset={"": opset, "ai.onnx.ml": 3})


def main():
    warnings.simplefilter("ignore")
    folder, opsets, names = arguments(MODELS)
    rows = []
    for name in names:
        own = MODELS[name]()
        fit(own)
        loss, outputs = (CROSS, own.classes) if own.classes else (SQUARED, 1)
        found = losses(own, examples((FEATURES,), 0), targets(loss, (ROWS, outputs)))
        for opset in [at for at in OPSETS if at in (opsets or KEPT)]:
            try:
                model = export(own, opset)
                imported = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
                golden = Golden(name, EXPORTER, imported, loss, (FEATURES,), outputs, 0, RATE, found)
                if imported != opset and any((own.name, own.opset) == (name, imported) for own in rows):
                    continue
                if rows and rows[-1].name == name and nodes(model) == before:
                    continue
                before = nodes(model)
                write(model, golden, folder)
                rows.append(golden)
            except Exception as error:
                print(f"{name} {opset}: not exported, {str(error).strip().splitlines()[0][:150]}")
    index(rows, {EXPORTER}, names, folder)
    print(len(rows), "models")


main()
