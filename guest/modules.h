/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_MODULES_H
#define GUEST_MODULES_H

/* Load the kernel modules of the initramfs: /lib/modules/mvm/<file>, in the order of the lines of
 * /lib/modules/mvm/order.  No such file: nothing to load.  One that fails is named on the
 * console; what needed it will say so itself. */
void modules_load(void);

#endif
