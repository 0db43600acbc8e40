/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REGISTRY_CONFINE_H
#define REGISTRY_CONFINE_H

#include "base/error.h"

/*
 * Shut mvm-registry in, with root and without, before it reads a byte of the network.
 *
 * From then on it opens no file but those of resolvers, of libraries and of certificates, for
 * reading; it makes no file and no process, and sockets of the internet only, none that listens.
 * It writes to the descriptors that mvm passes.  libcurl must have been set up.
 *
 * Returns 0 or -errno.  Without Landlock the list of system calls is the only wall.
 */
int registry_confine(struct mvm_error *err);

#endif
