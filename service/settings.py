"""Settings of the service, read from environment variables that begin with ``ANGIOMETRY_``."""

from __future__ import annotations

import difflib
import ipaddress
import os
from pathlib import Path
from typing import Annotated

from loky import cpu_count
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from analysis.version import REVISION_VARIABLE

PREFIX = "ANGIOMETRY_"
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
MIB = 2**20


class SettingsError(ValueError):
    """A setting is unknown, of the wrong kind or out of bounds; the message is one line."""


class Settings(BaseSettings):
    """Everything that an operator can choose; each field is ``ANGIOMETRY_`` and its name."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True
    )

    data_dir: Annotated[Path, Field(description="Folder of stored analyses.")] = Path("data")
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    allowed_hosts: Annotated[
        tuple[str, ...],
        NoDecode,
        Field(description="Host names that requests may name, comma-separated; * allows any."),
    ] = LOOPBACK_NAMES
    model: Annotated[str | None, Field(description="Name or path of the default bundle.")] = None
    sync_limit_px: Annotated[int, Field(ge=1, description="Largest image in pixels.")] = 4_000_000
    max_upload_bytes: Annotated[int, Field(ge=1)] = 256 * MIB
    workers: Annotated[int, Field(ge=1, le=256, description="Images measured at once.")] = 1
    threads: Annotated[
        int | None, Field(ge=1, description="Processor threads of a worker; all cores if unset.")
    ] = None
    queue_limit: Annotated[int, Field(ge=0, description="Requests that may wait.")] = 8
    time_limit_s: Annotated[float, Field(gt=0, description="For measuring one image.")] = 300.0
    memory_limit_bytes: Annotated[int, Field(ge=512 * MIB, description="Of one worker.")] = (
        8 * 1024 * MIB
    )
    disk_floor_bytes: Annotated[int, Field(ge=0, description="Disk to leave free.")] = 512 * MIB
    upload_idle_limit_s: Annotated[
        float, Field(gt=0, description="Longest silence of a client while it sends.")
    ] = 60.0
    keep_uploads: Annotated[
        bool, Field(description="Keep uploaded images after they were measured.")
    ] = False

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip().lower() for part in value.split(",") if part.strip())
        return value

    @property
    def threads_per_worker(self) -> int:
        """Processor threads of one worker: an even share of the cores unless set."""
        return self.threads or max(1, cpu_count() // self.workers)

    @property
    def is_loopback(self) -> bool:
        """Whether `host` can only be reached from this machine."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False


def load_settings(*, host: str | None = None, port: int | None = None) -> Settings:
    """Read the settings; `host` and `port` given here win over the environment.

    Raises
    ------
    SettingsError
        In one line, naming the variable at fault and what it takes.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {REVISION_VARIABLE}
    for name in os.environ:
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.0)
            raise SettingsError(f"{name} is no setting of this version; did you mean {near[0]}?")
    given = {"host": host, "port": port}
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        raise SettingsError(
            f"{PREFIX}{name.upper()}={first['input']} does not work: {first['msg']}"
        ) from error
