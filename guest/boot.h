/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_BOOT_H
#define GUEST_BOOT_H

#include "agent.h"

/*
 * From the kernel's first process to an agent that can serve: mounts, modules, the port, the
 * root.  The kernel command line may name another root: mvm.root=/dev/vdb, mvm.rootfstype=xfs.
 * On failure the caller prints the error and powers off.
 */
int boot(struct agent *a, struct mvm_error *err);

/* The value of "key=value" among the blank-separated words of a kernel command line.
 * Returns 1 with the value, cut at size, or 0. */
int boot_option(const char *cmdline, const char *key, char *ret, size_t size);

#endif
