"""Configurations: files, flags, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer.errors import ConfigError
from gossamer.runs.config import RunConfig, checked_config, parse_settings, read_config

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.toml"))


def test_flags_win_over_the_file(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text('epochs = 3\n[optimizer]\nname = "adam"\nlr = 0.1\n')
    config = read_config(path, {"optimizer.lr": 0.5})
    assert (config.epochs, config.optimizer.name, config.optimizer.lr) == (3, "adam", 0.5)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_valid(path):
    from gossamer.runs.build import build_model, build_rule

    config = read_config(path, {})
    if config.pattern != "dense":
        build_rule(config)
    shapes = {"digits": (8, 8), "cifar10": (32, 32, 3), "folder": (224, 224, 3)}
    small = config.model_copy(update={"widths": tuple(min(w, 512) for w in config.widths)})
    build_model(small, shapes.get(config.data, (28, 28)), 10)


def test_there_are_examples():
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ({"epochs": -1}, "epochs=-1"),
        ({"epochs": 0}, "epochs=0"),
        ({"batch": 0}, "batch=0"),
        ({"colour": "red"}, "colour"),
        ({"optimizer": {"name": "lion"}}, "optimizer.name='lion'"),
        ({"optimizer": {"lr": float("nan")}}, "optimizer.lr"),
        ({"optimizer": {"name": "adam", "momentum": 0.5}}, "momentum"),
        ({"optimizer": {"nesterov": True, "momentum": 0.0}}, "nesterov"),
        ({"schedule": {"name": "step"}}, "milestones"),
        ({"schedule": {"milestones": [1]}}, "milestones"),
        ({"widths": [0]}, "widths.0=0"),
        ({"widths": "wide"}, "widths='wide'"),
        ({"seed": -1}, "seed=-1"),
        ({"allocation": "fair"}, "allocation='fair'"),
        ({"optimizer": {"lr": 1e308}}, "optimizer.lr=1e+308 (at most 1e+30)"),
        ({"optimizer": {"weight_decay": 1e308}}, "optimizer.weight_decay=1e+308 (at most 1e+06)"),
        ({"all_relu": 1e308}, "all_relu=1e+308 (at most 1e+30)"),
        ({"parallel": {"workers": 1, "time_limit": 1e308}}, "parallel.time_limit"),
        ({"epochs": 1 << 70}, "epochs="),
        ({"batch": 1 << 70}, "batch="),
        ({"optimizer": {"name": "adamm"}}, "did you mean 'adam'?"),
        ({"sparsity": 0.9}, "1 - sparsity: pass density=0.1"),
        ({"optimizer": {"ratio": 0.9}}, "optimizer.ratio=0.9"),
        ({"optimizer": {"weight_dekay": 0}}, "did you mean 'weight_decay'?"),
        ({"epoch": 3}, "did you mean 'epochs'?"),
        ({"schedule": {"nam": "step"}}, "did you mean 'name'?"),
        ([], "settings=[]"),
    ],
)
def test_wrong_settings_are_named(document, named):
    with pytest.raises(ConfigError, match="expected valid settings") as caught:
        checked_config(document, "test")
    assert named in str(caught.value)


@pytest.mark.parametrize("text", ["epochs = ", "\x00", "a = 1\na = 2", "[" * 5000])
def test_a_damaged_file_is_one_sentence(tmp_path, text):
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="expected a TOML file"):
        read_config(path, {})


def test_a_binary_or_huge_file_is_refused(tmp_path):
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="TOML"):
        read_config(path, {})
    path.write_bytes(b"#" * (2 << 20))
    with pytest.raises(ConfigError, match="at most"):
        read_config(path, {})


def test_a_group_cannot_be_inside_a_value():
    with pytest.raises(ConfigError, match="a group of settings"):
        read_config(None, {"epochs": 3, "epochs.x": 1})


def test_settings_are_toml_or_plain_text():
    assert parse_settings(["a.b=[1, 2]", "c=word", "d=true", "e=1e-3"]) == {
        "a.b": [1, 2],
        "c": "word",
        "d": True,
        "e": 1e-3,
    }


@pytest.mark.parametrize("text", ["a", "=3", " =3"])
def test_a_setting_needs_a_name_and_a_value(text):
    with pytest.raises(ConfigError, match="name=value"):
        parse_settings([text])


def test_a_config_survives_its_json():
    config = RunConfig(widths=(8, 4), density={"fc1": 0.5}, rule={"name": "set"})
    assert checked_config(config.model_dump(mode="json"), "test") == config
