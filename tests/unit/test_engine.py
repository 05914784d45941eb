"""A container engine of our own: who may have one, and what a build is told about packages."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from infra.local import engine, pip_settings
from infra.local.engine import NoEngine


def reason(folder: Path) -> str:
    """Why there is no engine here."""
    with pytest.raises(NoEngine) as caught, engine.running(pytest.fail, folder):
        pytest.fail("there is one")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_who_is_not_root_gets_none_and_is_told_why(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "only root on Linux" in reason(tmp_path / "engine")
    assert not (tmp_path / "engine").exists()


def test_another_system_gets_none(tmp_path, monkeypatch):
    monkeypatch.setattr(engine.platform, "system", lambda: "Darwin")
    assert "only root on Linux" in reason(tmp_path)


def test_another_distribution_gets_none(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "Debian's packages" in reason(tmp_path)


def test_two_engines_do_not_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "_check_machine", lambda: None)
    with engine._alone(tmp_path):
        assert f"another one is running in {tmp_path}" in reason(tmp_path)


def test_packages_that_cannot_be_had_are_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "_check_machine", lambda: None)
    (tmp_path / "apt-get").write_text("#!/bin/sh\necho 'Unable to connect'; exit 100\n")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    told: list[str] = []
    none = pytest.raises(NoEngine, match="Unable to connect")
    with none, engine.running(told.append, tmp_path / "engine"):
        pytest.fail("there is one")
    assert told == ["Installing docker.io, debootstrap, iproute2"]


@pytest.fixture
def python(tmp_path):
    """Makes an interpreter whose pip has these settings."""

    def make(*lines: str) -> Path:
        program = tmp_path / "python"
        (tmp_path / "listed").write_text("".join(f"{line}\n" for line in lines))
        program.write_text(f"#!/bin/sh\nexec cat {tmp_path}/listed\n")
        program.chmod(0o755)
        return program

    return make


@pytest.fixture
def told(python, tmp_path, monkeypatch):
    """What a build is told for these settings: pip.conf's lines, and the secrets' files."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)

    def read(*lines: str):
        files = pip_settings.secrets(python(*lines), tmp_path)
        return files["pip.conf"].read_text().splitlines(), files

    return read


def test_an_index_of_ones_own_reaches_the_build(told):
    lines, _ = told("global.index-url='https://me:secret@index.example/simple'")
    assert lines == ["[global]", "index-url = https://me:secret@index.example/simple"]


def test_the_environment_is_above_the_files(told):
    lines, _ = told(":env:.timeout='9'", "global.timeout='60'", "user.timeout='30'")
    assert lines == ["[global]", "timeout = 9"]


def test_folders_of_this_machine_are_left_out(told):
    lines, _ = told(
        "global.extra-index-url='file:///some/where https://index.example/simple'",
        "global.find-links='/some/where'",
        "global.constraint='/some/where/constraints.txt'",
    )
    assert lines == ["[global]", "extra-index-url = https://index.example/simple"]


def test_certificates_are_a_secret_of_their_own(told, monkeypatch):
    lines, files = told("global.cert='/etc/certificates.crt'")
    assert lines == ["[global]", "cert = /run/secrets/ca.crt"]
    assert files["ca.crt"] == Path("/etc/certificates.crt")
    monkeypatch.setenv("SSL_CERT_FILE", "/other.crt")
    assert told()[1]["ca.crt"] == Path("/other.crt")


def test_without_settings_the_build_is_told_nothing(told):
    lines, files = told()
    assert lines == ["[global]"]
    assert list(files) == ["pip.conf"]
