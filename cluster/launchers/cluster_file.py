"""The schema of a cluster file, from which `fersweep cluster render TARGET` makes what starts the cluster.

name: fer                       # letters, digits and "-"; begins with a letter; at most 40 characters
nodes: 2                        # worker machines, at most
min_nodes: 0                    # of them that run while nothing is to be done
gpus: 1                         # of each worker
cpus: 8                         # of each worker
memory_gb: 32                   # of each worker
accelerator: null               # kind of GPU by Ray's name, e.g. A100; null: any
head: {cpus: 2, memory_gb: 8}   # the machine of the driver, without a GPU, never spot
spot: true                      # workers may be taken away: their trials go on elsewhere
idle_minutes: 10                # without work, before a worker is given back
max_hours: 24                   # where a target wants a limit
price_per_gpu_hour: null        # for `fersweep plan`
image: null                     # container image with fersweep in it (docker/); null: fersweep is installed by the set-up
run: blendshape_lstm --data /shared/fer2013 --home /shared/runs   # the arguments of `fersweep launch`; `--resume` is added
storage: null                   # a bucket (s3://…, gs://…) or a shared path that all machines see
port: 6379                      # of Ray's head
ssh:        {hosts: [user@10.0.0.1, user@10.0.0.2], key: null, python: python3, path: /shared/fersweep}
slurm:      {partition: null, account: null, activate: null, options: []}
aws:        {region: us-west-2, head_instance: m7i.large, worker_instance: g6.xlarge, disk_gb: 100}
gcp:        {project: my-project, region: us-central1, zone: us-central1-a, head_instance: n2-standard-2, worker_instance: n1-standard-8, disk_gb: 100}
kubernetes: {namespace: default, claim: null, secret: null}
sky:        {infra: null, disk_gb: 100}
"""

from __future__ import annotations
