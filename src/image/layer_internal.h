/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_LAYER_INTERNAL_H
#define IMAGE_LAYER_INTERNAL_H

/* What merging layers and reading their contents share. */

#include "image/layer.h"

/* Where a file's contents are, in the `content` of its inode: layer and entry, both from 1. */
#define LAYER_CONTENT(layer, entry) ((uint64_t)(layer) << 40 | (entry))

/* The limits with their defaults. */
struct layer_limits layer_limits_get(const struct layer_limits *limits,
				     const struct layer_source *layers, size_t n);

#endif
