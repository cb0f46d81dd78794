"""The options of protecting: what they default to, and what follows from them."""

from unlearn.protection import options as module
from unlearn.protection.options import ProtectOptions


def test_without_workers_the_machine_decides(monkeypatch, tmp_path):
    monkeypatch.setattr(module.os, "cpu_count", lambda: 64)
    assert ProtectOptions(inputs=(), out=tmp_path).workers == 8
    monkeypatch.setattr(module.os, "cpu_count", lambda: None)
    assert ProtectOptions(inputs=(), out=tmp_path).workers == 1


def test_records_call_a_generator_as_it_was_given_or_by_the_name_it_has(tmp_path):
    assert ProtectOptions(inputs=(), out=tmp_path, generator="a.safetensors").called == (
        "a.safetensors"
    )
    named = ProtectOptions(inputs=(), out=tmp_path, generator="/x/a", generator_name="mine")
    assert named.called == "mine"
