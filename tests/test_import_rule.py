"""The library knows nothing of Dagster; the resources know nothing of the assets."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FORBIDDEN = {
    "corpus_dagster": ("dagster", "dagster_aws", "dagster_dbt", "assets", "resources"),
    "resources": ("assets",),
}
EXCEPTIONS = {ROOT / "corpus_dagster" / "definitions.py"}


def imported_packages(path: Path) -> set[str]:
    packages: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            packages.add(node.module.split(".")[0])
    return packages


def modules() -> list[tuple[str, Path]]:
    return [
        (package, path)
        for package in FORBIDDEN
        for path in sorted((ROOT / package).rglob("*.py"))
        if path not in EXCEPTIONS
    ]


@pytest.mark.parametrize(("package", "path"), modules(), ids=lambda value: getattr(value, "stem", value))
def test_a_module_imports_only_what_its_layer_may(package: str, path: Path) -> None:
    assert not imported_packages(path) & set(FORBIDDEN[package])


def test_the_rule_is_applied_to_the_whole_library() -> None:
    assert len(modules()) > 30
