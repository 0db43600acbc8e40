/* SPDX-License-Identifier: Apache-2.0 */
#ifndef START_FACTS_H
#define START_FACTS_H

/*
 * What a snapshot depends on: the `compat` facts of a SnapshotInfo.
 *
 * When mvm makes a snapshot, facts_gather() describes the machine, the VMM and the image.  Before a
 * restore facts_gather() describes this host, and facts_compare() finds the first difference.  The
 * snapshot code adds facts that only prove the files' integrity (digests, the memory file's
 * identity, the nonce); facts_compare() ignores those.
 *
 * A snapshot that came with an artifact is of another host.  Its `host` is the artifact's digest,
 * which no version of mvm takes for this host, and facts_compare() does not compare it: whether
 * such a snapshot may run depends on signatures (start_decide()).
 */

#include "model/template.h"

#include "artifact/variants.h"
#include "base/str.h"
#include "vmm/vmm.h"

#define FACT_HOST "host" /* a name of the host that made the snapshot */

/* Facts about the files' integrity, which facts_compare() ignores: */
#define FACT_MEM_FILE  "mem_file"     /* memory_file_identity() of mem.bin */
#define FACT_DATA_FILE "data_file"    /* disk_identity() of the captured data disk */
#define FACT_ROOT_FILE "root_file"    /* likewise, of the root disk */
#define FACT_NONCE     "nonce_sha256" /* of the nonce, which only the snapshot's memory has */

/* The snapshot has a root image of its own (instance/own_disk.h), whose digest is in
 * checksums.json. The fact keeps an older mvm from restoring it over the revision's image. */
#define FACT_OWN_IMAGE "own_image"

struct facts_input {
	const struct vmm_ops *ops;
	const struct vmm_probe *probe;
	const struct vmm_config *config;
	uint32_t root_disk_mib;	      /* 0: there is none, and no such fact */
	const struct strv *artifacts; /* "vmlinux=<hex>" and so on, from checksums.json */
};

/* Describe this host and config, as "key=value" in a fixed order. */
int facts_gather(const struct facts_input *in, struct strv *ret, struct mvm_error *err);

/*
 * Hash those facts that tell one kind of host from another: hosts with equal keys can restore each
 * other's snapshots.  What tells one host or one template from another is left out.
 */
void facts_key(char *const *facts, size_t n, struct variant_key *ret);

/* Is a snapshot for one of these kinds of hosts? */
bool facts_fit(const struct mvm_snapshot_info *snapshot, const struct variant_key *keys, size_t n);

/*
 * Compare a snapshot's facts with this host's, in the order of `here`.  Then check that the
 * snapshot has no further facts, and that boot_args, vcpus and mem_mib of its info agree.
 *
 *   ret_reason  the first difference with both values, for the user; the caller's
 *
 * Returns 1 when a restore may work, 0 with the reason when it may not, or -ENOMEM.
 */
int facts_compare(const struct mvm_snapshot_info *snapshot, const struct strv *here,
		  char **ret_reason);

#endif
