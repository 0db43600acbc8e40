/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_VOLUME_PLACE_H
#define INSTANCE_VOLUME_PLACE_H

/* A volume's place on this host, as a descriptor: a later change of its path cannot lead a copy
 * elsewhere. */

#include <limits.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/own.h"
#include "instance/record.h"

struct volume_place {
	int fd;			 /* the folder; for a file: its parent folder */
	bool is_file;		 /* false: a folder */
	bool missing;		 /* a file that the copy makes */
	char path[NAME_MAX + 1]; /* relative to fd: "." or the file's name */
};
#define VOLUME_PLACE_NONE                                                                          \
	{                                                                                          \
		.fd = -1                                                                           \
	}
void volume_place_done(struct volume_place *p);
DEFINE_AUTO_DONE(volume_place, volume_place_done)

/*
 * Open a volume's path.  The path had no links when the user named the volume.  A link in it now
 * may come from a guest that writes to a folder around it: -EPERM.
 *
 *   host  absolute
 *   kind  what it was then: if it has become something else, -EEXIST
 *   make  if the path is missing, it is a file that the copy makes, or a folder, which is made here
 */
int volume_place_open(const char *host, enum record_volume_kind kind, bool make,
		      struct volume_place *ret, struct mvm_error *err);

#endif
