"""Raw faces to arrays: source → dataset (Parquet and a manifest) → task → arrays that a trainable learns from.

Which files belong together:

- sources: sources, containers, decode, labels, readers/ (one file a format), demo
- faces: landmarks (MediaPipe), bundle, mirror, crop, photos, augment, geometry
- preparing: prepare, plan, extractor (a worker), stream (Ray), cache, staging, assemble, splits, near_duplicates, progress
- the dataset: schema, reading, verify, diff, export_dataset
- the task: task, task_spec, task_rows, features, columns
- looking at it: describe, dataset_page and what it is made of, statistics, charts, page
- used by all: errors, files, quiet, address
"""
