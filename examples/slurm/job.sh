#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A job that needs the template 'web', and would rather start from its snapshot:
#
#	sbatch --constraint=tpl_web --prefer=snap_web job.sh
#
#SBATCH --job-name=mvm
#SBATCH --requeue
srun mvm run --template web --label "slurm-job=$SLURM_JOB_ID" -- uname -a
