#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Forty shards as an array, in a folder that all nodes see. All of it:
#   edgeferry plan build/*/ --shards 40
#   shards=$(sbatch --parsable slurm.sh) && sbatch --dependency="afterok:$shards" --wrap "edgeferry merge"
#SBATCH --job-name=edgeferry
#SBATCH --array=1-40
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --requeue
set -eu
edgeferry run plan.json --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --cache fleet-cache
