"""The container engine for tests: its requirements, and the pip settings of its builds."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from infra.local import engine, pip_settings
from infra.local.engine import NoEngine


def reason(folder: Path) -> str:
    """Return the error of starting an engine."""
    with pytest.raises(NoEngine) as caught, engine.running(pytest.fail, folder):
        pytest.fail("an engine started")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_root_no_engine_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "only root on Linux" in reason(tmp_path / "engine")
    assert not (tmp_path / "engine").exists()


def test_on_another_system_no_engine_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(engine.platform, "system", lambda: "Darwin")
    assert "only root on Linux" in reason(tmp_path)


def test_without_apt_get_no_engine_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "Debian's packages" in reason(tmp_path)


def test_two_engines_do_not_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "_check_machine", lambda: None)
    with engine._locked(tmp_path):
        assert f"another one is running in {tmp_path}" in reason(tmp_path)


def test_a_failed_package_installation_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "_check_machine", lambda: None)
    (tmp_path / "apt-get").write_text("#!/bin/sh\necho 'Unable to connect'; exit 100\n")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []
    none = pytest.raises(NoEngine, match="Unable to connect")
    with none, engine.running(said.append, tmp_path / "engine"):
        pytest.fail("an engine started")
    assert said == ["Installing docker.io, debootstrap, iproute2"]


@pytest.fixture
def python(tmp_path):
    """Return a function that makes an interpreter whose pip lists these settings."""

    def make(*lines: str) -> Path:
        program = tmp_path / "python"
        (tmp_path / "listed").write_text("".join(f"{line}\n" for line in lines))
        program.write_text(f"#!/bin/sh\nexec cat {tmp_path}/listed\n")
        program.chmod(0o755)
        return program

    return make


@pytest.fixture
def build_settings(python, tmp_path, monkeypatch):
    """Return a function that gives pip.conf's lines and the secrets' files for these settings."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)

    def read(*lines: str):
        files = pip_settings.secrets(python(*lines), tmp_path)
        return files["pip.conf"].read_text().splitlines(), files

    return read


def test_a_custom_package_index_is_passed_to_the_build(build_settings):
    lines, _ = build_settings("global.index-url='https://me:secret@index.example/simple'")
    assert lines == ["[global]", "index-url = https://me:secret@index.example/simple"]


def test_pip_settings_of_the_environment_override_those_of_files(build_settings):
    lines, _ = build_settings(":env:.timeout='9'", "global.timeout='60'", "user.timeout='30'")
    assert lines == ["[global]", "timeout = 9"]


def test_local_folders_are_left_out_of_the_pip_settings(build_settings):
    lines, _ = build_settings(
        "global.extra-index-url='file:///some/where https://index.example/simple'",
        "global.find-links='/some/where'",
        "global.constraint='/some/where/constraints.txt'",
    )
    assert lines == ["[global]", "extra-index-url = https://index.example/simple"]


def test_certificates_are_a_separate_secret(build_settings, monkeypatch):
    lines, files = build_settings("global.cert='/etc/certificates.crt'")
    assert lines == ["[global]", "cert = /run/secrets/ca.crt"]
    assert files["ca.crt"] == Path("/etc/certificates.crt")
    monkeypatch.setenv("SSL_CERT_FILE", "/other.crt")
    assert build_settings()[1]["ca.crt"] == Path("/other.crt")


def test_without_pip_settings_the_build_gets_an_empty_configuration(build_settings):
    lines, files = build_settings()
    assert lines == ["[global]"]
    assert list(files) == ["pip.conf"]
