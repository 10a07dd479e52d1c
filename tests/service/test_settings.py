from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from service.run import check_data_dir, check_host, check_port
from service.settings import Settings, SettingsError, load_settings


def test_defaults_are_safe() -> None:
    """Without any setting the service listens on this machine only and takes 4 Mpx."""
    settings = Settings()
    assert (settings.host, settings.port, settings.sync_limit_px) == ("127.0.0.1", 8000, 4_000_000)
    assert settings.is_loopback
    assert not settings.keep_uploads


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="has no bound on cores")
def test_a_worker_has_threads_for_the_cores_that_it_may_use() -> None:
    """Bound to one core, as a container may be, a worker has one thread on any machine.

    So it has beside a second worker, and what is set holds.
    """
    script = (
        "import os; os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1]);"
        "from service.settings import Settings; "
        "print(*(Settings(workers=count).threads_per_worker for count in (1, 2)))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["1", "1"]
    assert Settings(threads=3).threads_per_worker == 3


def test_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings come from variables with the prefix; host and port given directly win."""
    monkeypatch.setenv("ANGIOMETRY_SYNC_LIMIT_PX", "16000000")
    monkeypatch.setenv("ANGIOMETRY_PORT", "9000")
    monkeypatch.setenv("ANGIOMETRY_ALLOWED_HOSTS", "lab.example, Other")
    settings = load_settings(port=9001)
    assert settings.sync_limit_px == 16_000_000
    assert settings.port == 9001
    assert settings.allowed_hosts == ("lab.example", "other")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ANGIOMETRY_PORT", "eighty", "ANGIOMETRY_PORT=eighty"),
        ("ANGIOMETRY_WORKERS", "0", "ANGIOMETRY_WORKERS=0"),
        ("ANGIOMETRY_MEMORY_LIMIT_BYTES", "1", "ANGIOMETRY_MEMORY_LIMIT_BYTES=1"),
        ("ANGIOMETRY_SYNC_LIMIT", "5", "did you mean ANGIOMETRY_SYNC_LIMIT_PX?"),
    ],
)
def test_refuses_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    """A wrong or unknown setting is refused in one line that names it."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_empty_means_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable counts as not given."""
    monkeypatch.setenv("ANGIOMETRY_MODEL", "")
    assert load_settings().model is None


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "lab.example", "::"])
def test_other_machines_need_a_word(host: str) -> None:
    """A host that others can reach is refused unless --insecure says that this is meant."""
    settings = Settings(host=host)
    with pytest.raises(SettingsError, match="--insecure"):
        check_host(settings, insecure=False)
    check_host(settings, insecure=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1"])
def test_this_machine_needs_none(host: str) -> None:
    """Every name of the loopback interface is accepted."""
    check_host(Settings(host=host), insecure=False)


def test_serve_says_it_in_one_line(tmp_path: Path) -> None:
    """The command ends with code 2 and one line where it may not bind."""
    ended = subprocess.run(
        [sys.executable, "-m", "angiometry", "serve", "--host", "0.0.0.0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "--insecure" in ended.stderr


def test_a_taken_port_is_named_before_anything_starts() -> None:
    """Where another program listens the service says so, and how to choose another port."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = Settings(port=other.getsockname()[1])
        with pytest.raises(SettingsError, match="ANGIOMETRY_PORT"):
            check_port(taken)
    check_port(Settings(port=0))


def test_a_data_folder_is_tried_before_anything_starts(tmp_path: Path) -> None:
    """A file in the place of the data folder is named, with the variable that chooses another."""
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(SettingsError, match="ANGIOMETRY_DATA_DIR"):
        check_data_dir(Settings(data_dir=tmp_path / "taken"))
    check_data_dir(Settings(data_dir=tmp_path / "new" / "data"))
    assert (tmp_path / "new" / "data").is_dir()


def test_a_model_that_is_not_there_ends_the_service() -> None:
    """A misspelt model is refused at once, not asked for again and again."""
    words = [sys.executable, "-m", "angiometry", "serve", "--port", "0"]
    done = subprocess.run(
        words,
        env={"ANGIOMETRY_MODEL": "nope.onnx"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "there is no file nope.onnx" in done.stderr
