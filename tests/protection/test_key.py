"""The key: made once, private, and the only way from class names to the generator's classes."""

import hashlib
import os
import stat

import pytest

from unlearn.errors import EnvironmentProblem, UsageProblem
from unlearn.protection import key as key_module
from unlearn.protection.key import Key, default_path, load_key, permutation, stream_seed

SECRET = bytes(range(32))


def test_the_first_use_makes_a_private_key_and_the_second_finds_it(home):
    first = load_key(create=True)
    assert load_key(create=True) == load_key(create=False) == first
    assert len(first.secret) == 32
    assert default_path().is_relative_to(home)
    assert stat.S_IMODE(default_path().stat().st_mode) == 0o600
    assert stat.S_IMODE(default_path().parent.stat().st_mode) == 0o700


def test_without_create_nothing_is_made(home):
    assert load_key(create=False) is None
    assert list(home.rglob("*")) == []


def test_two_users_have_different_keys(monkeypatch, tmp_path):
    one = load_key(create=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert load_key(create=True) != one


def test_a_given_key_is_read_and_never_made(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(SECRET)
    assert load_key(path, create=True) == Key(SECRET)
    with pytest.raises(UsageProblem, match=r"--key .*gone: no such file.*head -c 32"):
        load_key(tmp_path / "gone", create=True)
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("size", [31, 33, 4096])
def test_a_file_of_another_size_is_no_key(tmp_path, size):
    path = tmp_path / "key"
    path.write_bytes(bytes(size))
    with pytest.raises(UsageProblem, match="not a key: it must hold exactly 32 bytes"):
        load_key(path, create=True)


def test_a_damaged_own_key_is_reported_and_kept(home):
    default_path().parent.mkdir(parents=True)
    default_path().write_bytes(b"short")
    with pytest.raises(EnvironmentProblem, match="restore it, or use --key FILE"):
        load_key(create=True)
    assert default_path().read_bytes() == b"short"


def test_an_empty_key_is_waited_for_a_moment(home, monkeypatch):
    default_path().parent.mkdir(parents=True)
    default_path().touch()
    monkeypatch.setattr(key_module, "_PATIENCE_SECONDS", 0.05)
    with pytest.raises(EnvironmentProblem, match="not a key"):
        load_key(create=True)
    monkeypatch.setattr(key_module, "_PATIENCE_SECONDS", 240)

    def sleep(_seconds):
        default_path().write_bytes(SECRET)

    monkeypatch.setattr(key_module.time, "sleep", sleep)
    assert load_key(create=True) == Key(SECRET)


def test_a_key_that_another_run_made_first_is_taken(home, monkeypatch):
    default_path().parent.mkdir(parents=True)
    default_path().write_bytes(SECRET)
    key_module._make(default_path())
    assert load_key(create=True) == Key(SECRET)


def test_a_config_folder_that_cannot_be_made_is_an_environment_problem(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    with pytest.raises(EnvironmentProblem, match="use --key FILE"):
        load_key(create=True)


def test_neither_representation_nor_fingerprint_holds_the_secret():
    key = Key(SECRET)
    assert repr(key) == "Key()"
    assert key.fingerprint == hashlib.sha256(b"unlearn-key" + SECRET).hexdigest()[:12]
    assert key.fingerprint not in SECRET.hex()


@pytest.mark.parametrize("classes", [0, 1, 2, 10, 1000])
def test_a_permutation_holds_every_class_once(classes):
    order = permutation(Key(SECRET), classes)
    assert sorted(order) == list(range(classes))
    assert order == permutation(Key(SECRET), classes)


def test_permutations_of_many_keys_spread_over_all_places():
    counts = [[0] * 4 for _ in range(4)]
    for seed in range(400):
        for k, place in enumerate(permutation(Key(seed.to_bytes(32, "big")), 4)):
            counts[k][place] += 1
    assert all(60 < count < 140 for row in counts for count in row)


def test_stream_seeds_differ_by_seed_and_key_and_fit_63_bits():
    seeds = [stream_seed(Key(os.urandom(32)), seed) for seed in range(50)]
    assert len(set(seeds)) == 50
    assert all(0 <= seed < 1 << 63 for seed in seeds)
    assert stream_seed(Key(SECRET), 7) == stream_seed(Key(SECRET), 7) != stream_seed(Key(SECRET), 8)
