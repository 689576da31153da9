"""Keep the learning curves of a sweep as a table: one row an epoch of a trial, its parameters beside it.

    fersweep launch blendshape_dense --data runs/data/fer2013 --name table --trials 512 --max-epochs 27 \\
        --set search.sampler=random --set stop.scheduler=none
    .venv/bin/python benchmarks/search_quality_steps/record_table.py runs/sweeps/table

Columns: `trial`, `epoch`, the metrics of the epoch (float32; `epoch_s` in seconds), `param:NAME` (as drawn; null where the
point has none). The file's metadata: the sweep, its dataset's fingerprint, the distributions, the versions, a licence note.
"""

# pyarrow has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fersweep.results.record.recorded_sweep import load_sweep

TABLE = Path(__file__).with_name("dense_fer2013.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, help="directory of the sweep")
    parser.add_argument("--out", type=Path, default=TABLE)
    options = parser.parse_args()
    recorded = load_sweep(options.sweep)
    asked, longest = recorded.sweep.asked, recorded.sweep.asked.stop.max_epochs
    whole = [trial for trial in recorded.record.trials.values() if trial.num_epochs == longest]
    left_out = len(recorded.record.trials) - len(whole)
    names = sorted({name for trial in whole for name in trial.params})
    metrics = [name for name in whole[0].epochs[0] if name != "epoch"]
    columns: dict[str, pa.Array] = {
        "trial": pa.array([trial.number for trial in whole for _ in range(longest)], pa.int16()),
        "epoch": pa.array([epoch for _ in whole for epoch in range(1, longest + 1)], pa.int16()),
    }
    for metric in metrics:
        columns[metric] = pa.array([value for trial in whole for value in trial.epochs.column(metric)], pa.float32())
    for name in names:
        columns[f"param:{name}"] = pa.array([trial.params.get(name) for trial in whole for _ in range(longest)])
    table = pa.table(columns).replace_schema_metadata(
        {
            "sweep": json.dumps(asked.model_dump(mode="json")),
            "dataset": recorded.sweep.dataset.fingerprint,
            "faces": json.dumps(recorded.sweep.num_by_class),
            "distributions": json.dumps({name: json.loads(text) for name, text in recorded.sweep.space.items()}),
            "versions": json.dumps(recorded.sweep.versions),
            "note": "Metrics of trials on FER2013's blendshapes; val is PublicTest. It holds no faces.",
        }
    )
    pq.write_table(table, options.out, compression="zstd", compression_level=19)
    print(f"{options.out}: {len(whole)} trials × {longest} epochs, {options.out.stat().st_size / 1e6:.2f} MB")
    if left_out:
        print(f"left out: {left_out} trials that did not train all epochs")


if __name__ == "__main__":
    main()
