/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAZY_LAZY_H
#define LAZY_LAZY_H

/*
 * mvm-lazy: serves the files of a revision to VMs while the revision is still being pulled.
 *
 * mvm-pull mounts a FUSE file system that is attached nowhere, and starts mvm-lazy for it.  Whoever
 * has a descriptor of its root folder sees the revision's folder.  The file system ends with the
 * last of those descriptors, so no mount can stay behind, and mvm-lazy ends with it.
 *
 * mvm-lazy reads from files that mvm-pull fills, and only parts that the map calls here.  mvm-pull
 * calls a part here once it has compared its chunks with their digests and written them.  A read of
 * another part waits, and mvm-lazy asks mvm-pull for it.  When nothing more will come, such reads
 * fail with EIO, and VMs are told why.
 *
 * mvm-lazy knows no path, makes no socket and writes to no file.
 */

#include "base/error.h"
#include "base/lazy_map.h"

/* Serve until nobody has the file system any more. */
int lazy_serve(struct mvm_error *err);

/* confine.c: give up all rights that the server does not need. */
int lazy_confine(struct mvm_error *err);

#endif
