# SPDX-License-Identifier: GPL-3.0-or-later
import multiprocessing
from pathlib import Path

import pytest

from berth.errors import BerthError, Conflict
from berth.pki import store as store_module
from berth.pki.authority import fingerprint
from berth.pki.store import CaStore, Phase


@pytest.fixture
def store(tmp_path, plain_seal, now):
    its = CaStore(tmp_path / "secrets", plain_seal, "mycloud")
    with its.locked():
        assert its.ensure(now) is True
    return its


def mode(path):
    return oct(path.stat().st_mode & 0o777)


def test_key_and_folder_are_closed_to_others(store):
    assert mode(store.folder) == "0o700"
    assert mode(store.folder / "fleet-ca.key") == "0o600"
    assert mode(store.folder / "fleet-ca.crt") == "0o644"
    assert not [each for each in store.folder.iterdir() if each.name.startswith(".fleet-ca.key")]


def test_a_second_run_changes_nothing(store, now):
    before = {path.name: path.read_bytes() for path in store.folder.iterdir()}
    with store.locked():
        assert store.ensure(now) is False
    assert {path.name: path.read_bytes() for path in store.folder.iterdir()} == before


def test_a_key_opened_to_others_is_closed_again(store, now):
    key = store.folder / "fleet-ca.key"
    key.chmod(0o644)
    with store.locked():
        assert store.ensure(now) is True
    assert mode(key) == "0o600"


def test_a_password_set_later_seals_the_key_without_changing_it(store, reversing_seal, now):
    before = fingerprint(store.current().certificate)
    sealed = CaStore(store.folder, reversing_seal, "mycloud")
    with sealed.locked():
        assert sealed.ensure(now) is True
        assert sealed.ensure(now) is False
    content = (store.folder / "fleet-ca.key").read_bytes()
    assert content.startswith(b"sealed:")
    assert b"BEGIN PRIVATE KEY" not in content
    assert mode(store.folder / "fleet-ca.key") == "0o600"
    assert fingerprint(sealed.current().certificate) == before


def test_a_lost_key_is_not_replaced(store, now):
    (store.folder / "fleet-ca.key").unlink()
    with store.locked(), pytest.raises(Conflict, match=r"fleet-ca\.key is missing"):
        store.ensure(now)


def test_a_foreign_key_is_refused(store, tmp_path, plain_seal, now):
    other = CaStore(tmp_path / "other", plain_seal, "mycloud")
    with other.locked():
        other.ensure(now)
    (other.folder / "fleet-ca.key").rename(store.folder / "fleet-ca.key")
    with pytest.raises(Conflict, match="is not the key of"):
        store.current()


def test_rubbish_in_the_key_file_is_an_error_with_the_file(store):
    (store.folder / "fleet-ca.key").write_text("rubbish")
    with pytest.raises(BerthError, match=r"fleet-ca\.key cannot be read"):
        store.current()


def test_a_change_of_the_ca_goes_step_by_step(store, now):
    old = fingerprint(store.issuer())
    with store.locked():
        assert (store.phase, len(store.trusted())) == (Phase.SETTLED, 1)
        assert store.introduce(now) is True
        assert store.introduce(now) is False
        assert (store.phase, len(store.trusted())) == (Phase.INTRODUCED, 2)
        assert fingerprint(store.current().certificate) == old
        trusted = store.trusted()

        assert store.promote() is True
        assert store.promote() is False
        assert (store.phase, store.trusted()) == (Phase.PROMOTED, trusted)
        new = fingerprint(store.current().certificate)
        assert new != old
        assert store.introduce(now) is False

        assert store.retire() is True
        assert store.retire() is False
        assert (store.phase, [fingerprint(each) for each in store.trusted()]) == (Phase.SETTLED, [new])
    assert mode(store.folder / "fleet-ca.key") == "0o600"


@pytest.mark.parametrize("killed_at", ["old written", "key moved"])
def test_a_promote_that_was_killed_is_finished(store, now, killed_at, monkeypatch):
    with store.locked():
        store.introduce(now)
        wanted = fingerprint(store_module._read_certificate(store._next))

        class Killed(BaseException):
            pass

        rename = Path.rename

        def dying(path, target):
            if (killed_at == "old written" and path == store._next_key) or path == store._next:
                raise Killed
            return rename(path, target)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "rename", dying)
            with pytest.raises(Killed):
                store.promote()
    with store.locked():
        store.promote()
        assert store.phase is Phase.PROMOTED
        assert fingerprint(store.current().certificate) == wanted
        assert len(store.trusted()) == 2


def _ensure(folder, results):
    from datetime import UTC, datetime

    class NoSeal:
        def is_active(self):
            return False

        def is_sealed(self, _data):
            return False

    store = CaStore(folder, NoSeal(), "mycloud")
    with store.locked():
        results.put(store.ensure(datetime(2026, 3, 1, tzinfo=UTC)))


def test_two_runs_at_once_make_one_ca(tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    runs = [context.Process(target=_ensure, args=(tmp_path / "secrets", results)) for _ in range(3)]
    for run in runs:
        run.start()
    made = [results.get(timeout=60) for _ in runs]
    for run in runs:
        run.join(60)
    assert sorted(made) == [False, False, True]
