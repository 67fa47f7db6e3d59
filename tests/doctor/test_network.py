"""What the doctor says of an air gap: the list, and what the deployment's own settings name beyond it."""

from __future__ import annotations

from pathlib import Path

import pytest

from worka.cli.doctor import running
from worka.cli.doctor.check import Check, Patient
from worka.kernel import settings
from worka.observability import network

TOLD = {
    "WORKA_MAIL__HOST": "mail.corp.test", "WORKA_MAIL__SENDER": "worka@corp.test", "WORKA_MAIL__ADDRESS": "10.0.0.5",
    "WORKA_TREASURY__TRANSIT_URL": "https://vault.corp.test:8200", "WORKA_TREASURY__TRANSIT_TOKEN": "t",
}  # fmt: skip


def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *allowed: str, gapped: bool = True, **environ: str) -> Check:
    for name in (*network._INDEXES, *network._PROXIES, "npm_config_registry", "NPM_CONFIG_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    told = {
        "WORKA_HOME": str(tmp_path),
        "WORKA_NETWORK__AIR_GAPPED": str(gapped),
        "WORKA_NETWORK__ALLOWED": ",".join(allowed),
    }
    (found,) = running.network(Patient("http://127.0.0.1:1", settings.load({**TOLD, **told})))
    return found


@pytest.mark.capability("BRK-15", part="the air gap, told by the doctor")
def test_the_doctor_names_what_the_settings_need_and_the_list_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = {"PIP_INDEX_URL": "https://pypi.corp.test/simple"}
    lacking = check(tmp_path, monkeypatch, "tracker.corp.test:443", **index)
    assert lacking.state == "warning"
    for named in ("mail server 10.0.0.5:587", "key service vault.corp.test:8200", "package index pypi.corp.test:443"):
        assert named in lacking.detail
    whole = check(tmp_path, monkeypatch, "10.0.0.0/8:587", "vault.corp.test:8200", "pypi.corp.test:*", **index)
    assert (whole.state, whole.remedy) == ("ok", "")
    assert "10.0.0.0/8:587, vault.corp.test:8200, pypi.corp.test:*" in whole.detail
    assert check(tmp_path, monkeypatch, gapped=False, **index).detail.startswith("not air-gapped")


@pytest.mark.capability("BRK-15", part="the air gap, told by the doctor")
def test_the_doctor_says_that_a_proxy_is_not_used_by_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = ("10.0.0.5:587", "vault.corp.test:8200")
    assert check(tmp_path, monkeypatch, *listed).state == "ok"
    found = check(tmp_path, monkeypatch, *listed, HTTPS_PROXY="http://proxy.corp.test:3128")
    assert found.state == "warning"
    assert "HTTPS_PROXY" in found.detail
