#!/usr/bin/env bash
# Packs for gpu.py on a machine that has torch, torchvision, timm, pandas, pyarrow, pydantic and scikit-learn, but no network.
#
#     benchmarks/gpu_kit.sh fer2013.csv.zip [OUT, default build/gpu_kit] [the machine's Python, default 3.12]
#     python3 benchmarks/gpu.py --kit build/gpu_kit        # there, from a copy of this repository
#
# site.tar.xz: ray, optuna and mlflow with what they need, without what a sweep does not use (jars, RLlib, dashboards).
# faces.tar: the CSV's 48 x 48 faces as a lossless mosaic, their labels and splits. Each is below 60 MiB. They may be brought
# one after the other: a pack is unpacked once, into /tmp/fersweep_gpu_kit.
set -euo pipefail
source=${1:?give FER2013 as a CSV, fer2013.csv or fer2013.csv.zip}
out=${2:-build/gpu_kit}
python=${3:-3.12}
cd "$(dirname "$0")/.."
bin=$PWD/.venv/bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out" "$work/faces"

platform=(--python-version "$python" --python-platform x86_64-manylinux_2_28)
compile() { "$bin/uv" pip compile - "${platform[@]}" --no-annotate --no-header -q "$@"; }

sed 's/ ;.*//' requirements.lock | grep -E '^(ray|optuna|mlflow|sqlalchemy|alembic)==' > "$work/pinned"
printf '%s\n' torch torchvision timm pandas pyarrow pydantic scikit-learn | compile > "$work/there"
printf '%s\n' 'ray[tune,data]' optuna mlflow typer rich psutil jinja2 pyyaml filelock | compile -c "$work/pinned" > "$work/all"
awk -F== 'NR == FNR {there[$1]; next} !($1 in there)' "$work/there" "$work/all" > "$work/missing"
"$bin/uv" pip install -q --target "$work/site" "${platform[@]}" --only-binary :all: --no-deps -r "$work/missing"
(
  cd "$work/site"
  rm -rf ray/jars ray/rllib ray/llm ray/dashboard/client mlflow/server/js share bin
  find . -name __pycache__ -prune -exec rm -rf {} +
  strip -g ray/_raylet.so ray/core/src/ray/*/* 2> /dev/null || true
)
tar -C "$work" -cf - site | xz -T0 > "$out/site.tar.xz"

"$bin/python" - "$source" "$work/faces" << 'PYTHON'
import json
import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from fersweep.data_pipeline.sources.decode import decode
from fersweep.data_pipeline.sources.source import open_source

faces, labels, splits = [], [], []
for face in open_source(Path(sys.argv[1])).faces():
    faces.append(decode(face))
    labels.append(face.label)
    splits.append(face.split or "train")
side = math.ceil(math.sqrt(len(faces)))
mosaic = np.zeros((side * side, 48, 48), np.uint8)
mosaic[: len(faces)] = faces
mosaic = mosaic.reshape(side, side, 48, 48).swapaxes(1, 2).reshape(side * 48, side * 48)
out = Path(sys.argv[2])
Image.fromarray(mosaic).save(out / "faces.webp", lossless=True, quality=50, method=3)
(out / "faces.json").write_text(json.dumps({"labels": labels, "splits": splits}))
PYTHON
tar -C "$work" -cf "$out/faces.tar" faces
du -m "$out"/*.tar*
