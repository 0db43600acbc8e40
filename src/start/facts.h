/* SPDX-License-Identifier: Apache-2.0 */
#ifndef START_FACTS_H
#define START_FACTS_H

/*
 * What a snapshot depends on: the `compat` facts of a SnapshotInfo.
 *
 * When a snapshot is made, facts_gather() describes the machine, the VMM and the image it was made
 * with; before a restore the same function describes what is here now, and facts_compare() finds
 * the first difference.  Facts that only prove the files' integrity (their digests, the memory
 * file's identity, the nonce) are added by the snapshot code and are not compared here.
 */

#include "model/template.h"

#include "base/str.h"
#include "vmm/vmm.h"

/* Of the files' integrity, and therefore not of what is here: */
#define FACT_MEM_FILE  "mem_file"     /* memory_file_identity() of mem.bin */
#define FACT_DATA_FILE "data_file"    /* likewise of the frozen data disk */
#define FACT_NONCE     "nonce_sha256" /* of what only the snapshot's memory knows */

struct facts_input {
	const struct vmm_ops *ops;
	const struct vmm_probe *probe;
	const struct vmm_config *config;
	const struct strv *artifacts; /* "vmlinux=<hex>" and so on, from checksums.json */
};

/* Describe what is here now, as "key=value" in a fixed order. */
int facts_gather(const struct facts_input *in, struct strv *ret, struct mvm_error *err);

/*
 * Compare a snapshot's facts with those of this host, in the order of the latter; then see that the
 * snapshot depends on nothing else, and that boot_args, vcpus and mem_mib of its info agree.
 *
 *   ret_reason  the first difference with both values, ready for people; the caller's
 *
 * Returns 1 when a restore may work, 0 with the reason when it may not, or -ENOMEM.
 */
int facts_compare(const struct mvm_snapshot_info *snapshot, const struct strv *here,
		  char **ret_reason);

#endif
