/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_VOLUME_PLACE_H
#define INSTANCE_VOLUME_PLACE_H

/* Where a volume lies on this host, as a descriptor: nothing that is put at its path afterwards
 * leads a copy elsewhere. */

#include <limits.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/own.h"

struct volume_place {
	int fd;			 /* of a folder: itself; of a file: the folder that it is in */
	bool is_file;		 /* now; else a folder */
	char path[NAME_MAX + 1]; /* from there: "." or the file's name */
};
#define VOLUME_PLACE_NONE                                                                          \
	{                                                                                          \
		.fd = -1                                                                           \
	}
void volume_place_done(struct volume_place *p);
DEFINE_AUTO_DONE(volume_place, volume_place_done)

/*
 * Open a volume's path, which had no links when the volume was named.  A link that is there now may
 * be a guest's, which has written to a folder around it: -EPERM.
 *
 *   host  absolute
 *   make  a missing one is a folder to be made
 */
int volume_place_open(const char *host, bool make, struct volume_place *ret, struct mvm_error *err);

#endif
