/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_VOLUMES_H
#define TEMPLATE_VOLUMES_H

/* Folders of this host that guests get a copy of; the public face is in mvm/instance.h. */

#include <mvm/instance.h>

/* Copy the volumes that an instance's record names into its guest.  On failure the instance is
 * removed and *instance closed and NULL: it never was what it was to be. */
int volumes_fill(struct mvm *mvm, struct mvm_instance **instance, bool attached,
		 struct mvm_error *err);

#endif
