/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COPY_PLACE_H
#define COPY_PLACE_H

/* Where a stream is unpacked: a folder, and the one name in it that the stream may make. */

#include "copy/unpack.h"

struct unpack_place {
	int fd;	   /* the folder; the caller's */
	char *top; /* the name, the caller's; NULL: any names */
	bool made; /* the folder did not exist */
};

/* Find it, or make it.  Errors as unpack_open(). */
int unpack_place_open(const struct unpack_options *o, struct unpack_place *ret,
		      struct mvm_error *err);

#endif
