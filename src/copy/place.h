/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COPY_PLACE_H
#define COPY_PLACE_H

/* The destination of a stream: a folder, and the only name in it that the stream may create. */

#include "copy/unpack.h"

struct unpack_place {
	int fd;	   /* the folder; the caller closes it */
	char *top; /* the name, which the caller frees; NULL: any names */
	bool made; /* the folder did not exist */
};

/* Find the destination, or make it.  Errors as unpack_open(). */
int unpack_place_open(const struct unpack_options *o, struct unpack_place *ret,
		      struct mvm_error *err);

#endif
