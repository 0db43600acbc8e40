/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_MEND_H
#define VMM_MEND_H

/* Commands that make a backend usable on this host, for messages.  All texts are static. */

#include <stdbool.h>

#include "vmm/vmm.h"

#define MEND_INSTALL_QEMU "sudo apt-get install qemu-system-x86"

/* A command that begins with "sudo ", without it for root. */
const char *mend_as_root(const char *command);

/* The command that makes a backend usable; NULL: no command is needed or known. */
const char *mend_backend(const struct vmm_ops *ops, const struct vmm_probe *probe);

/* Would KVM make a backend usable, or faster?  Then no other remedy helps. */
bool mend_is_kvm(const struct vmm_ops *ops, const struct vmm_probe *probe);

#endif
