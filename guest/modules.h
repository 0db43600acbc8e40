/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_MODULES_H
#define GUEST_MODULES_H

/* Load the kernel modules of the initramfs: /lib/modules/mvm/<file>, in the order of the lines of
 * /lib/modules/mvm/order.  Without that file there is nothing to load.  The console names a module
 * that fails; a program that needs it reports that itself. */
void modules_load(void);

#endif
