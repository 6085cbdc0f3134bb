"""Fails unless every module of the package and every package that it asks for can be imported."""

from __future__ import annotations

import importlib
import pkgutil

import audiolm_cli
from audiolm_cli.packages import DISTRIBUTIONS, read_requirements

ours = [name for _, name, _ in pkgutil.walk_packages(audiolm_cli.__path__, "audiolm_cli.") if "__main__" not in name]
modules = {distribution: module for module, distribution in DISTRIBUTIONS.items()}
others = [modules.get(name, name) for name in read_requirements()]
for module in [*ours, *others]:
    importlib.import_module(module)
print(f"ok   {len(ours)} modules, {len(others)} packages")
