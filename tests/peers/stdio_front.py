"""`strait stdio CONFIG` and `strait stdio URL` under the official Python client (`mcp` 2.x), in both eras. `run.py` runs it;
by hand: `.cache/py-clients/bin/python stdio_front.py [STRAIT]` in this folder, after `./install`. It prints a line per trial
and ends with 1 when one is wrong."""

import asyncio
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from mcp import Client, MCPError, StdioServerParameters

from processes import free_port, stop, wait_for

ROOT = Path(__file__).resolve().parents[2]
STRAIT = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "target" / "debug" / "strait")
PROTOCOLS = {"auto": "2026-07-28", "legacy": "2025-11-25"}
TOOLS = 7
CALLS_AT_ONCE = 50


def expect(found, expected, what: str) -> None:
    if found != expected:
        raise AssertionError(f"{what}: expected {expected!r}, found {found!r}")


async def trial(arguments: list[str], mode: str, key: str) -> None:
    env = {"PATH": os.environ["PATH"], "STRAIT_KEY": key}
    server = StdioServerParameters(command=STRAIT, args=["stdio", *arguments], env=env)
    async with Client(server, mode=mode, read_timeout_seconds=30) as client:
        expect(client.protocol_version, PROTOCOLS[mode], "revision")
        expect(len((await client.list_tools()).tools), TOOLS, "tools")
        sums = await asyncio.gather(
            *(client.call_tool("hello__add", {"a": n, "b": 1}) for n in range(CALLS_AT_ONCE))
        )
        for n, result in enumerate(sums):
            expect(str(n + 1) in result.content[0].text, True, f"{n} + 1 in {result.content[0].text!r}")
        steps = []

        async def step(progress: float, total: float | None, message: str | None) -> None:
            steps.append(progress)

        await client.call_tool("shop__track_order", {"id": "1001"}, progress_callback=step)
        expect(steps, [1, 2, 3], "progress")
        try:
            await client.call_tool("hello__delete_note", {"id": "1"})
        except MCPError as error:
            expect(error.error.code, -32602, "code of a hidden tool")
        else:
            raise AssertionError("a hidden tool was called")


def opened(admin: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{admin}/readyz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def main() -> int:
    wrong = 0
    with tempfile.TemporaryDirectory() as work:
        port, admin = free_port(), free_port()
        quickstart = (ROOT / "examples" / "quickstart.yaml").read_text().replace("127.0.0.1:8080", f"127.0.0.1:{port}")
        config = Path(work) / "strait.yaml"
        config.write_text(quickstart + f'\nadmin: {{ bind: "127.0.0.1:{admin}" }}\n')
        with open(Path(work) / "log", "w") as log:
            gateway = subprocess.Popen([STRAIT, "up", config, "--state", Path(work) / "state"], stdout=log, stderr=log)
        try:
            wait_for("the gateway", 30, lambda: opened(admin))
            key = (Path(work) / "state" / "keys" / "local.you.key").read_text().strip()
            ways = {"CONFIG": ([str(config)], ""), "URL": ([f"http://127.0.0.1:{port}/mcp"], key)}
            for way, (arguments, key) in ways.items():
                for mode in PROTOCOLS:
                    try:
                        asyncio.run(asyncio.wait_for(trial(arguments, mode, key), 60))
                        print(f"ok     strait stdio {way}, {mode}")
                    except Exception as error:
                        wrong += 1
                        print(f"WRONG  strait stdio {way}, {mode}: {error!r}")
        finally:
            stop(gateway)
    return 1 if wrong else 0


sys.exit(main())
