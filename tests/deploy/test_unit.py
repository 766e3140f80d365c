"""deploy/taem@.service: what systemd would otherwise end a healthy shop for."""

from __future__ import annotations

import configparser

import pytest

from tests.processes import ROOT


@pytest.fixture
def service():
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str
    unit.read(ROOT / "deploy" / "taem@.service", "utf-8")
    return unit["Service"]


def test_starts_where_nothing_has_made_the_folder_of_sqlite(service):
    assert service["ReadWritePaths"].startswith("-/")


def test_a_long_migration_before_the_start_is_not_cut_off(service):
    assert service["ExecStartPre"].endswith("db upgrade")
    assert service["TimeoutStartSec"] == "infinity"
