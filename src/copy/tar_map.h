/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COPY_TAR_MAP_H
#define COPY_TAR_MAP_H

/*
 * The map of a sparse file: where its data are.  All else is holes.
 *
 * Extents ascend and do not overlap.  An empty extent at the file's size ends a file that ends in a
 * hole, as GNU tar wants it.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/own.h"

#define TAR_EXTENTS_MAX 65536u /* a MiB of memory */

/* Smaller holes are sent as zeros. */
#define TAR_HOLE_MIN 65536u

struct tar_extent {
	uint64_t at, len;
};

struct tar_map {
	struct tar_extent *v;
	size_t n, room;
	uint64_t stored; /* bytes of all extents */
};

/*
 * Add an extent of a file of the given size.
 *
 * Returns 0; -EBADMSG (it begins before the last one's end, or ends after the file's), -EFBIG (too
 * many), -ENOMEM.
 */
int tar_map_add(struct tar_map *m, uint64_t at, uint64_t len, uint64_t size);

/*
 * Map a file's holes.  When there are too many, the small ones are left out of the map.
 *
 *   fd   a regular file; its offset moves
 *   max  extents in the map, 2 to TAR_EXTENTS_MAX
 *   ret  empty when the file has no holes worth a map, or its file system cannot tell
 *
 * Returns 0 or -ENOMEM.
 */
int tar_map_scan(int fd, uint64_t size, size_t max, struct tar_map *ret);

void tar_map_done(struct tar_map *m);
DEFINE_AUTO_DONE(tar_map, tar_map_done)

#endif
