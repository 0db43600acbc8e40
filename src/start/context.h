/* SPDX-License-Identifier: Apache-2.0 */
#ifndef START_CONTEXT_H
#define START_CONTEXT_H

#include "model/template.h"
#include <mvm/mvm.h>

#include "store/store.h"
#include "vmm/vmm.h"

struct mvm {
	struct store *store;
};

/*
 * The backend to use and what probing it found.
 *
 *   name      NULL: the first usable one
 *   revision  what is to run on it; a backend must have the network that it wants
 *
 * -EOPNOTSUPP with the reason when it, or none, is usable here.
 */
int context_backend(struct mvm *mvm, const char *name, const struct mvm_template_revision *revision,
		    const struct vmm_ops **ret, struct vmm_probe *ret_probe, struct mvm_error *err);

#endif
