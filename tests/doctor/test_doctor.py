"""`worka doctor`: each part is really broken, named with its remedy, and well again once the remedy is followed."""

from __future__ import annotations

import base64
import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.doctor.conftest import Patient, as_worka, follow, ill, well
from tests.support.database import reachable_directory
from worka.kernel import migrate as migrations
from worka.kernel.migrate import migrate, newest
from worka.kernel.postgres import ROLES, EmbeddedPostgres
from worka.workflows.adapters.dbos_engine import migrate_engine

pytestmark = pytest.mark.timeout(300)
MACHINE = ("home", "disk", "sandbox", "user namespaces", "limits")
PROCESSES = ("launcher", "broker", "host", "worker", "serve")
FAKETIME = [
    path
    for machine in ("x86_64", "aarch64")
    if (path := Path(f"/usr/lib/{machine}-linux-gnu/faketime/libfaketime.so.1")).exists()
]


@pytest.mark.capability("OPS-5", part="a healthy instance")
def test_a_healthy_instance_is_healthy_in_every_part(patient: Patient) -> None:
    code, checks = patient.doctor()
    assert code == 0, checks
    assert [name for name, item in checks.items() if item["state"] == "failed"] == []
    wanted = {*MACHINE, *PROCESSES, "database", "migrations", "clock", "keys", "seal store", "certificates", "instance",
              "version", "egress"}  # fmt: skip
    assert wanted <= set(checks)


@pytest.mark.capability("OPS-5", part="sandbox, missing or without a flag")
def test_a_missing_or_too_old_bubblewrap_is_named_with_how_to_install_it(patient: Patient) -> None:
    _, gone = patient.script("mount --bind /dev/null /usr/bin/bwrap")
    ill(gone, "sandbox", "not installed", "apt-get install -y bubblewrap")
    well(gone, "user namespaces", "limits", "database")
    old = patient.home / "old-bwrap"
    old.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo bubblewrap 0.4.1 && exit 0\n'
        "echo 'bwrap: Unknown option --disable-userns' >&2\nexit 1\n"
    )
    old.chmod(0o755)
    _, refused = patient.script(f"mount --bind {old} /usr/bin/bwrap")
    ill(refused, "sandbox", "--disable-userns", "upgrade bubblewrap")
    _, mended = patient.doctor()
    well(mended, "sandbox")


@pytest.mark.capability("OPS-5", part="user namespaces")
def test_a_kernel_that_gives_no_user_namespace_is_named_with_the_setting(patient: Patient) -> None:
    inside = (sys.executable, str(Path(__file__).with_name("userns.py")))
    _, checks = patient.doctor(*inside, "0")
    ill(checks, "user namespaces", "user namespace", "user.max_user_namespaces")
    ill(checks, "sandbox", "user namespace")
    ill(checks, "egress", "user namespace", "user.max_user_namespaces")
    # The remedy, in the same surroundings.
    _, mended = patient.doctor(*inside, "15000")
    well(mended, "user namespaces", "sandbox", "egress")


@pytest.mark.capability("OPS-5", part="control groups and the limits in force")
def test_a_machine_without_control_groups_is_named(patient: Patient, tmp_path: Path) -> None:
    nowhere = {"WORKA_HOME": str(tmp_path / "not-started")}
    _, checks = patient.script("mount -t tmpfs none /sys/fs/cgroup", **nowhere)
    ill(checks, "limits", "memory, pids, cpu", "/sys/fs/cgroup", "this command's own group")
    _, mended = patient.doctor(**nowhere)
    well(mended, "limits")
    assert "read back" in mended["limits"]["detail"]


@pytest.mark.capability("OPS-5", part="the limits in force where packs start")
def test_the_limits_are_those_of_the_launcher_and_not_of_the_shell_that_asks(patient: Patient) -> None:
    _, here = patient.doctor()
    _, elsewhere = patient.script("mount -t tmpfs none /sys/fs/cgroup")
    for checks in (here, elsewhere):
        well(checks, "limits")
        assert "in force where packs start" in checks["limits"]["detail"]


