"""Documented arguments whose feature is not here yet. They are refused, never silently ignored."""

from collections.abc import Mapping
from typing import Any

from mistralrs.api.errors import NotSupportedError

Table = Mapping[str, tuple[Any, str]]  # argument: (the value that leaves it off, what it would do)

RUNNER: Table = {
    "which_draft": (None, "speculative decoding"),
    "num_device_layers": (None, "placing layers on devices by hand"),
    "anymoe_config": (None, "AnyMoE"),
    "mtp_model": (None, "speculative decoding"),
    "mtp_n_predict": (None, "speculative decoding"),
    "code_execution_config": (None, "code execution"),
    "shell_config": (None, "the shell tool"),
}
WHICH: Table = {
    "topology": (None, "topology files"),
    "from_uqff": (None, "UQFF files"),
    "write_uqff": (None, "UQFF files"),
    "calibration_file": (None, "importance matrices"),
    "imatrix": (None, "importance matrices"),
    "mmproj_filename": (None, "images with GGUF models"),
    "adapters": (None, "adapters of GGUF models"),
}
REQUEST: Table = {
    "enable_code_execution": (False, "code execution"),
    "enable_shell": (False, "the shell tool"),
    "shell_skills": (None, "the shell tool"),
    "session_id": (None, "sessions"),
    "files": (None, "file results"),
    "input_files": (None, "input files"),
    "adapter": (None, "LoRA adapters"),
    "adapters": (None, "LoRA adapters"),
}


def refuse(where: str, given: Any, table: Table) -> None:
    """Raise NotSupportedError for the first attribute or key of `given` that asks for a feature of the table."""
    for name, (off, what) in table.items():
        value = given.get(name, off) if isinstance(given, Mapping) else getattr(given, name, off)
        if value != off:
            raise NotSupportedError(
                f"{where}({name}=...): {what} is not available yet; leave it out"
            )
