"""The same, each with a line that names its model."""

import lightgbm
import numpy as np
import optuna
import torch
import xgboost
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_score
from sklearn.svm import SVC

ANSWERS = "tests.velodrome.ports.answers"


def sklearn_simple(trial):
    x, y = load_iris(return_X_y=True)
    if trial.suggest_categorical("classifier", ["SVC", "RandomForest"]) == "SVC":
        classifier = SVC(C=trial.suggest_float("svc_c", 1e-10, 1e10, log=True), gamma="auto")
    else:
        depth = int(trial.suggest_float("rf_max_depth", 2, 32, log=True))
        classifier = RandomForestClassifier(max_depth=depth, n_estimators=10)
    trial.model(classifier.fit(x, y), example=x[:2])
    return cross_val_score(classifier, x, y, cv=3).mean()


def lightgbm_simple(trial):
    x, y = load_iris(return_X_y=True)
    param = {
        "objective": "multiclass", "num_class": 3, "verbosity": -1, "num_threads": 1,
        "num_leaves": trial.suggest_int("num_leaves", 2, 256),
        "lambda_l1": trial.suggest_float("lambda_l1", 1e-8, 10.0, log=True),
    }  # fmt: skip
    booster = lightgbm.train(param, lightgbm.Dataset(x, y), 5)
    trial.model(booster, example=x[:2])
    return float((np.asarray(booster.predict(x)).argmax(1) == y).mean())


def xgboost_simple(trial):
    x, y = load_iris(return_X_y=True)
    param = {"objective": "multi:softmax", "num_class": 3, "nthread": 1}
    param["booster"] = trial.suggest_categorical("booster", ["gbtree", "gblinear"])
    if param["booster"] == "gbtree":
        param["max_depth"] = trial.suggest_int("max_depth", 3, 9, step=2)
    data = xgboost.DMatrix(x, y)
    booster = xgboost.train(param, data, 5)
    trial.model(booster, example=x[:2])
    return float((booster.predict(data) == y).mean())


def pytorch_simple(trial):
    x = torch.rand(64, 4, generator=torch.Generator().manual_seed(0))
    y = (x.sum(1) > 2).long()
    model = torch.nn.Sequential(torch.nn.Linear(4, trial.suggest_int("n_units", 4, 128)), torch.nn.ReLU())
    model.append(torch.nn.Linear(trial.params["n_units"], 2))
    trial.model(model, build=f"{ANSWERS}:build_simple", predict=f"{ANSWERS}:read_points")
    optimizer = getattr(torch.optim, trial.suggest_categorical("optimizer", ["Adam", "RMSprop", "SGD"]))(
        model.parameters(), lr=trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    )
    accuracy = 0.0
    for epoch in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        accuracy = (model(x).argmax(1) == y).float().mean().item()
        trial.report(accuracy, epoch)
        if trial.should_prune():
            raise optuna.exceptions.TrialPruned()
    return accuracy