@pytest.mark.capability("OPS-5", part="disk")
def test_a_full_disk_is_named_and_well_again_once_space_is_freed(patient: Patient, tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    fill = f"mount -t tmpfs -o size=100m none {place}; mkdir {place}/run {place}/keys; fallocate -l 90m {place}/filler"
    _, checks = patient.script(fill, WORKA_HOME=str(place))
    ill(checks, "disk", "MiB are free", "Free space")
    _, mended = patient.script(f"{fill}; rm {place}/filler", WORKA_HOME=str(place))
    assert mended["disk"]["state"] == "warning", "a hundred megabytes are not much, but something can be recorded"


@pytest.mark.capability("OPS-5", part="clock")
def test_a_clock_that_is_off_is_measured_against_the_database(patient: Patient) -> None:
    assert FAKETIME, "the package faketime is missing"
    env = {"LD_PRELOAD": str(FAKETIME[0]), "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    _, checks = patient.doctor(**env, FAKETIME="+2h")
    found = ill(checks, "clock", "behind", "NTP")
    assert "7200" in found["detail"] or "7199" in found["detail"], found
    # The same machine, set right.
    _, mended = patient.doctor(**env, FAKETIME="+0")
    well(mended, "clock")


@pytest.mark.capability("OPS-5", part="database: role and password")
def test_a_database_address_of_the_wrong_role_is_named(patient: Patient) -> None:
    def with_url(url: str) -> dict[str, dict[str, str]]:
        return patient.doctor(WORKA_DATABASE__URL=url, WORKA_DATABASE__ENGINE_URL=patient.address("engine"))[1]

    ill(with_url(patient.address("admin")), "database", "row-level security", "not a superuser")
    ill(with_url(patient.address("migrator")), "database", "owns the tables", "application role")
    ill(with_url(patient.address("engine")), "database", "may not read and write", "application role")
    wrong = patient.address("app").replace("worka_app:", "worka_app:wrong")
    ill(with_url(wrong), "database", "authentication", "WORKA_DATABASE__URL")
    ill(with_url("postgresql://worka_app:x@127.0.0.1:9/worka"), "database", "127.0.0.1:9", "Start PostgreSQL")
    # The remedy: the application role's own address.
    well(with_url(patient.address("app")), "database", "migrations", "clock")


@pytest.mark.capability("OPS-5", part="versions")
def test_processes_of_another_build_are_named_one_by_one(patient: Patient) -> None:
    env = {**patient.instance.env, "WORKA_BUILD_ID": "feedbeef", "WORKA_WORKFLOWS__SLOT": "other"}
    log = (patient.home / "other.log").open("wb")
    other = subprocess.Popen(
        [sys.executable, "-m", "worka.workers.worker"], env=env, stdout=log, stderr=log, cwd="/", **as_worka()
    )
    try:
        for _ in range(60):
            _, checks = patient.doctor()
            if checks["version"]["state"] == "failed":
                break
            assert other.poll() is None, (patient.home / "other.log").read_text()[-2000:]
        found = ill(checks, "version", f"worker (process {other.pid}) runs feedbeef", "another build")
        assert "serve" not in found["detail"]
        other.send_signal(signal.SIGTERM)
        assert other.wait(30) == 0
        _, mended = patient.doctor()
        well(mended, "version")
    finally:
        if other.poll() is None:
            other.kill()
            other.wait()
        log.close()
    mine = patient.doctor(worka=[sys.executable, "-m", "worka"], WORKA_BUILD_ID="0ther")[1]["version"]
    assert mine["state"] == "warning"
    assert all(role in mine["detail"] for role in PROCESSES), "launcher and host have no database, and are named too"


@pytest.mark.capability("OPS-5", part="egress: the way from a sandbox, walked")
def test_a_broker_that_hangs_is_named_where_a_sandbox_meets_it(patient: Patient) -> None:
    pid = patient.instance.pids()["broker"]
    os.kill(pid, signal.SIGSTOP)
    try:
        _, checks = patient.doctor()
        ill(checks, "egress", "broker", "log/broker.log")
        found = ill(checks, "broker", f"process {pid} is stopped")
        well(checks, "database", "sandbox", "serve")
        follow(found["remedy"])
    finally:
        os.kill(pid, signal.SIGCONT)
    _, mended = patient.doctor()
    well(mended, "egress", "broker")
    refused = patient.sql(
        "select host, reason, verdict from worka.egress where tenant_id = '_platform' order by id desc limit 2"
    )
    assert {row["verdict"] for row in refused} == {"denied"}, "what was probed stands in the ledger as refused"


@pytest.mark.capability("OPS-5", part="keys")
def test_a_lost_exposed_or_foreign_master_key_is_named(patient: Patient) -> None:
    person(patient)
    path = patient.home / "keys" / "master.key"
    kept = path.read_bytes()
    own = path.stat()
    path.unlink()
    found = ill(patient.doctor()[1], "keys", "no master key", "wrapped by mk_", "safe copy")
    assert "0600" in found["remedy"]
    path.write_bytes(base64.b64encode(os.urandom(32)))
    path.chmod(0o600)
    ill(patient.doctor()[1], "keys", "but the database's keys are wrapped by mk_", "safe copy")
    # The remedy: the key from its safe copy; at first with too wide a mode.
    path.write_bytes(kept)
    os.chown(path, own.st_uid, own.st_gid)
    path.chmod(0o644)
    found = ill(patient.doctor()[1], "keys", "can be read by others", "chmod 600")
    path.chmod(0o600)
    well(patient.doctor()[1], "keys")


def person(patient: Patient) -> None:
    """A first operator and a tenant, so that there are keys and a ledger."""
    if patient.sql("select 1 as there from worka.tenant_key limit 1"):
        return
    token = (patient.home / "run" / "setup-token").read_text().strip()
    client = patient.instance.client()
    made = client.post(
        "/v1/setup",
        {"token": token, "email": "op@example.org", "password": "correct horse battery", "display_name": "Op"},
    )
    session = patient.instance.client(made["session_token"])
    session.post(
        "/v1/tenants", {"slug": "acme", "name": "Acme", "workspace_name": "Main", "owner_email": "owner@example.org"}
    )


@pytest.mark.capability("OPS-5", part="seal store")
def test_a_seal_that_was_tampered_with_and_a_ledger_that_nobody_seals_are_named(patient: Patient) -> None:
    person(patient)
    folder = patient.home / "objects" / "checkpoints"
    worker = patient.instance.pids()["worker"]
    os.kill(worker, signal.SIGSTOP)
    try:
        newest = sorted(folder.glob("*.json"))[-1]
        kept = newest.read_bytes()
        told = json.loads(kept)
        newest.write_text(json.dumps({**told, "note": told["note"].replace("time 20", "time 19")}))
        ill(patient.doctor()[1], "seal store", "cannot be trusted", "keys/seal.ed25519")
        newest.write_bytes(kept)
        well(patient.doctor()[1], "seal store")
        # The ledger moves, and whoever seals stands still.
        patient.doctor()  # its probe of the way out is refused, and that is recorded
        time.sleep(11)
        found = ill(patient.doctor()[1], "seal store", "was not sealed", "log/worker.log")
        assert str(folder) in found["remedy"]
    finally:
        os.kill(worker, signal.SIGCONT)
    time.sleep(3)
    well(patient.doctor()[1], "seal store")


@pytest.mark.capability("OPS-5", part="age of certificates")
def test_an_authority_that_ended_or_ends_soon_is_named_with_its_day(patient: Patient) -> None:
    person(patient)
    (tenant,) = patient.sql("select tenant_id from worka.tenant limit 1")
    (workspace,) = patient.sql("select id from worka.workspace limit 1")
    patient.sql(
        "insert into worka.network_exception (tenant_id, id, workspace_id, name, port, address, real_port, ca_pem,"
        " reason, created_by) values (%s, 'nex_old', %s, 'tracker.worka.test', 443, '127.0.0.1', 1, %s, 'test', 'test')",
        tenant["tenant_id"], workspace["id"], authority(days=-1),
    )  # fmt: skip
    found = ill(patient.doctor()[1], "certificates", "tracker.worka.test:443", "ended on", "record it again")
    assert f"{datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1):%Y-%m-%d}" in found["detail"]
    patient.sql("update worka.network_exception set ca_pem = %s where id = 'nex_old'", authority(days=5))
    assert patient.doctor()[1]["certificates"]["state"] == "warning"
    patient.sql("update worka.network_exception set ca_pem = %s where id = 'nex_old'", authority(days=90))
    assert patient.doctor()[1]["certificates"]["state"] == "ok"


def authority(days: int) -> str:
    """A certificate that ends in so many days."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Old authority")])
    at = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(7).not_valid_before(at - datetime.timedelta(days=400))
        .not_valid_after(at + datetime.timedelta(days=days)).sign(key, hashes.SHA256())
    )  # fmt: skip
    return made.public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.capability("OPS-5", part="settings")
def test_a_setting_that_cannot_be_read_is_a_broken_part_and_not_a_traceback(patient: Patient) -> None:
    code, checks = patient.doctor(WORKA_HTTP__PRT="1")
    assert code == 1
    ill(checks, "settings", "WORKA_HTTP__PRT", "WORKA_HTTP__PORT", "docs/reference/settings.md")


@pytest.mark.capability("OPS-5", part="without a server")
def test_without_a_server_the_machine_is_checked_all_the_same_and_one_command_mends_the_rest(patient: Patient) -> None:
    patient.instance.stop()
    _, checks = patient.doctor(url="http://127.0.0.1:9")
    ill(checks, "database", "/pg-socket/.s.PGSQL.", "No such file", "worka up", "postgresql.log")
    ill(checks, "instance", "does not answer", "worka up")
    ill(checks, "egress", "not running", "worka up")
    ill(checks, "worker", "is gone")
    well(checks, *MACHINE, "certificates")
    assert "down" in checks["keys"]["detail"]
    # The remedy of all of them is one command.
    patient.start()
    code, mended = patient.doctor()
    assert code == 0, {name: item for name, item in mended.items() if item["state"] == "failed"}
    patient.sql("update worka_version set version_num = '9999'")
    ill(patient.doctor()[1], "migrations", "9999", "older than the instance")
    patient.sql("update worka_version set version_num = %s", newest())
    well(patient.doctor()[1], "migrations")


@pytest.mark.capability("OPS-5", part="migrations behind")
def test_a_schema_that_is_behind_is_named_and_brought_up_to_date_as_a_start_does_it(patient: Patient) -> None:
    home = reachable_directory("test-old-")
    server = EmbeddedPostgres(home)
    try:
        urls = server.start()
        env = {"WORKA_DATABASE__URL": urls.app, "WORKA_DATABASE__ENGINE_URL": urls.engine}
        _, empty = patient.doctor(**env)
        ill(empty, "migrations", "the schema is at none", newest())
        migrate_engine(urls.migrator, ROLES["engine"])
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__ or "").parent / "migrations"))
        config.attributes |= {"url": urls.migrator, "app_role": ROLES["app"], "engine_role": ROLES["engine"]}
        last = ScriptDirectory.from_config(config).get_revision("head")
        assert last is not None
        command.upgrade(config, str(last.down_revision))
        _, behind = patient.doctor(**env)
        ill(behind, "migrations", f"this build needs {newest()}", "start it again")
        # What a start of `worka up` does before anything else.
        migrate(urls.migrator, app_role=ROLES["app"], engine_role=ROLES["engine"])
        _, mended = patient.doctor(**env)
        well(mended, "migrations", "database")
    finally:
        server.stop("immediate")
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.capability("OPS-5", part="a home that was never started")
def test_an_empty_home_says_that_nothing_was_started_there(patient: Patient, tmp_path: Path) -> None:
    code, checks = patient.doctor(url="http://127.0.0.1:9", WORKA_HOME=str(tmp_path / "nothing"))
    assert code == 1
    ill(checks, "home", "does not exist", "worka up")
    well(checks, "disk", "sandbox", "user namespaces", "limits")
    shutil.rmtree(tmp_path, ignore_errors=True)
