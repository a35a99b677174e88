"""Makes fixtures/python_cache: what Python's huggingface_hub leaves of two models, one whole, one of
which only config.json was asked for. Needs huggingface_hub (1.33) and deno:

    python3 tests/hub/make_fixtures.py
"""

import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE / "fixtures" / "python_cache"

server = subprocess.Popen(
    ["deno", "run", "--quiet", "-A", HERE / "fixture_hub.ts"],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
)
os.environ["HF_ENDPOINT"] = server.stdout.readline().strip()
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

from huggingface_hub import hf_hub_download, snapshot_download  # noqa: E402 (it reads HF_ENDPOINT)

shutil.rmtree(CACHE, ignore_errors=True)
snapshot_download("suture/whole", cache_dir=CACHE)
hf_hub_download("suture/config-only", "config.json", revision="v1.0", cache_dir=CACHE)
shutil.rmtree(CACHE / ".locks", ignore_errors=True)
server.stdin.close()
server.wait()
