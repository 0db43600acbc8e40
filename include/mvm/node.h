/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_NODE_H
#define MVM_NODE_H

/* What a scheduler asks of one of its hosts: which templates are here, what runs fast, what is
 * free. */

#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/progress.h>
#include <mvm/store.h>
#include <mvm/template.h>
#include <mvm/visibility.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MVM_NODE_HASH_SIZE 17 /* 16 hex digits and a NUL */

/* A template and its current revision.  The library makes these; the struct owns its strings. */
struct mvm_node_template {
	char *template_id;
	char *revision; /* NULL: nothing was built yet, or it cannot be read */
	char *digest;	/* "sha256:..." of the artifact that it came with; NULL: built here */
	bool has_snapshot;
	enum mvm_start_outlook start;
	char *reason;	     /* why a start would not restore, or what is damaged; NULL: none */
	uint64_t disk_bytes; /* disk use of its files, shared ones included */
};

/* A host.  The library makes these; the struct owns its strings and lists. */
struct mvm_node {
	char *arch;
	char *backend, *backend_version; /* that `auto` takes; NULL: none is usable here */
	char *problem;			 /* why none is usable; NULL: one is */
	bool kvm;			 /* the backend runs guests by KVM */
	/* What snapshots compare, of the CPU and of everything else on a host: hosts on which both
	 * are equal can restore each other's snapshots.  "" without a backend. */
	char cpu_hash[MVM_NODE_HASH_SIZE], backend_hash[MVM_NODE_HASH_SIZE];
	unsigned cpus; /* that this process may use */
	/* the host's memory, or that of this process's cgroup if it is less; 0: not known */
	uint64_t mem_bytes, mem_available_bytes;
	uint64_t disk_bytes, disk_free_bytes; /* of the data folder's file system */
	size_t n_running;		      /* instances that run, and their size in all: */
	uint64_t running_vcpus, running_mem_mib;
	struct mvm_node_template **templates; /* by id */
	size_t n_templates;
};
MVM_API void mvm_node_free(struct mvm_node *node); /* NULL is fine */

/*
 * Look at this host.
 *
 *   progress  may stop it, also while a backend's program is asked for its version; may be NULL
 *   ret       mvm_node_free() it
 *
 * Waits for no lock, and reads none of the large files.  A template that cannot be read has a
 * `reason`, and is no error.
 * Errors: -ECANCELED and others.
 */
MVM_API int mvm_node_look(struct mvm *mvm, const struct mvm_progress *progress,
			  struct mvm_node **ret, struct mvm_error *err);

/*
 * The host as JSON, with a newline at its end: what `mvm node status --json` prints
 * (doc/cli-json.md).
 *
 *   ret  free(3) it
 */
MVM_API int mvm_node_json(const struct mvm_node *node, char **ret, struct mvm_error *err);

/*
 * The host as Slurm's node features, separated by commas: "kvm", the backend's name,
 * "cpu_HASH", "backend_HASH", for each template that can start "tpl_ID", and "snap_ID" if it
 * would be restored.
 *
 *   ret  free(3) it
 *
 * Only memory can be missing, here and below.
 */
MVM_API int mvm_node_features(const struct mvm_node *node, char **ret, struct mvm_error *err);

/*
 * The host as labels of a Kubernetes node, "KEY=VALUE" each: mvm.dev/arch, kvm, backend,
 * backend-version, cpu-hash, backend-hash, disk-free-gib (a power of two) and disk-free-percent (of
 * tens), templates.mvm.dev/ID=REVISION for each template that can start, and
 * snapshots.mvm.dev/ID=REVISION if it would be restored.
 *
 * An id that ends with '-' or '_' is not a label's name, so such a template has no label.
 *
 *   ret  mvm_strings_done() it
 *
 * Source: Kubernetes, "Labels and Selectors", syntax and character set.
 */
MVM_API int mvm_node_labels(const struct mvm_node *node, struct mvm_strings *ret,
			    struct mvm_error *err);

#endif
