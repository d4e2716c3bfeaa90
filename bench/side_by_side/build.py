"""The programs that are measured, built from this tree."""

import json
import pathlib
import subprocess

from .processes import Broken

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def build(profile: str, *programs: str) -> list[pathlib.Path]:
    """Where each of `programs` lies afterwards."""
    command = ["cargo", "build", "--locked", "--profile", profile, "--package", "strait", "--package", "strait-bench"]
    for program in programs:
        command += ["--bin", program]
    if subprocess.run(command, cwd=ROOT).returncode:
        raise Broken("cargo could not build; its words are above")
    described = subprocess.run(
        ["cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )
    target = pathlib.Path(json.loads(described.stdout)["target_directory"])
    return [target / {"dev": "debug"}.get(profile, profile) / program for program in programs]
