/* SPDX-License-Identifier: Apache-2.0 */
#ifndef START_CONTEXT_H
#define START_CONTEXT_H

#include "model/template.h"
#include <mvm/mvm.h>

#include "artifact/variants.h"
#include "store/store.h"
#include "vmm/vmm.h"

/* A revision that is still being pulled (start/start.h, revision_arrives()). */
struct arriving {
	char id[MVM_TEMPLATE_ID_SIZE], hash[MVM_REVISION_HASH_SIZE];
	int dir_fd, source_fd, lease_fd;
};

struct mvm {
	struct store *store;
	struct arriving *arriving; /* NULL: none */
};

/*
 * Choose a backend and probe it.
 *
 *   name      NULL: the first usable one
 *   revision  the revision that it will run; the backend must offer the network that this one wants
 *   progress  may stop it: -ECANCELED; may be NULL
 *
 * -EOPNOTSUPP with the reason when the named backend, or every backend, is unusable here.
 */
int context_backend(struct mvm *mvm, const char *name, const struct mvm_template_revision *revision,
		    const struct mvm_progress *progress, const struct vmm_ops **ret,
		    struct vmm_probe *ret_probe, struct mvm_error *err);

/* The kind of host that this is, with a backend that is usable here. */
int context_key(const struct vmm_ops *ops, const struct vmm_probe *probe, struct variant_key *ret,
		struct mvm_error *err);

/* context_key() of each backend that is usable here, the preferred one first.  Returns how many
 * there are, or -errno. */
#define CONTEXT_KEYS_MAX 8
int context_keys(struct mvm *mvm, const struct mvm_progress *progress,
		 struct variant_key ret[CONTEXT_KEYS_MAX], struct mvm_error *err);

#endif
